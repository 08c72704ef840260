"""Finds which tensor of a file belongs to which of a net: by name, else by order.

By name: whatever stands before the net's own names, or before those of its published files, is a
prefix ("module.", "backbone.body."); the prefix under which most tensors fit is taken. By order:
where the names say nothing (the numbers of a Sequential), and then only if each tensor of the
trunk has its equal in shape and kind at its place in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import ge

from torch import Tensor, nn

from xfer.backbones.base import Backbone
from xfer.backbones.parts import averaged, shared
from xfer.backbones.stored import Stored

_COUNTER = "num_batches_tracked"
_LEAF = re.compile(r"^(.+)[._](w|W|weights?|b|B|bias(?:es)?)$")
_NAMELESS = re.compile(r"(arr|param|tensor)?_?\d+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor goes in a net: its shape, and whether it holds fractions."""

    shape: tuple[int, ...]
    floating: bool


@dataclass(frozen=True, slots=True)
class Net:
    """The tensors of a net, as a file is compared with them.

    trunk, tail, head | name -> place, in the order of the layers; counters of norms left out
    forms             | names that files may use, without a prefix -> names in the net
    main              | weights of the trunk's layers, shallow to deep: norms and biases left out
    """

    trunk: dict[str, Place]
    tail: dict[str, Place]
    head: dict[str, Place]
    forms: dict[str, str]
    main: tuple[str, ...]

    def place(self, name: str) -> Place | None:
        return self.trunk.get(name) or self.tail.get(name) or self.head.get(name)


def net_of(backbone: Backbone) -> Net:
    """What `match` needs to know of a backbone."""
    classifier = backbone.classifier
    in_head = {id(t) for t in _tensors(classifier)} if classifier is not None else set[int]()
    state = {**dict(backbone.named_parameters(remove_duplicate=False)),
             **dict(backbone.named_buffers(remove_duplicate=False))}  # fmt: skip
    trunk: dict[str, Place] = {}
    tail: dict[str, Place] = {}
    head: dict[str, Place] = {}
    main: list[str] = []
    for name in backbone.state_dict():
        tensor = state.get(name)
        if tensor is None or name.endswith(_COUNTER):
            continue
        place = Place(tuple(tensor.shape), tensor.is_floating_point())
        if id(tensor) in in_head:
            head[name] = place
        elif name.startswith("tail."):
            tail[name] = place
        else:
            trunk[name] = place
            if name.endswith("weight") and tensor.ndim > 1:
                main.append(name)
    return Net(trunk, tail, head, _forms(backbone), tuple(main))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _forms(backbone: Backbone) -> dict[str, str]:
    """Names that files use -> names in the net: its own, those of published files, and its own
    without the part that only we have ("trunk.conv1_1.weight" is Caffe's "conv1_1.weight")."""
    names = list(backbone.state_dict())
    forms = {name: name for name in names}
    for theirs, ours in backbone.aliases.items():
        for name in names:
            if name.startswith(ours):
                forms.setdefault(theirs + name[len(ours) :], name)
    for name in names:
        first, _, rest = name.partition(".")
        if first in ("trunk", "tail", "net") and "." in rest:
            forms.setdefault(rest, name)
    tail = backbone.tail
    if tail is not None and isinstance(backbone.classifier, nn.Linear):
        for leaf in ("weight", "bias"):
            forms.setdefault(f"fc{6 + len(tail.names)}.{leaf}", f"classifier.{leaf}")
    return forms


@dataclass(frozen=True, slots=True)
class Match:
    """Which tensors of a file go where.

    names    | name in the file -> name in the net, whose numbers they can become
    clashes  | name in the file -> name in the net that has another shape
    prefix   | before the net's names in the file, e.g. "teacher.backbone."; "/" is written "."
    scope    | the part of the file that belongs to it, e.g. "teacher."
    rivals   | other prefixes under which the net is in the file too
    by_order | matched by order, not by name
    """

    names: dict[str, str] = field(default_factory=dict[str, str])
    clashes: dict[str, str] = field(default_factory=dict[str, str])
    prefix: str = ""
    scope: str = ""
    rivals: tuple[str, ...] = ()
    by_order: bool = False

    def filled(self, wanted: Sequence[str] | Mapping[str, Place]) -> int:
        """How many of these names in the net are filled."""
        ours = set(self.names.values())
        return sum(name in ours for name in wanted)


def same_numbers(theirs: Sequence[int], ours: Sequence[int]) -> bool:
    """Whether two shapes differ only by ones, or by C, h, w being flattened."""
    a, b = ([side for side in shape if side != 1] for shape in (theirs, ours))
    if a == b:
        return True
    flat = min(len(a), len(b)) == 2 and a[0] == b[0]
    return flat and math.prod(a) == math.prod(b)


