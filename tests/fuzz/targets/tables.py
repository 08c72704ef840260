"""Readers of tables: labels in csv, lists and records, pixels in cells, parquet, and changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from imagenet_sets import write_parquet
from pictures import encoded, scene, write_folder, write_picture
from test_data_pixels import fer, mnist

from fuzz.case import Case
from fuzz.reading import attempts, seeds_in, use_data
from fuzz.target import target
from xfer.data.sources.changes import read_changes

PICTURES = ("*.jpg", "*.png")
NAMES = [f"{i}.jpg" for i in range(6)]


def _table(name: str, *lines: str) -> Callable[[Path], None]:
    """Writes six pictures in pics/ and a table beside that folder."""

    def write(root: Path) -> None:
        for i, picture in enumerate(NAMES):
            write_picture(root / "pics" / picture, seed=i)
        (root / name).write_text("\n".join(lines) + "\n")

    return write


def _rows(form: str) -> list[str]:
    """A line for each picture: {n} its name, {k} its number, {c} a class, {m} one or two of them,
    {s} a split."""
    several = ("ant", "bee,red", "ant,bee")
    return [
        form.format(
            n=name, k=k, c=("ant", "bee")[k % 2], m=several[k % 3], s=("train", "val")[k > 3]
        )
        for k, name in enumerate(NAMES)
    ]


def label_tables(folder: Path) -> list[Case]:
    return seeds_in(
        folder,
        _table("labels.csv", "filename,label,split", *_rows("pics/{n},{c},{s}")),
        _table("labels.csv", "image;labels", *_rows("{n};{m}")),
        _table("train.csv", "image,ant,bee", *_rows('"{n}",1,0')),
        _table("labels.tsv", "id\tage", *_rows("{n}\t{k}")),
        _table("train.txt", *_rows("pics/{n} {k}")),
    )


@target("csv", label_tables, keep=PICTURES)
def use_csv(path: Path) -> None:
    use_data(f"csv:{path}")


def records(folder: Path) -> list[Case]:
    lines = [json.dumps({"file_name": f"pics/{n}", "label": ["ant", "bee"][k % 2], "k": k})
             for k, n in enumerate(NAMES)]  # fmt: skip
    several = [json.dumps({"file_name": f"pics/{n}", "labels": ["ant", "bee"][: k % 3]})
               for k, n in enumerate(NAMES)]  # fmt: skip
    return seeds_in(folder, _table("metadata.jsonl", *lines), _table("metadata.jsonl", *several))


@target("records", records, keep=PICTURES)
def use_records(path: Path) -> None:
    use_data(f"csv:{path}")


def pixel_tables(folder: Path) -> list[Case]:
    return seeds_in(
        folder,
        lambda root: fer(root / "fer2013.csv", count=12, side=8),
        lambda root: mnist(root / "train.csv", count=6),
    )


@target("pixels", pixel_tables)
def use_pixels(path: Path) -> None:
    use_data(f"pixels:{path}")


def _parquet(root: Path) -> None:
    rows = [{"bytes": encoded(scene(seed=k)), "path": f"{k}.png"} for k in range(4)]
    labels = ["oak", "elm", "oak", None]
    table = pa.table({"image": rows, "label": labels, "split": ["train"] * 3 + ["test"]})
    pq.write_table(table, root / "trees.parquet", row_group_size=2)


@target("parquet", lambda folder: seeds_in(folder, _parquet, write_parquet))
def use_parquet(path: Path) -> None:
    use_data(f"parquet:{path}")


def lists_of_splits(folder: Path) -> list[Case]:
    """Class folders with lists beside them, lists with numbers, and lists of ids."""

    def by_name(root: Path) -> None:
        write_folder(root / "images", {"ant": 3, "bee": 3})
        for split, k in (("train", 0), ("val", 2)):
            lines = [f"{c}/{i}.jpg" for c in ("ant", "bee") for i in range(k, min(k + 2, 3))]
            (root / f"{split}.txt").write_text("\n".join(lines) + "\n")

    def by_number(root: Path) -> None:  # as CUB-200-2011 has them
        write_folder(root / "images", {"001.ant": 3, "002.bee": 3})
        files = [f"{c}/{i}.jpg" for c in ("001.ant", "002.bee") for i in range(3)]
        for name, cells in (("images", files), ("train_test_split", [1, 0, 1, 1, 0, 1]),
                            ("image_class_labels", [1, 1, 1, 2, 2, 2])):  # fmt: skip
            lines = [f"{k} {cell}" for k, cell in enumerate(cells, 1)]
            (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
        (root / "classes.txt").write_text("1 001.ant\n2 002.bee\n")

    return seeds_in(folder, by_name, by_number)


@target("split_lists", lists_of_splits, keep=PICTURES)
def use_lists(path: Path) -> None:
    use_data(str(path))


def change_lists(folder: Path) -> list[Case]:
    def write(root: Path) -> None:
        write_folder(root / "photos", {"ant": 3, "bee": 3})
        lines = ["split,id,change,value,reason", "train,ant/1.jpg,drop,,twice",
                 ",ant/2.jpg,label,bee,a probe says so"]  # fmt: skip
        (root / "changes.csv").write_text("\n".join(lines) + "\n")

    return seeds_in(folder, write)


@target("changes", change_lists, keep=PICTURES)
def use_changes(path: Path) -> None:
    file = path / "changes.csv"
    attempts(
        [lambda: read_changes(file), lambda: use_data(str(path / "photos"), changes=str(file))]
    )
