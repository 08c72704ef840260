"""`xfer runs`: lists, shows and compares run folders."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.command import command
from xfer.cli.completion import runs
from xfer.cli.flags import RunFolder, out_option
from xfer.cli.help import Group
from xfer.cli.output import Show, interval_line, plain_text
from xfer.cli.table import as_typed, column, decimals, number

RunsFolder = Annotated[str, typer.Argument(metavar="DIR", help="folder of runs")]
app = typer.Typer(help="Run folders: list, show, compare, table.", no_args_is_help=True, cls=Group)


@command(app, "ls")
def runs_ls(
    show: Show,
    folder: RunsFolder = "runs",
) -> None:
    """List runs with their main score, the newest first.

    Examples:
        xfer runs ls                                     those in runs/
        xfer runs ls experiments/ --json
    """
    from xfer.runs.listing import list_runs

    rows = list_runs(folder)
    if show.json:
        show.document(rows)
    elif rows:
        show.table([_listed(row) for row in rows], keep=("run", "score", "date"))
    else:
        show.note(f"no runs in {folder}")


@command(app, "show")
def runs_show(show: Show, run: RunFolder) -> None:
    """Show one run: its scores, and what it changed in its recipe.

    Examples:
        xfer runs show runs/NAME
    """
    from xfer.runs.listing import show_run

    summary = show_run(run)
    if show.json:
        show.document(summary)
        return
    result: dict[str, Any] = summary["result"]
    show.text(f"{summary['run']}: {summary['state']}")
    rows = [
        {"metric": name, split: value}
        for split, key in (("val", "metrics"), ("test", "test_metrics"))
        for name, value in result.get(key, {}).items()
        if not isinstance(value, (dict, list))
    ]
    splits = list(dict.fromkeys(key for row in rows for key in row if key != "metric"))
    names = list(dict.fromkeys(row["metric"] for row in rows))
    merged: list[dict[str, Any]] = [
        {"metric": name, **{k: v for row in rows if row["metric"] == name for k, v in row.items()}}
        for name in names
    ]
    if not result:
        splits = []
        event = summary["last"].get("eval", {})
        merged = [
            {"metric": name, f"val, step {event['step']}": value}
            for name, value in event.get("metrics", {}).items()
            if isinstance(value, (int, float))
        ]
    if merged:
        show.table(merged, ["metric", *splits] if splits else (), keep=["metric", *splits])
    for split, key in (("val", "interval"), ("test", "test_interval")):
        if result.get(key):
            show.text(f"{split} {interval_line(result['primary'], result[key])}")
    if result:
        show.text(_cost(result))
    elif "train" in summary["last"]:
        event = summary["last"]["train"]
        loss, lr, speed = (event.get(key) for key in ("loss", "lr", "images_per_second"))
        parts = [f"loss {loss:.4f}" if loss is not None else "", f"at step {event['step']}"]
        rest = [f"lr {lr:.2g}" if lr is not None else "",
                f"{speed:.4g} pictures/s" if speed is not None else ""]  # fmt: skip
        show.text(", ".join(filter(None, [" ".join(filter(None, parts)), *rest])))
    changed: dict[str, list[Any]] = summary["changed"]
    if changed:
        show.text(f"\nrecipe {summary['recipe']}, differences from {summary['base']}:")
        base = summary["base"]
        show.table([
            {"key": key, base: plain_text(old), "here": plain_text(new)}
            for key, (old, new) in changed.items()
        ])  # fmt: skip
    else:
        show.text(f"\nrecipe {summary['recipe']}, unchanged")


@command(app, "compare")
def runs_compare(
    show: Show,
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="run folders, two or more",
            autocompletion=runs,
        ),
    ],
) -> None:
    """Compare runs: their scores, and the recipe keys that differ.

    Examples:
        xfer runs compare runs/A runs/B
    """
    from xfer.runs.compare import compare_runs

    comparison = compare_runs(folders)
    if show.json:
        show.document(comparison)
        return
    names = comparison["runs"]
    heads = _heads(show, names)
    # settings as they are typed: rounded, 1e-5 and 2e-5 would look alike
    cells = {"val": column, "test": column, "speed": column, "recipe": as_typed}
    rows = [
        {"": f"{part} {key}", **dict(zip(heads, cells[part](values), strict=True))}
        for part in cells
        for key, values in comparison[part].items()
    ]
    show.table(rows, keep=["", *heads])
    for line in comparison["notes"]:
        show.note(line)
    for tests in comparison["paired"].values():
        for test in tests:
            show.text(test["line"])
    groups: list[dict[str, Any]] = comparison["groups"]
    if all(group["n"] < 2 for group in groups):
        return
    show.text("\nmean and standard deviation of runs that differ only in their seed:")
    of = dict(zip(names, heads, strict=True))
    names = [f"{of[group['runs'][0]]} (n = {group['n']})" for group in groups]
    metrics = dict.fromkeys((s, m) for group in groups for s in ("val", "test") for m in group[s])
    show.table([
        {"": f"{split} {metric}", **{
            name: _mean(group[split].get(metric)) for name, group in zip(names, groups, strict=True)
        }}
        for split, metric in metrics
    ])  # fmt: skip
    for tests in comparison["paired_groups"].values():
        for test in tests:
            show.text(test["line"])
    for name, group in zip(names, groups, strict=True):
        show.note(f"{name}: seeds {plain_text(group['seeds'])}; {', '.join(group['runs'])}")


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `runs ls` for people, what matters most first."""
    score = f"{row['metric']} {row['val']:.4f}" if row.get("val") is not None else ""
    state = row["state"].partition(":")[0]
    if state != "finished":
        score = state if state == "damaged" else f"at step {row.get('steps')}"
    ends = row.get("interval")
    return {
        "run": row["run"],
        "score": score or ("test only" if row.get("test") is not None else "trained"),
        "date": row["date"].replace("T", " ")[:16],
        "interval": f"{ends['low']:.4f} to {ends['high']:.4f}" if ends else "",
        "test": f"{row['test']:.4f}" if row.get("test") is not None else "",
        "task": row.get("task", ""),
        "backbone": row.get("backbone", ""),
        "data": row.get("data", ""),
        "steps": row.get("steps"),
        "seconds": row.get("seconds"),
        "state": row["state"],
    }


