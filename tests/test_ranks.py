"""Two processes on gloo: an error of one is told and ends both, memory that runs out in one too,
and weighted losses give the gradients of one process."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from accumulated import gradients
from test_loop import CPU
from two_ranks import Ended, two_ranks
from typer.main import get_command

from xfer import exit_codes
from xfer.cli.app import app, main
from xfer.device import find_device, placed
from xfer.errors import XferError
from xfer.exit_codes import report
from xfer.train.restart import unused_tasks

SHARED = ("finetune", "pretrain", "eval", "features", "predict")

# rank 1 fails in its third step, as told in its environment
TRAINS = """
import os, sys, time
import torch
import xfer.train.loop as loop
from xfer.cli.app import main
from xfer.errors import DataError
from xfer.exit_codes import note_failure
from xfer.task import get

how = os.environ.get("HOW", "")
real, steps = loop.train_step, []

class Explodes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, g):
        if len(g) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return g

def step(job, batch):
    steps.append(batch)
    if len(steps) == 3:
        if how == "data":
            raise DataError("photos/3.jpg: damaged", "remove it")
        if how == "stuck":  # says that it fails, and does not end
            note_failure(DataError("never told"))
            time.sleep(60)
        if how == "memory":
            kind = get("classify")
            features = kind._features
            kind._features = lambda *a: Explodes.apply(features(*a))
    return real(job, batch)

loop.train_step = step
sys.exit(main(f"finetune --data digits --backbone tiny_nets:tiny --weights none --limit 64 "
              f"--batch 16 --epochs 2 --device cpu -q -o {sys.argv[1]}".split()))
"""


def one_fails(folder: Path, how: str) -> tuple[Ended, Ended]:
    first, second = two_ranks(folder, TRAINS, str(folder / "run"), own=({}, {"HOW": how}))
    return first, second


@pytest.mark.slow
def test_the_rank_that_fails_is_told_and_the_other_ends_with_its_code(tmp_path: Path) -> None:
    first, second = one_fails(tmp_path, "data")
    assert (first.code, second.code) == (3, 3)
    assert first.said == ""
    assert second.said == "xfer: rank 1: photos/3.jpg: damaged\n  remove it\n"


@pytest.mark.slow
def test_a_process_that_waits_for_one_that_failed_ends(tmp_path: Path) -> None:
    begin = time.monotonic()
    first, second = one_fails(tmp_path, "stuck")
    assert (first.code, second.code) == (3, 3)
    assert time.monotonic() - begin < 55


@pytest.mark.slow
def test_memory_that_runs_out_in_the_backward_pass_of_one(tmp_path: Path) -> None:
    first, second = one_fails(tmp_path, "memory")
    assert (first.code, second.code) == (2, 2)
    assert "rank 1: out of memory with a batch of 16\n  --batch 8 fits" in second.said
    assert first.said == ""


@pytest.mark.slow
def test_what_all_say_is_printed_once(tmp_path: Path) -> None:
    script = (
        "import sys, xfer.exit_codes as codes; from xfer.cli.app import main\n"
        "codes.SAME_SECONDS = codes._CONNECT_SECONDS = 30.0\n"  # however slow the machine is
        "sys.exit(main(sys.argv[1:]))"
    )
    ended = two_ranks(tmp_path, script, "finetune", "--data", "/nowhere/at/all")
    assert [one.code for one in ended] == [3, 3]
    said = "".join(one.said for one in ended)
    assert said.count("/nowhere/at/all: no such") == 1 and said.startswith("xfer: ")


TOGETHER = """
import os, sys
from pathlib import Path
import torch
from accumulated import gradients
import xfer.runs.shared as shared
from xfer import plugs
from xfer.device import placed
from xfer.errors import DataError
from xfer.runs.folder import Run

shared.LATE_SECONDS = 1
out = Path(sys.argv[1])
with placed("cpu", "fp32") as place:
    with plugs.naming(trust=("tiny_nets",)):
        found = {name: gradients(name, 2, place) for name in sys.argv[2:]}
    torch.save(found, out / f"{place.rank}.pt")
    # each has a folder of its own by the same name, as on two machines
    own = out / str(place.rank)
    (own / "run").mkdir(parents=True)
    os.chdir(own)
    said = []

    def check(function, *words):
        try:
            function(*words, place)
            said.append("")
        except DataError as error:
            said.append(error.message)

    Path("run", "recipe.toml").write_text(f"# {place.rank}")
    check(shared.check_same_run, Run(Path("run")))
    Path("run", "recipe.toml").write_text("# the same")
    check(shared.check_same_run, Run(Path("run")))
    check(shared.check_same_data, "photos/", "abc")
    check(shared.check_same_data, "photos/", f"abc{place.rank}")
    check(shared.check_folder_shared, out)
    (out / f"said{place.rank}").write_text(repr(said))
    shared.check_folder_shared(Path("run"), place)
