"""Which changes of the training pictures help? Short runs with one left out or put in.

Mirroring is also tested without training: where a classifier on frozen features is worse on
mirrored pictures, a mirror image may be of another class (b and d, a left and a right hand).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.ask.answer import Answer, beats, confidence, rows_of, stands
from xfer.ask.features import features_of, fitted, is_labelled, last_map
from xfer.ask.question import MINUTES, Question, asking, labelled
from xfer.data.sources.base import read
from xfer.drawing.mosaic import Tile, mosaic
from xfer.metrics.paired import compare
from xfer.metrics.resampled import Ratios
from xfer.probing.data import split_parts
from xfer.recipe.tables import Recipe, override
from xfer.trials.grid import plain
from xfer.types import DataInfo, Sample, Source

PICTURE = "augmentations.png"
SHOWN = 3  # pictures of each change: two changes in a row of the sheet


@plugs.face("data", "task", "settings")
def augment(
    data: Any = "", *, budget: Any = MINUTES, task: str = "", recipe: str = "", out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """Which changes of the training pictures help on these data, and whether mirroring harms.

    Args: as `xfer.ask.lr`.
    Returns: the `Answer`; "evidence" has "short_runs", and "mirrored" {"as_they_are", "mirrored",
        "p", "confused"} of a classifier on frozen features; augmentations.png in its folder shows
        what each change does.
    Raises: as `xfer.ask.lr`.
    """
    with asking(
        "augment", data, settings, task=task, recipe=recipe, budget=budget, out=out, say=say
    ) as q:
        return _answer(q)


def _answer(q: Question) -> Answer:
    mirrored = _mirrored(q)
    tried = changes(q.plain, "train" in q.bench.data(q.plain).splits)
    _show(q, tried)
    found = q.short_runs([{}, *tried])
    winner = beats(found)
    evidence = {"mirrored": mirrored, "short_runs": rows_of(found), "picture": PICTURE}
    harm = ""
    if mirrored and mirrored["harms"] and q.base.data.flip and q.base.data.augment != "none":
        harm = (f"; mirroring changes classes: a classifier on frozen features falls from "
                f"{mirrored['as_they_are']:.3f} to {mirrored['mirrored']:.3f} on mirrored pictures "
                f"({mirrored['confused']}): data.flip=false is worth a run")  # fmt: skip
    if winner is None:
        text = stands(found, "the recipe's augmentation") + harm
        line = q.line("data.flip=false") if harm else q.line()
        return q.answer(text, confidence(found, None), line, **evidence)
    best = found.settings[winner]
    text = (f"{best.name} is better than the recipe's augmentation: {found.primary} "
            f"{found.mean(winner):.4f} against {found.mean(0):.4f}{harm}")  # fmt: skip
    return q.answer(text, confidence(found, winner), q.line(*labelled(best)), **evidence)


def changes(recipe: Recipe, several: bool = True) -> list[dict[str, Any]]:
    """What to compare with the recipe's own augmentation, what matters most often first: a part
    left out, or one put in."""
    data, found = recipe.data, list[dict[str, Any]]()
    if data.augment != "strong":  # colours, rotation, blur, an erased patch
        found.append({"data.augment": "strong"})
    if data.augment != "none" and data.flip:
        found.append({"data.flip": False})
    if data.augment == "standard":  # without the changes of colour
        found.append({"data.augment": "light"})
    if data.augment != "none" and recipe.task_options.get("crop", "part") == "part":
        found.append({"data.crop_area": (0.1, 1.0)})
        found.append({"data.crop_area": (0.7, 1.0)})
    if recipe.task == "classify" and not recipe.task_options.get("mixup") and several:
        found.append({"task.mixup": 0.2})
        found.append({"task.cutmix": 1.0})
    if data.augment != "none":
        found.append({"data.augment": "none"})
    return found


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={plain(value)}" for key, value in values.items())


class Mirrored:
    """A source whose pictures are mirrored, with the labels as they are."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def info(self) -> DataInfo:
        return self._source.info

    @property
    def ids(self) -> Sequence[str]:
        return self._source.ids

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i, 0)

    def read(self, i: int, short_side: int) -> Sample:
        """Sample i as `xfer.data.sources.base.read` returns it, mirrored."""
        sample = read(self._source, i, short_side)
        return replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]))

    def labels(self) -> NDArray[Any]:
        return self._source.labels()

    def fingerprint(self) -> str:
        return f"mirrored {self._source.fingerprint()}"


def _mirrored(q: Question) -> dict[str, Any]:
    """How a classifier on frozen features of the pictures as they are does on mirror images; {}
    where labels do not describe whole pictures."""
    bundle = q.bench.data(q.plain)
    if not is_labelled(bundle):
        return {}
    choice = last_map(q.base)
    layer = choice.layers[-1]
    parts = split_parts(features_of(q, choice), layer, bundle.name)
    turned = replace(bundle, splits={
        "train": bundle.splits["train"], "val": Mirrored(bundle.splits["val"])
    })  # fmt: skip
    other = split_parts(features_of(q, choice, turned), layer, bundle.name)["val"]
    train, val = parts["train"], parts["val"]
    probe, _ = fitted(train.features, train.labels, len(bundle.classes))
    before = probe.scores(val.features).argmax(1)
    after = probe.scores(other.features).argmax(1)
    rights = [(guess == val.labels).astype(float) for guess in (before, after)]
    found = compare(*(Ratios.of_values(right) for right in rights))
    went = (before == val.labels) & (after != val.labels)
    pairs, counts = np.unique(
        np.stack([val.labels[went], after[went]], 1), axis=0, return_counts=True
    )
    top = [f"{bundle.classes[a]} as {bundle.classes[b]}"
           for a, b in pairs[np.argsort(-counts)][:3].tolist()]  # fmt: skip
    p = 1.0 if found is None else found.p
    return {
        "as_they_are": float(rights[0].mean()), "mirrored": float(rights[1].mean()), "p": p,
        "harms": bool(p < 0.05 and rights[1].mean() < rights[0].mean()),
        "confused": ", ".join(top),
    }  # fmt: skip


def _show(q: Question, tried: Sequence[dict[str, Any]]) -> None:
    """Draws the same pictures under each change. A sheet that can't be drawn is a note."""
    if q.base.task != "classify":
        return
    tiles: list[Tile] = []
    try:
        with q.job() as job:
            source = job.bundle.splits["train"]
            some = np.linspace(0, len(source) - 1, min(SHOWN, len(source))).astype(int).tolist()
            for values in ({}, *tried):
                if any(key.startswith("task.mix") or key == "task.cutmix" for key in values):
                    continue  # these mix pictures of a batch
                own = override(q.plain, values)
                job.task.data = own.data
                change = job.task.transform(True)
                for k in some:
                    shown = change(source[k], np.random.default_rng((k, 1)))[1]
                    pixels = np.asarray(shown)
                    if pixels.shape[0] == 3:
                        pixels = pixels.transpose(1, 2, 0)
                    tiles.append(Tile(pixels, (_words(values) or "the recipe's own",)))
        mosaic(tiles, q.folder / Path(PICTURE), "What each change does to training pictures")
    except Exception as error:
        q.notes.append(f"{PICTURE} could not be drawn: {type(error).__name__}: {error}")
