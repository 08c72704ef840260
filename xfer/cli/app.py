"""The command line. A command parses, builds a recipe, calls one function and prints.

Nothing here imports torch: what a command needs is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli import compress as cli_compress
from xfer.cli import data_models as cli_data_models
from xfer.cli import features as cli_features
from xfer.cli import get as cli_get
from xfer.cli import pack as cli_pack
from xfer.cli import probe as cli_probe
from xfer.cli import proposals as cli_proposals
from xfer.cli import recipes_runs as cli_recipes_runs
from xfer.cli import use as cli_use
from xfer.cli.completion import recipes, runs, tasks
from xfer.cli.flags import PANEL_OF, Data, command
from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.exit_codes import complain, report

app = typer.Typer(
    help="Carry a pretrained vision backbone over to a task of your own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_data_models.data, name="data", rich_help_panel="Look")
app.add_typer(cli_data_models.models, name="models", rich_help_panel="Look")
app.add_typer(cli_recipes_runs.recipes, name="recipes", rich_help_panel="Look")
app.add_typer(cli_recipes_runs.runs, name="runs", rich_help_panel="Look")

TaskName = Annotated[
    str,
    typer.Option(
        "--task", "-t", metavar="T", show_default=False, autocompletion=tasks,
        help="classify (cls), ...; found by looking at the data when left out",
    ),
]  # fmt: skip
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", metavar="NAME|FILE", show_default=False, autocompletion=recipes,
        help="T/NAME for data of that name, else T/default, when left out",
    ),
]  # fmt: skip
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="DIR", show_default=False, rich_help_panel="Run folder",
        help="the run folder; runs/<task>-<backbone>-<data>-<n> when left out",
    ),
]  # fmt: skip
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="RUN", show_default=False, rich_help_panel="Run folder",
        autocompletion=runs,
        help="go on exactly where this run stopped, by its own recipe",
    ),
]  # fmt: skip
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", show_default=False, rich_help_panel="Run folder",
        help="replace an earlier run in --out",
    ),
]  # fmt: skip
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
        "--set", metavar="A.B=VALUE", show_default=False,
        help="any key of the recipe, as often as needed; `xfer recipes show NAME` lists them",
    ),
]  # fmt: skip
Assignments = Annotated[
    list[str],
    typer.Argument(
        metavar="A.B=VALUE", show_default=False,
        help="the same as --set, at the end",
    ),
]  # fmt: skip
ALL_FLAGS = tuple(PANEL_OF)


@command(app, "finetune", flags=ALL_FLAGS, panel="Train")
def finetune(
    show: Show,
    given: dict[str, Any],
    data: Data = "",
    task: TaskName = "",
    recipe: RecipeName = "",
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
) -> None:
    """Teach a pretrained backbone a task: `xfer finetune --data photos/`."""
    _train(show, given, data, task, recipe, out, resume, overwrite, dry_run, set + assignments)


@command(app, "pretrain", flags=ALL_FLAGS, panel="Train")
def pretrain(
    show: Show,
    given: dict[str, Any],
    name: Annotated[
        str, typer.Argument(metavar="NAME", show_default=False, help="the recipe pretrain/NAME")
    ] = "",
    data: Data = "",
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    set: Set = [],  # noqa: B006
    assignments: Assignments = [],  # noqa: B006
) -> None:
    """Train a backbone from scratch by the recipe pretrain/NAME."""
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
    from xfer.recipe.choose import build_recipe
    from xfer.recipe.toml import parse_assignments

    settings = {**given, **parse_assignments(assignments)}
    if resume is not None and (settings or data or task or recipe or out or overwrite or dry_run):
        raise XferError(
            "--resume goes on by the run's own recipe", f"xfer finetune --resume {resume}, alone"
        )
    built = None
    if resume is None:
        built = build_recipe(data, task, recipe, settings, show.note)
    from xfer.train.loop import fit

    summary = fit(
        built, out, resume=resume, overwrite=overwrite, dry_run=dry_run, verbosity=show.verbosity
    )
    if show.json:
        show.document({"run": str(summary.path), **summary.result})
    else:
        show.text(summary.line())


command(app, "eval", panel="Use")(cli_use.evaluate)
command(app, "predict", panel="Use")(cli_use.predict)
command(app, "compress", panel="Use")(cli_compress.compress)
command(app, "features", flags=cli_features.FLAGS, panel="Features")(cli_features.features)
command(app, "probe", panel="Features")(cli_probe.probe)
command(cli_data_models.data, "cache")(cli_features.data_cache)
command(cli_data_models.data, "get")(cli_get.get)
command(cli_data_models.data, "pack")(cli_pack.pack)
command(cli_data_models.data, "proposals", flags=cli_proposals.FLAGS)(cli_proposals.proposals)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="print the version")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="the traceback of an error", show_default=False)
    ] = False,
) -> None:
    if version:
        from xfer import __version__

        print(f"xfer {__version__}")
        raise typer.Exit


# click's, or typer's own copy of it, according to typer's version
_UsageError: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)  # pyright: ignore[reportAssignmentType]


def main(words: list[str] | None = None) -> int:
    """Runs a command line, `sys.argv` by default, and returns the exit code of surface.md."""
    words = sys.argv[1:] if words is None else words
    # before torch is loaded: threads that wait by sleeping leave the cores to those that decode
    # (two trainings on two cores: 1.5x; alone: no difference)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(args=words, prog_name="xfer", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        return _usage(error)
    except (Exception, KeyboardInterrupt) as error:
        return report(error, "--debug" in words)


def _usage(error: Any) -> int:
    """A mistyped command or option: what, and where the right ones are listed."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    text = error.format_message().rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "xfer"
    complain(text[:1].lower() + text[1:], f"`{path} --help` lists what there is")
    return 2
