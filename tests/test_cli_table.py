"""Tables and notes fit the terminal; in a pipe nothing is folded, cut off or left out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from xfer.cli.output import Show, wrapped
from xfer.cli.table import as_typed, column, lay_out
from xfer.recipe.tables import Recipe, override
from xfer.runs.ending import closing_lines, next_commands, score_line

ROWS = [
    {"run": "runs/" + "a" * 40, "score": "top1 0.9917", "text": "some words " * 9, "n": 12_000},
    {"run": "runs/b", "score": "top1 0.5", "text": "", "n": 7},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_and_what_is_kept_stays_whole(width: int) -> None:
    laid = lay_out(ROWS, width=width, keep=("run", "score"))
    text = "\n".join(laid.lines)
    for row in ROWS:
        assert str(row["run"]) in text and str(row["score"]) in text
    assert all(len(line) <= max(width, 45) for line in laid.lines)
    assert laid.left_out == {40: ["text", "n"], 60: ["text", "n"], 80: ["n"], 120: []}[width]


def test_a_pipe_gets_everything_in_one_line_per_row() -> None:
    laid = lay_out(ROWS)
    assert len(laid.lines) == 2 + len(ROWS) and not laid.left_out
    assert str(ROWS[0]["text"]).strip() in laid.lines[2] and laid.lines[2].endswith("12,000")


@pytest.mark.parametrize(
    ("values", "cells"),
    [([0.5, 1.0, 0.25], ["0.5000", "1.0000", "0.2500"]), ([0.5, None, 3], ["0.5000", "", "3     "]),
     ([62.42, 1234.5], ["62", "1234"]), ([1e-5, 2e-4], ["1.00e-05", "2.00e-04"]),
     ([1.5, 123456.0], ["2", "123,456"]), ([1, 20_000], ["1", "20,000"]),
     (["a", True], ["a", "yes"])],
)  # fmt: skip
def test_numbers_of_a_column_have_the_same_decimals(values: list[Any], cells: list[str]) -> None:
    assert column(values) == cells


def test_settings_keep_their_own_digits() -> None:
    assert as_typed([1e-5, 1e-3, 0.1, True, "a\x1bb"])[:4] == ["1e-05", "0.001", "0.1", "yes"]
    assert "\x1b" not in as_typed(["a\x1bb"])[0]


def test_wide_letters_and_control_characters_keep_the_columns_straight() -> None:
    laid = lay_out([{"class": "\u732b", "n": 1}, {"class": "cat\x1b[2J", "n": 2}], width=30)
    assert "\x1b" not in "".join(laid.lines)
    assert laid.lines[2] == "\u732b" + " " * 10 + "1"


def test_notes_break_between_words_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "a note of many words " * 5
    lines = wrapped(text, Terminal()).splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 40 and lines[1].startswith("  ")
    assert wrapped(text, io.StringIO()) == text


def test_what_there_is_no_room_for_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    Show().table(ROWS, keep=("run", "score"))
    assert "a" * 40 in terminal.getvalue()
    assert "no room for text, n" in capsys.readouterr().err


def test_the_last_lines_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "worst.png").touch()
    result = {
        "primary": "top1", "metrics": {"top1": 0.9}, "best_step": 40, "steps": 80,
        "seconds": 12.0, "interval": {"low": 0.85, "high": 0.94, "method": "Wilson, 95 %"},
    }  # fmt: skip
    assert score_line(tmp_path, result) == (
        f"val top1 0.9000 [0.8500 to 0.9400] (12 s, 80 steps) in {tmp_path}"
    )
    events = [{"event": "eval", "step": 40, "metrics": {"top1": 0.89}},
              {"event": "eval", "step": 80, "metrics": {"top1": 0.88}}]  # fmt: skip
    views = {"eval.tta": "10crop", "eval.while_training": "flip", "optim.ema": 0.9}
    lines = closing_lines(tmp_path, result, events, override(Recipe(), views))
    assert lines == [
        "[low to high]: Wilson, 95 %",
        "the last epoch's line says top1 0.8800: the weights are those of the best step, 40; "
        "eval.tta=10crop scores them, eval.while_training=flip the epochs; both are of the moving "
        "average of the weights, optim.ema",
        f"what it gets wrong: plots/worst.png in {tmp_path}",
    ]
    same = closing_lines(tmp_path, {**result, "best_step": 80}, events, Recipe())
    assert not any("last epoch" in line for line in same)
    commands = next_commands(Path("my runs/1"), ("predict", "export", "eval"))
    assert commands == ["xfer predict 'my runs/1' PICTURE...",
                        "xfer export 'my runs/1' --format onnx"]  # fmt: skip
