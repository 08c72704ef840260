"""The state of a run: data, model, optimiser and schedule, all in one place.

`Job.state()` is everything that resuming needs except the random states; on a CPU,
`Job.load_state` continues bit for bit.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from xfer import task as tasks
from xfer.backbones.build import make_backbone
from xfer.data.loading.feature_loader import FeatureLoader
from xfer.data.loading.loader import Loader
from xfer.data.sources.base import Bundle
from xfer.data.sources.boxes import category_ids
from xfer.data.sources.kept import difference
from xfer.data.streams.stream import Stream
from xfer.data.streams.stream_loader import StreamLoader
from xfer.device import (
    Place,
    average,
    restore_random_states,
    seed_everything,
)
from xfer.errors import DataError, XferError
from xfer.nn.lone_values import allow_lone_values
from xfer.nn.sync_norm import sync_batch_norms
from xfer.recipe.tables import Recipe
from xfer.runs.model_file import about_model
from xfer.task import DeviceCrops, ManySides, Metric, Task
from xfer.train.check_fits import check_fits
from xfer.train.compiled import keep_compiled
from xfer.train.ema import MovingAverage
from xfer.train.optim import (
    Schedule,
    build_optimizer,
    carry_state,
    frozen_stages,
    opening_steps,
    parameter_groups,
    set_rate,
)
from xfer.train.saver import Saver
from xfer.types import Batch, Source


def build_task(recipe: Recipe, bundle: Bundle) -> Task:
    """The recipe's task on its backbone, with pretrained weights."""
    kind = tasks.get(recipe.task)
    options = tasks.make_options(kind, dict(recipe.task_options))
    backbone = make_backbone(
        recipe.backbone, weights=recipe.weights, **dict(recipe.backbone_options)
    )
    return kind(backbone, bundle.splits["train"].info, options, recipe.data)


def _choose_crops(task: Task, train: Source, gpu: bool, frozen: bool) -> str:
    """host or device, from `DeviceCrops.choose_crops`; the host for other tasks."""
    if isinstance(train, Stream):
        return "host"
    if isinstance(task, DeviceCrops):
        return task.choose_crops(train, gpu, frozen)
    for key in ("crop_on", "decode"):
        if getattr(task.data, key) == "device":
            raise XferError(
                f"data.{key}=device: this task prepares its pictures on the host",
                f"data.{key}=host",
            )
    return "host"


