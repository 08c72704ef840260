"""report.html: one page that tells what a run did, how good it is, and where it is wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.device import placed, usable_precision
from xfer.errors import XferError
from xfer.files import write_text
from xfer.metrics.example import Example
from xfer.report import galleries, made_of, matrix, measured
from xfer.report.course import course
from xfer.report.explained import explanations
from xfer.report.facts import Facts, Live
from xfer.report.frame import Section, links_of, page
from xfer.report.markup import Markup, el
from xfer.report.probed import chosen, shots
from xfer.report.story import first_screen
from xfer.report.thumbnails import Pictures
from xfer.runs.folder import Run

NAME = "report.html"


@plugs.face()
def write_report(
    run: Path | str,
    out: Path | str | None = None,
    *,
    device: str = "auto",
    trust: str | Sequence[str] = (),
) -> Path:
    """Writes the page of a run, and returns its path; RUN/report.html by default.

    The run's best weights are loaded, and its val split (else test) is predicted again for the
    pictures. Where the model or the data are gone, the page has what the run's files tell.

    Raises: XferError for a folder that is no run, or modules that are not trusted; DataError for
        damaged files.
    """
    folder = Path(run)
    live = open_live(folder, device)
    return write_page(Facts.of(folder, live), Path(out) if out is not None else folder / NAME)


def write_page(facts: Facts, out: Path) -> Path:
    """Writes the page of a run whose facts are known."""
    write_text(out, build(facts))
    return out


def build(facts: Facts) -> str:
    """The page of a run as HTML."""
    live = facts.live
    examples = galleries.examples_of(facts)
    pictures = _pictures(facts)
    graded = facts.kind is not None and facts.kind.graded
    wrong = right = None
    if pictures is not None and not examples:
        pictures.graded = graded = True
        right = galleries.with_rows(facts, pictures)
    elif pictures is not None:
        wrong = galleries.errors(facts, examples, pictures)
        right = galleries.right(facts, examples, pictures)
    elif examples or facts.finished:
        wrong = _without_pictures(facts, examples)
    counts = matrix.matrix_of(facts)
    kept = None if counts is None else set(matrix.most_confused(counts))
    cells = galleries.cells(examples, pictures, kept)
    sections = [
        Section("Worst pictures" if graded else "Worst errors", wrong),
        Section("Confusion", matrix.confusion(facts, cells)),
        Section("Classes", measured.class_table(facts)),
        Section("Kinds of error", measured.error_kinds(facts)),
        Section("Curves", course(facts)),
        Section("More pictures" if graded else "Pictures that are right", right),
        Section("Precision and recall", measured.precision_recall(facts)),
        Section("Calibration", measured.calibration(facts)),
        Section(
            "What it looks at",
            guarded(lambda: explanations(facts, examples, pictures), facts),
        ),
        Section("What the net is shown", guarded(lambda: galleries.training(facts), facts)),
        Section("Few pictures per class", shots(facts)),
        Section("Choice of the classifier", chosen(facts)),
        Section("All scores", measured.all_scores(facts)),
        Section("Speed", made_of.speed(facts)),
        Section("Recipe", made_of.recipe(facts)),
        Section("Data", made_of.data(facts)),
        Section("Environment", made_of.machine(facts)),
    ]
    top = first_screen(facts, examples, links_of(sections))
    version = (facts.env.get("versions") or {}).get("xfer", "")
    late = " Some pictures were left out so that the run ends soon: `xfer report RUN` makes the " \
        "page with all of them." if live.late else ""  # fmt: skip
    foot = f"xfer {version}; {facts.path}; {time.strftime('%Y-%m-%d %H:%M')}.{late}"
    return page(f"{facts.name}: {facts.recipe['task']}", top, sections, foot)


def guarded(make: Any, facts: Facts) -> Markup | None:
    """A section that runs a task's own code; a note where that fails."""
    try:
        return make()
    except Exception as error:
        return el("p", f"This part could not be drawn: {type(error).__name__}: {error}",
                  class_="note")  # fmt: skip


def _pictures(facts: Facts) -> Pictures | None:
    live = facts.live
    if live.source is None or facts.kind is None or live.metric is None:
        return None
    return Pictures(live.source, facts.kind, facts.classes or live.source.info.classes)


def _without_pictures(facts: Facts, examples: Sequence[Example]) -> Markup | None:
    """The names of the worst errors, where the pictures are not there."""
    wrong = sorted((e for e in examples if not e.good), key=lambda e: -e.loss)[:40]
    if not wrong:
        return None
    return el("ul", *(el("li", f"{e.id}: {'; '.join(e.lines)}") for e in wrong))


def open_live(folder: Path, device: str = "auto") -> Live:
    """The model of a run, scored on its own pictures; what fails is told in the notes."""
    from xfer.inference.evaluate import eval_loader
    from xfer.inference.model import load
    from xfer.inference.score import score
    from xfer.inference.scored import open_scored

    run = Run.open(folder)
    recipe = run.recipe()
    try:
        with placed(device, usable_precision(recipe.run.precision, device)) as place:
            model = load(folder, place=place)
            task = model.task
            notes: list[str] = []
            train = None
            with noted("its training pictures can't be shown", notes):
                train = _training(run, task)
            with noted("its pictures can't be shown", notes):
                split = "val" if (folder / "split.json").is_file() else ""
                known = run.read_json("split.json") if split else {}
                split = next((s for s in ("val", "test") if s in known), "")
                if not split:
                    return Live(train=train, task=task, notes=tuple(notes))
                scored = open_scored(run, task, split=split)
                notes += scored.notes
                tta = recipe.eval.tta if recipe.eval.tta in task.views else "none"
                loader = eval_loader(recipe, task, scored.source, place, tta)
                metric = score(task, loader, place, tta)
                return Live(scored.role, metric, scored.source, train, task, notes=tuple(notes))
            return Live(train=train, task=task, notes=tuple(notes))
    except XferError as error:
        if type(error) is XferError and "trust" in f"{error.message} {error.hint}":
            raise
        return Live(notes=(f"warning: the model can't be loaded: {error.message}",))


@contextlib.contextmanager
def noted(words: str, notes: list[str]) -> Iterator[None]:
    """An error of the data becomes a line."""
    try:
        yield
    except XferError as error:
        notes.append(f"warning: {words}: {error.message}")


def _training(run: Run, task: Any) -> Any:
    from xfer.inference.scored import open_scored

    source = open_scored(run, task, split="train").source
    task.prepare(source)
    return source
