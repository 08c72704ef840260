"""Progress of a run: a live bar on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds only the result.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    Progress as Bar,
)
from rich.progress import ProgressColumn
from rich.table import Table
from rich.text import Text

from xfer.errors import spoken
from xfer.recipe.idle import idle_settings
from xfer.train.restart import unused_tasks

if TYPE_CHECKING:
    from xfer.data.sources.base import Bundle
    from xfer.device import Place
    from xfer.recipe.tables import Recipe
    from xfer.runs.folder import Run
    from xfer.train.job import Job
    from xfer.train.summary import Summary

PLAIN_SECONDS = 10.0
_BAR = 10  # the shortest bar that speed, rate and memory make room for


class Progress:
    """Prints a run's progress.

    Args:
        verbosity: -2 nothing (all processes but the first), -1 warnings only, 0 progress,
            1 also tables of the trained stages and the matched weights.
    """

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        terminal = sys.stderr.isatty()
        # on a terminal, long lines end between words; in a pipe, a line is a line
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=not terminal)
        self.live = verbosity >= 0 and terminal and not self.console.is_dumb_terminal
        self._began: tuple[float, int] | None = None
        self._best = ""
        self._bar: Bar | None = None
        self._task: Any = None
        self._last = 0.0
        self._recent: deque[float] = deque(maxlen=100)
        self._warned = False

    def say(self, text: str) -> None:
        if self.verbosity >= 0:
            self.console.print(spoken(text), markup=False)

    def warn(self, text: str) -> None:
        if self.verbosity >= -1:
            self.console.print(f"warning: {spoken(text)}", markup=False, style="yellow")

    def remark(self, line: str) -> None:
        """Prints a line, which may begin with "warning: "."""
        if line.startswith("warning: "):
            self.warn(line.removeprefix("warning: "))
        else:
            self.say(line)

    def start(self, recipe: Recipe, bundle: Bundle, place: Place) -> None:
        """Prints the recipe, the data and the device."""
        self.say(f"recipe {recipe.name or '(defaults)'}: {recipe.task} with {recipe.backbone}")
        for note in bundle.notes:
            if "warning: " in note and self.verbosity >= -1:  # with -q too
                self.console.print(note, markup=False, style="yellow")
            else:
                self.say(note)
        counts = ", ".join(f"{name} {len(split)}" for name, split in bundle.splits.items())
        classes = f"{len(bundle.classes)} classes; " if bundle.classes else ""
        self.say(f"data {bundle.name}: {classes}pictures: {counts}")
        self.say(f"on {place.describe()}")
        if unused_tasks():
            self.warn(unused_tasks())
        if not recipe.data.flip and recipe.eval.tta != "none":
            self.warn(
                f"data.flip=false: training sees no mirror images, but eval.tta={recipe.eval.tta} "
                "scores with them; --set eval.tta=none"
            )
        if recipe.data.batch > len(bundle.splits["train"]):
            self.warn(
                f"only {len(bundle.splits['train'])} training pictures for a batch of "
                f"{recipe.data.batch}: each step sees all of them"
            )

    def model(self, job: Job) -> None:
        """Prints which weights matched; with -v also the learning rate of each stage."""
        report = job.task.backbone.weight_report
        self.say("weights: none, randomly initialised" if report is None else report.line())
        for line in idle_settings(job.recipe, job.task, job.place.world):
            self.warn(line)
        if job.task.size_note:
            self.say(job.task.size_note)
        if job.crop_on == "device":
            self.say("training crops are cut on the device (data.crop_on=host: by the loader)")
        for line in [*_decided(job), *_too_long(job), *_from_small(job)]:
            self.warn(line)
        if self.verbosity < 1:
            return
        if report is not None:
            self.console.print(report.table(), markup=False)
        table = Table("stage", "parameters", "lr", "weight decay")
        lr = job.peak_lr
        trained = {name.removesuffix(" (bias, norm)") for name in (g.name for g in job.groups)}
        for stage in job.task.stages():
            if stage.name not in trained:
                count = sum(p.numel() for p in stage.module.parameters())
                table.add_row(stage.name, f"{count:,}", "frozen", "")
        for group in job.groups:
            table.add_row(
                group.name, f"{group.count:,}", f"{lr * group.scale:.2g}", f"{group.weight_decay:g}"
            )
        self.console.print(table)

    def resumed(self, job: Job, run: Run) -> None:
        if job.step:
            self.say(f"resuming {run.path} at step {job.step} of {job.steps}")
        else:
            self.say(f"{run.path} was stopped before its first save: starting at step 0")

    @contextlib.contextmanager
    def training(self, job: Job) -> Iterator[None]:
        """While training: a bar on a terminal."""
        self._began = time.monotonic(), job.step
        if not self.live:
            yield
            return
        with Bar(_Line(), console=self.console, transient=True) as bar:
            self._bar = bar
            epochs = round(job.steps / job.epoch_steps, 2)
            self._task = bar.add_task(
                "train", total=job.steps, completed=job.step, epoch=job.step / job.epoch_steps,
                epochs=epochs, parts=(), left="",
            )  # fmt: skip
            try:
                yield
            finally:
                self._bar = None

    def _left(self, job: Job) -> str:
        """The time left, evaluations included, at the speed of this run so far: "1:05 left"."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, job.step
        began, first = self._began
        if job.step <= first:
            return "-:-- left"
        return f"{_duration((now - began) / (job.step - first) * (job.steps - job.step))} left"

    def step(self, job: Job, event: dict[str, Any]) -> None:
        """A logged step: loss, rate, images per second, share of time waiting for data, memory."""
        self._recent.append(event["loss"])
        self._check_chance(job)
        if self.verbosity < 0:
            return
        left = self._left(job)
        parts = (
            f"loss {event['loss']:.4f}", self._best, f"{event['images_per_second']:.0f} img/s",
            f"lr {event['lr']:.1e}", f"data {100 * event['data_wait']:.0f} %",
            f"{event['memory_mb'] / 1024:.1f} GB",
        )  # fmt: skip
        if self._bar is not None:
            self._bar.update(
                self._task, completed=job.step, epoch=event["epoch"], parts=parts, left=left
            )
        elif time.monotonic() - self._last > PLAIN_SECONDS:
            self._last = time.monotonic()
            text = "  ".join(part for part in (*parts, left) if part)
            self.say(f"step {job.step}/{job.steps}  {text}")

    def _check_chance(self, job: Job) -> None:
        """Warns once if the loss is no better than guessing."""
        chance = job.task.chance_loss()
        if self._warned or chance is None or job.step < job.recipe.run.chance_steps:
            return
        self._warned = True
        mean = math.fsum(self._recent) / len(self._recent)
        if mean > 0.98 * chance:
            warmup = "" if job.recipe.schedule.name == "onecycle" else "a longer --warmup, "
            self.warn(
                f"the loss is still at chance ({mean:.3f}, guessing gives {chance:.3f}) after "
                f"{job.step} steps: try {warmup}another --lr or --seed, "
                "backbone.init=bvlc, or a backbone with batch norm"
            )

    def tick(self, what: str) -> Callable[[int], None] | None:
        """A callback that shows the progress of an evaluation."""
        if self._bar is None:
            return None
        bar, task = self._bar, self._task

        def scored(done: int) -> None:
            bar.update(task, parts=(f"{what}: {done} pictures scored", self._best))

        return scored

    def evaluated(
        self, job: Job, primary: str, metrics: dict[str, Any], better: bool, loss: float
    ) -> None:
        """An evaluation in one line: the score, another figure and the loss; with -v all figures.

        Args: loss: the mean loss in training, for a task that computes none on val.
        """
        figures = {k: v for k, v in metrics.items() if isinstance(v, float)}
        if better:
            self._best = f"best {primary} {figures[primary]:.4f}"
        others = [name for name in figures if name not in (primary, "loss")]
        names = [primary, *others] if self.verbosity > 0 else [primary, *others[:1]]
        shown = "  ".join(f"{name} {figures[name]:.4f}" for name in names if name in figures)
        shown += (
            f"  loss {figures['loss']:.4f}"
            if "loss" in figures
            else (f"  train loss {loss:.4f}" if math.isfinite(loss) else "")
        )
        best = "  (best so far)" if better else ""
        epoch = job.step / job.epoch_steps
        self.say(f"epoch {epoch:.4g}  step {job.step}  val {shown}{best}")

    def finished(self, run: Summary) -> None:
        """The end of a run: nothing here, its caller prints the last lines."""


