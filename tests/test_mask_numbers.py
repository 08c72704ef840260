"""Masks without a class table whose values number objects: two classes, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_sets import write_mask, write_picture

from xfer.data.open import open_data

COUNTS = (1, 5, 2, 3, 0, 1, 2, 4)


def write_numbered(root: Path, counts: tuple[int, ...], scale: int = 1) -> None:
    """Masks of 32 x 48 with so many upright bars each, numbered from 1 on, times `scale`."""
    for i, count in enumerate(counts):
        mask = np.zeros((32, 48), np.uint8)
        for k in range(count):
            mask[4:28, 6 * k + 1 : 6 * k + 5] = (k + 1) * scale
        write_picture(root / f"PNGImages/p{i}.png", i, (32, 48))
        write_mask(root / f"PedMasks/p{i}_mask.png", mask)


def test_numbered_objects_are_one_class_and_said(tmp_path: Path) -> None:
    write_numbered(tmp_path, COUNTS)
    found = open_data(tmp_path, cut=False)
    assert found.classes == ("background", "object")
    assert any("like object numbers" in note for note in found.notes)
    source = found.splits["train"]
    for i in range(len(source)):
        mask = source[i].mask
        assert mask is not None
        assert set(np.unique(mask).tolist()) <= {0, 1}
        assert (mask == 1).sum() == 24 * 4 * COUNTS[i]


def test_a_table_says_otherwise(tmp_path: Path) -> None:
    write_numbered(tmp_path, COUNTS)
    (tmp_path / "classes.txt").write_text("road\ncar\nbus\ntram\ntrain\nship\n")
    assert len(open_data(tmp_path, cut=False).classes) == 6


@pytest.mark.parametrize(
    ("counts", "scale"),
    [
        ((1, 3, 2, 3, 0, 1, 2, 3), 1),  # as tumours within livers
        ((5, 5, 5, 5, 5, 5, 5, 5), 1),  # as parts of a face
        ((1, 5, 2, 3), 1),  # too few to tell
        (COUNTS, 2),
    ],
)
def test_values_that_may_be_classes_stay_classes(
    tmp_path: Path, counts: tuple[int, ...], scale: int
) -> None:
    write_numbered(tmp_path, counts, scale)
    classes = open_data(tmp_path, cut=False).classes
    assert classes == tuple(str(k * scale) for k in range(max(counts) + 1))
