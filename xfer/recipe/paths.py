"""Makes a recipe's paths absolute, so that it resumes from any folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xfer import plugs
from xfer.backbones.weights import WORDS
from xfer.data.sources.from_python import SCHEME
from xfer.recipe.tables import Recipe


def absolute(recipe: Recipe) -> Recipe:
    """The recipe with its paths made absolute, so that it resumes from any folder."""

    def full(spec: str) -> str:
        head, colon, rest = spec.partition(":")
        if head == SCHEME:  # data in memory
            return spec
        if spec and Path(spec).exists():
            return str(Path(spec).absolute())
        if colon and rest and Path(rest).exists():
            return f"{head}:{Path(rest).absolute()}"
        plug = plugs.parse(spec)
        if plug is not None and plug.path and Path(plug.path).exists():
            return f"{plug.spec}:{Path(plug.path).absolute()}"
        return spec

    return replace(
        recipe,
        # a folder may be called imagenet
        weights=recipe.weights if recipe.weights in WORDS else full(recipe.weights),
        task_options={
            k: full(v) if isinstance(v, str) and ":" in v else v
            for k, v in recipe.task_options.items()
        },
        data=replace(
            recipe.data,
            source=full(recipe.data.source),
            images=full(recipe.data.images),
            also=",".join(full(one.strip()) for one in recipe.data.also.split(",")),
            changes=full(recipe.data.changes),
        ),
    )