class _Line(ProgressColumn):
    """The whole line of progress, in the width of the terminal: where there is no room, the bar is
    shorter and the last parts are left out, never the epoch, the time left and the loss."""

    def render(self, task: Any) -> Text:
        fields = task.fields
        width = Console(file=sys.stderr).width - 1
        share = task.completed / max(1, task.total or 1)
        head = f"epoch {fields['epoch']:.1f}/{fields['epochs']:g}"
        tail = f"{100 * share:3.0f} %  {fields['left'] or '-:-- left'}"
        parts = [part for part in fields["parts"] if part]
        while parts:
            free = width - len("  ".join((head, tail, *parts)))
            if free >= (_BAR + 2 if len(parts) > 2 else 0):  # loss and best first
                break
            parts.pop()
        text = "  ".join((tail, *parts))
        room = min(20, width - len(head) - len(text) - 4)
        bar = ""
        if room >= _BAR // 2:
            done = round(share * room)
            bar = f"{'━' * done}{'─' * (room - done)}  "
        return Text(f"{head}  {bar}{text}"[:width], no_wrap=True)


def _from_small(job: Job) -> list[str]:
    """A line if boxes or masks are predicted in large pictures with weights from small ones."""
    report, task = job.task.backbone.weight_report, job.task
    shown = task.preprocess.size
    if report is None or not report.side or not task.kind.placed or shown < 3 * report.side:
        return []
    return [
        f"{report.source} was trained on pictures of {report.side} px, and this run shows {shown} "
        "px: for a detector of blood cells such weights were worse than random ones; pretrain "
        "with a larger data.size, or --weights none"
    ]


