"""A run's split is found again in data of every kind that have grown, shrunk or been relabelled."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_sets import make_mask, write_mask
from pictures import encoded

from xfer import task as tasks
from xfer.data.sources.base import ArraySource, subset
from xfer.data.sources.kept import Kept, find_again
from xfer.data.sources.marks import CHUNK, CHUNKS, marks, truths
from xfer.errors import DataError
from xfer.inference.scored import Scored, open_scored
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, Recipe
from xfer.recipe.toml import dump
from xfer.runs.folder import Run
from xfer.runs.pictures import write_pictures
from xfer.types import DataInfo

SIDE = 24


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    path.write_bytes(encoded(pixels, "PNG"))


class Yolo:
    """images/ and labels/ with a data.yaml."""

    task = "detect"

    def write(self, root: Path, number: int, changed: bool = False) -> str:
        picture(root / "images" / f"p{number:02d}.png", number)
        box = f"{number % 2} 0.5 0.5 {0.5 if changed else 0.25} 0.25\n"
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"p{number:02d}.txt").write_text(box)
        return f"images/p{number:02d}.png"

    def finish(self, root: Path, numbers: list[int]) -> str:
        (root / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
        return str(root)


class Coco(Yolo):
    """One annotation file."""

    def __init__(self) -> None:
        self.changed: set[int] = set()

    def write(self, root: Path, number: int, changed: bool = False) -> str:
        picture(root / "train2017" / f"p{number:02d}.png", number)
        self.changed |= {number} if changed else set()
        return f"p{number:02d}.png"

    def finish(self, root: Path, numbers: list[int]) -> str:
        names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        images = [
            {"id": n, "file_name": f"p{n:02d}.png", "width": SIDE, "height": SIDE} for n in numbers
        ]
        objects = [
            {"id": n, "image_id": n, "category_id": 1 + n % 2, "iscrowd": 0, "area": 60,
             "bbox": [2, 2, 10, 9 if n in self.changed else 6]} for n in numbers
        ]  # fmt: skip
        (root / "annotations").mkdir(exist_ok=True)
        document = {"images": images, "annotations": objects, "categories": names}
        (root / "annotations" / "instances_train2017.json").write_text(json.dumps(document))
        return str(root)


class Masks:
    """images/ and masks/."""

    task = "segment"

    def write(self, root: Path, number: int, changed: bool = False) -> str:
        picture(root / "images" / f"p{number:02d}.png", number)
        mask = make_mask((0, 1, 2), number + (50 if changed else 0), (SIDE, SIDE))
        write_mask(root / "masks" / f"p{number:02d}.png", mask)
        return f"images/p{number:02d}.png"

    def finish(self, root: Path, numbers: list[int]) -> str:
        return str(root)


class Several:
    """A table with several labels per picture."""

    task = "classify"

    def __init__(self) -> None:
        self.changed: set[int] = set()

    def write(self, root: Path, number: int, changed: bool = False) -> str:
        picture(root / f"p{number:02d}.png", number)
        self.changed |= {number} if changed else set()
        return f"p{number:02d}.png"

    def finish(self, root: Path, numbers: list[int]) -> str:
        rows = [
            f"p{n:02d}.png,{n % 2},{1 - n % 2},{int(n % 3 == 0) ^ int(n in self.changed)}"
            for n in numbers
        ]
        (root / "table.csv").write_text("\n".join(["path,red,blue,wet", *rows]) + "\n")
        return str(root / "table.csv")


@dataclass
class Trained:
    """A run folder as training leaves it, without weights."""

    folder: Run
    task: Any

    @classmethod
    def on(cls, source: str, task: str, folder: Path) -> Trained:
        recipe = Recipe(task=task, data=DataTable(source=source))
        bundle = open_recipe_data(recipe)
        folder.mkdir()
        run = Run(folder)
        (folder / "recipe.toml").write_text(dump(recipe))
        run.write_json("split.json", bundle.split_json())
        run.write_json("env.json", {"data_fingerprint": bundle.fingerprint(), "skipped": []})
        write_pictures(folder, bundle)
        kinds = tasks.get(task).kinds
        return cls(
            run,
            SimpleNamespace(
                info=bundle.splits["train"].info, options=None, kinds_for=lambda options: kinds
            ),
        )

    def splits(self) -> dict[str, list[str]]:
        return self.folder.read_json("split.json")

    def scored(self, data: str = "") -> Scored:
        return open_scored(self.folder, self.task, data)


@pytest.mark.parametrize("kind", [Yolo, Coco, Masks, Several])
def test_data_of_every_kind_may_change(kind: Callable[[], Any], tmp_path: Path) -> None:
    data, root = kind(), tmp_path / "set"
    numbers = list(range(20))
    names = {data.write(root, n): n for n in numbers}
    spec = data.finish(root, numbers)
    run = Trained.on(spec, data.task, tmp_path / "run")
    val = sorted(run.splits()["val"])
    assert len(val) == 4
    found = run.scored()
    assert (sorted(found.source.ids), found.notes, found.trained_on) == (val, (), 0)

    added = [30, 31, 32]
    for n in added:
        data.write(root, n)
    data.write(root, names[val[0]], changed=True)
    picture(next(root.rglob(f"p{names[val[1]]:02d}.png")), 70)  # other pixels
    for file in root.rglob(f"p{names[val[2]]:02d}.*"):
        file.unlink()
    left = [n for n in numbers if n != names[val[2]]]
    data.finish(root, [*left, *added])
    found = run.scored()
    assert sorted(found.source.ids) == [val[0], val[1], val[3]]
    assert found.changes == {"gone": 1, "new": 3, "changed": 1, "relabelled": 1}
    lines = dict(zip(("gone", "new", "changed", "relabelled"), found.notes, strict=True))
    assert val[2] in lines["gone"] and "3 new pictures" in lines["new"]
    assert val[1] in lines["changed"] and val[0] in lines["relabelled"]
    assert run.scored(spec).trained_on == 16


def numbered(ids: list[str]) -> ArraySource:
    """Pictures in memory, each of one grey value of its own."""
    images = [np.full((4, 4, 3), sum(name.encode()) % 251, np.uint8) for name in ids]
    return ArraySource(DataInfo("x", "classify", ("a", "b")), images, np.arange(len(ids)) % 2, ids)


NAMES = st.lists(st.integers(0, 30).map(str), unique=True, min_size=2, max_size=20)


@given(NAMES, NAMES, st.data())
def test_what_is_found_again_is_the_split_and_nothing_else(
    before: list[str], now: list[str], draw: st.DataObject
) -> None:
    cut = draw.draw(st.integers(1, len(before) - 1))
    splits = {"train": before[cut:], "val": before[:cut]}
    kept = Kept(splits, "val")
    present = [name for name in splits["val"] if name in now]
    if not present:
        with pytest.raises(DataError, match="none of the"):
            find_again("x", {"train": numbered(now)}, kept)
        return
    source, drift = find_again("x", {"train": numbered(now)}, kept)
    assert list(source.ids) == present
    assert set(drift.gone) == set(splits["val"]) - set(now)
    assert set(drift.new or ()) == set(now) - set(before)
    assert drift.moved == ()


def test_equal_names_in_two_splits_stay_apart() -> None:
    """train/0.jpg and val/0.jpg of an annotation file for each split are both called 0.jpg."""
    kept = Kept({"train": ["0", "1", "2", "3"], "val": ["0", "1", "9"]}, "val")
    now = {"train": numbered(["0", "1", "2", "3"]), "val": numbered(["9", "10"])}
    source, drift = find_again("x", now, kept)
    assert (list(source.ids), drift.gone, drift.new) == (["9"], ("0", "1"), ("10",))
    # a split that was cut from train is still cut from it, whatever other folder there is now
    kept = Kept({"train": ["0", "1"], "val": ["2", "3"]}, "val")
    source, drift = find_again("x", {**now, "val": numbered(["2", "77"])}, kept)
    assert (list(source.ids), drift.gone, drift.new) == (["2", "3"], (), ())


def test_what_the_run_left_out_is_not_new() -> None:
    kept = Kept({"train": ["0"], "val": ["1"]}, "val", ignored=frozenset({"2"}))
    now = {"train": numbered(["0", "1", "2", "3"])}
    assert find_again("x", now, kept)[1].new == ("3",)
    large = Kept({"train": {"images": 1, "fingerprint": "aa"}, "val": ["1"]}, "val")
    assert find_again("x", now, large)[1].new is None


def test_two_new_pictures_with_the_same_bytes_are_no_move() -> None:
    before = numbered(["a1", "b2", "c3"])
    splits = {"train": ["c3"], "val": ["a1", "b2"]}
    numbers = {role: marks(subset(before, [before.ids.index(n) for n in ids]))
               for role, ids in splits.items()}  # fmt: skip
    kept = Kept(splits, "val", marks=numbers)
    one = numbered(["b2", "1a", "c3"])  # 1a has the bytes of a1
    assert find_again("x", {"train": one}, kept)[1].moved == (("a1", "1a"),)
    two = numbered(["b2", "1a", "c3", "1a "])
    two.images = [*two.images[:3], two.images[1]]
    found, drift = find_again("x", {"train": two}, kept)
    assert (list(found.ids), drift.moved, drift.gone) == (["b2"], (), ("a1",))


def test_a_change_anywhere_in_a_small_file_and_at_the_ends_of_a_large_one_counts(
    tmp_path: Path,
) -> None:
    source = open_recipe_data(Recipe(data=DataTable(source=str(birds(tmp_path))))).splits["train"]
    first = marks(source)
    assert len(set(first.tolist())) == len(source) and (truths(source) > 0).all()
    file = tmp_path / "birds" / source.ids[0]
    content = file.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert (marks(source) != first).tolist() == [True] + [False] * (len(source) - 1)
    large = np.random.default_rng(0).bytes(5 * CHUNK * CHUNKS)
    file.write_bytes(large)
    first = marks(source)
    for changed in (large[:-1], large + b"\0", b"\1" + large[1:], large[:-1] + b"\1"):
        file.write_bytes(changed)
        assert marks(source)[0] != first[0]
    file.unlink()
    assert marks(source)[0] == 0


def test_what_would_cost_a_pass_over_the_data_is_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Masks()
    for n in range(6):
        data.write(tmp_path, n)
    source = open_recipe_data(Recipe(task="segment", data=DataTable(source=str(tmp_path)))).splits[
        "train"
    ]
    assert (truths(source) > 0).all()
    monkeypatch.setattr("xfer.data.sources.marks.REMEMBERED", 2)
    assert not truths(source).any() and marks(source).all()


def birds(tmp_path: Path) -> Path:
    for k in range(12):
        picture(tmp_path / "birds" / ("owl", "wren")[k % 2] / f"{k}.png", k)
    return tmp_path / "birds"
