"""`run.errors()`: the pictures that a run gets most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from xfer import plugs
from xfer.data.sources.base import read
from xfer.device import placed, usable_precision
from xfer.drawing.boxes import draw_marks
from xfer.errors import DataError
from xfer.inference.evaluate import eval_loader
from xfer.inference.model import load
from xfer.inference.score import score
from xfer.inference.scored import open_scored
from xfer.kinds.base import Kind
from xfer.metrics.example import Example
from xfer.notebook.card import card, soft
from xfer.notebook.pictures import MOST, SIDE, figure, sheet, unread
from xfer.report.markup import Markup
from xfer.runs.folder import Run
from xfer.types import Source


@dataclass(frozen=True, repr=False)
class Errors(Sequence[Example]):
    """The worst pictures of a run, the worst first; each is an `Example` with `id`, `lines` (what
    was predicted, what is true), `good` and `loss`.

    examples | at most as many as were asked for; pictures: how many were scored, wrong: how many of
             | them are wrong, None where a prediction is more or less right
    """

    path: Path
    split: str
    examples: tuple[Example, ...]
    pictures: int
    wrong: int | None
    kind: Kind
    source: Source
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, i: int) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Example]: ...
    def __getitem__(self, i: int | slice) -> Example | Sequence[Example]:
        return self.examples[i]

    def rows(self) -> list[dict[str, Any]]:
        """As plain values: id, what, loss; for `pandas.DataFrame(run.errors().rows())`."""
        return [{"id": e.id, "what": "; ".join(e.lines), "loss": e.loss} for e in self.examples]

    def _title(self) -> str:
        if self.wrong is None:
            return f"The worst {len(self)} of {self.pictures:,} pictures of {self.split}"
        if not self.wrong:
            return f"No errors in {self.pictures:,} pictures of {self.split}; the least certain"
        return (
            f"{self.wrong:,} of {self.pictures:,} pictures of {self.split} have errors; the worst"
        )

    def __repr__(self) -> str:
        names = ", ".join(e.id[-60:] for e in self.examples[:5])
        return f"<{self.path}: {self._title()}: {names}{', ...' if len(self) > 5 else ''}>"

    def _repr_html_(self) -> str:
        where = {name: i for i, name in enumerate(self.source.ids)}
        figures: list[Markup] = []
        for example in self.examples[:MOST]:
            try:
                image = read(self.source, where[example.id]).image
            except DataError as error:
                figures.append(unread(example.id, error.message))
                continue
            good = None if self.wrong is None else example.good
            for view in self.kind.panels(example, image, self.classes)[:2]:
                drawn = draw_marks(view.image, view.marks, SIDE) if view.marks else view.image
                lines = [view.title] if view.title else []
                figures.append(figure(drawn, [*example.lines, *lines], example.id, good))
        key = "boxes: green right, red dashed wrong, blue dotted missed"
        marked = any(e.marks for e in self.examples)
        return card(f"{self.path}: {self._title()}", soft(key) if marked else None,
                    sheet(figures, self.kind.legend(self.classes)))  # fmt: skip


@plugs.face("data")
def worst(
    run: Path, n: int = 12, *, data: Any = "", device: str = "auto", trust: str | Sequence[str] = ()
) -> Errors:
    """The n worst pictures of those that a run was scored on: predicted again.

    Args: data: the run's own, where they were in memory.
    Raises: DataError if the run's data or weights are gone or damaged, or its metric keeps nothing
        about single pictures.
    """
    folder = Run.open(run)
    recipe = folder.recipe()
    with placed(device, usable_precision(recipe.run.precision, device)) as place:
        task = load(run, place=place).task
        scored = open_scored(folder, task, data)
        tta = recipe.eval.tta
        metric: Any = score(task, eval_loader(recipe, task, scored.source, place, tta), place, tta)
    if not hasattr(metric, "examples"):
        raise DataError(f"{run}: its metric keeps nothing about single pictures")
    examples: list[Example] = metric.examples()
    wrong = None if task.kind.graded else [e for e in examples if not e.good]
    chosen = sorted(wrong or examples, key=lambda e: -e.loss)[: max(1, n)]
    return Errors(run, scored.role, tuple(chosen), len(examples),
                  None if wrong is None else len(wrong), task.kind, scored.source,
                  task.info.classes)  # fmt: skip
