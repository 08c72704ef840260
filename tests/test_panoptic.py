"""The task panoptic: it learns, merges what its decoders say, and its predictions are files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_nets import tiny

from xfer import kinds
from xfer.cli.app import main
from xfer.data.loading.loader import Loader
from xfer.data.open import open_data
from xfer.data.readers.base import ReadOptions
from xfer.data.readers.digits.reader import Digits
from xfer.data.sources.base import Bundle, subset
from xfer.errors import DataError
from xfer.nn.views import View
from xfer.objects.segments import Segments
from xfer.pixels.centres import UNIT, centre_targets
from xfer.pixels.merge import Rules, merged
from xfer.pixels.merge_on_device import merged_on_device
from xfer.recipe.tables import DataTable
from xfer.task import get, make_options
from xfer.testing.segment_scenes import SegmentScenes
from xfer.types import FeatureSpec, Sample

PIXELS = FeatureSpec("pixels", 1, 1, 1, 0.0)
RULES = Rules(0.5, 1, 0.0, 0.0)


def test_it_learns_a_few_pictures_by_heart() -> None:
    torch.manual_seed(0)
    source, kind = SegmentScenes(4), get("panoptic")
    options = make_options(kind, {"width": 32, "dropout": 0.0, "loss_step": 1})
    task = kind(tiny(), source.info, options, DataTable(size=48, augment="none"))
    task.fit_data(Bundle("discs", "test", "panoptic", source.info.classes, {"train": source}))
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    loader = Loader(source, task.transform(True), task.collate, batch=4, train=True, workers=0)
    batches = (batch for epoch in itertools.count() for batch in loader.batches(epoch))
    for batch in itertools.islice(batches, 60):
        optimizer.zero_grad()
        torch.stack(list(task(batch).values())).sum().backward()
        optimizer.step()
    task.eval()
    metric = task.metric()
    for batch in Loader(source, task.transform(False), task.collate, batch=4, train=False).batches(
        0
    ):
        metric.update(task.predict(batch), batch)
    assert metric.compute()["pq"] > 0.8


def exact(segments: Segments, things: np.ndarray) -> torch.Tensor:
    """The scores of decoders that are right about everything: (1, C + 3, H, W)."""
    aims = centre_targets(segments, things, 1.0, 1)
    logits = np.eye(len(things))[np.minimum(segments.classes(), len(things) - 1)] * 20
    parts = [logits.transpose(2, 0, 1), aims.heat[None], aims.offsets / UNIT]
    return torch.from_numpy(np.concatenate(parts)[None]).float()


def same_on_device(
    views: list[tuple[torch.Tensor, View]], size: tuple[int, int], things: np.ndarray, rules: Rules
) -> None:
    """Whether a device merges to the same segments as a CPU; equal centres come in any order."""
    found, sure = merged(views, PIXELS, 0, size, things, rules)
    ((there, certain),) = merged_on_device(views, PIXELS, [size], things, rules)
    one, two = np.unique(np.stack([found.map.ravel(), there.map.ravel()]), axis=1)
    assert len(set(one)) == len(set(two)) == len(one)  # one of each to one of each
    one, two = one[one >= 0], two[one >= 0]
    assert len(found) == len(there) and np.array_equal(found.labels[one], there.labels[two])
    np.testing.assert_allclose(certain[two], sure[one], rtol=1e-4)


def test_true_centres_and_ways_are_merged_to_the_true_segments() -> None:
    map = np.zeros((24, 40), np.int32)
    map[3:12, 4:13], map[3:12, 13:22], map[15:21, 30:38] = 1, 2, 3  # two that touch, of one class
    truth = Segments.of(map, [2, 0, 0, 1])
    things = np.array([True, True, False])
    scores = exact(truth, things)
    view = View(torch.zeros(1, 3, 24, 40), torch.tensor([[24, 40]]))
    turned = torch.cat([scores[:, :-1], -scores[:, -1:]], 1).flip(-1)
    for views in ([(scores, view)], [(scores, view), (turned, view.mirrored())]):
        found, sure = merged(views, PIXELS, 0, (24, 40), things, RULES)
        assert np.array_equal(found.classes(), truth.classes())
        pairs = np.unique(np.stack([found.map.ravel(), map.ravel()]), axis=1)
        assert pairs.shape[1] == 4  # one of each to one of each
        assert sure.shape == (4,) and (sure > 0.7).all()
        same_on_device(views, (24, 40), things, RULES)


def test_what_is_too_small_and_things_without_a_centre_are_void() -> None:
    map = np.zeros((20, 20), np.int32)
    map[2:4, 2:4], map[10:18, 10:18] = 1, 2
    truth, things = Segments.of(map, [1, 0, 0]), np.array([True, False])
    scores = exact(truth, things)
    view = View(torch.zeros(1, 3, 20, 20), torch.tensor([[20, 20]]))
    found, _ = merged([(scores, view)], PIXELS, 0, (20, 20), things, Rules(0.5, 1, 0.0, 0.05))
    assert len(found) == 2 and (found.map[2:4, 2:4] == -1).all()
    same_on_device([(scores, view)], (20, 20), things, Rules(0.5, 1, 0.0, 0.05))
    scores[:, 2] = 0
    found, _ = merged([(scores, view)], PIXELS, 0, (20, 20), things, RULES)
    same_on_device([(scores, view)], (20, 20), things, RULES)
    assert found.labels.tolist() == [1] and (found.map[map > 0] == -1).all()


def test_scenes_have_stuff_void_and_crowds_and_keep_todays_boxes() -> None:
    segments = Digits().load(ReadOptions(kind="panoptic")).parts["val"]
    boxes: Any = Digits().load(ReadOptions(kind="detect")).parts["val"]
    each = [segments[i].segments for i in range(24)]
    known = [one for one in each if one is not None]
    assert any(one.crowd.any() for one in known) and any((one.map < 0).any() for one in known)
    for i, one in enumerate(known[:8]):
        digits = one.as_boxes((one.labels < 10) & ~one.crowd)
        assert np.array_equal(digits.xyxy, boxes.annotation(i).xyxy)
        assert np.array_equal(digits.labels, boxes.annotation(i).labels)
    assert segments.info.things == tuple("0123456789")


def test_data_without_things_are_refused() -> None:
    source = SegmentScenes()
    source.info = replace(source.info, things=())
    with pytest.raises(DataError, match="none of its 3 classes is a thing"):
        open_data({"train": source, "val": source})


def test_the_doctor_names_pictures_mostly_void_and_segments_without_pixels() -> None:
    map = np.zeros((8, 8), np.int32)
    bare = map.copy()
    bare[2:] = -1
    table = [("ok", map, [0]), ("void", bare, [0]), ("empty", map, [0, 1, 1])]

    class Three(SegmentScenes):
        def __getitem__(self, i: int) -> Sample:
            _, own, labels = table[i]
            return Sample(self.ids[i], super().__getitem__(0).image[:8, :8],
                          segments=Segments.of(own, labels))  # fmt: skip

    source: Any = Three(3)
    kind = kinds.get("panoptic")
    found = {f.check: f for f in kind.find_in_pictures({"val": source}, source.info.classes)}
    assert found["mostly_void"].items == ((source.ids[1],),)
    assert "1 picture of val mostly in no segment: " in found["mostly_void"].text
    assert "75%" in found["mostly_void"].text
    assert found["empty_segment"].items == ((source.ids[2],),)
    assert found["empty_segment"].text.startswith("2 segments of val without a pixel")


def test_predictions_are_cocos_panoptic_files(tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    args = "finetune --task panoptic --data digits --limit 4 --batch 2 data.size=64 task.width=16"
    assert main([*args.split(), "schedule.steps=2", "--out", str(run), "-q"]) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["primary"] == "pq" and "pq_things" in result["metrics"]
    assert (run / "plots" / "worst.png").is_file() and (run / "plots" / "classes.png").is_file()
    picture = tmp_path / "000000000042.png"
    source = Digits().load(ReadOptions(kind="panoptic")).parts["val"]
    Image.fromarray(subset(source, [0])[0].image).save(picture)
    capsys.readouterr()
    drawn = tmp_path / "drawn"
    assert main(["predict", str(run), str(picture), "--draw", str(drawn), "--format", "coco"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["annotations"]
    assert one["image_id"] == 42
    pixels = np.asarray(Image.open(drawn / one["file_name"]).convert("RGB")).astype(int)
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    listed = {info["id"]: info["area"] for info in one["segments_info"]}
    assert {k: int((ids == k).sum()) for k in np.unique(ids).tolist() if k} == listed
    words = ["predict", str(run), str(picture), "--draw", str(drawn), "--json", "--min-score", "1"]
    assert main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["segments"] == []
    assert not np.asarray(Image.open(drawn / one["file_name"])).any()
