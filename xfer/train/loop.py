"""fit(): the training loop, to be read top to bottom.

There are no hooks; to change the loop, copy this file.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xfer import files, plugs
from xfer.data.loading.halved import Halved
from xfer.data.sources.from_python import SCHEME
from xfer.device import (
    any_process,
    average,
    broadcast,
    broadcast_buffers,
    enter_on_main,
    gather,
    on_device,
    placed,
    random_states,
)
from xfer.errors import DataError, XferError
from xfer.files import check_folder
from xfer.inference.score import predict_batch, score
from xfer.recipe.code import check_code
from xfer.recipe.data import Ready, open_recipe_data
from xfer.recipe.paths import absolute
from xfer.recipe.tables import Recipe
from xfer.runs import checkpoint
from xfer.runs.folder import Run, environment
from xfer.runs.model_file import write_model
from xfer.runs.shared import check_folder_shared, check_same_data
from xfer.tracking.tracked import check_trackers, tracked
from xfer.train.cached_features import keep_features
from xfer.train.finish import finish
from xfer.train.job import Job
from xfer.train.notebook import progress
from xfer.train.progress import Progress
from xfer.train.restart import launch, restarted, run_to_continue
from xfer.train.signals import Interrupted, StopFlag
from xfer.train.step import check_finite, train_step
from xfer.train.summary import Summary
from xfer.train.throughput import Clock


@plugs.face()
def fit(
    recipe: Recipe | None = None,
    out: Path | None = None,
    *,
    resume: Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    verbosity: int = 0,
    data: Any = None,
    until: float | None = None,
    trust: str | Sequence[str] = (),
) -> Summary:
    """Trains a recipe, or continues an unfinished run.

    Args:
        recipe: what to do; left out with `resume`.
        out: the run folder; named after task, backbone and data by default.
        resume: an unfinished run folder; on a CPU it continues bit for bit.
        overwrite: replace a finished or unfinished run in `out`.
        dry_run: one training batch, one evaluation batch, one save, nothing kept.
        verbosity: -1 quiet, 0 progress, 1 also learning rates by stage and matched weights.
        data: the data themselves, if in memory (see `xfer.data.sources.from_python`) or already
            opened, by `xfer.recipe.choose.prepare` or as `xfer.recipe.data.Ready`; None: what the
            recipe names.
        until: the time of `time.monotonic()` at which to stop as after a signal.
        trust: your own modules that the recipe may import.

    Raises: XferError, DataError, DivergedError, and Interrupted after a signal (state saved).
    """
    old = Run.open(resume) if resume is not None else None
    if old is not None:
        if old.finished and int(os.environ.get("WORLD_SIZE") or 1) == 1:
            return _finished(old)
        if old.made_by:
            raise XferError(
                f"{old.path}: `xfer {old.made_by}` was stopped while it wrote it",
                f"give that command again, with --overwrite --out {shlex.quote(str(old.path))}",
            )
        recipe = old.recipe()
    if recipe is None:
        raise XferError("no recipe and nothing to resume")
    in_memory = recipe.data.source.startswith(f"{SCHEME}:")
    if old is not None and (data is not None) != in_memory and not isinstance(data, Ready):
        raise XferError(
            f"{old.path}: its data ({recipe.data.source}) "
            + ("were passed in Python" if in_memory else "are read by name"),
            f"xfer.finetune(resume={str(old.path)!r}{', data=THE_SAME' if in_memory else ''})",
        )
    check_code(recipe, "" if old is None else old.path / "recipe.toml", data=True)
    check_trackers(recipe.run.track)
    recipe = absolute(recipe)
    with (
        placed(recipe.run.device, recipe.run.precision, recipe.run.deterministic) as place,
        ExitStack() as held,
    ):
        if old is None and restarted() and not dry_run:
            old = run_to_continue(recipe, out, place)
        if old is not None:
            enter_on_main(old.writing, held, place)
            if any_process(old.finished, place):  # another process may have ended it meanwhile
                return _finished(old)
        if old is None and place.main and not dry_run:
            check_folder(Path("runs")) if out is None else Run.check_free(out, overwrite)
        show = progress(verbosity if place.main else -2)
        bundle = open_recipe_data(recipe, data)
        check_same_data(bundle.name, bundle.fingerprint() if place.world > 1 else "", place)
        show.start(recipe, bundle, place)
        job = Job(recipe, place, bundle, show.say)
        show.model(job)
        if recipe.run.deterministic and place.device.type == "cpu":
            show.say("run.deterministic: nothing to do, runs on a CPU are equal to the bit")
        if dry_run:
            _dry_run(job, show.remark)
            return Summary(Path(), {})
        run = old or _new_run(job, held, out, overwrite)
        check_folder_shared(run.path, place)
        if old is not None:
            _resume(job, run, show)
        try:
            keep_features(job, show.say)
            held.enter_context(tracked(recipe, run, job.step, place.main, show.warn))
            with show.training(job), StopFlag(until) as stop:
                train(job, run, show, stop)
            held_data = data if in_memory and not isinstance(data, Ready) else None
            summary = Summary(run.path, finish(job, run, show), plugs.trusted(), held_data)
            show.finished(summary)
            return summary
        except KeyboardInterrupt:
            raise Interrupted(run.path) from None


def _finished(run: Run) -> Summary:
    return Summary(run.path, run.read_json("result.json"), plugs.trusted())


def train(job: Job, run: Run, show: Progress, stop: StopFlag) -> None:
    """Trains to the end of the schedule; evaluates, logs and saves along the way."""
    place, clock = job.place, Clock(job)
    log_every = max(1, min(50, job.steps // 200))
    with contextlib.closing(job.batches()) as source, contextlib.closing(job.saver):
        batches = on_device(source, place)
        while True:
            if job.evaluation_due():
                clock.pause(job)
                evaluate_now(job, run, show)
                clock.resume(job)
            if job.finished():
                if any_process(stop.asked, place):  # during the last evaluation
                    save(job, run)
                    raise Interrupted(run.path)
                break
            if job.step % job.epoch_steps == 0 and any_process(clock.worth_saving(job), place):
                clock.pause(job)
                clock.saved(job, save(job, run))

            batch = next(batches)
            lr = job.begin_step()
            job.add_losses(train_step(job, batch))
            job.step += 1
            logs = job.step % log_every == 0 or job.step == job.steps
            if place.world > 1 and not logs:
                continue  # processes communicate only when they log

            if logs:
                event = clock.event(job, average(job.take_losses(), place), lr)
                check_finite(job.step, event["losses"].values(), run)
                if place.main:
                    run.log("train", **event)
                show.step(job, event)
            stopping = any_process(stop.asked, place)
            if stopping or any_process(clock.save_due(job), place):
                clock.pause(job)
                clock.saved(job, save(job, run))
            if stopping:
                raise Interrupted(run.path)


def evaluate_now(job: Job, run: Run, show: Progress) -> None:
    """Scores the val split and saves the weights if they are the best so far: of equal scores,
    those with the lower loss on val, or in training since the last evaluation."""
    job.evaluated = job.step
    tta, start = job.quick_tta, time.perf_counter()
    broadcast_buffers(job.final_task(), job.place)
    metric = score(job.final_task(), job.val_loader(), job.place, tta, show.tick("val"),
                   show.remark)  # fmt: skip
    metrics = metric.compute()
    if metrics[metric.primary] is None:  # like COCO's AP of small boxes if there are none
        raise DataError(f"val has nothing that {metric.primary} can be computed from",
                        "another task.primary")  # fmt: skip
    value = float(metrics[metric.primary])
    job.schedule.update(value)
    train_loss = job.train_loss()
    loss = metrics.get("loss")  # not every task reports one
    better = job.is_best(value, train_loss if loss is None else float(loss))
    if better:
        job.best_metric = metric
    if job.place.main:
        if better:
            keep_weights(job, run)
        flat = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        seconds = round(time.perf_counter() - start, 3)
        run.log("eval", step=job.step, epoch=job.step / job.epoch_steps, metrics=flat,
                seconds=seconds)  # fmt: skip
    show.evaluated(job, metric.primary, metrics, better, train_loss)


def keep_weights(job: Job, run: Run) -> None:
    """Writes best.safetensors: the model as it is evaluated."""
    about = {"format": "xfer", "step": str(job.step)}
    job.saver.write(
        lambda weights: checkpoint.save_weights(run.weights_file, weights, about), job.weights()
    )


def save(job: Job, run: Run) -> float:
    """Writes last/ atomically: everything that resuming needs. Returns the seconds it took, with
    those of the last file that was written beside the training."""
    start = time.perf_counter()
    check_finite(job.step, [float(v) for v in job.pending["losses"].values()], run)
    states = gather(random_states(), job.place)
    if job.place.main:
        job.saver.write(run.save_state, {**job.state(), "random": states})
    return time.perf_counter() - start + job.saver.seconds


def _new_run(job: Job, held: ExitStack, out: Path | None, overwrite: bool) -> Run:
    """Creates the run folder and writes what is known before the first step."""
    run = enter_on_main(lambda: Run.start(job.recipe, out, overwrite), held, job.place)
    path = broadcast(run.path if job.place.main else None, job.place)
    if not job.place.main:
        return Run(path)
    _write_start(job, run)
    return run


def _write_start(job: Job, run: Run) -> None:
    report = job.task.backbone.weight_report
    run.write_json("env.json", environment(
        device=job.place.describe(), precision=job.place.precision, world_size=job.place.world,
        seed=job.recipe.run.seed, data_fingerprint=job.bundle.fingerprint(),
        data_format=job.bundle.format,
        data_notes=list(job.bundle.notes), skipped=[list(s) for s in job.bundle.skipped],
        weights=report.line() if report is not None else "none",
        crop_on=job.crop_on, launch=launch(),
        trains=[[g.name, g.scale, g.weight_decay, g.count] for g in job.groups],
    ))  # fmt: skip
    write_model(run, job.model_json())
    run.write_json("split.json", job.bundle.split_json())
    files.write_text(run.path / "classes.txt", "\n".join(job.task.info.classes) + "\n")


def _resume(job: Job, run: Run, show: Progress) -> None:
    """Continues from last/; from the start if the run was stopped before its first save."""
    splits = run.read_json("split.json") if (run.path / "split.json").is_file() else None
    if run.state_file.is_file():
        state = checkpoint.load_state(run.state_file, job.task.state_dict())
        job.load_state(state, splits)
    elif (run.path / "env.json").is_file():
        job.check_data(run.read_json("env.json").get("data_fingerprint"), splits)
    if job.place.main:
        if not (run.path / "model.json").is_file() or not (run.path / "classes.txt").is_file():
            _write_start(job, run)
        run.sweep()
        run.rewind_log(job.step, job.evaluated)
        run.log("resume", step=job.step)
    show.resumed(job, run)


def _dry_run(job: Job, say: Callable[[str], None]) -> None:
    """One training batch, one evaluation batch and one save to a temporary file."""
    batch = next(iter(job.train.batches(0)))
    job.begin_step()
    losses = train_step(job, batch.to(job.place.device))
    check_finite(1, [float(v) for v in losses.values()], Run(Path()))
    job.step = 1
    split = next((s for s in ("val", "test") if s in job.bundle.splits), "train")
    tta = job.recipe.eval.tta
    small = next(iter(job.loader(split, tta=tta).batches(0)))
    task = job.final_task().eval()
    predict_batch(task, small, tta, Halved[list[Any]](job.place, say))
    if job.place.main:
        with tempfile.TemporaryDirectory() as folder:
            Run(Path(folder)).save_state({**job.state(), "random": [random_states()]})
