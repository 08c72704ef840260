"""Settings that count for nothing: said exactly where they change nothing in the run."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_nets import tailed

from xfer import task as tasks
from xfer.cli.app import main
from xfer.data.sources.base import Bundle, Source
from xfer.device import placed
from xfer.errors import XferError
from xfer.recipe.choose import build_recipe
from xfer.recipe.idle import conditions, idle_settings
from xfer.recipe.option import When, one_of
from xfer.recipe.tables import FIELDS, MOMENTUM, Recipe, flatten, override
from xfer.recipe.toml import load_recipe, recipe_names, recipe_text
from xfer.runs.folder import Run
from xfer.testing import check_task
from xfer.testing.mask_scenes import MaskScenes
from xfer.testing.scenes import ShapeScenes
from xfer.testing.source import SyntheticSource
from xfer.train.job import Job

# what a run of each task starts from: small, on the CPU, quick
BASE: dict[str, Any] = {
    "backbone": "tiny_nets:tailed", "weights": "none", "data.batch": 4, "data.workers": 0,
    "run.device": "cpu", "run.precision": "fp32", "schedule.epochs": 3, "schedule.warmup": 0,
    "schedule.milestones": (0.5,), "schedule.patience": 1, "schedule.min_steps": 0,
    "eval.every": 1, "optim.lr": 0.01,
}  # fmt: skip
OF_TASK: dict[str, dict[str, Any]] = {
    "classify": {"task.dropout": 0.0},
    "detect": {
        "data.size": 64, "data.crop_area": (1.0, 1.0), "task.pool_size": 3, "task.regions": 16,
        "task.head_width": 8, "task.rpn_width": 8, "task.width": 8, "task.anchor_count": 3,
        "task.rpn_train": (60, 30), "task.rpn_test": (60, 30), "task.least_score": 0.0,
        "task.most_proposals": 40, "task.max_stride": 16,
    },
    "segment": {"data.size": 48, "task.tail": "auto"},
}  # fmt: skip
# two values of each option that has a condition: what the run does differs between them
VALUES: dict[str, tuple[Any, Any]] = {
    "data.flip": (True, False), "data.crop_area": ((0.3, 0.4), (0.9, 1.0)),
    "data.size": (48, 64), "optim.momentum": (0.9, 0.5), "optim.decay_all": (True, False),
    "optim.layer_decay": (0.5, 1.0), "optim.freeze_epochs": (1, 0), "schedule.epochs": (3, 5),
    "schedule.min_steps": (40, 0), "schedule.warmup": (1, 0),
    "schedule.milestones": ((0.5,), (0.3,)), "schedule.gamma": (0.1, 0.5),
    "schedule.patience": (1, 2), "schedule.final": (0.5, 0), "eval.every": (1, 2),
    "eval.while_training": ("flip", "none"),
    "task.norm": (True, False), "task.label_smoothing": (0.3, 0.0),
    "task.crop": ("window", "part"),
    "task.width": (8, 16), "task.head_width": (8, 16), "task.anchors": ((9, 9), (30, 30)),
    "task.anchor_count": (3, 5), "task.rpn_width": (8, 16), "task.rpn_step": (1, 2),
    "task.rpn_batch": (256, 8), "task.rpn_iou": ((0.3, 0.7), (0.1, 0.2)),
    "task.rpn_nms": (0.7, 0.1), "task.rpn_train": ((60, 30), (20, 4)),
    "task.rpn_test": ((60, 30), (20, 4)), "task.most_proposals": (40, 10),
    "task.scales": ((0.5, 0.6), (1.5, 2.0)), "task.dropout": (0.5, 0.0),
    "task.skip_scales": ((0.1,), (0.5,)), "task.most_of_one": (0.5, 1.0),
    "task.logit_adjust": (0.5, 0.0), "task.pool": ("max", "align"), "task.pool_size": (3, 2),
    "task.head": ("tail", "fc"), "task.agnostic": (True, False), "task.regions": (16, 4),
    "task.object_share": (0.25, 1.0), "task.object_iou": (0.5, 0.1),
    "task.background_iou": ((0.0, 0.5), (0.4, 0.5)), "task.box_beta": (1.0, 0.1),
    "task.box_std": ((0.1, 0.1, 0.2, 0.2), (1.0, 1.0, 1.0, 1.0)), "task.max_stride": (16, 32),
    "task.box_stats": ("fixed", "fitted"),
    "task.box_units": ((0, 0, 0, 0, 0.1, 0.1, 0.2, 0.2) * 2, (0.1, 0, 0, 0, 1, 1, 1, 1) * 2),
    "task.towers": (1, 2), "task.focal": ((0.25, 2.0), (0.5, 1.0)),
    "task.centre_radius": (1.5, 0.5), "task.box_scales": ((0.2, 0.9), (0.5, 0.6)),
    "task.negatives": (3.0, 0.5), "task.nms": (0.3, 0.9), "task.nms_sigma": (0.5, 0.1),
    "task.ohem": (True, False), "task.rounds": (1, 2),
    "task.candidates": (4, 100),
    "task.edges": ("hold", "fade"), "task.geometry": ("seen", "caffe"),
}  # fmt: skip
SEGMENT_WIDTHS = (16, 32)
# values of the keys that conditions speak of, where a list of choices does not say them
STATES: dict[str, tuple[Any, ...]] = {
    "optim.name": ("sgd", "nesterov", "adamw", "rmsprop"), "schedule.steps": (0, 7),
    "optim.freeze": ("", "all"), "optim.weight_decay": (0, 0.1), "data.val": ("", "none"),
    "data.augment": ("none", "light"), "task.levels": ((), ("conv1", "conv2")),
    "task.detector": ("auto", "fcos", "ssd"), "task.proposals": ("rpn", "grid"),
    "task.anchors": ((), (8, 8, 16, 16)), "task.ohem": (False, True),
    "task.class_balance": (0.0, 0.5), "task.resize": (True, False),
}  # fmt: skip
# what a run on one CPU does not show: read with the data, for GPUs, or a line on the screen; the
# value that is set, and whether each kind of data (or number of processes) lets it count
UNSEEN: dict[str, Any] = {"run.chance_steps": 2000, "data.ignore": "void", "run.sync_bn": True}


def keys_of(task: str) -> list[str]:
    """Every option that has a condition with this task."""
    kind = tasks.get(task)
    return [key for key in (*FIELDS, *tasks.options_of(kind)) if conditions(kind, key)]


def states_of(task: str, key: str) -> Iterator[dict[str, Any]]:
    """What the keys may be that the option's conditions speak of."""
    names: list[str] = []
    for when in conditions(tasks.get(task), key):
        if not isinstance(when, str):
            names += [name for way in ways(when) for name in way]
    options = tasks.options_of(tasks.get(task))
    values: list[tuple[Any, ...]] = []
    for name in dict.fromkeys(names):
        field = options.get(name) or FIELDS.get(name)
        if name == "kind":
            values.append(tasks.get(task).kinds)
        elif field is not None and name == "task.crop" and task == "segment":
            values.append((0, 32))
        elif name in STATES:
            values.append(STATES[name])
        else:
            assert field is not None
            values.append(field.metadata["choices"])
    for chosen in itertools.product(*values):
        yield dict(zip(dict.fromkeys(names), chosen, strict=True))


