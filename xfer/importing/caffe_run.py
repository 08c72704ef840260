"""Writes a published Caffe model, convolutions and heads, as a run that predicts and evaluates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xfer import task as tasks
from xfer.backbones.build import make_backbone
from xfer.backbones.caffemodel import read_caffemodel
from xfer.backbones.files import digest
from xfer.data.readers.voc.masks import CLASSES as VOC
from xfer.errors import DataError, XferError, listed
from xfer.files import at_home, text_of
from xfer.importing.caffe_detector import DetectorPlan
from xfer.importing.caffe_fcn import FCNPlan
from xfer.importing.caffe_net import CaffeNet
from xfer.importing.plan import Plan
from xfer.importing.prototxt import read_prototxt
from xfer.inference.score import view_protocol
from xfer.recipe.choose import check
from xfer.recipe.tables import Recipe, override
from xfer.recipe.toml import load_recipe
from xfer.runs import checkpoint
from xfer.runs.folder import SCHEMA, Run, environment
from xfer.runs.model_file import about_model, write_model
from xfer.task import Task
from xfer.types import DataInfo


def import_caffe(
    model: Path | str, prototxt: Path | str, out: Path | str, *, classes: Path | str = ""
) -> dict[str, Any]:  # fmt: skip
    """Writes a run with the weights of a Fast R-CNN, Faster R-CNN or FCN that Caffe trained.

    Args:
        model: the .caffemodel; prototxt: its net, as used at test (deploy.prototxt, test.prototxt).
        out: the run's folder; classes: a file with the name of each class per line, in the net's
            order; without one, a net of 21 outputs has the background and VOC's 20 classes.

    Returns: {"run", "task", "backbone", "classes", "tensors", "unused"}: the weights of the file
        that have no place in the run.
    Raises: XferError for an `out` that is in use; DataError for files that can't be read, and nets
        whose layout is not one of the published ones.
    """
    out = Path(out)
    if out.suffix == ".safetensors":
        raise XferError(f"{out}: with a prototxt a run is written, which is a folder")
    if out.exists():
        raise XferError(f"{out} exists", "choose another name, or remove it first")
    file, text = at_home(model), at_home(prototxt)
    net = CaffeNet(text, file, read_prototxt(text), read_caffemodel(file), set())
    plan = _plan(net)
    names = _class_names(plan, classes, net)
    settings: dict[str, Any] = {**plan.settings, "weights": str(file.resolve())}
    recipe = check(override(load_recipe(plan.recipe), settings))
    task = _make(recipe, names)
    tensors = plan.tensors(net, task)
    task.load_state_dict(tensors)
    unused = sorted(net.weights.keys() - net.used)
    with Run.start(recipe, out) as run:
        run.write_json("env.json", environment(made_by="models import", seed=recipe.run.seed))
        (run.path / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        write_model(run, about_model(task, recipe, {}))
        checkpoint.save_weights(run.weights_file, task.state_dict(), {"format": "xfer"})
        metric = task.metric()
        run.write_json("result.json", {
            "schema": SCHEMA, "task": recipe.task, "backbone": recipe.backbone,
            "data": recipe.data.source, "recipe": recipe.name, "seed": recipe.run.seed,
            "primary": metric.primary,
            "protocol": {**metric.protocol(), **view_protocol(task, recipe.eval.tta)},
            "best_step": 0, "steps": 0, "seconds": 0.0, "images_per_second": 0.0,
            "data_wait": 0.0, "peak_memory_mb": 0.0,
            "imported": {"model": file.name, "sha256": digest(file), "prototxt": text.name},
        })  # fmt: skip
    return {
        "run": str(out), "task": recipe.task, "backbone": recipe.backbone, "classes": len(names),
        "tensors": len(tensors), "unused": unused,
    }  # fmt: skip


def report_line(report: dict[str, Any]) -> str:
    """What was imported, in words."""
    line = (f"{report['task']} on {report['backbone']}, {report['classes']} classes, "
            f"{report['tensors']} tensors; written to {report['run']}")  # fmt: skip
    left = report["unused"]
    return f"{line}; left out of the file: {listed(left, 4)}" if left else line


def _plan(net: CaffeNet) -> Plan:
    if net.layer("score_fr", "score-fr") is not None:
        return FCNPlan(net)
    if net.layer("cls_score") is not None:
        return DetectorPlan(net)
    raise DataError(
        f"{net.prototxt}: no head that is known: cls_score (Fast and Faster R-CNN) or score_fr "
        "(FCN)",
        "the convolutions alone: leave out --prototxt, and name a .safetensors file with -o",
    )


def _class_names(plan: Plan, file: Path | str, net: CaffeNet) -> tuple[str, ...]:
    """The names of the classes, the background among them where it is one."""
    if not file:
        if plan.outputs != len(VOC):
            raise XferError(
                f"{net.prototxt}: {plan.outputs} outputs, where VOC's classes and the background "
                f"are {len(VOC)}",
                "name its classes: --classes FILE, one per line",
            )
        return VOC if plan.background else VOC[1:]
    names = [line.strip() for line in text_of(at_home(file)).splitlines() if line.strip()]
    if len(names) == plan.outputs and not plan.background:
        names = names[1:]  # the background comes first in all these nets
    elif len(names) == plan.outputs - 1 and plan.background:
        names = ["background", *names]
    if len(names) != plan.outputs - (not plan.background):
        raise DataError(f"{file}: {len(names)} names, where the net has {plan.outputs} outputs, "
                        "background included")  # fmt: skip
    if len(set(names)) < len(names):
        raise DataError(f"{file}: a name is there twice")
    return tuple(names)


def _make(recipe: Recipe, names: tuple[str, ...]) -> Task:
    kind = tasks.get(recipe.task)
    backbone = make_backbone(recipe.backbone, weights="none", **dict(recipe.backbone_options))
    options = tasks.make_options(kind, dict(recipe.task_options))
    return kind(backbone, DataInfo("", kind.kinds[0], names), options, recipe.data)
