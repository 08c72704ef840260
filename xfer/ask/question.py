"""What all questions share: the recipe, the data, a budget, a folder, and short fair runs."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.ask.answer import Answer, write_answer
from xfer.data.sources.from_python import SCHEME
from xfer.device import placed
from xfer.errors import XferError
from xfer.files import check_folder, make_folder
from xfer.locking.sole_writer import LOCK, sole_writer
from xfer.recipe.choose import prepare
from xfer.recipe.tables import FLAGS, Recipe, flatten, override
from xfer.train.job import Job
from xfer.train.step import train_step
from xfer.trials.budget import Budget
from xfer.trials.grid import Setting, folder_name, plain, setting
from xfer.trials.runner import Bench, Outcome, Stopped
from xfer.trials.standing import Standing, standing

MINUTES = 15.0
SEEDS = 3
# short runs are scored this often: the best of many evaluations flatters noisy settings
EVALUATIONS = 4
SHORTEST = 2.0  # epochs; below this, fewer seeds rather than shorter runs
SPARE = 0.85  # of the budget that short runs are planned for: estimates of their time are rough
Say = Callable[[str], None]


@dataclass
class Question:
    """A question under way.

    name    | of the question: lr, batch, ...
    base    | the recipe that is asked about, as `xfer finetune` would run it
    bench   | runs recipes on the shared data; folder: of its runs and answer.json
    told    | the data and settings that the user gave, as a command has them
    """

    name: str
    base: Recipe
    bench: Bench
    folder: Path
    told: str
    say: Say
    count: int = 0
    notes: list[str] = field(default_factory=list[str])
    _pace: tuple[float, float] | None = None

    @property
    def budget(self) -> Budget:
        return self.bench.budget

    @property
    def plain(self) -> Recipe:
        """The recipe of the runs that only compare: without pictures and pages, and scored as it is
        while training, which costs less than ten crops."""
        own = self.base
        values: dict[str, Any] = {"run.plots": False, "run.report": False, "run.track": ""}
        if "eval.tta" not in own.given and own.eval.while_training:
            values["eval.tta"] = own.eval.while_training
        return replace(override(own, values), given=own.given)

    def job(self, **values: Any) -> contextlib.AbstractContextManager[Job]:
        """Context with the recipe's model, data and optimiser, to take steps by hand. Args: values:
        other settings, with two underscores for the dot."""
        return _job(self, {key.replace("__", "."): value for key, value in values.items()})

    def pace(self) -> tuple[float, float]:
        """Seconds of one step in training, and of an evaluation, measured once on a few batches."""
        if self._pace is None:
            with self.job() as job:
                self._pace = _pace_of(job)
        return self._pace

    def line(self, *settings: str) -> str:
        """The command that trains with these settings, KEY=VALUE, in place of what was told."""
        keys = {setting.partition("=")[0] for setting in settings}
        kept: list[str] = []
        words = iter(shlex.split(self.told))
        for word in words:
            if word.startswith("--") and word.removeprefix("--") in keys:
                next(words, None)
            elif "=" not in word or word.partition("=")[0] not in keys:
                kept.append(word)
        return shlex.join(["xfer", "finetune", *kept, *settings])

    def short_runs(self, settings: Sequence[Mapping[str, Any]], share: float = 1.0) -> Standing:
        """Trains settings for a while, each with the same seeds, and compares them on val.

        Args:
            settings: values by key; the first is the default, {}.
            share: of the budget that is left, which they may take.
        """
        tried = [setting(self.plain, values) for values in settings]
        count, epochs, seeds = self._length(len(tried), share)
        if not count:
            self.notes.append("no short runs: the budget is too small for two settings")
            return standing(tried, [{} for _ in tried])
        if count < len(tried):
            rest = ", ".join(one.name for one in tried[count:])
            self.notes.append(f"not tried, for lack of time: {rest}; a larger --budget")
            tried = tried[:count]
        runs: list[dict[int, Outcome]] = [{} for _ in tried]
        full = _epochs(self.plain, len(self.bench.data(self.plain).splits["train"]))
        how = f"{epochs:.2g} of {full:.3g} epochs"
        self.notes.append(f"short runs: {how}, seeds {self.base.run.seed} on")
        self.say(f"{len(tried)} settings with {seeds} seeds each, {how}")
        until = self.budget.spent + share * self.budget.left
        for seed in range(self.base.run.seed, self.base.run.seed + seeds):
            for number, one in enumerate(tried):
                if self.budget.spent > until:
                    break
                recipe = replace(override(one.recipe, {
                    "run.seed": seed, "schedule.epochs": epochs, "schedule.steps": 0,
                    "eval.every": max(one.recipe.eval.every, epochs / EVALUATIONS),
                }), given=one.recipe.given)  # fmt: skip
                path = self.folder / f"{folder_name(one.name)}_seed={seed}"
                outcome = self.bench.run(recipe, path)
                runs[number][seed] = outcome
                if outcome.score is not None:
                    self.count += 1
                    primary = outcome.result["primary"]
                    self.say(f"{one.name}, seed {seed}: val {primary} {outcome.score:.4f}")
                elif outcome.message:
                    self.say(f"{one.name}, seed {seed}: diverged")
        return standing(tried, runs)

    def _length(self, count: int, share: float) -> tuple[int, float, int]:
        """How many of `count` settings fit into the budget, their epochs and seeds: rather fewer
        seeds than very short runs, and rather fewer settings than one seed, which tells nothing.
        (0, 0, 0): not even two settings fit."""
        step, evaluation = self.pace()
        train = len(self.bench.data(self.plain).splits["train"])
        full = _epochs(self.plain, train)
        per_epoch = step * max(1, train // self.plain.data.batch)
        fixed = BUILD + (EVALUATIONS + 1) * evaluation  # per run: net, evaluations, last score
        seconds = SPARE * share * self.budget.left
        for least in (SHORTEST, SHORTEST / 4):
            for some in range(count, 1, -1):
                for seeds in (SEEDS, SEEDS - 1):
                    epochs = (seconds / (some * seeds) - fixed) / per_epoch
                    if epochs >= min(full, least):
                        return some, min(full, epochs), seeds
        return 0, 0.0, 0

    def answer(self, answer: str, confidence: str, next: str, **evidence: Any) -> Answer:
        """The finished answer, also written to the folder."""
        return write_answer(Answer(
            question=self.name, answer=answer, evidence=evidence, confidence=confidence, next=next,
            seconds=round(self.budget.spent, 1), budget_minutes=self.budget.minutes,
            runs=self.count, folder=str(self.folder), data=self.base.data.source,
            backbone=self.base.backbone, notes=list(dict.fromkeys(self.notes)),
        ))  # fmt: skip


BUILD = 1.5  # seconds that a run takes to build its net and to write its files, roughly


@contextlib.contextmanager
def asking(
    name: str,
    data: Any,
    settings: Mapping[str, Any],
    *,
    task: str = "",
    recipe: str = "",
    budget: float | Budget = MINUTES,
    out: str | os.PathLike[str] | None = None,
    say: Say = lambda _: None,
):
    """Context of a question on data.

    Args: as `xfer.finetune`, with settings by flag or key; budget: minutes, or a time under way.
    Raises: XferError and DataError for what `finetune` would refuse, and data without a val split.
    """
    clock = budget if isinstance(budget, Budget) else Budget(budget)
    keyed = {"data.size" if key == "size" else key: value for key, value in settings.items()}
    base, opened = prepare("" if data is None else data, task, recipe, keyed, say)
    with asked(name, base, opened, clock, out, say, _told(base, data, recipe)) as question:
        yield question


@contextlib.contextmanager
def asked(
    name: str, base: Recipe, opened: Any, clock: Budget, out: Any, say: Say, told: str
):  # fmt: skip
    """Context of a question on a complete recipe. Args: told: see `Question`."""
    bench = Bench(clock, opened, say)
    bench.data(base)  # before anything is written
    folder = _folder(name, base) if out is None else Path(out)
    check_folder(folder)
    if folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        raise XferError(f"{folder} is not empty", "choose another --out")
    make_folder(folder)
    with sole_writer(folder, inside=True):
        try:
            yield Question(name, base, bench, folder, told, say)
        except KeyboardInterrupt:
            raise Stopped(f"interrupted; its runs so far are in {folder}") from None


@contextlib.contextmanager
def _job(question: Question, values: Mapping[str, Any]):
    recipe = override(question.plain, values)
    with placed(recipe.run.device, recipe.run.precision) as place:
        yield Job(recipe, place, question.bench.data(recipe))


def _pace_of(job: Job) -> tuple[float, float]:
    """Seconds of a step, without the first, and of an evaluation, from a batch of it."""
    times: list[float] = []
    with contextlib.closing(job.batches()) as batches:
        for batch in itertools.islice(batches, 5):
            job.begin_step()
            train_step(job, batch.to(job.place.device))
            job.place.synchronise()
            times.append(time.monotonic())
            if len(times) > 2 and times[-1] - times[0] > 10:
                break
    steps = [b - a for a, b in itertools.pairwise(times)]
    step = min(steps, default=1.0) if len(steps) < 3 else sorted(steps)[len(steps) // 2]
    loader = job.val_loader()
    task = job.final_task().eval()
    begin = time.monotonic()
    with contextlib.closing(loader.batches(0)) as batches:
        task.predict(next(iter(batches)).to(job.place.device), job.quick_tta)
    job.place.synchronise()
    return step, (time.monotonic() - begin) * len(loader)


def _epochs(recipe: Recipe, pictures: int) -> float:
    """Length of the recipe's own runs in epochs."""
    steps = max(1, pictures // recipe.data.batch)
    own = recipe.schedule
    return own.steps / steps if own.steps else max(own.epochs, own.min_steps / steps)


def _told(base: Recipe, data: Any, recipe: str) -> str:
    """What the user gave, as words of a command."""
    words: list[str] = []
    if recipe:
        words += ["--recipe", recipe]
    source = data if isinstance(data, (str, os.PathLike)) else ""
    if source or not recipe:
        words += ["--data", os.fspath(source) or base.data.source]
    values = flatten(base)
    own = {} if recipe else {k: values[k] for k in sorted(base.given) if k in values}
    flags = {key: flag for flag, key in FLAGS.items()}
    for key, value in own.items():
        if key == "data.source" or value in ("", None):
            continue
        text = f"[{','.join(map(str, value))}]" if isinstance(value, (tuple, list)) else str(value)
        text = text.lower() if isinstance(value, bool) else text
        words += [f"--{flags[key]}", text] if key in ("backbone", "weights") else [f"{key}={text}"]
    if base.data.source.startswith(f"{SCHEME}:"):
        words = ["--data", "YOURS", *(w for w in words if not w.startswith("--data"))]
    return shlex.join(words)


def _folder(name: str, base: Recipe) -> Path:
    """A new folder runs/ask-<question>-<backbone>-<data>-<n>."""
    data = Path(base.data.source.rstrip("/")).name or "data"
    words = f"ask-{name}-{plugs.short_name(base.backbone)}-{data}".replace(":", "_")
    stem = folder_name(words.replace("/", "_"))
    for number in itertools.count(1):
        path = Path("runs") / f"{stem}-{number}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("numbers end")


def geometric(low: float, high: float, count: int) -> list[float]:
    """Numbers from low to high at equal ratios."""
    return [low * (high / low) ** (k / max(1, count - 1)) for k in range(count)]


def rounded(value: float) -> float:
    """A number with two digits, as people type rates."""
    if value <= 0 or not math.isfinite(value):
        return value
    digits = 1 - math.floor(math.log10(value))
    return float(f"{round(value, digits):.12g}")


def labelled(chosen: Setting) -> list[str]:
    """A setting as words of a command, KEY=VALUE each."""
    return [f"{key}={plain(value)}" for key, value in chosen.values.items()]
