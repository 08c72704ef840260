"""Kinds of a detector's errors: each made by hand, and all against another program's TIDE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from box_sets import found, scene, truth

from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.coco_ap import coco_scores
from xfer.metrics.detection_errors import KINDS, error_costs, match

BOX, FAR = [0.0, 0.0, 100.0, 100.0], [500.0, 0.0, 50.0, 50.0]
HALF_OFF = [60.0, 0.0, 100.0, 100.0]  # overlaps BOX by a quarter

# what is there, what is found, which kind it is
CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "cls": ([(0, 0, BOX)], [(0, 1, BOX, 0.9)]),
    "loc": ([(0, 0, BOX)], [(0, 0, HALF_OFF, 0.9)]),
    "both": ([(0, 0, BOX)], [(0, 1, HALF_OFF, 0.9)]),
    "dupe": ([(0, 0, BOX)], [(0, 0, BOX, 0.9), (0, 0, BOX, 0.8)]),
    "bkg": ([(0, 0, BOX)], [(0, 0, FAR, 0.9)]),
}


@pytest.mark.parametrize("kind", list(CASES))
def test_an_error_is_of_its_kind(kind: str) -> None:
    there, says = CASES[kind]
    _, _, counts = error_costs(truth(there), found(says), 2)
    missed = int(kind in ("both", "bkg"))
    assert counts == {name: int(name == kind) for name in KINDS} | {"miss": missed}


def test_mending_gains_what_it_should() -> None:
    """A class wholly right, and one whose only box is badly placed: half the AP is at stake."""
    true = truth([(0, 0, BOX), (0, 1, FAR)])
    said = found([(0, 0, BOX, 0.9), (0, 1, [530.0, 0.0, 50.0, 50.0], 0.8)])
    ap, costs, counts = error_costs(true, said, 2)
    assert ap == 0.5 and counts["loc"] == 1 and counts["miss"] == 0
    assert costs == dict.fromkeys(KINDS, 0.0) | {"loc": 0.5}
    # with no box for it at all it is missed, and no longer asked for when that is mended
    ap, costs, counts = error_costs(true, said.take([0]), 2)
    assert ap == 0.5 and counts["miss"] == 1
    assert costs == dict.fromkeys(KINDS, 0.0) | {"miss": 0.5}


def test_of_several_that_would_find_a_box_the_best_is_mended_and_the_rest_vanish() -> None:
    true = truth([(0, 0, BOX)])
    said = found([(0, 0, HALF_OFF, 0.9), (0, 0, [0.0, 60.0, 100.0, 100.0], 0.8)])
    ap, costs, counts = error_costs(true, said, 1)
    assert ap == 0 and costs["loc"] == 1.0 and counts["loc"] == 2 and counts["miss"] == 0
    # where the box is found already, mending them only clears them away
    ap, costs, _ = error_costs(true, found([(0, 0, HALF_OFF, 0.9), (0, 0, BOX, 0.5)]), 1)
    assert ap == 0.5 and costs["loc"] == 0.5


def test_a_class_wholly_missed_leaves_the_mean_unless_boxes_are_said_to_be_of_it() -> None:
    true = truth([(0, 0, BOX), (0, 1, FAR)])
    said = found([(0, 0, BOX, 0.9), (0, 1, [0.0, 300.0, 50.0, 50.0], 0.8)])
    assert error_costs(true, said, 2)[1]["miss"] == 0
    assert error_costs(true, said.take([0]), 2)[1]["miss"] == 0.5


def test_a_box_that_a_better_error_of_another_kind_would_find_is_not_found_twice() -> None:
    true = truth([(0, 0, BOX)])
    said = found([(0, 1, BOX, 0.9), (0, 0, HALF_OFF, 0.8)])
    _, costs, counts = error_costs(true, said, 2)
    assert counts["cls"] == counts["loc"] == 1 and counts["miss"] == 0
    assert costs["cls"] == 1.0 and costs["loc"] == 0


def test_boxes_on_ignored_ones_are_no_errors() -> None:
    true = truth([(0, 0, BOX), (0, 0, FAR)], crowd=[1])
    said = found([(0, 0, BOX, 0.9), (0, 0, FAR, 0.8), (0, 0, [510.0, 0.0, 20.0, 20.0], 0.7)])
    state = match(true, said)
    assert state.right.tolist() == [True, False, False]
    assert state.ignored.tolist() == [False, True, True]
    assert error_costs(true, said, 1)[2] == dict.fromkeys(KINDS, 0)


def test_nothing_there_has_no_costs() -> None:
    ap, costs, counts = error_costs(truth([]), found([(0, 0, BOX, 0.9)]), 1)
    assert ap is None and costs == dict.fromkeys(KINDS) and counts["bkg"] == 1


@pytest.mark.parametrize("seed", range(12))
def test_the_ap_that_is_mended_is_cocos_and_errors_are_tides(seed: int) -> None:
    hotcoco = pytest.importorskip("hotcoco")
    true, said = scene(seed, images=30, classes=3, ignored=False)
    # TIDE takes 100 boxes a picture, we a class: with few boxes it is the same; and its order of
    # equal scores is another
    said = FoundBoxes(said.image, said.label, said.xywh, _distinct(said.score))
    ap, costs, counts = error_costs(true, said, 3)
    assert ap == pytest.approx(coco_scores(true, said, 30, 3).figures[1], abs=1e-12)
    theirs = _tide(hotcoco, true, said)
    assert counts == {kind: theirs["counts"][kind.capitalize()] for kind in KINDS}
    for kind in KINDS:
        # theirs cuts losses off at 0
        assert max(costs[kind] or 0, 0) == pytest.approx(
            theirs["delta_ap"][kind.capitalize()], abs=1e-9
        )


def _distinct(scores: np.ndarray) -> np.ndarray:
    places = np.argsort(np.argsort(-scores, kind="stable"), kind="stable")
    return 1 - places / (len(scores) + 1)


def _tide(hotcoco: Any, true: TrueBoxes, said: FoundBoxes) -> dict[str, Any]:
    real = hotcoco.COCO.from_arrays(
        [{"id": i + 1} for i in range(30)], [{"id": c + 1, "name": str(c)} for c in range(3)],
        true.image + 1, true.label + 1, true.xywh, area=true.boxes.area,
        ids=np.arange(1, len(true) + 1),
    )  # fmt: skip
    rows = np.column_stack([said.image + 1, said.xywh, said.score, said.label + 1])
    scorer = hotcoco.COCOeval(real, real.load_res(rows), "bbox")
    scorer.evaluate()
    return scorer.tide_errors()
