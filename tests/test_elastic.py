"""A process of two is killed: torchrun gives the command again, which goes on with its run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_loop import CPU, TINY, Stopped, changed, die, equal, stop_at, train

from xfer.errors import XferError
from xfer.runs.folder import Run
from xfer.train.restart import run_to_continue

# the second process kills itself as its step 5 begins, once; saved is after every step
SCRIPT = """
import os, signal, sys
from pathlib import Path
from xfer.api import finetune
from xfer.train.job import Job

def begin(job, real=Job.begin_step):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if job.step == 5 and first and os.environ["RANK"] == "1" and sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(job)

Job.begin_step = begin
out = Path(sys.argv[1]) if sys.argv[1] else None
finetune("digits", "classify", out=out, verbosity=-1, backbone="tiny_nets:tiny", weights="none",
         epochs=3, limit=192, batch=64, lr=0.02, precision="fp32", workers=1,
         **{"run.plots": False, "run.report": False, "run.save_minutes": 1e-6,
            "data.crop_on": "device"})
"""


def launch(folder: Path, out: str, how: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    here = Path(__file__).parent
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
             "--max-restarts", "1", "--master-port", "0", "--rdzv-backend", "c10d",
             "--rdzv-endpoint", "localhost:0", str(script), out, how]  # fmt: skip
    return subprocess.run(
        words, capture_output=True, text=True, timeout=240, cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
             "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_one_of_two_is_killed_and_the_run_ends_with_the_same_steps(
    named: bool, tmp_path: Path
) -> None:
    done = launch(tmp_path, "run" if named else "", "killed")
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [tmp_path / "run"] if named else list((tmp_path / "runs").iterdir())
    assert len(runs) == 1
    events = Run(runs[0]).events()
    assert [e["step"] for e in events if e["event"] == "resume"] == [5]
    assert [e["step"] for e in events if e["event"] == "train"] == list(range(1, 10))
    assert json.loads((runs[0] / "result.json").read_text())["steps"] == 9
    if named:  # and with the same bits
        whole = launch(tmp_path, "whole", "whole")
        assert whole.returncode == 0, whole.stderr[-3000:]
        assert equal(tmp_path / "whole", runs[0])


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")


def start_and_die(out: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(7, patch, die)
        train(out)


@pytest.mark.usefixtures("torchrun")
def test_a_restart_goes_on_where_another_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_and_die(tmp_path / "b", monkeypatch)
    with pytest.raises(XferError, match="unfinished run"):
        train(tmp_path / "b")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(XferError, match="unfinished run"):  # other settings: not what was begun
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "other")
        train(tmp_path / "b", changed(TINY, optim={"lr": 0.5}))
    assert train(tmp_path / "b").result["steps"] == 20
    resumed = [e["event"] for e in Run(tmp_path / "b").events()].count("resume")
    assert resumed == 1
    with pytest.raises(XferError, match="finished run"):
        train(tmp_path / "b")


@pytest.mark.usefixtures("torchrun")
def test_overwriting_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "b", changed(TINY, schedule={"epochs": 1}))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "second")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(7, patch, die)
        train(tmp_path / "b", overwrite=True)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert train(tmp_path / "b", overwrite=True).result["steps"] == 20
    assert [e["event"] for e in Run(tmp_path / "b").events()].count("resume") == 1
    # a process that dies when all is done
    assert train(tmp_path / "b", overwrite=True).result["steps"] == 20


@pytest.mark.usefixtures("torchrun")
def test_an_unnamed_run_is_found_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = replace(TINY, name="other")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setenv("TORCHELASTIC_RUN_ID", "other")
        stop_at(2, patch, die)
        train(None, other)
    assert run_to_continue(TINY, None, CPU) is None
    start_and_die(None, monkeypatch)
    found = run_to_continue(TINY, None, CPU)
    assert found is not None and found.path.name.endswith("-2")
