"""A sheet of pictures per finding, to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xfer import kinds
from xfer.data.sources.base import Bundle, read
from xfer.doctor.pictures import Looks
from xfer.drawing.mosaic import Tile, mosaic
from xfer.errors import DataError
from xfer.files import check_folder
from xfer.kinds.findings import Finding
from xfer.metrics.example import Mark

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
    by_id: dict[str, list[int]] = {}
    for k, place in enumerate(looks.places):
        if k not in looks.bad:
            by_id.setdefault(place.id, []).append(k)
    seen: Counter[str] = Counter()
    files: list[Path] = []
    for finding in findings:
        tiles, left = _tiles(finding, by_id, looks, bundle)
        if not tiles:
            continue
        seen[finding.check] += 1
        number = f"-{seen[finding.check]}" if seen[finding.check] > 1 else ""
        files.append(folder / f"{finding.check}{number}.png")
        title = finding.head or finding.text
        mosaic(tiles, files[-1], f"{title}; {left} more are not drawn" if left else title)
    return files


def _tiles(
    finding: Finding, by_id: dict[str, list[int]], looks: Looks, bundle: Bundle
) -> tuple[list[Tile], int]:
    """The pictures of a finding, and how many more there are than fit."""
    kind = kinds.get(bundle.kind)
    tiles: list[Tile] = []
    left = 0
    for number, item in enumerate(finding.items, 1):
        for k in [k for name in dict.fromkeys(item) for k in by_id.get(name, ())]:
            if len(tiles) == MOST:
                left += 1
                continue
            place = looks.places[k]
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
            lines = (f"{group}{place.id.rpartition('/')[2]}", what)
            boxes = finding.boxes[number - 1] if finding.boxes else ()
            scale = sample.image.shape[0] / max(1, int(looks.size[k, 0]))
            marks = tuple(Mark((a * scale, b * scale, c * scale, d * scale), "wrong")
                          for a, b, c, d in boxes)  # fmt: skip
            tiles.append(Tile(kind.tinted(sample, bundle.classes), lines, marks=marks))
    return tiles, left
