"""Readers of masks: files, folders of them with tables of classes, and the sets that have a format
of their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mask_sets import make_mask, write_picture, write_set
from PIL import Image
from test_data_mask_formats import write_ade, write_cityscapes, write_panoptic, write_sbd
from test_data_mask_formats import write_voc as write_voc_masks
from test_instances_data import write_cityscapes_ids

from fuzz.case import Case
from fuzz.reading import attempts, seeds_in, use_data
from fuzz.target import target
from xfer.data.images.mask_file import read_mask_file
from xfer.data.readers.masks.class_table import find_table, read_table
from xfer.data.readers.masks.run_lengths import write_runs

PICTURES = ("*.jpg", "*leftImg8bit.png", "images/*")


def _saved(pixels: Any, kind: str, mode: str = "", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def mask_files(folder: Path) -> list[Case]:
    mask = make_mask((0, 1, 2, 255))
    colours = np.stack([mask, mask // 2, 255 - mask], 2)
    palette = Image.fromarray(mask)
    palette.putpalette([k % 256 for k in range(768)])
    files = {
        "grey.png": _saved(mask, "PNG"),
        "bits.png": _saved(mask > 0, "PNG"),
        "two.png": _saved(mask % 4, "PNG", bits=2),
        "deep.png": _saved(mask.astype(np.uint16) * 200, "PNG"),
        "palette.png": _saved(palette, "PNG"),
        "colour.png": _saved(colours, "PNG"),
        "alpha.png": _saved(colours, "PNG", "RGBA"),
        "grey.tif": _saved(mask, "TIFF"),
        "packed.tif": _saved(mask, "TIFF", compression="tiff_lzw"),
        "deep.tif": _saved(mask.astype(np.int32), "TIFF"),
        "palette.gif": _saved(mask, "GIF", "P"),
        "grey.bmp": _saved(mask, "BMP"),
        "grey.pgm": _saved(mask, "PPM"),
    }
    return [{name: content} for name, content in files.items()]


@target("masks", mask_files)
def use_masks(path: Path) -> None:
    read_mask_file(path)


TABLES = {
    "classes.txt": "sky\nroad\ncar\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:1,1,1::\ncar:2,2,2::\n",
    "class_dict.csv": "name,r,g,b\nsky,0,0,0\nroad,1,1,1\ncar,2,2,2\n",
    "classes.csv": "value,name\n0,sky\n1,road\n2,car\n",
    "classes.json": '{"0": "sky", "1": "road", "2": "car"}',
    "label_colors.txt": "0 0 0 sky\n1 1 1 road\n2 2 2 car\n",
}


def mask_tables(folder: Path) -> list[Case]:
    """A set with a table of each kind, and one whose masks are colours."""

    def one(name: str) -> Callable[[Path], None]:
        def write(root: Path) -> None:
            write_set(root)
            (root / name).write_text(TABLES[name])

        return write

    return seeds_in(folder, *map(one, TABLES), _listed_set)


def _listed_set(root: Path) -> None:
    write_set(root, names=("a", "b", "c", "d"))
    (root / "train.txt").write_text("a.png\nb.png\n")
    (root / "val.txt").write_text("images/c.png masks/c.png\nimages/d.png masks/d.png\n")


@target("mask_tables", mask_tables, keep=("images/*",))
def use_mask_tables(path: Path) -> None:
    tables = [path / name for name in TABLES if (path / name).is_file()]
    attempts([
        *(lambda file=file: read_table(file) for file in tables),
        lambda: find_table([path]),
        lambda: use_data(f"masks:{path}"),
    ], [lambda: use_data(f"masks:{path}", "instance")])  # fmt: skip


def run_lengths(folder: Path) -> list[Case]:
    def kaggle(root: Path) -> None:
        lines = ["ImageId,EncodedPixels"]
        for k in range(3):
            write_picture(root / "train" / f"{k}.png", k)
            mask = np.zeros((12, 16), bool)
            mask[2 + k : 8, 3:9] = True
            lines.append(f"{k}.png,{write_runs(mask)}")
        (root / "train.csv").write_text("\n".join([*lines, "2.png,"]) + "\n")

    def classes(root: Path) -> None:
        lines = ["Image_Label,EncodedPixels"]
        for k in range(3):
            write_picture(root / "train" / f"{k}.png", k)
            lines += [f"{k}.png_Fish,3 4 20 5", f"{k}.png_Sugar,60 7"]
        (root / "train.csv").write_text("\n".join(lines) + "\n")

    return seeds_in(folder, kaggle, classes)


@target("run_lengths", run_lengths, keep=("*.png",))
def use_run_lengths(path: Path) -> None:
    use_data(f"rle:{path}")


def sbd_sets(folder: Path) -> list[Case]:
    def both(root: Path) -> None:
        write_sbd(root)
        write_voc_masks(root, train="2007_000001 2009_000004", val="2008_000003")

    return seeds_in(folder, write_sbd, both)


@target("sbd", sbd_sets, keep=PICTURES)
def use_sbd(path: Path) -> None:
    use_data(f"sbd:{path}")


def panoptic_sets(folder: Path) -> list[Case]:
    def stuff(root: Path) -> None:
        write_picture(root / "train2017" / "a.png")
        maps = root / "stuffthingmaps" / "train2017"
        maps.mkdir(parents=True)
        Image.fromarray(make_mask((0, 1, 2))).save(maps / "a.png")
        (root / "labels.txt").write_text("".join(f"{k}: thing{k}\n" for k in range(183)))

    def told(root: Path) -> None:
        write_panoptic(root, make_mask((0, 1, 2, 3)), True)
        file = root / "annotations/panoptic_val2017.json"
        file.write_text(file.read_text().replace('"person"', '"person", "isthing": 1'))

    return seeds_in(
        folder,
        lambda root: write_panoptic(root, make_mask((0, 1, 2, 3)), False),
        lambda root: write_panoptic(root, make_mask((0, 3)), True),
        told,
        stuff,
    )


@target("panoptic", panoptic_sets, keep=("*.jpg", "train2017/*"))
def use_panoptic(path: Path) -> None:
    spec = f"panoptic:{path}"
    attempts([lambda: use_data(spec)], [lambda: use_data(spec, "panoptic")])


@target(
    "scenes",
    lambda folder: seeds_in(
        folder,
        write_cityscapes,
        lambda root: write_cityscapes(root, "labelTrainIds"),
        write_ade,
        write_cityscapes_ids,
    ),
    keep=PICTURES,
)
def use_scenes(path: Path) -> None:
    ade = (path / "objectInfo150.txt").is_file()
    spec = f"{'ade20k' if ade else 'cityscapes'}:{path}"
    labelled = ade or any(path.rglob("*_label*Ids.png"))
    ways = ("segment",) if labelled else ("instance", "panoptic")
    attempts([lambda kind=kind: use_data(spec, kind) for kind in ways])
