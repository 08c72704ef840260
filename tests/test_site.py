"""The documentation: its site builds without a warning and without the network, its keys and
commands are those of the program."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

import xfer
import xfer.task
from xfer.cli.app import app
from xfer.recipe.tables import FIELDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted(DOCS.rglob("*.md")) if p.name not in ("data.md", "extending.md")),
]  # data.md and extending.md have tests of their own
NEEDED = ("mkdocs", "material", "mkdocstrings")


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """docs/site/pages.py, which makes pages."""
    spec = importlib.util.spec_from_file_location("pages", DOCS / "site" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: .ci/run builds the site")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", ".mkdocs.yml",
         "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-2000:] + built.stdout[-2000:]
    return folder


def test_the_site_has_its_pages_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {p.relative_to(site).as_posix(): p.read_text(encoding="utf-8")
             for p in site.rglob("*.html")}  # fmt: skip
    named = ("index", "faq", "api", "recipe-keys", "commands", "results", "tasks/detect",
             "notebooks/few-pictures", "notebooks/what-transfers")  # fmt: skip
    assert {f"{name}.html" for name in named} <= set(pages)
    loads = re.compile(r"<(?:script|img|iframe|link(?![^>]*canonical))[^>]+(?:src|href)=.?https?:")
    for name, text in pages.items():
        assert not loads.search(text), name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import).?https?:", sheet.read_text(encoding="utf-8"))
    assert not list(site.rglob("*.py"))
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("optim.ema" in entry["text"] for entry in index["docs"])


def test_every_public_name_is_documented(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    homes: dict[str, str] = xfer._HOME  # pyright: ignore[reportPrivateUsage]
    for name in xfer.__all__:
        assert f'id="{homes[name]}.{name}"' in text, name


def test_every_recipe_key_is_on_its_page(made: ModuleType) -> None:
    text: str = made.recipe_keys()
    keys = {*FIELDS, *options()}
    assert len(keys) > 80
    for key in keys:
        assert f"`{key}`" in text, key
    assert "| `optim.lr` <br> `--lr` | `0.0001` | number above 0 |" in text
    assert "*Only with schedule.name=step*" in text


def test_values_are_said_in_words(made: ModuleType) -> None:
    said = {key: made.values(field) for key, field in FIELDS.items()}
    assert said["data.batch"] == "whole number at least 1"
    assert said["data.crop_area"] == "two numbers above 0, at most 1"
    assert said["data.crop_on"] == "`auto`, `host`, `device`"
    assert said["schedule.milestones"].startswith("list of numbers")
    assert said["run.seed"] == "whole number at least 0"


def test_a_notebook_becomes_a_page(made: ModuleType, tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [
            {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
            {"output_type": "display_data", "data": {"text/html": ["<b>x</b>\n", "\n", "y"],
                                                     "text/plain": ["x"]}},
            {"output_type": "stream", "text": ["said\n"]}]},
    ]  # fmt: skip
    file = tmp_path / "n.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    text: str = made.from_notebook(file)
    assert text.startswith("# Title\n\n```python\n1 + 1\n```")
    assert "```{.text .output}\n2\n```" in text
    assert '<div class="output">\n<b>x</b>\ny\n</div>' in text
    assert "said" in text


def test_links_of_copied_files_lead_to_pages(made: ModuleType) -> None:
    text: str = made.copied("CONTRIBUTING.md")
    assert "(architecture.md)" in text
    assert "](docs/" not in text
    assert "../docs/" not in made.copied("benchmarks/RESULTS.md")


def options() -> set[str]:
    """The keys of the options of all tasks: task.head."""
    tasks = [xfer.task.get(name) for name in xfer.task.names()]
    return {key for task in tasks for key in xfer.task.options_of(task)}


def commands() -> list[tuple[str, str, bool]]:
    """Each xfer command of the pages: its page, itself, whether it is a whole line; words in
    prose may leave out what a command needs."""
    found: dict[tuple[str, str, bool], None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^```(?!python).*?^```", text, re.MULTILINE | re.DOTALL)
        lines = re.findall(r"^(?:\$ )?(xfer .*)$", "\n".join(fences), re.MULTILINE)
        lines += re.findall(r"^    (?:\$ )?(xfer .*)$", text, re.MULTILINE)
        prose = re.findall(r"`(xfer [a-z][^`\n]*)`", text)
        for line in [*lines, *prose]:
            command = re.split(r"\s{2,}| #|; | > |\s\|", line)[0].rstrip(".")
            if not command.startswith("xfer: "):  # what a command prints
                found[page.name, command, line in lines] = None
    return list(found)


def parse(words: list[str]) -> dict[str, Any]:
    """What a command line's words are read as. Raises click's UsageError for a wrong one."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands"):
        name = words.pop(0)
        if words and f"{name} {words[0]}" in command.commands:  # features join
            name += f" {words.pop(0)}"
        context = command.context_class(command, parent=context, info_name=name)
        assert name in command.commands, name
        command = command.commands[name]
        if not words and hasattr(command, "commands"):
            return {}
    return dict(command.make_context(command.name, list(words), parent=context).params)


def test_every_command_on_the_pages_is_valid() -> None:
    """Commands, flags, choices and keys exist; arguments such as photos/ are not looked for."""
    known = {*FIELDS, *options()}
    typed = commands()
    assert len(typed) > 80
    for page, command, whole in typed:
        words = [w for w in shlex.split(command)[1:] if w != "..."]
        if words[-1:] == ["--help"] or "COMMAND" in words:
            continue
        try:
            parse(list(words))
        except Exception as error:
            lacks = type(error).__name__ in ("MissingParameter", "BadOptionUsage")
            partly = lacks and "no such option" not in str(error).lower() and not whole
            assert partly, f"{page}: {command}: {error}"
        for word in words:
            key, equals, _ = word.partition("=")
            if equals and re.fullmatch(r"[a-z]+\.[a-z_]+", key) and not key.startswith("backbone"):
                assert key in known, f"{page}: {command}: {key}"


def test_keys_in_the_text_exist() -> None:
    """`data.balance=true`, `task.nms`: every such word on the pages is a key."""
    known = {*FIELDS, *options()}
    tables = ("data", "optim", "schedule", "eval", "run", "task")
    for page in PAGES:
        for word in re.findall(r"`([a-z]+\.[a-z_]+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")):
            table, _, name = word.partition(".")
            if table in tables and name not in ("name", "toml", "py", "md", "json", "KEY"):
                if table == "run" and word not in FIELDS:
                    continue  # run.history: a Summary called run
                assert word in known, f"{page.name}: {word}"
