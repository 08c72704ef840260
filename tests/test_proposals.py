"""Proposals for a source, what they cover, and `xfer data proposals`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.cli.app import main
from xfer.data.sources.base import ArraySource
from xfer.errors import DataError, XferError
from xfer.ops.grid import grid
from xfer.ops.selective_search import selective_search
from xfer.proposals import search
from xfer.proposals.files import write_proposals
from xfer.proposals.measure import measure
from xfer.proposals.propose import propose, propose_one
from xfer.proposals.recall import RecallMeter, best_overlaps, counts_to
from xfer.proposals.stored import StoredProposals
from xfer.proposals.worker import Worker
from xfer.types import DataInfo, Sample

SIZES = ((60, 90), (90, 60), (64, 64))
IDS = ("a.jpg", "b.jpg", "c.jpg")


class Blocks(ArraySource):
    """Pictures with one bright block on a dark ground; the boxes are the blocks'."""

    def __init__(self, count: int = 3, split: str = "val") -> None:
        images = [np.full((*SIZES[i % 3], 3), 40, np.uint8) for i in range(count)]
        for i, image in enumerate(images):
            image[10:40, 12 + i : 44] = (200, 90 + 5 * i, 30)
        info = DataInfo("blocks", "detect", ("block", "other"), split)
        ids = [f"{split}/{i}.jpg" if count > 3 else IDS[i] for i in range(count)]
        super().__init__(info, images, np.ones((count, 2), np.int8), ids)

    def annotation(self, i: int) -> Boxes:
        boxes = [[12 + i, 10, 44, 40], [0, 0, 5, 5]]
        size = self.images[i].shape[:2]
        return Boxes.of(boxes, [0, 1], difficult=[False, True], area=[1, 1], size=size)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.ids[i], self.images[i], boxes=self.annotation(i).astype(np.float32))


def test_a_grid_of_a_source_is_each_pictures_own() -> None:
    found = propose(Blocks(), "grid", max_boxes=100)
    assert found.ids == IDS
    for i, size in enumerate(SIZES):
        np.testing.assert_array_equal(found.of(i), grid(*size, 100))
        np.testing.assert_array_equal(found.of(IDS[i]), grid(*size, 100))


