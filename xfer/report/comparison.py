"""A page that compares runs: scores side by side, tests on the same pictures, seeds as a mean."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xfer import kinds, plugs
from xfer import task as tasks
from xfer.errors import XferError
from xfer.files import TABLE, is_file, text_of, write_text
from xfer.kinds.findings import counted
from xfer.metrics.example import Example
from xfer.recipe.data import open_recipe_data
from xfer.recipe.toml import load_recipe
from xfer.report.charts import Line, interval_bar, line_chart
from xfer.report.course import at, is_number, losses_of, smooth, x_label
from xfer.report.facts import Facts, Live
from xfer.report.frame import Section, page
from xfer.report.markup import Markup, el, join, number, table
from xfer.report.measured import WORDS, main_key
from xfer.report.story import short_path
from xfer.report.thumbnails import Budget, Pictures
from xfer.runs.compare import compare_runs

NAME = "comparison.html"
LOOKS = ("s1", "s2", "s3", "s4", "s5", "s6")
MAX_DRAWN = 12  # runs with curves
MAX_PICTURES, PICTURES_SIZE = 48, 1_500_000
MAX_CLASSES = 300


@plugs.face()
def write_comparison(
    runs: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    trust: str | Sequence[str] = (),
) -> Path:
    """Writes a page that compares runs, and returns its path; comparison.html here by default.

    The first run is compared with each other one, by a paired test on the pictures that both were
    scored on. Runs that differ in nothing but the seed are one group, with mean and deviation.
    Nothing is predicted: all is read from the runs' files, and pictures from their data.

    Raises: XferError for fewer than two runs, or a folder that is none; DataError for damaged
        files.
    """
    compared = compare_runs(runs)
    facts = [Facts.of(Path(run)) for run in runs]
    path = Path(out) if out is not None else Path(NAME)
    write_text(path, build(facts, compared, path.parent))
    return path


def build(facts: Sequence[Facts], compared: Mapping[str, Any], folder: Path) -> str:
    """The page as HTML.

    Args: facts: of each run; compared: `compare_runs` of them; folder: where the page will be.
    """
    names = run_names(facts)
    sections = [
        Section("Is the difference real?", _tests(compared, names)),
        Section("Seeds", _seeds(compared, facts, names)),
        Section("What differs in the recipes", _recipes(compared, names)),
        Section("Curves", _curves(facts, names)),
        Section("Pictures on which they differ", _pictures(facts, names)),
        Section("Classes", _classes(facts, names)),
        Section("All scores", _scores(compared, names)),
        Section("Speed", _speed(compared, names)),
    ]
    foot = f"{', '.join(str(one.path) for one in facts)}; {time.strftime('%Y-%m-%d %H:%M')}"
    title = f"{counted(len(facts), 'run')} compared"
    return page(title, _top(facts, compared, names, title, folder), sections, foot)


def run_names(facts: Sequence[Facts]) -> list[str]:
    """A short name of each run: its folder's, with the parents where these are equal."""
    depth = 1
    while True:
        names = ["/".join(one.path.resolve().parts[-depth:]) for one in facts]
        if len(set(names)) == len(names) or depth > 12:
            return names
        depth += 1


