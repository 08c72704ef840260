"""Packs, and the index of pictures that is kept in the cache."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from pictures import encoded, scene

from fuzz import case as cases
from fuzz.case import Case
from fuzz.target import target, used
from xfer.data.open import open_data
from xfer.data.pack.writer import Packing, pack
from xfer.data.sources.base import ArraySource
from xfer.data.sources.index_file import ARRAYS, Entries, _packed, _read, _write
from xfer.data.sources.indexed import IndexedSource
from xfer.files import array_sum, sealed
from xfer.testing.segment_scenes import SegmentScenes
from xfer.testing.source import SyntheticSource
from xfer.types import DataInfo


def _boxes(folder: Path) -> Path:
    """A COCO set of three pictures."""
    for i in range(3):
        file = folder / "images" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(scene(24, 16, i)))
    boxes = [
        {"id": i, "image_id": i % 3, "category_id": 1 + i % 2, "bbox": [i, 1, 8, 9], "area": 72,
         "iscrowd": int(i == 4)}
        for i in range(5)
    ]  # fmt: skip
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 24, "height": 16} for i in range(3)],
        "annotations": boxes, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }  # fmt: skip
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def packs(folder: Path) -> list[Case]:
    images = [scene(20 + i, 16, i) for i in range(6)]
    labels = np.arange(6) % 2
    info = DataInfo("scenes", "classify", ("a", "b"), "train")
    classify = ArraySource(info, images, labels, [f"p/{i}.jpg" for i in range(6)])
    pack(classify, folder / "raw", Packing(raw=True, side=0, shard_mb=1))
    pack(classify, folder / "jpeg", Packing(raw=False, side=16, shard_mb=1))
    pack(SyntheticSource(6, classes=3, multilabel=True, size=16), folder / "multi",
         Packing(raw=True, side=0, shard_mb=1))  # fmt: skip
    found = open_data(f"coco:{_boxes(folder / 'coco')}", val="none")
    pack(found.splits["train"], folder / "boxes", Packing(raw=True, side=0, shard_mb=1))
    pack(SegmentScenes(4), folder / "segments", Packing(raw=True, side=0, shard_mb=1))
    names = ("raw", "jpeg", "multi", "boxes", "segments")
    made = [cases.of_folder(folder / name) for name in names]
    return [{n: c for n, c in one.items() if not n.startswith(".")} for one in made]


def consistent(case: Case) -> Case:
    """A pack with the checksums and sizes of the files that it has, where index.json can be read:
    what lies behind the checksums is tried as well."""
    try:
        index = json.loads(case["index.json"])
        for shard in index["shards"]:
            name = shard["name"]
            shard["npz_sha256"] = hashlib.sha256(case[f"{name}.npz"]).hexdigest()
            shard["bin_sha256"] = hashlib.sha256(case[f"{name}.bin"]).hexdigest()
            shard["bin_bytes"] = len(case[f"{name}.bin"])
        return {**case, "index.json": json.dumps(sealed(index)).encode()}
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError):
        return case


@target("packs", packs, mend=consistent)
def use_pack(path: Path) -> None:
    """As training reads it: opened, and its first and last samples used."""
    bundle = open_data(f"pack:{path}", val="none", check=False)
    for source in bundle.splits.values():
        source.labels().tolist()
        for i in {0, len(source) - 1}:
            source[i].image.sum()
            used(source[i].boxes, source[i].mask, source[i].segments)
            verify = getattr(source, "verify", None)
            if verify is not None:
                verify(i)
        source.fingerprint()


_PICTURES = [encoded(scene(20, 16, i), "JPEG") for i in range(3)]


def indices(folder: Path) -> list[Case]:
    made: list[Case] = []
    for tar in (True, False):
        entries = Entries(
            classes=("a", "b"), files=["all.bin"] if tar else [], notes=["3 pictures"]
        )
        at = 0
        for i, picture in enumerate(_PICTURES):
            entries.add(f"{i}.jpg", i % 2, 0, at if tar else -1, len(picture))
            at += len(picture)
        place = folder / f"index{tar}"
        _write(place, *_packed(entries))
        case = {f"index/{name}": content for name, content in cases.of_folder(place).items()}
        files = {"all.bin": b"".join(_PICTURES)}
        if not tar:
            files = {f"{i}.jpg": picture for i, picture in enumerate(_PICTURES)}
        made.append({**case, **files})
    return made


def summed(case: Case) -> Case:
    """An index with the checksums of the arrays that it has, where they can be read."""
    try:
        about = json.loads(case["index/about.json"])
        arrays = {name: np.load(io.BytesIO(case[f"index/{name}.npy"])) for name in ARRAYS}
        about["sums"] = {name: array_sum(array) for name, array in arrays.items()}
        return {**case, "index/about.json": json.dumps(sealed(about)).encode()}
    except Exception:
        return case


@target("kept_index", indices, keep=("*.jpg", "all.bin"), mend=summed)
def use_index(path: Path) -> None:
    """As opening a million pictures reads it; a damaged one is made again."""
    index = _read(path / "index")
    if index is None:
        return
    info = DataInfo("kept", "classify", index.classes or ("a", "b"), "train")
    source = IndexedSource(info, path, index)
    used(source.fingerprint(), source.labels(), source.stored(), source.ids)
    for i in {0, len(source) - 1} if len(source) else ():
        source.verify(i)
        source[i].image.sum()
        used(source.stamp(i), source.path(i))
