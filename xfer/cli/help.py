"""`--help` of every command, and hints for words that no command or option has.

Plain text in the width of the terminal: what the command does, examples, then its options in
groups, the data and the net first and what all commands share last, each with its default.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup

from xfer.errors import XferError, nearest
from xfer.recipe import words
from xfer.recipe.option import plain
from xfer.recipe.tables import FIELDS, FLAGS, flatten

EXAMPLES = "Examples:"  # begins the last part of a command's docstring
SHARED = "Output"  # the panel of what every command has
_PANELS = ("Data", "Net", "Features", "Compare", "Training", "", "Run folder", "Machine", SHARED)
_WIDEST, _LEFT = 100, 30  # columns of a page, and at most of the options' names
START = (
    ("xfer finetune --data digits", "a first run: no download, half a minute"),
    ("xfer data show photos/", "what is read from your own pictures"),
    ("xfer finetune --data photos/", "train on them"),
    ("xfer COMMAND --help", "examples, options and their defaults"),
)

Row = tuple[str, str]


def split_docstring(text: str) -> tuple[str, tuple[Row, ...]]:
    """A command's docstring as its description and its examples, (what to type, what it does).

    An example is a line; two spaces or more divide it from its explanation.
    """
    description, _, examples = text.partition(EXAMPLES)
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    pairs = [line.partition("  ") for line in lines]
    return description.strip(), tuple((typed, what.strip()) for typed, _, what in pairs)


class Command(TyperCommand):
    """A command with examples.

    examples | (what to type, what it does)
    keys     | option's name -> the recipe's key that it sets
    recipe   | the recipe whose values are shown as defaults; "": those of the tables; None: none
    """

    examples: ClassVar[tuple[Row, ...]] = ()
    keys: ClassVar[Mapping[str, str]] = {}
    recipe: ClassVar[str | None] = ""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        values = _defaults(self.recipe)
        panels: dict[str, list[Row]] = {}
        arguments: list[Row] = []
        for parameter in _parameters(self, ctx):
            default = _default(parameter, self.keys, values)
            row = (_typed(parameter), f"{parameter.help or ''}{default}")
            if parameter.param_type_name == "argument":
                arguments.append(row)
            else:
                panels.setdefault(parameter.rich_help_panel or "", []).append(row)
        panels.setdefault(SHARED, []).append(("-h, --help", "show this page"))
        usage = " ".join([ctx.command_path, *(name for name, _ in arguments), "[OPTIONS]"])
        page = _Page()
        page.text(usage)
        page.paragraphs(self.help or "")
        page.rows("Examples", self.examples, _WIDEST)
        page.rows("Arguments", arguments)
        order = sorted(panels, key=lambda name: _PANELS.index(name) if name in _PANELS else 5)
        for name in order:
            title = {"": "Options", SHARED: "Every command"}.get(name, name)
            page.rows(title, panels[name])
        if self.recipe and self.keys:
            page.text(f"\nThe defaults are those of {self.recipe}; another recipe has its own, "
                      "`xfer recipes show NAME`.")  # fmt: skip
        formatter.write(page.made())


class Group(TyperGroup):
    """A group of commands; a word that is none of them gets the right one."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        page = _Page()
        page.text(f"{ctx.command_path} COMMAND [OPTIONS]")
        page.paragraphs(self.help or "")
        panels: dict[str, list[Row]] = {}
        for name, command in self.commands.items():
            short = (command.help or "").strip().partition("\n")[0]
            panels.setdefault(getattr(command, "rich_help_panel", None) or "Commands", []).append(
                (name, short)
            )
        for title, rows in panels.items():
            page.rows(title, rows)
        options = [(_typed(p), str(p.help or "")) for p in _parameters(self, ctx)]
        if ctx.parent is None:
            page.rows("Options", [*options, ("-h, --help", "show this page")])
            page.rows("Where to start", START, _WIDEST)
        else:
            page.text(f"\n`{ctx.command_path} COMMAND --help`: examples, options, defaults.")
        formatter.write(page.made())

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        both = " ".join(args[:2])  # `features join` beside `features`, which is no group
        if len(args) > 1 and both in self.commands:
            args = [both, *args[2:]]
        word = args[0]
        if word not in self.commands:
            hint = self._meant(word, ctx.parent is None)
            raise XferError(f"`{ctx.command_path}` has no command {word!r}", hint)
        return super().resolve_command(ctx, args)

    def _meant(self, word: str, top: bool) -> str:
        meant = words.COMMANDS.get(word.lower(), "") if top else ""
        if meant and meant.split()[1] in (*self.commands, "--help", "--version"):
            return f"did you mean `{meant}`?"
        own = {"list": "ls", "copy": "cp", "info": "show", "describe": "show", "diff": "compare"}
        if own.get(word.lower()) in self.commands:
            return f"did you mean {own[word.lower()]}?"
        return nearest(word, self.commands, many=20)