def _top(
    facts: Sequence[Facts], compared: Mapping[str, Any], names: Sequence[str], title: str,
    folder: Path,
) -> Markup:  # fmt: skip
    rows: list[list[Any]] = []
    for one, name in zip(facts, names, strict=True):
        split, value = _main(one)
        known = one.interval(split) if split else None
        bar = ""
        if known is not None and value is not None:
            low, high = float(known["low"]), float(known["high"])
            bar = join(interval_bar(low, value, high), f"{low:.3f} to {high:.3f}")
        tested = dict(one.scored).get("test", {}).get(one.primary)
        link = (
            el("a", name, href=_beside(one, folder)) if is_file(one.path / "report.html") else name
        )
        rows.append([link, one.primary or "–", split or "–", (number(value), value or 0.0), bar,
                     number(tested) if is_number(tested) else "–", one.recipe["backbone"],
                     one.recipe.get("run.seed"), _seconds(one)])  # fmt: skip
    columns = [("run", ""), ("score", ""), ("on", ""), ("value", "n"), ("interval", ""),
               ("test", "n"), ("net", ""), ("seed", "n"), ("seconds", "n")]  # fmt: skip
    empty = [i for i in range(len(columns)) if all(row[i] in ("", "–") for row in rows)]
    columns = [column for i, column in enumerate(columns) if i not in empty]
    rows = [[cell for i, cell in enumerate(row) if i not in empty] for row in rows]
    methods = dict.fromkeys(
        str(known.get("method", "")) for one in facts
        if (known := one.interval(_main(one)[0])) is not None
    )  # fmt: skip
    sources = dict.fromkeys(short_path(str(one.recipe["data.source"])) for one in facts)
    notes = [el("li", line.removeprefix("warning: ")) for line in compared.get("notes", ())]
    return el(
        "header",
        el("p", " · ".join(sources), class_="kicker"), el("h1", title),
        _verdict(facts, compared, names),
        table(columns, rows, caption="Runs", sorts=True, class_="runs"),
        el("p", "Intervals: ", "; ".join(methods), ". They hold for other pictures, not for other "
           "seeds.", class_="note") if methods else None,
        el("ul", *notes) if notes else None,
    )  # fmt: skip


def _seconds(one: Facts) -> Any:
    seconds = one.result.get("seconds")
    return (f"{seconds:,.0f}", seconds) if is_number(seconds) else "–"


def _beside(one: Facts, folder: Path) -> str:
    """The address of a run's own page, relative to this one, so that both can move together."""
    file = (one.path / "report.html").resolve()
    try:
        return quote(os.path.relpath(file, folder.resolve()).replace(os.sep, "/"))
    except ValueError:  # on another drive
        return file.as_uri()


def _main(one: Facts) -> tuple[str, float | None]:
    """The split and the value of a run's main score."""
    for split, scores in one.scored:
        if is_number(scores.get(one.primary)):
            return split, float(scores[one.primary])
    return "", None


def _verdict(
    facts: Sequence[Facts], compared: Mapping[str, Any], names: Sequence[str]
) -> Markup:  # fmt: skip
    """What the comparison comes to, in a sentence or two."""
    lines: list[str] = []
    groups = [g for g in compared.get("groups", ()) if g["n"] > 1]
    for group in groups:
        primary = next((one.primary for one in facts if str(one.path) in group["runs"]), "")
        known = group["val"].get(primary) or group["test"].get(primary)
        if known and known["std"] is not None:
            spread = f"{known['mean']:.4f} ± {known['std']:.4f}"
            lines.append(
                f"{counted(group['n'], 'seed')} of one recipe: {primary} {spread} "
                "(mean and deviation)."
            )
    values = {n: v for one, n in zip(facts, names, strict=True) if (v := _main(one)[1]) is not None}
    same = len({one.primary for one in facts}) == 1
    if same and len(values) > 1 and not (groups and len(groups[0]["runs"]) == len(facts)):
        best = max(values, key=lambda n: values[n])
        lines.append(f"The best is {best}, {facts[0].primary} {values[best]:.4f}.")
    tests: list[Mapping[str, Any]] = _all_tests(compared)
    real = [t for t in tests if float(t.get("p_holm", t["p"])) < 0.05]
    if tests:
        lines.append(
            f"{len(real)} of {counted(len(tests), 'paired test')} against {names[0]} "
            f"{'shows' if len(real) == 1 else 'show'} a difference that pictures alone would "
            "rarely make (p < 0.05)." if real else
            f"No run differs from {names[0]} by more than the choice of pictures can explain "
            f"({counted(len(tests), 'paired test')}, p ≥ 0.05)."
        )  # fmt: skip
    return el("ul", *(el("li", line) for line in lines), class_="verdicts")


