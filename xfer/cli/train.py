"""`xfer finetune` and `xfer pretrain`: train a recipe with the settings of the command line."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.command import PANEL_OF
from xfer.cli.completion import recipes, runs, tasks
from xfer.cli.flags import Data, Overwrite, out_option, varied
from xfer.cli.output import Show
from xfer.errors import XferError

FLAGS = tuple(PANEL_OF)

TaskName = Annotated[
    str,
    typer.Option(
        "--task", "-t", metavar="T", show_default=False, autocompletion=tasks,
        rich_help_panel="Data",
        help="classify (cls), ...; default: inferred from the data",
    ),
]  # fmt: skip
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", metavar="NAME|FILE", show_default=False, autocompletion=recipes,
        rich_help_panel="Training",
        help="default: T/NAME for data of that name, else T/default",
    ),
]  # fmt: skip
Out = Annotated[
    Path | None,
    out_option("the run folder; default: runs/<task>-<backbone>-<data>-<n>",
               panel="Run folder"),
]  # fmt: skip
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="RUN", show_default=False, rich_help_panel="Run folder",
        autocompletion=runs,
        help="continue this run exactly where it stopped, with its own recipe",
    ),
]  # fmt: skip
Replace = Annotated[bool, varied(Overwrite, rich_help_panel="Run folder")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", show_default=False, rich_help_panel="Run folder",
        help="one training batch, one evaluation batch, one save; nothing is kept",
    ),
]  # fmt: skip
Set = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="A.B=VALUE", show_default=False, rich_help_panel="Training",
        help="set any recipe key; `xfer recipes show NAME` lists them; may be repeated",
    ),
]  # fmt: skip
Assignments = Annotated[
    list[str],
    typer.Argument(
        metavar="A.B=VALUE", show_default=False,
        help="as --set, at the end of the command",
    ),
]  # fmt: skip


def finetune(
    show: Show,
    given: dict[str, Any],
    data: Data = "",
    task: TaskName = "",
    recipe: RecipeName = "",
    out: Out = None,
    resume: Resume = None,
    overwrite: Replace = False,
    dry_run: DryRun = False,
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
) -> None:
    """Fine-tune a pretrained backbone on pictures of your own.

    Examples:
        xfer finetune --data digits                      a first run, no download
        xfer finetune --data photos/                     a folder per class
        xfer finetune --data labels.csv --backbone resnet50 --epochs 10
        xfer finetune --task detect --data annotations.json
        xfer finetune --data photos/ --freeze all        train the head alone
        xfer finetune --data photos/ data.size=192 optim.ema=0.99
        xfer finetune --resume runs/NAME                 after Ctrl-C, kill or power loss
    """
    _train(show, given, data, task, recipe, out, resume, overwrite, dry_run, set + assignments)


def pretrain(
    show: Show,
    given: dict[str, Any],
    name: Annotated[
        str, typer.Argument(metavar="NAME", show_default=False, help="the recipe pretrain/NAME")
    ] = "",
    data: Data = "",
    out: Out = None,
    resume: Resume = None,
    overwrite: Replace = False,
    dry_run: DryRun = False,
    set: Set = [],  # noqa: B006
    assignments: Assignments = [],  # noqa: B006
) -> None:
    """Train a backbone from scratch with the recipe pretrain/NAME.

    Examples:
        xfer recipes ls 'pretrain/*'                     the names
        xfer pretrain imagenet --data imagenet:DIR
        xfer pretrain tiny --data packed/ --epochs 30 --out runs/tiny
        xfer pretrain --resume runs/tiny
    """
    if not name and resume is None:
        raise XferError("no recipe given", "xfer pretrain NAME, or --resume RUN")
    recipe = f"pretrain/{name}" if name else ""
    _train(show, given, data, "", recipe, out, resume, overwrite, dry_run, set + assignments)


def _train(
    show: Show,
    given: dict[str, Any],
    data: str,
    task: str,
    recipe: str,
    out: Path | None,
    resume: Path | None,
    overwrite: bool,
    dry_run: bool,
    assignments: list[str],
) -> None:
    from xfer.recipe.choose import prepare
    from xfer.recipe.toml import parse_assignments

    settings = {**given, **parse_assignments(assignments)}
    if resume is not None and (settings or data or task or recipe or out or overwrite or dry_run):
        raise XferError(
            "--resume uses the run's own recipe and takes no other settings",
            f"xfer finetune --resume {shlex.quote(str(resume))}",
        )
    full_recipe = opened = None
    if resume is None:
        full_recipe, opened = prepare(data, task, recipe, settings, show.note)
    from xfer.runs.ending import next_commands
    from xfer.train.loop import fit

    summary = fit(
        full_recipe, out, data=opened, resume=resume, overwrite=overwrite, dry_run=dry_run,
        verbosity=show.verbosity,
    )  # fmt: skip
    if show.json:
        show.document({"run": str(summary.path), **summary.result})
    else:
        show.text(summary.line())
        if not dry_run:
            sys.stdout.flush()
            for line in summary.closing():
                show.note(line)
            for n, line in enumerate(next_commands(summary.path, show.commands)):
                show.line(f"{'next: ' if not n else '      '}{line}")