class Job:
    """A recipe instantiated on a device: everything that changes while it trains.

    Args:
        recipe: what to do; place: where; bundle: its data, opened.
        say: called with a line now and then during slow preparations.

    task | the model on its device; epoch_steps, steps | optimiser steps per epoch, in total
    step | steps done; best | the best evaluation so far: {"score", "loss", "step", "since"}, see
    `is_best`
    """

    def __init__(
        self, recipe: Recipe, place: Place, bundle: Bundle,
        say: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.place, self.bundle = recipe, place, bundle
        self._say = say
        check_fits(recipe, place, bundle)
        seed_everything(recipe.run.seed)
        self.task = build_task(recipe, bundle)
        if recipe.run.sync_bn:
            sync_batch_norms(self.task, place)  # in place: a task is not itself a batch norm
        train = bundle.splits["train"]
        self.task.check_views(recipe.eval.tta, self.quick_tta)
        self.task.prepare(train, say)
        self.task.fit_labels(train.labels())
        self.task.fit_data(bundle)
        gpu = place.device.type == "cuda"
        self.crop_on = _choose_crops(self.task, train, gpu, recipe.optim.freeze == "all")
        place.put(self.task)
        place.choose_kernels(not self.task.any_shape)
        if recipe.run.compile:
            keep_compiled()
            self.task.backbone.compile()  # in place: the weights keep their names
        self.train: Loader | FeatureLoader = self.loader("train", training=True)
        if len(self.train) == 0:
            raise DataError(f"{recipe.data.source}: fewer training pictures than processes")
        self.epoch_steps = len(self.train)
        epochs = recipe.schedule.epochs
        by_epochs = max(1, recipe.schedule.min_steps, round(epochs * self.epoch_steps))
        self.steps = recipe.schedule.steps or by_epochs
        # min_steps makes a small set go through more epochs: everything that the recipe gives in
        # epochs is stretched likewise, so that it is not scored more often
        self.pass_steps = self.epoch_steps if recipe.schedule.steps else by_epochs / epochs
        self.eval_steps = max(1, round(recipe.eval.every * self.pass_steps))
        # a backbone frozen for the whole run does not thaw
        early = 0.0 if recipe.optim.freeze == "all" else recipe.optim.freeze_epochs
        self.thaw_step = opening_steps(early, self.pass_steps, self.steps)
        self.schedule = Schedule(recipe.schedule, self.steps, self.pass_steps)
        self.scaler = place.scaler()
        self.step = 0
        self.best: dict[str, Any] = {"score": -math.inf, "loss": math.inf, "step": 0, "since": 0}
        self.best_metric: Metric | None = None
        self.evaluated = 0
        self.pending: dict[str, Any] = {"steps": 0, "losses": {}}
        self.since_evaluation = {"steps": 0, "loss": 0.0}  # without what is pending
        self.seconds = self.waited = 0.0
        self.preparing = 0.0  # seconds spent on features before the first step
        self.quick_val: FeatureLoader | None = None
        self.saver = Saver(place)
        self.ema: MovingAverage | None = None
        self._lone_allowed = self._lone_said = False
        self._build_optimizer()
        if recipe.optim.ema:
            self.ema = MovingAverage(self.task, recipe.optim.ema)
        # each process draws its own dropout masks; the weights above are the same on all
        seed_everything(recipe.run.seed + place.rank)

    def loader(self, split: str, training: bool = False, tta: str = "none") -> Loader:
        """A loader for this process's share of one of the data's splits."""
        data, place = self.recipe.data, self.place
        source = self.bundle.splits[split]
        self.task.prepare(source, self._say)
        if isinstance(source, Stream):
            return StreamLoader(
                source, self.task.transform(training, tta), self.task.collate,
                batch=data.batch, seed=self.recipe.run.seed, workers=data.workers,
                rank=place.rank, world=place.world, window=data.window,
                short_side=self.task.short_side, pin=place.device.type == "cuda",
            )  # fmt: skip
        return Loader(
            source, self.task.transform(training, tta), self.task.collate,
            batch=data.batch if training else self.eval_batch(tta), train=training,
            seed=self.recipe.run.seed, workers=data.workers, rank=place.rank, world=place.world,
            balance=data.balance and training, window=data.window, cache_mb=data.cache_mb,
            short_side=self.task.short_side,
            pin=place.device.type == "cuda",
        )  # fmt: skip

    def val_loader(self) -> Loader | FeatureLoader:
        """The loader for evaluations during training."""
        return self.quick_val or self.loader("val", tta=self.quick_tta)

    @property
    def quick_tta(self) -> str:
        """The views of evaluations during training; the reported scores use eval.tta."""
        return self.recipe.eval.while_training or self.recipe.eval.tta

    def eval_batch(self, tta: str) -> int:
        batch = self.recipe.eval.batch or 2 * self.recipe.data.batch
        return max(self.place.world, batch // 10) if tta == "10crop" else batch

    def _build_optimizer(self, before: Optimizer | None = None) -> None:
        """Freezes what is frozen at the current step, and gives the rest to a new optimiser, which
        takes over from the one `before` what has trained already."""
        table = self.recipe.optim
        early = self.step < self.thaw_step
        frozen = frozen_stages(self.task.stages(), "all" if early else table.freeze)
        self.task.freeze([stage.module for stage in frozen])
        self.groups = parameter_groups(self.task, table)
        used = {id(p) for group in self.groups for p in group.parameters}
        for parameter in self.task.parameters():
            parameter.requires_grad_(id(parameter) in used)
        self.optimizer = build_optimizer(self.groups, table)
        if before is not None:
            carry_state(before, self.optimizer)
        self.module = self._distributed()
        if self.ema is not None:
            self.ema.forget()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The task's losses on a batch, or a part of one; over several processes gradients are
        averaged."""
        self.allow_lone(len(batch))
        return self.module(batch)

    def allow_lone(self, pictures: int) -> None:
        """Before the first pass over one picture: lets batch norms go without statistics of it."""
        if pictures == 1 and not self._lone_allowed:
            self._lone_allowed = True
            allow_lone_values(self.task, self._say_lone)

    def _say_lone(self, name: str) -> None:
        if self._lone_said or self._say is None:
            return
        self._lone_said = True
        parts = self.recipe.optim.accumulate > 1
        avoids = "a smaller optim.accumulate" if parts else "--batch 2 or more"
        self._say(
            f"warning: passes over one picture leave some batch norms ({name} first) one value per "
            f"channel: these use their running statistics; {avoids}, or a larger data.size, avoids "
            "it"
        )

    def _distributed(self) -> nn.Module:
        if self.place.world == 1:
            return self.task
        return nn.parallel.DistributedDataParallel(self.task, gradient_as_bucket_view=True)

    @property
    def peak_lr(self) -> float:
        """optim.lr, scaled linearly from optim.lr_batch to the batch (Goyal et al. 2017)."""
        table = self.recipe.optim
        return table.lr * self.global_batch / (table.lr_batch or self.global_batch)

    def begin_step(self) -> float:
        """Thaws the backbone if it is time, sets the step's learning rate and returns it."""
        if self.step == self.thaw_step and self.thaw_step > 0:
            self._build_optimizer(self.optimizer)
        lr = self.peak_lr * self.schedule.factor(self.step)
        set_rate(self.optimizer, lr)
        return lr

    @property
    def global_batch(self) -> int:
        """Pictures per step over all processes: the batch, or the whole set if it is smaller."""
        return min(self.recipe.data.batch, len(self.bundle.splits["train"]))

    def batches(self) -> Generator[Batch, None, None]:
        """Endless batches from the current step on; their order depends only on the seed."""
        step, task = self.step, self.task
        epoch, start = divmod(step, self.epoch_steps)
        if isinstance(self.train, Loader) and not (isinstance(task, ManySides) and task.sides):
            left = max(1, self.steps - step)  # no pause between epochs
            yield from self.train.batches(epoch, start, left)
            epoch, start = divmod(step + left, self.epoch_steps)
        while True:
            yield from self._epoch(epoch, start)
            epoch, start = epoch + 1, 0

    def _epoch(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        """An epoch's batches from number `start` on, at the picture sides the task asks for."""
        task, first = self.task, epoch * self.epoch_steps
        sides = task.sides if isinstance(task, ManySides) else ()
        if not isinstance(task, ManySides) or not sides or not isinstance(self.train, Loader):
            yield from self.train.batches(epoch, start)
            return
        while start < self.epoch_steps:
            phase = min(len(sides) - 1, (first + start) * len(sides) // self.steps)
            change = -(-self.steps * (phase + 1) // len(sides)) - first  # first step of the next
            stop = self.epoch_steps if phase == len(sides) - 1 else min(self.epoch_steps, change)
            self.train.set_transform(task.transform_at(sides[phase]))
            with contextlib.closing(self.train.batches(epoch, start)) as batches:
                yield from itertools.islice(batches, stop - start)
            start = stop

    def evaluation_due(self) -> bool:
        """Every eval.every epochs and at the end, once per step, if there is a val split."""
        if "val" not in self.bundle.splits or self.step == self.evaluated:
            return False
        return self.step % self.eval_steps == 0 or self.step >= self.steps

    def finished(self) -> bool:
        """After the last step, or after schedule.stop_after evaluations without improvement."""
        patience = self.recipe.schedule.stop_after
        since = self.best.get("since", self.best["step"])  # older states lack it
        stale = patience and self.step - since >= patience * self.eval_steps
        return self.step >= self.steps or bool(stale and self.evaluated)

    def add_losses(self, losses: dict[str, Tensor]) -> None:
        """Adds a step's losses on the device, without a sync until they are logged."""
        pending = self.pending["losses"]
        for name, value in losses.items():
            pending[name] = pending.get(name, 0) + value
        self.pending["steps"] += 1

    def take_losses(self) -> dict[str, float]:
        """The mean losses since the last call."""
        steps = self.pending["steps"]
        means = {k: float(v) / steps for k, v in self.pending["losses"].items()}
        self.since_evaluation["steps"] += steps
        self.since_evaluation["loss"] += steps * sum(means.values())
        self.pending = {"steps": 0, "losses": {}}
        return means

    def train_loss(self) -> float:
        """The mean training loss since the last call, over all processes; infinite without a
        step."""
        steps, total = self.pending["steps"], float(sum(self.pending["losses"].values()))
        count = self.since_evaluation["steps"] + steps
        loss = self.since_evaluation["loss"] + total
        self.since_evaluation = {"steps": -steps, "loss": -total}  # they are logged later
        return average({"loss": loss / count}, self.place)["loss"] if count else math.inf

    def is_best(self, score: float, loss: float) -> bool:
        """Whether an evaluation now is the best so far, which is then recorded: a higher score, or
        the same score with a lower loss. `since` is the step of the first one with that score, for
        schedule.stop_after."""
        higher = score > self.best["score"]
        # the state of an older run lacks the loss: then the earlier evaluation stays
        lower = score == self.best["score"] and loss < self.best.get("loss", -math.inf)
        if not (higher or lower):
            return False
        since = self.step if higher else self.best.get("since", self.best["step"])
        self.best = {"score": score, "loss": loss, "step": self.step, "since": since}
        return True

    def final_task(self) -> Task:
        """The model that is evaluated and saved: the moving average if there is one."""
        return self.task if self.ema is None else cast(Task, self.ema.module)

    def weights(self) -> dict[str, Tensor]:
        return self.final_task().state_dict()

    def state(self) -> dict[str, Any]:
        """Everything that resuming needs, as plain types and tensors."""
        return {
            "step": self.step,
            "thaw_step": self.thaw_step,
            "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "best": self.best,
            "evaluated": self.evaluated,
            "pending": self.pending,
            "since_evaluation": self.since_evaluation,
            "seconds": self.seconds,
            "waited": self.waited,
            "fingerprint": self.bundle.fingerprint(),
        }

    def load_state(self, state: dict[str, Any], splits: Mapping[str, Any] | None = None) -> None:
        """Continues from a `state`; its "random" holds each process's random states.

        Args: splits: the run's split.json, to say what has changed if the data have.

        Raises DataError if the data have changed since the run was started.
        """
        self.check_data(state["fingerprint"], splits)
        self.step = state["step"]
        # older states lack it: their backbones thawed by epochs, however short the run
        by_epochs = round(self.recipe.optim.freeze_epochs * self.epoch_steps)
        self.thaw_step = state.get("thaw_step", by_epochs)
        if self.step > 0:
            # the optimiser of the phase in which the state was saved: `step` counts steps done
            self.step -= 1
            self._build_optimizer()
            self.step += 1
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where precision was another than fp16
            self.scaler.load_state_dict(state["scaler"])
        self.schedule.load_state(state["schedule"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.best, self.evaluated = state["best"], state["evaluated"]
        self.pending = state["pending"]
        self.since_evaluation = state.get("since_evaluation", self.since_evaluation)
        self.seconds, self.waited = state["seconds"], state["waited"]
        if self.place.rank < len(state["random"]):
            restore_random_states(state["random"][self.place.rank])

    def check_data(self, fingerprint: str | None, splits: Mapping[str, Any] | None = None) -> None:
        """Raises DataError if the data have another fingerprint; see `load_state`."""
        if fingerprint != self.bundle.fingerprint():
            what = difference(splits, self.bundle.splits) if splits else ""
            raise DataError(
                f"{self.recipe.data.source} has changed since the run was started"
                + (f": {what}" if what else ""),
                "put the old pictures back, or start a new run",
            )

    def model_json(self) -> dict[str, Any]:
        """Everything but the weights that is needed to rebuild the model anywhere."""
        ids = category_ids(self.bundle.splits["train"]) or {}
        return about_model(self.task, self.recipe, ids)
