"""Times the loop: images per second, time spent waiting for data, and when to save."""

from __future__ import annotations

import time
from typing import Any

from xfer.train.job import Job


class Clock:
    """Measures the loop: images per second, time spent waiting for data, when to save."""

    def __init__(self, job: Job) -> None:
        self.step, self.took, self.wait = job.step, 0.0, 0.0
        self.resume(job)
        self.last_save = time.perf_counter()
        self.save_cost = 0.0
        self.saved_step = job.step

    def pause(self, job: Job) -> None:
        """Adds the time up to now; evaluating and saving do not count as training time."""
        took, wait = time.perf_counter() - self.start, job.train.waited - self.waited
        self.took, self.wait = self.took + took, self.wait + wait
        job.seconds, job.waited = job.seconds + took, job.waited + wait

    def resume(self, job: Job) -> None:
        """Starts the clock, or restarts it after a pause."""
        self.start, self.waited = time.perf_counter(), job.train.waited

    def event(self, job: Job, losses: dict[str, float], lr: float) -> dict[str, Any]:
        """The log.jsonl entry for the steps since the last event."""
        self.pause(job)
        took, wait = max(self.took, 1e-9), self.wait
        images = (job.step - self.step) * job.global_batch
        self.step, self.took, self.wait = job.step, 0.0, 0.0
        self.resume(job)
        return {
            "step": job.step,
            "epoch": round(job.step / job.epoch_steps, 4),
            "losses": losses,
            "loss": sum(losses.values()),
            "lr": lr,
            "images_per_second": round(images / took, 2),
            "data_wait": round(min(1.0, wait / took), 4),
            "memory_mb": round(job.place.peak_memory_mb(), 1),
        }

    def save_due(self, job: Job) -> bool:
        return time.perf_counter() - self.last_save > 60 * job.recipe.run.save_minutes

    def worth_saving(self, job: Job) -> bool:
        """At the end of an epoch: whether saving takes at most 5 % of the time between saves."""
        new = job.step > self.saved_step
        return new and time.perf_counter() - self.last_save > 20 * self.save_cost

    def saved(self, job: Job, cost: float) -> None:
        now = time.perf_counter()
        self.save_cost, self.last_save, self.saved_step = cost, now, job.step
        self.resume(job)