"""


@pytest.mark.slow
def test_two_take_the_step_of_one_and_check_that_they_see_the_same_files(tmp_path: Path) -> None:
    names = ("class weights", "several labels", "pixels", "regions", "cells", "masks", "segments")
    ended = two_ranks(tmp_path, TOGETHER, str(tmp_path), *names)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name in names:
        whole, losses = gradients(name, 1, CPU)
        for found, _ in (one[name], two[name]):  # averaged over the processes
            for key, gradient in whole.items():
                scale = float(gradient.abs().max())
                torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5 * scale)
        for key, value in losses.items():
            assert (one[name][1][key] + two[name][1][key]) / 2 == pytest.approx(value, rel=1e-5)
    first, second = (ast.literal_eval((tmp_path / f"said{n}").read_text()) for n in range(2))
    assert first == [""] * 5 and second[1:3] == ["", ""] and second[4] == ""
    assert "run: another run on " in second[0]
    assert "photos/: other pictures or labels on " in second[3]
    # the last check ends both: no machine may wait for one that can't see the folder
    assert ended[0].code and ended[1].code
    assert "DataError: run: " in ended[1].said
    assert "does not see the files of the first process in it" in ended[1].said


def test_a_process_that_was_killed_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards(monkeypatch, 0, RANK="0", WORLD_SIZE="2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for text in ("Connection closed by peer [127.0.0.1]:1", "NCCL communicator was aborted"):
        assert report(RuntimeError(text)) == 1
        assert "rank 0: lost contact with another process\n" in capsys.readouterr().err


def cards(monkeypatch: pytest.MonkeyPatch, count: int, **variables: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_each_process_gets_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 4, LOCAL_RANK="3", LOCAL_WORLD_SIZE="4")
    assert [str(find_device(name)) for name in ("auto", "cuda", "cuda:1")] == [
        "cuda:3", "cuda:3", "cuda:1",
    ]  # fmt: skip
    cards(monkeypatch, 2, LOCAL_RANK="1", LOCAL_WORLD_SIZE="3")
    with pytest.raises(XferError, match="3 processes on this machine, which has 2 CUDA") as caught:
        find_device("auto")
    assert caught.value.code == 2 and "--nproc-per-node 2" in str(caught.value)
    cards(monkeypatch, 1, LOCAL_RANK="5", SLURM_STEP_ID="0")  # srun shows each process its own
    assert str(find_device("cuda")) == "cuda:0"


def test_processes_that_would_share_a_card_or_are_unaware_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards(monkeypatch, 2, LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", RANK="1", WORLD_SIZE="2")
    with pytest.raises(XferError, match="'cuda:0': 2 processes on this machine"), placed("cuda:0"):
        pass
    cards(monkeypatch, 0, SLURM_STEP_NUM_TASKS="4")
    with pytest.raises(XferError, match="srun has started 4 processes") as caught, placed("cpu"):
        pass
    assert report(caught.value) == 2 and "(no RANK)" in capsys.readouterr().err
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert unused_tasks() == ""
    cards(monkeypatch, 0, SLURM_NTASKS="4")
    assert "4 tasks, but one process runs" in unused_tasks()
    cards(monkeypatch, 0, SLURM_NTASKS="4", RANK="0")
    assert unused_tasks() == ""


def test_an_exit_or_an_interrupt_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends so asks none of the others to end."""

    class Store:
        kept: ClassVar[list[str]] = []

        def add(self, key: str, number: int) -> int:
            self.kept.append(key)
            return 1

        def compare_set(self, key: str, before: str, value: str) -> bytes:
            self.kept.append(value)
            return value.encode()

    cards(monkeypatch, 0, RANK="1", WORLD_SIZE="2")
    monkeypatch.setattr("xfer.exit_codes._met", None)
    exit_codes.use_store(Store())
    for error in (SystemExit(0), KeyboardInterrupt(), RuntimeError("Connection reset by peer")):
        exit_codes.note_failure(error)
    assert not Store.kept
    exit_codes.note_failure(XferError("wrong"))
    assert Store.kept == ["2", "ends 0 failed"]


def commands() -> dict[str, list[str]]:
    """Every command with words that it would refuse, or that would make it print something."""
    group = get_command(app)
    found: dict[str, list[str]] = {}
    for name, one in group.commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        for inner, leaf in getattr(one, "commands", {"": one}).items():
            words = [name, *([inner] if inner else [])]
            for parameter in leaf.params:
                if parameter.required:
                    value = "fc6=2" if parameter.name == "svd" else "/nowhere/at/all"
                    words += (
                        [*parameter.opts[:1], value] if parameter.opts[0][0] == "-" else [value]
                    )
            found[" ".join(words[: 1 + bool(inner)])] = words
    return found


@pytest.mark.parametrize("name", [n for n in commands() if n not in SHARED])
def test_work_that_is_not_shared_is_done_by_the_first_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for key, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("RANK", "1")
    assert main(commands()[name]) == 0
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(exit_codes, "SAME_SECONDS", 60.0)
    start = time.monotonic()
    code = main(commands()[name])
    said = capfd.readouterr()
    assert code in (0, 2, 3) and said.out + said.err and "rank 0" not in said.err
    # it waits for nobody who might say the same
    assert not code or time.monotonic() - start < exit_codes.SAME_SECONDS
    assert (os.environ["RANK"], os.environ["WORLD_SIZE"]) == ("0", "2")
    assert not any(tmp_path.iterdir())


def test_the_others_share_the_work() -> None:
    assert set(commands()) >= set(SHARED)
