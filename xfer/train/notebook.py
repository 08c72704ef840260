"""What is shown of a training in a notebook: one display, updated in place."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console

from xfer.notebook import course
from xfer.notebook.kernel import Display, in_notebook
from xfer.notebook.run_card import progress_card, remarks
from xfer.report.markup import Markup, el
from xfer.train.progress import Progress

if TYPE_CHECKING:
    from xfer.data.sources.base import Bundle
    from xfer.device import Place
    from xfer.recipe.tables import Recipe
    from xfer.runs.folder import Run
    from xfer.train.job import Job
    from xfer.train.summary import Summary

# seconds between two updates of the display within an epoch
EVERY = 0.5


def progress(verbosity: int) -> Progress:
    """What shows a training here: a live display in a notebook, else a bar or lines."""
    return NotebookProgress(verbosity) if verbosity >= 0 and in_notebook() else Progress(verbosity)


class NotebookProgress(Progress):
    """Shows a run's progress as a card: state, time left, curves, a table of evaluations, and what
    was noted and warned of. At the end the card of the finished run takes its place."""

    def __init__(self, verbosity: int = 0) -> None:
        super().__init__(verbosity)
        # what would be printed goes to the card
        self.console = Console(file=_Lines(self._take), force_jupyter=False, force_terminal=False,
                               highlight=False, soft_wrap=True, width=120)  # fmt: skip
        self.live = False
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._display = Display()
        self._head, self._state = "Training", "looking at the data"
        self._train: list[dict[str, Any]] = []
        self._evals: list[dict[str, Any]] = []
        self._primary, self._best = "", None
        self._share = 0.0
        self._drawn = 0.0

    def _take(self, text: str) -> None:
        (self.warnings if "warning: " in text else self.notes).append(text.rstrip("\n"))

    def start(self, recipe: Recipe, bundle: Bundle, place: Place) -> None:
        self._head = f"Training {recipe.task} · {recipe.backbone} · {bundle.name}"
        super().start(recipe, bundle, place)
        self._draw("preparing", at_once=True)

    def model(self, job: Job) -> None:
        super().model(job)
        self._draw("preparing", at_once=True)

    def resumed(self, job: Job, run: Run) -> None:
        super().resumed(job, run)
        if job.step:
            events = run.events()
            self._train = [e for e in events if e.get("event") == "train"]
            self._evals = [e for e in events if e.get("event") == "eval"]
            self._best = job.best.get("step")

    @contextlib.contextmanager
    def training(self, job: Job) -> Iterator[None]:
        """While training; an end before the last step stays in the display, with what to do."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            word = "interrupted" if stopped else "stopped"
            parts: list[Any] = [el("span", f"{word} at {_place(job)}", class_="strong")]
            path = getattr(error, "path", None)
            if stopped and path is not None:
                call = f'run = xfer.finetune(resume="{path}")'
                parts += ["; the state is saved. To go on: ", el("code", call)]
            elif not stopped:
                parts.append(f": {str(error).splitlines()[0] if str(error) else word}")
            self._draw(el("span", *parts), at_once=True)
            raise
        self._draw("finished training; scoring", at_once=True)

    def step(self, job: Job, event: dict[str, Any]) -> None:
        self._recent.append(event["loss"])
        self._check_chance(job)
        self._train.append(event)
        self._share = job.step / job.steps
        self._draw(
            f"{_place(job)} · {self._left(job)} · {event['images_per_second']:.0f} pictures "
            f"per second · loss {event['loss']:.4f}{self._best_words()}"
        )

    def tick(self, what: str) -> Callable[[int], None] | None:
        return lambda done: self._draw(f"scoring {what}: {done:,} pictures{self._best_words()}")

    def evaluated(
        self, job: Job, primary: str, metrics: dict[str, Any], better: bool, loss: float
    ) -> None:
        self._primary = primary
        flat = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        epoch = job.step / job.epoch_steps
        self._evals.append({"step": job.step, "epoch": epoch, "metrics": flat})
        if better:
            self._best = job.step
        self._draw(f"{_place(job)}{self._best_words()}", at_once=True)

    def finished(self, run: Summary) -> None:
        self._display.show(run.card(*remarks(self.warnings, self.notes)), repr(run))

    def _best_words(self) -> str:
        event = next((e for e in self._evals if e.get("step") == self._best), None)
        value = None if event is None else event["metrics"].get(self._primary)
        if event is None or value is None:
            return ""
        return f" · best {self._primary} {value:.4f} (epoch {course.at(event):.4g})"

    def _draw(self, state: str | Markup, at_once: bool = False) -> None:
        self._state = state
        now = time.monotonic()
        if not at_once and now - self._drawn < EVERY:
            return
        self._drawn = now
        html = progress_card(
            self._head, state, self._share,
            course.curves(self._train, self._evals, self._primary or "score"),
            course.epochs(self._train, self._evals, self._primary, self._best),
            self.warnings, self.notes,
        )  # fmt: skip
        self._display.show(html, f"{self._head}: {_plain(state)}")


def _place(job: Job) -> str:
    epochs = job.steps / job.epoch_steps
    return f"epoch {job.step / job.epoch_steps:.1f} of {epochs:g}"


def _plain(state: str | Markup) -> str:
    return "stopped" if isinstance(state, Markup) else state


class _Lines(io.StringIO):
    """A file that hands on what is written, a print at a time."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self._take = take

    def write(self, text: str, /) -> int:
        if text.strip():
            self._take(text)
        return len(text)
