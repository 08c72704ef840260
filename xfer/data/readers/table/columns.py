"""Tell which column of a table names the pictures, and in which it says to which split they belong.

Pictures: a column of existing files with their ending wins over one of bare names or numbers, which
may be the row's number. A folder's name in another column is put before it where that is what
exists. Two columns that name different pictures, neither by its header, are asked about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xfer.data.images.walk import is_picture
from xfer.data.readers.table.locate import Locator, forms
from xfer.data.readers.table.text import Table
from xfer.data.sources.written import whole_number
from xfer.errors import DataError, XferError, nearest
from xfer.files import is_dir, is_file

# headers of the column that names the pictures
PATHS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "img", "image_path",
    "image_name", "image_id", "imageid", "img_id", "id", "name", "photo", "picture", "fname",
    "filepaths",
)  # fmt: skip
# words in headers: of pictures, of what is made from them, of folders
_PICTURE = frozenset(
    ("image", "images", "img", "picture", "pictures", "pic", "photo", "file", "filename",
     "filenames", "filepath", "filepaths", "path", "paths", "fname", "imageid", "imgid")
)  # fmt: skip
_MADE = frozenset(
    ("mask", "masks", "seg", "segmentation", "annotation", "annot", "gt", "truth", "thumbnail",
     "label", "labels", "class", "target", "split")
)  # fmt: skip
_FOLDER = frozenset(
    ("folder", "foldername", "subfolder", "dir", "dirname", "directory", "subdir", "root")
)
# columns of a table of the colours and values of masks
_COLOURS = (("r", "g", "b"), ("pixel value",))
PROBED = 50
FEW = 6
LONGEST = 255  # of the names of files
_ENDINGS = ("", ".jpg", ".png", ".jpeg", ".JPG", ".tif", ".bmp")
JOINABLE = 12  # in wider tables only a column that is called folder is put before the name


def words_of(header: str) -> list[str]:
    """The words of a header: ImageId has image, id; Finding Labels has finding, labels."""
    return [w.casefold() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", header)]


def column_named(table: Table, given: str, flag: str) -> list[int]:
    """The columns that a flag names: one, or several separated by commas. Raises XferError for a
    name that is no column's."""
    heads = {head.casefold(): k for k, head in reversed([*enumerate(table.header)])}
    if given.casefold() in heads:
        return [heads[given.casefold()]]
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name.casefold() not in heads:
            raise XferError(
                f"{table.file}: data.{flag}={given}: no column {name!r}",
                nearest(name, table.header),
            )
    return [heads[name.casefold()] for name in names]


def is_index(header: str) -> bool:
    """Whether a column is pandas' own row number: without a name, or Unnamed: 0."""
    return not header or re.fullmatch(r"Unnamed: \d+", header) is not None


@dataclass(frozen=True)
class Placed:
    """A table whose pictures are found.

    table   | with one more column, if the name is in several
    column  | the column that names the pictures
    locator | finds them
    taken   | columns that are part of the name, and hold nothing else
    deep    | the pictures are found by the ends of their paths, anywhere below the table's folder
    """

    table: Table
    column: int
    locator: Locator
    taken: tuple[int, ...]
    deep: bool


def find_pictures_of(
    table: Table, locators: Sequence[Locator], given: str = "", deep: bool = False
) -> Placed | None:
    """Find the column that names the pictures; None if there is none.

    Args:
        locators: tried one after the other, until one finds pictures.
        deep: at last, search anywhere below the folders of the last locator.
        given: the column that the user named, or several whose cells make up the name, separated by
            commas; "": found.

    Raises: XferError if several columns name different pictures, or the given one is not there.
    """
    heads = {h.casefold() for h in table.header}
    if not given and any(set(names) <= heads for names in _COLOURS):
        return None
    near = [(locator, False) for locator in locators]
    below = [(locators[-1], True)] if deep else []
    for bare, ways in ((False, near + below), (True, near), (True, below)):
        for locator, anywhere in ways:
            placed = _place(table, locator, given, bare, anywhere)
            if placed is not None:
                if bare and not given:
                    _doubt(placed)
                return placed
    return None


