"""The command line. A command parses, builds a recipe, calls one function and prints.

Nothing here imports torch: what a command needs is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer import (
    cli_compress,
    cli_data_models,
    cli_features,
    cli_get,
    cli_pack,
    cli_probe,
    cli_proposals,
    cli_recipes_runs,
)
from xfer.cli_flags import PANEL_OF, command
from xfer.completion import recipes, runs, tasks
from xfer.endings import complain, report
from xfer.errors import XferError
from xfer.folders import check_folder
from xfer.recipe import FIELDS, checked
from xfer.show import Show

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

Data = Annotated[
    str,
    typer.Option(
        "--data", "-d", metavar="SPEC", show_default=False, rich_help_panel="Data",
        help="NAME (digits), PATH or FORMAT:PATH (csv:labels.csv)",
    ),
]  # fmt: skip
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
RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", show_default=False, autocompletion=runs, help="a run folder",
    ),
]  # fmt: skip
Tta = Annotated[
    str,
    typer.Option(
        "--tta", metavar="VIEWS", show_default=False,
        help="views averaged: none, flip or 10crop; the run's own when left out",
    ),
]  # fmt: skip
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps")
]
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
    from xfer.recipe_file import build_recipe, parse_assignments

    settings = {**given, **parse_assignments(assignments)}
    if resume is not None and (settings or data or task or recipe or out or overwrite or dry_run):
        raise XferError(
            "--resume goes on by the run's own recipe", f"xfer finetune --resume {resume}, alone"
        )
    built = None
    if resume is None:
        built = build_recipe(data, task, recipe, settings, show.note)
    from xfer.loop import fit

    summary = fit(
        built, out, resume=resume, overwrite=overwrite, dry_run=dry_run, verbosity=show.verbosity
    )
    if show.json:
        show.document({"run": str(summary.path), **summary.result})
    else:
        show.text(summary.line())


@command(app, "eval", panel="Use")
def evaluate(
    show: Show,
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", show_default=False, autocompletion=runs, help="a run folder",
        ),
    ] = None,
    data: Data = "",
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False,
            help="instead of RUN: a COCO results json of any tool, scored against --data "
            "(coco:FILE.json needs no pictures)",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="S", show_default=False,
            help="val, test or train; val where there is one when left out",
        ),
    ] = "",
    tta: Tta = "",
    batch: Annotated[
        int, typer.Option(metavar="N", min=0, help="pictures at a time; 0: the run's own")
    ] = 0,
    device: Device = "auto",
    workers: Annotated[
        int, typer.Option(metavar="N", min=-1, help="loader threads; -1: one a core, 0: in line")
    ] = -1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", show_default=False,
            help="with --detections: a folder for result.json and plots/",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", show_default=False, help="replace a result in --out")
    ] = False,
) -> None:  # fmt: skip
    """Score a run's best weights, on its own data or on others of the same classes.

    With --detections: score boxes that any tool has found.
    """
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    if detections is not None:
        if run is not None or tta or batch or device != "auto" or workers != -1:
            raise XferError("--detections scores a file: no RUN, no net", "xfer eval --help")
        if not data:
            raise XferError("no data given to compare with", "--data SPEC, or coco:FILE.json")
        from xfer.score_file import score_detections

        result = score_detections(
            detections, data, split=split, out=out, overwrite=overwrite, say=show.note
        )
    elif run is None:
        raise XferError("nothing to score", "xfer eval RUN, or --detections FILE --data SPEC")
    elif out is not None or overwrite:
        raise XferError(
            "--out goes with --detections", "--json prints a run's scores as a document"
        )
    else:
        from xfer.evaluate import evaluate as score

        result = score(
            run, data=data, split=split, tta=tta, batch=batch, device=device, workers=workers
        )
    if show.json:
        show.document(result)
        return
    show.text(f"{result['data']}, {result['split']}: {result['images']} pictures")
    metrics: dict[str, Any] = result["metrics"]
    numbers = {k: v for k, v in metrics.items() if not isinstance(v, (dict, list))}
    show.table([{"metric": key, "value": value} for key, value in numbers.items()])
    lists: dict[str, list[str]] = {k: v for k, v in metrics.items() if isinstance(v, list)}
    for key, names in lists.items():
        if names:
            show.text(f"{key.replace('_', ' ')}: {', '.join(names)}")
    costs: dict[str, Any] = metrics.get("errors", {})
    if costs:
        counts = metrics["error_counts"]
        rows = [{"error": k, "costs AP50": v, "boxes": counts[k]} for k, v in costs.items()]
        show.table(rows)
    for key, value in result["protocol"].items():
        show.note(f"{key}: {value}")


@command(app, "predict", panel="Use")
def predict(
    show: Show,
    run: RunFolder,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", show_default=False, help="pictures and folders"),
    ],
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="also draw <stem>.png there"),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="F",
            help="table, json, csv, or of boxes coco: COCO results, image_id the number that the "
            "file's stem is, else its name, category_id as in the COCO file trained on, else 1 "
            "for the first class",
        ),
    ] = "table",
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            show_default=False,
            min=0,
            max=1,
            help="boxes of at least this score; when left out json, csv and coco have all, tables "
            "and drawings those of 0.5 (drawings the best few where there is none)",
        ),
    ] = None,
    tta: Tta = "",
    device: Device = "auto",
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="pictures at a time")] = 32,
) -> None:
    """Say what is in pictures, by a run's best weights."""
    if format not in ("table", "json", "csv", "coco"):
        raise XferError(f"--format {format}: unknown", "choose table, json, csv or coco")
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    if draw is not None:
        check_folder(draw)
    from xfer.predict import predict as look

    found = look(run, paths, tta=tta, device=device, batch=batch)
    if min_score is not None:
        found = found.at_least(min_score)
    if draw is not None:
        show.note(f"drawn in {draw}: {len(found.draw(draw, min_score))}")
    if format == "coco":
        show.document(found.to_coco())
    elif show.json or format == "json":
        show.document(found.to_json())
    elif format == "csv":
        show.text(found.to_csv().rstrip("\n"))
    else:
        show.table(found.to_table(min_score))


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
