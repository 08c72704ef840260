"""`xfer ask`: the estimates are those of their papers, and answers are honest and complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import xfer
from xfer.ask.answer import beats, confidence, stands
from xfer.ask.augmentations import changes
from xfer.ask.batches import cheapest, noise_scale, scaled_rate
from xfer.ask.features import log_me
from xfer.ask.labels import at, power_law, stratified_order
from xfer.ask.overfitting import verdict_of
from xfer.ask.question import rounded
from xfer.ask.rates import propose
from xfer.ask.stages import candidates
from xfer.cli.app import main
from xfer.errors import XferError
from xfer.metrics.paired_groups import Difference
from xfer.recipe.tables import Recipe
from xfer.runs.ending import worth
from xfer.trials.grid import Setting
from xfer.trials.runner import Outcome
from xfer.trials.standing import Standing

TINY: dict[str, Any] = {
    "backbone": "tiny_nets:tiny", "weights": "none", "limit": 60, "epochs": 1, "batch": 8,
    "workers": 0, "trust": "tiny_nets",
}  # fmt: skip


def test_the_noise_scale_is_that_of_the_gradients_drawn() -> None:
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 1, 400)
    deviation, size = 5.0, 4
    drawn = mean + deviation / np.sqrt(size) * rng.normal(0, 1, (48, 400))
    true = 400 * deviation**2 / float(mean @ mean)
    scale, low, high = noise_scale(drawn @ drawn.T, size)
    assert high is not None and low < true < high and scale == pytest.approx(true, rel=0.2)
    noise = rng.normal(0, 1, (24, 4000))
    assert noise_scale(noise @ noise.T - 0.05 * 4000, size)[2] is None  # no signal: no upper end


def test_log_me_is_the_highest_evidence() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (40, 6))
    labels = (features[:, 0] + 0.5 * rng.normal(0, 1, 40) > 0).astype(np.int64)

    def evidence(target: Any) -> float:
        def negative(logs: Any) -> float:
            alpha, beta = np.exp(logs)
            spread = np.eye(40) / beta + features @ features.T / alpha
            return -multivariate_normal(np.zeros(40), spread).logpdf(target) / 40

        return -minimize(negative, [0.0, 0.0], method="Nelder-Mead").fun

    best = np.mean([evidence((labels == c).astype(float)) for c in (0, 1)])
    assert log_me(features, labels) == pytest.approx(best, abs=2e-3)
    assert log_me(rng.normal(0, 1, (40, 6)), labels) < log_me(features, labels)


@given(st.floats(0.2, 0.9), st.floats(0.2, 1.2), st.floats(0.0, 0.1))
def test_a_power_law_is_found_again(a: float, b: float, c: float) -> None:
    sizes = np.geomspace(10, 500, 8)
    law = (a, b, c)
    found = power_law(sizes, [at(law, n) for n in sizes])
    for size in (10, 500, 1000):
        assert at(found, size) == pytest.approx(at(law, size), abs=0.02)
    assert found[0] >= 0 and 0 <= found[1] <= 2 and found[2] >= 0


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60))
def test_every_beginning_of_the_order_has_all_classes(labels: list[int]) -> None:
    table = np.array(labels)
    order = stratified_order(table, 0)
    assert sorted(order.tolist()) == list(range(len(table)))
    half = table[order[: len(order) // 2]]
    for label in np.unique(table):
        assert abs(2 * (half == label).sum() - (table == label).sum()) <= 4


def test_the_range_test_finds_the_fall_and_the_explosion() -> None:
    rates = np.geomspace(1e-6, 1.0, 60)
    losses = 2 - 1.5 / (1 + np.exp(-3 * np.log(rates / 1e-3))) + 4 * (rates > 0.3)
    steepest, highest = propose(rates.tolist(), losses.tolist())
    assert 3e-4 < steepest < 3e-3 and 0.2 < highest < 0.6
    assert propose([1e-3], [1.0]) == (1e-3, 1e-3)


def test_the_cheapest_batch_weighs_noise_against_speed() -> None:
    rows = [{"batch": b, "images_per_second": s} for b, s in ((8, 50), (32, 100), (128, 110))]
    assert cheapest(rows, 1000.0)[0] == 128
    assert cheapest(rows, 5.0)[0] == 8 or cheapest(rows, 5.0)[0] == 32
    assert scaled_rate("adamw", 1e-3, 16, 64) == 2e-3 and scaled_rate("sgd", 0.1, 16, 64) == 0.4
    assert rounded(0.00012345) == 0.00012 and rounded(0.0) == 0.0


def test_what_is_compared_leaves_out_what_the_recipe_has() -> None:
    own = changes(Recipe())
    assert {"data.flip": False} in own and {"data.augment": "strong"} in own
    without = xfer.Recipe(data=type(Recipe().data)(augment="none"))
    assert [c for c in changes(without) if "data.flip" in c or "data.crop_area" in c] == []
    probes = [{"layer": "conv3", "score": 0.9}, {"layer": "conv5", "score": 0.8}]
    names = ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert candidates(names, probes, "") == ["all", "conv2", "conv1"]
    assert "all" not in candidates(names, probes, "all") and "" in candidates(names, [], "all")


def compared(difference: float, low: float, high: float, p: float) -> Standing:
    settings = [Setting({}, Recipe()), Setting({"optim.lr": 1.0}, Recipe())]
    runs = [{s: Outcome(Path(), "finished", 0.8 + k * difference) for s in (0, 1)} for k in (0, 1)]
    one = Difference(0, 1, difference, low, high, p, p, "test", 100, 2)
    return Standing(settings, runs, "top1", (0, 1), (0, 1), int(difference > 0), (one,))


def test_a_default_stands_unless_it_is_beaten_beyond_chance() -> None:
    chance, sure = compared(0.05, -0.01, 0.11, 0.2), compared(0.1, 0.05, 0.15, 0.004)
    assert (
        beats(chance) is None
        and beats(sure) == 1
        and beats(compared(-0.1, -0.2, -0.05, 0.001)) is None
    )
    assert confidence(chance, None).startswith("low") and confidence(sure, 1).startswith("high")
    assert "stands" in stands(chance, "the recipe") and "beyond chance" in stands(
        chance, "the recipe"
    )
    none = Standing(chance.settings, [{}, {}], "", (), (), None, ())
    assert beats(none) is None and "too short" in stands(none, "it")
    assert confidence(none, None).startswith("low")


def test_overfitting_is_a_gap_or_a_rising_loss() -> None:
    rising = [{"step": k, "val_loss": v} for k, v in ((1, 0.9), (2, 0.5), (3, 0.9))]
    gap = {"train": 1.0, "val": 0.7, "gap": 0.3}
    assert verdict_of(gap, [], "top1").startswith("it overfits")
    small = {"train": 0.8, "val": 0.78, "gap": 0.02}
    assert verdict_of(small, [], "top1").startswith("it hardly overfits")
    assert "rises" in verdict_of(small, rising, "top1")


def result_of(score: float, **more: Any) -> dict[str, Any]:
    known = {"majority": {"class": "ants", "score": 0.55}, "predicted_classes": 2,
             "true_classes": 2, "chance_loss": 0.693}  # fmt: skip
    ends = {"low": score - 0.05, "high": score + 0.05, "method": "Wilson"}
    return {"primary": "top1", "metrics": {"top1": score, "loss": more.pop("loss", 0.3)},
            "interval": ends, "baselines": {**known, **more}}  # fmt: skip


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (result_of(0.9), ""),
        (result_of(0.9, centroid={"score": 0.85}), ""),
        (result_of(0.5), "no better than the majority vote"),
        (result_of(0.6), "too small to tell"),
        (result_of(0.9, loss=0.69), "that of guessing"),
        (result_of(0.55, predicted_classes=1), "one class is predicted for all of val"),
    ],
)
def test_the_end_of_a_run_says_what_its_score_is_worth(result: Any, says: str) -> None:
    first, *warnings = worth(Path("runs/a b"), result)
    assert "a majority vote (always ants) scores 0.5500" in first
    assert ("centroid" in result["baselines"]) == ("class mean" in first)
    assert bool(says) == bool(warnings)
    assert says in " ".join(warnings) and all("`xfer ask " in line for line in warnings)
    assert worth(Path(), {"primary": "coco_ap", "metrics": {"coco_ap": 0.1}}) == []


def test_a_question_is_answered_within_its_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ask", "lr", "--data", "digits", "--backbone", "tiny_nets:tiny", "--weights", "none",
             "--limit", "60", "--epochs", "1", "--batch", "8", "--workers", "0", "--budget", "1",
             "--out", str(tmp_path / "lr"), "--json", "--trust", "tiny_nets"]  # fmt: skip
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["answer"] and answer["confidence"] and answer["next"].startswith("xfer finetune")
    assert answer["evidence"]["range_test"] and answer["seconds"] < 90
    rows = answer["evidence"]["short_runs"]
    assert rows[0]["setting"] == "default" and all(row["runs"] > 1 for row in rows)
    assert json.loads((tmp_path / "lr" / "answer.json").read_text()) == answer
    results = [json.loads(p.read_text()) for p in tmp_path.rglob("result.json")]
    assert results and not any("test_metrics" in result for result in results)


@pytest.mark.parametrize("question", ["batch", "augment"])
def test_a_budget_that_is_too_small_still_gives_an_answer(question: str, tmp_path: Path) -> None:
    answer = getattr(xfer.ask, question)("digits", budget=0.03, out=tmp_path / "q", **TINY)
    assert answer["question"] == question and answer["evidence"] and answer["answer"]
    assert answer["confidence"].startswith(("low", "medium")) and answer["runs"] == 0
    assert answer["next"].startswith("xfer finetune --data digits")


def test_answers_show_themselves_and_foreign_folders_are_safe(tmp_path: Path) -> None:
    answer = xfer.ask.more_labels("digits", budget=0.5, out=tmp_path / "more", **TINY)
    assert "more-labels" in repr(answer) and "<table" in answer._repr_html_()
    assert len(answer["evidence"]["probes"]) >= 4 and "twice the" in answer["answer"]
    assert {"now", "then", "low", "high"} <= answer["evidence"]["twice"].keys()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").touch()
    with pytest.raises(XferError, match="not empty"):
        xfer.ask.freeze("digits", budget=0.5, out=tmp_path / "thesis", **TINY)
    with pytest.raises(XferError, match="budget"):
        xfer.ask.lr("digits", budget=-1, **TINY)