@pytest.mark.parametrize("workers", [0, 2])
def test_selective_search_of_a_source_is_each_pictures_own_and_progress_is_told(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE_GB", "0")  # nothing is kept from the other case
    told: list[tuple[int, int]] = []
    source = Blocks()
    found = propose(
        source,
        "selective_search",
        workers=workers,
        tick=lambda done, all_: told.append((done, all_)),
    )
    for i in range(3):
        np.testing.assert_array_equal(found.of(i), selective_search(source[i].image))
        assert (
            best_overlaps(found.of(i), source.annotation(i).xyxy[:1], counts_to(2000))[0, -1] == 1
        )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(found, StoredProposals) and found.seconds is not None
    assert (found.seconds > 0).all()


def test_a_picture_is_searched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    source = Blocks()
    first = propose(source, "selective_search", workers=0)
    one = propose_one(source[1].image, "selective_search")

    def fail(image: NDArray[np.uint8], max_boxes: int) -> Any:
        raise AssertionError("searched again")

    monkeypatch.setattr(search, "timed_search", fail)
    again = propose(source, "selective_search", workers=0)
    np.testing.assert_array_equal(one, first.of(1))
    np.testing.assert_array_equal(one, propose_one(source[1].image, "selective_search"))
    for i in range(3):
        np.testing.assert_array_equal(first.of(i), again.of(i))
    assert isinstance(first, StoredProposals) and isinstance(again, StoredProposals)
    assert first.seconds is not None and again.seconds is not None
    assert first.seconds.tolist() == again.seconds.tolist()
    with pytest.raises(AssertionError, match="searched again"):
        propose(source, "selective_search", workers=0, max_boxes=5)


@pytest.mark.parametrize("method", ["grid", "selective_search"])
def test_proposals_are_pickled_and_read_by_threads(method: str) -> None:
    found = propose(Blocks(), method, workers=0, max_boxes=50)
    copy = pickle.loads(pickle.dumps(found))
    with ThreadPoolExecutor(4) as pool:
        read: Sequence[Any] = list(pool.map(copy.of, [i % 3 for i in range(60)]))
    for i, boxes in enumerate(read):
        np.testing.assert_array_equal(boxes, found.of(i % 3))
        assert boxes.dtype == np.float32
    with pytest.raises(DataError, match=r"d\.jpg"):
        copy.of("d.jpg")


def test_what_is_handed_out_may_be_written_into() -> None:
    found = propose(Blocks(), "grid", max_boxes=50)
    before = found.of(0).copy()
    found.of(0)[:] = 0
    np.testing.assert_array_equal(found.of(0), before)


def test_boxes_of_a_file_are_cut_to_the_picture_and_to_their_number(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    wide = np.array([[-5, -5, 500, 500], [300, 0, 400, 50], [1.5, 2, 3, 4]], np.float32)
    write_proposals(path, ["c", "a", "b"], [wide, wide, wide[2:]], {})
    found = propose(Blocks(), f"file:{path}")
    assert found.of("a.jpg").tolist() == [[0, 0, 90, 60], [1.5, 2, 3, 4]]
    assert found.of("b.jpg").tolist() == [[1.5, 2, 3, 4]]
    assert propose(Blocks(), f"file:{path}", max_boxes=1).of(0).tolist() == [[0, 0, 90, 60]]


def test_unknown_methods_and_files_for_new_pictures_are_errors(tmp_path: Path) -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    for method in ("selective-search", "file:", "rpn", ""):
        with pytest.raises(XferError, match="unknown proposals"):
            propose(Blocks(), method)
        with pytest.raises(XferError, match="unknown proposals"):
            propose_one(image, method)
    with pytest.raises(XferError, match="no boxes for this picture"):
        propose_one(image, "file:p.npz")
    assert propose_one(image, "grid", 10).shape == (len(grid(20, 20, 10)), 4)


def test_two_processes_begin_at_different_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that each finds kept what the other has searched, and nothing is searched twice."""
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    source = Blocks(6)
    found: list[list[int]] = []
    for rank in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        seen: list[int] = []

        class Watched(Blocks):
            def __getitem__(self, i: int, seen: list[int] = seen) -> Sample:
                seen.append(i)
                return super().__getitem__(i)

        boxes = [one[0] for one in search.search_all(Watched(6), 50, workers=0)]
        assert all(np.array_equal(b, selective_search(source[i].image, 50))
                   for i, b in enumerate(boxes))  # fmt: skip
        found.append(seen)
    assert found == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2]]


def test_a_searcher_that_dies_is_an_error() -> None:
    worker = Worker(max_boxes=10)
    image = np.zeros((20, 20, 3), np.uint8)
    assert worker.search(image)[0].tolist() == [[0, 0, 20, 20]]
    process = worker._started()
    process.kill()
    process.wait()
    with pytest.raises(XferError, match="killed"):
        worker.search(image)


def test_a_picture_that_cant_be_searched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFER_CACHE_GB", "0")

    class Broken(Blocks):
        def __getitem__(self, i: int) -> Sample:
            if i == 1:
                raise DataError(f"{self.ids[i]}: can't be decoded")
            return super().__getitem__(i)

    with pytest.raises(DataError, match=r"b\.jpg"):
        propose(Broken(), "selective_search", workers=2)


def slow_best(proposals: NDArray[Any], boxes: NDArray[Any], most: int) -> list[float]:
    """Best overlap of each box, pixel by pixel."""
    found: list[float] = []
    for box in boxes.astype(int):
        best = 0.0
        for other in proposals[:most].astype(int):
            masks = np.zeros((2, 30, 30), bool)
            for mask, (x1, y1, x2, y2) in zip(masks, (box, other), strict=True):
                mask[y1:y2, x1:x2] = True
            union = int((masks[0] | masks[1]).sum())
            best = max(best, int((masks[0] & masks[1]).sum()) / union)
        found.append(best)
    return found


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_recall_is_what_counting_pixels_gives(seed: int) -> None:
    draw = np.random.default_rng(seed)

    def boxes(count: int) -> NDArray[np.float64]:
        low = draw.integers(0, 20, (count, 2))
        return np.concatenate([low, low + draw.integers(1, 10, (count, 2))], 1).astype(float)

    meter = RecallMeter(20)
    truth: list[tuple[str, list[float]]] = []
    for _ in range(3):
        proposals, true = boxes(int(draw.integers(0, 20))), boxes(int(draw.integers(1, 5)))
        names = [("cat", "dog")[i] for i in draw.integers(0, 2, len(true))]
        ignored = draw.random(len(true)) < 0.3
        meter.add(proposals, true, names, ignored)
        rows = [slow_best(proposals, true, n) for n in meter.counts.tolist()]
        columns = np.array(rows).T.tolist()
        truth += [(n, c) for n, c, skip in zip(names, columns, ignored, strict=True) if not skip]
    if not truth:
        with pytest.raises(ValueError, match="no true boxes"):
            meter.compute()
        return
    found = meter.compute()
    every = np.array([column for _, column in truth])
    np.testing.assert_allclose(found.recall_50, (every >= 0.5).mean(0))
    np.testing.assert_allclose(found.recall_70, (every >= 0.7).mean(0))
    classes = sorted({name for name, _ in truth})
    abo = [np.mean([c for n, c in truth if n == name], 0) for name in classes]
    np.testing.assert_allclose(found.mabo, np.mean(abo, 0))
    assert found.boxes == len(truth)


def test_counts_rise_to_the_most() -> None:
    assert counts_to(2000).tolist() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert counts_to(1).tolist() == [1]
    assert counts_to(7).tolist() == [1, 2, 5, 7]


def test_all_pictures_of_all_splits_count_once() -> None:
    both = {"train": Blocks(4, "train"), "val": Blocks(4, "val"), "again": Blocks(4, "val")}
    found = measure({"train": both["train"], "val": both["val"]}, "grid", max_boxes=300)
    assert len(found.ids) == 8
    document = found.document()
    assert document["boxes"] == 8 and document["left_out"] == 8
    assert list(document["per_class"]) == ["block"]
    one = measure({"train": both["train"], "val": both["val"]}, "grid", split="val", limit=3)
    assert len(one.ids) == 3 and all(name.startswith("val/") for name in one.ids)


def test_a_set_in_which_nothing_counts_is_an_error() -> None:
    info = DataInfo("plain", "classify", ("a", "b"), "train")
    plain = ArraySource(info, np.zeros((2, 9, 9, 3), np.uint8), np.array([0, 1]), ("x", "y"))
    with pytest.raises(DataError, match="no boxes to compare with"):
        measure(plain, "grid")


@pytest.mark.data
def test_the_command_on_voc(
    picture_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, file = f"voc:{picture_data / 'voc-mini'}", tmp_path / "p.npz"
    words = ["data", "proposals", spec, "--json", "--split", "val", "--limit", "4"]
    assert main([*words, "--out", str(tmp_path / "o"), "--out", str(file)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 4 and told["max_boxes"] <= 2000
    assert 0 < told["seconds_per_image_core"] < 60
    assert told["curve"][-1]["recall_50"] == told["recall_50"] > 0.5
    assert json.loads((tmp_path / "o" / "recall.json").read_text()) == told
    assert (tmp_path / "o" / "recall.png").stat().st_size > 5000
    assert main([*words, "--method", f"file:{file}"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["curve"] == told["curve"] and read["seconds_per_image_core"] is None
    assert main([*words, "--method", "grid"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4
    # the file has four pictures only
    assert main(["data", "proposals", spec, "--method", f"file:{file}"]) == 3
    assert "no boxes for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["digits", "--method", "rpn"], 2, "unknown proposals"),
        (["digits", "--method", "file:nowhere.npz"], 3, "no such file"),
        (["digits", "--split", "nowhere", "--method", "grid"], 2, "no split 'nowhere'"),
        (["nowhere", "--method", "grid"], 3, "no such file"),
        (["digits", "--method", "grid", "-o", "x.json"], 2, "not a folder"),
        # said before data are read: there are none
        (["nowhere", "--method", "grid", "-o", f"{__file__}/x.npz"], 3, "is a file, not a folder"),
        (["nowhere", "--method", "grid", "-o", f"{__file__}/x"], 3, "is a file, not a folder"),
    ],
)
def test_wrong_commands_end_in_a_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "proposals", *words]) == code
    told = capsys.readouterr()
    assert said in told.err and "Traceback" not in told.err and not told.out
