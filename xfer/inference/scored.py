"""The pictures that a run is scored on: those of its own split.json, or others.

A run's val is the val that its best step was chosen by, whatever has happened to the data since.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds, plugs
from xfer import task as tasks
from xfer.data.open import open_data
from xfer.data.readers.base import FORMATS
from xfer.data.sources.base import Bundle, Drift
from xfer.data.sources.boxes_as_labels import presence
from xfer.data.sources.from_python import SCHEME
from xfer.data.sources.kept import Kept
from xfer.data.sources.marks import UNKNOWN, marks, truths
from xfer.data.spec import NOT_THERE
from xfer.data.streams.shards import is_stream
from xfer.errors import DataError, XferError
from xfer.files import at_home
from xfer.inference.trained_on import Seen, TrainedOn
from xfer.kinds.findings import counted, named
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import Recipe
from xfer.runs.folder import Run
from xfer.task import Task
from xfer.types import Source

ORDER = ("val", "test", "train")
MAYBE = "warning: {}, so that some of these pictures may have been trained on"


@dataclass(frozen=True)
class Scored:
    """What a run is scored on.

    bundle  | the data; role | the split that is scored
    notes   | lines for people: what has changed since the run was trained, what was trained on
    changes | pictures that are gone, new, moved, changed, relabelled: how many, if any
    trained_on | how many of the scored pictures were trained on; None if that can't be told
    """

    bundle: Bundle
    role: str
    notes: tuple[str, ...] = ()
    changes: Mapping[str, int] = field(default_factory=dict[str, int])
    trained_on: int | None = 0

    @property
    def source(self) -> Source:
        return self.bundle.splits[self.role]

    def document(self) -> dict[str, Any]:
        """What a report of scores says about the pictures."""
        return {
            "data": self.bundle.name, "split": self.role, "images": len(self.source),
            "trained_on": self.trained_on, "changes": dict(self.changes),
            "skipped": [list(item) for item in self.bundle.skipped], "notes": list(self.notes),
        }  # fmt: skip


def open_scored(
    folder: Run, task: Task, data: Any = "", split: str = "",
    data_keys: Mapping[str, Any] | None = None, skip_bad: bool = False, verify: bool = True,
) -> Scored:  # fmt: skip
    """What to score a run on.

    Args:
        data: other data with the run's classes; empty: the run's own.
        split: val, test or train; empty: the first of these that there is. A split that other data
            do not have is that of the run, found again in them: the run's data may have moved.
        data_keys: how other data are read: images, ignore, path, label, split of `open_data`.
        skip_bad: look at every picture, and leave out those that can't be decoded.
        verify: compare the checksums of packs and kept indexes, unless the run did not.

    Raises: DataError for data that are gone or don't fit, and if there is no such split.
    """
    if skip_bad:
        data_keys = {**(data_keys or {}), "skip_bad": True, "thorough": True}
    if not verify:
        data_keys = {**(data_keys or {}), "verify": False}
    own = _own_of(folder, task, skip_bad, verify)
    with plugs.reading(folder.path / "recipe.toml"):
        if isinstance(data, str) and not data:
            try:
                return own.scored(split)
            except DataError as error:
                if NOT_THERE not in error.message:
                    raise
                again = f"--data PLACE --split {split or _first(own.splits)}"
                raise DataError(error.message, f"if the data have moved: {again}") from None
        same = own.in_memory(data, split)
        if same is not None:
            return same
        bundle = open_other(data, task, data_keys)
        if split and split not in bundle.splits and isinstance(own.splits.get(split), list):
            options = {**(data_keys or {}), "kept": own.kept(split), "find": False}
            return own.told(open_other(data, task, options), split)
        return _other(bundle, task, split, own)


def training_warnings(folder: Run, task: Task, source: Source) -> list[str]:
    """Lines that count the pictures of a source that a run was trained on, if any."""
    return _warnings(_own_of(folder, task).trained.among_others(source))


def _own_of(folder: Run, task: Task, skip_bad: bool = False, verify: bool = True) -> _Own:
    has_environment = (folder.path / "env.json").is_file()
    environment = folder.read_json("env.json") if has_environment else {}
    recipe = _read_as_then(folder.recipe(), environment)
    if skip_bad:
        recipe = replace(recipe, data=replace(recipe.data, skip_bad=True))
    if not verify:
        recipe = replace(recipe, data=replace(recipe.data, verify=False))
    if recipe.task == "probe":  # a probe reads data like the task that trains on that kind
        recipe = replace(recipe, task=tasks.for_kind(getattr(task, "data_kind", task.info.kind)))
    splits = folder.read_json("split.json") if (folder.path / "split.json").is_file() else {}
    return _Own(folder, recipe, splits, task, environment)


def _read_as_then(recipe: Recipe, environment: Mapping[str, Any]) -> Recipe:
    """The recipe with its data's path read in the format that the run found: files that were put
    there since may look like another one."""
    source = recipe.data.source
    name = str(environment.get("data_format", ""))
    if not name:  # an older run: its first note says it
        notes = [str(note) for note in environment.get("data_notes", ())]
        found = next((m for note in notes if (m := re.search(r": read as (\w+) \(", note))), None)
        name = found[1] if found else ""
    if name not in FORMATS.names() or not at_home(source).exists():
        return recipe
    return replace(recipe, data=replace(recipe.data, source=f"{name}:{source}"))


class _Own:
    """A run's own data.

    Args:
        recipe: the run's, for a task; splits: its split.json, {} if there is none.
        environment: its env.json, {} if there is none.
    """

    def __init__(
        self, folder: Run, recipe: Recipe, splits: Mapping[str, Any], task: Task,
        environment: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.recipe, self.splits, self.task = recipe, splits, task
        self.environment = environment
        self.trained = TrainedOn(folder, recipe, splits, task.info.classes)

    def scored(self, split: str) -> Scored:
        """The pictures that split.json lists for a split; as far as it lists any, those of the
        same split drawn again."""
        role = split or _first(self.splits)
        if is_stream(self.recipe.data.source):
            raise DataError(
                f"{self.recipe.data.source}: a stream, whose pictures can't be found again",
                "--data SPEC scores the run on other pictures",
            )
        if isinstance(self.splits.get(role), list):
            bundle = open_recipe_data(
                self.recipe, kept=self.kept(role), classes=self.task.info.classes, cut=False,
                find=False,
            )  # fmt: skip
            return self.told(bundle, role, own=True)
        if self.splits and role not in self.splits:
            return self._added(role)
        bundle = open_recipe_data(self.recipe, find=False)
        role = split or _first(bundle.splits)
        _check_split(bundle, role)
        source, about = bundle.splits[role], self.splits.get(role)
        same = about["fingerprint"] == source.fingerprint() if about else self._unchanged(bundle)
        lines = [] if same else [MAYBE.format("the data have changed since the run was trained")]
        return self._finished(bundle, role, lines)

    def in_memory(self, data: Any, split: str) -> Scored | None:
        """The run's own split of data in memory, if they are those that it was trained on."""
        if isinstance(data, str) or not self.recipe.data.source.startswith(f"{SCHEME}:"):
            return None
        with contextlib.suppress(XferError):
            bundle = open_recipe_data(self.recipe, data, find=False)
            if self._unchanged(bundle):
                role = split or _first(bundle.splits)
                _check_split(bundle, role)
                return self._finished(bundle, role)
        return None

    def kept(self, role: str) -> Kept:
        """A split of split.json, to be found again. Raises DataError if it names a picture twice,
        which would count twice."""
        again = next((n for n, count in Counter(self.splits[role]).items() if count > 1), None)
        if again is not None:
            file = self.trained.folder.path / "split.json"
            raise DataError(f"{file}: damaged ({role} names {again!r} twice)")
        lists = [ids for ids in self.splits.values() if isinstance(ids, list)]
        limit = self.recipe.data.limit
        return Kept(
            self.splits, role,
            ignored=frozenset(name for name, _ in self.environment.get("skipped", ())),
            whole=not limit or all(len(ids) < limit for ids in lists), marks=self.trained.marks,
        )  # fmt: skip

    def has_val_among(self, source: Source) -> bool:
        """Whether the run's val pictures can be found again among these."""
        val = self.splits.get("val")
        listed = isinstance(val, list) and not set(val).isdisjoint(source.ids)
        return listed or "val" in self.trained.marks

    def told(self, bundle: Bundle, role: str, own: bool = False) -> Scored:
        """The pictures of split.json that were found again, and what has changed; `own`: where the
        run's own data are."""
        drift, source = bundle.drift or Drift(), bundle.splits[role]
        changes = {"gone": drift.gone, "elsewhere": drift.elsewhere, "new": drift.new or ()}
        changes["moved"] = tuple(f"{old} is {now}" for old, now in drift.moved)
        numbers = None
        if role in self.trained.marks:
            numbers = marks(source)
            changes["changed"] = self._unlike(role, source, drift, self.trained.marks, numbers)
            changes["relabelled"] = self._unlike(
                role, source, drift, self.trained.truths, truths(source)
            )
        lines = [f"{_TOLD[key](len(names), role)}: {named(names)}"
                 for key, names in changes.items() if names]  # fmt: skip
        blind = numbers is None or drift.new is None or not (numbers != UNKNOWN).any()
        if own and blind and not lines and self._differ():
            lines = ["the data are not as this run recorded them: files, their dates or their "
                     "labels differ, or an older xfer read them in another way"]  # fmt: skip
        counts = {key: len(names) for key, names in changes.items() if names}
        return self._finished(bundle, role, lines, counts, numbers)

    def _unlike(
        self, role: str, source: Source, drift: Drift, known: Mapping[str, NDArray[np.uint64]],
        numbers: NDArray[np.uint64],
    ) -> tuple[str, ...]:  # fmt: skip
        """The pictures with another number than the run recorded."""
        before = {now: old for old, now in drift.moved}
        then = dict(zip(self.splits[role], known.get(role, np.zeros(0)).tolist(), strict=False))
        pairs = zip(source.ids, numbers.tolist(), strict=True)
        olds = ((name, then.get(before.get(name, name), UNKNOWN), now) for name, now in pairs)
        return tuple(name for name, old, now in olds if UNKNOWN not in (old, now) and old != now)

    def _added(self, role: str) -> Scored:
        """A split that the data did not have when the run was trained."""
        options = {"classes": self.task.info.classes, "cut": False, "find": False, "limit": 0}
        bundle = open_recipe_data(self.recipe, **options)
        if role not in bundle.splits:
            raise _no_split(bundle.name, role, self.splits)
        return self._finished(bundle, role)

    def _unchanged(self, bundle: Bundle) -> bool:
        return self.environment.get("data_fingerprint") == bundle.fingerprint()

    def _differ(self) -> bool:
        """Whether the data, opened as for training, have another fingerprint."""
        if "data_fingerprint" not in self.environment:
            return False
        with contextlib.suppress(XferError):
            again = open_recipe_data(self.recipe, find=False, check=self.recipe.data.skip_bad)
            return not self._unchanged(again)
        return True

    def _finished(
        self, bundle: Bundle, role: str, lines: Sequence[str] = (),
        changes: Mapping[str, int] | None = None, numbers: NDArray[np.uint64] | None = None,
    ) -> Scored:  # fmt: skip
        source = bundle.splits[role]
        if role == "train" and role in self.splits:
            seen = Seen(np.ones(len(source), bool), np.zeros(len(source), bool))
        else:
            seen = self.trained.among_own(source, numbers)
        odd = [note for note in bundle.notes if note.startswith("warning: ")]
        notes = (*odd, *lines, *_warnings(seen))
        return Scored(_fitting(bundle, self.task), role, notes, changes or {}, _count(seen))


