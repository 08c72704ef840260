"""Two models on the same pictures: McNemar's test, the paired bootstrap, runs compared by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from box_sets import scene
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_runs_compare import VAL, write_marks, write_run

from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.detection import DetectionAP
from xfer.metrics.miou import MeanIoU
from xfer.metrics.paired import compare, holm, mcnemar
from xfer.metrics.resampled import Ratios
from xfer.runs.compare import compare_runs
from xfer.runs.counts import read_counts, write_counts


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_scipy(a: int, b: int) -> None:
    p, test = mcnemar(a, b)
    if a + b < 25:
        expected = stats.binomtest(a, a + b).pvalue if a + b else 1.0
        assert "exact binomial" in test
    else:
        expected = stats.chi2.sf(max(0, abs(a - b) - 1) ** 2 / (a + b), 1)
        assert "chi-squared" in test
    assert p == pytest.approx(expected, rel=1e-9)
    assert mcnemar(b, a)[0] == p


def test_holm_corrects_in_order() -> None:
    # the worked example: 0.01, 0.04, 0.03, 0.005 (Holm's step-down)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.8]) == [1.0, 1.0]


def test_equal_models_are_seldom_told_apart_and_others_often() -> None:
    rng = np.random.default_rng(0)

    def p_values(gain: float) -> list[float]:
        found: list[float] = []
        for _ in range(120):
            hard = rng.normal(0, 0.2, 60)  # shared by both models
            one, two = (hard + rng.normal(0.6 + g, 0.05, 60) for g in (0.0, gain))
            tested = compare(Ratios.of_values(one), Ratios.of_values(two), draws=199)
            assert tested is not None and tested.low <= tested.difference <= tested.high
            assert "paired bootstrap" in tested.test
            found.append(tested.p)
        return found

    assert np.mean(np.array(p_values(0.0)) < 0.05) < 0.12
    # the two scores' own intervals (about +-0.05) would overlap
    assert np.mean(np.array(p_values(0.03)) < 0.05) > 0.7


def test_pairs_that_can_t_be_compared() -> None:
    three = Ratios.of_values(np.arange(3.0))
    same = compare(three, three)
    assert same is not None and (same.difference, same.p) == (0.0, 1.0)
    with pytest.raises(XferError, match="3 and of 2 pictures"):
        compare(three, Ratios.of_values(np.arange(2.0)))
    assert compare(three.take(np.array([0])), three.take(np.array([1]))) is None
    assert compare(Ratios.of_values(np.full(3, np.nan)), three) is None


def test_counts_are_kept_and_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"p{i}.jpg" for i in range(12)]
    boxes = DetectionAP(["0", "1", "2"])
    boxes.add(ids, *scene(3, images=12, classes=3))
    masks = MeanIoU(["a", "b"])
    for name in reversed(ids):
        masks.add(rng.integers(0, 2, (5, 5)).astype(np.uint8),
                  rng.integers(0, 2, (5, 5)).astype(np.uint8), name)  # fmt: skip
    for metric in (boxes, masks):
        run = tmp_path / metric.primary
        (run / "predictions").mkdir(parents=True)
        write_counts(run, "val", metric)
        found = read_counts(run, "val", metric.primary)
        assert found is not None and found[0] == ids
        own, copies = metric.per_picture(), rng.integers(0, 3, (3, 12))
        assert own is not None
        assert found[1].scores(copies) == pytest.approx(own.scores(copies), abs=1e-6)
        assert read_counts(run, "val", "other") is None
        assert read_counts(run, "test", metric.primary) is None
        file = run / "predictions" / "val.npz"
        file.write_bytes(file.read_bytes()[:-40])
        with pytest.raises(DataError, match=r"val\.npz"):
            read_counts(run, "val", metric.primary)


def answers(run: Path, right: str, ids: list[str] = VAL) -> None:
    """Writes a table of predictions as runs do; right: one digit per picture."""
    (run / "predictions").mkdir(exist_ok=True)
    lines = [f"{name},ant,ant,{flag}" for name, flag in zip(ids, right, strict=True)]
    text = "\n".join(["id,truth,predicted,correct", *lines]) + "\n"
    (run / "predictions" / "val.csv").write_text(text)


def test_runs_are_compared_picture_by_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_run(tmp_path / "a", 1 / 3), write_run(tmp_path / "b", 5 / 6, optim__lr=0.5)
    answers(a, "110000")
    answers(b, "101111")
    (test,) = compare_runs([a, b])["paired"]["val"]
    assert test["runs"] == [str(a), str(b)] and test["pictures"] == 6
    assert test["difference"] == pytest.approx(0.5) and test["figure"] == "top1"
    assert test["p"] == pytest.approx(stats.binomtest(1, 5).pvalue)
    assert "1 right in the first alone, 4 in the second" in test["test"] and "p_holm" not in test
    assert main(["runs", "compare", str(a), str(b)]) == 0
    shown = capsys.readouterr().out
    assert f"val top1: {b} minus {a}: +0.5000" in " ".join(shown.split())
    assert "p = 0.38" in shown and "McNemar's test, exact binomial" in shown
    assert main(["runs", "compare", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paired"]["val"][0]["line"] == test["line"]
    c = write_run(tmp_path / "c", 0.5, optim__lr=0.25)
    answers(c, "111000")
    both = compare_runs([a, b, c])["paired"]["val"]
    assert [t["p_holm"] for t in both] == pytest.approx([2 * test["p"], 1.0])
    assert "by Holm" in both[0]["line"]


def test_only_shared_pictures_with_the_same_labels_are_tested(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", 0.5)
    moved = [f"new/{k}.jpg" for k in range(6)]
    b = write_run(tmp_path / "b", 0.5, val=moved, data__source="/data/elsewhere")
    answers(a, "000000")
    answers(b, "111111", moved)
    assert compare_runs([a, b])["paired"]["val"] == []  # other data: which are the same is unknown
    write_marks(a, [1, 2, 3, 4, 5, 6], [1] * 6)
    write_marks(b, [2, 3, 4, 5, 6, 9], [1, 1, 1, 1, 7, 1])
    (test,) = compare_runs([a, b])["paired"]["val"]
    # picture 1 and 9 are in one run alone, picture 6 has another label there
    assert test["pictures"] == 4 and test["difference"] == 1
    (b / "predictions" / "val.csv").unlink()
    assert compare_runs([a, b])["paired"]["val"] == []


def test_answers_of_a_new_run_and_of_an_old_one_are_compared(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", 0.5), write_run(tmp_path / "b", 0.5, optim__lr=0.5)
    answers(a, "111000")
    metric = Accuracy(["ant", "bee"])
    metric.add(np.array([[0.9, 0.1]] * 6), np.array([0, 0, 1, 1, 1, 1]), VAL)
    (b / "predictions").mkdir()
    write_counts(b, "val", metric)
    (test,) = compare_runs([a, b])["paired"]["val"]
    assert test["difference"] == pytest.approx(-1 / 6)
