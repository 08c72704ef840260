"""The data that a recipe names, opened for its task."""

from __future__ import annotations

from typing import Any

from xfer import kinds
from xfer import task as tasks
from xfer.data.open import check_scored, open_data
from xfer.data.sources.base import Bundle
from xfer.errors import DataError, XferError
from xfer.recipe.tables import Recipe


def open_recipe_data(recipe: Recipe, given: Any = None) -> Bundle:
    """The recipe's data, read and looked at.

    Args: given: the data themselves, handed over in Python, or as they were read before.

    Raises: DataError for what would stop the run.
    """
    data = recipe.data
    if not data.source:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    wanted = tasks.get(recipe.task).kinds
    bundle = open_data(
        data.source if given is None else given, train=data.train, val=data.val, test=data.test,
        seed=recipe.run.seed, limit=data.limit, skip_bad=data.skip_bad, kind=wanted,
        images=data.images, ignore=data.ignore, thorough=data.skip_bad,
    )  # fmt: skip
    if bundle.kind not in wanted:
        found = kinds.get(bundle.kind)
        hint = not found.labelled and wanted[0] in kinds.KINDS.names()
        learns = " or ".join(kinds.words(kind) for kind in wanted)
        raise DataError(
            f"{data.source} holds {found.holds}; {recipe.task} learns from {learns}",
            (kinds.get(wanted[0]).needs or None) if hint else None,
        )
    if "train" not in bundle.splits:
        raise DataError(f"{data.source}: no training split", "--train NAME says which it is")
    check_scored(bundle)
    return bundle
