"""Registers commands, with recipe keys as flags and the flags that all commands have.

A flag's help and type are those of the recipe key that it sets, so they are written once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from xfer.cli import help
from xfer.cli.flags import NOT_VERIFIED, Debug, Json, Quiet, Trust, Verbose
from xfer.cli.output import Show
from xfer.exit_codes import as_the_only_one, is_main, processes, report
from xfer.plugs import KEYS, naming
from xfer.recipe.tables import FIELDS, FLAGS

_PANELS: dict[str, tuple[str, ...]] = {
    "Net": ("backbone", "weights", "freeze", "freeze_epochs"),
    "Training": ("epochs", "batch", "lr", "weight_decay", "optimizer", "schedule", "warmup",
                 "layer_decay", "tta", "seed"),
    "Data": ("train", "val", "test", "limit", "skip_bad", "verify"),
    "Machine": ("device", "precision", "workers"),
}  # fmt: skip
PANEL_OF = {flag: panel for panel, flags in _PANELS.items() for flag in flags}

DRAWS = "data.split_seed"  # what --seed sets where nothing is trained

_HELP = {
    "backbone": "alexnet, caffenet, resnet50, ..., torchvision:NAME, timm:NAME",
    "weights": "imagenet, none, a file, or run:DIR",
}
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool}


def recipe_flag(name: str, key: str) -> inspect.Parameter:
    """The flag as a parameter; None unless the user gives it, so that the recipe's value holds.

    Args: key: the recipe key that it sets.
    """
    if key in FIELDS:
        field = FIELDS[key]
        kind = _TYPES[str(field.type)]
        choices: tuple[str, ...] = field.metadata.get("choices", ())
        listed = f": {', '.join(choices)}" if choices else ""
        text = NOT_VERIFIED if _is_on(key) else f"{field.metadata['help']}{listed}"
    else:
        kind, choices, text = str, (), _HELP[name]
    option = typer.Option(
        f"--{'no-' if _is_on(key) else ''}{name.replace('_', '-')}",
        help=text,
        rich_help_panel=PANEL_OF[name],
        metavar={str: "TEXT", int: "N", float: "X", bool: None}[kind],
        autocompletion=_offer(choices) if choices else None,
        show_default=False,
    )
    return _parameter(name, Annotated[kind | None, option], None)


def _is_on(key: str) -> bool:
    """Whether a key is on unless a flag, --no-NAME, switches it off."""
    return key in FIELDS and FIELDS[key].default is True


def _offer(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def offer(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return offer


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


COMMON = tuple(
    _parameter(name, alias, False)
    for name, alias in (("json", Json), ("quiet", Quiet), ("verbose", Verbose), ("debug", Debug))
)


# arguments whose values may name a module
_NAMES = ("data", "spec", "task", "net", "name")


def _specs(values: dict[str, Any]) -> list[str]:
    """The values of a command that may name a module of the user's own."""
    specs = [str(values[key]) for key in _NAMES if values.get(key)]
    specs += [str(value) for key, value in values.get("given", {}).items() if key in KEYS]
    for assignment in (*(values.get("set") or ()), *(values.get("assignments") or ())):
        key, _, text = assignment.partition("=")
        if key.strip() in KEYS:
            specs.append(text.strip().strip("\"'"))
    return [spec.strip() for spec in (*specs, *str(values.get("backbones") or "").split(","))]


def command(
    app: typer.Typer,
    name: str,
    *,
    flags: tuple[str, ...] = (),
    panel: str | None = None,
    trust: bool = False,
    seed: str = FLAGS["seed"],
    recipe: str | None = "",
    shares: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as a command: `function(show, ..., given={key: value})`.

    Args:
        app: the typer app; name: the word that the user types; panel: its group in the help.
        flags: names of recipe flags that the command takes; those the user gives arrive in `given`,
            by their recipe keys. A command without flags has no `given`.
        trust: whether it has --trust: it reads a run, a recipe or a features file, which may name
            modules. Modules named on the command line itself are allowed in every command.
        seed: the key that --seed sets: a command that trains nothing draws only pictures.
        recipe: whose values the help names as defaults of `flags`; "": the tables'; None: none.
        shares: whether several processes, as torchrun starts them, share the work. Of those that
            run another command, the first one does all of it, as if it were alone.

    The function's docstring may end in "Examples:", a line each, explained after two spaces.
    The registered function returns the exit code: every error is reported here.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        own = [
            p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for p in inspect.signature(function).parameters.values()
            if p.name not in ("show", "given")
        ]
        keys = {flag: seed if flag == "seed" else FLAGS[flag] for flag in flags}
        parameters = [*own, *(recipe_flag(*flag) for flag in keys.items()), *COMMON]
        if trust:
            parameters.append(_parameter("trust", Trust, []))

        def run(**values: Any) -> int:
            if shares or processes() == 1:
                return work(values)
            if not is_main():
                return 0
            with as_the_only_one():
                return work(values)

        def work(values: dict[str, Any]) -> int:
            debug = values.pop("debug") or "--debug" in sys.argv
            verbosity = values.pop("verbose") - values.pop("quiet")
            others = tuple(str(one.name) for one in app.registered_commands)
            show = Show(values.pop("json"), verbosity, others)
            trusted: list[str] = values.pop("trust", [])
            if flags:
                given = {flag: values.pop(flag) for flag in flags}
                values["given"] = {
                    keys[k]: not v if _is_on(keys[k]) else v
                    for k, v in given.items() if v is not None
                }  # fmt: skip
            # typer would turn Ctrl-C and a broken pipe into exit codes of its own
            try:
                with naming(*_specs(values), trust=trusted):
                    function(show, **values)
                sys.stdout.flush()
            except (Exception, KeyboardInterrupt) as error:
                return report(error, debug)
            return 0

        description, examples = help.split_docstring(function.__doc__ or "")
        run.__name__, run.__doc__ = function.__name__, description
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        made = help.described(help.Command, examples, keys, recipe)
        app.command(name, cls=made, rich_help_panel=panel)(run)
        return function

    return register
