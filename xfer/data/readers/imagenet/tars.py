"""ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, read in place: nothing is unpacked.

The train tar holds one tar per class, <wnid>.tar; the val tar holds its pictures flat, not in the
order of their names. Ids are the paths that the pictures have when unpacked:
train/n01440764/n01440764_10026.JPEG, val/ILSVRC2012_val_00000001.JPEG. So tars and folders give the
same order, the same labels and the same training.
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
    """Which of the two tars are in a folder."""
    return [name for name in (TRAIN, VAL) if (folder / name).is_file()]


def read_tars(folder: Path, verify: bool = True) -> dict[str, IndexedSource]:
    """The splits that the tars hold. Raises DataError if they can't be used."""
    parts: dict[str, IndexedSource] = {}
    if (folder / TRAIN).is_file():
        tar = folder / TRAIN
        index = kept_index(["ilsvrc train", state_of(tar)], lambda: _train(tar), verify)
        parts["train"] = tar_source(folder, "train", index)
    if (folder / VAL).is_file():
        tar, kit = folder / VAL, find_devkit(folder)
        if kit is None:
            raise DataError(
                f"{tar}: its labels are in the devkit, which is not in the same folder", PAGE
            )
        states = ["ilsvrc val", state_of(tar), *devkit_states(kit)]
        index = kept_index(states, lambda: _val(tar, kit), verify)
        parts["val"] = tar_source(folder, "val", index)
    return parts


def tar_source(folder: Path, split: str, index: Index) -> IndexedSource:
    return IndexedSource(DataInfo(folder.name, "classify", index.classes, split), folder, index)


def _train(tar: Path) -> Entries:
    entries = Entries(files=[tar.name])
    wnids: dict[str, int] = {}
    labels: list[int] = []
    for inner, member in members_within(tar):
        wnid = inner.rpartition("/")[2].removesuffix(".tar")
        if not is_wnid(wnid):
            raise DataError(
                f"{tar}: {inner} is not the tar of a class", "its members are <wnid>.tar"
            )
        name = member.name.rpartition("/")[2]
        if is_junk(name):
            continue
        labels.append(wnids.setdefault(wnid, len(wnids)))
        entries.add(f"train/{wnid}/{name}", 0, 0, member.start, member.length)
    if not labels:
        raise DataError(f"{tar}: no tar of a class in it", "its members are <wnid>.tar")
    ordered = sorted(wnids)
    place = {wnids[wnid]: k for k, wnid in enumerate(ordered)}
    entries.labels = [place[k] for k in labels]
    entries.classes = class_names(ordered, {})
    return entries


def _val(tar: Path, kit_place: Path) -> Entries:
    kit = read_devkit(kit_place)
    entries = Entries(files=[tar.name])
    wnids: list[str] = []
    for member in members(tar):
        name = member.name.rpartition("/")[2]
        if is_junk(name):
            continue
        wnids.append(kit.label(name.rpartition(".")[0]))
        entries.add(f"val/{name}", 0, 0, member.start, member.length)
    if not wnids:
        raise DataError(f"{tar}: no pictures in it")
    ordered = sorted(set(wnids))
    place = {wnid: k for k, wnid in enumerate(ordered)}
    entries.labels = [place[wnid] for wnid in wnids]
    entries.classes = class_names(ordered, kit.words)
    return entries
