"""check_source finds what it says it finds, and every source that comes with xfer keeps to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from xfer.boxes import Boxes
from xfer.data.readers.base import EMBEDDED, ReadOptions
from xfer.testing.mask_scenes import MaskScenes
from xfer.testing.scenes import ShapeScenes
from xfer.testing.source import SyntheticSource, check_source
from xfer.types import Sample


@pytest.mark.parametrize("name", EMBEDDED.names())
def test_every_embedded_set_keeps_the_contract(name: str) -> None:
    embedded = EMBEDDED.get(name)()
    for kind in embedded.kinds:
        for part in embedded.load(ReadOptions(kind=kind)).parts.values():
            check_source(part)


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_synthetic_source_keeps_the_contract(multilabel: bool) -> None:
    check_source(SyntheticSource(20, classes=4, multilabel=multilabel))


class Spoilt(SyntheticSource):
    """A source with one thing wrong."""

    def __init__(self, name: str, wrong: Any) -> None:
        super().__init__(12)
        self.name, self.wrong = name, wrong
        if name in ("ids", "info", "_labels"):
            setattr(self, name, wrong(getattr(self, name)))

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> Sample:
        sample = super().__getitem__(i)
        return replace(sample, **self.wrong(sample)) if self.name == "sample" else sample

    def fingerprint(self) -> str:
        return self.wrong() if self.name == "fingerprint" else super().fingerprint()


def boxes(*rows: list[float], **columns: Any) -> dict[str, Boxes]:
    return {"boxes": replace(Boxes.of(rows, np.zeros(len(rows), int)), **columns)}


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("ids", lambda ids: ids[:-1], "11 ids for 12"),
        ("ids", lambda ids: (*ids[:-1], ids[0]), "same id"),
        ("info", lambda info: replace(info, kind="sounds"), "unknown kind"),
        ("info", lambda info: replace(info, classes=("a", "a", "b")), "same name"),
        ("info", lambda info: replace(info, classes=("a", "b")), "labels run"),
        ("_labels", lambda labels: labels.astype(np.int32), "int32"),
        ("sample", lambda s: {"id": "x"}, "has id 'x'"),
        ("sample", lambda s: {"label": 7}, "label 7"),
        ("sample", lambda s: {"image": s.image.astype(np.float32)}, "float32"),
        ("sample", lambda s: {"image": s.image[:, :, 0]}, "the image is"),
        ("sample", lambda s: {"boxes": np.zeros((1, 4))}, "a ndarray, not Boxes"),
        ("sample", lambda s: boxes([0, 0, 99, 9]), "not inside the picture"),
        ("sample", lambda s: boxes([5, 5, 5, 9]), "no area"),
        ("sample", lambda s: boxes([1, 1, 5, 9], size=(5, 9)), r"boxes say \(5, 9\)"),
        ("sample", lambda s: boxes([1, 1, 5, 9], labels=np.array([3])), "not a class"),
        ("sample", lambda s: boxes([1, 1, 5, 9], labels=np.array([1.0])), "labels are float64"),
        ("sample", lambda s: boxes([1, 1, 5, 9], crowd=np.zeros(2, bool)), "one crowd per box"),
        ("sample", lambda s: {"mask": np.zeros((3, 3), np.uint8)}, "differs in size"),
        ("sample", lambda s: {"mask": np.full((32, 32), 9, np.uint8)}, "other than classes"),
        ("fingerprint", lambda: str(np.random.default_rng().random()), "changes"),
    ],
)
def test_what_does_not_hold_is_named(name: str, wrong: Callable[..., Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_source(Spoilt(name, wrong))


@pytest.mark.parametrize(("kind", "part"), [(ShapeScenes, "boxes"), (MaskScenes, "mask")])
def test_a_picture_without_what_its_kind_has_is_named(
    kind: type[Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kind.__getitem__
    monkeypatch.setattr(
        kind, "__getitem__", lambda self, i: replace(whole(self, i), **{part: None})
    )
    monkeypatch.setattr(kind, "labels", lambda self: np.zeros((4, len(self.info.classes)), np.int8))
    with pytest.raises(AssertionError, match=f"train-000: no {part}"):
        check_source(kind(4))


def test_first_rows_that_are_others_than_the_pictures_are_found() -> None:
    class Upside(SyntheticSource):
        def read_rows(self, i: int, short_side: int, rows: Any) -> Sample:
            sample = self[i]
            return replace(sample, image=sample.image[::-1])

    with pytest.raises(AssertionError, match="read_rows returns different pixels"):
        check_source(Upside(8))


def test_pictures_that_change_from_read_to_read_are_found() -> None:
    class Restless(SyntheticSource):
        def __getitem__(self, i: int) -> Sample:
            sample = super().__getitem__(i)
            noise = np.random.default_rng().integers(0, 256, sample.image.shape, np.uint8)
            return replace(sample, image=noise)

    with pytest.raises(AssertionError, match="again"):
        check_source(Restless(12))


def test_the_shapes_can_be_told_apart_by_their_colour() -> None:
    source = SyntheticSource(90, classes=3)

    def colour(i: int) -> np.ndarray:
        pixels = source[i].image.reshape(-1, 3).astype(float)
        return pixels[np.ptp(pixels, axis=1) > 30].mean(0)

    means = np.array([colour(i) for i in range(90)])
    labels = source.labels()
    centres = np.stack([means[labels == c][:15].mean(0) for c in range(3)])
    nearest = np.argmin(((means[:, None] - centres) ** 2).sum(2), axis=1)
    assert (nearest == labels).mean() > 0.95
