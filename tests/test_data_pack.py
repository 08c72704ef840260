"""A pack holds what its source holds: pictures, labels, boxes, masks, splits and classes."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from box_files import write_coco
from pictures import scene, write_folder
from PIL import Image

from xfer.boxes import Boxes
from xfer.data.loading.loader import Loader, stack_images
from xfer.data.open import open_data
from xfer.data.pack.reader import PackSource, read_index
from xfer.data.pack.scaled import scaled
from xfer.data.pack.writer import Packing, pack
from xfer.data.sources.base import ArraySource
from xfer.data.sources.boxes import category_ids, image_ids
from xfer.data.transforms.crops import TrainTransform
from xfer.errors import DataError, XferError
from xfer.files import sealed
from xfer.inference.ground_truth import open_truth
from xfer.objects.segments import Segments
from xfer.testing.segment_scenes import SegmentScenes
from xfer.testing.source import SyntheticSource, check_source
from xfer.types import Batch, DataInfo, Sample, Source


class Marked(SyntheticSource):
    """Shapes with boxes, masks or both: some pictures have no box, some shards no crowd."""

    def __init__(self, count: int, kind: str, size: int = 64) -> None:
        super().__init__(count, size=size)
        self.kind = kind
        self.info = replace(self.info, kind=kind)

    def labels(self) -> Any:
        if self.kind == "segment":
            return np.full((len(self), 3), -1, np.int8)
        found = np.zeros((len(self), 3), np.int8)
        for i in range(len(self)):
            boxes = self[i].boxes
            assert boxes is not None
            found[i, boxes.labels] = 1
        return found

    def __getitem__(self, i: int) -> Sample:
        sample = replace(super().__getitem__(i), label=None)
        rng = np.random.default_rng(i)
        if self.kind == "segment":
            mask = rng.integers(0, 3, sample.image.shape[:2]).astype(np.uint8)
            mask[:4] = 255
            return replace(sample, mask=mask)
        corner = rng.integers(0, 30, (i % 4, 2))
        boxes = np.concatenate([corner, corner + rng.integers(2, 30, corner.shape)], 1)
        return replace(sample, boxes=Boxes.of(
            boxes.astype(np.float32), rng.integers(0, 3, i % 4), difficult=rng.random(i % 4) < 0.5,
            crowd=None if i < 30 else rng.random(i % 4) < 0.5, size=sample.image.shape[:2],
        ))  # fmt: skip


def packed(source: Any, out: Path, **options: Any) -> PackSource:
    """The source as a raw pack of small shards, unless told otherwise; its only split."""
    pack(source, out, Packing(**{"raw": True, "side": 0, "shard_mb": 1, **options}))
    index = read_index(out)
    (split,) = index["splits"]
    return PackSource(out, index, split)


def same(one: Any, two: Any) -> bool:
    if one is None or two is None:
        return one is two
    return np.array_equal(one, two)


@pytest.mark.parametrize(
    "source",
    [
        SyntheticSource(40, size=128),
        SyntheticSource(40, classes=4, multilabel=True),
        Marked(40, "detect"),
        Marked(40, "segment"),
        SegmentScenes(40),
    ],
    ids=["classify", "multilabel", "detect", "segment", "panoptic"],
)
def test_a_raw_pack_gives_back_what_was_packed(source: Source, tmp_path: Path) -> None:
    found = packed(source, tmp_path / "p")
    check_source(found)
    assert list(found.ids) == list(source.ids) and found.info == source.info
    assert found.labels().dtype == source.labels().dtype
    assert np.array_equal(found.labels(), source.labels())
    for i in range(len(source)):
        ours, theirs = found[i], source[i]
        assert np.array_equal(ours.image, theirs.image)
        assert ours.boxes == theirs.boxes and ours.segments == theirs.segments
        for field in ("label", "mask"):
            assert same(getattr(ours, field), getattr(theirs, field)), field


def test_several_shards_are_one_source(tmp_path: Path) -> None:
    source = Marked(60, "detect", size=160)  # 77 KB each: 14 to a shard
    found = packed(source, tmp_path / "p")
    assert len(found.files) > 3
    for i in range(60):
        assert np.array_equal(found[i].image, source[i].image)
        assert found[i].boxes == source[i].boxes


def test_a_jpeg_pack_is_smaller_and_close(tmp_path: Path) -> None:
    images = [scene(300 + i, 200, seed=i) for i in range(12)]
    info = DataInfo("scenes", "classify", ("a", "b"), "val")
    source = ArraySource(info, images, np.arange(12) % 2, [str(i) for i in range(12)])
    found = packed(source, tmp_path / "p", raw=False, side=100)
    check_source(found)
    assert found.info.split == "val"
    for i, image in enumerate(images):
        small = found[i].image
        assert small.shape == (100, round(image.shape[1] / 2), 3)
        wanted = scaled(source[i], 100).image
        assert np.abs(small.astype(int) - wanted).mean() < 2
    assert found.original_sizes.tolist() == [[200, 300 + i] for i in range(12)]
    assert found.read(3, short_side=50).image.shape[0] == 50
    assert found.files[0].stat().st_size < 12 * 4000


def test_boxes_and_masks_shrink_with_their_picture(tmp_path: Path) -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[20:60, 30:90] = 2
    boxes = Boxes.of([[30, 20, 90, 60]], [2], size=(80, 120))
    whole = Sample("a", scene(120, 80), boxes=boxes, mask=mask)
    half = scaled(whole, 40)
    assert half.image.shape == (40, 60, 3)
    assert half.boxes == Boxes.of([[15, 10, 45, 30]], [2], size=(40, 60))
    assert half.mask is not None and (half.mask[10:30, 15:45] == 2).all()
    assert (half.mask == 2).sum() == 20 * 30
    assert scaled(whole, 80) is whole and scaled(whole, 0) is whole


def test_segments_shrink_with_their_picture_and_crowds_stay(tmp_path: Path) -> None:
    map = np.full((80, 120), -1)
    map[20:60, 30:90], map[:10] = 1, 0
    whole = Sample("a", scene(120, 80), segments=Segments.of(map, [2, 0], [True, False]))
    half = scaled(whole, 40)
    assert half.segments == Segments.of(map[::2, ::2], [2, 0], [True, False])
    source = SegmentScenes(6, size=(96, 128))
    found = packed(source, tmp_path / "p", raw=False, side=48)
    assert found.info.things == source.info.things
    small = found[3].segments
    assert small is not None and small == scaled(source[3], 48).segments
    run = open_data(f"pack:{tmp_path / 'p'}", val="none", kind="panoptic")
    assert run.kind == "panoptic"


def test_of_many_ids_no_list_is_made(tmp_path: Path) -> None:
    """A million pictures' ids lie end to end: 45 MB in place of 200."""
    found = packed(SyntheticSource(30, size=64), tmp_path / "p", shard_mb=1)
    assert not isinstance(found.ids, (list, tuple))
    assert found.ids[-1] == list(found.ids)[29] and len(found.ids[3:7]) == 4


