"""card.md of a run: a header that the Hugging Face Hub reads, and text that hides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from xfer.errors import XferError
from xfer.recipe.tables import DataTable, Recipe
from xfer.recipe.toml import dump
from xfer.runs.card import write_card

INTERVAL = {"low": 0.7, "high": 0.9, "method": "Wilson score interval, 95 %"}


def write_run(path: Path, **changes: Any) -> Path:
    """A finished run of a classifier."""
    path.mkdir()
    recipe = Recipe(
        name="classify/default", backbone="timm:resnet18.a1_in1k", weights="imagenet",
        data=DataTable(source="/home/ann/photos of *ants*"),
    )  # fmt: skip
    (path / "recipe.toml").write_text(dump(recipe))
    model = {
        "schema": 1, "task": "classify", "backbone": recipe.backbone, "backbone_options": {},
        "task_options": {}, "kind": "classify", "classes": ["ant", "<b>bee</b>", "a|b"], "size": 32,
    }  # fmt: skip
    result = {
        "schema": 1, "task": "classify", "backbone": recipe.backbone, "recipe": recipe.name,
        "data": recipe.data.source, "primary": "top1", "seed": 0,
        "metrics": {"top1": 0.8125, "loss": 0.5, "per_class": {}}, "interval": INTERVAL,
        "protocol": {"top1": "share of pictures"}, "best_step": 3, "steps": 9, "seconds": 12.3,
        "calibration": {"ece": 0.1, "ece_calibrated": 0.05, "temperature": 1.5, "bins": []},
    }  # fmt: skip
    for name, content in (("model", model), ("result", {**result, **changes})):
        (path / f"{name}.json").write_text(json.dumps(content))
    (path / "split.json").write_text(json.dumps({"train": ["a"] * 7, "val": ["b", "c"]}))
    return path


def test_the_hub_reads_the_header(tmp_path: Path) -> None:
    card = write_card(write_run(tmp_path / "ants: [1]"))
    text = card.read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "unknown" and header["library_name"] == "xfer"
    assert header["pipeline_tag"] == "image-classification"
    assert header["base_model"] == "timm/resnet18.a1_in1k"
    assert header["datasets"] == ["photos-of-ants"] and header["metrics"] == ["accuracy"]
    (results,) = header["model-index"][0]["results"]
    assert results["dataset"]["split"] == "validation"
    data: Any = ModelCard.load(card).data  # the Hub's own reader
    assert data.model_name == "ants: [1]" and data.eval_results is not None
    assert {(r.metric_type, r.metric_value) for r in data.eval_results} == {
        ("accuracy", 0.8125), ("loss", 0.5)
    }  # fmt: skip


def test_the_text_tells_counts_intervals_and_limits(tmp_path: Path) -> None:
    text = write_card(write_run(tmp_path / "run")).read_text()
    assert "| val | top1 | 0.8125 | 0.7000 to 0.9000 |" in text and "Wilson" in text
    assert "7 pictures train, 2 pictures val" in text and "score is of 2 pictures" in text
    assert "no test split" in text and "divides the logits by 1.5" in text
    assert 'xfer.load("run")' in text
    assert "/home/ann" not in text  # nobody else needs to know the path
    assert "<b>" not in text and "a\\|b" in text and "*ants*" not in text.split("---\n")[2]
    tested = write_card(
        write_run(tmp_path / "tested", test_metrics={"top1": 0.75}, test_interval=INTERVAL)
    ).read_text()
    assert "| test | top1 | 0.7500 | 0.7000 to 0.9000 |" in tested
    assert "no test split" not in tested and "split: test" in tested


def test_a_kind_and_a_run_that_are_not_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", metrics={}, interval={"low": 0, "high": 0, "method": "m"})
    model = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**model, "kind": "mine:amounts"}))
    (run / "split.json").unlink()
    header = yaml.safe_load(write_card(run).read_text().split("---\n")[1])
    assert "pipeline_tag" not in header and header["model-index"][0]["results"] == []
    (run / "result.json").unlink()
    with pytest.raises(XferError, match=r"no result\.json"):
        write_card(run)
