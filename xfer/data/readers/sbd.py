"""`sbd`: the Semantic Boundaries Dataset, VOC's classes for 11,355 of its pictures.

    benchmark_RELEASE/dataset/{img, cls, train.txt, val.txt}   as downloaded
    {img, cls, train.txt, val.txt}                             as torchvision leaves it

Each cls/*.mat holds a mask, `GTcls[0]["Segmentation"][0]`. Each .txt next to cls/ is a split. If a
VOC tree with masks is in the same folder or next to it (VOCdevkit/VOC2012), there is also the split
trainaug: VOC's train and all of SBD without VOC's val, 10,582 pictures with VOC 2012, with VOC's
mask if it has one. Lists that are not SBD's own (seg11valid.txt) prefer VOC's masks, on which their
published scores are based; train, val and train_noval prefer SBD's.

Source: Hariharan et al., "Semantic contours from inverse detectors", ICCV 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import RawMask, read_mask_file
from xfer.data.images.picture_file import picture_bytes
from xfer.data.images.walk import listing, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.masks.split_lists import find_all, read_lists, stems
from xfer.data.readers.masks.values import code_of
from xfer.data.readers.matlab import Struct, variables
from xfer.data.readers.voc.masks import has_masks, voc_rows
from xfer.data.sources.masks import MaskFiles
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError, reader
from xfer.types import DataInfo

AUGMENTED = "trainaug"
OWN = ("train", "val", "train_noval")


@FORMATS.register("sbd")
class Sbd:
    """The folder tree of SBD."""

    kinds: ClassVar[tuple[str, ...]] = ("segment",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        top = _top(path)
        return None if top is None else f"SBD, {top.relative_to(path) / 'cls'}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        top = _top(path)
        if top is None:
            raise DataError(f"{path}: no SBD in it", "dataset/ with img/, cls/*.mat and train.txt")
        rows = voc_rows()
        values = [row.value or 0 for row in rows]
        classes, code, lines = code_of(top, rows, values, "value", "VOC's classes", options.ignore)
        reading = Reading({}, lines)
        masks, pictures, lists = stems([top / "cls"], ".mat"), [top / "img"], read_lists(top)
        if not lists:
            raise DataError(f"{top}: no list of a split", "train.txt and val.txt, an id per line")
        theirs: dict[str, Path] = {}
        voc = next(_vocs(path, top), None)
        if voc is not None:
            own = read_lists(voc / "ImageSets" / "Segmentation")
            left = set(own.get("val", ()))
            ids = [*own.get("train", ()), *lists.get("train", ()), *lists.get("val", ())]
            lists[AUGMENTED] = tuple(i for i in dict.fromkeys(ids) if i not in left)
            pictures.append(voc / "JPEGImages")
            theirs = stems([voc / "SegmentationClass"])
        for name, ids in lists.items():
            first, second = (masks, theirs) if name in OWN else (theirs, masks)
            candidates = {**second, **first}
            kept, files, mask_files = find_all(
                top, name, ids, pictures, candidates, options.skip_bad, reading
            )
            if not mask_files:
                raise DataError(f"{top}: no picture of {name} has a mask", "cls/ID.mat")
            info = DataInfo(readable(path.name), "segment", classes, role_of(name) or name)
            reading.parts[name] = SbdMasks(info, top, files, mask_files, code, kept)
        return reading


class SbdMasks(MaskFiles):
    """Pictures with masks in .mat files, or in VOC's PNGs."""

    def read_raw(self, path: Path) -> RawMask:
        return read_mat(path) if path.suffix == ".mat" else read_mask_file(path)


@reader
def read_mat(path: Path) -> RawMask:
    """Read the mask of one .mat file. Raises DecodeError if there is none."""
    name = readable(str(path))
    try:
        content = variables(picture_bytes(path), ["GTcls"], "").get("GTcls")
    except OSError as error:
        raise DecodeError(error.strerror or str(error), name) from None
    except DecodeError as error:
        raise DecodeError(error.reason, name) from None
    except DataError as error:
        raise DecodeError(f"no mask in it ({error.message.removeprefix(': ')})", name) from None
    masks = content.fields.get("Segmentation", ()) if isinstance(content, Struct) else ()
    if not masks or not isinstance(masks[0], np.ndarray):
        raise DecodeError("no mask in it (no GTcls.Segmentation)", name)
    mask: NDArray[Any] = masks[0]
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DecodeError(f"its mask is {mask.dtype} {mask.shape}", name)
    return RawMask(np.ascontiguousarray(mask))


def _top(path: Path) -> Path | None:
    """The folder that holds img/ and cls/."""
    for place in (path, path / "dataset", path / "benchmark_RELEASE" / "dataset"):
        mats = listing(place / "cls")
        if (place / "img").is_dir() and any(entry.name.endswith(".mat") for entry in mats):
            return place
    return None


def _vocs(path: Path, top: Path) -> Iterator[Path]:
    """VOC trees with masks in the set's folder or next to it, the latest first."""
    seen: set[Path] = set()
    for folder in (path, top, path.absolute().parent):
        for inner in (folder, folder / "VOCdevkit", folder / "TrainVal" / "VOCdevkit"):
            for tree in reversed(subfolders(inner)):
                if tree.name.startswith("VOC") and tree not in seen and has_masks(tree):
                    seen.add(tree)
                    yield tree