def test_numpy_and_the_standard_library_read_a_pack(tmp_path: Path) -> None:
    source = Marked(30, "segment")
    packed(source, tmp_path / "raw")
    packed(source, tmp_path / "jpeg", raw=False)
    for kind in ("raw", "jpeg"):
        root = tmp_path / kind
        index = json.loads((root / "index.json").read_text())
        assert index["pixels"] == kind and index["splits"]["train"]["classes"]
        for shard in index["shards"]:
            pixels = (root / f"{shard['name']}.bin").read_bytes()
            assert hashlib.sha256(pixels).hexdigest() == shard["bin_sha256"]
            with np.load(root / f"{shard['name']}.npz", allow_pickle=False) as table:
                ids = json.loads(table["ids"].tobytes())
                for k, i in enumerate(table["order"].tolist()):
                    wanted, at = source[i], int(table["start"][k])
                    end = at + int(table["length"][k])
                    data, coded = pixels[at:end], pixels[end : end + int(table["mask_length"][k])]
                    assert ids[k] == wanted.id
                    assert xxhash.xxh3_64_intdigest(data + coded) == table["xxh3"][k]
                    shape = table["size"][k].tolist()
                    mask = np.frombuffer(zlib.decompress(coded), np.uint8).reshape(shape)
                    assert same(mask, wanted.mask)
                    if kind == "raw":
                        image = np.frombuffer(data, np.uint8).reshape(*shape, 3)
                        assert np.array_equal(image, wanted.image)
                    else:
                        assert Image.open(io.BytesIO(data)).size == (64, 64)


def test_a_pack_of_folders_is_a_data_spec(tmp_path: Path) -> None:
    counts = {"train/ant": 9, "train/bee": 7, "valid/bee": 3, "valid/ant": 2}
    folder = write_folder(tmp_path / "photos", counts)
    pack(folder, tmp_path / "p", Packing())
    plain = open_data(folder)
    for spec in (tmp_path / "p", f"pack:{tmp_path / 'p'}"):
        found = open_data(spec)
        assert found.format == "pack" and found.classes == ("ant", "bee")
        assert found.split_json() == plain.split_json()
        for role, source in found.splits.items():
            assert np.array_equal(source.labels(), plain.splits[role].labels())
    assert read_index(tmp_path / "p")["name"] == "photos"


def test_a_pack_is_read_by_a_loader_and_after_pickling(tmp_path: Path) -> None:
    source = SyntheticSource(32, size=80)
    found = packed(source, tmp_path / "p")
    transform = TrainTransform(64, augment="light")

    def batches(read: Source) -> list[bytes]:
        def collate(items: list[Any]) -> Batch:
            return Batch(stack_images(items), ())

        def cut(sample: Sample, rng: np.random.Generator) -> Any:
            return transform(sample.image, rng)

        loader = Loader(read, cut, collate, batch=8, train=True, workers=2)
        return [b.images.numpy().tobytes() for b in loader.batches(3)]

    assert batches(found) == batches(source) == batches(pickle.loads(pickle.dumps(found)))


