"""Whether the palettes of a set's masks agree: if not, an index says nothing of the class.

Some tools write into each file's palette only the colours that it uses, so that index 1 is red in
one file and green in the next. A table of colours settles it; else it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xfer.data.images.mask_file import RawMask
from xfer.data.images.walk import readable
from xfer.errors import DataError

Colour = tuple[int, int, int]
SHOWN = 8  # colours that the hint lists


def check_palettes(path: Path, looked: Iterable[tuple[Path, RawMask]]) -> None:
    """Raises DataError if an index that masks use has different colours in their palettes."""
    first: dict[int, tuple[Colour, Path]] = {}
    colours: dict[Colour, None] = {}
    clash: tuple[int, Colour, Path] | None = None
    for file, raw in looked:
        if raw.palette is None or _is_grey_ramp(raw):
            continue
        used = np.unique(raw.values)
        for index in used[used < len(raw.palette)].tolist():
            red, green, blue = raw.palette[index].tolist()
            colour = (red, green, blue)
            colours[colour] = None
            known = first.setdefault(index, (colour, file))
            if known[0] != colour and clash is None:
                clash = index, colour, file
    if clash is None:
        return
    index, colour, file = clash
    known, other = first[index]
    listed = ", ".join(" ".join(map(str, c)) for c in [*colours][:SHOWN])
    more = " ..." if len(colours) > SHOWN else ""
    raise DataError(
        f"{path}: the palettes of the masks differ: index {index} is {known} in "
        f"{readable(other.name)} and {colour} in {readable(file.name)}, so is it the colour or the "
        "index that says the class?",
        f"the colour: write classes.txt with `name r g b` for {listed}{more}; the index: with "
        "`value name`",
    )


def _is_grey_ramp(raw: RawMask) -> bool:
    """Whether a palette shows each index as the grey of that number, as good as none."""
    assert raw.palette is not None
    ramp = np.arange(len(raw.palette), dtype=np.uint8)[:, None]
    used = np.unique(raw.values)
    used = used[used < len(raw.palette)]
    return bool((raw.palette[used] == ramp[used]).all())
