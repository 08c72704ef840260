"""`xfer sweep`: settings compared, each trained with several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.flags import Data, out_option
from xfer.cli.output import Show
from xfer.cli.train import FLAGS as FLAGS
from xfer.cli.train import RecipeName, Replace, Set, TaskName

Budget = Annotated[
    float | None,
    typer.Option(
        "--budget", metavar="MINUTES", show_default=False, rich_help_panel="Comparison",
        help="stop after this long; the same command goes on",
    ),
]  # fmt: skip
Grid = Annotated[
    list[str],
    typer.Argument(
        metavar="A.B=V1,V2", show_default=False,
        help="values to compare; with one value, as --set",
    ),
]  # fmt: skip


def sweep(
    show: Show,
    given: dict[str, Any],
    data: Data = "",
    grid: Grid = [],  # noqa: B006 (typer copies it)
    task: TaskName = "",
    recipe: RecipeName = "",
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", metavar="N", min=1, rich_help_panel="Comparison",
            help="runs of each setting, from --seed on",
        ),
    ] = 3,
    budget: Budget = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", metavar="NAME", rich_help_panel="Comparison",
            help="grid: all settings in full; halving: short runs first, the better half goes on",
        ),
    ] = "grid",
    out: Annotated[
        Path | None,
        out_option("the folder of the runs; default: runs/sweep-<task>-<backbone>-<data>-<digest>",
                   panel="Run folder"),
    ] = None,
    overwrite: Replace = False,
    set: Set = [],  # noqa: B006
) -> None:  # fmt: skip
    """Compare settings on val: which is best, and which differences are beyond chance.

    Examples:
        xfer sweep --data digits optim.lr=5e-4,2e-3      2 settings, 3 seeds each
        xfer sweep --data photos/ optim.lr=1e-4,3e-4 data.augment=light,strong
        xfer sweep --data photos/ optim.lr=1e-4,3e-4,1e-3 --method halving
        xfer sweep --data photos/ optim.freeze=conv2,all --budget 60
    """
    from xfer.trials.budget import Budget

    clock = Budget(budget)  # with the time to load what trains
    from xfer.recipe.choose import prepare
    from xfer.recipe.toml import parse_assignments
    from xfer.trials.grid import split_lists
    from xfer.trials.sweep import run_sweep

    single, lists = split_lists(grid)
    settings = {**given, **parse_assignments(set + single)}
    base, opened = prepare(data, task, recipe, settings, show.note)
    found = run_sweep(
        base, lists, opened=opened, seeds=seeds, budget=clock, method=method, out=out,
        overwrite=overwrite, say=show.note,
    )  # fmt: skip
    if show.json:
        show.document(found)
        return
    rows = found["settings"]
    keys = list(found["grid"])
    show.table([_row(row, keys) for row in rows], keep=(*keys, "mean"))
    show.text(found["verdict"])
    show.line(f"next: {found['next']}")


def _row(row: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """A setting for people."""
    from xfer.notebook.results import apart

    mean, deviation = row["mean"], row["deviation"]
    shown: dict[str, Any] = {key: row[key] for key in keys}
    shown["mean"] = "" if mean is None else f"{mean:.4f}"
    shown["deviation"] = "" if deviation is None else f"{deviation:.4f}"
    shown["n"] = f"{row['n']}, {row['diverged']} diverged" if "diverged" in row else row["n"]
    if "share" in row:
        shown["length"] = f"{row['share']:g}"
    return {**shown, "minus the best": apart(row["minus_best"])}
