"""The data that a recipe names, opened for its task."""

from __future__ import annotations

from typing import Any

from xfer import task as tasks
from xfer.data.open import check_scored, open_data
from xfer.data.readers.base import HOLDS
from xfer.data.sources.base import Bundle
from xfer.errors import DataError, XferError
from xfer.recipe.tables import Recipe

# kind -> what makes pictures such data
_LABELS = {
    "classify": "labels: a folder a class, or a csv of path,label",
    "detect": "boxes: a COCO json, VOC's Annotations or a YOLO data.yaml",
    "segment": "masks: a picture of classes beside each, as VOC, Cityscapes or masks/ have them",
}


def open_recipe_data(recipe: Recipe, given: Any = None) -> Bundle:
    """The recipe's data, read and looked at.

    Args: given: the data themselves, handed over in Python, or as they were read before.

    Raises: DataError for what would stop the run.
    """
    data = recipe.data
    if not data.source:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    kinds = tasks.get(recipe.task).kinds
    bundle = open_data(
        data.source if given is None else given, train=data.train, val=data.val, test=data.test,
        seed=recipe.run.seed, limit=data.limit, skip_bad=data.skip_bad, kind=kinds,
        images=data.images, ignore=data.ignore, thorough=data.skip_bad,
    )  # fmt: skip
    if bundle.kind not in kinds:
        wanted = " or ".join(HOLDS.get(kind, kind) for kind in kinds)
        held = HOLDS.get(bundle.kind, bundle.kind)
        raise DataError(
            f"{data.source} holds {held}; {recipe.task} learns from {wanted}",
            _LABELS.get(kinds[0]) if bundle.kind == "images" else None,
        )
    if "train" not in bundle.splits:
        raise DataError(f"{data.source}: no training split", "--train NAME says which it is")
    check_scored(bundle)
    return bundle
