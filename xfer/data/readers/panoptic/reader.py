"""`panoptic`: COCO's panoptic annotations, as segments or as one class per pixel; or stuff maps.

    annotations/panoptic_SPLIT.json, annotations/panoptic_SPLIT/*.png   also panoptic_SPLIT/ next
                                                                        to annotations/
    FILE.json, FILE/*.png                                               one split
    stuffthingmaps/SPLIT/*.png                                          if there is no such json

A panoptic PNG's colour is a segment's id, whose class is in the json, see `document`; 0 is void. A
crowd keeps its class. Stuff maps hold a label's id minus one, 255 is ignored; labels.txt
(`1: person`) names them. Pictures are in SPLIT/ or images/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.walk import is_junk, listing, readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.masks.class_table import ClassRow
from xfer.data.readers.masks.values import numbered
from xfer.data.readers.panoptic.document import Document, png_folder, read_document, read_png
from xfer.data.readers.panoptic.stuff import read_stuff, stuff_maps
from xfer.data.readers.table.locate import Locator
from xfer.data.sources import door
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.masks import file_stamp
from xfer.data.sources.segments import SegmentSource
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.written import Id
from xfer.errors import DataError
from xfer.files import at_home, is_file
from xfer.objects.segments import Segments
from xfer.types import IGNORE, DataInfo

PREFIX = "panoptic_"
FOLDER = "annotations"


@FORMATS.register("panoptic")
class Panoptic:
    """COCO's panoptic json and PNGs, or stuff maps."""

    kinds: ClassVar[tuple[str, ...]] = ("segment", "panoptic")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True

    def recognise(self, path: Path) -> str | None:
        if path.is_file() or any(e.name.startswith("instances_") for e in listing(path / FOLDER)):
            return None  # COCO's complete tree is read as `coco` unless this format is named
        files = _jsons(path)
        if files:
            return f"COCO panoptic, {', '.join(f.name for f in files.values())}"
        maps = stuff_maps(path)
        return None if maps is None else f"COCO stuff maps, {maps.name}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        alone = is_file(path)
        root = path.parent if alone else path
        files = {_split_of(path): path} if alone else _jsons(path)
        maps = None if alone else stuff_maps(path)
        if not files and maps is None:
            raise DataError(f"{path}: no panoptic json in it", "annotations/panoptic_SPLIT.json")
        reading = Reading({})
        for split, file in files.items():
            reading.parts[split] = _panoptic(root, file, split, options, reading)
        if not files and maps is not None:
            read_stuff(path, maps, lambda split: _image_folders(path, split, options), options,
                       reading)  # fmt: skip
        return reading


class PanopticSource(SegmentSource):
    """Pictures with panoptic PNGs.

    Args:
        pngs: N paths, relative to root or absolute; segments: for each picture, segment id ->
            class index (-1: void) and whether it is a crowd; file: the json.
        image_ids, category_ids: as the json has them, one per picture and per class.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        pngs: Sequence[str],
        segments: Sequence[dict[int, tuple[int, bool]]],
        file: Path,
        ids: Sequence[str],
        image_ids: Sequence[Id] = (),
        category_ids: Sequence[Id] = (),
    ) -> None:
        super().__init__(info, root, files, ids, _present(segments, len(info.classes)))
        self.pngs, self.segments = tuple(pngs), tuple(segments)
        self.image_ids, self.category_ids = tuple(image_ids), tuple(category_ids)
        self._mark = f"{file_stamp(file)} {info.classes}"

    @door.sample
    def read_segments(self, i: int) -> Segments:
        return read_png(self.root / self.pngs[i], self.segments[i], self.ids[i])

    def mask_stamp(self, i: int) -> str:
        return f"{file_stamp(self.root / self.pngs[i])} {self._mark}"


def _present(segments: Sequence[dict[int, tuple[int, bool]]], classes: int) -> NDArray[np.int8]:
    """(N, C): which classes each picture's json lists a segment of."""
    present = np.zeros((len(segments), classes + 1), np.int8)
    for row, known in zip(present, segments, strict=True):
        row[[label for label, _ in known.values()]] = 1  # -1: the column that is left out
    return present[:, :-1]


