"""Features files, the probes fitted to them, and the cache of vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tiny_nets import tiny

import xfer
from fuzz import case as cases
from fuzz.case import Case
from fuzz.target import target, used
from xfer import plugs
from xfer.cache import Cache
from xfer.extraction import Features, read_features, write_features
from xfer.extraction.extract import extract
from xfer.extraction.meta import check_meta
from xfer.extraction.net import Choice as Layers
from xfer.probing.choose import Choice
from xfer.probing.data import choose_layer, new_metric, split_parts
from xfer.probing.fit import fit_probe
from xfer.probing.run import _recipe
from xfer.probing.store import load_probe, model_json, save_probe
from xfer.runs.folder import Run

NET = "tiny_nets:tiny"
_PICTURES = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3)).astype(np.uint8)
_CHOICE = Choice("standard", 1.0)


def _extracted(folder: Path) -> Features:
    """Features of twelve pictures of two classes."""
    weights = folder / "tiny.safetensors"
    torch.manual_seed(0)
    save_file({k: v.contiguous() for k, v in tiny().state_dict().items()}, weights)
    choice = Layers(NET, str(weights), ("conv1", "conv2"), pool="avg", device="cpu")
    labels = ["ant", "bee"] * 6
    data = list(zip(_PICTURES, labels, strict=True))
    with plugs.naming(trust="tiny_nets"):
        found = extract(data, choice=choice, cache=False).features
    assert found is not None
    return found


def _files(folder: Path) -> list[Features]:
    found = _extracted(folder)
    splits = np.array(["train"] * 8 + ["val"] * 2 + ["test"] * 2, np.str_)
    found = replace(found, splits=splits)
    several = np.stack([found.y == 0, found.y == 1], 1).astype(np.int8)
    half = {name: array.astype(np.float16) for name, array in found.layers.items()}
    return [found, replace(found, y=several, layers=half)]


def features(folder: Path) -> list[Case]:
    made: list[Case] = []
    for i, found in enumerate(_files(folder)):
        write_features(folder / f"{i}.npz", found)
        made.append(cases.of_file(folder / f"{i}.npz", "a.npz"))
    return made


@target("features", features)
def use_features(path: Path) -> None:
    """As `xfer probe` reads them."""
    table = read_features(path)
    for name in table.layers:
        array = np.asarray(table.layers[name])
        used(array[:1].tolist(), array[-1:].tolist())
    layer = choose_layer(table.layers, next(iter(table.layers)), str(path))
    parts = split_parts(table, layer, str(path))
    train, classes = parts["train"], [str(name) for name in table.classes]
    check_meta(path, table.meta)
    recipe = _recipe(table, "ridge", layer, path, 0, (), 0)
    fitted, choice = fit_probe("ridge", train.features, train.labels, len(classes), choice=_CHOICE)
    for part in parts.values():
        metric = new_metric(part.labels, classes)
        metric.add(fitted.probabilities(part.features), part.labels, part.ids)
        metric.compute()
    model_json(table, recipe.weights, layer, "ridge", fitted, choice)


def probes(folder: Path) -> list[Case]:
    made: list[Case] = []
    for several, table in enumerate(_files(folder)):
        parts = split_parts(table, "conv2", "a.npz")
        for clf in ("ridge", "knn", "logreg", "rbf-svm"):
            fitted, choice = fit_probe(
                clf, parts["train"].features, parts["train"].labels, 2, choice=_CHOICE
            )
            recipe = _recipe(table, clf, "conv2", Path("a.npz"), 0, (), 0)
            run = Run.create(recipe, folder / f"{clf}-{several}")
            save_probe(run, fitted, model_json(table, recipe.weights, "conv2", clf, fitted, choice))
            made.append(cases.of_folder(run.path))
    return made


@target("probe", probes, keep=("recipe.toml",))
def use_probe(path: Path) -> None:
    """As `xfer predict` reads it."""
    probe, _ = load_probe(path)
    probe.probabilities(np.ones((2, probe.width), np.float32))
    xfer.load(path, device="cpu", trust="tiny_nets").predict(list(_PICTURES[:1]))[0]


def caches(folder: Path) -> list[Case]:
    made: list[Case] = []
    for count, wide in ((0, 1), (3, 4), (40, 200)):
        file = folder / f"{count}.sqlite"
        cache = Cache(file, 1 << 30)
        rows = {bytes([i]) * 32: np.full(wide, i / 3, np.float32) for i in range(count)}
        cache.keep(rows)
        cache.close()
        made.append(cases.of_file(file, "v1.sqlite"))
    return made


@target("cache", caches)
def use_cache(path: Path) -> None:
    """As `xfer features` uses it: a damaged one is put aside with a warning."""
    warnings: list[str] = []
    cache = Cache(path, 1 << 20, warnings.append)
    keys = [bytes([i]) * 32 for i in range(40)]
    for row in cache.find(keys).values():
        row[:1].tolist()
    cache.keep({b"a" * 32: np.ones(100, np.float32)})
    cache.state()
    cache.close()
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
