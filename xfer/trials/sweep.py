"""`xfer sweep`: several settings, each trained with several seeds, compared on val.

DIR holds an ordinary run per try, sweep.json with everything that was found, best.toml, which
`xfer finetune --recipe` takes, and settings.png. The test split is never looked at: it is scored
once, by the run of best.toml.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.data.sources.from_python import SCHEME
from xfer.errors import DivergedError, XferError
from xfer.files import check_folder, make_folder, write_text
from xfer.locking.sole_writer import sole_writer
from xfer.notebook.results import Swept
from xfer.recipe.paths import absolute
from xfer.recipe.tables import Recipe, differences, flatten, override
from xfer.recipe.toml import dump, dump_keys, load_recipe, recipe_names
from xfer.runs.json_files import read_json
from xfer.trials.budget import Budget
from xfer.trials.grid import Setting, folder_name, setting, settings_of
from xfer.trials.runner import DIVERGED, Bench, Outcome, Stopped
from xfer.trials.standing import Standing, finished, standing, verdict

SCHEMA = 1
NAME, BEST, PICTURE = "sweep.json", "best.toml", "settings.png"
METHODS = ("grid", "halving")
_LENGTHS = ("schedule.epochs", "schedule.steps", "schedule.min_steps")
Runs = list[dict[int, Outcome]]
Say = Callable[[str], None]


class Sweep:
    """A sweep under way in a folder.

    Args:
        base: the recipe without the values that are tried; grid: key -> values.
        seeds: of the runs; method: grid or halving.
        bench: runs them; folder: DIR.
    """

    def __init__(
        self, base: Recipe, grid: Mapping[str, Sequence[Any]], seeds: Sequence[int], method: str,
        bench: Bench, folder: Path,
    ) -> None:  # fmt: skip
        self.base, self.grid, self.seeds, self.method = base, dict(grid), list(seeds), method
        self.bench, self.folder = bench, folder
        self.settings = settings_of(base, grid)
        self._diverged = _known_to_diverge(folder / NAME)

    def run(self, say: Say) -> tuple[Standing, Runs, list[float]]:
        """Trains what is not trained yet, as far as the budget reaches.

        Returns: the comparison; each setting's runs by seed; and the share of the full length that
            each setting's runs have.
        """
        alive = list(range(len(self.settings)))
        runs: Runs = [{} for _ in alive]
        shares = [1.0 for _ in alive]
        for share in _shares(len(alive), self.method):
            self._round(alive, runs, shares, share, say)
            found = standing([self.settings[n] for n in alive], [runs[n] for n in alive])
            complete = all(len(runs[n]) == len(self.seeds) and all(
                run.state != "unfinished" for run in runs[n].values()) for n in alive)  # fmt: skip
            self._write(runs, shares)
            if share == 1 or not complete or found.best is None:
                break
            means = {n: found.mean(k) for k, n in enumerate(alive) if k in found.compared}
            order = sorted(means, key=lambda n: -(means[n] or 0.0))
            alive = sorted(order[: -(-len(order) // 2)])
            names = ", ".join(self.settings[n].name for n in alive)
            say(f"kept after {share:g} of the length: {names}")
        chosen = [n for n in range(len(runs)) if shares[n] == max(shares[n] for n in alive)]
        runs_then = [runs[n] if n in chosen else {} for n in range(len(runs))]
        return standing(self.settings, runs_then), runs, shares

    def _round(
        self, alive: Sequence[int], runs: Runs, shares: list[float], share: float, say: Say
    ) -> None:
        """All seeds of the settings that are left: every setting's first, then the second ones."""
        for number in alive:
            runs[number], shares[number] = {}, share
        total, done = len(alive) * len(self.seeds), 0
        for seed in self.seeds:
            for number in alive:
                one = self.settings[number]
                path = self.folder / _folder(one, seed, share)
                outcome = self._diverged.get(path.name)
                recipe = _of_length(one.recipe, share, seed)
                outcome = Outcome(path, DIVERGED, message=outcome) if outcome else self.bench.run(
                    recipe, path)  # fmt: skip
                runs[number][seed] = outcome
                done += 1
                self._write(runs, shares)
                if outcome.state != "unfinished":
                    about = f"run {done} of {total}: {one.name}, seed {seed}"
                    say(f"{about}: {_words(outcome)}")

    def _write(self, runs: Runs, shares: Sequence[float]) -> None:
        write_text(self.folder / NAME, json.dumps(self.document(runs, shares), indent=1) + "\n")

    def document(self, runs: Runs, shares: Sequence[float]) -> dict[str, Any]:
        """What was planned, and what the runs have given."""
        return {
            "schema": SCHEMA,
            "data": self.base.data.source,
            "task": self.base.task,
            "backbone": self.base.backbone,
            "method": self.method,
            "grid": {key: list(values) for key, values in self.grid.items()},
            "seeds": self.seeds,
            "runs": [
                {
                    "run": str(run.path), **one.values, "seed": seed, "share": share,
                    "state": run.state, "score": run.score,
                    "seconds": run.result.get("seconds"),
                    **({"message": run.message} if run.message else {}),
                }
                for one, own, share in zip(self.settings, runs, shares, strict=True)
                for seed, run in own.items()
            ],
        }  # fmt: skip