def _panoptic(
    path: Path, file: Path, split: str, options: ReadOptions, reading: Reading
) -> PanopticSource:
    document = read_document(file)
    kind = options.kind or Panoptic.kinds[0]
    whole = kinds.get(kind).segments
    rows = [ClassRow(one.name, one.id if isinstance(one.id, int) else None)
            for one in document.categories]  # fmt: skip
    classes, numbers, gone = numbered(path, rows, options.ignore)
    if not reading.parts:
        listed = "".join(f", {rows[i].name}" for i in gone)
        reading.notes.append(f"{len(classes)} classes of {file.name}")
        reading.notes.append(f"ignored: pixels without a segment{listed}")
    reading.notes.extend(f"{file.name}: {line}" for line in document.notes)
    labels = [-1 if number == IGNORE else number for number in numbers.tolist()]
    label = {one.id: k for one, k in zip(document.categories, labels, strict=True)}
    masks, bad = _masks(document, label)
    leave_out(str(file), "annotations can't be used", bad, options.skip_bad, reading.skipped)
    folder = png_folder(file, (path / file.stem, file.parent.parent / file.stem))
    locator = Locator(path.absolute() / "x", _image_folders(path, split, options))
    places = {name: locator.find_anywhere(name) for name in masks}
    if not any(places.values()):
        raise DataError(
            f"{file}: none of its {len(masks)} pictures is there",
            f"looked in {locator.places()}; data.images=DIR names their folder",
        )
    lost = [(name, "no such picture") for name, place in places.items() if place is None]
    leave_out(str(file), "pictures are not there", lost, options.skip_bad, reading.skipped)
    kept = [name for name, place in places.items() if place is not None]
    info = DataInfo(
        readable(path.name), kind, classes, role_of(split) or split,
        things=things_of(document, classes) if whole else (),
    )  # fmt: skip
    by_label = {k: key for key, k in label.items()}
    return PanopticSource(
        info, path, [str(places[name]) for name in kept],
        [str((folder / masks[name][1]).absolute()) for name in kept],
        [masks[name][2] for name in kept], file, [readable(name) for name in kept],
        [masks[name][0] for name in kept] if whole else (),
        [by_label[k] for k in range(len(classes))] if whole else (),
    )  # fmt: skip


def _masks(
    document: Document, label: dict[Id, int]
) -> tuple[dict[str, tuple[Id, str, dict[int, tuple[int, bool]]]], list[tuple[str, str]]]:
    """(image id, PNG, segments by id) of each picture by its name; and what can't be used."""
    masks: dict[str, tuple[Id, str, dict[int, tuple[int, bool]]]] = {}
    bad = list(document.bad)
    for one in document.annotations:
        unknown = [key for key, _ in one.segments.values() if key not in label]
        if unknown:
            bad.append((one.png, f"no category has the id {unknown[0]!r}"))
            continue
        known = {i: (label[key], crowd) for i, (key, crowd) in one.segments.items()}
        masks[document.pictures[one.image]] = one.image, one.png, known
    return masks, bad


def things_of(document: Document, classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes that are things. Raises DataError where a class does not say."""
    silent = [one.name for one in document.categories if one.thing is None]
    if silent:
        raise DataError(
            f"{document.path}: the category {silent[0]} does not say whether it is a thing",
            "isthing: 1 (objects are told apart) or 0 in each of its categories",
        )
    return tuple(one.name for one in document.categories if one.thing and one.name in classes)


def _split_of(file: Path) -> str:
    return file.stem.removeprefix(PREFIX) or WHOLE


def _jsons(path: Path) -> dict[str, Path]:
    """Split name -> panoptic json of a folder."""
    entries = [*listing(path / FOLDER), *listing(path)]
    files = [Path(e.path) for e in entries if not is_junk(e.name)]
    named = [f for f in files if f.name.startswith(PREFIX) and f.suffix == ".json"]
    return {_split_of(f): f for f in named}


def _image_folders(path: Path, split: str, options: ReadOptions) -> list[Path]:
    if not options.images:
        return [path.absolute() / n for n in (split, f"images/{split}", "images", "")]
    folder = at_home(options.images).absolute()
    if not folder.is_dir():
        raise DataError(f"data.images={options.images}: no such folder")
    return [folder, folder / split]
