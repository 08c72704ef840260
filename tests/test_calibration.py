"""Calibrated probabilities: bins, the fitted temperature, and what a run makes of them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

import xfer
from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.kinds import get as kind_named
from xfer.metrics import calibration as module
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.calibration import (
    best_temperature,
    calibrate,
    calibrated,
    calibration_of,
    expected_error,
    reliability,
)
from xfer.metrics.multilabel import MultiLabelAP


def drawn(seed: int, count: int, classes: int, sharper: float) -> tuple[Any, Any]:
    """Probabilities of logits that are `sharper` times those that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    labels = np.array([rng.choice(classes, p=row) for row in softmax(logits, 1)])
    return softmax(logits * sharper, 1).astype(np.float32), labels


def test_bins_and_their_error_by_hand() -> None:
    bins = reliability(np.array([0.1, 0.15, 0.95, 1.0]), np.array([0, 1, 1, 1]), 2)
    assert [(b.low, b.high, b.n) for b in bins] == [(0.0, 0.5, 2), (0.5, 1.0, 2)]
    assert bins[0].confidence == pytest.approx(0.125) and bins[0].accuracy == 0.5
    # (2 * |0.125 - 0.5| + 2 * |0.975 - 1|) / 4
    assert expected_error(bins) == pytest.approx(0.2)
    assert expected_error([]) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 8), st.floats(0.3, 4))
def test_the_temperature_has_the_lowest_loss(seed: int, classes: int, sharper: float) -> None:
    scores, labels = drawn(seed, 60, classes, sharper)
    logits, blind = np.log(scores.astype(np.float64)), 1 / 61

    def loss(log_t: float) -> float:
        table = log_softmax(logits / np.exp(log_t), 1)
        return -(1 - blind) * table[np.arange(60), labels].sum() - blind * table.mean(1).sum()

    best: Any = minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded",
                                options={"xatol": 1e-9})  # fmt: skip
    assert best_temperature(scores, labels, False) == pytest.approx(np.exp(best.x), rel=1e-3)


def test_the_temperature_that_was_put_in_is_found() -> None:
    scores, labels = drawn(0, 4000, 5, 2.5)
    found = calibrate(scores, labels, [str(i) for i in range(4000)], False)
    assert found is not None and found.ece_calibrated is not None
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert found.ece > 0.1 and found.ece_calibrated < 0.03
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, (2000, 4))
    truth = np.where(rng.random((2000, 4)) < 0.1, -1, rng.random((2000, 4)) < expit(logits))
    several = calibrate(
        expit(logits / 2).astype(np.float32), truth, [str(i) for i in range(2000)], True
    )
    assert several is not None and several.temperature == pytest.approx(0.5, rel=0.1)
    assert several.n == (truth >= 0).sum() and "label's" in several.document()["method"]


def test_the_reported_error_is_that_of_pictures_not_fitted_to() -> None:
    scores, labels = drawn(3, 30, 4, 3.0)
    ids = [f"p{i}" for i in range(30)]
    found = calibrate(scores, labels, ids, False)
    assert found is not None
    order = sorted(range(30), key=lambda i: zlib.crc32(ids[i].encode()))
    mended = scores.copy()
    for fold in range(5):
        held = order[fold::5]
        others = [i for i in order if i not in held]
        own = best_temperature(scores[others], labels[others], False)
        mended[held] = calibrated(scores[held], own, False)
    error = expected_error(reliability(mended.max(1), mended.argmax(1) == labels))
    assert found.ece_calibrated == pytest.approx(error, abs=1e-6)
    flattered = calibrated(scores, found.temperature, False)
    own = expected_error(reliability(flattered.max(1), flattered.argmax(1) == labels))
    assert abs(own - error) > 1e-3


def test_extremes_stay_finite() -> None:
    sure = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    right, wrong = np.array([0, 1, 2, 0, 1, 2]), np.array([1, 2, 0, 1, 2, 0])
    assert best_temperature(sure, wrong, False) == pytest.approx(20, rel=1e-3)
    assert 0.05 <= best_temperature(sure, right, False) < 20
    for several in (False, True):
        out = calibrated(sure, 7.0, several)
        assert np.isfinite(out).all() and (out.argmax(1) == sure.argmax(1)).all()
    labels = np.eye(3, dtype=np.int64)[right]
    assert 0.05 <= best_temperature(sure, labels, True) <= 20
    assert calibrate(sure, np.full(6, -1), list("abcdef"), False) is None
    few = calibrate(sure, right, list("abcdef"), False)
    assert few is not None and few.ece_calibrated is None


