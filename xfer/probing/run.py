"""`xfer probe FILE`: a classifier on a features file, scored, drawn and saved as a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfer import kinds, plugs
from xfer import task as tasks
from xfer.backbones.base import SCHEMES
from xfer.device import Place
from xfer.errors import XferError
from xfer.extraction.meta import check_meta
from xfer.extraction.store import Features, read_features
from xfer.files import write_text
from xfer.metrics.interval import interval_of
from xfer.notebook.results import ProbeResult
from xfer.probing import classifiers
from xfer.probing import shots as shot_curves
from xfer.probing.choose import Choice, check_folds, make_folds, standard_error
from xfer.probing.data import Part, choose_layer, new_metric, split_parts
from xfer.probing.fit import Probe, fit_probe
from xfer.probing.space import SCALINGS
from xfer.probing.store import model_json, save_probe
from xfer.recipe.data import open_recipe_data
from xfer.recipe.paths import absolute
from xfer.recipe.tables import READING, DataTable, Recipe, RunTable
from xfer.runs.counts import write_counts
from xfer.runs.folder import SCHEMA, Run, environment
from xfer.runs.tables import write_rows

FOLDS = 5
PAGE_SECONDS = 1.0
Say = Callable[[str], None]


def _quiet(_: str) -> None:
    """Prints nothing."""


@plugs.face()
def probe(
    file: Path | str,
    clf: str = "logreg",
    *,
    out: Path | str | None = None,
    layer: str = "",
    shots: Sequence[int] = (),
    repeats: int = shot_curves.REPEATS,
    cv: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    verify: bool = True,
    trust: str | Sequence[str] = (),
    say: Say = _quiet,
) -> dict[str, Any]:
    """Fits a classifier to the features of train, scores it on val, and writes a run folder.

    Scaling and strength are chosen by cross-validation on train only. Without a val split, train
    is scored by cross-validation that repeats this choice in each fold, and the saved probe is
    fitted to all of train. A test split is scored once, at the end.

    Args:
        file: written by `xfer features`; clf: a key of `classifiers.CLASSIFIERS`.
        out: the run folder; default: runs/probe-<backbone>-<data>-<n>.
        layer: which one, if the file has several.
        shots: pictures per class for the curve over few pictures; repeats: draws for each.
        cv: folds; 0: up to 5. seed: of folds and draws.
        verify: compare the features with their checksums.
        trust: the user's modules with the features' net; none is imported here, but a note says
            which are needed to predict with the probe.
        say: called with lines about the data and the choice.

    Returns: result.json's content and "run", the folder.
    Raises: DataError for a file that is damaged, has one class, or fewer pictures than folds;
        XferError for an unknown classifier or layer, and for a folder in use.
    """
    started = time.perf_counter()
    kind = classifiers.get(clf)
    table = read_features(file, verify)
    if not verify:
        say(f"{file}: checksums are not compared")
    layer = choose_layer(table.layers, layer, str(file))
    parts = split_parts(table, layer, str(file))
    train = parts["train"]
    classes = [str(name) for name in table.classes]
    if shots:
        shot_curves.check_shots(train.labels, shots)
    if cv or "val" not in parts:
        check_folds(train.labels, cv or FOLDS)
    check_meta(file, table.meta)
    if table.meta["data"].get("proposals"):
        raise XferError(
            f"{file}: features of regions, and a probe predicts whole pictures",
            "fit a classifier of your own: numpy.load(FILE), scikit-learn",
        )
    recipe = _recipe(table, clf, layer, Path(file), cv, shots, seed)
    if out is not None:
        Run.check_free(Path(out), overwrite)
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    net = plugs.parse(str(table.meta["backbone"]), SCHEMES)
    if net is not None and not plugs.is_named(net):
        say(f"the features are from {net.spec}: to predict, this probe needs --trust {net.module}")
    say(f"features {file}: {layer}, {train.features.shape[1]} numbers per picture; {counts}")
    fitted, choice = fit_probe(clf, train.features, train.labels, len(classes), cv=cv, seed=seed)
    say(f"{clf}: {_chosen(kind, choice)}")
    metrics: dict[str, Any] = {}
    if "val" in parts:
        metrics["val"] = _scored(fitted, parts["val"], classes)
    else:
        say(f"no val split: train is scored by {cv or FOLDS}-fold cross-validation")
        metrics["val"] = _cross_validated(clf, train, classes, cv or FOLDS, seed)
    if "test" in parts:
        metrics["test"] = _scored(fitted, parts["test"], classes)
    rows: list[dict[str, Any]] = []
    if shots:
        rows = _shots(clf, parts, classes, shots, repeats, choice, seed, say)
    with Run.start(recipe, Path(out) if out is not None else None, overwrite) as run:
        run.write_json(
            "env.json",
            environment(made_by="probe", seed=seed, fingerprint=table.meta["data"]["fingerprint"]),
        )
        write_text(run.path / "classes.txt", "".join(f"{name}\n" for name in classes))
        run.write_json("split.json", {name: part.ids for name, part in parts.items()})
        save_probe(run, fitted, model_json(table, recipe.weights, layer, clf, fitted, choice))
        for split, metric in metrics.items():
            write_rows(run.path / "predictions" / f"{split}.csv", metric.rows())
            write_counts(run.path, split, metric)
        scores = metrics["val"].compute()
        primary = metrics["val"].primary
        run.log("eval", step=0, metrics=scores)
        _draw(
            run, metrics["val"], classes, kind, choice, rows, primary, scores[primary], train, say
        )
        seconds = time.perf_counter() - started
        result: dict[str, Any] = {
            "schema": SCHEMA,
            "task": "probe",
            "backbone": recipe.backbone,
            "data": recipe.data.source,
            "recipe": recipe.name,
            "seed": seed,
            "clf": clf,
            "layer": layer,
            "chosen": {
                "scaling": choice.scaling,
                kind.symbol: choice.value,
                "cv_score": choice.score,
            },
            "primary": primary,
            "metrics": scores,
        }
        if "test" in metrics:
            result["test_metrics"] = metrics["test"].compute()
        for split, key in (("val", "interval"), ("test", "test_interval")):
            interval = interval_of(metrics[split]) if split in metrics else None
            if interval is not None:
                result[key] = interval.document()
        if rows:
            result["shots"] = rows
        result |= {
            "protocol": {
                **metrics["val"].protocol(),
                **_protocol(
                    kind, choice, layer, table, cv, "val" in parts, seed, bool(rows), repeats
                ),
            },
            "best_step": 0,
            "steps": 0,
            "seconds": round(seconds, 2),
            "images_per_second": round(sum(map(len, parts.values())) / max(seconds, 1e-9), 2),
            "data_wait": 0.0,
            "peak_memory_mb": round(Place(torch.device("cpu")).peak_memory_mb(), 1),
        }
        _report(run, recipe, metrics["val"], table, result, say)
        run.write_json("result.json", result)
    return ProbeResult({"run": str(run.path), **result})


def _recipe(
    table: Features, clf: str, layer: str, file: Path, cv: int, shots: Sequence[int], seed: int
) -> Recipe:
    """The probe's settings as a recipe, for `xfer runs` and `xfer eval`."""
    meta = table.meta
    options = {
        "features": str(file.absolute()), "clf": clf, "layer": layer, "cv": cv,
        "shots": list(shots),
    }  # fmt: skip
    # no val split is cut from the probe's training pictures
    val = "" if (table.splits == "val").any() else "none"
    about = meta["data"]
    read = {
        k: about[k]
        for k in ("train", "val", "test", "limit", "skip_bad", "changes", *READING)
        if about.get(k)
    }
    drawn = about["seed"] if about.get("limit") else 0  # of the pictures left by `limit`
    recipe = Recipe(
        name="probe", task="probe", backbone=meta["backbone"], weights=meta["weights"]["spec"],
        task_options=options, backbone_options=meta["options"],
        data=DataTable(source=about["spec"], split_seed=drawn, **{"val": val, **read}),
        run=RunTable(seed=seed),
    )  # fmt: skip
    return absolute(recipe)


