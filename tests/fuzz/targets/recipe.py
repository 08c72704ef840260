"""The recipe: as xfer has them, as people write one, and as a run keeps its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fuzz.case import Case
from fuzz.target import target
from xfer.recipe.choose import check
from xfer.recipe.idle import idle_settings
from xfer.recipe.tables import flatten
from xfer.recipe.toml import dump, header, load_recipe, recipe_text

_OWN = """# A net that has seen flowers.
extends = "classify/default"
weights = "none"

[data]
source = "photos/"
size = 224
crop_area = [0.2, 1.0]

[optim]
lr = 1e-3
freeze = "first"

[task]
label_smoothing = 0.1
"""
_PARENT = 'extends = "parent.toml"\n[optim]\nlr = 0.5\n'


def recipes(folder: Path) -> list[Case]:
    names = ("classify/default", "detect/default", "segment/default")
    texts = [recipe_text(name) for name in names]
    texts += [_OWN, dump(replace(load_recipe("classify/default"), name="mine"))]
    cases: list[Case] = [{"recipe.toml": text.encode()} for text in texts]
    return [*cases, {"recipe.toml": _PARENT.encode(), "parent.toml": _OWN.encode()}]


@target("recipe", recipes)
def use(path: Path) -> None:
    """As `xfer recipes check` and `xfer recipes show` read it."""
    file = str(path / "recipe.toml" if path.is_dir() else path)
    recipe = load_recipe(file)
    header(recipe_text(file))
    flatten(recipe)
    dump(recipe, True)
    recipe = check(recipe, file)
    idle_settings(recipe)