def run_sweep(
    base: Recipe,
    grid: Mapping[str, Sequence[Any]],
    *,
    opened: Any = None,
    seeds: int = 3,
    budget: Budget,
    method: str = "grid",
    out: Path | None = None,
    overwrite: bool = False,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Runs a sweep, or goes on with one that was stopped.

    Args: as `xfer.sweep`, with the complete recipe and its opened data.
    Returns: see there.
    """
    if not grid:
        raise XferError(
            "nothing to compare", "KEY=V1,V2 names a key and its values: optim.lr=1e-4,3e-4"
        )
    if method not in METHODS:
        raise XferError(f"--method {method}: unknown", f"choose from {', '.join(METHODS)}")
    if seeds < 1:
        raise XferError(f"--seeds {seeds}: at least one", "--seeds 3")
    if method == "halving" and (taken := [key for key in _LENGTHS if key in grid]):
        raise XferError(
            f"--method halving sets the length of runs, and {taken[0]} is to be compared",
            "--method grid",
        )
    folder = out if out is not None else _default_folder(base)
    first = base.run.seed
    bench = Bench(budget, opened, say)
    bench.data(base)  # before anything is written
    _prepare(folder, overwrite)
    with sole_writer(folder, inside=True):
        sweep = Sweep(base, grid, range(first, first + seeds), method, bench, folder)
        try:
            found, runs, shares = sweep.run(say)
        except KeyboardInterrupt:
            raise Stopped("interrupted; the same command goes on with the sweep") from None
        return _conclude(sweep, found, runs, shares, say)


def _conclude(
    sweep: Sweep, found: Standing, runs: Runs, shares: Sequence[float], say: Say
) -> dict[str, Any]:
    """Writes best.toml, the picture and sweep.json; the sweep's document."""
    folder, bench = sweep.folder, sweep.bench
    total, done = sum(len(own) for own in runs), finished(runs)
    rows = standing(sweep.settings, runs).rows()
    for row, own, share in zip(rows, found.rows(), shares, strict=True):
        row["minus_best"] = own["minus_best"]
        if sweep.method == "halving":
            row["share"] = share
    document = sweep.document(runs, shares)
    document |= {"primary": found.primary, "settings": rows, "verdict": verdict(found)}
    document["differences"] = [one.document() for one in found.differences]
    unfinished = sum(run.state == "unfinished" for own in runs for run in own.values())
    document["complete"] = not unfinished
    if found.best is None:
        failed = [run.message for own in runs for run in own.values() if run.message]
        write_text(folder / NAME, json.dumps(document, indent=1) + "\n")
        if failed and not unfinished:
            raise DivergedError(f"{folder}: every setting diverged: {failed[0]}", "lower rates")
        return Swept({**document, "best": None, "next": _again(bench)})
    best = found.settings[found.best]
    write_best(folder / BEST, sweep.base, best.values, f"{verdict(found)}\n{done} runs in {folder}")
    # the line to type
    in_memory = sweep.base.data.source.startswith(f"{SCHEME}:")
    line = f"xfer finetune --recipe {shlex.quote(str(folder / BEST))}"
    call = f"xfer.finetune(data, recipe={str(folder / BEST)!r})"
    document |= {
        "best": {**best.values, "mean": found.mean(found.best), "n": len(found.seeds),
                 "recipe": str(folder / BEST)},
        "next": call if in_memory else line,
    }  # fmt: skip
    if unfinished:
        say(f"{_again(bench)}: {done} of {total} runs are finished")
    document["picture"] = draw(folder / PICTURE, found.primary, rows, sweep.settings, say)
    document["seconds"] = round(bench.budget.spent, 1)
    write_text(folder / NAME, json.dumps(document, indent=1) + "\n")
    return Swept(document)


def _again(bench: Bench) -> str:
    minutes = bench.budget.minutes
    used = "" if minutes is None else f"the budget of {minutes:g} minutes is used up; "
    return f"{used}the same command goes on"


def draw(
    path: Path,
    primary: str,
    rows: Sequence[Mapping[str, Any]],
    settings: Sequence[Setting],
    say: Say,
) -> str | None:
    """Draws the scores of the settings; the picture's name, None if it can't be drawn."""
    from xfer.drawing.settings import settings_picture

    known = [
        (one.name, row["scores"]) for one, row in zip(settings, rows, strict=True) if row["scores"]
    ]
    try:
        settings_picture(known, path, score=f"{primary} on val")
    except Exception as error:
        say(f"warning: {path.name} could not be drawn: {type(error).__name__}: {error}")
        return None
    return str(path)


def write_best(path: Path, base: Recipe, values: Mapping[str, Any], why: str) -> None:
    """Writes the recipe of a setting, as what it changes in the recipe that it comes from where
    that gives the same recipe again, else with every key."""
    recipe = absolute(setting(base, values).recipe)
    head = "".join(f"# {line}\n" for line in why.splitlines())
    if base.name in recipe_names():
        changed = {
            key: new for key, (_, new) in differences(load_recipe(base.name), recipe).items()
        }
        short = f"{head}extends = {json.dumps(base.name)}\n{dump_keys(changed)}"
        write_text(path, short)
        if flatten(load_recipe(str(path))) == flatten(recipe):
            return
    write_text(path, head + dump(recipe))


def _shares(count: int, method: str) -> list[float]:
    """The lengths of the rounds as shares of the full one: halving drops half of the settings after
    each, and doubles the length (Jamieson, Talwalkar 2016, Alg. 1)."""
    rounds = math.ceil(math.log2(count)) if method == "halving" and count > 1 else 0
    return [0.5**k for k in range(rounds, 0, -1)] + [1.0]


def _of_length(recipe: Recipe, share: float, seed: int) -> Recipe:
    """The recipe with this seed and a share of its length."""
    values: dict[str, Any] = {"run.seed": seed}
    if share != 1:
        own = recipe.schedule
        values["schedule.epochs"] = own.epochs * share
        values["schedule.steps"] = max(1, round(own.steps * share)) if own.steps else 0
        values["schedule.min_steps"] = round(own.min_steps * share)
    return replace(override(recipe, values), given=recipe.given)


def _folder(one: Setting, seed: int, share: float) -> str:
    part = "" if share == 1 else f"_length={share:g}"
    return f"{folder_name(one.name)}{part}_seed={seed}"


def _default_folder(base: Recipe) -> Path:
    """runs/sweep-<task>-<backbone>-<data>-<digest>: the same command finds its folder again."""
    text = json.dumps(flatten(absolute(base)), sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    data = Path(base.data.source.rstrip("/")).name or "data"
    words = f"sweep-{plugs.short_name(base.task)}-{base.backbone}-{data}".replace(":", "_")
    return Path("runs") / f"{folder_name(words.replace('/', '_'))}-{digest}"


def _prepare(folder: Path, overwrite: bool) -> None:
    """Makes the folder. Raises XferError if something else is in it."""
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        ours = (folder / NAME).is_file() or not any(
            p.name != ".writer.lock" and not p.name.endswith(".tmp") for p in folder.iterdir()
        )
        if not ours:
            raise XferError(f"{folder} is neither empty nor a sweep", "choose another --out")
        if overwrite:
            for run in folder.iterdir():
                if (run / "recipe.toml").is_file() and run.is_dir() and not run.is_symlink():
                    shutil.rmtree(run)
            (folder / NAME).unlink(missing_ok=True)
    make_folder(folder)
    if not (folder / NAME).is_file():
        write_text(folder / NAME, "{}\n")


def _known_to_diverge(path: Path) -> dict[str, str]:
    """Folder name -> message of the runs that diverged, by an earlier sweep.json."""
    try:
        rows = read_json(path).get("runs", [])
        return {Path(row["run"]).name: str(row["message"]) for row in rows if "message" in row}
    except (XferError, OSError, ValueError, KeyError, TypeError, AttributeError):  # edited: train
        return {}


def _words(outcome: Outcome) -> str:
    if outcome.score is None:
        return f"diverged: {outcome.message}"
    primary, seconds = outcome.result["primary"], outcome.result.get("seconds", 0)
    return f"val {primary} {outcome.score:.4f} ({seconds:.0f} s)"
