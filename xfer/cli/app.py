"""The command line: all groups of commands, and the exit code.

Nothing here imports torch: what a command needs is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from xfer.cli import (
    compress,
    data,
    evaluate,
    export,
    features,
    models,
    pages,
    predict,
    probe,
    recipes,
    runs,
    train,
)
from xfer.cli.command import DRAWS, command
from xfer.cli.experiments import ask, sweep
from xfer.cli.flags import Debug, varied
from xfer.cli.help import Group, option_hint
from xfer.errors import command_line
from xfer.exit_codes import complain_once, end_soon, ended_by_signals
from xfer.exit_codes import report as report_error

app = typer.Typer(
    help="Fine-tune a pretrained vision backbone on a task of your own.",
    no_args_is_help=True,
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command(app, "finetune", flags=train.FLAGS, panel="Train", trust=True, shares=True,
        recipe="classify/default")(train.finetune)  # fmt: skip
command(app, "pretrain", flags=train.FLAGS, panel="Train", trust=True, shares=True, recipe=None)(
    train.pretrain
)
command(app, "sweep", flags=sweep.FLAGS, panel="Train", trust=True, recipe="classify/default")(
    sweep.sweep
)
command(app, "eval", panel="Use", trust=True, shares=True)(evaluate.evaluate)
command(app, "predict", panel="Use", trust=True, shares=True)(predict.predict)
command(app, "export", panel="Use", trust=True)(export.export)
command(app, "report", panel="Use", trust=True)(pages.report)
command(app, "serve", panel="Use", trust=True)(pages.serve)
command(app, "compress", panel="Use", trust=True)(compress.compress)
command(app, "features", flags=features.FLAGS, panel="Features", trust=True, seed=DRAWS,
        shares=True)(features.features)  # fmt: skip
command(app, "features join", panel="Features")(features.join)
command(app, "probe", panel="Features", trust=True)(probe.probe)
app.add_typer(ask.app, name="ask", rich_help_panel="Train")
for group in (data, models, recipes, runs):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2], rich_help_panel="Inspect")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="print the version")
    ] = False,
    debug: Annotated[bool, varied(Debug, rich_help_panel=None)] = False,
) -> None:
    if version:
        from xfer import __version__

        print(f"xfer {__version__}")
        raise typer.Exit


# click's, or typer's own copy of it, depending on typer's version
_UsageError: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)  # pyright: ignore[reportAssignmentType]


def main(argv: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code; `xfer.exit_codes` lists them.

    Args: argv: what follows `xfer`; `sys.argv` by default.
    """
    own_process = argv is None
    argv = sys.argv[1:] if argv is None else argv
    # before torch is loaded: waiting threads that sleep leave the cores to the decoders
    # (two trainings on two cores: 1.5x; one alone: no difference)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with command_line(), ended_by_signals():
            code = app(args=argv, prog_name="xfer", standalone_mode=False)
        if code == 130 and own_process:
            end_soon()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        return _usage(error)
    except (Exception, KeyboardInterrupt) as error:
        return report_error(error, "--debug" in argv)


def _usage(error: Any) -> int:
    """Reports a mistyped command or option, and where the valid ones are listed."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    text = error.format_message().rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "xfer"
    hint = option_hint(error)
    text = text.partition(" (Possible options")[0] if hint else text
    complain_once(text[:1].lower() + text[1:], hint or f"`{path} --help` lists the valid ones")
    return 2
