"""Shell completions, found without importing torch, so that they appear at once.

The shell puts them on its line as they are, so a name that needs quotes is left out: a folder may
be called `$(command)`. Bash then completes it as it does every file, with quotes.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex


def tasks(incomplete: str) -> list[str]:
    """Tasks that begin with this text."""
    from xfer.registry import offers

    package = importlib.import_module("xfer.tasks")
    ours = [module.name for module in pkgutil.iter_modules(package.__path__)]
    names = {*ours, *offers("xfer.tasks")}
    return sorted(name for name in names if name.startswith(incomplete))


def recipes(incomplete: str) -> list[str]:
    """Recipes that begin with this text."""
    from xfer.recipe.toml import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Run folders under runs/ that begin with this text."""
    from xfer.runs.listing import find_runs

    found = [str(path) for path in find_runs("runs")]
    return [path for path in found if path.startswith(incomplete) and shlex.quote(path) == path]
