"""Progress in one line of any width, with the time left; an evaluation in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xfer.train import progress as module
from xfer.train.progress import Progress

DETECTION = {f"coco_{n}": 0.5 for n in ("ap", "ap50", "ap75", "ar1", "ar10", "ar100")}


def job(step: int = 30, steps: int = 120) -> Any:
    return SimpleNamespace(
        step=step, steps=steps, epoch_steps=40, task=SimpleNamespace(chance_loss=lambda: None),
        recipe=SimpleNamespace(run=SimpleNamespace(chance_steps=1000)),
    )  # fmt: skip


def event(step: int) -> dict[str, Any]:
    return {"loss": 0.6339, "lr": 6.73e-5, "images_per_second": 14.2, "data_wait": 0.01,
            "memory_mb": 1024.0, "epoch": step / 40}  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("left", ["-:-- left", "12:34:56 left"])
def test_progress_fits_and_keeps_the_time_left(
    width: int, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    parts = ("loss 0.6339", "best voc_ap50_area 0.1234", "1234 img/s", "lr 6.7e-05", "data 0 %",
             "1.0 GB")  # fmt: skip
    fields = {"epoch": 12.34, "epochs": 20.0, "parts": parts, "left": left}
    task: Any = SimpleNamespace(fields=fields, completed=30, total=120)
    text = module._Line().render(task).plain  # pyright: ignore[reportPrivateUsage]
    assert len(text) < width and left in text and text.startswith("epoch 12.3/20")
    assert "…" not in text
    if width >= 60:
        assert "loss 0.6339" in text
    if width >= 80:
        assert "best voc_ap50_area 0.1234" in text
    assert "━" in text or width < 120


def test_the_time_left_counts_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    show = Progress(0)
    left = show._left  # pyright: ignore[reportPrivateUsage]
    assert left(job(30)) == "-:-- left"  # a resumed run knows no speed yet
    now[0] += 60
    assert left(job(60)) == "2:00 left"
    now[0] += 60  # an evaluation
    assert left(job(60)) == "4:00 left"


def test_a_line_in_a_pipe_has_the_best_score_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", -1.0)
    show = Progress(0)
    show.evaluated(job(), "top1", {"top1": 0.75, "loss": 0.5}, True, 1.0)
    show.step(job(), event(30))
    evaluated, step = capsys.readouterr().err.splitlines()
    assert evaluated == "epoch 0.75  step 30  val top1 0.7500  loss 0.5000  (best so far)"
    assert "loss 0.6339  best top1 0.7500  14 img/s" in step and step.endswith("left")


def test_an_evaluation_of_a_detector_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(0).evaluated(job(), "coco_ap", DETECTION, False, 1.25)
    assert capsys.readouterr().err == (
        "epoch 0.75  step 30  val coco_ap 0.5000  coco_ap50 0.5000  train loss 1.2500\n"
    )
    Progress(1).evaluated(job(), "coco_ap", DETECTION, False, 1.25)
    assert all(name in capsys.readouterr().err for name in ["coco_ar100"])
