"""`--help` of every command: examples, defaults, the data first, and no line wider than asked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from xfer.cli.app import app, main
from xfer.cli.command import PANEL_OF


def commands(command: Any = None, path: str = "xfer") -> Iterator[tuple[str, Any]]:
    """(path, command) of all commands, groups left out."""
    inner = getattr(command or typer.main.get_command(app), "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from commands(one, f"{path} {name}")


PATHS = [path for path, _ in commands()]


def page(path: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main([*path.split()[1:], "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("path", ["xfer", "xfer data", *PATHS])
@pytest.mark.parametrize("width", [80, 120])
def test_a_page_fits_and_is_plain(
    path: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = page(path, capsys)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "<bool>" not in text and "<str>" not in text and "\x1b" not in text
    assert lines[0].startswith(path)


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=PATHS)
def test_every_command_has_examples_that_parse(path: str, command: Any) -> None:
    """An example of one command may show the next step, a line of another command."""
    assert command.examples, path
    known = dict(commands())
    for typed, _ in command.examples:
        words = shlex.split(typed.partition(" > ")[0])
        if words[0] != "xfer":  # another program that uses what the command gives
            continue
        name = next(" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known)
        used = known[name]
        context = used.make_context(name, words[len(name.split()) :], resilient_parsing=False)
        assert context.params, typed
    assert any(typed.startswith(path) for typed, _ in command.examples)


def test_data_and_net_come_first_and_what_all_share_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = page("xfer finetune", capsys)
    known = ("Examples", "Arguments", *PANEL_OF.values(), "Run folder", "Every command")
    titles = [line for line in lines if line in known]
    assert titles == ["Examples", "Arguments", "Data", "Net", "Training", "Run folder", "Machine",
                      "Every command"]  # fmt: skip
    text = " ".join(" ".join(lines).split())
    assert "passes over the training pictures (default: 20)" in text
    assert "seed of weights, order and augmentation (default: 0)" in text
    assert sum("--json" in line for line in lines) == 1
    assert "The defaults are those of classify/default" in text


def test_the_first_page_ends_where_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    lines = page("xfer", capsys)
    assert lines[-5] == "Where to start" and "xfer finetune --data digits" in lines[-4]
