"""Files of weights, of every format: read in full, and put into a net."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from tiny_nets import tiny

from fuzz.case import Case
from fuzz.target import target
from xfer.backbones import guess
from xfer.backbones.base import SequentialBackbone
from xfer.backbones.files import read_weights
from xfer.backbones.weights import load_weights
from xfer.errors import DataError
from xfer.types import Preprocess


def _net() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: tensor.contiguous() for name, tensor in tiny().state_dict().items()}


def _few() -> dict[str, torch.Tensor]:
    kinds = (torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float64)
    tensors = {f"layer.{i}": torch.ones(2, 3).to(kind) for i, kind in enumerate(kinds)}
    return {**tensors, "empty": torch.empty(0, 3), "scalar": torch.tensor(3.0)}


def caffemodels(folder: Path) -> list[Case]:
    file = Path(__file__).parents[2] / "golden" / "make_caffe_golden.py"
    spec = importlib.util.spec_from_file_location("caffe_golden", file)
    assert spec is not None and spec.loader is not None
    caffe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(caffe)
    layers = {
        "conv1": [np.ones((8, 3, 3, 3), np.float32), np.ones(8, np.float32)],
        "conv2": [np.ones((16, 8, 3, 3), np.float32), np.zeros(16, np.float32)],
        "fc6": [np.ones((3, 4), np.float32), np.zeros(3, np.float32)],
    }
    made = [caffe.caffemodel("net", layers, old) for old in (True, False)]
    return [{"a.caffemodel": content} for content in made]


def safetensors(folder: Path) -> list[Case]:
    states = (_net(), _few())
    about = {"format": "pt", "source": "a.pth"}
    made = [save_safetensors(state) for state in states] + [save_safetensors(states[0], about)]
    return [{"a.safetensors": content} for content in made]


def _saved(thing: Any, legacy: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(thing, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def checkpoints(folder: Path) -> list[Case]:
    state = _net()
    trainer = {"model": state, "model_ema": state, "epoch": 3, "args": {"lr": 0.1}, "arch": "tiny"}
    shared = {"a": state["layers.0.weight"] if "layers.0.weight" in state else torch.ones(4)}
    shared["b"] = shared["a"].T if shared["a"].ndim == 2 else shared["a"].flatten()[::2]
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 2))), script)
    made = [
        _saved(state), _saved(trainer), _saved(trainer, legacy=True), _saved(_few(), legacy=True),
        _saved(_few()), _saved(shared), _saved(torch.nn.Sequential(torch.nn.Linear(3, 2))),
        pickle.dumps(state), pickle.dumps(arrays, protocol=5), pickle.dumps(arrays, protocol=2),
        script.getvalue(),
    ]  # fmt: skip
    return [{"a.pth": content} for content in made]


def arrays(folder: Path) -> list[Case]:
    made: list[bytes] = []
    few = {name: t.numpy() for name, t in _few().items() if t.dtype != torch.bfloat16}
    few |= {"fortran": np.asfortranarray(np.ones((3, 4))), "big": np.ones((2, 2), ">f4")}
    for state in ({name: t.numpy() for name, t in _net().items()}, few):
        for write in (np.savez, np.savez_compressed):
            out = io.BytesIO()
            write(out, allow_pickle=False, **state)
            made.append(out.getvalue())
    return [{"a.npz": content} for content in made]


def _caffes() -> SequentialBackbone:
    """A net with the layers of the caffemodels."""
    trunk = torch.nn.Sequential()
    trunk.add_module("conv1", torch.nn.Conv2d(3, 8, 3))
    trunk.add_module("conv2", torch.nn.Conv2d(8, 16, 3))
    return SequentialBackbone("caffes", Preprocess(size=32), trunk, {"conv2": 1})


def _few_nets(but: str, arch: str, tensors: Any) -> list[str]:
    """The nets that a file is compared with: to build all takes seconds, whatever it holds."""
    return [name for name in (arch, f"timm:{arch}") if arch] + ["alexnet", "vgg11"]


def use(path: Path) -> None:
    """As `xfer models import` and `--weights FILE` read it."""
    tensors = read_weights(path)
    for tensor in tensors.values():
        tensor.flatten()[:1].tolist()
    for net in (tiny(), _caffes()):
        with patch.object(guess, "_candidates", _few_nets), contextlib.suppress(DataError):
            load_weights(net, str(path), net=net.name)  # most seeds fit one of the two


for _name, _seeds in (
    ("caffemodel", caffemodels), ("safetensors", safetensors), ("pth", checkpoints),
    ("npz_weights", arrays),
):  # fmt: skip
    target(_name, _seeds)(use)
