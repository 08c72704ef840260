"""A sheet of pictures per finding, to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xfer import kinds
from xfer.data.sources.base import Bundle, read
from xfer.doctor.pictures import Looks, Place
from xfer.drawing.mosaic import Tile, mosaic
from xfer.errors import DataError
from xfer.files import check_folder
from xfer.kinds.findings import Finding

MOST = 36  # pictures on a sheet
SHORT = 256


def draw_sheets(
    findings: Sequence[Finding], looks: Looks, bundle: Bundle, folder: Path
) -> list[Path]:
    """Draw the pictures of each finding, those that belong together side by side, as CHECK.png,
    CHECK-2.png, ...

    Returns: the files. Raises: DataError for a folder that can't be made or written into.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    by_id: dict[str, list[Place]] = {}
    for k, place in enumerate(looks.places):
        if k not in looks.bad:
            by_id.setdefault(place.id, []).append(place)
    seen: Counter[str] = Counter()
    files: list[Path] = []
    for finding in findings:
        tiles = _tiles(finding, by_id, bundle)
        if not tiles:
            continue
        seen[finding.check] += 1
        number = f"-{seen[finding.check]}" if seen[finding.check] > 1 else ""
        files.append(folder / f"{finding.check}{number}.png")
        mosaic(tiles, files[-1], finding.head or finding.text)
    return files


def _tiles(finding: Finding, by_id: dict[str, list[Place]], bundle: Bundle) -> list[Tile]:
    kind = kinds.get(bundle.kind)
    tiles: list[Tile] = []
    for number, item in enumerate(finding.items, 1):
        for place in [p for name in dict.fromkeys(item) for p in by_id.get(name, ())]:
            if len(tiles) == MOST:
                return tiles
            try:
                sample = read(bundle.splits[place.role], place.index, SHORT)
            except (DataError, OSError):
                continue
            group = f"{number}. " if len(item) > 1 else ""
            label = kind.caption(sample, bundle.classes)
            own = finding.lines[number - 1].removeprefix(item[0]).strip(" ()") if (
                finding.lines and len(item) == 1) else ""  # fmt: skip
            label = own or label
            what = f"{place.role}: {label}" if label else place.role
            tiles.append(Tile(sample.image, (f"{group}{place.id.rpartition('/')[2]}", what)))
    return tiles