def _scored(fitted: Probe, part: Part, classes: list[str]) -> Any:
    metric = new_metric(part.labels, classes)
    metric.add(fitted.probabilities(part.features), part.labels, part.ids)
    return metric


def _cross_validated(clf: str, train: Part, classes: list[str], folds: int, seed: int) -> Any:
    """Scores every training picture by a probe neither fitted nor chosen on it."""
    metric = new_metric(train.labels, classes)
    for fit, held in make_folds(train.labels, folds, seed):
        fitted, _ = fit_probe(
            clf, train.features[fit], train.labels[fit], len(classes), seed=seed + 1
        )
        scores = fitted.probabilities(train.features[held])
        metric.add(scores, train.labels[held], [train.ids[i] for i in held])
    return metric


def _shots(
    clf: str, parts: dict[str, Part], classes: list[str], shots: Sequence[int], repeats: int,
    choice: Choice, seed: int, say: Say,
) -> list[dict[str, Any]]:  # fmt: skip
    train, scored = parts["train"], parts.get("val")
    drawn, labels = train.features, train.labels
    if scored is None:
        rest, held = make_folds(train.labels, FOLDS, seed)[0]
        drawn, labels = train.features[rest], train.labels[rest]
        others, truth = train.features[held], train.labels[held]
    else:
        others, truth = scored.features, scored.labels
    return shot_curves.shot_curve(
        clf, drawn, labels, others, truth, shots, scaling=choice.scaling, classes=len(classes),
        repeats=repeats, seed=seed, tick=say,
    )  # fmt: skip


