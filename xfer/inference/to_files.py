"""`xfer predict`: pictures in files, predicted a group at a time and written, printed or drawn as
they come, so that memory does not grow with their number.

Under torchrun the processes share the groups, and the first one writes. With `part` only some of
the pictures are predicted, into a file of their own, and no process waits for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.device import Place, gather, placed, usable_precision
from xfer.errors import XferError
from xfer.exit_codes import apart
from xfer.files import replacing
from xfer.inference.batches import Given, Group, in_groups
from xfer.inference.model import Looked, Model, gather_samples, load
from xfer.inference.predictions import Predictions, Stems
from xfer.inference.written import ENDINGS, Writer, writer
from xfer.parts.folder import PartsFolder
from xfer.parts.part import parse_part
from xfer.runs.folder import Run
from xfer.runs.shared import check_same_run, run_digest

TABLE = "table"
_LISTED = 50  # paths that parts.json lists; of more, a checksum


@dataclass(frozen=True)
class Output:
    """What to do with predictions.

    format    | table, json, csv or coco
    out       | the file, or with `part` the folder; None: `write` gets the text
    draw      | folder for drawings; explain: for heat maps
    min_score | leave out boxes of a lower score; None: none
    """

    format: str = TABLE
    out: Path | None = None
    draw: Path | None = None
    explain: Path | None = None
    min_score: float | None = None
    write: Callable[[str], Any] | None = None

    def check(self, part: str) -> None:
        """Raises XferError for outputs that don't go together."""
        if self.format == TABLE and (self.out is not None or part):
            raise XferError(
                "a table is for reading: --out and --part write files",
                "--format csv, json or coco",
            )
        if part and self.out is None:
            raise XferError("--part writes into a folder, which is not given", "--out DIR")
        if part and self.out is not None and self.out.suffix in ENDINGS.values():
            raise XferError(f"{self.out}: with --part, each part is a file of its own",
                            "--out FOLDER")  # fmt: skip
        if self.out is not None and not part and self.out.is_dir():
            raise XferError(f"{self.out} is a folder", "--out FILE")


@dataclass
class Done:
    """What came of it.

    read | pictures that were predicted; skipped | (name, reason) of the others
    table | rows to print; notes | lines; unexplained | (id, reason)
    path | the file; finished | it was there already
    """

    read: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    table: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])
    unexplained: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    path: Path | None = None
    finished: bool = False

    def document(self) -> dict[str, Any]:
        """{"file", "images", "left_out", "finished"}, which `--json` prints."""
        return {
            "file": None if self.path is None else str(self.path),
            "images": self.read,
            "left_out": [list(one) for one in self.skipped],
            "finished": self.finished,
        }


@plugs.face()
def predict_files(
    run: Path | str,
    paths: Sequence[str],
    output: Output,
    *,
    part: str = "",
    tta: str = "",
    device: str = "auto",
    batch: int = 32,
    calibrated: bool = False,
    trust: str | Sequence[str] = (),
) -> Done:
    """Predicts the pictures of these files and folders; those that can't be read are listed.

    Args:
        run: the run folder, whose best weights predict.
        part: "1/3" or "auto", see `xfer.parts.part`.
        tta, batch, calibrated: as in `Model.predict`; trust: modules that the run may import.

    Raises: XferError for what does not go together, and for a folder with parts of something else;
        DataError for a run or pictures that are not there.
    """
    output.check(part)
    folder_of_run = Run.open(Path(run))
    with ExitStack() as held:
        folder = None
        if part:
            number = parse_part(part)
            if part.startswith("auto"):
                held.enter_context(apart())
            asked = {
                "run": str(run), "paths": _named(paths), "format": output.format, "tta": tta,
                "batch": batch, "calibrated": calibrated, "min_score": output.min_score,
            }  # fmt: skip
            assert output.out is not None
            ending = ENDINGS.get(output.format, "")
            folder = PartsFolder(output.out, number, ending, "predict", asked)
            if folder.finished():
                return Done(path=folder.file, finished=True)
        recipe = folder_of_run.recipe()
        precision = usable_precision(recipe.run.precision, device)
        place = held.enter_context(placed(device, precision))
        check_same_run(folder_of_run, place)
        model = load(run, place=place)
        model.check(tta, calibrated)
        looked = Looked(True)
        samples = list(gather_samples(list(paths), looked))
        rows = range(len(samples))
        if folder is not None:
            rows = folder.part.rows([len(samples)], batch)[0]
            folder.begin({
                "run": run_digest(folder_of_run), "pictures": len(samples),
                "names": _digest(str(one) for one in samples),
                "device": place.device.type, "precision": place.precision,
            })  # fmt: skip
            output = replace(output, out=folder.file)
        groups = list(in_groups(samples, rows, batch))
        names = _names(model, samples, rows)
        done = Done(path=output.out)
        with _written(output, place) as to:
            shares = shared(model, groups, place, looked, tta, calibrated)
            for given, group in zip(groups, shares, strict=True):
                own = [next(names) for _ in given]
                done.read += len(group.items)
                if place.main:
                    _put(model, group, output, to, _of_read(given, own, group), done)
        done.notes[:0] = [f"warning: {finding.text}" for finding in looked.findings()]
        done.skipped = looked.skipped
        return done