def _decided(job: Job) -> list[str]:
    """Backbone options that an option of the task overrides, a line each."""
    recipe, task = job.recipe, job.task
    if ":" in recipe.backbone:  # options of other libraries' nets are their own
        return []
    return [
        f"backbone.{key}={recipe.backbone_options[key]} has no effect: {recipe.task} uses "
        f"task.{own}={getattr(task.options, own)}"
        for key, own in task.decides.items()
        if key in recipe.backbone_options
    ]


def _too_long(job: Job) -> list[str]:
    """Settings that do not fit into a run of this length, a line each."""
    optim, schedule, lines = job.recipe.optim, job.recipe.schedule, list[str]()
    length = f"the run has {job.steps / job.pass_steps:.4g} epochs"
    if job.thaw_step < round(optim.freeze_epochs * job.pass_steps) and optim.freeze != "all":
        lines.append(
            f"optim.freeze_epochs={optim.freeze_epochs:g}: {length}, so the backbone thaws after "
            "half of them; --freeze all trains only the head"
        )
    has_warmup = schedule.name != "onecycle"
    if has_warmup and job.schedule.warmup < round(schedule.warmup * job.pass_steps):
        lines.append(
            f"schedule.warmup={schedule.warmup:g}: {length}, so the warm-up is shortened to half "
            "of them"
        )
    count = math.ceil(job.steps / job.eval_steps)
    waits = {"stop_after": schedule.stop_after}
    if schedule.name == "plateau":
        waits["patience"] = schedule.patience
    for key, evaluations in waits.items():
        if evaluations >= count:
            lines.append(
                f"schedule.{key}={evaluations} has no effect: the run is scored {count} "
                f"time{'' if count == 1 else 's'}, every {job.recipe.eval.every:g} epochs and at "
                "the end; a smaller eval.every scores it more often"
            )
    return lines


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
