"""Some broken files for every reader; `python tests/fuzz` makes many more."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from fuzz import command
from fuzz.case import Case
from fuzz.mutate import MUTATORS, by_form
from fuzz.target import Target, load_targets
from fuzz.trial import Faults, Trial

from xfer.errors import DataError

INPUTS, SECONDS = 300, 0.4
TARGETS = load_targets()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_reader_ends_in_data_or_an_error_of_xfer(name: str, tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = Trial(TARGETS[name], tmp_path, 0, faults)
        read = sum(1 for _ in trial.run(0, INPUTS, SECONDS))
    assert read >= 3
    assert not [f"{fault.key}: {fault.text} ({fault.file})" for fault in faults.found.values()]


def test_files_that_are_cut_anywhere_are_mutated_on() -> None:
    file = io.BytesIO()
    np.save(file, np.arange(6.0).reshape(2, 3))
    rng = random.Random(0)
    for suffix in MUTATORS:
        for length in range(len(file.getvalue())):
            assert isinstance(by_form(f"a{suffix}", file.getvalue()[:length], rng), bytes)


def hello(folder: Path) -> list[Case]:
    return [{"a.txt": b"hello"}]


def bad_reader(path: Path) -> None:
    """Has a fault of every kind, each for other bytes."""
    content = path.read_bytes()
    if content == b"hello":
        return
    draw = len(content) % 20
    if draw == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if draw == 1:
        raise KeyError("a key")
    if draw == 2:
        assert len(b"x" * (3 << 26))
    if draw == 3:
        while True:
            time.time()
    raise DataError("no")


def test_every_kind_of_fault_is_found_and_its_input_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader with faults: those of exceptions, crashes, hangs and memory are told apart."""
    monkeypatch.setattr("fuzz.trial.SECONDS", 1)
    bad = Target("bad", hello, bad_reader, memory=0.1)
    monkeypatch.setattr(command, "load_targets", lambda: {"bad": bad})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        code = command.main(
            ["--inputs", "40", "--seconds", "60", "--json", str(tmp_path / "out.json")]
        )
    assert code == 1
    about = json.loads((tmp_path / "out.json").read_text())["targets"]["bad"]
    assert about["inputs"] == 40 and about["faults"] >= 4
    text = capsys.readouterr().out
    for kind in ("SIGKILL", "KeyError", "memory", "hang"):
        assert kind in text
    saved = [line.split(": ", 1)[1] for line in text.splitlines() if " bytes: " in line]
    assert saved and all((Path(folder) / "a.txt").is_file() for folder in saved)


def test_the_same_seed_makes_the_same_inputs(tmp_path: Path) -> None:
    made: list[list[Case]] = []
    for name in ("a", "b"):
        trial = Trial(TARGETS["recipe"], tmp_path / name, 7, Faults(tmp_path / f"{name}.faults"))
        made.append([trial.make(number) for number in range(50)])
    assert made[0] == made[1]
    assert len({json.dumps(sorted(map(str, c.items()))) for c in made[0]}) > 40