def test_the_order_of_pictures_and_batches_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "most_of", lambda classes: 20)
    monkeypatch.setattr("xfer.metrics.accuracy.most_of", lambda classes: 20)
    scores, labels = drawn(0, 130, 4, 2.0)
    ids = [f"p{i}" for i in range(130)]
    found: list[Any] = []
    for order in (np.arange(130), np.random.default_rng(1).permutation(130)):
        metric = Accuracy(list("abcd"))
        for part in np.array_split(order, 7):
            metric.add(scores[part], labels[part], [ids[i] for i in part])
            assert sum(len(p["scores"]) for p in metric._parts) <= 40 + 19
        kept = metric.probabilities()
        assert len(kept[0]) == 20
        assert all(np.array_equal(kept[1][k], scores[int(n[1:])]) for k, n in enumerate(kept[0]))
        assert metric.compute()["per_class"]["a"]["n"] == (labels == 0).sum()
        found.append(calibration_of(metric))
    assert found[0] == found[1] and found[0].n == 20
    several = MultiLabelAP(list("abcd"))
    several.add(scores, np.eye(4, dtype=int)[labels], ids)
    assert len(several.probabilities()[0]) == 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    options: dict[str, Any] = {"epochs": 1, "limit": 240, "workers": 0, "run.plots": False}
    xfer.finetune(
        data="digits", task="classify", backbone="tiny_nets:tiny", weights="none", device="cpu",
        out=out, trust="tiny_nets", **options,
    )  # fmt: skip
    return out


def test_a_run_is_calibrated(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads((run / "result.json").read_text())
    about = json.loads((run / "model.json").read_text())
    kept = result["calibration"]
    assert kept["temperature"] == about["temperature"] > 0
    assert 0 <= kept["ece"] <= 1 and sum(b["n"] for b in kept["bins"]) == kept["n"]
    low, high = result["interval"]["low"], result["interval"]["high"]
    assert low <= result["metrics"]["top1"] <= high and (run / "predictions/val.npz").is_file()
    card = yaml.safe_load((run / "card.md").read_text().split("---\n")[1])
    scores = {m["name"]: m["value"] for m in card["model-index"][0]["results"][0]["metrics"]}
    assert scores["top1"] == result["metrics"]["top1"]
    model = xfer.load(run, trust="tiny_nets")
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    plain, mended = model.predict(picture)[0], model.predict(picture, calibrated=True)[0]
    assert mended.scores == pytest.approx(calibrated(plain.scores, about["temperature"], False))
    assert mended.scores.sum() == pytest.approx(1)

    words = [str(run), "--trust", "tiny_nets", "--device", "cpu"]
    assert main(["eval", *words, "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert f"top1: {low:.4f} to {high:.4f} (Wilson score interval, 95 %)" in shown
    assert f"calibration error (ECE): {kept['ece']:.4f}" in shown

    del about["temperature"]  # as an older version left it
    (run / "model.json").write_text(json.dumps(about))
    with pytest.raises(XferError, match="no temperature was fitted") as error:
        xfer.load(run, trust="tiny_nets").predict(picture, calibrated=True)
    assert "--calibrate" in str(error.value.hint)
    assert main(["eval", *words, "--calibrate", "--data", "digits"]) == 2
    assert "run's own val" in capsys.readouterr().err
    assert main(["eval", *words, "--calibrate", "--workers", "0", "--json"]) == 0
    again = json.loads((run / "model.json").read_text())
    assert again["temperature"] == pytest.approx(kept["temperature"], rel=1e-3)
    (run / "model.json").write_text(json.dumps({**again, "temperature": -1}))
    with pytest.raises(DataError, match="temperature is -1"):
        xfer.load(run, trust="tiny_nets")
    (run / "model.json").write_text(json.dumps(again))


def test_kinds_without_probabilities_of_pictures_say_so() -> None:
    for name in ("detect", "segment"):
        with pytest.raises(XferError, match="no temperature to them"):
            kind_named(name).calibrated(None, 1.5)
    assert calibration_of(object()) is None