def _doubt(placed: Placed) -> None:
    """Raises XferError if bare names or numbers are found, but another column holds names of files
    that are not: it may be the pictures' column."""
    table, column = placed.table, placed.column
    if is_path(table.header[column]):
        return
    probe = _spread(table.rows)
    for k, head in enumerate(table.header):
        cells = [row[k] for row in probe if is_picture(row[k])]
        if k not in (column, *placed.taken) and is_path(head) and len(cells) * 2 > len(probe):
            raise XferError(
                f"{table.file}: which column names the pictures: the files in {head!r} are not "
                f"there ({cells[0]!r}), but {table.header[column]!r} has names of pictures",
                f"data.path={table.header[column]} if these are meant",
            )


def _place(table: Table, locator: Locator, given: str, bare: bool, anywhere: bool) -> Placed | None:
    probe = _spread(table.rows)
    if given:
        columns = tuple(column_named(table, given, "path"))
        candidates = {columns: _cells(probe, columns)}
    else:
        candidates = {(k,): [row[k] for row in probe] for k in range(len(table.header))}
        candidates |= _joined(table, probe, locator)
    longest = max((len(Path(form.replace("\\", "/")).parts) for cells in candidates.values()
                   for c in cells for form in forms(c) if is_picture(form)), default=1)  # fmt: skip
    find = locator.find_anywhere if anywhere else locator.find
    for locator.drop in (0,) if bare or anywhere else range(longest):
        found = {
            columns: [_found(find, c) if _is_file(c) != bare else None for c in cells]
            for columns, cells in candidates.items()
        }
        chosen = _choose(table, found, bare)
        if chosen is not None:
            return _placed(table, chosen, locator, given, anywhere)
    locator.drop = 0
    return None


def _placed(
    table: Table, chosen: tuple[int, ...], locator: Locator, given: str, anywhere: bool
) -> Placed:
    if len(chosen) == 1:
        return Placed(table, chosen[0], locator, (), anywhere)
    header = "/".join(table.header[k] for k in chosen)
    joined = replace(
        table,
        header=[*table.header, header],
        rows=[[*row, _join(row, chosen)] for row in table.rows],
    )
    folders = [k for k in chosen[:-1] if given or _FOLDER & set(words_of(table.header[k]))]
    return Placed(joined, len(table.header), locator, (*folders, chosen[-1]), anywhere)