def ways(when: When) -> tuple[Any, ...]:
    return when if isinstance(when, tuple) else (when,)


def source_of(task: str, kind: str, split: str) -> Source:
    seed = 0 if split == "train" else 1
    if task == "detect":
        return ShapeScenes(8, step=8, seed=seed, split=split)
    if task == "segment":
        return MaskScenes(8, (48, 64), 8)
    return SyntheticSource(8, size=64, seed=seed, split=split, multilabel=kind == "multilabel")


def bundle_of(recipe: Recipe, kind: Any) -> Bundle:
    splits = ("train",) if recipe.data.val == "none" else ("train", "val")
    found = {split: source_of(recipe.task, kind, split) for split in splits}
    return Bundle("scenes", "synthetic", kind, found["train"].info.classes, found)


@contextlib.contextmanager
def job_of(recipe: Recipe, kind: str) -> Iterator[Job]:
    with placed("cpu", "fp32") as place:
        yield Job(recipe, place, bundle_of(recipe, kind))


def trace(job: Job) -> str:
    """Text that changes with anything a run does: weights, rates, batches, losses, scores."""
    digest = hashlib.sha256()

    def add(*values: Any) -> None:
        for value in values:
            if isinstance(value, torch.Tensor):
                digest.update(str(tuple(value.shape)).encode())
                digest.update(np.ascontiguousarray(value.detach().float().numpy()).tobytes())
            else:
                digest.update(repr(value).encode())

    for name, value in job.task.state_dict().items():
        add(name, value)
    names = {id(p): name for name, p in job.task.named_parameters()}
    batch = next(iter(job.train.batches(0)))
    add(batch.images)
    job.task.train()
    torch.manual_seed(3)
    with torch.no_grad():  # last layers start at zero, where many a loss is the same
        for parameter in job.task.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    add(*job.task(batch).values())
    for step in range(job.steps):
        job.step = step
        if job.evaluation_due():
            job.evaluated = job.step
            job.schedule.update(0.0)
            add("evaluation", job.quick_tta)
        job.begin_step()
        rules = {
            names[id(p)]: {k: v for k, v in group.items() if k not in ("params", "scale")}
            for group in job.optimizer.param_groups
            for p in group["params"]
        }
        add(sorted(rules.items()))
    add(job.steps)
    job.task.eval()
    if "val" in job.bundle.splits:
        tta = job.quick_tta
        seen = next(iter(job.loader("val", tta=tta).batches(0)))
        for prediction in job.task.predict(seen, tta):
            add(job.task.describe(prediction))
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("task", "key"),
    [(task, key) for task in OF_TASK for key in keys_of(task) if key not in UNSEEN],
)
def test_a_setting_is_said_to_count_for_nothing_where_it_changes_nothing(
    task: str, key: str
) -> None:
    said: set[bool] = set()
    never = any(isinstance(when, str) for when in conditions(tasks.get(task), key))
    base = override(Recipe(task=task), {**BASE, **OF_TASK[task]})
    values = SEGMENT_WIDTHS if (task, key) == ("segment", "task.width") else VALUES.get(key)
    for state in states_of(task, key):
        kind = state.pop("kind", tasks.get(task).kinds[0])
        assert values is not None, f"{key}: two values to compare are missing in VALUES"
        if key in state and state[key] not in values:
            continue
        traces: list[str] = []
        lines: list[str] = []
        recipe = base
        try:
            for value in values:
                extra = {"task.skip_scales": value * 2} if state.get("task.head") == "fcn8s" else {}
                new = {**state, key: value, **(extra if key == "task.skip_scales" else {})}
                recipe = replace(override(base, new), given=frozenset({key}))
                with job_of(recipe, kind) as job:
                    lines += idle_settings(recipe, job.task)
                    traces.append(trace(job))
        except XferError:  # such a recipe does not start, which says more
            if idle_settings(recipe):
                said.add(True)
            continue
        assert (traces[0] == traces[1]) == bool(lines), (state, lines)
        said.add(bool(lines))
    assert said == ({True} if never else {True, False})


