"""Weight files: what is loaded, what is refused, and what is said about it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

import xfer
from xfer.backbones.base import SequentialBackbone
from xfer.backbones.weights import fill, load_weights
from xfer.errors import DataError, XferError
from xfer.types import Preprocess

DATA = Path(os.environ.get("XFER_TEST_DATA", Path(__file__).parents[2] / "shared/data"))
CONVOLUTIONS = DATA / "weights/alexnet_torchvision_features/features.npz"


def _resnet() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    return _resnet()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {f"backbone.{k}": v for k, v in s.items()},
        lambda s: {f"module.model.{k}": v for k, v in s.items()},
    ],
)
def test_wrappers_and_prefixes_are_seen_through(
    wrap: Callable[[Any], Any], resnet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "w.pth"
    torch.save(wrap(resnet), file)
    net = xfer.create_backbone("resnet18", weights=str(file))
    report = net.weight_report
    assert report is not None and not report.missing
    skipped = [name.partition(":")[0] for name in report.skipped]
    assert len(skipped) == 2 and all(name.endswith(("fc.weight", "fc.bias")) for name in skipped)
    assert torch.equal(
        net.state_dict()["trunk.layer4.1.conv2.weight"], resnet["layer4.1.conv2.weight"]
    )
    assert torch.equal(net.state_dict()["trunk.bn1.running_var"], resnet["bn1.running_var"])


def test_all_kinds_of_files_give_the_same_net(
    resnet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(resnet, tmp_path / "a.pth")
    save_file(resnet, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{k: v.numpy() for k, v in resnet.items()})  # pyright: ignore[reportArgumentType]
    states = []
    for name in ("a.pth", "a.safetensors", "a.npz"):
        net = xfer.create_backbone("resnet18", weights=str(tmp_path / name), classifier=True)
        assert net.weight_report is not None
        assert not net.weight_report.missing and not net.weight_report.skipped
        assert len(net.weight_report.digest) == 64
        states.append(net.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]) and torch.equal(value, states[2][key])


def test_a_saved_backbone_loads_from_a_run_folder(tmp_path: Path) -> None:
    net = xfer.create_backbone("resnet18")
    state = {f"backbone.{k}": v for k, v in net.state_dict().items()}
    save_file({**state, "head.weight": torch.zeros(2)}, tmp_path / "best.safetensors")
    twin = xfer.create_backbone("resnet18", weights=f"run:{tmp_path}")
    assert twin.weight_report is not None
    assert not twin.weight_report.skipped and not twin.weight_report.missing
    assert torch.equal(
        twin.state_dict()["trunk.conv1.weight"], net.state_dict()["trunk.conv1.weight"]
    )
    with pytest.raises(DataError, match="no finished run"):
        xfer.create_backbone("resnet18", weights="run:nowhere")


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    (tmp_path / "old.pth").write_bytes(pickle.dumps(_Evil(owned), protocol=2))
    torch.save({"state_dict": _Evil(owned)}, tmp_path / "new.pth")
    np.savez(tmp_path / "object.npz", a=np.array([_Evil(owned)], dtype=object))
    for name in ("old.pth", "new.pth", "object.npz"):
        with pytest.raises(DataError, match=name):
            xfer.create_backbone("resnet18", weights=str(tmp_path / name))
    assert not owned.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz", ".caffemodel"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>404 Not Found</html>", b"PK\x03\x04" + b"\0" * 40]
)
def test_broken_files_are_one_clear_line(suffix: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"bad{suffix}"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        xfer.create_backbone("resnet18", weights=str(file))
    assert str(file) in caught.value.message and "\n" not in caught.value.message
    assert caught.value.code == 3


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_cut_off_files_are_named(
    suffix: str, resnet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = tmp_path / f"cut{suffix}"
    few = {k: resnet[k] for k in list(resnet)[:8]}
    if suffix == ".pth":
        torch.save(few, file)
    elif suffix == ".npz":
        np.savez(file, **{k: v.numpy() for k, v in few.items()})  # pyright: ignore[reportArgumentType]
    else:
        save_file(few, file)
    whole = file.read_bytes()
    for share in (0.3, 0.9):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match="cut"):
            xfer.create_backbone("resnet18", weights=str(file))


def test_other_mistakes_about_files(tmp_path: Path) -> None:
    for spec, match in (
        (str(tmp_path / "absent.pth"), "no weight file"),
        (str(tmp_path), "is a folder"),
        (str(Path(__file__)), "unknown weight file format"),
    ):
        with pytest.raises(DataError, match=match):
            xfer.create_backbone("resnet18", weights=spec)


def test_a_file_that_fits_nowhere_is_an_error(tmp_path: Path) -> None:
    save_file({"blocks.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="no tensor in") as caught:
        xfer.create_backbone("resnet18", weights=str(tmp_path / "other.safetensors"))
    assert "blocks.0.weight" in str(caught.value) and "trunk.conv1.weight" in str(caught.value)


def _small() -> SequentialBackbone:
    from xfer.backbones.tail import Tail

    trunk = torch.nn.Sequential()
    trunk.add_module("conv1", torch.nn.Conv2d(3, 4, 3))
    return SequentialBackbone(
        "small", Preprocess(size=8), trunk, {"conv1": 0}, tail=Tail((4, 6, 6), (5, 7)),
        aliases={"features.0.": "trunk.conv1.", "fc6.": "tail.fc6."},
    )  # fmt: skip


def test_partial_and_misfitting_files_are_reported_in_full() -> None:
    net = _small()
    before = net.state_dict()["tail.fc7.weight"].clone()
    report = fill(
        net,
        {
            "features.0.weight": torch.ones(4, 3, 3, 3),
            "features.0.bias": torch.ones(1, 1, 1, 4),
            "fc6.weight": torch.ones(1, 1, 5, 144),
            "fc6.bias": torch.ones(6),
            "fc8.weight": torch.ones(2),
        },
        "test",
    )
    assert report.matched == ["trunk.conv1.weight"]
    assert [r.partition(":")[0] for r in report.reshaped] == ["trunk.conv1.bias", "tail.fc6.weight"]
    assert [r.partition(":")[0] for r in report.skipped] == ["fc6.bias", "fc8.weight"]
    assert "(6,) in the file, (5,) in the net" in report.skipped[0]
    assert report.missing == ["tail.fc6.bias", "tail.fc7.weight", "tail.fc7.bias"]
    assert report.has_tail is False
    assert torch.equal(net.state_dict()["tail.fc7.weight"], before)
    assert "1 matched" in report.line() and "\n" not in report.line()
    assert len(report.table().splitlines()) == 2 + 1 + 2 + 2 + 3


def test_nothing_to_load_leaves_the_net_alone() -> None:
    report = load_weights(_small(), "none", net="small")
    assert report.source == "none" and not report.matched


def test_nets_without_published_weights_say_so() -> None:
    with pytest.raises(XferError, match="no published"):
        xfer.create_backbone("zfnet", weights="imagenet")


@pytest.mark.data
@pytest.mark.skipif(not CONVOLUTIONS.exists(), reason=f"{CONVOLUTIONS} is not here")
def test_published_convolutions_without_the_tail() -> None:
    net = xfer.create_backbone("alexnet", weights=str(CONVOLUTIONS))
    report = net.weight_report
    assert report is not None and len(report.matched) == 10 and not report.has_tail
    assert float(net.state_dict()["trunk.conv1.weight"][0, 0, 0, 0]) == pytest.approx(
        0.11864, abs=1e-4
    )