def unfit(tensor: Stored, floating: bool = True) -> str:
    """Why a tensor's numbers can't be weights, or empty."""
    if tensor.odd:
        return tensor.odd
    if tensor.dtype.is_complex:
        return "complex numbers"
    return "whole numbers, not weights" if floating and not tensor.dtype.is_floating_point else ""


def _can_be(tensor: Stored, place: Place) -> bool:
    return not unfit(tensor, place.floating) and same_numbers(tensor.shape, place.shape)


def _is_count(tensor: Stored) -> bool:
    """Whether a tensor can be a norm's counter."""
    return tensor.count == 1 and not tensor.odd and not tensor.dtype.is_complex


def match(tensors: Mapping[str, Stored], net: Net, ordered: bool = True) -> Match:
    """Matches a file's tensors with a net's.

    Args:
        ordered: the file's tensors are in the order of the layers; False: they may be sorted by
            name, so that an order needs numbers in the names.
    """
    named = _by_name(tensors, net)
    if net.main and named.filled(net.main) == len(net.main):
        return named
    return _by_order(tensors, net, ordered) or named


def _by_name(tensors: Mapping[str, Stored], net: Net) -> Match:
    hits: dict[str, dict[str, str]] = {}
    clashes: dict[str, dict[str, str]] = {}
    for theirs, tensor in tensors.items():
        for prefix, ours in _candidates(theirs, net.forms):
            place = net.place(ours)
            fits = _is_count(tensor) if place is None else _can_be(tensor, place)
            into = hits if fits else clashes
            into.setdefault(prefix, {}).setdefault(ours, theirs)
    if not hits:
        prefix = max(clashes, key=lambda p: len(clashes[p]), default="")
        return Match({}, {theirs: ours for ours, theirs in clashes.get(prefix, {}).items()}, prefix)
    main = set(net.main)

    def score(prefix: str) -> tuple[int, int]:
        ours = hits[prefix].keys()
        return len(ours & main), len(ours & (net.trunk.keys() | net.tail.keys()))

    def deeper(prefix: str) -> int:
        """How many tensors with names like the net's, but deeper, stand under a prefix: they are
        of a larger net, of which this one is a part (resnet34 holds the names of resnet18)."""
        ours = set(hits[prefix].values())
        kin = {theirs[len(prefix) :].partition(".")[0] for theirs in ours}
        return sum(
            theirs not in ours and theirs[len(prefix) :].partition(".")[0] in kin
            and len(tensor.shape) > 1
            for theirs, tensor in tensors.items() if theirs.startswith(prefix)
        )  # fmt: skip

    most = max(map(score, hits))
    equals = [p for p in hits if score(p) == most]  # in the order of the file
    best = min(equals, key=lambda p: (deeper(p) if len(equals) > 1 else 0, not averaged(p)))
    used = set(hits[best].values())
    rivals: list[str] = []
    least = [value / 2 for value in score(best)]
    for prefix in sorted(hits, key=lambda p: (-score(p)[0], -score(p)[1])):
        enough = score(prefix) > (0, 0) and all(map(ge, score(prefix), least))
        if enough and not used & set(hits[prefix].values()):
            rivals.append(prefix)
            used |= set(hits[prefix].values())
    scope = _scope(best, rivals)
    found = dict(hits[best])
    _add_heads(found, hits, clashes.get(best, {}), net, scope)
    return Match(
        {theirs: ours for ours, theirs in found.items()},
        {theirs: ours for ours, theirs in clashes.get(best, {}).items() if ours not in found},
        best, scope, tuple(rivals),
    )  # fmt: skip


