"""`xfer models`: nets are listed and drawn up layer by layer; weight files become safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from xfer.backbones.build import create_backbone
from xfer.backbones.files import read_weights
from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.recipe.tables import Recipe, override
from xfer.runs import checkpoint
from xfer.runs.convert import convert
from xfer.runs.folder import Run


def test_nets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "ls", "alexnet*", "--json"]) == 0
    found = {row["name"]: row["parameters"] for row in json.loads(capsys.readouterr().out)}
    assert found["alexnet"] == 61_100_840
    assert found["alexnet_2012"] == 60_965_224
    assert main(["models", "ls", "caffe*"]) == 0
    assert "caffenet" in capsys.readouterr().out
    assert main(["models", "ls", "nothing*"]) == 2


def test_a_net_is_shown_layer_by_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "alexnet", "--json"]) == 0
    layers = {row["layer"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["conv5"]["output"] == [256, 13, 13]
    assert (layers["conv5"]["stride"], layers["conv5"]["offset"]) == (16, 15)
    assert main(["models", "show", "alexnet", "--size", "128"]) == 0
    shown = capsys.readouterr().out
    assert "receptive field" in shown and "256 x 7 x 7" in shown
    assert main(["models", "show", "alexnet", "--size", "8"]) == 2
    assert "pictures of 8 px don't reach pool5 of alexnet" in capsys.readouterr().err
    assert main(["models", "show", "alexnett"]) == 2
    assert "alexnet" in capsys.readouterr().err


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """conv1 and conv2 of an AlexNet under torchvision's names, and something else."""
    state = create_backbone("alexnet").state_dict()
    names = {"features.0": "trunk.conv1", "features.3": "trunk.conv2"}
    arrays = {
        f"{theirs}.{part}": state[f"{ours}.{part}"].numpy()
        for theirs, ours in names.items()
        for part in ("weight", "bias")
    }
    np.savez(tmp_path / "part.npz", **arrays, other=np.zeros(3, np.float32))
    return tmp_path / "part.npz"


def test_a_file_is_turned_into_safetensors_as_it_is(tmp_path: Path, part: Path) -> None:
    out = tmp_path / "all.safetensors"
    assert main(["models", "import", str(part), "-o", str(out)]) == 0
    before, after = read_weights(part), load_file(out)
    assert set(after) == set(before)
    assert all(np.array_equal(after[name], before[name].numpy()) for name in before)


def test_tensors_that_share_their_memory_are_written_each(tmp_path: Path) -> None:
    row = torch.arange(6.0)
    torch.save({"one": row, "tied": row, "half": row[3:]}, tmp_path / "tied.pth")
    convert(tmp_path / "tied.pth", tmp_path / "tied.safetensors")
    after = load_file(tmp_path / "tied.safetensors")
    assert {k: v.tolist() for k, v in after.items()} == {
        "one": [0, 1, 2, 3, 4, 5], "tied": [0, 1, 2, 3, 4, 5], "half": [3, 4, 5],
    }  # fmt: skip


def test_with_a_net_only_what_fits_is_written_under_its_names(tmp_path: Path, part: Path) -> None:
    out = tmp_path / "net.safetensors"
    line = convert(part, out, net="alexnet")
    after = load_file(out)
    net = create_backbone("alexnet", weights=str(out))
    assert set(after) < set(net.state_dict())
    assert len(after) == 4
    assert "other" in line and "missing" in line


def run_of(folder: Path, tensors: dict[str, torch.Tensor]) -> str:
    """What a finished run leaves that is read of it, as run:DIR."""
    run = Run.create(override(Recipe(), {"backbone": "alexnet", "data.source": "photos"}), folder)
    checkpoint.save_weights(run.weights_file, tensors, {"format": "xfer"})
    preprocess = {"size": 224, "resize": 256, "channels": "rgb", "mean": [0], "std": [1],
                  "scale": 1}  # fmt: skip
    run.write_json("model.json", {
        "schema": 1, "task": "classify", "kind": "classify", "task_options": {}, "size": 224,
        "backbone": "alexnet", "backbone_options": {}, "classes": ["ant", "bee"],
        "preprocess": preprocess,
    })  # fmt: skip
    run.write_json("result.json", {"metrics": {"top1": 0.5}, "protocol": {}, "seed": 0,
                                   "data": "photos", "steps": 2, "best_step": 1})  # fmt: skip
    return f"run:{folder}"


def test_a_card_is_not_written_over_a_text_that_is_there(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {"backbone.trunk.conv1.bias": torch.zeros(64)})
    out, notes = tmp_path / "notes.safetensors", tmp_path / "notes.md"
    notes.write_text("mine")
    with pytest.raises(XferError, match=r"notes\.md exists"):
        convert(run, out)
    assert notes.read_text() == "mine" and not out.exists()
    notes.unlink()
    convert(run, out)
    assert "ant, bee" in notes.read_text() and set(load_file(out)) == {"trunk.conv1.bias"}


def test_layers_that_the_net_does_not_have_any_more_are_not_imported(tmp_path: Path) -> None:
    thin = {"backbone.tail.fc6.first.weight": torch.zeros(2, 3)}
    run = run_of(tmp_path / "run", {"backbone.trunk.conv1.bias": torch.zeros(64), **thin})
    with pytest.raises(DataError, match="compressed"):
        convert(run, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_wrong_files_end_with_a_line(tmp_path: Path, part: Path) -> None:
    with pytest.raises(XferError, match=r"must end in \.safetensors"):
        convert(part, tmp_path / "x.pth")
    (tmp_path / "there.safetensors").write_bytes(b"")
    with pytest.raises(XferError, match="exists"):
        convert(part, tmp_path / "there.safetensors")
    with pytest.raises(DataError):
        convert(tmp_path / "gone.npz", tmp_path / "y.safetensors")
    np.savez(tmp_path / "odd.npz", odd=np.zeros(3, np.float32))
    with pytest.raises(DataError):
        convert(tmp_path / "odd.npz", tmp_path / "y.safetensors", net="alexnet")
    assert not (tmp_path / "y.safetensors").exists()