def _all_tests(compared: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [test for tests in (compared.get("paired") or {}).values() for test in tests]


def _tests(compared: Mapping[str, Any], names: Sequence[str]) -> Markup | None:
    """The first run against each other one, on the pictures of both."""
    by_path = dict(zip(compared["runs"], names, strict=True))
    rows: list[list[Any]] = []
    for split, tests in (compared.get("paired") or {}).items():
        for test in tests:
            p = float(test.get("p_holm", test["p"]))
            first, second = (str(by_path.get(run, run)) for run in test["runs"])
            rows.append([
                f"{second} − {first}", f"{split} {test['figure']}",
                (f"{test['difference']:+.4f}", test["difference"]),
                f"{test['low']:+.4f} to {test['high']:+.4f}",
                ("< 0.001" if p < 0.001 else f"{p:.3f}", p),
                "yes" if p < 0.05 else "not shown", test["pictures"], test["test"],
            ])  # fmt: skip
    if not rows:
        return el("p", "No paired test: the runs were not scored on the same pictures by the same "
                  "score, or do not keep what each picture counts.")  # fmt: skip
    holm = any("p_holm" in test for test in _all_tests(compared))
    columns = [("runs", ""), ("score", ""), ("difference", "n"), ("95 % interval", ""), ("p", "n"),
               ("different?", ""), ("pictures", "n"), ("test", "")]  # fmt: skip
    return join(
        el("p", "Both runs see the same easy and hard pictures, so that a paired test finds "
           "differences that the two intervals alone would hide. p: how often equally good models "
           "would differ as much" + (", corrected for several tests (Holm)." if holm else ".")
           + " It says nothing about other seeds.", class_="note"),
        table(columns, rows, caption="Paired tests", sorts=True, class_="wide-last"),
    )  # fmt: skip


def _seeds(
    compared: Mapping[str, Any], facts: Sequence[Facts], names: Sequence[str]
) -> Markup | None:  # fmt: skip
    by_path = dict(zip(compared["runs"], names, strict=True))
    groups = [group for group in compared.get("groups", ()) if group["n"] > 1]
    primaries = {one.primary for one in facts}
    parts: list[Markup] = []
    for group in groups:
        rows = [
            [join(el("strong", name)) if name in primaries else name, split, number(known["mean"]),
             number(known["std"])]
            for split in ("val", "test") for name, known in group[split].items()
        ]  # fmt: skip
        who = ", ".join(str(by_path.get(run, run)) for run in group["runs"])
        seeds = ", ".join(str(seed) for seed in group["seeds"])
        parts.append(join(
            el("p", f"{who}: they differ in their seed alone ({seeds})."),
            table([("score", ""), ("on", ""), ("mean", "n"), ("deviation", "n")], rows,
                  caption=f"Mean and standard deviation, n = {group['n']}"),
        ))  # fmt: skip
    return join(*parts) if parts else None


def _recipes(compared: Mapping[str, Any], names: Sequence[str]) -> Markup | None:
    rows = [
        [key, *(_value(value) for value in values)] for key, values in compared["recipe"].items()
    ]
    if not rows:
        return el("p", "Nothing: their recipes are the same.")
    return table([("key", ""), *((name, "") for name in names)], rows, caption="Recipes")


def _value(value: Any) -> str:
    if value in ("", None, ()):
        return "–"
    return str(value) if isinstance(value, float) else number(value)


def _curves(facts: Sequence[Facts], names: Sequence[str]) -> Markup | None:
    shown = list(zip(facts, names, strict=True))[:MAX_DRAWN]
    scores: list[Line] = []
    losses: list[Line] = []
    label = x_label([event for one in facts for event in one.events])
    for place, (one, name) in enumerate(shown):
        look = LOOKS[place % len(LOOKS)] + (" dashed" if place >= len(LOOKS) else "")
        points = [(at(e), float(e["metrics"][one.primary])) for e in one.of_events("eval")
                  if is_number((e.get("metrics") or {}).get(one.primary))]  # fmt: skip
        if len(points) > 1:
            scores.append(Line(name, points, look))
        own = losses_of(one.of_events("train"))
        if own:
            losses.append(Line(name, smooth(own) if len(own) > 20 else own, look))
    primary = facts[0].primary
    titled = ((scores, f"{primary} on val"), (losses, "Training loss, smoothed"))
    charts = [line_chart(lines, title, label) for lines, title in titled if lines]
    return el("div", *charts, class_="charts") if charts else None


def _outcomes(one: Facts) -> dict[str, Mapping[str, str]]:
    """Id -> the row of predictions/val.csv, where it says what is right."""
    path = one.path / "predictions" / "val.csv"
    if not is_file(path):
        return {}
    rows = csv.DictReader(io.StringIO(text_of(path, TABLE)))
    if not {"id", "correct", "predicted", "truth"} <= set(rows.fieldnames or ()):
        return {}
    return {row["id"]: row for row in rows}


def _pictures(facts: Sequence[Facts], names: Sequence[str]) -> Markup | None:
    """The pictures that some runs have right and others wrong, for classifiers."""
    tables = [_outcomes(one) for one in facts]
    if not all(tables):
        return None
    common = [key for key in tables[0] if all(key in one for one in tables)]
    differ = [key for key in common if len({one[key]["correct"] for one in tables}) > 1]
    wrong = sum(all(one[key]["correct"] == "0" for one in tables) for key in common)
    right = sum(all(one[key]["correct"] == "1" for one in tables) for key in common)
    lead = el("p", f"Of {counted(len(common), 'picture')} scored by all, {right:,} are right in "
              f"all runs, {wrong:,} wrong in all, and {len(differ):,} right in some.")  # fmt: skip
    if not differ:
        return lead
    differ.sort(key=lambda key: sum(one[key]["correct"] == "1" for one in tables))
    examples = [_example(key, tables, names) for key in differ[:MAX_PICTURES]]
    pictures = _open_pictures(facts[0])
    shown = None
    if pictures is not None:
        shown, _ = pictures.figures(examples, Budget(PICTURES_SIZE, Live()))
    if shown:
        return join(lead, el("div", shown, class_="grid"))
    return join(lead, el("ul", *(el("li", f"{e.id}: {'; '.join(e.lines)}") for e in examples)))


def _example(key: str, tables: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Example:
    said = tuple(
        f"{'✓' if one[key]['correct'] == '1' else '✗'} {name}: {one[key]['predicted']}"
        for one, name in zip(tables, names, strict=True)
    )
    return Example(key, (f"is {tables[0][key]['truth']}", *said), False, 0.0)


def _open_pictures(one: Facts) -> Pictures | None:
    """The val pictures of a run, if its data are still there."""
    with contextlib.suppress(XferError):
        recipe = load_recipe(str(one.path / "recipe.toml"))
        if recipe.task == "probe":
            recipe = replace(recipe, task=tasks.for_kind("classify"))
        bundle = open_recipe_data(recipe, check=False, find=False)
        if "val" in bundle.splits:
            kind = kinds.get(bundle.kind)
            return Pictures(bundle.splits["val"], kind, bundle.classes, graded=True)
    return None


def _classes(facts: Sequence[Facts], names: Sequence[str]) -> Markup | None:
    tables = [one.scores.get("per_class") or {} for one in facts]
    main = main_key(tables[0])
    classes = list(dict.fromkeys(name for one in tables for name in one))
    if not main or len(classes) < 2:
        return None
    rows: list[list[Any]] = []
    for name in classes[:MAX_CLASSES]:
        values = [(one.get(name) or {}).get(main) for one in tables]
        known = [float(v) for v in values if is_number(v)]
        gap = max(known) - min(known) if known else 0.0
        rows.append([name, *((number(v), -1.0 if v is None else v) for v in values),
                     (number(gap), gap)])  # fmt: skip
    rows.sort(key=lambda row: -row[-1][1])
    columns = [("class", ""), *((name, "n") for name in names), ("largest gap", "n")]
    return join(
        el("p", f"{WORDS[main]} of each class, largest gap first.", class_="note"),
        table(columns, rows, caption="Classes", sorts=True),
    )


def _scores(compared: Mapping[str, Any], names: Sequence[str]) -> Markup | None:
    rows = [
        [metric, split, *((number(v), v if is_number(v) else -1.0) for v in values)]
        for split in ("val", "test") for metric, values in compared[split].items()
    ]  # fmt: skip
    if not rows:
        return None
    return table([("score", ""), ("on", ""), *((name, "n") for name in names)], rows,
                 caption="Scores", sorts=True)  # fmt: skip


def _speed(compared: Mapping[str, Any], names: Sequence[str]) -> Markup | None:
    rows = [
        [key.replace("_", " "), *(number(value) for value in values)]
        for key, values in compared["speed"].items()
    ]
    if not rows:
        return None
    return table([("", ""), *((name, "n") for name in names)], rows, caption="Speed")
