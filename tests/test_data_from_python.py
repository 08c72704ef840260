"""Data that a program hands over: pairs, arrays, data sets of torchvision's kind, by split."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pictures import encoded, scene, write_picture
from PIL import Image

import xfer
from xfer import cli
from xfer.data.open import open_data
from xfer.data.sources.base import Source
from xfer.data.sources.from_python import as_source, python_name
from xfer.errors import DataError, XferError
from xfer.recipe.toml import load_recipe
from xfer.testing import check_source

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (12, 20, 24, 3)).astype(np.uint8)
LABELS = np.arange(12) % 3
TRAIN: dict[str, Any] = {
    "backbone": "tiny_nets:tiny", "weights": "none", "epochs": 1, "batch": 8, "workers": 1,
    "verbosity": -1, "run__plots": False, "run__report": False, "device": "cpu",
}  # fmt: skip


class Toy:
    """A map data set, with what torchvision's have beside their items."""

    classes = ("ant", "bee", "cat")

    def __init__(self, images: Any = IMAGES, targets: Any = LABELS, **more: Any) -> None:
        self.images, self.targets, self.reads = images, list(targets), 0
        self.__dict__.update(more)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        self.reads += 1
        return Image.fromarray(self.images[i]), int(self.targets[i])


class Bare(Toy):
    """One that says nothing of its labels."""

    classes = None  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__()
        del self.targets

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return torch.from_numpy(IMAGES[i]).permute(2, 0, 1) / 255, torch.tensor(LABELS[i])


PAIRS = [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)]
NUMBERS, NAMES = ("0", "1", "2"), ("ant", "bee", "cat")
TENSORS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("data", "classes"),
    [
        (PAIRS, NUMBERS),
        ([(Image.fromarray(i), NAMES[n]) for i, n in PAIRS], NAMES),
        ([[encoded(i), np.int64(n)] for i, n in PAIRS], NUMBERS),
        ((IMAGES, LABELS), NUMBERS),
        ([IMAGES, LABELS.tolist()], NUMBERS),
        ((IMAGES / 255, [NAMES[n] for n in LABELS]), NAMES),
        ((TENSORS, torch.from_numpy(LABELS)), NUMBERS),
        ((list(IMAGES), LABELS), NUMBERS),
        (Toy(), NAMES),
        (Bare(), NUMBERS),
        (torch.utils.data.Subset(Toy(), range(12)), NAMES),  # pyright: ignore[reportArgumentType]
    ],
    ids=lambda value: type(value).__name__,
)
def test_labelled_pictures_in_every_form(data: Any, classes: tuple[str, ...]) -> None:
    source = as_source(data, "mine")
    check_source(source)
    assert source.info.kind == "classify" and source.info.classes == classes
    assert source.labels().tolist() == LABELS.tolist()
    for i in (0, 5, 11):
        assert np.array_equal(source[i].image, IMAGES[i])


def test_labels_are_taken_from_where_they_cost_nothing() -> None:
    toy = Toy()
    assert as_source(toy, "toy").labels().tolist() == LABELS.tolist() and toy.reads == 1
    both = torch.utils.data.ConcatDataset([Toy(), Toy()])  # pyright: ignore[reportArgumentType]
    assert as_source(both, "both").labels().tolist() == LABELS.tolist() * 2
    lying = Toy(targets=LABELS[::-1])
    lying.__class__ = type("Lying", (Toy,), {
        "__getitem__": lambda self, i: (Image.fromarray(IMAGES[i]), int(LABELS[i]))})  # fmt: skip
    assert as_source(lying, "lying").labels().tolist() == LABELS.tolist()


def test_pictures_without_labels_and_several_labels_each() -> None:
    for data in (list(IMAGES), IMAGES, TENSORS, [IMAGES[0], IMAGES[1]], IMAGES[:, :, :, 0]):
        source = as_source(data, "mine")
        check_source(source)
        assert source.info.kind == "images" and source.info.classes == ()
    several = as_source((IMAGES, np.eye(12, 4, dtype=int)), "mine")
    check_source(several)
    assert several.info.kind == "multilabel" and several.info.classes == ("0", "1", "2", "3")
    some = as_source([(IMAGES[0], "a"), (IMAGES[1], None), (IMAGES[2], "b")], "mine")
    assert some.labels().tolist() == [0, -1, 1]


def test_paths_are_read_as_a_folder_s_are(tmp_path: Path) -> None:
    files = [write_picture(tmp_path / f"{name}/{i}.png", seed=i) for name in NAMES for i in (0, 1)]
    source = as_source([(str(f), f.parent.name) for f in files], "mine")
    check_source(source)
    assert source.ids == tuple(map(str, files))
    twice = as_source([(files[0], 0), (files[0], 1)], "mine")
    assert len(set(twice.ids)) == 2
    folder = torchvision.datasets.ImageFolder(str(tmp_path))
    ours = as_source(folder, "folder")
    check_source(ours)
    assert ours.info.classes == NAMES and ours.ids[0] == "ant/0.png"
    changed = torchvision.datasets.ImageFolder(
        str(tmp_path), torchvision.transforms.Compose([torchvision.transforms.ToTensor()])
    )
    theirs = as_source(changed, "folder")
    check_source(theirs)
    assert np.array_equal(theirs[3].image, ours[3].image)


