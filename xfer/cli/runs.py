"""`xfer runs`: run folders listed, read and compared."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xfer.cli.command import command
from xfer.cli.completion import runs
from xfer.cli.flags import RunFolder
from xfer.cli.output import Show, plain_text

app = typer.Typer(help="Run folders: list, read, compare.", no_args_is_help=True)


@command(app, "ls")
def runs_ls(
    show: Show,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="where the runs are")] = "runs",
) -> None:
    """List runs with their main score."""
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
    """Show one run: its result, its last numbers, and what it changed in its recipe."""
    from xfer.runs.listing import show_run

    found = show_run(run)
    if show.json:
        show.document(found)
        return
    result: dict[str, Any] = found["result"]
    show.text(f"{found['run']}: {found['state']}")
    rows = [
        {"of": split, "metric": name, "value": value}
        for split, key in (("val", "metrics"), ("test", "test_metrics"))
        for name, value in result.get(key, {}).items()
        if not isinstance(value, (dict, list))
    ]
    if not result:
        rows = [
            {"of": f"{kind}, step {event['step']}", "metric": name, "value": value}
            for kind, event in found["last"].items()
            for name, value in {**event, **event.get("metrics", {})}.items()
            if isinstance(value, (int, float)) and name not in ("step", "time")
        ]
    if rows:
        show.table(rows)
    for name in ("best_step", "steps", "seconds", "images_per_second", "data_wait"):
        if name in result:
            show.text(f"{name.replace('_', ' ')}: {plain_text(result[name])}")
    changed: dict[str, list[Any]] = found["changed"]
    if changed:
        show.text(f"\nrecipe {found['recipe']}, what differs from {found['base']}:")
        show.table([{"key": k, found["base"]: a, "here": b} for k, (a, b) in changed.items()])
    else:
        show.text(f"\nrecipe {found['recipe']}, unchanged")


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
    """Compare runs: their scores, and the recipe keys that differ."""
    from xfer.runs.listing import compare_runs

    found = compare_runs(folders)
    if show.json:
        show.document(found)
        return
    names = found["runs"]
    rows = [
        {"": f"{part} {key}", **dict(zip(names, values, strict=True))}
        for part in ("val", "test", "speed", "recipe")
        for key, values in found[part].items()
    ]
    show.table(rows)
