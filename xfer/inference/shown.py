"""Predictions as they show themselves in a notebook: pictures with labels, boxes or masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfer.data.images.decode import decode
from xfer.errors import DataError
from xfer.kinds.base import Kind
from xfer.notebook.card import card, soft
from xfer.notebook.pictures import MOST, SIDE, figure, sheet, unread
from xfer.report.markup import Markup, el
from xfer.types import Sample

IN_LINE = 5


def predictions_card(
    kind: Kind, classes: Sequence[str], items: Sequence[Any], samples: Sequence[Sample | Path],
    remarks: Sequence[str],
) -> str:  # fmt: skip
    """The card of predictions: the first pictures, each with what was predicted.

    Args: samples: the pictures; remarks: what is odd about some of them.
    """
    figures: list[Markup] = []
    for item, sample in list(zip(items, samples, strict=True))[:MOST]:
        name = Path(str(item.id)).name
        try:
            image = sample.image if isinstance(sample, Sample) else decode(
                sample, 0 if kind.placed else SIDE)  # fmt: skip
        except DataError as error:  # gone since
            figures.append(unread(name, error.message))
            continue
        shown = kind.pictured_prediction(image, item, classes, SIDE)
        figures.append(figure(shown, [kind.phrase(item, classes)], name))
    more = len(items) - len(figures)
    return card(
        _title(len(items)),
        *(el("p", remark, class_="warn") for remark in remarks),
        sheet(figures, kind.legend(classes)),
        soft(f"and {more:,} more: .rows() has all of them") if more else None,
    )


def predictions_line(kind: Kind, classes: Sequence[str], items: Sequence[Any]) -> str:
    """Predictions in a few lines, as `repr` shows them."""
    some = [items[i] for i in range(min(IN_LINE, len(items)))]
    lines = [f"{str(one.id)[-60:]}: {kind.phrase(one, classes)[:120]}" for one in some]
    more = [f"... {len(items) - len(some):,} more"] if len(items) > len(some) else []
    return "\n  ".join([f"<{_title(len(items)).lower()}", *lines, *more]) + ">"


def _title(count: int) -> str:
    return f"Predictions of {count:,} picture{'' if count == 1 else 's'}"
