"""`xfer recipes`: lists, shows, copies and checks recipes."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.command import command
from xfer.cli.completion import recipes
from xfer.cli.flags import Glob
from xfer.cli.help import Group
from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.recipe.tables import flatten

app = typer.Typer(help="Recipes: list, show, copy, check.", no_args_is_help=True, cls=Group)

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", show_default=False, autocompletion=recipes,
        help="a recipe's name or file",
    ),
]  # fmt: skip


@command(app, "ls")
def recipes_ls(show: Show, glob: Glob = "*") -> None:
    """List the recipes of xfer and of installed packages.

    Examples:
        xfer recipes ls
        xfer recipes ls 'detect/*'
    """
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


@command(app, "show", trust=True)
def recipes_show(show: Show, name: RecipeName) -> None:
    """Show a recipe's note and all its keys; -v explains them.

    Examples:
        xfer recipes show classify/default
        xfer recipes show classify/default -v            with the meaning of every key
    """
    from xfer.recipe.toml import dump, header, load_recipe, meanings, recipe_text

    recipe = load_recipe(name)
    note = header(recipe_text(name))
    if show.json:
        helps = meanings(recipe)
        show.document({"name": name, "note": note, "recipe": flatten(recipe), "help": helps})
    else:
        # without its name, since an edited copy is another recipe
        plain = replace(recipe, name="")
        show.text(f"{note}\n\n{dump(plain, show.verbosity > 0)}".strip())


@command(app, "cp")
def recipes_cp(
    show: Show,
    name: RecipeName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="the .toml to write")
    ],
) -> None:
    """Copy a recipe, with its comments, to your own file.

    Examples:
        xfer recipes cp classify/default mine.toml
        xfer finetune --data photos/ --recipe mine.toml
    """
    from xfer.recipe.toml import copy

    copy(name, file)
    line = f"copied to {file}; use it with --recipe {shlex.quote(str(file))}"
    show.document({"file": str(file)}) if show.json else show.text(line)


@command(app, "check", trust=True)
def recipes_check(show: Show, file: RecipeName) -> None:
    """Check a recipe's keys and values, including task and backbone options.

    Examples:
        xfer recipes check mine.toml
    """
    from xfer.recipe.choose import check
    from xfer.recipe.code import code_of
    from xfer.recipe.idle import idle_settings
    from xfer.recipe.toml import load_recipe

    recipe = load_recipe(file)
    try:
        recipe = check(recipe, file)
    except XferError as error:  # messages about task or net options do not name the file
        names_file = error.message.startswith(f"{file} ")  # as for code that nobody has named
        message = error.message if names_file else f"{file}: {error.message}"
        raise XferError(message, error.hint) from None
    for note in idle_settings(recipe):
        show.note(note)
    line = f"{file} is valid: {recipe.task} with {recipe.backbone}"
    report = {"file": file, "valid": True, "task": recipe.task, "backbone": recipe.backbone}
    code = list(dict.fromkeys(plug.module for _, plug in code_of(recipe)))
    if code:
        line = f"{line}; it asks for code: {', '.join(code)}"
        report["code"] = code
    show.document(report) if show.json else show.text(line)
