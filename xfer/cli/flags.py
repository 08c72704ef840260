"""Options and arguments shared by several commands, so that each means the same everywhere.

Recipe flags (--lr, --epochs) are not here: `command` makes them from the recipe's keys.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from xfer.cli.completion import runs
from xfer.recipe.tables import meaning

SPEC = "NAME (digits), PATH or FORMAT:PATH (csv:labels.csv)"


def varied(alias: Any, **changes: Any) -> Any:
    """An alias's option with another `help`, `rich_help_panel` or `min`, for a single command:
    `Annotated[str, varied(Data, rich_help_panel="Compare")]`."""
    changed = copy(get_args(alias)[1])
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def out_option(help: str, metavar: str = "DIR", panel: str | None = None) -> Any:
    """--out: where a command writes. Args: help: what it writes there; metavar: DIR or FILE."""
    return typer.Option(
        "--out", "-o", metavar=metavar, show_default=False, rich_help_panel=panel, help=help
    )


Spec = Annotated[str, typer.Argument(metavar="SPEC", show_default=False, help=SPEC)]
RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", show_default=False, autocompletion=runs, help="a run folder"),
]
Glob = Annotated[str, typer.Argument(metavar="GLOB", help="a shell pattern")]

Data = Annotated[
    str,
    typer.Option(
        "--data", "-d", metavar="SPEC", show_default=False, rich_help_panel="Data", help=SPEC
    ),
]
Split = Annotated[
    str,
    typer.Option(
        "--split", metavar="S", show_default=False, rich_help_panel="Data",
        help="a single split: train, val or test; default: all",
    ),
]  # fmt: skip
ScoredSplit = Annotated[
    str,
    typer.Option(
        "--split", metavar="S", show_default=False, rich_help_panel="Data",
        help="split to score: val, test or train; default: val, else test",
    ),
]  # fmt: skip
WantedFor = Annotated[
    str,
    typer.Option(
        "--task", "-t", metavar="T", show_default=False, rich_help_panel="Data",
        help="the task that will use the data, such as detect",
    ),
]  # fmt: skip
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", show_default=False, rich_help_panel="Data",
        help="leave out pictures that can't be decoded, and invalid boxes",
    ),
]  # fmt: skip
NOT_VERIFIED = "don't compare checksums, which takes time if files are huge"
NoVerify = Annotated[
    bool,
    typer.Option("--no-verify", show_default=False, rich_help_panel="Data", help=NOT_VERIFIED),
]

Tta = Annotated[
    str,
    typer.Option(
        "--tta", metavar="VIEWS", show_default=False,
        help=f"{meaning('eval.tta')}; default: the run's own",
    ),
]  # fmt: skip
Pool = Annotated[
    str,
    typer.Option(
        "--pool", metavar="P", help="how to pool a map: flatten, avg, max or grid2"
    ),
]  # fmt: skip
Size = Annotated[
    int,
    typer.Option("--size", metavar="N", min=0, help="input side in pixels; 0: the net's own"),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", show_default=False, help="replace an earlier result in --out"),
]

Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", rich_help_panel="Machine", help=meaning("run.device")
    ),
]  # fmt: skip
Workers = Annotated[
    int,
    typer.Option(
        "--workers", metavar="N", min=-1, rich_help_panel="Machine", help=meaning("data.workers")
    ),
]  # fmt: skip
Batch = Annotated[
    int,
    typer.Option(
        "--batch", metavar="N", min=1, rich_help_panel="Machine", help="pictures at a time"
    ),
]  # fmt: skip

Part = Annotated[
    str,
    typer.Option(
        "--part", metavar="i/N", show_default=False, rich_help_panel="Machine",
        help="only part i of N, from 0, into its own file in the folder --out, where finished "
        "parts are not done again; auto: the part that torchrun, srun, an array of SLURM or "
        "Kubernetes gives this process; auto/N: if N is not told",
    ),
]  # fmt: skip


def _switch(name: str, help: str, *short: str) -> Any:
    return typer.Option(
        f"--{name}", *short, help=help, rich_help_panel="Output", show_default=False
    )


# the flags of every command
Json = Annotated[bool, _switch("json", "print only a JSON document on stdout")]
Quiet = Annotated[bool, _switch("quiet", "print only the result", "-q")]
Verbose = Annotated[
    bool,
    _switch("verbose", "also print matched weights, learning rates, meanings of keys", "-v"),
]
Debug = Annotated[bool, _switch("debug", "show the traceback of an error")]
Trust = Annotated[
    list[str],
    typer.Option(
        "--trust", metavar="MODULE", show_default=False,
        help="your own module, or module:name, that the run or recipe may use; may be repeated",
    ),
]  # fmt: skip
