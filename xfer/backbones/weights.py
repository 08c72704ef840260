"""Loads weights into a backbone, and reports what happened to each tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer import plugs
from xfer.backbones.base import SCHEMES, Backbone
from xfer.backbones.files import WeightFile, check_finite, digest, open_weights, read
from xfer.backbones.guess import guess, is_known
from xfer.backbones.match import Match, Net, match, net_of, same_numbers, unfit
from xfer.backbones.parts import Parts, beside
from xfer.backbones.report import WeightReport
from xfer.backbones.stored import Stored, of_tensor
from xfer.errors import DataError, listed, whole
from xfer.files import is_file, json_of

WORDS = ("imagenet", "none")  # values of `weights` other than files and runs


def load_weights(
    backbone: Backbone, spec: str, *, net: str, say: Callable[[str], None] | None = None
) -> WeightReport:
    """Fills a backbone in place.

    Args:
        backbone: the net; parameters that the file lacks stay as they are.
        spec: "imagenet", "none", a file of any ending (PyTorch's, safetensors, npz, caffemodel)
            or run:DIR.
        net: the backbone's name, which decides what "imagenet" means.
        say: called with lines about downloads.

    Raises: DataError if the file is missing or broken, is another net's, or holds numbers that are
        NaN or infinite; XferError for a run whose net is code from a module that the user has not
        named.
    """
    if spec == "none":
        return WeightReport("none", missing=list(backbone.state_dict()))
    if spec == "imagenet":
        from xfer.backbones.published import fetch

        path = fetch(net, say)
        source = f"imagenet ({path.name})"
    elif spec.startswith("run:"):
        check_run_net(Path(spec[4:]).expanduser())
        path = Path(spec[4:]).expanduser() / "best.safetensors"
        source = spec
        if not path.is_file():
            raise DataError(f"no finished run at {spec[4:]}: {path} is missing")
    else:
        path = Path(spec).expanduser()
        source = spec
    file = open_weights(path)
    if spec.startswith("run:"):
        tensors = file.parts.flat()
        in_backbone = {k[9:]: v for k, v in tensors.items() if k.startswith("backbone.")}
        file = replace(file, parts=Parts({"": in_backbone or tensors}))
    report = fill(backbone, file, source, digest(path))
    if file.kind == "caffe" and backbone.preprocess.channels == "rgb":
        report.notes.append(
            f"warning: a caffemodel's net usually takes BGR, 0..255; {backbone.name} is given RGB"
        )
    return replace(report, side=_trained_side(path.parent)) if spec.startswith("run:") else report


def _trained_side(run: Path) -> int:
    """Side of the pictures that a run was trained on, pixels; 0 if model.json lacks it."""
    side = _described(run).get("size")
    return side if isinstance(side, int) else 0


def check_run_net(run: Path) -> None:
    """Raises XferError for a run whose net is in a module that the user has not named: weights
    alone import nothing, but they belong to somebody's code."""
    name = _described(run).get("backbone")  # without one, the tensors' names decide what they fit
    plug = plugs.parse(name, SCHEMES) if isinstance(name, str) else None
    if plug is not None:
        with plugs.reading(run / "model.json"):
            plugs.check_named(plug, "backbone")


def _described(run: Path) -> dict[str, Any]:
    """A run's model.json; {} for weights without one. Raises DataError if it can't be read."""
    file = run / "model.json"
    with whole(file):
        content = json_of(file) if is_file(file) else {}
    return content if isinstance(content, dict) else {}


def fill(
    backbone: Backbone,
    tensors: Mapping[str, Tensor | Stored] | WeightFile,
    source: str,
    sha256: str = "",
) -> WeightReport:
    """Copies what fits into the net, by name or, where names say nothing, by order.

    Args:
        tensors: name -> tensor, or a file of several parts, of which the best is taken.
        source: the file, for messages.

    Raises: DataError if the file leaves the net's layers as they are, or most of them, if another
        net fits it better, and for numbers that are NaN or infinite.
    """
    if isinstance(tensors, WeightFile):
        parts, ordered = tensors.parts, tensors.ordered
    else:
        parts, ordered = _one_part(tensors), True
    stored = parts.flat()
    net = net_of(backbone)
    found = match(stored, net, ordered)
    rest = _Rest.of(stored, parts, found, net)
    _check_net(backbone, net, stored, found, rest, source, ordered, parts.arch)
    report = WeightReport(source, digest=sha256, part=_part(found), others=rest.others)
    state = backbone.state_dict()
    filled: set[str] = set()
    with torch.no_grad():
        for theirs in rest.names:
            ours = found.names.get(theirs)
            if ours is None or ours not in state:
                _check_numbers(source, theirs, stored[theirs], found, net)
                report.skipped.append(f"{theirs}: {_why_not(stored[theirs], theirs, found, net)}")
                continue
            target = state[ours]
            numbers = read(source, theirs, stored[theirs])
            target.copy_(numbers.reshape(target.shape))
            if numbers.dtype == torch.float64:  # beyond what 32 bits hold
                check_finite(source, theirs, target)
            if numbers.shape == target.shape:
                report.matched.append(ours)
            else:
                shapes = f"{tuple(numbers.shape)} -> {tuple(target.shape)}"
                report.reshaped.append(f"{ours}: {shapes}")
            filled.add(ours)
    # Norms' batch counters are not weights; old files lack them
    report.missing.extend(
        n for n in state if n not in filled and not n.endswith("num_batches_tracked")
    )
    lacks = [name for name in net.main if name not in filled]
    if len(lacks) > 1:
        report.notes.append(
            f"warning: {len(lacks)} of the {len(net.main)} layers of {backbone.name} are not in "
            f"{source} and stay random: {listed(lacks, 3)}"
        )
    return replace(report, has_tail=bool(net.tail) and net.tail.keys() <= filled)


def _one_part(tensors: Mapping[str, Tensor | Stored]) -> Parts:
    return Parts({"": {
        name: t if isinstance(t, Stored) else of_tensor(t) for name, t in tensors.items()
    }})  # fmt: skip


def _part(found: Match) -> str:
    """The part of the file that was taken, where it had a choice."""
    part = found.prefix.removesuffix(".")
    if not found.by_order:
        return part
    return f"{part}, by order" if part else "by order"


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a file holds beside what is used.

    names  | names in the parts that are used, used or not
    others | other parts: the same net again, heads, without optimisers' parts
    """

    names: tuple[str, ...]
    others: tuple[str, ...]

    @staticmethod
    def of(stored: Mapping[str, Stored], parts: Parts, found: Match, net: Net) -> _Rest:
        used = [
            where for where, part in parts.tensors.items()
            if any(where + name in found.names or where + name in found.clashes for name in part)
        ] or list(parts.tensors)  # fmt: skip
        names = tuple(
            where + name
            for where in used
            for name in parts.tensors[where]
            if _below(where + name, found.scope)
            and not any(_below(where + name, rival) for rival in found.rivals if rival)
        )
        others = [rival.removesuffix(".") for rival in found.rivals]
        others += [
            where.removesuffix(".") for where, part in parts.tensors.items()
            if where and where not in used and not beside(where)
            and any(len(t.shape) > 1 for t in part.values())
            and not any(where.startswith(r) or r.startswith(where) for r in found.rivals)
        ]  # fmt: skip
        return _Rest(names, tuple(dict.fromkeys(name for name in others if name)))


def _below(name: str, prefix: str) -> bool:
    return name.replace("/", ".").startswith(prefix)


def _check_numbers(source: str, theirs: str, tensor: Stored, found: Match, net: Net) -> None:
    """Raises DataError for a tensor that has a place in the net, which would stay random, but
    holds complex numbers, whole ones or none that can be read."""
    place = net.place(found.clashes[theirs]) if theirs in found.clashes else None
    if place is not None and (why := unfit(tensor, place.floating)):
        raise DataError(
            f"{source}: {theirs} is {'' if tensor.odd else 'made of '}{why}",
            "save it as a dense tensor of floating-point numbers",
        )


def _why_not(tensor: Stored, theirs: str, found: Match, net: Net) -> str:
    ours = found.clashes.get(theirs)
    place = net.place(ours) if ours is not None else None
    if place is None:
        return "the net has no such tensor"
    if why := unfit(tensor, place.floating):
        return why
    if same_numbers(tensor.shape, place.shape):
        return f"{ours} is filled already"
    return f"{tensor.shape} in the file, {place.shape} in the net"


def _check_net(
    backbone: Backbone, net: Net, stored: Mapping[str, Stored], found: Match, rest: _Rest,
    source: str, ordered: bool, arch: str,
) -> None:  # fmt: skip
    """Raises DataError if a file is another net's, or leaves most layers of this one random.

    What may be missing: the first convolution, if it takes other channels; heads; and, of a file
    that has nothing else, the layers after those that it has, if it is no other net's.
    """
    main = net.main or tuple(net.trunk)
    filled = found.filled(main)
    ours = set(found.names.values())
    lacks = [name for name in main[1:] if name not in ours]
    weights = [
        name for name in rest.names
        if _below(name, found.prefix) and len(stored[name].shape) > 1
        and not unfit(stored[name])
    ]  # fmt: skip
    unused = [name for name in weights if name not in found.names]
    spare = 4 * len(unused) > len(weights)
    few = not found.names or (2 * filled < len(main) and (filled == 0 or bool(unused)))
    if not few and not (is_known(backbone.name) and (lacks or spare)):
        return
    better = guess(stored, backbone.name, used=filled, ordered=ordered, arch=arch)
    if better is not None and (lacks or better.filled > filled):
        raise DataError(
            f"{source} fits {better.name} ({better.used} of {better.count} tensors), "
            f"not {backbone.name}",
            f"choose the backbone {better.name}, or weights of {backbone.name}",
        )
    if few:
        theirs, mine = ", ".join(list(stored)[:3]), ", ".join(list(main)[:3])
        hint = f"the file has {theirs}, ...; the net has {mine}, ..."
        turned = match({name: _turned(tensor) for name, tensor in stored.items()}, net, ordered)
        why = next(((n, w) for n in found.clashes if (w := unfit(stored[n]))), None)
        if why is not None:
            hint = f"{why[0]} is {'' if stored[why[0]].odd else 'made of '}{why[1]}"
        elif turned.filled(main) > filled:
            hint = "its shapes are (h, w, in, out), as TensorFlow's; the net's are (out, in, h, w)"
        fits = f"fills {filled} of the {len(main)} layers of"
        what = f"{source} {fits}" if found.names else f"no tensor in {source} fits"
        raise DataError(f"{what} {backbone.name}", hint)


def _turned(tensor: Stored) -> Stored:
    """A convolution's weights with their shape in the order of PyTorch, if it is TensorFlow's."""
    if len(tensor.shape) != 4:
        return tensor
    height, width, inputs, outputs = tensor.shape
    return replace(tensor, shape=(outputs, inputs, height, width))
