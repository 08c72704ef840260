"""A run's backbone exported as a weight file, with a model card that tells its origin."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from xfer import files
from xfer.errors import DataError, XferError, whole
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model


def export_run(folder: Path, out: Path) -> str:
    """Writes a finished run's backbone as .safetensors, under the net's own tensor names, and next
    to it a card, <out>.md: what it is, how it was trained, its scores, how to use it.

    Returns: a line that says what was written. Raises: DataError for a run that is unfinished or
        whose fc6 or fc7 are compressed, and if nothing can be written; XferError if the card
        exists already, and for a net in a module that nobody has named.
    """
    from xfer.backbones.files import digest, read_weights
    from xfer.backbones.weights import check_run_net

    run = Run.open(folder)
    check_run_net(folder)
    if not run.finished:
        again = f"xfer finetune --resume {shlex.quote(str(folder))}"
        raise DataError(f"{folder}: the run is not finished", again)
    tensors = {
        name.removeprefix("backbone."): tensor.contiguous()
        for name, tensor in read_weights(run.weights_file).items()
        if name.startswith("backbone.")
    }
    if not tensors:
        raise DataError(f"{run.weights_file}: it contains no backbone")
    for name, tensor in tensors.items():
        checkpoint.check_numbers(run.weights_file, name, tensor)
    if any(name.startswith("tail.") and name.endswith(".first.weight") for name in tensors):
        raise DataError(
            f"{folder}: its fc6 and fc7 are compressed, so they no longer fit the net",
            "import the run that it was made from",
        )
    card = out.with_suffix(".md")
    if card.exists():
        raise XferError(f"{card} exists", "choose another name, or remove it first")
    model, result = read_model(run), run.read_json("result.json")
    with whole(folder, "what its card says is missing or damaged"):
        about = {
            "format": "pt", "source": f"xfer run {folder.name}", "backbone": str(model["backbone"]),
            "backbone_options": json.dumps(model["backbone_options"]), "recipe": run.recipe().name,
            "source_sha256": digest(run.weights_file),
            "preprocess": json.dumps(model["preprocess"]),
        }  # fmt: skip
        text(out, model, result, run.recipe().name, "")  # before anything is written
    checkpoint.save_weights(out, tensors, about)
    files.write_text(card, text(out, model, result, run.recipe().name, digest(out)))
    return f"{len(tensors)} tensors of {model['backbone']}; written to {out}, its card to {card}"


def text(out: Path, model: dict[str, Any], result: dict[str, Any], recipe: str, sha256: str) -> str:
    """The card, in Markdown."""
    classes, own = model["classes"], model["preprocess"]
    scores = {
        f"{split}{name}": value
        for split, key in (("", "metrics"), ("test ", "test_metrics"))
        for name, value in result.get(key, {}).items()
        if isinstance(value, float)
    }
    strange = [key for key in model["backbone_options"] if not key.isidentifier()]
    if strange:  # the card holds code, which people copy and run
        raise DataError(f"backbone_options: {strange[0]!r:.60} is not the name of an option")
    options = "".join(f", {k}={v!r}" for k, v in model["backbone_options"].items())
    protocol = [f"- {_plain(k)}: {_plain(v)}" for k, v in result["protocol"].items()]
    shown = _plain(", ".join(classes[:5]) + (", ..." if len(classes) > 5 else ""))
    backbone, weights = str(model["backbone"]), json.dumps(out.name)
    command = f"xfer finetune --backbone {shlex.quote(backbone)} --weights {shlex.quote(out.name)}"
    lines = [
        f"# {out.stem}", "",
        f"Weights of xfer's `{_code(backbone)}`: its convolutions and hidden layers, without the "
        "classification layer.", "",
        "| | |", "|--|--|",
        f"| trained by | `{_code(recipe)}`, seed {result['seed']} |",
        f"| on | {_plain(result['data'])}: {len(classes)} classes ({shown}) |",
        f"| steps | {result['steps']}, best at {result['best_step']} |",
        f"| input | {own['size']} px of {own['resize']}, {own['channels']}, mean {own['mean']}, "
        f"std {own['std']}, scale {own['scale']} |",
        *(f"| {_plain(name)} | {value:.4f} |" for name, value in scores.items()),
        f"| sha256 | {sha256} |", "", *protocol, "",
        "```python", "import xfer",
        f"net = xfer.create_backbone({json.dumps(backbone)}, weights={weights}{options})",
        "```", "",
        f"`{_code(command)} --data ...`", "",
        "The licence of the training pictures may restrict its use.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _plain(text: Any) -> str:
    """Text of a run's files as Markdown that shows it: one line, no markup, no HTML."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(text).split()))


def _code(text: str) -> str:
    """The same between backticks."""
    return " ".join(text.replace("`", "'").replace("|", "/").split())
