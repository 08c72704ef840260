"""`xfer runs`: lists, shows and compares run folders."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xfer.cli.command import command
from xfer.cli.completion import runs
from xfer.cli.flags import RunFolder
from xfer.cli.help import Group
from xfer.cli.output import Show, plain_text

app = typer.Typer(help="Run folders: list, show, compare.", no_args_is_help=True, cls=Group)


@command(app, "ls")
def runs_ls(
    show: Show,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="folder of runs")] = "runs",
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
        show.table(rows)
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
        {"of": split, "metric": name, "value": value}
        for split, key in (("val", "metrics"), ("test", "test_metrics"))
        for name, value in result.get(key, {}).items()
        if not isinstance(value, (dict, list))
    ]
    if not result:
        rows = [
            {"of": f"{kind}, step {event['step']}", "metric": name, "value": value}
            for kind, event in summary["last"].items()
            for name, value in {**event, **event.get("metrics", {})}.items()
            if isinstance(value, (int, float)) and name not in ("step", "time")
        ]
    if rows:
        show.table(rows)
    for name in ("best_step", "steps", "seconds", "images_per_second", "data_wait"):
        if name in result:
            show.text(f"{name.replace('_', ' ')}: {plain_text(result[name])}")
    changed: dict[str, list[Any]] = summary["changed"]
    if changed:
        show.text(f"\nrecipe {summary['recipe']}, differences from {summary['base']}:")
        show.table([{"key": k, summary["base"]: a, "here": b} for k, (a, b) in changed.items()])
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
    rows = [
        {"": f"{part} {key}", **dict(zip(names, values, strict=True))}
        for part in ("val", "test", "speed", "recipe")
        for key, values in comparison[part].items()
    ]
    show.table(rows)
    for line in comparison["notes"]:
        show.note(line)
    for tests in comparison["paired"].values():
        for test in tests:
            show.text(test["line"])
    groups: list[dict[str, Any]] = comparison["groups"]
    if all(group["n"] < 2 for group in groups):
        return
    show.text("\nmean and standard deviation of runs that differ only in their seed:")
    names = [f"{group['runs'][0]} (n = {group['n']})" for group in groups]
    metrics = dict.fromkeys((s, m) for group in groups for s in ("val", "test") for m in group[s])
    show.table([
        {"": f"{split} {metric}", **{
            name: _mean(group[split].get(metric)) for name, group in zip(names, groups, strict=True)
        }}
        for split, metric in metrics
    ])  # fmt: skip
    for name, group in zip(names, groups, strict=True):
        show.note(f"{name}: seeds {plain_text(group['seeds'])}; {', '.join(group['runs'])}")


def _mean(numbers: dict[str, Any] | None) -> str:
    if numbers is None:
        return ""
    mean, std = plain_text(numbers["mean"]), numbers["std"]
    return mean if std is None else f"{mean} ± {plain_text(std)}"
