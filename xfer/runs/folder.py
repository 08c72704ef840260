"""The run folder: all inputs and outputs of a run.

recipe.toml     the flattened recipe; reruns the run as it is
env.json        command, versions, git state, device, seed, fingerprint of the data
log.jsonl       one event per line: train, eval, resume
result.json     written last: its presence means that the run is finished
best.safetensors, model.json    enough to rebuild the model anywhere
last/state.pt   everything that resuming needs
classes.txt  split.json  pictures.npz  plots/  predictions/  report.html
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.errors import DataError, XferError, whole
from xfer.files import append_line, check_folder, make_folder, replacing, write_text
from xfer.locking.sole_writer import LOCK, check_home, check_writer, sole_writer
from xfer.recipe.tables import Recipe
from xfer.recipe.toml import dump, load_recipe
from xfer.runs.checkpoint import save_state
from xfer.runs.git import git_state
from xfer.runs.json_files import read_events, read_json
from xfer.runs.pictures import PICTURES

SCHEMA = 1
VERSIONS = ("torch", "torchvision", "timm", "numpy", "albumentations", "scikit-learn")


class Run:
    """One run folder. `Run.start` starts a new one, `Run.open` opens an existing one; only within
    `start` or `writing` may its files be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # called with each event that is logged
        self.followers: list[Callable[[dict[str, Any]], None]] = []

    @staticmethod
    @contextlib.contextmanager
    def start(recipe: Recipe, out: Path | None, overwrite: bool = False) -> Generator[Run]:
        """Context with a new run, which no other process writes into. Raises as `create` does, and
        DataError while another process writes there."""
        path = out or _new_folder(recipe)
        Run.check_free(path, overwrite)
        _make(path)
        with sole_writer(path, inside=True):
            yield Run.create(recipe, path, overwrite)

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Context in which no other process writes into the folder. Raises DataError."""
        with sole_writer(self.path, inside=True):
            yield

    @staticmethod
    def create(recipe: Recipe, out: Path | None, overwrite: bool = False) -> Run:
        """Creates the folder, `out` or runs/<task>-<backbone>-<data>-<n>.

        Raises XferError if a run or other files are in the way.
        """
        path = out or _new_folder(recipe)
        run = _free(path, overwrite)
        if overwrite:
            run.clear()
        _make(path)
        write_text(path / "recipe.toml", dump(recipe))
        return run

    @staticmethod
    def check_free(path: Path, overwrite: bool = False) -> Run:
        """The run that may be created in `path`. Raises XferError if something is in the way, and
        DataError for a folder that is not writable, or that another process writes into."""
        if path.is_dir():
            check_writer(path, inside=True)
        return _free(path, overwrite)

    @staticmethod
    def open(path: Path) -> Run:
        """Opens an existing run. Raises XferError if the folder holds none."""
        run = Run(path)
        if not run.exists:
            reason = "no such folder" if not path.exists() else "not a run folder (no recipe.toml)"
            raise XferError(f"{path}: {reason}", "`xfer runs ls` lists the runs here")
        return run

    @property
    def exists(self) -> bool:
        return (self.path / "recipe.toml").is_file()

    @property
    def finished(self) -> bool:
        return (self.path / "result.json").is_file()

    @property
    def made_by(self) -> str:
        """The command that made the run in one go, without training, such as compress: what it
        left when it was killed can't be resumed. "" for a run that trains."""
        try:
            return str(self.read_json("env.json").get("made_by", ""))
        except XferError:  # it has none yet, or a damaged one
            return ""

    @property
    def state_file(self) -> Path:
        return self.path / "last" / "state.pt"

    @property
    def weights_file(self) -> Path:
        return self.path / "best.safetensors"

    def recipe(self) -> Recipe:
        """The flattened recipe of the run; it does not record which keys the user set."""
        return replace(load_recipe(str(self.path / "recipe.toml")), given=frozenset())

    def clear(self) -> None:
        """Removes the files of an earlier run, and only files that a run writes."""
        for name in ("result.json", "log.jsonl", "env.json", "model.json", "classes.txt",
                     "split.json", PICTURES,
                     "best.safetensors", "last/state.pt", "report.html", "card.md",
                     "metrics.csv",
                     "recipe.toml"):  # fmt: skip
            (self.path / name).unlink(missing_ok=True)
        for folder in ("plots", "predictions", "tensorboard"):
            for file in (self.path / folder).glob("*.*"):
                file.unlink()
        self.sweep()

    def sweep(self) -> None:
        """Removes temporary files that a killed process left behind."""
        for folder in (self.path, self.path / "last", self.path / ".last.tmp"):
            for file in folder.glob(".*.tmp"):
                if file.is_file():
                    file.unlink()

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes one of the run's json files, atomically."""
        write_text(self.path / name, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads one of the run's json files. Raises XferError if it is absent or damaged."""
        path = self.path / name
        try:
            with whole(path):
                return read_json(path)
        except DataError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise XferError(f"{self.path}: no {name}", "has the run been trained?") from None

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Writes last/state.pt atomically; last/ exists only with a state in it."""
        folder = self.state_file.parent
        check_home(folder)
        if folder.is_dir():
            save_state(self.state_file, state)
            return
        first = folder.with_name(".last.tmp")
        try:
            save_state(first / self.state_file.name, state)
            first.replace(folder)
        except BaseException:  # a full disk, Ctrl-C
            with contextlib.suppress(OSError):
                first.rmdir()
            raise

    def log(self, event: str, **values: Any) -> None:
        """Appends one event to log.jsonl."""
        entry = {"event": event, **values}
        append_line(self.path / "log.jsonl", json.dumps(entry, ensure_ascii=False))
        for follow in self.followers:
            follow(entry)

    def events(self) -> list[dict[str, Any]]:
        """The log's events in order; a truncated last line is left out."""
        with whole(self.path / "log.jsonl"):
            return read_events(self.path / "log.jsonl")

    def rewind_log(self, step: int, evaluated: int) -> None:
        """Drops the events after `step`, and evaluations after `evaluated`, which will happen
        again."""
        last = {"eval": evaluated}
        kept = [e for e in self.events() if e.get("step", 0) <= last.get(str(e.get("event")), step)]
        with replacing(self.path / "log.jsonl") as temporary:
            text = "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in kept)
            temporary.write_text(text, encoding="utf-8")


def _free(path: Path, overwrite: bool) -> Run:
    """`Run.check_free`, for the process that has the folder's lock."""
    run = Run(path)
    if path.exists() and not path.is_dir():
        raise XferError(f"{path} is a file, not a folder", "choose another --out")
    check_folder(path)
    if run.finished and not overwrite:
        raise XferError(f"{path} holds a finished run", "--overwrite, or choose another --out")
    if run.exists and not overwrite:
        to_continue = "" if run.made_by else f"to continue: --resume {path}; "
        raise XferError(
            f"{path} holds an unfinished run", f"{to_continue}to start afresh: --overwrite"
        )
    # a run that was killed while writing its first file leaves only a temporary one, and its lock
    others = path.is_dir() and any(
        not p.name.endswith(".tmp") and p.name != LOCK for p in path.iterdir()
    )
    if others and not run.exists:
        raise XferError(f"{path} is neither empty nor a run", "choose another --out")
    return run


def _make(path: Path) -> None:
    try:
        make_folder(path)
    except OSError as error:
        raise XferError(
            f"{path} can't be created: {error.strerror}", "choose another --out"
        ) from None


def _new_folder(recipe: Recipe) -> Path:
    """Creates runs/<task>-<backbone>-<data>-<n> with the first n that is free.

    Raises: XferError if it can't be created.
    """
    data = re.sub(r"[^\w.-]+", "_", Path(recipe.data.source.rstrip("/")).name) or "data"
    stem = f"{plugs.short_name(recipe.task)}-{recipe.backbone}-{data}".replace(":", "_").replace(
        "/", "_"
    )
    for number in itertools.count(1):
        path = Path("runs") / f"{stem}-{number}"
        try:
            path.mkdir(parents=True)  # runs that start at the same time get separate folders
        except FileExistsError:
            continue
        except OSError as error:
            raise XferError(
                f"{path} can't be created: {error.strerror}", "choose another --out"
            ) from None
        return path
    raise AssertionError("numbers end")


def environment(**extra: Any) -> dict[str, Any]:
    """The content of env.json: the machine, the versions and the command."""
    from xfer import __version__

    versions = {"xfer": __version__, "python": platform.python_version()}
    for name in VERSIONS:
        versions[name] = metadata.version(name)
    return {
        "schema": SCHEMA,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "folder": str(Path.cwd()),
        "versions": versions,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "git": git_state(Path.cwd()),
        **extra,
    }
