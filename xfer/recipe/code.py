"""The code that a recipe asks for: the user modules that its task, net or data come from."""

from __future__ import annotations

from pathlib import Path

from xfer import plugs
from xfer.backbones.base import SCHEMES
from xfer.data.readers.base import FORMATS
from xfer.data.sources.from_python import SCHEME
from xfer.plugs import Plug
from xfer.recipe.tables import Recipe


def code_of(recipe: Recipe) -> list[tuple[str, Plug]]:
    """The plugs in a recipe, each with what it should be: (task, backbone or data; plug)."""
    source = recipe.data.source
    is_path = not source or Path(source).exists()
    formats = () if is_path else (SCHEME, *FORMATS.names())
    parsed = [
        ("task", plugs.parse(recipe.task)),
        ("backbone", plugs.parse(recipe.backbone, SCHEMES)),
        ("data", None if is_path else plugs.parse(source, formats)),
    ]
    return [(noun, plug) for noun, plug in parsed if plug is not None]


def check_code(recipe: Recipe, where: Path | str = "", data: bool = False) -> None:
    """Raises XferError, before anything is imported, if only the recipe names a module: one error
    for all such modules.

    Args: where: the file that the recipe is from; data: its data are to be read, so that a command
        which gives them, or an address, must have been named, too.
    """
    with plugs.reading(where):
        plugs.check_all_named(code_of(recipe))
        if data:
            plugs.check_coming(recipe.data.source)
