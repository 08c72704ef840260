"""Model cards: card.md of a run, in the Hugging Face Hub's format, and an exported backbone's.

The run's card has the Hub's header in YAML (its metrics, as a model-index) and says in words what
was trained on what, how good it is and what is not known.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer import files, kinds
from xfer.errors import DataError, XferError, whole
from xfer.recipe.tables import Recipe, flatten
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model

NAME = "card.md"
# our scores -> metrics of the Hub; others keep their names
_HUB_METRICS = {"top1": "accuracy", "miou": "mean_iou"}
_SPLITS = {"val": ("metrics", "interval"), "test": ("test_metrics", "test_interval")}
# what a card tells of a recipe; the rest is in recipe.toml
_KEYS = ("weights", "schedule.epochs", "data.batch", "data.size", "data.augment", "optim.name",
         "optim.lr", "optim.weight_decay", "optim.freeze", "run.precision", "run.seed")  # fmt: skip


def write_card(folder: Path, result: Mapping[str, Any] | None = None) -> Path:
    """Writes card.md of a run, and returns its path.

    Args: result: the content of result.json; None: what the run holds.
    Raises: XferError for a run that is not finished, DataError if its files are damaged.
    """
    run = Run.open(folder)
    if result is None:
        result = run.read_json("result.json")
    about, recipe = read_model(run), run.recipe()
    splits = run.read_json("split.json") if files.is_file(folder / "split.json") else {}
    with whole(folder, "what its card says is missing or damaged"):
        header = _header(folder.resolve().name, about, result, recipe)
        body = _body(folder.resolve().name, about, result, recipe, splits)
    files.write_text(folder / NAME, f"---\n{header}---\n\n{body}")
    return folder / NAME


def _header(name: str, about: Mapping[str, Any], result: Mapping[str, Any], recipe: Recipe) -> str:
    """The metadata in YAML. Source: huggingface.co/docs/hub/model-cards, "Model card metadata"."""
    import yaml

    task, data = _hub_task(about), _data_name(result)
    results: list[dict[str, Any]] = []
    for split, (key, _) in _SPLITS.items():
        scores = _scores(result.get(key, {}))
        if scores:
            metrics = [
                {"type": _HUB_METRICS.get(score, score), "name": score, "value": value}
                for score, value in scores.items()
            ]
            place = {"name": data, "type": _slug(data), "split": _HUB_SPLITS[split]}
            results.append({"task": {"type": task}, "dataset": place, "metrics": metrics})
    base = _base_model(recipe)
    header: dict[str, Any] = {
        "license": "unknown",
        "library_name": "xfer",
        **({} if task == "other" else {"pipeline_tag": task}),
        "tags": list(dict.fromkeys(["xfer", _slug(str(about["kind"])), _slug(recipe.backbone)])),
        "datasets": [_slug(data)],
        **({"base_model": base} if base else {}),
        "metrics": [_HUB_METRICS.get(result["primary"], result["primary"])],
        "model-index": [{"name": name, "results": results}],
    }
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=100)


_HUB_SPLITS = {"val": "validation", "test": "test"}


def _body(
    name: str, about: Mapping[str, Any], result: Mapping[str, Any], recipe: Recipe,
    splits: Mapping[str, Any],
) -> str:  # fmt: skip
    classes, kind, keys = about["classes"], _kind_words(about), flatten(recipe)
    shown = _plain(", ".join(classes[:20]) + (", ..." if len(classes) > 20 else ""))
    counts = {
        role: len(entry) if isinstance(entry, list) else entry["images"]
        for role, entry in splits.items()
    }
    protocol = [f"- {_plain(k)}: {_plain(v)}" for k, v in result["protocol"].items()]
    rows: list[str] = []
    for split, (key, between) in _SPLITS.items():
        interval = result.get(between)
        for score, value in _scores(result.get(key, {})).items():
            of_primary = interval if score == result["primary"] else None
            ends = f"{of_primary['low']:.4f} to {of_primary['high']:.4f}" if of_primary else ""
            rows.append(f"| {split} | {_plain(score)} | {value:.4f} | {ends} |")
    method = next((result[b]["method"] for _, b in _SPLITS.values() if b in result), "")
    keys["weights"] = re.split(r"[/\\]", recipe.weights.rstrip("/\\"))[-1]  # without a path
    settings = [
        f"| {key} | `{_code(str(keys[key]))}` |" for key in _KEYS if keys.get(key, "") != ""
    ]
    trained = f"{result['steps']} steps, the best at {result['best_step']}"
    lines = [
        f"# {_plain(name)}", "",
        f"`{_code(recipe.backbone)}` for the task `{_code(str(result['task']))}`: {kind}, "
        f"{len(classes)} classes. Trained with xfer.", "",
        "## Scores", "",
        "| split | score | value | 95 % interval |", "|--|--|--|--|", *rows, "",
        *([f"Interval: {_plain(method)}.", ""] if method else []), *protocol, "",
        *_calibration(result), "## Data", "",
        f"{_plain(_data_name(result))}: "
        + (", ".join(f"{count:,} pictures {role}" for role, count in counts.items()) or "unknown")
        + ".", "", f"Classes: {shown}", "", "## Training", "",
        f"Recipe {_plain(recipe.name)}, {trained}, {result['seconds']:.0f} s.", "",
        "| key | value |", "|--|--|", *settings, "",
        "All settings are in recipe.toml, versions and the machine in env.json.", "",
        "## How to load it", "", "```python", "import xfer",
        f"model = xfer.load({json.dumps(name)})  # this folder",
        'model.predict(["picture.jpg"])', "```", "",
        f"`{_code(f'xfer predict {shlex.quote(name)} picture.jpg')}`", "",
        "## Limits", "", *_limits(result, counts), "",
        "## Before it is shared", "",
        "- The Hub reads the card from README.md: copy card.md to that name.",
        "- `license: unknown` above: set it. The licences of the training pictures and of the "
        "weights that training started from may restrict use.",
        "- recipe.toml, env.json and split.json hold the paths and the command of the machine that "
        "trained it, predictions/ and plots/ the names of pictures and pictures themselves.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _calibration(result: Mapping[str, Any]) -> list[str]:
    found = result.get("calibration")
    if not found:
        return []
    after = found["ece_calibrated"]
    mended = "" if after is None else f", {after:.4f} with a temperature fitted to other folds"
    return [
        f"Calibration error (ECE) on val: {found['ece']:.4f}{mended}. `predict(..., "
        f"calibrated=True)` divides the logits by {found['temperature']:.4g}.", "",
    ]  # fmt: skip


def _limits(result: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    lines: list[str] = []
    if "test_metrics" not in result and "metrics" in result:
        lines.append("- There was no test split: the best step was chosen on val, so that the "
                     "score on val is somewhat too high.")  # fmt: skip
    few = min((counts[split] for split in _SPLITS if split in counts), default=0)
    if 0 < few < 200:
        lines.append(f"- The score is of {few} pictures: see its interval.")
    return [
        *lines,
        "- It was scored on pictures like those it was trained on, and on no others; what is none "
        "of its classes still gets one of them, or a score.",
        "- One training with one seed: another one differs somewhat.",
    ]


def _kind_words(about: Mapping[str, Any]) -> str:
    known = about["kind"] in kinds.KINDS.names()
    return kinds.get(about["kind"]).holds if known else _plain(about["kind"])


def _hub_task(about: Mapping[str, Any]) -> str:
    known = about["kind"] in kinds.KINDS.names()
    return kinds.get(about["kind"]).hub_task if known else "other"


def _scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if isinstance(v, float) and math.isfinite(v)}


def _base_model(recipe: Recipe) -> str:
    """The Hub's name of the weights that training started from; "" if it is not known for sure."""
    source, _, name = recipe.backbone.partition(":")
    # a name with its tag is a repository of timm's; without one it depends on timm's version
    return (
        f"timm/{name}" if source == "timm" and "." in name and recipe.weights == "imagenet" else ""
    )


def _data_name(result: Mapping[str, Any]) -> str:
    """The last part of what the data were called: a path tells more than others need to know."""
    last = re.split(r"[/\\:]", str(result["data"]).rstrip("/\\"))[-1]
    return last or "data"


def _slug(text: str) -> str:
    """A name as the Hub takes it: letters, digits, hyphen, dot, underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "data"


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
