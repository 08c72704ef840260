"""`panoptic`: COCO's panoptic annotations, or its stuff maps, as one class per pixel.

    annotations/panoptic_SPLIT.json, annotations/panoptic_SPLIT/*.png   also panoptic_SPLIT/ next
                                                                        to annotations/
    stuffthingmaps/SPLIT/*.png                                          if there is no such json

A panoptic PNG's colour is a segment's id, R + 256 G + 65536 B, whose class is in the json; 0 is
ignored. A crowd keeps its class. Stuff maps hold a label's id minus one, 255 is ignored; labels.txt
(`1: person`) names them. Pictures are in SPLIT/ or images/.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.walk import has_picture, is_junk, listing, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.coco.counting import images_from
from xfer.data.readers.masks.class_table import ClassRow, find_table
from xfer.data.readers.masks.split_lists import find_all, stems
from xfer.data.readers.masks.values import code_of, numbered
from xfer.data.readers.table.locate import Locator
from xfer.data.sources import door
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.mask_codes import colour_codes, runs_of
from xfer.data.sources.masks import MaskFiles, MaskSource, file_stamp
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.written import Id, plain_id
from xfer.errors import DataError, reader
from xfer.files import at_home, bytes_of
from xfer.types import IGNORE, DataInfo

PREFIX = "panoptic_"
FOLDER = "annotations"
STUFF = ("stuffthingmaps", "stuffthingmaps_trainval2017")
STUFF_CLASSES = 182


@FORMATS.register("panoptic")
class Panoptic:
    """COCO's panoptic json and PNGs, or stuff maps."""

    kinds: ClassVar[tuple[str, ...]] = ("segment",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True

    def recognise(self, path: Path) -> str | None:
        if path.is_file() or any(e.name.startswith("instances_") for e in listing(path / FOLDER)):
            return None  # COCO's complete tree is read as `coco` unless this format is named
        files = _jsons(path)
        if files:
            return f"COCO panoptic, {', '.join(f.name for f in files.values())}"
        maps = _maps(path)
        return None if maps is None else f"COCO stuff maps, {maps.name}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        files, maps = _jsons(path), _maps(path)
        if not files and maps is None:
            raise DataError(f"{path}: no panoptic json in it", "annotations/panoptic_SPLIT.json")
        reading = Reading({})
        for split, file in files.items():
            reading.parts[split] = _panoptic(path, file, split, options, reading)
        if not files and maps is not None:
            _stuff(path, maps, options, reading)
        return reading


class PanopticMasks(MaskSource):
    """Pictures with panoptic PNGs.

    Args:
        masks: N paths, relative to root or absolute; segments: for each picture, segment id ->
            class index, 255 = ignored; file: the json.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        masks: Sequence[str],
        segments: Sequence[dict[int, int]],
        file: Path,
        ids: Sequence[str],
    ) -> None:
        super().__init__(info, root, files, ids)
        self.masks, self.segments = tuple(masks), tuple(segments)
        self._mark = f"{file_stamp(file)} {info.classes}"

    @door.sample
    def read_mask(self, i: int) -> NDArray[np.uint8]:
        name = readable(Path(self.masks[i]).name)
        try:
            raw = read_mask_file(self.root / self.masks[i])
        except DecodeError as error:
            raise DecodeError(f"mask {name}: {error.reason}", self.ids[i]) from None
        if raw.coloured:
            segment = colour_codes(np.asarray(raw.values, np.uint8)[:, :, ::-1])
        else:  # read as grey: a colour of three equal parts
            segment = raw.values.astype(np.int32) * 0x10101
        known = {0: IGNORE, **self.segments[i]}
        run_ids, times = runs_of(segment)
        unknown = sorted(set(run_ids.tolist()) - set(known))
        if unknown:
            listed = ", ".join(map(str, unknown[:5]))
            raise DecodeError(f"mask {name}: no segment has the id {listed}", self.ids[i])
        labels = np.array([known[s] for s in run_ids.tolist()], np.uint8)
        return np.repeat(labels, times).reshape(segment.shape)

    def mask_stamp(self, i: int) -> str:
        return f"{file_stamp(self.root / self.masks[i])} {self._mark}"


def _panoptic(
    path: Path, file: Path, split: str, options: ReadOptions, reading: Reading
) -> PanopticMasks:
    document = _document(file)
    ids, names = _categories(file, document["categories"])
    rows = [ClassRow(n, key if isinstance(key, int) else None)
            for n, key in zip(names, ids, strict=True)]  # fmt: skip
    classes, numbers, gone = numbered(path, rows, options.ignore)
    if not reading.parts:
        listed = "".join(f", {names[i]}" for i in gone)
        reading.notes.append(f"{len(classes)} classes of {file.name}")
        reading.notes.append(f"ignored: pixels without a segment{listed}")
    label: dict[Id | None, int] = dict(zip(ids, numbers.tolist(), strict=True))
    pictures, counted = _pictures(file, document)
    reading.notes.extend(f"{file.name}: {line}" for line in counted)
    masks_of: dict[str, tuple[str, dict[int, int]]] = {}
    bad: list[tuple[str, str]] = []
    for place, entry in enumerate(document["annotations"]):
        try:
            key, name = plain_id(entry["image_id"]), str(entry["file_name"])
            segments = {int(s["id"]): label[plain_id(s["category_id"])]
                        for s in entry["segments_info"]}  # fmt: skip
            if key not in pictures:
                bad.append((f"annotation {place} of the list", f"no image has the id {key!r}"))
                continue
            masks_of[pictures[key]] = (name, segments)
        except (KeyError, TypeError, ValueError) as error:
            bad.append((f"annotation {place} of the list", f"{type(error).__name__}: {error}"))
    leave_out(str(file), "annotations can't be used", bad, options.skip_bad, reading.skipped)
    inner = (file.with_suffix(""), path / file.stem, file.parent.parent / file.stem)
    folder = next((f for f in inner if has_picture(f)), None)
    if folder is None:
        raise DataError(f"{file}: its masks are not there", f"{file.stem}/*.png next to it")
    locator = Locator(path.absolute() / "x", _image_folders(path, split, options))
    places = {name: locator.find_anywhere(name) for name in masks_of}
    if not any(places.values()):
        raise DataError(
            f"{file}: none of its {len(masks_of)} pictures is there",
            f"looked in {locator.places()}; data.images=DIR names their folder",
        )
    lost = [(name, "no such picture") for name, place in places.items() if place is None]
    leave_out(str(file), "pictures are not there", lost, options.skip_bad, reading.skipped)
    kept = [name for name, place in places.items() if place is not None]
    info = DataInfo(readable(path.name), "segment", classes, role_of(split) or split)
    masks = [str((folder / masks_of[name][0]).absolute()) for name in kept]
    return PanopticMasks(
        info, path, [str(places[name]) for name in kept], masks,
        [masks_of[name][1] for name in kept], file, [readable(name) for name in kept],
    )  # fmt: skip


@reader
def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(bytes_of(file))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {str(error)[:100]}") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), list) for key in lists
    ):
        raise DataError(f"{file}: not a panoptic json: it needs lists of {', '.join(lists)}")
    return document


def _categories(file: Path, entries: list[Any]) -> tuple[list[Id], list[str]]:
    """Ids and names, by rising id."""
    try:
        pairs = [(plain_id(entry["id"]), str(entry["name"])) for entry in entries]
    except (KeyError, TypeError):
        raise DataError(f"{file}: a category has no id or no name") from None
    keys, names = [key for key, _ in pairs], [name for _, name in pairs]
    if None in keys or len(set(keys)) < len(keys) or len(set(names)) < len(names):
        raise DataError(f"{file}: two categories have the same id or name")
    order = sorted(range(len(pairs)), key=lambda i: (isinstance(keys[i], str), keys[i]))
    return [k for i in order if (k := keys[i]) is not None], [names[i] for i in order]


def _pictures(file: Path, document: dict[str, Any]) -> tuple[dict[Id | None, str], list[str]]:
    """The names of the pictures by their ids as annotations write them, and warnings."""
    try:
        ids = [plain_id(entry["id"]) for entry in document["images"]]
        names = [str(entry["file_name"]) for entry in document["images"]]
    except (KeyError, TypeError):
        raise DataError(f"{file}: an image has no id or no file_name") from None
    used = {plain_id(e.get("image_id")) for e in document["annotations"] if isinstance(e, dict)}
    own, lines = images_from(file, [key for key in ids if key is not None], used)
    known = ids if None in ids else own
    return dict(zip(known, names, strict=True)), lines


def _jsons(path: Path) -> dict[str, Path]:
    """Split name -> panoptic json of a folder."""
    entries = [*listing(path / FOLDER), *listing(path)]
    files = [Path(e.path) for e in entries if not is_junk(e.name)]
    return {
        f.stem.removeprefix(PREFIX) or WHOLE: f
        for f in files
        if f.name.startswith(PREFIX) and f.suffix == ".json"
    }


def _maps(path: Path) -> Path | None:
    return next((path / name for name in STUFF if (path / name).is_dir()), None)


def _image_folders(path: Path, split: str, options: ReadOptions) -> list[Path]:
    if not options.images:
        return [path.absolute() / n for n in (split, f"images/{split}", "images", "")]
    folder = at_home(options.images).absolute()
    if not folder.is_dir():
        raise DataError(f"data.images={options.images}: no such folder")
    return [folder, folder / split]


def _stuff(path: Path, maps: Path, options: ReadOptions, reading: Reading) -> None:
    """The splits of stuff maps."""
    table = find_table([path, maps])
    rows = [ClassRow(str(v + 1), v) for v in range(STUFF_CLASSES)]
    where = "no labels.txt: classes by number"
    if table is not None:
        where = f"classes from {table[0].name}"
        # labels.txt counts from 1, and 0 is unlabeled; maps count from 0
        named = [(row.value if row.value is not None else i, row.name)
                 for i, row in enumerate(table[1])]  # fmt: skip
        rows = [ClassRow(name, value - 1) for value, name in named if value > 0]
    values = [row.value or 0 for row in rows]
    classes, code, lines = code_of(path, rows, values, "value", where, options.ignore)
    reading.notes.extend(lines)
    for folder in subfolders(maps):
        masks, split = stems([folder]), folder.name
        if not masks:
            continue
        places = _image_folders(path, split, options)
        kept, files, own = find_all(
            path, split, tuple(masks), places, masks, options.skip_bad, reading
        )
        info = DataInfo(readable(path.name), "segment", classes, role_of(split) or split)
        reading.parts[split] = MaskFiles(info, path, files, own, code, kept)
    if not reading.parts:
        raise DataError(f"{maps}: no masks in it", "train2017/*.png")