@pytest.mark.parametrize("task", OF_TASK)
def test_what_a_small_run_does_not_show_is_said_as_well(task: str) -> None:
    base = override(Recipe(task=task), {**BASE, **OF_TASK[task], **UNSEEN})
    lines: dict[int, list[str]] = {}
    for processes in (1, 2):
        recipe = replace(base, given=frozenset(UNSEEN))
        with job_of(override(recipe, {"run.sync_bn": False}), tasks.get(task).kinds[0]) as job:
            lines[processes] = idle_settings(recipe, job.task, processes)
        chance = "run.chance_steps=2000 has no effect" in " ".join(lines[processes])
        assert chance == (job.task.chance_loss() is None)
        ignore = "data.ignore=void has no effect with kind=" in " ".join(lines[processes])
        assert ignore == (task != "segment")
    assert [len(lines[1]) - len(lines[2])] == [1]
    assert any("run.sync_bn=true has no effect with processes=1" in one for one in lines[1])


def test_momentum_counts_with_the_optimisers_of_timm_that_have_one() -> None:
    from timm import optim

    (when,) = conditions(tasks.get("classify"), "optim.momentum")
    assert isinstance(when, dict)
    names = [str(name) for name in optim.list_optimizers()]  # pyright: ignore[reportPrivateImportUsage]
    for name in names:
        info = optim.get_optimizer_info(name)  # pyright: ignore[reportPrivateImportUsage]
        assert when["optim.name"].holds(name) == info.has_momentum, name
    assert all(any(word in name for name in names) for word in MOMENTUM)


