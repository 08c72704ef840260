"""WordNet ids (n01440764), ImageNet's names of its classes, and the words that they stand for.

Words alone are not unique: `crane` is a bird and a machine, two of the 1000 classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, reader
from xfer.files import NOTE, bytes_of
from xfer.types import DataInfo

MAX_CLASSES = 100_000

_WNID = re.compile(r"n\d{8}")
_LEADING = re.compile(r"(n\d{8})( .*)?")


def is_wnid(text: str) -> bool:
    return _WNID.fullmatch(text) is not None


def leading_wnid(name: str) -> str:
    """The WordNet id that a class name begins with: "n02012849 crane" is n02012849; "" for none."""
    match = _LEADING.fullmatch(name)
    return match[1] if match else ""


def class_names(wnids: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """Names of classes: the id, then its first word if it is known: n02012849 crane.

    Args: words: id -> its words separated by commas, as in the data set itself.
    """
    return [f"{w} {word}" if (word := _first(w, words)) else w for w in wnids]


def with_wnids(names: Sequence[str], labels: Sequence[int], paths: Sequence[str]) -> list[str]:
    """Put the WordNet id before each name, if the files of all pictures of a class begin or end
    with the same one: n01440764_10026.JPEG, n01440764_10026_n01440764.JPEG. Else unchanged.

    Args: names: of the classes; labels, paths: of the pictures.
    """
    known: dict[int, set[str]] = {}
    for label, path in zip(labels, paths, strict=True):
        stem = path.rpartition("/")[2].partition(".")[0]
        ends = (p for p in (stem.rpartition("_")[2], stem.partition("_")[0]) if is_wnid(p))
        if label >= 0:
            known.setdefault(label, set()).add(next(ends, ""))
    if not all(len(wnids) == 1 and "" not in wnids for wnids in known.values()):
        return list(names)
    words = {wnid: names[label] for label, (wnid,) in known.items() if not names[label].isdigit()}
    new_names = {label: class_names([wnid], words)[0] for label, (wnid,) in known.items()}
    return [new_names.get(k, name) for k, name in enumerate(names)]


class _Named(Protocol):
    info: DataInfo

    def labels(self) -> NDArray[np.int64]: ...


def numbered(labels: Sequence[int], ids: Sequence[str], where: object) -> list[str]:
    """Names of classes that only have numbers: "0" to the largest label.

    Raises: DataError for a label too large to be a class number, which would take all memory.
    """
    largest = max(labels, default=-1)
    if largest >= MAX_CLASSES:
        raise DataError(
            f"{where}: {ids[list(labels).index(largest)]}: label {largest} is out of range",
            f"classes are numbered from 0, and there are fewer than {MAX_CLASSES:,}",
        )
    return [str(k) for k in range(largest + 1)]


def same_names(parts: Mapping[str, _Named]) -> None:
    """Give all splits of a set the class names of the split whose pictures have WordNet ids: the
    labels are the same numbers, but validation pictures often carry no ids."""
    with_ids = [s.info.classes for s in parts.values() if any(map(leading_wnid, s.info.classes))]
    names = max(with_ids, key=len, default=())
    for source in parts.values():
        largest = int(source.labels().max(initial=-1))
        if source.info.classes and largest < len(names):
            source.info = replace(source.info, classes=names)


def _first(wnid: str, words: Mapping[str, str]) -> str:
    """The first word of an id: WordNet's own if timm lists it, so that it does not depend on which
    files are next to the pictures."""
    return (_listed().get(wnid) or words.get(wnid, "")).partition(",")[0].strip()


@reader
def read_words(path: Path) -> dict[str, str]:
    """Read lines of an id, a blank or a tab, and its words: words.txt, LOC_synset_mapping.txt."""
    try:
        lines = bytes_of(path, NOTE).decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.strip().partition("\t" if "\t" in line else " ") for line in lines)
    return {wnid: words.strip() for wnid, _, words in pairs if is_wnid(wnid)}


@cache
def _listed() -> dict[str, str]:
    """timm's list of all ids of ImageNet-21k; empty if it has moved. timm is not imported."""
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(next(iter(spec.submodule_search_locations)))
    return read_words(folder / "data" / "_info" / "imagenet_synset_to_lemma.txt")
