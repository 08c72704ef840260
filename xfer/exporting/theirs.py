"""Weights for timm's and torchvision's own nets: a run's state under their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xfer.backbones import timm, torchvision
from xfer.backbones.build import make_backbone
from xfer.errors import XferError, listed
from xfer.files import replacing
from xfer.runs.checkpoint import save_weights
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model

CLOSE = 1e-3  # largest difference of logits that rounding explains


@torch.no_grad()
def export_theirs(folder: Run, task: Any, library: str, file: Path) -> dict[str, Any]:
    """Writes a classifier's weights under the names of timm or torchvision.

    Their own net is built, filled and compared: both must give the same logits for a picture of
    noise.

    Returns: the report of `export`; "check" has the largest difference of a logit, "load" the line
        of Python that loads the file.
    Raises: XferError if the net, or its head, is not theirs.
    """
    about = read_model(folder)
    name, backbone = str(about["backbone"]), task.backbone
    head = getattr(task, "head", None)
    last = head[-1] if isinstance(head, nn.Sequential) else None
    if head is None or not (isinstance(last, nn.Linear) and hasattr(task, "logits")):
        raise XferError(
            f"--format {library} is for classifiers: this run's head is no classifier of "
            f"{library}'s",
            f"its backbone alone: xfer models import run:{folder.path} -o FILE.safetensors",
        )
    model, kept = _model_of(name, library), dict(about["backbone_options"])
    kept.pop("dropout", None)
    side = task.preprocess.size
    aliases = make_backbone(name, classifier=True, **about["backbone_options"]).aliases
    missing: list[str] = []
    for net, words in _candidates(library, model, len(task.info.classes), kept, side):
        state, missing = _fill(net, task, last, aliases)
        if missing:
            continue
        net.load_state_dict(state)
        images = backbone.normalise(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8))
        wanted = task.logits(images)
        difference = float((net.eval()(images) - wanted).abs().max())
        if not difference <= CLOSE * max(1.0, float(wanted.abs().max())):
            missing = [f"the same logits ({difference:.3g} apart)"]
            continue
        with replacing(file) as temporary:
            if file.suffix == ".pth":
                torch.save(state, temporary)
            else:
                save_weights(temporary, state, {"format": "pt", "source": "xfer"})
        return {
            "run": str(folder.path), "file": str(file), "format": library,
            "bytes": file.stat().st_size, "tensors": len(state),
            "check": {
                "pictures": 2, "split": "noise", "difference": difference,
                "of": "largest difference of a logit", "tolerance": CLOSE, "worst": "",
            },
            "load": _line(library, words, file),
        }  # fmt: skip
    normed = any(isinstance(part, nn.LayerNorm) for part in head)
    raise XferError(
        f"{library}'s {model} has another head than this run's ({task.options.head}"
        f"{', with a layer norm' if normed else ''}): {listed(missing, 3)}",
        "train with task.norm=false" if normed else "--format onnx, or torch",
    )


def _model_of(name: str, library: str) -> str:
    """The library's name of a backbone. Raises XferError if it is not its."""
    scheme, colon, rest = name.rpartition(":")
    if colon and scheme == library:
        return rest
    if library == "torchvision" and not colon and name in torchvision.names():
        return name
    owner = scheme if scheme in ("timm", "torchvision") else ""
    if not owner and not colon and name in torchvision.names():
        owner = "torchvision"
    raise XferError(
        f"--format {library}: {name} is not a net of {library}'s",
        f"--format {owner}" if owner else "--format onnx, or torch",
    )


def _candidates(
    library: str, model: str, classes: int, options: dict[str, Any], side: int
) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """Their net in the forms that the run's may have, each with the arguments that make it."""
    if library == "torchvision":
        words = {"num_classes": classes, **options}
        yield torchvision.plain(model, words), {"model": model, **words}
        return
    for pool in ({}, {"global_pool": "avg"}):
        words = {"num_classes": classes, **options, **pool}
        for net, added in timm.plain(model, words, side):
            yield net, {"model": model, **words, **added}


def _fill(
    net: nn.Module, task: Any, last: nn.Linear, aliases: dict[str, str]
) -> tuple[dict[str, Tensor], list[str]]:
    """Their state dict from the run's tensors, and the names that nothing was found for."""
    ours, wanted = task.backbone.state_dict(), net.state_dict()
    layers = [n for n, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    final = layers[-1]
    state: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        own = _own_name(name, aliases)
        if own in ours and ours[own].shape == tensor.shape:
            state[name] = ours[own]
        elif name.rpartition(".")[0] == final:
            value = getattr(last, name.rpartition(".")[2])
            if value.numel() == tensor.numel():
                state[name] = value.reshape(tensor.shape)
    norms = [part for part in task.head if isinstance(part, nn.LayerNorm)]
    missing = [name for name in wanted if name not in state]
    # a norm between pooling and the last layer, whatever it is called there
    places = {name.rpartition(".")[0] for name in missing}
    if norms and len(places) == 1:
        for name in list(missing):
            value = getattr(norms[0], name.rpartition(".")[2], None)
            if value is not None and value.shape == wanted[name].shape:
                state[name] = value
                missing.remove(name)
                norms = norms[1:] if not missing else norms
    unused = ["no layer norm before its last layer"] if norms else []
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    return state, [*missing, *unused]


def _own_name(name: str, aliases: dict[str, str]) -> str:
    """The name of one of their tensors in a backbone of ours."""
    fitting = max((p for p in aliases if name.startswith(p)), key=len, default=None)
    return name if fitting is None else aliases[fitting] + name[len(fitting) :]


def _line(library: str, words: dict[str, Any], file: Path) -> str:
    """The Python that loads the file."""
    given = {k: v for k, v in words.items() if k != "model"}
    arguments = ", ".join([repr(words["model"]), *(f"{k}={v!r}" for k, v in given.items())])
    if library == "timm":
        return f"timm.create_model({arguments}, checkpoint_path={str(file)!r})"
    load = "safetensors.torch.load_file" if file.suffix == ".safetensors" else "torch.load"
    net = f"torchvision.models.get_model({arguments})"
    return f"{net}.load_state_dict({load}({str(file)!r}))"
