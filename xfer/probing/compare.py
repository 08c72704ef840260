"""`xfer probe --compare`: what transfers, by net and layer.

After Yosinski et al. 2014 and Razavian et al. 2014: the same classifier on every layer of every
net; each net is run once over the pictures.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xfer import plugs
from xfer.backbones.build import make_backbone
from xfer.errors import DataError, XferError
from xfer.extraction.extract import extract
from xfer.extraction.net import POOLS, Choice, load_net
from xfer.files import check_folder, write_text
from xfer.notebook.results import NetsCompared
from xfer.probing import classifiers
from xfer.probing.data import new_metric, split_parts
from xfer.probing.fit import fit_probe
from xfer.runs.folder import SCHEMA, environment
from xfer.runs.tables import rows_to_csv

RESULT = "result.json"
Say = Callable[[str], None]


@plugs.face("data", "backbones")
def compare_nets(
    data: str,
    backbones: Sequence[str],
    *,
    layers: Sequence[str] | None = None,
    weights: Sequence[str] = ("imagenet",),
    pool: str = "grid2",
    clf: str = "logreg",
    cv: int = 0,
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    verify: bool = True,
    data_keys: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Probes every layer of every net, and names the commands for the best one.

    Args:
        data: a spec; backbones: names as `create_backbone` takes them.
        layers: names that every net must have; None: all that a net has weights for.
        weights: one spec for all nets, or one per net.
        pool: how a map becomes a vector; grid2 keeps the first layers' vectors short enough.
        clf, cv, seed: of the probes, as in `xfer.probing.run.probe`.
        out: a folder for result.json, layers.csv and layers.png.
        skip_bad: leave out pictures that can't be decoded.
        verify: compare the checksums of packs and kept indexes.
        trust: your own modules that runs given as weights may name.

    Returns: result.json's content: {"rows": [{"backbone", "layer", "width", score, "loss",
        "scaling", "value", "seconds"}], "best": its row, "commands": the commands to run, ...}.
    Raises: XferError for unknown names, a wrong number of weights, or a folder
        with another result; DataError for data or weights that can't be used.
    """
    kind = classifiers.get(clf)
    specs = list(weights) * len(backbones) if len(weights) == 1 else list(weights)
    if len(specs) != len(backbones):
        raise XferError(
            f"{len(specs)} weights for {len(backbones)} nets", "--weights W for all, or one per net"
        )
    if pool not in POOLS:
        raise XferError(f"--pool {pool}: unknown", f"choose from {', '.join(POOLS)}")
    folder = None if out is None else _free(Path(out), overwrite)
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    primary, scored_on = "", "val"
    for backbone, spec in zip(backbones, specs, strict=True):
        names = tuple(layers) if layers is not None else usable_layers(backbone, spec, pool)
        choice = Choice(backbone, spec, names, pool, device=device)
        extraction = extract(
            data,
            choice=choice,
            seed=seed,
            skip_bad=skip_bad,
            verify=verify,
            data_keys=data_keys,
            say=say,
        )
        assert extraction.features is not None
        for layer in names:
            began = time.perf_counter()
            parts = split_parts(extraction.features, layer, data)
            train, val = parts["train"], parts.get("val")
            classes = [str(name) for name in extraction.features.classes]
            fitted, chosen = fit_probe(
                clf, train.features, train.labels, len(classes), cv=cv, seed=seed
            )
            primary = new_metric(train.labels, classes).primary
            if val is not None:
                metric = new_metric(val.labels, classes)
                metric.add(fitted.probabilities(val.features), val.labels, val.ids)
                scores = metric.compute()
                score, loss = scores[primary], scores["loss"]
            else:
                scored_on, score, loss = "train", chosen.score, chosen.loss
                if score is None:
                    raise DataError(f"{data}: no val split, and too few pictures to cross-validate")
            rows.append({
                "backbone": backbone, "weights": spec, "layer": layer,
                "width": train.features.shape[1], primary: score, "loss": loss,
                "scaling": chosen.scaling, kind.symbol: chosen.value,
                "seconds": round(time.perf_counter() - began, 2),
            })  # fmt: skip
            say(f"{backbone} {layer}: {primary} {score:.4f}")
    best = max(rows, key=lambda row: (row[primary], -row["loss"]))
    result: dict[str, Any] = {
        "schema": SCHEMA, "task": "probe-compare", "data": data, "clf": clf, "seed": seed,
        "primary": primary, "rows": rows, "best": best,
        "commands": commands(best, data, pool, clf, skip_bad),
        "protocol": _protocol(scored_on, kind, pool),
        "seconds": round(time.perf_counter() - started, 2),
    }  # fmt: skip
    if folder is not None:
        _write(folder, result, say)
    return NetsCompared(result)


def usable_layers(backbone: str, weights: str, pool: str) -> tuple[str, ...]:
    """Every map of a net, and the layers of its tail if the weights fill them."""
    with torch.device("meta"):
        net = make_backbone(backbone)
    if net.tail is None:
        return net.layers
    try:
        load_net(Choice(backbone, weights, net.layers, pool))
    except DataError:
        return net.map_names  # extracting these reports any other error
    return net.layers


def commands(
    best: dict[str, Any], data: str, pool: str, clf: str, skip_bad: bool = False
) -> list[str]:
    """The commands to get the probe of a row as a run: its features, then the probe."""
    net = ["--backbone", best["backbone"], "--weights", best["weights"]]
    file, out = "best.npz", f"runs/probe-{best['layer']}"
    return [
        shlex.join(
            ["xfer", "features", *net, "--layer", best["layer"], "--pool", pool, "--data", data,
             *["--skip-bad"] * skip_bad, "-o", file]
        ),
        shlex.join(["xfer", "probe", file, "--clf", clf, "--out", out]),
    ]  # fmt: skip


def _protocol(scored_on: str, kind: classifiers.Classifier, pool: str) -> dict[str, str]:
    where = {
        "val": "val; the same pictures choose and score the best of many rows, so its score is "
        "slightly optimistic",
        "train": "the held-out folds of train that also chose scaling and strength, so each score "
        "is slightly optimistic",
    }
    return {
        "scored_on": where[scored_on],
        "features": f"maps pooled: {pool}, {POOLS[pool]}; layers of the tail unchanged",
        "chosen_by": f"cross-validation on train only, {kind.symbol} of {kind.source}",
    }


def _free(folder: Path, overwrite: bool) -> Path:
    """Raises XferError if the folder holds anything but an older comparison, DataError if it can't
    be written to."""
    if folder.exists() and not folder.is_dir():
        raise XferError(f"{folder} is a file, not a folder", "choose another --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / RESULT).is_file() or (folder / "recipe.toml").is_file():
            raise XferError(f"{folder} is not empty and not a comparison", "choose another --out")
        if not overwrite:
            raise XferError(f"{folder} holds a comparison", "--overwrite, or choose another --out")
    check_folder(folder)
    return folder


def _write(folder: Path, result: dict[str, Any], say: Say) -> None:
    import json

    from xfer.report.layers import layer_picture

    write_text(folder / "layers.csv", rows_to_csv(result["rows"]))
    write_text(folder / "env.json", json.dumps(environment(seed=result["seed"]), indent=1) + "\n")
    try:
        layer_picture(result["rows"], folder / "layers.png", score=result["primary"])
    except Exception as error:
        say(f"warning: layers.png could not be drawn: {type(error).__name__}: {error}")
    write_text(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
