"""Panoptic quality, against the published evaluation on a fixture, hotcoco, and by definition."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from xfer.cli.app import main
from xfer.drawing.segments import save_panoptic, segment_ids
from xfer.errors import DataError, XferError
from xfer.inference.score_file import score_detections
from xfer.metrics.interval import counts_of
from xfer.metrics.panoptic import PanopticQuality, matches
from xfer.objects.segments import Segments

NAMES, THINGS = ("cat", "dog", "grass"), ("cat", "dog")
SIZE = (9, 11)


def drawn(highest: int) -> st.SearchStrategy[NDArray[np.int32]]:
    """Maps of a few large segments."""
    small = hnp.arrays(np.int32, (3, 3), elements=st.integers(-1, highest))
    return small.map(lambda m: np.repeat(np.repeat(m, 3, 0), 4, 1)[:, : SIZE[1]])


TRUTH, FOUND = (0, 0, 1, 2, 0), (0, 1, 2, 0)
PICTURES = st.lists(st.tuples(drawn(len(TRUTH) - 1), drawn(len(FOUND) - 1)), min_size=1, max_size=3)


def pictures(maps: list[tuple[Any, Any]]) -> list[tuple[Segments, Segments]]:
    crowd = [False] * 4 + [True]  # a crowd of cats
    return [
        (Segments.of(t, TRUTH, crowd).without_empty(), Segments.of(f, FOUND).without_empty())
        for t, f in maps
    ]


def counted(pairs: list[tuple[Segments, Segments]], first: int = 0) -> PanopticQuality:
    metric = PanopticQuality(NAMES, THINGS)
    for i, (truth, found) in enumerate(pairs, first):
        metric.add(found, truth, f"p{i}")
    return metric


def write(folder: Path, name: str, each: list[Segments], truth: bool) -> Path:
    """A panoptic json and its PNGs; category ids are 10, 20, 30."""
    annotations: list[dict[str, Any]] = []
    for i, one in enumerate(each):
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_panoptic(one, folder / name / f"{i}.png")
        info = [
            {"id": key, "category_id": 10 * c + 10, "area": area, "iscrowd": int(crowd)}
            for key, c, area, crowd in zip(
                segment_ids(one).tolist(), one.labels.tolist(), one.areas().tolist(),
                one.crowd.tolist(), strict=True,
            )
        ]  # fmt: skip
        annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": info})
    document: dict[str, Any] = {"annotations": annotations}
    if truth:
        document["images"] = [
            {"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]}
            for i in range(len(each))
        ]
        document["categories"] = [
            {"id": 10 * c + 10, "name": name, "isthing": int(name in THINGS)}
            for c, name in enumerate(NAMES)
        ]
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder / f"{name}.json"


@settings(max_examples=25, deadline=None)
@given(PICTURES)
def test_scores_are_those_of_hotcoco(
    tmp_path_factory: pytest.TempPathFactory, maps: list[tuple[Any, Any]]
) -> None:
    panoptic = pytest.importorskip("hotcoco").panoptic
    pairs, folder = pictures(maps), tmp_path_factory.mktemp("pq")
    try:
        own = counted(pairs).compute()
    except DataError:
        return  # nothing to score
    write(folder, "truth", [truth for truth, _ in pairs], True)
    write(folder, "found", [found for _, found in pairs], False)
    judge = panoptic.PanopticEval(str(folder / "truth.json"), str(folder / "found.json"))
    judge.evaluate()
    theirs = judge.results()
    for group, key in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
        for name in ("pq", "sq", "rq"):
            value = own[f"{name}{group}"]
            expected = theirs[key][name] if theirs[key]["n"] else None
            assert value == pytest.approx(expected, abs=1e-12)
    shutil.rmtree(folder)


@settings(max_examples=25, deadline=None)
@given(PICTURES)
def test_what_is_found_exactly_is_perfect_and_parts_add_up(maps: list[tuple[Any, Any]]) -> None:
    pairs = pictures(maps)
    perfect = [(truth, Segments.of(truth.map, truth.labels)) for truth, _ in pairs]
    try:
        whole = counted(pairs)
        scores = whole.compute()
        assert counted(perfect).compute()["pq"] == 1
    except DataError:
        return
    parts = [counted(pairs[i : i + 1], i) for i in range(len(pairs))]
    joined = PanopticQuality(NAMES, THINGS)
    joined.load_states([part.state() for part in reversed(parts)])
    assert joined.compute() == scores and joined.rows() == whole.rows()
    for truth, found in pairs:
        partner = matches(truth, found)
        taken = partner[partner >= 0]
        assert len(set(taken.tolist())) == len(taken)  # a segment has one partner
    known = counts_of(whole)
    assert known is not None
    once = known[1].scores(np.ones((1, len(pairs)), np.int64))
    assert once[0] == pytest.approx(scores["pq"])


def test_void_and_crowds_count_for_nothing() -> None:
    truth = Segments.of([[0, 0, -1, -1, 1, 1]], [0, 0], [False, True])
    found = Segments.of([[0, 0, 1, 1, 2, 2]], [0, 1, 0])  # a dog on void, a cat in the crowd
    assert counted([(truth, found)]).compute()["pq"] == 1
    wrong = Segments.of([[0, 0, 1, 1, 2, 2]], [0, 1, 1])  # a dog in the crowd of cats
    row = counted([(truth, wrong)]).rows()[0]
    assert (row["matched"], row["wrong"], row["missed"]) == (1, 1, 0)


def test_maps_of_another_size_are_refused_with_the_pictures_name() -> None:
    with pytest.raises(XferError, match=r"p0: segments of \(1, 2\) for a picture of \(1, 3\)"):
        counted([(Segments.of([[0, 0, 0]], [0]), Segments.of([[0, 0]], [0]))])


def test_the_published_evaluation_agrees_on_crowds_and_void(
    picture_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixture = picture_data / "pq-fixture"
    if not fixture.is_dir():
        pytest.skip("no pq-fixture among the test data")
    expected = json.loads((fixture / "expected.json").read_text())
    args = ["eval", "--detections", str(fixture / "found.json"), "--data"]
    assert (
        main([*args, f"panoptic:{fixture / 'truth.json'}", "--json", "--out", str(tmp_path / "r")])
        == 0
    )
    scores = json.loads(capsys.readouterr().out)["metrics"]
    for group, key in (("", "all"), ("_things", "things"), ("_stuff", "stuff")):
        for name in ("pq", "sq", "rq"):
            assert scores[f"{name}{group}"] == pytest.approx(expected[key][name], abs=1e-12)
    assert (tmp_path / "r" / "result.json").is_file()


def test_results_that_lack_a_picture_or_name_another_category_are_errors(tmp_path: Path) -> None:
    own = Segments.of([[0] * 4, [1] * 4], [0, 2])
    truth = write(tmp_path, "truth", [own, own], True)
    found = write(tmp_path, "found", [own], False)
    with pytest.raises(DataError, match=r"no prediction for picture 1\.jpg"):
        score_detections(found, f"panoptic:{truth}")
    found = write(tmp_path, "found", [own, own], False)
    assert score_detections(found, f"panoptic:{truth}")["metrics"]["pq"] == 1
    text = found.read_text().replace('"category_id": 30', '"category_id": 31')
    found.write_text(text)
    with pytest.raises(DataError, match="category_id 31 is not one of the data's"):
        score_detections(found, f"panoptic:{truth}")
