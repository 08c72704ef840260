"""Dicts that functions return, which show themselves: scores, probes, comparisons.

They are dicts in everything but `repr`, which would fill a screen with every class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xfer.notebook.card import calls, card, facts, folded, grid, score, soft
from xfer.notebook.run_card import cost, scores, title
from xfer.report.markup import Markup, el

SHOWN = 6  # numbers in a `repr`


class Result(dict[str, Any]):
    """A result of a function: a dict that shows itself in short."""

    def _words(self) -> str:
        """What it is, in a line."""
        return ""

    def __repr__(self) -> str:
        return f"<{self._words()[:600]}; keys: {', '.join(map(str, self))}>"[:1200]

    def _repr_html_(self) -> str:
        return card(self._words())


class Evaluation(Result):
    """What `evaluate` returns."""

    def _words(self) -> str:
        split, images = self.get("split", ""), self.get("images", 0)
        return (
            f"{self.get('run', '')} on {self.get('data', '')}, {split}: {images:,} pictures; "
            + (_numbers_in_words(self.get("metrics", {}), self.get("primary", "")))
        )

    def _repr_html_(self) -> str:
        head = f"{self.get('run', '')} on {self.get('data', '')}, {self.get('split', '')}"
        primary = str(self.get("primary", ""))
        trained = self.get("trained_on")
        known = "" if trained is None else f"; {trained:,} of them were trained on"
        return card(
            head,
            score(self.get("metrics", {}).get(primary), primary, self.get("interval")),
            soft(f"{self.get('images', 0):,} pictures{known}"),
            *_warnings(self.get("notes", ())),
            *_metrics(self.get("metrics", {})),
            folded("How it was scored", facts((self.get("protocol") or {}).items())),
        )


class ProbeResult(Result):
    """What `probe` returns."""

    def _words(self) -> str:
        net = f"{self.get('layer', '')} of {self.get('backbone', '')}"
        head = f"probe {self.get('clf', '')} on {net}"
        numbers = _numbers_in_words(self.get("metrics", {}), self.get("primary", ""))
        return f"{head}, {self.get('data', '')}: {numbers} in {self.get('run', '')}"

    def _repr_html_(self) -> str:
        own = {k: v for k, v in (self.get("chosen") or {}).items() if v is not None}
        chosen = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                           for k, v in own.items())  # fmt: skip
        shots = [{k: v for k, v in row.items() if k != "values"} for row in self.get("shots", ())]
        run = str(self.get("run", ""))
        return card(
            f"{title(self)} · {self.get('layer', '')} · {self.get('clf', '')}",
            *scores(self),
            soft(f"{chosen}; {cost(self)}; in ", el("code", run)),
            grid(shots, "Pictures per class"),
            *_metrics(self.get("metrics", {})),
            folded("How it was chosen and scored", facts((self.get("protocol") or {}).items())),
            calls("Next:", f"xfer.load({run!r}).predict(pictures)"),
        )


class NetsCompared(Result):
    """What `compare_nets` returns: every layer of every net."""

    def _words(self) -> str:
        best, primary = self.get("best") or {}, self.get("primary", "")
        return (f"{len(self.get('rows', ()))} probes on {self.get('data', '')}; best: "
                f"{best.get('backbone', '')} {best.get('layer', '')}, {primary} "
                f"{best.get(primary, 0):.4f}")  # fmt: skip

    def _repr_html_(self) -> str:
        best = self.get("best")
        rows = [{"": "best" if row == best else "", **row} for row in self.get("rows", ())]
        return card(
            self._words(), grid(rows, max_rows=60),
            *(el("p", el("code", command)) for command in self.get("commands", ())),
            folded("How it was scored", facts((self.get("protocol") or {}).items())),
        )  # fmt: skip


class Swept(Result):
    """What `sweep` returns: settings, each with several runs."""

    def _words(self) -> str:
        return f"sweep on {self.get('data', '')}: {self.get('verdict', '')}"

    def _repr_html_(self) -> str:
        keys = [*(self.get("grid") or ()), "mean", "deviation", "n"]
        rows = [
            {**{key: row.get(key) for key in keys}, "minus the best": apart(row.get("minus_best"))}
            for row in self.get("settings", ())
        ]
        return card(self._words(), grid(rows, max_rows=60),
                    el("p", el("code", self.get("next", ""))))  # fmt: skip


def apart(one: Mapping[str, Any] | None) -> str:
    """A difference of two settings, with its interval, in a cell."""
    if one is None:
        return ""
    beyond = ", beyond chance" if one["beyond_chance"] else ""
    return f"{one['difference']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}){beyond}"


class RunsCompared(Result):
    """What `compare_runs` returns: runs side by side."""

    def _words(self) -> str:
        runs = [str(run) for run in self.get("runs", ())]
        return f"{len(runs)} runs: {', '.join(runs[:SHOWN])}{', ...' if len(runs) > SHOWN else ''}"

    def _repr_html_(self) -> str:
        runs = [str(run) for run in self.get("runs", ())]
        parts: list[Markup] = []
        for name in ("val", "test", "speed", "recipe"):
            table: Mapping[str, Sequence[Any]] = self.get(name) or {}
            rows = [{name: key, **dict(zip(_unlike(runs), values, strict=False))}
                    for key, values in table.items()]  # fmt: skip
            if rows:
                parts.append(grid(rows, max_rows=40))
        tests = [test for split in (self.get("paired") or {}).values() for test in split]
        lines = [str(test["line"]) for test in tests if "line" in test]
        return card(self._words(), *_warnings(self.get("notes", ())),
                    *(el("p", line) for line in lines), *parts)  # fmt: skip


def _unlike(names: Sequence[str]) -> list[str]:
    """Names as columns: those that are equal get a number."""
    return [f"{name} ({i})" if name in names[:i] else name for i, name in enumerate(names)]


def _numbers_in_words(metrics: Mapping[str, Any], primary: str) -> str:
    own = {k: v for k, v in metrics.items() if isinstance(v, float)}
    names = sorted(own, key=lambda name: name != primary)[:SHOWN]
    return ", ".join(f"{name} {own[name]:.4f}" for name in names)


def _metrics(metrics: Mapping[str, Any]) -> list[Markup]:
    """The numbers of a metric, and, folded away, those of each class."""
    numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
    parts = [grid([numbers])] if numbers else []
    classes: Mapping[str, Any] = metrics.get("per_class") or {}
    rows = [{"class": name, **row} for name, row in classes.items() if isinstance(row, Mapping)]
    if rows:
        parts.append(folded(f"{len(rows):,} classes", grid(rows, max_rows=100)))
    return parts


def _warnings(notes: Sequence[str]) -> list[Markup]:
    return [
        el("p", note.removeprefix("warning: "), class_="warn" if "warning: " in note else "soft")
        for note in notes
    ]
