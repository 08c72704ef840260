"""The code that a recipe asks for: modules of people's own that its task, net or data are in."""

from __future__ import annotations

from pathlib import Path

from xfer import plugs
from xfer.backbones.base import SCHEMES
from xfer.data.readers.base import FORMATS
from xfer.data.sources.from_python import SCHEME
from xfer.plugs import Plug
from xfer.recipe.tables import Recipe


def code_of(recipe: Recipe) -> list[tuple[str, Plug]]:
    """What it is to be (task, backbone, data), and the plug that names it, for each of them."""
    source = recipe.data.source
    there = not source or Path(source).exists()
    formats = () if there else (SCHEME, *FORMATS.names())
    found = [
        ("task", plugs.parse(recipe.task)),
        ("backbone", plugs.parse(recipe.backbone, SCHEMES)),
        ("data", None if there else plugs.parse(source, formats)),
    ]
    return [(noun, plug) for noun, plug in found if plug is not None]


def check_code(recipe: Recipe, where: Path | str = "") -> None:
    """Raises XferError, before anything is imported, for modules that nobody but the recipe names:
    all of them at once.

    Args: where: the file that the recipe is from.
    """
    with plugs.reading(where):
        plugs.check_all_named(code_of(recipe))
