"""`xfer ask`: questions about fine-tuning, each answered by an experiment on your data."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.command import command
from xfer.cli.completion import runs
from xfer.cli.flags import Data, out_option
from xfer.cli.help import Group
from xfer.cli.output import Show
from xfer.cli.train import FLAGS, Assignments, RecipeName, Set, TaskName

app = typer.Typer(
    help="Questions about fine-tuning, answered by short runs on your data.", no_args_is_help=True,
    cls=Group,
)  # fmt: skip
Budget = Annotated[
    float, typer.Option("--budget", metavar="MINUTES", help="what the answer may cost")
]
Out = Annotated[
    Path | None,
    out_option("folder of its runs; default: runs/ask-<question>-<backbone>-<data>-<n>"),
]
Nets = Annotated[
    str,
    typer.Option(
        "--nets", metavar="B=W,...", show_default=False, rich_help_panel="Net",
        help="nets to compare, NAME or NAME=WEIGHTS; default: those whose weights are here",
    ),
]  # fmt: skip
# question -> its function in xfer.ask, and its help
QUESTIONS = {
    "lr": ("lr", "Which learning rate? A range test, and short runs around its proposal."),
    "batch": ("batch", "Which batch size? What fits, how fast, and the gradient's noise scale."),
    "augment": ("augment", "Which changes of the pictures help? One left out or put in at a time."),
    "freeze": ("freeze", "Which stages to train? Probes of every layer, confirmed by short runs."),
    "more-labels": ("more_labels", "What would twice the pictures bring? A learning curve."),
    "everything": ("everything", "All questions within one budget, and one report."),
}


def _answer(
    show: Show, function: str, data: str, given: dict[str, Any], assignments: list[str],
    **options: Any,
) -> None:  # fmt: skip
    from xfer.trials.budget import Budget

    clock = Budget(options.pop("budget"))  # with the time to load what trains
    import xfer.ask
    from xfer.recipe.toml import parse_assignments

    settings = {**given, **parse_assignments(assignments)}
    settings = {key.replace(".", "__"): value for key, value in settings.items()}
    show_answer(show, getattr(xfer.ask, function)(
        data, budget=clock, say=show.note, **options, **settings
    ))  # fmt: skip


def show_answer(show: Show, answer: Any) -> None:
    """Prints an answer: its evidence as tables, then the answer and the line to type."""
    from xfer.ask.answer import tables

    if show.json:
        show.document(answer)
        return
    for name, rows in tables(answer):
        if name == "answers" or (name == "range_test" and show.verbosity < 1):
            continue
        show.text(f"{name.replace('_', ' ')}:")
        show.table(rows)
        show.text("")
    for note in answer["notes"]:
        show.note(note)
    show.text(answer["answer"])
    show.text(f"confidence: {answer['confidence']}")
    show.line(f"next: {answer['next']}")


def _question(name: str, function: str, about: str) -> Callable[..., None]:
    """The command of a question on data."""

    def ask(
        show: Show,
        given: dict[str, Any],
        data: Data = "",
        task: TaskName = "",
        recipe: RecipeName = "",
        budget: Budget = 15.0,
        out: Out = None,
        set: Set = [],  # noqa: B006 (typer copies it)
        assignments: Assignments = [],  # noqa: B006
    ) -> None:
        _answer(
            show, function, data, given, set + assignments, task=task, recipe=recipe,
            budget=budget, out=out,
        )  # fmt: skip

    ask.__doc__ = inspect.cleandoc(f"""{about}

    The test split is never looked at.

    Examples:
        xfer ask {name} --data photos/
        xfer ask {name} --data photos/ --budget 5 --json
    """)
    return ask


for _name, (_function, _about) in QUESTIONS.items():
    command(app, _name, flags=FLAGS, trust=True, recipe="classify/default")(
        _question(_name, _function, _about)
    )


@command(app, "backbone", flags=FLAGS, trust=True, recipe="classify/default")
def backbone(
    show: Show,
    given: dict[str, Any],
    data: Data = "",
    nets: Nets = "",
    task: TaskName = "",
    recipe: RecipeName = "",
    budget: Budget = 15.0,
    out: Out = None,
    set: Set = [],  # noqa: B006
    assignments: Assignments = [],  # noqa: B006
) -> None:
    """Which net? Those whose weights are here, ranked by probes, the best three fine-tuned.

    Examples:
        xfer ask backbone --data photos/
        xfer ask backbone --data photos/ --nets alexnet,timm:mobilenetv3_small_050
    """
    names = [name.strip() for name in nets.split(",") if name.strip()]
    _answer(
        show, "backbone", data, given, set + assignments, task=task, recipe=recipe, budget=budget,
        out=out, nets=names,
    )  # fmt: skip


@command(app, "overfit", trust=True)
def overfit(
    show: Show,
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", show_default=False, autocompletion=runs, help="a run folder"),
    ],
    budget: Budget = 15.0,
    out: Out = None,
) -> None:
    """Does a run overfit, and what helps? Its curves, the gap, its labels, and short runs.

    Examples:
        xfer ask overfit runs/NAME
        xfer ask overfit runs/NAME --budget 5 --json
    """
    from xfer.trials.budget import Budget

    clock = Budget(budget)
    import xfer.ask

    show_answer(show, xfer.ask.overfit(run, budget=clock, out=out, say=show.note))
