"""The end of a run: the test split scored once, predictions, plots, a page, result.json last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from xfer.data.sources.base import is_streamed
from xfer.data.streams.stream_loader import StreamLoader
from xfer.device import broadcast_buffers
from xfer.inference.score import score, view_protocol
from xfer.metrics.calibration import calibration_of, errors_with
from xfer.metrics.interval import interval_of
from xfer.runs import checkpoint
from xfer.runs.card import write_card
from xfer.runs.counts import write_counts
from xfer.runs.folder import SCHEMA, Run
from xfer.runs.model_file import NAME as MODEL
from xfer.runs.model_file import write_model
from xfer.runs.pictures import write_pictures
from xfer.runs.tables import write_rows
from xfer.task import Metric
from xfer.train.baselines import baselines

if TYPE_CHECKING:
    from xfer.train.job import Job
    from xfer.train.progress import Progress


def finish(job: Job, run: Run, show: Progress) -> dict[str, Any]:
    """Scores the remaining splits and writes the run's last files; returns result.json."""
    place, tta = job.place, job.recipe.eval.tta
    splits = job.bundle.splits
    broadcast_buffers(job.final_task(), place)
    if "val" not in splits:
        job.best = {"score": 0.0, "step": job.step}
        if place.main:
            checkpoint.save_weights(run.weights_file, job.weights(), {"format": "xfer"})
    elif place.world > 1:
        _wait(job)
    task = job.final_task()
    best_metric = job.best_metric if job.quick_tta == tta else None  # None after a resume as well
    if job.best["step"] != job.step and ("test" in splits or best_metric is None):
        file = run.weights_file
        checkpoint.fill(task, checkpoint.load_weights(file), file)
    metrics: dict[str, Metric] = {}
    if "val" in splits:
        loader = job.val_loader() if job.quick_tta == tta else job.loader("val", tta=tta)
        metrics["val"] = best_metric or score(
            task, loader, place, tta, show.tick("val"), show.remark
        )
    if "test" in splits:
        loader = job.loader("test", tta=tta)
        metrics["test"] = score(task, loader, place, tta, show.tick("test"), show.remark)
    result = _result(job, metrics)
    if not place.main:
        return result
    if found := baselines(job, metrics.get("val")):
        result["baselines"] = found
    result |= _calibrate(run, metrics)
    for split, metric in metrics.items():
        write_rows(run.path / "predictions" / f"{split}.csv", metric.rows())
        write_counts(run.path, split, metric)
    write_pictures(run.path, job.bundle)
    _note_seen(job, run)
    if job.recipe.run.plots:
        _draw(job, run, metrics, show)
    if job.recipe.run.report:
        _report(job, run, metrics, result, show)
    _card(run, result, show)
    run.write_json("result.json", result)
    return result


def _note_seen(job: Job, run: Run) -> None:
    """Adds to env.json how many pictures of a stream were seen."""
    if not isinstance(job.train, StreamLoader):
        return
    environment = run.read_json("env.json")
    line = f"{job.step * job.global_batch:,} pictures seen, in {job.step:,} steps"
    held = job.train.passes
    if held is not None and job.place.world == 1:
        line += f"; the shards hold {held:,}"
    kept = [note for note in environment.get("data_notes", ()) if " pictures seen, in " not in note]
    run.write_json("env.json", {**environment, "data_notes": [*kept, line]})


def _wait(job: Job) -> None:
    """Waits until rank 0 has written its files."""
    from xfer.device import gather

    gather(None, job.place)


def _result(job: Job, metrics: dict[str, Metric]) -> dict[str, Any]:
    any_metric = next(iter(metrics.values()), None) or job.task.metric()
    protocol = {**any_metric.protocol(), **view_protocol(job.task, job.recipe.eval.tta)}
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "task": job.recipe.task,
        "backbone": job.recipe.backbone,
        "data": job.recipe.data.source,
        "recipe": job.recipe.name,
        "seed": job.recipe.run.seed,
        "primary": any_metric.primary,
    }
    for split, before in (("val", ""), ("test", "test_")):
        if split in metrics:
            result[f"{before}metrics"] = metrics[split].compute()
            interval = interval_of(metrics[split]) if job.place.main else None
            if interval is not None:
                result[f"{before}interval"] = interval.document()
    return {
        **result,
        "protocol": protocol,
        "best_step": job.best["step"],
        "steps": job.step,
        "seconds": round(job.seconds + job.preparing, 2),
        "images_per_second": round(job.step * job.global_batch / max(job.seconds, 1e-9), 2),
        "data_wait": round(min(1.0, job.waited / max(job.seconds, 1e-9)), 4),
        "peak_memory_mb": round(job.place.peak_memory_mb(), 1),
    }


def _calibrate(run: Run, metrics: dict[str, Metric]) -> dict[str, Any]:
    """Fits the temperature to val and writes it to model.json; {} if there is nothing to fit."""
    found = calibration_of(metrics["val"]) if "val" in metrics else None
    if found is None:
        return {}
    write_model(run, {**run.read_json(MODEL), "temperature": found.temperature})
    document = found.document()
    on_test = errors_with(metrics["test"], found.temperature) if "test" in metrics else None
    if on_test is not None:
        document |= dict(zip(("test_ece", "test_ece_calibrated"), on_test, strict=True))
    return {"calibration": document}


def _card(run: Run, result: dict[str, Any], show: Progress) -> None:
    """Writes card.md. A card that can't be written causes a warning, never stops the run."""
    try:
        write_card(run.path, result)
    except Exception as error:
        show.warn(f"no card.md: {type(error).__name__}: {error}")


def _draw(job: Job, run: Run, metrics: dict[str, Metric], show: Progress) -> None:
    """Draws plots/. A plot that can't be drawn causes a warning, never stops the run."""
    from xfer.report.plots import plot_run

    split = "val" if "val" in metrics else "test" if "test" in metrics else "train"
    source = job.bundle.splits[split]
    streamed = is_streamed(source)  # nothing of it is drawn
    where = {} if streamed else {sample_id: i for i, sample_id in enumerate(source.ids)}
    try:
        plot_run(
            run.path, run.events(), metrics.get(split),
            lambda sample_id: source[where[sample_id]].image, job.task.info.classes,
        )  # fmt: skip
    except Exception as error:
        show.warn(f"plots/ is incomplete: {type(error).__name__}: {error}")


# the page may take this long, seconds, or this share of the run; the rest of its pictures are left
# out, until `xfer report` makes it anew
PAGE_SECONDS, PAGE_SHARE = 1.0, 0.02


def _report(
    job: Job, run: Run, metrics: dict[str, Metric], result: dict[str, Any], show: Progress
) -> None:
    """Writes report.html. A page that can't be made causes a warning, never stops the run."""
    from xfer.report.page import Facts, Live, write_page

    split = next((s for s in ("val", "test") if s in metrics), "")
    seconds = max(PAGE_SECONDS, PAGE_SHARE * job.seconds)
    train = job.bundle.splits["train"]
    live = Live(
        split, metrics.get(split), job.bundle.splits.get(split),
        None if is_streamed(train) else train, job.final_task(),
        deadline=time.monotonic() + seconds,
    )  # fmt: skip
    try:
        write_page(Facts.of(run.path, live, result), run.path / "report.html")
    except Exception as error:
        show.warn(f"no report.html: {type(error).__name__}: {error}")
