"""`data.KEY=value` on commands that read data without a recipe, as in a recipe's [data]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from xfer.errors import XferError, nearest
from xfer.recipe.tables import FIELDS, READING, checked

Set = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="data.KEY=VALUE", show_default=False, rich_help_panel="Data",
        help=f"how to read the data; KEY: {', '.join(READING)}; may be repeated",
    ),
]  # fmt: skip
Assignments = Annotated[
    list[str],
    typer.Argument(
        metavar="data.KEY=VALUE", show_default=False, help="the same as --set data.KEY=VALUE"
    ),
]


def reading_keys(
    assignments: Sequence[str], also: Sequence[str] = (), no_verify: bool = False
) -> dict[str, Any]:
    """["data.label=dx"] as {"label": "dx"}.

    Args:
        also: keys of [data] that the command takes besides those that say how files are read.
        no_verify: whether --no-verify is given, which is data.verify=false.

    Raises: XferError for any other key, and for a value that the key does not take.
    """
    from xfer.recipe.toml import parse_assignments

    known = [f"data.{key}" for key in (*READING, *also)]
    off = ["data.verify=false"] if no_verify else []
    values = parse_assignments([*assignments, *off])
    for key in values:
        if key not in known:
            flag = "give --skip-bad, if the command has it" if key == "data.skip_bad" else ""
            hint = flag or nearest(key, known, 20)
            raise XferError(f"{key}: this command does not use it", hint)
    return {
        key.removeprefix("data."): checked(key, value, FIELDS[key]) for key, value in values.items()
    }