# what happened to pictures -> a line about n of them, before their names
_TOLD: dict[str, Callable[[int, str], str]] = {
    "gone": lambda n, role: counted(
        n, f"picture of {role} is gone", f"pictures of {role} are gone"
    ),
    "elsewhere": lambda n, role: counted(
        n, f"picture of {role} is in another split of the data now, and is not scored",
        f"pictures of {role} are in another split of the data now, and are not scored",
    ),
    "new": lambda n, role: counted(n, "new picture is not scored", "new pictures are not scored"),
    "moved": lambda n, role: counted(
        n, f"picture of {role} has another name now", f"pictures of {role} have other names now"
    ),
    "changed": lambda n, role: counted(
        n, f"picture of {role} has changed since the run was trained",
        f"pictures of {role} have changed since the run was trained",
    ),
    "relabelled": lambda n, role: counted(
        n, f"picture of {role} has other labels than when the run was trained",
        f"pictures of {role} have other labels than when the run was trained",
    ),
}  # fmt: skip


def _other(bundle: Bundle, task: Task, split: str, own: _Own) -> Scored:
    """Other data, as they were opened."""
    role = split or _first(bundle.splits)
    _check_split(bundle, role)
    seen = own.trained.among_others(bundle.splits[role])
    lines = _warnings(seen)
    if not seen.told:
        lines.append("whether the run was trained on any of these pictures can't be told: its own "
                     "data are not there any more")  # fmt: skip
    elif lines and role == "train" and own.has_val_among(bundle.splits[role]):
        flag = "without --data" if _same_place(bundle.name, own.recipe) else "with --split val"
        lines[0] += f"; {flag} the val split of the run is scored"
    return Scored(_fitting(bundle, task), role, (*bundle.notes, *lines), {}, _count(seen))