def shared(
    model: Model, groups: Sequence[Sequence[Given]], place: Place, looked: Looked, tta: str,
    calibrated: bool,
) -> Iterator[Group]:  # fmt: skip
    """The predictions of these groups in order, on every process; each does every so manyth group.

    `looked` gets what all processes have seen, except the pictures that were read: those of a
    million would be kept.
    """
    own_seen = Looked(looked.skip_bad)
    own = (groups[i] for i in range(place.rank, len(groups), place.world))
    coming = model.groups(own, own_seen, tta=tta, calibrated=calibrated)
    for _ in range(-(-len(groups) // place.world)):
        for group in gather(next(coming, None), place):
            if group is not None:
                looked.add(replace(group, read=[]))
                yield group
        own_seen.read.clear()
    looked.lines += dict.fromkeys(line for some in gather(own_seen.lines, place) for line in some)


def _names(model: Model, samples: Sequence[Given], rows: range) -> Iterator[str]:
    """The names of the drawings of these rows; other parts draw into the same folder."""
    stems = Stems(model.task.kind.files)
    for number, one in enumerate(samples[: rows.stop]):
        name = stems.name(one.id if not isinstance(one, Path) else str(one))
        if number >= rows.start:
            yield name


def _of_read(given: Sequence[Given], names: Sequence[str], group: Group) -> tuple[str, ...]:
    """The names of those pictures of a group that were read."""
    read = iter([str(one) for one in group.read])
    following = next(read, None)
    kept: list[str] = []
    for one, name in zip(given, names, strict=True):
        if str(one) == following:
            kept.append(name)
            following = next(read, None)
    return tuple(kept)


def _put(
    model: Model, group: Group, output: Output, to: Writer | None, names: tuple[str, ...],
    done: Done,
) -> None:  # fmt: skip
    """Writes, draws and explains the predictions of a group."""
    predictions = Predictions(
        model.task, tuple(group.items), tuple(group.read), model.category_ids, names=names
    )
    if output.min_score is not None:
        predictions = predictions.at_least(output.min_score)
    if output.draw is not None:
        predictions.draw(output.draw, output.min_score)
    if output.explain is not None:
        _, unexplained = predictions.explain(output.explain)
        done.unexplained += unexplained
    if to is not None and len(predictions):
        to.add(predictions)
    elif to is None:
        done.table += predictions.to_table(output.min_score)


@contextmanager
def _written(output: Output, place: Place) -> Iterator[Writer | None]:
    """Context of the writer on the first process, whose file is whole once it is left; None for a
    table, and elsewhere."""
    if not place.main or output.format == TABLE:
        yield None
    elif output.out is None:
        assert output.write is not None
        to = _Lazy(output.format, output.write)
        yield to
        to.end()
    else:
        with (
            replacing(output.out) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            to = writer(output.format, file.write)
            yield to
            to.end()


class _Lazy:
    """A writer that starts at the first prediction: without predictions nothing is printed."""

    def __init__(self, format: str, write: Callable[[str], Any]) -> None:
        self._to = writer(format, write)
        self._begun = False

    def add(self, predictions: Predictions) -> None:
        self._begun = True
        self._to.add(predictions)

    def end(self) -> None:
        if self._begun:
            self._to.end()


def _named(paths: Sequence[str]) -> Any:
    """Paths as parts.json keeps them."""
    return list(paths) if len(paths) <= _LISTED else _digest(paths)


def _digest(names: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