def test_a_dict_is_splits_matched_by_class_name() -> None:
    data = {"train": Toy(), "valid": [(IMAGES[0], "cat"), (IMAGES[1], "bee")]}
    bundle = open_data(data)
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 12, "val": 2}
    assert bundle.splits["val"].labels().tolist() == [2, 1]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (3, "type int is not data"),
        ([], "an empty list"),
        ((IMAGES, LABELS[:5]), "12 pictures but 5 labels"),
        (np.zeros((4, 64)), r"an array \(4, 64\) is not a set of pictures"),
        ((np.zeros((4, 64)), LABELS[:4]), r"an array \(4, 64\) is not a set of pictures"),
        ((np.zeros((4, 8, 8, 7)), LABELS[:4]), r"picture 0 is an array \(8, 8, 7\)"),
        ((IMAGES.astype(int), LABELS), "picture 0 holds int64"),
        ((IMAGES * 2.5, LABELS), "picture 0 holds floats from .*not within 0..1"),
        ([(IMAGES[0], 1), IMAGES[1]], "item 1 of the data is not a pair"),
        ([(IMAGES[0], 1), (IMAGES[1], "a")], "some labels are texts, others numbers"),
        ([(IMAGES[0], 0.5)], "label 0 is a float"),
        ([(IMAGES[0], [1, 2])], "label 0 is a list"),
        ([(IMAGES[0], -2)], "label -2 is below 0"),
        ([(IMAGES[0], "")], "label 0 is empty"),
        ([(3, "a")], "picture 0 is a int"),
        ((IMAGES, np.full((12, 2), 7)), "not all are 1, 0 or -1"),
        (Toy(targets=LABELS + 1), "label 3 is out of range: classes are 0 to 2"),
        ({"train": 3}, "type int is not data"),
        ({}, "type dict is not data"),
        ({"image": "a.jpg", "label": "x"}, "'a.jpg' is a single path"),
        (iter(PAIRS), "type list_iterator is not data"),
        (type("Odd", (Toy,), {"__getitem__": lambda s, i: {"image": 1}})(), "is a dict, not"),
        (type("Odd", (Toy,), {"__getitem__": lambda s, i: 1 / 0})(), "ZeroDivisionError"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_what_does_not_fit_gets_a_line(data: Any, said: str) -> None:
    with pytest.raises(XferError, match=said) as caught:
        open_data(data)
    assert "\n" not in caught.value.message and len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (PAIRS, "python:list"), ((IMAGES, LABELS), "python:arrays"), (Toy(), "python:Toy"),
        ({"train": Toy()}, "python:Toy"),
    ],
)  # fmt: skip
def test_a_recipe_has_a_name_for_them(data: Any, name: str) -> None:
    assert python_name(data) == name


def test_a_fingerprint_is_of_what_was_given() -> None:
    def mark(data: Any) -> str:
        source: Source = as_source(data, "x")
        first = source.fingerprint()
        assert pickle.loads(pickle.dumps(source)).fingerprint() == first
        return first

    changed = IMAGES.copy()
    changed[7, 3, 3] = 255 - changed[7, 3, 3]
    assert mark((IMAGES, LABELS)) == mark((IMAGES.copy(), LABELS.tolist())) == mark(PAIRS)
    assert (
        len({mark(d) for d in ((IMAGES, LABELS), (changed, LABELS), (IMAGES, LABELS[::-1]))}) == 3
    )
    assert mark(Toy()) != mark(Toy(changed)) and mark(Toy()) == mark(Toy())


def test_a_run_trains_resumes_and_is_scored_on_them(tmp_path: Path) -> None:
    images = np.stack([scene(seed=i, height=32, width=32) for i in range(40)])
    data = (images, np.arange(40) % 2)
    run = xfer.finetune(data, out=tmp_path / "run", **TRAIN)
    assert load_recipe(str(run.path / "recipe.toml")).data.source == "python:arrays"
    assert run.result["data"] == "python:arrays" and run.result["task"] == "classify"
    found = xfer.evaluate(run.path, data=data)
    assert found["images"] == 8 and found["data"] == "python:arrays"
    with pytest.raises(XferError, match="passed in Python") as caught:
        xfer.evaluate(run.path)
    assert "data=" in (caught.value.hint or "") and caught.value.code == 2
    assert cli.main(["eval", str(run.path)]) == 2

    (run.path / "result.json").unlink()
    with pytest.raises(XferError, match="passed in Python") as caught:
        xfer.finetune(resume=run.path, verbosity=-1)
    assert "data=THE_SAME" in (caught.value.hint or "")
    with pytest.raises(DataError, match="has changed since the run was started"):
        xfer.finetune(data=(images[::-1], data[1]), resume=run.path, verbosity=-1)
    assert xfer.finetune(data=data, resume=run.path, verbosity=-1).result["steps"]


def test_a_run_on_named_data_is_not_resumed_on_others(tmp_path: Path) -> None:
    run = xfer.finetune("digits", "cls", out=tmp_path / "run", limit=24, **TRAIN)
    (run.path / "result.json").unlink()
    with pytest.raises(XferError, match="are read by name"):
        xfer.finetune(data=PAIRS, resume=run.path)


def test_features_of_them() -> None:
    words: dict[str, Any] = {
        "backbone": "tiny_nets:tiny", "weights": "none", "layer": "conv2", "pool": "avg",
        "cache": False, "precision": "fp32", "workers": 1,
    }  # fmt: skip
    X, y = xfer.features((IMAGES, LABELS), **words)
    assert X.shape == (12, 16) and y.tolist() == LABELS.tolist()
    for data in (IMAGES, list(IMAGES), [Image.fromarray(i) for i in IMAGES], TENSORS,
                 [encoded(i) for i in IMAGES]):  # fmt: skip
        again, none = xfer.features(data, **words)
        np.testing.assert_allclose(again, X, atol=1e-6)
        assert set(none.tolist()) == {-1}
    with pytest.raises(XferError, match="python:arrays: no split 'val'"):
        xfer.features((IMAGES, LABELS), split="val", **words)