def open_other(data: Any, task: Task, data_keys: Mapping[str, Any] | None = None) -> Bundle:
    """Other pictures for a trained model; their classes, by name, must be the model's."""
    # a probe trained on the classes of boxes is scored on boxes
    own = task.kinds_for(task.options)
    wanted = dict.fromkeys((*own, getattr(task, "data_kind", own[0])))
    bundle = open_data(
        data, classes=task.info.classes, cut=False, kind=tuple(wanted), **data_keys or {}
    )
    if bundle.kind not in wanted:
        needed = " or ".join(kinds.words(kind) for kind in own)
        content = kinds.get(bundle.kind).holds
        raise DataError(f"{bundle.name} holds {content}; the run needs {needed}")
    return bundle


def _same_place(name: str, recipe: Recipe) -> bool:
    """Whether a spec names the run's own data."""
    own = recipe.data.source
    return bool({own, own.partition(":")[2]} & {name, str(Path(name).absolute())})


def _first(splits: Mapping[str, Any]) -> str:
    return next((role for role in ORDER if role in splits), "val")


def _check_split(bundle: Bundle, role: str) -> None:
    if role not in bundle.splits:
        raise _no_split(bundle.name, role, bundle.splits)


def _no_split(name: str, role: str, splits: Mapping[str, Any]) -> DataError:
    return DataError(f"{name}: no {role!r} split", f"it has {', '.join(splits)}")


def _fitting(bundle: Bundle, task: Task) -> Bundle:
    """The bundle as the task's kind of data: boxes also say which classes a picture shows."""
    if bundle.kind != task.info.kind and task.info.kind in kinds.get(bundle.kind).also:
        return presence(bundle)
    return bundle


def _warnings(seen: Seen) -> list[str]:
    """Lines that count the pictures that were trained on."""
    lines: list[str] = []
    for found, one, many in (
        (seen.same, "was trained on", "were trained on"),
        (seen.named, "has the name of a picture that was trained on",
         "have the names of pictures that were trained on"),
    ):  # fmt: skip
        count, total = int(found.sum()), len(found)
        if count:
            of = f"all {total:,} pictures" if count == total > 1 else (
                f"{count:,} of the {total:,} pictures" if total > 1 else "the picture"
            )  # fmt: skip
            lines.append(f"warning: {of} {one if count == 1 else many}")
    return lines


def _count(seen: Seen) -> int | None:
    count = int((seen.same | seen.named).sum())
    return count if seen.told or count else None
