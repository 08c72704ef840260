"""The outcome of a run, and what can be asked of it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer.errors import XferError, spoken
from xfer.notebook.card import soft
from xfer.notebook.run_card import run_card, run_line
from xfer.report.markup import Markup
from xfer.runs.ending import closing_lines, score_line
from xfer.runs.folder import Run

if TYPE_CHECKING:
    from xfer.notebook.worst import Errors


@dataclass(frozen=True, repr=False)
class Summary:
    """The outcome of a run.

    path | the run folder; result | result.json's content, {} after a dry run
    trust | the user's own modules that the run was allowed to import
    data  | what it was trained on, if that was in memory
    """

    path: Path
    result: dict[str, Any]
    trust: tuple[str, ...] = ()
    data: Any = field(default=None, compare=False)

    def line(self) -> str:
        """One line: the scores with their intervals, the seconds and the folder."""
        if not self.result:
            return "dry run done: one training batch, one evaluation batch, one save"
        return score_line(self.path, self.result)

    def closing(self) -> list[str]:
        """Lines about the score, see `xfer.runs.ending`; none after a dry run."""
        if not self.result:
            return []
        run = Run(self.path)
        return closing_lines(self.path, self.result, run.events(), run.recipe())

    def card(self, *more: Markup) -> str:
        """The run as HTML, for a notebook. Args: more: to be shown below."""
        known = bool(self.result) and Run(self.path).exists
        lines = [line for line in self.closing() if not line.startswith("[")] if known else []
        remarks = [soft(spoken(line)) for line in lines]
        return run_card(self.path, self.result, self._events(), *remarks, *more)

    def predict(self, images: Any, **options: Any) -> Any:
        """Predicts with the run's best weights; see `xfer.load`."""
        from xfer.inference.model import load

        return load(self.path, trust=self.trust).predict(images, **options)

    @property
    def history(self) -> Any:
        """The run's log: a row per logged step and per evaluation, in order; a pandas DataFrame
        where pandas is installed, else a list of dicts.

        Columns: event (train or eval), step, epoch, loss, lr, images_per_second, data_wait,
        memory_mb, loss_NAME where the loss has parts, val_NAME for each score of an evaluation.
        """
        rows = [_row(event) for event in self._events() if event.get("event") in ("train", "eval")]
        if importlib.util.find_spec("pandas") is None:
            return rows
        import pandas

        return pandas.DataFrame(rows)

    def errors(self, n: int = 12, *, device: str = "auto") -> Errors:
        """The worst of the pictures that the run was scored on, val else test: predicted again,
        those first that cost most.

        Raises: DataError if the run's data or weights are gone or damaged.
        """
        from xfer.notebook.worst import worst

        data = "" if self.data is None else self.data
        return worst(self._made(), n, data=data, device=device, trust=self.trust)

    def report(self, out: Path | str | None = None) -> Path:
        """Writes the page of the run, RUN/report.html by default, and returns its path."""
        from xfer.report.page import write_report

        return write_report(self._made(), out, trust=self.trust)

    def export(self, format: str = "onnx", **options: Any) -> dict[str, Any]:
        """Writes the net as a file for other programs; see `xfer.export`."""
        from xfer.exporting.write import export

        return export(self._made(), format=format, trust=self.trust, **options)

    def _made(self) -> Path:
        if not self.result:
            raise XferError("a dry run keeps nothing", "leave out dry_run=True")
        return self.path

    def _events(self) -> list[dict[str, Any]]:
        has_log = bool(self.result) and (self.path / "log.jsonl").is_file()
        return Run(self.path).events() if has_log else []

    def __repr__(self) -> str:
        return run_line(self.path, self.result)

    def _repr_html_(self) -> str:
        return self.card()


def _row(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the log with flat values."""
    row = {key: value for key, value in event.items() if not isinstance(value, dict)}
    losses: dict[str, Any] = event.get("losses") or {}
    if len(losses) > 1:
        row |= {f"loss_{name}": value for name, value in losses.items()}
    return row | {f"val_{name}": value for name, value in (event.get("metrics") or {}).items()}