def _candidates(theirs: str, forms: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(prefix, name in the net) for each way to read a name in a file."""
    for name in dict.fromkeys((theirs, _plain(theirs))):
        starts = [0, *(i + 1 for i, c in enumerate(name) if c == ".")]
        found = [(name[:at], forms[name[at:]]) for at in starts if name[at:] in forms]
        if found:
            yield from found
            return


def _plain(name: str) -> str:
    """conv1_1_w, conv1_1/weights:0 -> conv1_1.weight"""
    name = re.sub(r":\d+$", "", name).replace("/", ".")
    found = _LEAF.match(name)
    if found is None:
        return name
    return f"{found[1]}.{'weight' if found[2][0] in 'wW' else 'bias'}"


def _scope(best: str, rivals: Sequence[str]) -> str:
    """The longest beginning of a prefix that is the prefix's alone, cut after a dot."""
    scope = ""
    for rival in rivals:
        shared = 0
        for ours, theirs in zip(best.split("."), rival.split("."), strict=False):
            if ours != theirs:
                break
            shared += 1
        words = best.split(".")[: shared + 1]
        own = ".".join(words)
        own = own if own.endswith(".") or not own else own + "."
        scope = max(scope, own, key=len)
    return scope


def _add_heads(
    found: dict[str, str],
    hits: Mapping[str, Mapping[str, str]],
    clashes: Mapping[str, str],
    net: Net,
    scope: str,
) -> None:
    """Adds tail and classifier from under other prefixes ("head." beside "backbone.")."""
    used = set(found.values())
    for heads in (net.tail, net.head):
        if not heads or any(name in found or name in clashes for name in heads):
            continue
        options = [
            {ours: theirs for ours, theirs in hits[prefix].items()
             if ours in heads and theirs not in used}
            for prefix in hits if prefix.startswith(scope)
        ]  # fmt: skip
        best = max(options, key=len, default={})
        found.update(best)
        used |= set(best.values())


def _by_order(tensors: Mapping[str, Stored], net: Net, ordered: bool) -> Match | None:
    """The match of the first part of the file, or of an averaged one, whose tensors are those of
    the trunk in their order, or None."""
    norms = any(name.endswith("running_mean") for name in net.trunk)
    found: dict[str, dict[str, str]] = {}
    used: set[str] = set()
    for prefix, names in _sequences(tensors, len(net.trunk)):
        names = _in_order(prefix, names, ordered, net.trunk)
        matched = _in_step(names, tensors, net, norms) if names is not None else None
        if matched and not used & set(matched):
            found[shared(list(matched)[: len(net.trunk)])] = matched
            used |= set(matched)
    if not found:
        return None
    best = max(found, key=averaged)
    rivals = tuple(prefix for prefix in found if prefix != best)
    return Match(found[best], {}, best, _scope(best, rivals), rivals, by_order=True)


def _sequences(tensors: Mapping[str, Stored], least: int) -> Iterator[tuple[str, list[str]]]:
    """(prefix, names that begin with it) for prefixes of enough names, short to long."""
    below: dict[str, list[str]] = {}
    for name in tensors:
        if name.endswith(_COUNTER):
            continue
        words = name.split(".")
        for depth in range(min(len(words), 12)):
            prefix = ".".join(words[:depth])
            below.setdefault(prefix + "." if prefix else "", []).append(name)
    for prefix in sorted(below, key=lambda p: p.count(".")):
        if len(below[prefix]) >= least:
            yield prefix, below[prefix]


def _in_order(
    prefix: str, names: list[str], ordered: bool, net: Mapping[str, Place]
) -> list[str] | None:
    """Names in the order of the layers, or None if that is not known.

    Numbers in the names give the order; of the words between them the file does, or, if it is
    sorted by name, the net that has the same words.
    """
    words = {name: _plain(name[len(prefix) :]).split(".") for name in names}
    siblings: dict[str, set[str]] = {}
    for path in words.values():
        for depth in range(len(path) - 1):
            siblings.setdefault(".".join(path[:depth]), set()).add(path[depth])
    numbered = all(
        len(layers) == 1 or all(_is_index(word) for word in layers) for layers in siblings.values()
    )
    if not numbered and ordered:
        return names
    ranks = {word: rank for rank, word in enumerate(
        dict.fromkeys(word for name in net for word in name.split("."))
    )}  # fmt: skip

    def key(name: str) -> list[int]:
        return [int(word) if _is_index(word) else ranks.get(word, -1) for word in words[name]]

    keys = {name: key(name) for name in names}
    single = {word for layers in siblings.values() if len(layers) == 1 for word in layers}
    known = all(
        rank >= 0 or word in single
        for name in names for rank, word in zip(keys[name], words[name], strict=True)
    )  # fmt: skip
    if not known:
        return names if ordered and not numbered else None
    return sorted(names, key=keys.__getitem__)


def _is_index(word: str) -> bool:
    return word.isdecimal() and len(word) < 10


def _in_step(
    names: Sequence[str], tensors: Mapping[str, Stored], net: Net, norms: bool
) -> dict[str, str] | None:
    """Name in the file -> name in the net, if the file begins with all of the trunk."""
    if len(names) < len(net.trunk):
        return None
    at = 0
    matched: dict[str, str] = {}
    for part in (net.trunk, net.tail, net.head):
        pairs = dict(zip(names[at : at + len(part)], part, strict=False))
        fits = len(pairs) == len(part) and all(
            _can_be(tensors[theirs], part[ours]) and _same_leaf(theirs, ours, norms)
            for theirs, ours in pairs.items()
        )
        if not fits:
            break
        matched |= pairs
        at += len(part)
    for theirs, ours in list(matched.items()):
        if ours.endswith(".running_mean"):
            counter = theirs[: theirs.rfind(".") + 1] + _COUNTER
            if counter in tensors:
                matched[counter] = ours[: ours.rfind(".") + 1] + _COUNTER
    return matched or None


def _same_leaf(theirs: str, ours: str, norms: bool) -> bool:
    """Whether two tensors are of one kind: both weights, both biases, ...

    Names without a word (arr_0) are of any kind, unless norms make that ambiguous.
    """
    last = _plain(theirs).rpartition(".")[2]
    if last == ours.rpartition(".")[2]:
        return True
    return not norms and _NAMELESS.fullmatch(last) is not None
