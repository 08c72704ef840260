"""Pages of the site that are made when it is built: from recipe tables, commands, notebooks, files.

A hook of MkDocs (.mkdocs.yml); its functions know nothing of MkDocs but `on_files` and
`on_page_markdown`.

made | from
--|--
recipe-keys.md | the tables of xfer/recipe/tables.py and the Options of every task
commands.md | the help page of every command
results.md, changelog.md, security.md, contributing.md | the files of the repository
notebooks/NAME.md | docs/notebooks/NAME.ipynb, with its outputs
api.md | `::: xfer.NAME` becomes the place where NAME is defined; names without a line come last
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
COPIED = {
    "benchmarks/RESULTS.md": "results.md", "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md",
}  # fmt: skip
WIDTH = 88  # columns of the help pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and takes notebooks out of what is copied as it is."""
    from mkdocs.structure.files import File

    made = {"recipe-keys.md": recipe_keys(), "commands.md": commands()}
    for source, name in COPIED.items():
        made[name] = copied(source)
    for notebook in sorted((DOCS / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{notebook.stem}.md"] = from_notebook(notebook)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in the pages whose text is partly made."""
    del config, files
    return api(markdown) if page.file.src_uri == "api.md" else markdown


# ---- recipe keys


def recipe_keys() -> str:
    """Every key of a recipe: its value, its default and its meaning."""
    import xfer.task
    from xfer.recipe.tables import FLAGS, TABLES

    flags = {key: f"--{name.replace('_', '-')}" for name, key in FLAGS.items()}
    parts = [
        "# Recipe keys",
        "This page is made from the source when the site is built, so it is complete.",
        "A recipe is a TOML file of the keys below. Each can be set in a file of yours "
        "(`--recipe mine.toml`), at the end of a command (`optim.ema=0.99`), by its flag where it "
        "has one, and in Python with two underscores (`optim__ema=0.99`). The last wins: defaults, "
        "the recipe, your file, flags and `key=value`. `xfer recipes show classify/default -v` "
        "prints a recipe with the same explanations, `xfer recipes cp classify/default mine.toml` "
        "makes it yours. A setting of yours that has no effect is reported when a run starts.",
        "## Top level",
        "| key | default | meaning |\n|--|--|--|\n"
        "| `extends` | none | the recipe, by its name or file, that this one starts from |\n"
        '| `backbone` <br> `--backbone` | `"alexnet"` | the net; its own options are keys of a '
        "table `[backbone]` |\n"
        '| `weights` <br> `--weights` | `"imagenet"` | `imagenet`, `none`, a file, or `run:DIR` |\n'
        '| `task.name` <br> `--task` | `"classify"` | the task, whose options follow below |',
    ]
    for table, kind in TABLES.items():
        options = {f"{table}.{option.name}": option for option in fields(kind)}
        parts += [f"## [{table}]", _meant(kind), _table(options, flags)]
    for name in xfer.task.names():
        parts += [f"## [task], {name}", _table(xfer.task.options_of(xfer.task.get(name)), {})]
    return "\n\n".join(parts) + "\n"


def _meant(kind: type[Any]) -> str:
    text = (kind.__doc__ or "").partition(": ")[2].strip()
    return text[:1].upper() + text[1:]


def _table(options: Mapping[str, Field[Any]], flags: Mapping[str, str]) -> str:
    rows = ["| key | default | value | meaning |", "|--|--|--|--|"]
    for key, option in options.items():
        named = f"`{key}`" + (f" <br> `{flags[key]}`" if key in flags else "")
        rows.append(
            f"| {named} | `{_typed(option.default)}` | {values(option)} | {about(option)} |"
        )
    return "\n".join(rows)


def _typed(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, str):
        return json.dumps(value)
    from xfer.recipe.option import plain

    return plain(value)


_TYPES = {
    "str": "text", "int": "whole number", "float": "number", "bool": "true or false",
}  # fmt: skip


def values(option: Field[Any]) -> str:
    """Which values an option takes, in words: number above 0, at most 1."""
    rules = option.metadata
    if "choices" in rules:
        return ", ".join(f"`{choice}`" if choice else '`""`' for choice in rules["choices"])
    inner = re.match(r"tuple\[(\w+), *(\w+|\.\.\.)\]", str(option.type))
    word = _TYPES.get(str(option.type), str(option.type))
    if inner:
        word = f"list of {_TYPES[inner[1]]}s" if inner[2] == "..." else f"two {_TYPES[inner[1]]}s"
    said = {"min": "at least", "above": "above", "max": "at most", "below": "below"}
    unbounded = {"max": 2**63 - 1}
    limits = [
        f"{words} {rules[rule]:g}" for rule, words in said.items()
        if rule in rules and rules[rule] != unbounded.get(rule)
    ]  # fmt: skip
    return " ".join([word, ", ".join(limits)]).strip()


def about(option: Field[Any]) -> str:
    """The meaning of an option, and when it has an effect."""
    from xfer.recipe.option import in_words

    text = str(option.metadata.get("help", ""))
    if "when" in option.metadata:
        text += f". *Only with {in_words(option.metadata['when'])}*"
    return text.replace("|", "\\|")


# ---- commands


def commands() -> str:
    """The help page of every command, as a terminal shows it."""
    import typer.main

    from xfer.cli.app import app

    root = typer.main.get_command(app)
    parts = ["# Commands", "Each command's `--help`. Made when the site is built.",
             _help([])]  # fmt: skip
    for name, command in _sorted(root):
        inner = _sorted(command)
        if not inner:
            parts += [f"## xfer {name}", _help([name])]
        for below, _ in inner:
            parts += [f"## xfer {name} {below}", _help([name, below])]
    return "\n\n".join(parts) + "\n"


def _sorted(command: Any) -> list[tuple[str, Any]]:
    """The commands of a group in the order of its help page; none of a single command."""
    found: Mapping[str, Any] = getattr(command, "commands", {})
    return [(name, one) for name, one in found.items() if not one.hidden]


def _help(words: list[str]) -> str:
    from xfer.cli.app import main

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            main([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return f"```text\n{shown.getvalue().rstrip()}\n```"


# ---- files of the repository


def copied(source: str) -> str:
    """A file of the repository, its links led to the site's pages."""
    text = (ROOT / source).read_text(encoding="utf-8")
    here = (ROOT / source).parent

    def led(match: re.Match[str]) -> str:
        target, hash_, anchor = match[2].partition("#")
        if "://" in target or not target:
            return match[0]
        path = (here / target).resolve()
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).as_posix() in COPIED:
            name = COPIED[path.relative_to(ROOT).as_posix()]
        elif path.is_relative_to(DOCS):
            name = path.relative_to(DOCS).as_posix()
        else:
            return match[1].strip("[]")
        return f"{match[1]}({name}{hash_}{anchor})"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", led, text)


# ---- notebooks


def from_notebook(file: Path) -> str:
    """A notebook with its outputs: prose as it is, code in fences, pictures within the page."""
    parts: list[str] = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source:
            parts.append(f"```python\n{source}\n```")
            parts += [_output(output) for output in cell["outputs"]]
    link = f"[This page as a notebook]({file.name}){{download}}"
    return "\n\n".join([*parts, "---", link]) + "\n"


def _output(output: Mapping[str, Any]) -> str:
    """What a cell shows: its picture, else its HTML, else its text."""
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            encoded = "".join(data[kind].split())
            base64.b64decode(encoded, validate=True)
            return (
                f'<img class="output" alt="output of the cell" src="data:{kind};base64,{encoded}">'
            )
    if "text/html" in data:
        # one block for Markdown, which ends a block of HTML at an empty line
        html = "\n".join(line for line in "".join(data["text/html"]).splitlines() if line.strip())
        return f'<div class="output">\n{html}\n</div>'
    return _text("".join(data.get("text/plain", "")))


def _text(text: str) -> str:
    return f"```{{.text .output}}\n{text.rstrip()}\n```"


# ---- Python


def api(markdown: str) -> str:
    """The page of the Python names: where each is defined, and those that have no line yet."""
    import xfer

    homes: Mapping[str, str] = xfer._HOME  # pyright: ignore[reportPrivateUsage]
    named = set(re.findall(r"^::: xfer\.(\w+)$", markdown, re.MULTILINE))
    rest = [name for name in xfer.__all__ if name not in named]
    if rest:
        markdown += "\n## Further names\n\n" + "\n\n".join(f"::: xfer.{n}" for n in rest) + "\n"

    def placed(match: re.Match[str]) -> str:
        return f"::: {homes.get(match[1], 'xfer')}.{match[1]}"

    return re.sub(r"^::: xfer\.(\w+)$", placed, markdown, flags=re.MULTILINE)
