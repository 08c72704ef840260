"""The run folder, its model.json, its log, and the probe's: loaded, listed, compared, exported."""

from __future__ import annotations

import io
import shutil
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import xfer
from fuzz import case as cases
from fuzz.case import Case
from fuzz.target import target, used
from xfer import plugs
from xfer.cli.output import Show
from xfer.cli.runs import runs_compare, runs_ls, runs_show, runs_table
from xfer.errors import XferError
from xfer.inference.trained_on import TrainedOn
from xfer.report.comparison import write_comparison
from xfer.report.facts import Facts
from xfer.report.page import build
from xfer.runs.card import export_run
from xfer.runs.checkpoint import load_state, save_state
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model

NET = "tiny_nets:tiny"
_PICTURE = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
_OLD = Path(__file__).parents[2] / "golden" / "run_before_rooms.tar.xz"
_made: list[Case] = []


def _trained(folder: Path) -> Case:
    """A run of two steps."""
    if not _made:
        out = folder / "run"
        xfer.finetune(
            data="digits", backbone=NET, weights="none", out=str(out), epochs=1, batch=16, limit=32,
            device="cpu", verbosity=-1, workers=1, data__size=32, run__plots=False,
            run__report=False,
        )  # fmt: skip
        shutil.rmtree(out / "plots", ignore_errors=True)
        _made.append(cases.of_folder(out))
    return dict(_made[0])


def _old(folder: Path) -> Case:
    """A run of an earlier version, which was stopped before its end."""
    with tarfile.open(_OLD) as archive:
        archive.extractall(folder / "old", filter="data")
    run = cases.of_folder(folder / "old" / "run_0_1")
    return {name: content for name, content in run.items() if not name.startswith("plots")}


def _unsummed(folder: Path) -> Case:
    """The same run without checksums, as earlier versions left it."""
    run, file = _trained(folder), folder / "old.safetensors"
    file.write_bytes(run["best.safetensors"])
    save_file(load_file(file), file)
    return {**run, "best.safetensors": file.read_bytes()}


def run_folders(folder: Path) -> list[Case]:
    state = {
        "step": 3,
        "task.trunk.0.weight": torch.ones(3, 4),
        "rng": [1, 2],
        "best": {"top1": 0.5},
    }
    torch.save(state, folder / "old.pt")
    save_state(folder / "new.pt", state)
    old, new = ((folder / name).read_bytes() for name in ("old.pt", "new.pt"))
    return [
        {**_trained(folder), "last/state.pt": new}, {**_unsummed(folder), "last/state.pt": old},
    ]  # fmt: skip


def _show(path: Path) -> None:
    """What `xfer runs` prints."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        runs_ls(Show(True), str(path.parent))
        runs_show(Show(), str(path))
        runs_compare(Show(True), [str(path), str(path)])
        runs_table(Show(True), str(path.parent))


def _predict(path: Path) -> None:
    model = xfer.load(path, device="cpu", trust="tiny_nets")
    model.predict([_PICTURE])[0]


@target("run_folder", run_folders)
def use_run(path: Path) -> None:
    """As `xfer predict`, `xfer eval`, `xfer runs` and --resume read it."""
    run = Run.open(path)
    first: XferError | None = None
    for read in (_show, _predict, _state):  # each is a command: one may refuse what another takes
        try:
            read(path)
        except XferError as error:
            first = first or error
    recipe = run.recipe()
    splits = run.read_json("split.json")
    TrainedOn(run, recipe, splits, read_model(run)["classes"])
    run.read_json("env.json")
    if first is not None:
        raise first


def _state(path: Path) -> None:
    state = load_state(Run(path).state_file)
    assert isinstance(state, dict)


_REST = ("recipe.toml", "best.safetensors", "result.json", "classes.txt", "split.json", "env.json")


def models(folder: Path) -> list[Case]:
    made = [_trained(folder), _unsummed(folder)]
    return [{n: c for n, c in one.items() if n in ("model.json", *_REST)} for one in made]


@target("model_json", models, keep=_REST)
def use_model(path: Path) -> None:
    """As `xfer predict` and `xfer models import run:DIR` read it."""
    first: XferError | None = None
    out = path.parent / "out.safetensors"
    for read in (lambda: _predict(path), lambda: _export(path, out)):
        try:
            read()
        except XferError as error:
            first = first or error
    if first is not None:
        raise first


def _export(path: Path, out: Path) -> None:
    out.unlink(missing_ok=True)
    out.with_suffix(".md").unlink(missing_ok=True)
    if (path / "result.json").is_file():
        with plugs.naming(trust="tiny_nets"):
            export_run(path, out)


def logs(folder: Path) -> list[Case]:
    kept = ("recipe.toml", "log.jsonl", "result.json")
    made = [_trained(folder), _old(folder)]
    return [{n: c for n, c in one.items() if n in kept} for one in made]


@target("log", logs, keep=("recipe.toml",))
def use_log(path: Path) -> None:
    """As `xfer runs` and --resume read it."""
    _show(path)
    used(event.get("step", 0) <= 1 for event in Run(path).events())


@target("report", logs, keep=("recipe.toml",))
def use_report(path: Path) -> None:
    """As `xfer report` reads the files of a run whose weights are gone, and of two to compare."""
    assert build(Facts.of(path)).startswith("<!doctype html>")
    write_comparison([path, path], path.parent / "comparison.html")