def _cost(result: dict[str, Any]) -> str:
    """Steps, time and speed of a finished run, with their units."""
    parts = [f"{result['steps']} steps" if "steps" in result else ""]
    parts.append(f"best step {result['best_step']}" if "best_step" in result else "")
    parts.append(f"{result['seconds']:.1f} s" if "seconds" in result else "")
    if "images_per_second" in result:
        parts.append(f"{result['images_per_second']:.4g} pictures/s")
    if "data_wait" in result:
        parts.append(f"{100 * result['data_wait']:.0f} % of the time waiting for data")
    if "peak_memory_mb" in result:
        parts.append(f"{result['peak_memory_mb'] / 1024:.1f} GB of memory")
    return ", ".join(part for part in parts if part)


def _heads(show: Show, names: list[str]) -> list[str]:
    """Headings of columns, one per run: its name, or a letter where names have no room."""
    if not sys.stdout.isatty() or 28 + sum(len(name) + 2 for name in names) <= (
        shutil.get_terminal_size().columns
    ):
        return names
    letters = [chr(65 + n) if n < 26 else f"run {n + 1}" for n in range(len(names))]
    for letter, name in zip(letters, names, strict=True):
        show.text(f"{letter}: {name}")
    show.text("")
    return letters


@command(app, "table")
def runs_table(
    show: Show,
    folder: RunsFolder = "runs",
    out: Annotated[
        Path | None, out_option("FILE.csv or FILE.parquet; default: csv on stdout", "FILE")
    ] = None,
) -> None:
    """Write all runs as one flat table: recipe keys, scores and environment as columns.

    Examples:
        xfer runs table -o runs.csv
        xfer runs table experiments/ -o runs.parquet     for pandas.read_parquet
    """
    from xfer.runs.flat import flat_csv, flat_runs, write_flat

    rows = flat_runs(folder)
    if out is not None and rows:
        write_flat(rows, out)
    if show.json:
        show.document(rows)
    elif not rows:
        show.note(f"no runs in {folder}")
    elif out is None:
        show.raw(flat_csv(rows))
    else:
        show.text(f"{out}: {len(rows)} run{'s' * (len(rows) != 1)}, {len(rows[0])} columns")


def _mean(numbers: dict[str, Any] | None) -> str:
    if numbers is None:
        return ""
    mean, std = numbers["mean"], numbers["std"]
    if std is None:
        return number(mean, decimals([mean]))
    places = decimals([mean, std])
    return f"{number(mean, places)} ± {number(std, places)}"
