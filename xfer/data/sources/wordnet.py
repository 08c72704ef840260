"""WordNet ids (n01440764), which ImageNet calls its classes by, and the words that they stand for.

Words alone are no key: `crane` is a bird and a machine, two of the 1000 classes.
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

from xfer.errors import DataError
from xfer.types import DataInfo

MOST_CLASSES = 100_000

_WNID = re.compile(r"n\d{8}")
_LEADING = re.compile(r"(n\d{8})( .*)?")


def is_wnid(text: str) -> bool:
    return _WNID.fullmatch(text) is not None


def leading_wnid(name: str) -> str:
    """The WordNet id that a class name begins with: "n02012849 crane" is n02012849; "" for none."""
    found = _LEADING.fullmatch(name)
    return found[1] if found else ""


def class_names(wnids: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """What classes are called: the id, then its first word where one is known: n02012849 crane.

    Args: words: id -> its words parted by commas, as the data set itself has them.
    """
    return [f"{w} {found}" if (found := _first(w, words)) else w for w in wnids]


def with_wnids(names: Sequence[str], labels: Sequence[int], paths: Sequence[str]) -> list[str]:
    """Names with the WordNet id before them, where the names of all of a class's pictures begin or
    end with the same one: n01440764_10026.JPEG, n01440764_10026_n01440764.JPEG. Else as they are.

    Args: names: of the classes; labels, paths: of the pictures.
    """
    known: dict[int, set[str]] = {}
    for label, path in zip(labels, paths, strict=True):
        stem = path.rpartition("/")[2].partition(".")[0]
        ends = (p for p in (stem.rpartition("_")[2], stem.partition("_")[0]) if is_wnid(p))
        if label >= 0:
            known.setdefault(label, set()).add(next(ends, ""))
    if not all(len(found) == 1 and "" not in found for found in known.values()):
        return list(names)
    words = {wnid: names[label] for label, (wnid,) in known.items() if not names[label].isdigit()}
    called = {label: class_names([wnid], words)[0] for label, (wnid,) in known.items()}
    return [called.get(k, name) for k, name in enumerate(names)]


class _Named(Protocol):
    info: DataInfo

    def labels(self) -> NDArray[np.int64]: ...


def numbered(labels: Sequence[int], ids: Sequence[str], where: object) -> list[str]:
    """What classes are called that have numbers alone: "0" to the largest of the labels.

    Raises: DataError for a label that can't be a class's number, and would take all memory.
    """
    most = max(labels, default=-1)
    if most >= MOST_CLASSES:
        raise DataError(
            f"{where}: {ids[list(labels).index(most)]}: label {most} is out of range",
            f"classes are numbered from 0, and there are fewer than {MOST_CLASSES:,}",
        )
    return [str(k) for k in range(most + 1)]


def same_names(parts: Mapping[str, _Named]) -> None:
    """Gives the splits of one set the names of the one whose pictures tell the WordNet ids: the
    labels are the same numbers, but validation pictures often carry no ids."""
    told = [s.info.classes for s in parts.values() if any(map(leading_wnid, s.info.classes))]
    names = max(told, key=len, default=())
    for source in parts.values():
        most = int(source.labels().max(initial=-1))
        if source.info.classes and most < len(names):
            source.info = replace(source.info, classes=names)


def _first(wnid: str, words: Mapping[str, str]) -> str:
    """The first word of an id: WordNet's own where timm lists it, so that it does not depend on
    which files lie beside the pictures."""
    return (_listed().get(wnid) or words.get(wnid, "")).partition(",")[0].strip()


def read_words(path: Path) -> dict[str, str]:
    """Lines of an id, a blank or a tab, and its words: words.txt, LOC_synset_mapping.txt."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.strip().partition("\t" if "\t" in line else " ") for line in lines)
    return {wnid: words.strip() for wnid, _, words in pairs if is_wnid(wnid)}


@cache
def _listed() -> dict[str, str]:
    """timm's list of all ids of ImageNet-21k; empty where it has moved. timm is not imported."""
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(next(iter(spec.submodule_search_locations)))
    return read_words(folder / "data" / "_info" / "imagenet_synset_to_lemma.txt")
