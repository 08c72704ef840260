"""ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, read in place: nothing is unpacked.

The train tar holds one tar a class, <wnid>.tar; the val tar holds its pictures flat, and not in
the order of their names. Ids are the paths that the pictures have where they are unpacked:
train/n01440764/n01440764_10026.JPEG, val/ILSVRC2012_val_00000001.JPEG. So both ways give the same
order, the same labels and the same training.
"""

from __future__ import annotations

from pathlib import Path

from xfer.data.images.walk import is_junk
from xfer.data.readers.imagenet.devkit import PAGE, devkit_states, find_devkit, read_devkit
from xfer.data.sources.index_file import Entries, Index, kept_index, state_of
from xfer.data.sources.indexed import IndexedSource
from xfer.data.sources.tar_index import members, members_within
from xfer.data.sources.wordnet import class_names, is_wnid
from xfer.errors import DataError
from xfer.types import DataInfo

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def find_tars(folder: Path) -> list[str]:
    """Which of the two tars lie in a folder."""
    return [name for name in (TRAIN, VAL) if (folder / name).is_file()]


def read_tars(folder: Path) -> dict[str, IndexedSource]:
    """The splits that the tars hold. Raises DataError for what can't be used."""
    parts: dict[str, IndexedSource] = {}
    if (folder / TRAIN).is_file():
        tar = folder / TRAIN
        index = kept_index(["ilsvrc train", state_of(tar)], lambda: _train(tar))
        parts["train"] = tar_source(folder, "train", index)
    if (folder / VAL).is_file():
        tar, kit = folder / VAL, find_devkit(folder)
        if kit is None:
            raise DataError(f"{tar}: its labels are in the devkit, which is not beside it", PAGE)
        states = ["ilsvrc val", state_of(tar), *devkit_states(kit)]
        index = kept_index(states, lambda: _val(tar, kit))
        parts["val"] = tar_source(folder, "val", index)
    return parts


def tar_source(folder: Path, split: str, index: Index) -> IndexedSource:
    return IndexedSource(DataInfo(folder.name, "classify", index.classes, split), folder, index)


def _train(tar: Path) -> Entries:
    made = Entries(files=[tar.name])
    wnids: dict[str, int] = {}
    found: list[int] = []
    for inner, member in members_within(tar):
        wnid = inner.rpartition("/")[2].removesuffix(".tar")
        if not is_wnid(wnid):
            raise DataError(f"{tar}: {inner} is no tar of a class", "its members are <wnid>.tar")
        name = member.name.rpartition("/")[2]
        if is_junk(name):
            continue
        found.append(wnids.setdefault(wnid, len(wnids)))
        made.add(f"train/{wnid}/{name}", 0, 0, member.start, member.length)
    if not found:
        raise DataError(f"{tar}: no tar of a class in it", "its members are <wnid>.tar")
    ordered = sorted(wnids)
    place = {wnids[wnid]: k for k, wnid in enumerate(ordered)}
    made.labels = [place[k] for k in found]
    made.classes = class_names(ordered, {})
    return made


def _val(tar: Path, kit_place: Path) -> Entries:
    kit = read_devkit(kit_place)
    made = Entries(files=[tar.name])
    found: list[str] = []
    for member in members(tar):
        name = member.name.rpartition("/")[2]
        if is_junk(name):
            continue
        found.append(kit.label(name.rpartition(".")[0]))
        made.add(f"val/{name}", 0, 0, member.start, member.length)
    if not found:
        raise DataError(f"{tar}: no pictures in it")
    ordered = sorted(set(found))
    place = {wnid: k for k, wnid in enumerate(ordered)}
    made.labels = [place[wnid] for wnid in found]
    made.classes = class_names(ordered, kit.words)
    return made
