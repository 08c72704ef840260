"""`xfer recipes` and `xfer runs`: what is written down about runs, looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.completion import recipes as offer_recipes
from xfer.cli.completion import runs as offer_runs
from xfer.cli.flags import command
from xfer.cli.output import Show, plain_text
from xfer.errors import XferError
from xfer.recipe.tables import FIELDS, flatten, meaning

recipes = typer.Typer(help="Recipes: list, read, copy, check.", no_args_is_help=True)
runs = typer.Typer(help="Run folders: list, read, compare.", no_args_is_help=True)

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", show_default=False, autocompletion=offer_recipes,
        help="a recipe's name or file",
    ),
]  # fmt: skip
RunFolder = Annotated[
    str,
    typer.Argument(
        metavar="RUN", show_default=False, help="a run folder", autocompletion=offer_runs
    ),
]


@command(recipes, "ls")
def recipes_ls(
    show: Show, glob: Annotated[str, typer.Argument(metavar="GLOB", help="a shell pattern")] = "*"
) -> None:
    """List the recipes that come with xfer and with installed packages."""
    from xfer.recipe.toml import header, recipe_names, recipe_origin, recipe_text

    names = recipe_names(glob)
    if not names:
        raise XferError(f"no recipe matches {glob!r}", "`xfer recipes ls` lists all")
    heads = {name: header(recipe_text(name)).partition("\n")[0] for name in names}
    rows = [
        {"name": name, "from": recipe_origin(name), "summary": head.lstrip("# ")}
        for name, head in heads.items()
    ]
    show.document(rows) if show.json else show.table(rows)


@command(recipes, "show")
def recipes_show(show: Show, name: RecipeName) -> None:
    """Show a recipe's note and all its keys, parents' and defaults included; -v explains them."""
    from xfer.recipe.toml import dump, header, load_recipe, recipe_text

    recipe = load_recipe(name)
    note = header(recipe_text(name))
    if show.json:
        helps = {key: meaning(key) for key in FIELDS}
        show.document({"name": name, "note": note, "recipe": flatten(recipe), "help": helps})
    else:
        # without its name, since what is made of it by hand is another recipe
        plain = replace(recipe, name="")
        show.text(f"{note}\n\n{dump(plain, show.verbosity > 0)}".strip())


@command(recipes, "cp")
def recipes_cp(
    show: Show,
    name: RecipeName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="the .toml to write")
    ],
) -> None:
    """Copy a recipe, with its comments, to a file of your own."""
    from xfer.recipe.toml import copy

    copy(name, file)
    line = f"copied to {file}; use it with --recipe {file}"
    show.document({"file": str(file)}) if show.json else show.text(line)


@command(recipes, "check")
def recipes_check(show: Show, file: RecipeName) -> None:
    """Check a recipe's keys and values, its task's and its backbone's options included."""
    from xfer.recipe.choose import check
    from xfer.recipe.toml import load_recipe

    recipe = load_recipe(file)
    try:
        check(recipe)
    except XferError as error:  # an option of the task or the net, which does not know the file
        raise XferError(f"{file}: {error.message}", error.hint) from None
    line = f"{file} is valid: {recipe.task} with {recipe.backbone}"
    found = {"file": file, "valid": True, "task": recipe.task, "backbone": recipe.backbone}
    show.document(found) if show.json else show.text(line)


@command(runs, "ls")
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


@command(runs, "show")
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


@command(runs, "compare")
def runs_compare(
    show: Show,
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="run folders, two or more",
            autocompletion=offer_runs,
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