def _chosen(kind: classifiers.Classifier, choice: Choice) -> str:
    text = f"scaling {choice.scaling}, {kind.symbol} {choice.value:.3g}"
    if choice.score is None:
        return f"{text}, the default: too few pictures for cross-validation"
    return f"{text}, held-out score {choice.score:.4f} in train"


def _protocol(
    kind: classifiers.Classifier, choice: Choice, layer: str, table: Features, cv: int,
    has_val: bool, seed: int, has_shots: bool, repeats: int,
) -> dict[str, str]:  # fmt: skip
    folds = "default: too few pictures to hold any out"
    if choice.folds:
        how = f"{choice.folds}-fold" if choice.folds > 1 else "one fifth held out:"
        folds = f"{how} cross-validation on train only ({choice.pictures} pictures, seed {seed})"
    entries = {
        "features": f"{layer} of {table.meta['backbone']}, pool {table.meta['pool']}, "
        f"crops {table.meta['crops']}, normalise {table.meta['normalise']}",
        "chosen_by": f"{folds}: of the scalings {', '.join(SCALINGS)} "
        f"and {kind.symbol} of {kind.source}, those within one standard error of the best score, "
        "the one with the lowest loss",
        "scored_on": "val"
        if has_val
        else f"train, {cv or FOLDS}-fold cross-validation, with scaling and {kind.symbol} chosen "
        "within each fold",
    }
    if kind.decides:
        entries["probabilities"] = (
            f"decision values / {choice.temperature:.4g}, a temperature fitted to held-out "
            "training pictures"
        )
    if has_shots:
        entries["shots"] = (
            f"mean of {repeats} draws of training pictures, scaling as above, {kind.symbol} chosen "
            "by cross-validation in the draw; low..high is Student's 95 % interval of the mean; "
            + ("scored on val" if has_val else "scored on a fifth of train left out of the draws")
        )
    return entries


def _draw(
    run: Run, metric: Any, classes: list[str], kind: classifiers.Classifier, choice: Choice,
    rows: list[dict[str, Any]], primary: str, score: float, train: Part, say: Say,
) -> None:  # fmt: skip
    """Draws the probe's plots. A plot that fails gives a warning, never an error."""
    from xfer.drawing.bars import per_class_bars
    from xfer.report.confusion import confusion
    from xfer.report.plots import MAX_CLASSES
    from xfer.report.shots import choice_picture, shot_picture

    plots = run.path / "plots"
    try:
        if hasattr(metric, "confusion") and len(classes) <= MAX_CLASSES:
            confusion(metric.confusion, classes, plots / "confusion.png")
        else:
            per_class = metric.compute()["per_class"]
            values = {name: row["ap"] for name, row in per_class.items()}
            counts = {name: row["positives"] for name, row in per_class.items()}
            per_class_bars(values, counts, plots / "classes.png", "average precision")
        trials = [(c.scaling, c.value, c.score or 0.0, c.loss or 0.0) for c in choice.trials]
        if trials:
            chosen = (choice.scaling, choice.value)
            top = max(trial[2] for trial in trials)
            choice_picture(
                trials, chosen, plots / "choice.png", symbol=kind.symbol, score=primary,
                error=standard_error(top, choice.pictures),
            )  # fmt: skip
        if rows:
            full = (int(np.bincount(train.labels).min()), score)
            shot_picture(rows, plots / "shots.png", score=primary, full=full)
    except Exception as error:
        say(f"warning: plots/ is incomplete: {type(error).__name__}: {error}")


def _report(
    run: Run, recipe: Recipe, metric: Any, table: Features, result: dict[str, Any], say: Say
) -> None:
    """Writes report.html, with the pictures if they are still where the features are from. A page
    that fails gives a warning, never an error."""
    from xfer.report.page import Facts, Live, write_page

    deadline = time.monotonic() + PAGE_SECONDS
    split = "val" if (table.splits == "val").any() else "train"
    source = train = kind = None
    with contextlib.suppress(XferError):  # the data are gone: the page has their names alone
        task = tasks.for_kind(table.meta["data"]["kind"])
        bundle = open_recipe_data(replace(recipe, task=task), check=False, find=False)
        source, train = bundle.splits.get(split), bundle.splits.get("train")
        kind = kinds.get(bundle.kind)
    live = Live(split, metric, source, train, kind=kind, deadline=deadline)
    try:
        write_page(Facts.of(run.path, live, result), run.path / "report.html")
    except Exception as error:
        say(f"warning: no report.html: {type(error).__name__}: {error}")
