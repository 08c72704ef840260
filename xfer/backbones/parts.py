"""The parts of a checkpoint: where in a saved object its tensors lie, and under which names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xfer.backbones.pickled import Global, Made
from xfer.backbones.stored import Stored

_DEEPEST, _LONGEST = 64, 1000
_MODULE = ("_parameters", "_buffers", "_modules")
# what trainers keep beside the weights
_BESIDE = re.compile(r"optim|sched|scaler|rng|callback|loop|hyper|args|config|cfg", re.I)
# names of moving averages of weights
_AVERAGED = {"ema", "teacher", "swa", "averaged", "average", "avg", "polyak"}

Find = Callable[[Any], Stored | None]


@dataclass(slots=True)
class Parts:
    """Tensors by where they lie, in the order of the file.

    tensors | where ("model.", "" for the top) -> name there -> tensor; a name may have dots
    arch    | the net that the file says it is of, or empty
    """

    tensors: dict[str, dict[str, Stored]] = field(default_factory=dict[str, dict[str, Stored]])
    arch: str = ""

    def add(self, where: str, name: str, tensor: Stored) -> None:
        self.tensors.setdefault(where, {})[name] = tensor

    def flat(self) -> dict[str, Stored]:
        """All tensors, by where they lie and their name in one."""
        return {
            where + name: tensor
            for where, part in self.tensors.items()
            for name, tensor in part.items()
        }


def averaged(where: str) -> bool:
    """Whether a name is that of a moving average of weights."""
    return bool(_AVERAGED & set(re.split(r"[._/\-]", where.lower())))


def beside(where: str) -> bool:
    """Whether a part is an optimiser's or of another thing that a trainer keeps."""
    return any(_BESIDE.match(key) for key in where.split("."))


def split(root: Any, find: Find) -> Parts:
    """The parts of a saved object.

    Args:
        root: as `read_pickle` returns it.
        find: returns the tensor that a node stands for, if it does.
    """
    parts = Parts(arch=_arch(root))
    seen: set[int] = set()

    def walk(node: Any, where: str, name: str, inside: bool, depth: int) -> None:
        """`inside`: of a module, whose tensors lie where the outermost module does."""
        if len(where) + len(name) > _LONGEST or depth > _DEEPEST:
            return
        tensor = find(node)
        if tensor is not None:
            parts.add(where, name or "tensor", tensor)
            return
        if not isinstance(node, dict | list | tuple | Made) or id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, Made) and (inside or _is_module(node)):
            at = where if inside else f"{where}{name}." if name else where
            base = f"{name}." if inside and name else ""
            for key, child in _members(node):
                walk(child, at, base + key, True, depth + 1)
            return
        if inside:
            return  # settings of a layer
        below = f"{where}{name}." if name else where
        for key, child in _children(node):
            walk(child, below, key, False, depth + 1)

    walk(root, "", "", False, 0)
    return parts


def _is_module(node: Made) -> bool:
    """Whether an object is a net that was saved whole, by torch.save or as TorchScript."""
    if not isinstance(node.state, dict):
        return False
    scripted = isinstance(node.what, Global) and node.what.module.startswith("__torch__")
    return scripted or any(isinstance(node.state.get(key), dict) for key in _MODULE)


def _members(node: Made) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers and modules of a net."""
    if not isinstance(node.state, dict):
        return
    groups = [node.state[key] for key in _MODULE if isinstance(node.state.get(key), dict)]
    for group in groups or [node.state]:
        for key, child in group.items():
            yield _text(key), child


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    """What a container holds, with a name for each."""
    if isinstance(node, dict):
        yield from ((_text(key), child) for key, child in node.items())
    elif isinstance(node, list | tuple):
        yield from ((str(index), child) for index, child in enumerate(node))
    else:
        yield from _children(node.items)
        yield from _children(node.parts)
        states = node.state if isinstance(node.state, tuple) else (node.state,)
        for state in states:
            if isinstance(state, dict):
                yield from _children(state)


def _text(key: Any) -> str:
    """A dict's key as a name, in characters that can be printed."""
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if isinstance(key, int) and abs(key) >= 2**63:
        return "?"
    return str(key).encode("utf-8", "backslashreplace").decode()


def _arch(root: Any) -> str:
    """The net that trainers note beside the weights: `arch`, or `model` of their arguments."""
    if not isinstance(root, dict):
        return ""
    options = root.get("args")
    if isinstance(options, Made) and isinstance(options.state, dict):
        options = options.state
    asked = options if isinstance(options, Mapping) else {}
    for name in (root.get("arch"), asked.get("arch"), asked.get("model")):
        if isinstance(name, str) and re.fullmatch(r"[\w.]{1,80}", name):
            return name
    return ""


def shared(names: Sequence[str]) -> str:
    """The longest beginning of all names, cut after a dot."""
    first, last = min(names), max(names)
    count = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first[: first.rfind(".", 0, count) + 1]


def _shapes(part: Mapping[str, Stored]) -> set[tuple[str, tuple[int, ...]]]:
    """Names without what all of them begin with, and shapes."""
    start = len(shared(list(part)))
    return {(name[start:], tensor.shape) for name, tensor in part.items()}


def without_net(parts: Parts) -> tuple[dict[str, Stored], str, list[str]]:
    """The tensors of a file that is read for no net in particular.

    Returns: name -> tensor; where they lie, if at one place; what was left out: optimisers' parts,
        single numbers beside the weights, and of parts with the same names all but the averaged
        one, or the first.
    """
    kept = {where: part for where, part in parts.tensors.items() if not beside(where)}
    weights = {w: p for w, p in kept.items() if any(len(t.shape) > 1 for t in p.values())}
    kept = weights or kept or parts.tensors
    order = sorted(kept, key=lambda where: not averaged(where))  # a stable sort
    chosen: list[str] = []
    left: list[str] = []
    for where in order:
        shapes = _shapes(kept[where])
        same = any(2 * len(shapes & _shapes(kept[other])) > len(shapes) for other in chosen)
        (left if same else chosen).append(where)
    chosen = [where for where in kept if where in chosen]
    left += [where for where in parts.tensors if where not in kept]
    if len(chosen) == 1:
        return dict(kept[chosen[0]]), chosen[0], left
    return {w + name: t for w in chosen for name, t in kept[w].items()}, "", left