def test_no_recipe_of_ours_sets_what_counts_for_nothing() -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        with_all = replace(recipe, given=frozenset(flatten(recipe)))
        parents = frozenset(own_keys(name))
        assert not idle_settings(replace(with_all, given=parents)), name


def own_keys(name: str) -> list[str]:
    """The keys that a recipe's own file sets."""
    flat: list[str] = []
    for table, values in tomllib.loads(recipe_text(name)).items():
        flat += [f"{table}.{key}" for key in values] if isinstance(values, dict) else []
    return flat


def built(**settings: Any) -> Recipe:
    return build_recipe("digits", "classify", "", settings)


def test_only_what_a_person_set_is_spoken_of(tmp_path: Path) -> None:
    # classify/default has adamw and onecycle
    assert built().given == {"data.source"} or not idle_settings(built())
    (line,) = idle_settings(built(optim__momentum=0.5))
    assert line == (
        "optim.momentum=0.5 has no effect with optim.name=adamw (only with "
        "optim.name=sgd, nesterov or another that has one)"
    )
    assert not idle_settings(built(optim__momentum=0.5, optimizer="sgd"))
    run = Run.create(built(optim__momentum=0.5), tmp_path / "run", False)
    assert run.recipe().optim.momentum == 0.5
    assert not run.recipe().given  # what is resumed was said when it was started
    file = tmp_path / "mine.toml"
    file.write_text(
        'extends = "pretrain/imagenet-2012"\n[schedule]\nname = "onecycle"\ngamma = 0.5\n'
        'milestones = []\n[optim]\nname = "adamw"\nmomentum = 0.9\n'
    )
    # its parent has momentum 0.9 and milestones: the one is repeated, the others switched off
    (line,) = idle_settings(load_recipe(str(file)))
    assert line.startswith("schedule.gamma=0.5 has no effect with schedule.name=onecycle")


def test_what_a_flag_can_not_do_is_said_before_the_run_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--data", "digits", "--limit", "40", "--backbone", "alexnet_bn",
             "--weights", "none", "--device", "cpu", "--dry-run", "schedule.gamma=0.5"]  # fmt: skip
    assert main(words) == 0
    assert "warning: schedule.gamma=0.5 has no effect with schedule.name=" in (
        capfd.readouterr().err
    )
    file = tmp_path / "mine.toml"
    file.write_text('extends = "detect/default"\n[task]\nname = "detect"\nmost_proposals = 50\n')
    assert main(["recipes", "check", str(file)]) == 0
    assert "task.most_proposals=50 has no effect with task.proposals=rpn" in (
        capfd.readouterr().err
    )


def test_meanings_say_when_an_option_counts(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "detect/digits", "-v"]) == 0
    text = capfd.readouterr().out
    assert "gamma = 0.1  # factor by which the rate drops; only with schedule.name=step or" in text
    assert (
        "rpn_width = 96  # channels of the rpn's convolution; only with task.proposals=rpn" in text
    )


def test_a_condition_that_names_no_key_breaks_the_contract() -> None:
    class Loose(tasks.get("classify")):
        @dataclass(frozen=True)
        class Options(tasks.get("classify").Options):
            twist: int = tasks.option(0, "turns", min=0, when={"task.hed": one_of("avg")})

    with pytest.raises(AssertionError, match=r"task\.twist depends on task\.hed"):
        check_task(Loose, SyntheticSource(8), tailed())