def _spread(rows: Sequence[list[str]]) -> list[list[str]]:
    """Some rows of a table, from its whole length."""
    return list(rows[:: max(1, len(rows) // PROBED)])[:PROBED]


def _cells(rows: Sequence[list[str]], columns: Sequence[int]) -> list[str]:
    return [_join(row, columns) for row in rows]


def _join(row: Sequence[str], columns: Sequence[int]) -> str:
    """The cells of some columns as one path; that of a single column as it is."""
    if len(columns) == 1:
        return row[columns[0]]
    return "/".join(cell for k in columns if (cell := row[k].replace("\\", "/").strip("/")))


def _joined(
    table: Table, probe: Sequence[list[str]], locator: Locator
) -> dict[tuple[int, ...], list[str]]:
    """Pairs of columns, a folder and a name below it, and their cells as one path."""
    width = range(len(table.header))
    folders = [
        k for k in width
        if _FOLDER & set(words_of(table.header[k]))
        or (len(width) <= JOINABLE and _all_folders({row[k] for row in probe}, locator))
    ]  # fmt: skip
    names = [
        k for k in width
        if k not in folders and (len(width) <= JOINABLE or is_path(table.header[k]))
    ]  # fmt: skip
    return {(f, k): _cells(probe, (f, k)) for f in folders for k in names}


def _all_folders(cells: set[str], locator: Locator) -> bool:
    """Whether all cells of a column are folders near the table."""
    if not cells or cells & {"", "."} or any(len(cell) > LONGEST for cell in cells):
        return False
    return all(
        any(is_dir(locator.root / near / cell) for near in locator.folders) for cell in cells
    )


def named_beside(table: Table, folders: Sequence[Path]) -> bool:
    """Whether a column names pictures in several folders next to the table; looks at a few rows."""
    rows = table.rows[:: max(1, len(table.rows) // FEW)][:FEW]
    for head, cells, column in zip(
        table.header, zip(*rows, strict=True), zip(*table.rows, strict=True), strict=True
    ):
        if _counts(column) and not names_pictures(head):
            continue  # epochs, numbers of classes: not the names of 0.jpg, 1.jpg
        names = [c for c in cells if c and len(c) < LONGEST and "/" not in c and "\0" not in c]
        found = [
            next((f for f in folders for end in _ENDINGS if is_file(f / f"{name}{end}")), None)
            for name in names
        ]
        if names and None not in found and len(names) == len(cells):
            return True
    return False


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers that count the rows."""
    first = whole_number(cells[0]) if cells else None
    return first is not None and all(cell == str(first + k) for k, cell in enumerate(cells))


def _is_file(cell: str) -> bool:
    """Whether a cell has the ending of a picture, perhaps within an address: x.org/a.jpg?w=200."""
    return any(map(is_picture, forms(cell)))


def _found(find: Callable[[str], Path | None], cell: str) -> Path | None:
    try:
        return find(cell)
    except DataError:  # several pictures of this name: said where the column is read
        return Path(cell)


def _choose(
    table: Table, found: dict[tuple[int, ...], list[Path | None]], bare: bool
) -> tuple[int, ...] | None:
    """The columns that name the pictures, of those whose cells were looked up."""
    hits = {columns: sum(p is not None for p in places) for columns, places in found.items()}
    best = max(hits.values(), default=0)
    if not best:
        return None
    rivals = [c for c, n in hits.items() if n * 2 >= best]
    # a folder before the name says more than the name alone
    for pair in [c for c in rivals if len(c) > 1 and hits[c] >= hits.get(c[1:], 0)]:
        rivals = [c for c in rivals if c != pair[1:]]
    head = {c: table.header[c[-1]] for c in rivals}
    for unlike in (is_made, is_index):
        rivals = [c for c in rivals if not unlike(head[c])] or rivals
    if bare and len(rivals) > 1:  # numbers that repeat are no names
        rivals = [c for c in rivals if is_path(head[c]) or _distinct(table, c)] or rivals
    rivals.sort(key=lambda c: (-hits[c], head[c].casefold() not in PATHS, len(c), c))
    named = [c for c in rivals if is_path(head[c])]
    for some in (rivals, named):
        if some and all(_agree(found[some[0]], found[c]) for c in some[1:]):
            return some[0]
    titles = ["/".join(table.header[k] for k in c) for c in rivals[:4]]
    flags = [f"data.path={','.join(table.header[k] for k in c)}" for c in rivals[:4]]
    raise XferError(
        f"{table.file}: which column names the pictures: {' or '.join(map(repr, titles))}? "
        "They name different files",
        " or ".join(flags),
    )


def is_path(header: str) -> bool:
    """Whether a column's name says that it names pictures."""
    return bool(_PICTURE & set(words_of(header))) and not is_made(header)


def names_pictures(header: str) -> bool:
    """Whether a column's name is usual for names of pictures, id among them."""
    return is_path(header) or header.casefold() in PATHS or header.startswith("column ")


def is_made(header: str) -> bool:
    """Whether a column's name says that it holds something else about them: masks, labels."""
    return bool(_MADE & set(words_of(header)))


def _distinct(table: Table, columns: tuple[int, ...]) -> bool:
    return len({_join(row, columns) for row in table.rows}) == len(table.rows)


def pairs_of(table: Table) -> list[str]:
    """The columns of a table of pairs, same or different: both name pictures, the same ones in
    either, and each several times; none if it is another table."""
    if len(table.rows) < FEW:
        return []
    probe = _spread(table.rows)
    width = range(len(table.header))
    columns = [k for k in width if all(is_picture(row[k]) for row in probe)]
    cells = {k: [row[k] for row in table.rows] for k in columns}
    columns = [k for k in columns if len(set(cells[k])) < len(table.rows)]
    if len(columns) < 2:
        return []
    one, other = cells[columns[0]], cells[columns[1]]
    apart = sum(a != b for a, b in zip(one, other, strict=True)) * 2 > len(one)
    shared = apart and not set(one).isdisjoint(other)
    return [table.header[k] for k in columns] if shared else []


def _agree(one: Sequence[Path | None], other: Sequence[Path | None]) -> bool:
    """Whether two columns name the same pictures, where both name one."""
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))