def option_hint(error: Any) -> str | None:
    """A hint for an option that a command does not have; None for another error."""
    word, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if not word or context is None or type(error).__name__ != "NoSuchOption":
        return None
    options = [name for p in context.command.params for name in (*p.opts, *p.secondary_opts)]
    near = [name for name in error.possibilities or () if name in options and name != "--help"]
    return words.flag_hint(word, FLAGS, options) or (
        f"did you mean {' or '.join(sorted(near))}?" if near else None
    )


def _parameters(command: Any, ctx: Any) -> list[Any]:
    """The arguments and options of a command, but for --help."""
    return [p for p in command.get_params(ctx) if "--help" not in p.opts]


def _defaults(recipe: str | None) -> dict[str, Any]:
    """The values that keys have unless somebody sets them."""
    if recipe is None:
        return {}
    if not recipe:
        return {key: field.default for key, field in FIELDS.items()}
    from xfer.recipe.toml import load_recipe

    return flatten(load_recipe(recipe))


def _default(parameter: Any, keys: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """What a help text says of the default; "" if there is none, or the text says it itself."""
    if parameter.name in keys:
        value = values.get(keys[parameter.name])
    else:
        value = None if parameter.show_default is False else parameter.default
    text = parameter.help or ""
    if isinstance(value, bool) or value in (None, "", (), []) or "default:" in text:
        return " (required)" if parameter.required and "default:" not in text else ""
    return f" (default:\xa0{plain(value)})"  # in one line


def _typed(parameter: Any) -> str:
    """An option or argument as it is typed: -d, --data SPEC."""
    if parameter.param_type_name == "argument":
        name = parameter.metavar or str(parameter.name).upper()
        several = "..." if parameter.nargs == -1 and not name.endswith("...") else ""
        optional = not parameter.required and not name.startswith("[")
        return f"[{name}{several}]" if optional else f"{name}{several}"
    names = sorted((*parameter.opts, *parameter.secondary_opts), key=len)
    valued = not getattr(parameter, "is_flag", False) and not getattr(parameter, "count", False)
    value = f" {parameter.metavar or str(parameter.name).upper()}" if valued else ""
    return f"{', '.join(names)}{value}"


class _Page:
    """Text in the width of the terminal, headings in bold where a terminal shows them so."""

    def __init__(self) -> None:
        self.width = max(40, min(_WIDEST, shutil.get_terminal_size().columns))
        plain_only = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self.bold = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not plain_only else ("", "")
        self.parts: list[str] = []

    def text(self, text: str) -> None:
        lines = text.split("\n")
        hang = "" if text.startswith("\n") else "  "
        self.parts += [self._wrapped(line, "", hang) if line else "" for line in lines]

    def paragraphs(self, text: str) -> None:
        for paragraph in text.strip().split("\n\n"):
            self.parts += ["", self._wrapped(" ".join(paragraph.split()), "", "")]

    def rows(self, title: str, rows: Iterable[Row], most: int = _LEFT) -> None:
        """A heading and rows of two columns; what is too wide for the left has a line of its own.

        Args: most: the widest that the left column may be.
        """
        rows = list(rows)
        if not rows:
            return
        self.parts += ["", f"{self.bold[0]}{title}{self.bold[1]}"]
        fits = [len(left) for left, right in rows if len(left) <= most and (right or most == _LEFT)]
        widest = max(fits, default=0)
        longest = max((len(right) for left, right in rows), default=0)
        if most > _LEFT and widest + 4 + longest > self.width:
            for left, right in rows:  # examples that don't fit beside their explanations
                self.parts.append(f"  {left}")
                self.parts += [self._wrapped(right, " " * 6, " " * 6)] if right else []
            return
        start = " " * (widest + 4)
        for left, right in rows:
            if len(left) > widest:
                self.parts += [
                    f"  {left}",
                    *([self._wrapped(right, start, start)] if right else []),
                ]
                continue
            first = f"  {left:<{widest}}  "
            self.parts.append(self._wrapped(right, first, start) if right else first.rstrip())

    def _wrapped(self, text: str, first: str, rest: str) -> str:
        filled = textwrap.fill(
            text, self.width, initial_indent=first, subsequent_indent=rest,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        return filled.replace("\xa0", " ")

    def made(self) -> str:
        return "\n".join(self.parts) + "\n"


def described(command: type[Command], examples: Sequence[Row], keys: Mapping[str, str],
              recipe: str | None) -> type[Command]:  # fmt: skip
    """The class of one command, with its examples and where its defaults come from."""
    values = {"examples": tuple(examples), "keys": dict(keys), "recipe": recipe}
    return type("Command", (command,), values)
