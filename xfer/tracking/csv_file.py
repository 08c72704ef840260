"""metrics.csv: a row per event, a column per name, as spreadsheets and pandas read it."""

from __future__ import annotations

from collections.abc import Mapping

from xfer.files import append_line, write_text
from xfer.runs.tables import rows_to_csv
from xfer.tracking.tracker import About, Tracker, scalars_of


class CsvFile(Tracker):
    """Appends a row to metrics.csv in the run folder; written anew, whole, where a name comes that
    has no column yet, and when a run is resumed: from its log, so that no step is there twice."""

    def __init__(self, about: About) -> None:
        self.path = about.folder / "metrics.csv"
        self._rows: list[dict[str, float]] = []
        self._columns: dict[str, None] = {"step": None}
        for event in about.events:
            self._keep(scalars_of(event), int(event.get("step", 0)))
        self._write()

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        count = len(self._columns)
        row = self._keep(scalars, step)
        if len(self._columns) > count:
            self._write()
        else:
            append_line(self.path, self._text([row]).splitlines()[1])

    def _keep(self, scalars: Mapping[str, float], step: int) -> dict[str, float]:
        row = {"step": step, **scalars}
        if scalars:
            self._rows.append(row)
            self._columns |= dict.fromkeys(scalars)
        return row

    def _write(self) -> None:
        write_text(self.path, self._text(self._rows) if self._rows else "step\n")

    def _text(self, rows: list[dict[str, float]]) -> str:
        return rows_to_csv([{name: row.get(name, "") for name in self._columns} for row in rows])
