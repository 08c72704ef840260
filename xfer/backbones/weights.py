"""Puts weights into a backbone, and reports what of them went where."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from xfer import plugs
from xfer.backbones.base import SCHEMES, Backbone
from xfer.backbones.files import digest, read_weights
from xfer.backbones.report import WeightReport
from xfer.errors import DataError

WORDS = ("imagenet", "none")  # what `weights` may be beside files and runs
_WRAPPERS = ("module.", "backbone.", "model.", "_orig_mod.")


def load_weights(
    backbone: Backbone, spec: str, *, net: str, say: Callable[[str], None] | None = None
) -> WeightReport:
    """Fills a backbone in place.

    Args:
        backbone: the net; parameters that the file lacks stay as they are.
        spec: "imagenet", "none", a file (.pth .pt .safetensors .npz .caffemodel) or run:DIR.
        net: the backbone's name, which decides what "imagenet" is.
        say: is called with lines about downloads.

    Raises: DataError if the file is missing or broken, or nothing in it fits the net; XferError for
        a run whose net is code that nobody has named.
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
    tensors = read_weights(path)
    if spec.startswith("run:"):
        own = {k: v for k, v in tensors.items() if k.startswith("backbone.")}
        tensors = own or tensors
    report = fill(backbone, tensors, source, digest(path))
    return replace(report, side=_trained_side(path.parent)) if spec.startswith("run:") else report


def _trained_side(run: Path) -> int:
    """Side of the pictures that a run was trained on, pixels; 0 where model.json does not say."""
    try:
        side = json.loads((run / "model.json").read_text(encoding="utf-8"))["size"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return 0
    return side if isinstance(side, int) else 0


def check_run_net(run: Path) -> None:
    """Raises XferError for a run whose net is in a module that nobody has named: nothing is
    imported for weights alone, but what they are the weights of is somebody's code."""
    file = run / "model.json"
    try:
        name = json.loads(file.read_text(encoding="utf-8"))["backbone"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return  # the weights say themselves what they fit
    plug = plugs.parse(name, SCHEMES) if isinstance(name, str) else None
    if plug is not None:
        with plugs.reading(file):
            plugs.check_named(plug, "backbone")


def _unwrapped(
    tensors: dict[str, Tensor], own: set[str], aliases: dict[str, str]
) -> dict[str, str]:
    """Names in the file -> names in the net (or what is left of the file's own)."""

    def translate(name: str) -> str:
        if name in own:
            return name
        for theirs in sorted(aliases, key=len, reverse=True):
            if name.startswith(theirs):
                candidate = aliases[theirs] + name[len(theirs) :]
                if candidate in own:
                    return candidate
        return name

    names: dict[str, str] = {}
    for name in tensors:
        bare, best = name, translate(name)
        while best not in own and (
            prefix := next((p for p in _WRAPPERS if bare.startswith(p)), "")
        ):
            bare = bare[len(prefix) :]
            best = translate(bare)
        names[name] = best
    return names


def _same_numbers(theirs: Tensor, ours: Tensor) -> bool:
    """Whether a tensor is ours but for ones in its shape, or for C, h, w being flattened."""
    if theirs.numel() != ours.numel():
        return False
    first = [next((d for d in t.shape if d != 1), 1) for t in (theirs, ours)]
    return first[0] == first[1]


def fill(
    backbone: Backbone, tensors: dict[str, Tensor], source: str, sha256: str = ""
) -> WeightReport:
    """Copies what fits into the net by name and shape.

    Raises: DataError if nothing fits.
    """
    state = backbone.state_dict()
    report = WeightReport(source, digest=sha256)
    names = _unwrapped(tensors, set(state), backbone.aliases)
    filled: set[str] = set()
    with torch.no_grad():
        for theirs, ours in names.items():
            tensor = tensors[theirs]
            if ours not in state:
                report.skipped.append(f"{theirs}: the net has no such tensor")
            elif ours in filled:
                report.skipped.append(f"{theirs}: {ours} is filled already")
            elif state[ours].shape == tensor.shape:
                state[ours].copy_(tensor)
                report.matched.append(ours)
                filled.add(ours)
            elif _same_numbers(tensor, state[ours]):
                state[ours].copy_(tensor.reshape(state[ours].shape))
                shapes = f"{tuple(tensor.shape)} -> {tuple(state[ours].shape)}"
                report.reshaped.append(f"{ours}: {shapes}")
                filled.add(ours)
            else:
                shapes = f"{tuple(tensor.shape)} in the file, {tuple(state[ours].shape)} in the net"
                report.skipped.append(f"{theirs}: {shapes}")
    # Batch counters of norms are not weights: old files lack them
    report.missing.extend(
        n for n in state if n not in filled and not n.endswith("num_batches_tracked")
    )
    parameters = {name for name, _ in backbone.named_parameters()}
    if not filled & parameters:
        theirs = ", ".join(list(tensors)[:3])
        ours = ", ".join(list(state)[:3])
        raise DataError(
            f"nothing in {source} fits {backbone.name}",
            f"the file has {theirs}, ...; the net has {ours}, ...",
        )
    tail = {name for name in state if name.startswith("tail.")}
    has_tail = bool(tail) and tail <= filled
    return WeightReport(
        source, report.matched, report.reshaped, report.skipped, report.missing, has_tail, sha256
    )