def test_what_is_read_can_not_be_written_into(tmp_path: Path) -> None:
    image = packed(SyntheticSource(4), tmp_path / "p")[0].image
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0


def test_the_fingerprint_changes_with_a_pixel(tmp_path: Path) -> None:
    images = np.stack([scene(seed=i) for i in range(4)])
    info = DataInfo("s", "classify", ("a", "b"))
    ids = [str(i) for i in range(4)]

    def mark(name: str) -> str:
        return packed(
            ArraySource(info, images, np.arange(4) % 2, ids), tmp_path / name
        ).fingerprint()

    before = mark("a")
    assert before == mark("b")
    images[2, 3, 3, 1] ^= 1
    assert before != mark("c")


@pytest.mark.parametrize(("name", "value"), [("side", -1), ("quality", 0), ("shard_mb", 0)])
def test_options_out_of_range_are_refused(name: str, value: int) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(XferError, match=f"{name}={value}: must be"):
        Packing(**options)


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a pack"):
        open_data(f"pack:{tmp_path}")
    (tmp_path / "index.json").write_text('{"format": "other"}')
    with pytest.raises(DataError, match="not the index of a pack"):
        open_data(f"pack:{tmp_path}")
    (tmp_path / "index.json").write_text('{"format": "xfer-pack", "version": 9}')
    with pytest.raises(DataError, match=r"newer xfer \(schema 9, this one reads up to 3\)"):
        open_data(f"pack:{tmp_path}")


def test_what_a_coco_file_calls_pictures_and_classes_is_kept(tmp_path: Path) -> None:
    """By these, results in COCO's form and files of proposals are matched."""
    write_coco(tmp_path / "set", 6)
    pack(tmp_path / "set", tmp_path / "pack", Packing(shard_mb=1))
    options: dict[str, Any] = {"val": "none", "limit": 4}
    straight = open_data(str(tmp_path / "set"), **options).splits["train"]
    found = open_data(str(tmp_path / "pack"), **options).splits["train"]
    assert list(found.ids) == list(straight.ids)
    assert image_ids(found) == image_ids(straight) and len(image_ids(found) or ()) == 4
    assert category_ids(found) == category_ids(straight) == {"cat": 5, "dog": 90}
    truth = open_truth(str(tmp_path / "pack"))
    assert truth.categories == {5: 0, 90: 1} and truth.images[7 * 2 + 3] == 2
    plain = packed(SyntheticSource(4), tmp_path / "plain")
    assert image_ids(plain) is None and category_ids(plain) is None


def test_a_pack_without_marks_and_areas_reads_as_none_and_the_boxes_own(tmp_path: Path) -> None:
    """Packs of sources that knew neither, and of a split whose shards differ in it."""
    root = tmp_path / "p"
    whole = packed(Marked(60, "detect", size=160), root)
    index = read_index(root)
    bare = index["shards"][::2]
    assert 1 < len(bare) < len(index["shards"])
    for shard in bare:
        file = root / f"{shard['name']}.npz"
        arrays = {
            k: v for k, v in np.load(file).items() if k not in ("difficult", "crowd", "areas")
        }
        np.savez(file, **arrays)
        shard["npz_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (root / "index.json").write_text(json.dumps(sealed(index)), encoding="utf-8")
    (split,) = index["splits"]
    source = PackSource(root, read_index(root), split)
    check_source(source)
    stems = {shard["name"] for shard in bare}
    seen = {"bare": 0, "whole": 0}
    for i in range(60):
        known = whole.annotation(i)
        is_bare = source.files[source._shard[i]].stem in stems
        seen["bare" if is_bare else "whole"] += int(known.ignored.sum())
        plain = Boxes.of(known.xyxy, known.labels, size=known.size)
        assert source.annotation(i) == (plain if is_bare else known)
    assert min(seen.values()) > 5


def test_the_layout_of_a_shards_boxes_is_the_one_described(tmp_path: Path) -> None:
    source = Marked(20, "detect")
    packed(source, tmp_path / "p")
    with np.load(tmp_path / "p" / "shard-00000.npz") as table:
        kinds = {key: table[key].dtype for key in table.files[-6:]}
        count, boxes = table["box_count"], table["boxes"]
        order = table["order"]
    assert kinds == {
        "box_count": np.int64, "boxes": np.float32, "box_labels": np.int64, "difficult": np.bool_,
        "crowd": np.bool_, "areas": np.float64,
    }  # fmt: skip
    assert count.tolist() == [i % 4 for i in order.tolist()] and len(boxes) == count.sum()
    packed(SyntheticSource(4), tmp_path / "plain")
    with np.load(tmp_path / "plain" / "shard-00000.npz") as table:
        assert table["box_count"].tolist() == [-1] * 4 and table["boxes"].shape == (0, 4)
        assert not {"difficult", "crowd", "areas"} & set(table.files)
