"""Pictures that occur more than once: equal to the byte, or so alike that one was made from the
other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xfer.doctor.pictures import PLAIN, Looks, labels_of
from xfer.kinds.findings import Finding, counted, finding
from xfer.types import Source

# two pictures are near copies if at most BITS of the 64 bits of their perceptual hashes differ, and
# their 32 x 32 grey thumbnails, brought to the same mean and spread, by LEVELS of 255 on average
BITS, LEVELS = 10, 3.0
RULE = (
    f"near copies: at most {BITS} of 64 bits of the perceptual hash differ (Zauner 2010), and the "
    f"32 x 32 grey thumbnails by {LEVELS:g} of 255 on average"
)
# every pair is compared up to this many pictures; above, those that share a quarter of the hash
ALL_PAIRS = 60_000
BLOCK = 1024

Groups = list[list[int]]


def copies(looks: Looks, splits: Mapping[str, Source]) -> tuple[list[Finding], Groups, Groups]:
    """What is found, and the groups themselves: indices of equal pictures, and of near copies."""
    exact = equal_groups(looks)
    near = near_groups(looks, exact)
    labels = labels_of(looks, splits)
    findings = [
        *_reported(looks, exact, labels, "copy", "equal byte for byte"),
        *_reported(looks, near, labels, "near_copy", "near copies"),
    ]
    return findings, exact, near


def equal_groups(looks: Looks) -> Groups:
    """Groups of two or more pictures with equal bytes."""
    groups: dict[int, list[int]] = defaultdict(list)
    for k in np.flatnonzero(looks.good).tolist():
        groups[int(looks.digest[k])].append(k)
    return [group for group in groups.values() if len(group) > 1]


def near_groups(looks: Looks, exact: Groups) -> Groups:
    """Groups of pictures of which each is a near copy of another; of equal pictures the first
    stands for all. Blank pictures are left out: they are all alike."""
    seen = {k for group in exact for k in group[1:]}
    able = looks.good & (looks.spread >= PLAIN)
    able[list(seen)] = False
    index = np.flatnonzero(able)
    above = list(range(len(index)))  # union-find

    def root(k: int) -> int:
        while above[k] != k:
            above[k] = above[above[k]]
            k = above[k]
        return k

    for a, b in _pairs(looks.hash[index]):
        close = _difference(looks.thumb[index[a]], looks.thumb[index[b]]) <= LEVELS
        for one, other in zip(a[close].tolist(), b[close].tolist(), strict=True):
            above[max(root(one), root(other))] = min(root(one), root(other))
    groups: dict[int, list[int]] = defaultdict(list)
    for k in range(len(index)):
        groups[root(k)].append(int(index[k]))
    return [group for group in groups.values() if len(group) > 1]


def _pairs(
    hashes: NDArray[np.uint64],
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of indices whose hashes differ in few bits, in blocks."""
    if len(hashes) <= ALL_PAIRS:
        for start in range(0, len(hashes), BLOCK):
            mine = hashes[start : start + BLOCK, None]
            bits = np.bitwise_count(mine ^ hashes[None, start:])
            a, b = np.nonzero(bits <= BITS)
            keep = b > a
            yield a[keep] + start, b[keep] + start
        return
    for part in range(4):
        key = (hashes >> np.uint64(16 * part)) & np.uint64(0xFFFF)
        order = np.argsort(key, kind="stable")
        edges = np.flatnonzero(np.diff(key[order])) + 1
        for same in np.split(order, edges):
            for start in range(0, len(same), BLOCK):
                bits = np.bitwise_count(
                    hashes[same[start : start + BLOCK], None] ^ hashes[same[None, start:]]
                )
                a, b = np.nonzero(bits <= BITS)
                keep = b > a
                yield same[a[keep] + start], same[b[keep] + start]


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (P, S, S) twice -> float32 (P,): mean difference of grey levels, after both have the
    mean and the spread of the first."""
    if not len(a):
        return np.zeros(0, np.float32)
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(a), BLOCK):
        one = a[start : start + BLOCK].reshape(-1, a[0].size).astype(np.float32)
        other = b[start : start + BLOCK].reshape(-1, a[0].size).astype(np.float32)
        spread = one.std(1, keepdims=True) / np.maximum(other.std(1, keepdims=True), 1e-3)
        other = (other - other.mean(1, keepdims=True)) * spread + one.mean(1, keepdims=True)
        found.append(np.abs(one - other).mean(1))
    return np.concatenate(found)


def _reported(
    looks: Looks, groups: Groups, labels: Sequence[object], check: str, what: str
) -> list[Finding]:
    """A finding per relation: across splits, with different labels, within a split and class."""
    across: Groups = []
    torn: Groups = []
    within: Groups = []
    for group in groups:
        known = {labels[k] for k in group} - {None}
        if len(known) > 1:
            torn.append(group)
        if len({looks.places[k].role for k in group}) > 1:
            across.append(group)
        elif len(known) < 2:
            within.append(group)
    findings: list[Finding] = []
    for found, name, one, many in (
        (across, check, "group of pictures is in several splits",
         "groups of pictures are in several splits"),
        (torn, "two_labels" if check == "copy" else check, "group of pictures has different labels",
         "groups of pictures have different labels"),
        (within, check, "group of pictures is repeated within a split",
         "groups of pictures are repeated within a split"),
    ):  # fmt: skip
        if found:
            items = [[looks.id(k) for k in group] for group in found]
            findings.append(finding(name, f"{counted(len(found), one, many)}, {what}", items))
    return findings
