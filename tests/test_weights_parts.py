"""Checkpoints as trainers write them: which part is taken, under which names, of which net."""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import xfer
from xfer.backbones.base import Backbone, SequentialBackbone
from xfer.backbones.files import open_weights, read_weights
from xfer.backbones.match import same_numbers
from xfer.backbones.tail import Tail
from xfer.backbones.weights import fill, load_weights
from xfer.cli.app import main
from xfer.errors import DataError
from xfer.types import Preprocess

State = dict[str, torch.Tensor]


def _drawn(net: nn.Module, seed: int = 0) -> State:
    """The net's state with every number different, so that no mix-up goes unseen."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(t.shape, generator=generator) if t.is_floating_point() else t
        for name, t in net.state_dict().items()
    }


def _net(channels: int = 3) -> SequentialBackbone:
    """conv, norm, two convolutions of one shape, and a tail."""
    trunk = nn.Sequential(
        collections.OrderedDict(
            conv1=nn.Conv2d(channels, 4, 3), bn1=nn.BatchNorm2d(4), conv2=nn.Conv2d(4, 4, 3),
            conv3=nn.Conv2d(4, 4, 3),
        )
    )  # fmt: skip
    return SequentialBackbone(
        "small", Preprocess(size=12), trunk, {"conv3": 3}, tail=Tail((4, 6, 6), (5,))
    )


def _bare(state: State) -> State:
    return {k.removeprefix("trunk.").removeprefix("tail."): v for k, v in state.items()}


def _equal(net: Backbone, state: State) -> bool:
    mine = net.state_dict()
    return all(torch.equal(mine[name], value.to(mine[name].dtype)) for name, value in state.items())


WORDS = st.sampled_from(
    ["module", "model", "net", "encoder", "backbone", "body", "student", "x", "conv1", "state_dict"]
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(WORDS, max_size=4),
    st.lists(WORDS, max_size=3),
    st.booleans(),
    st.sampled_from(["trunk", "bare"]),
)
def test_any_nesting_and_any_prefix_is_seen_through(
    tmp_path_factory: Any, prefix: list[str], keys: list[str], beside: bool, names: str
) -> None:
    state = _drawn(_net())
    named = state if names == "trunk" else _bare(state)
    tree: Any = {".".join([*prefix, name]): tensor for name, tensor in named.items()}
    for key in keys:
        tree = {"epoch": 3, key: tree}
        if beside:
            tree["optimizer"] = {"state": {0: {"exp_avg": torch.zeros(4, 3, 3, 3)}}}
    file = tmp_path_factory.mktemp("w") / "file"
    torch.save(tree, file)
    net = _net()
    report = fill(net, open_weights(file), "file")
    assert not report.missing and not report.others and _equal(net, state)
    assert [name for name in report.skipped if "exp_avg" not in name] == []


@pytest.mark.parametrize("ending", [".pth.tar", ".ckpt", ".bin", "", ".caffemodel", ".npz"])
def test_the_ending_does_not_matter(ending: str, tmp_path: Path) -> None:
    state = _drawn(_net())
    for legacy in (False, True):
        file = tmp_path / f"best{ending}"
        torch.save(state, file, _use_new_zipfile_serialization=not legacy)
        assert _equal(_filled(file), state)
    save_file(state, tmp_path / f"safe{ending}")
    assert _equal(_filled(tmp_path / f"safe{ending}"), state)
    with (tmp_path / f"arrays{ending}").open("wb") as out:
        np.savez(out, **{k: v.numpy() for k, v in state.items()})  # pyright: ignore[reportArgumentType]
    assert _equal(_filled(tmp_path / f"arrays{ending}"), state)


def _filled(file: Path) -> Backbone:
    net = _net()
    fill(net, open_weights(file), file.name)
    return net


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        ("student", "teacher"), ("model", "model_ema"), ("model", "ema"), ("zz", "swa_model"),
        ("state_dict", "state_dict_ema"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("averaged_first", [True, False])
def test_of_two_equal_parts_the_averaged_one_is_taken_and_named(
    other: str, taken: str, averaged_first: bool, tmp_path: Path
) -> None:
    good, bad = _drawn(_net(), 1), _drawn(_net(), 2)
    parts = {other: {f"module.{k}": v for k, v in bad.items()}, taken: good}
    torch.save(dict(sorted(parts.items(), key=lambda p: (p[0] == taken) != averaged_first)),
               tmp_path / "w.pth")  # fmt: skip
    net = _net()
    report = fill(net, open_weights(tmp_path / "w.pth"), "w.pth")
    assert _equal(net, good) and report.part == taken
    assert report.others == (f"{other}.module",) and not report.skipped
    assert taken in report.line() and f"not used: {other}" in report.line()
    plain = read_weights(tmp_path / "w.pth")
    assert all(torch.equal(plain[name], good[name]) for name in good)


def test_a_part_that_fits_better_wins_over_an_averaged_one(tmp_path: Path) -> None:
    good = _drawn(_net(), 1)
    thin = {k: v for k, v in _drawn(_net(), 2).items() if "conv3" not in k}
    torch.save({"ema": thin, "model": good}, tmp_path / "w.pth")
    assert _equal(_filled(tmp_path / "w.pth"), good)


@pytest.mark.parametrize("order", [("student", "teacher"), ("teacher", "student")])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_larger_net_of_the_same_names_is_not_taken_for_a_part(
    order: tuple[str, str], prefix: str, tmp_path: Path
) -> None:
    """resnet34 has tensors of all names and shapes that resnet18 has."""
    small = {k: torch.zeros(()).expand(t.shape) for k, t in models.resnet18().state_dict().items()}
    large = {
        prefix + k: torch.ones(()).expand(t.shape)
        for k, t in models.resnet34().state_dict().items()
    }
    held = {"student": small, "teacher": large}
    torch.save({name: held[name] for name in order}, tmp_path / "w.pth")
    for name, part, value in (("resnet18", "student", 0), ("resnet34", "teacher", 1)):
        net = xfer.create_backbone(name)
        report = fill(net, open_weights(tmp_path / "w.pth"), "w.pth")
        assert report.part.startswith(part)
        assert net.state_dict()["trunk.layer1.1.conv1.weight"].unique().tolist() == [value]


def test_two_encoders_in_one_dict_are_not_mixed(tmp_path: Path) -> None:
    good, bad = _drawn(_net(), 1), _drawn(_net(), 2)
    state = {f"module.encoder_q.{k}": v for k, v in good.items() if "tail" not in k}
    state |= {f"module.encoder_k.{k}": v for k, v in bad.items()}
    torch.save({"arch": "small", "state_dict": state}, tmp_path / "moco.pth.tar")
    net = _net()
    report = fill(net, open_weights(tmp_path / "moco.pth.tar"), "moco")
    # encoder_k fits better, with its tail; nothing of the other one is used
    assert _equal(net, bad) and report.part == "state_dict.module.encoder_k"
    assert report.others == ("state_dict.module.encoder_q",)


def test_heads_may_have_a_prefix_of_their_own(tmp_path: Path) -> None:
    state = models.resnet18(weights=None).state_dict()
    named = {f"{'head' if k.startswith('fc.') else 'backbone'}.{k}": v for k, v in state.items()}
    torch.save({"state_dict": named}, tmp_path / "w.pth")
    net = xfer.create_backbone("resnet18", str(tmp_path / "w.pth"), classifier=True)
    assert net.weight_report is not None
    assert not net.weight_report.skipped and not net.weight_report.missing
    parts = {"backbone": {k: v for k, v in state.items() if k[:3] != "fc."},
             "fc": {k[3:]: v for k, v in state.items() if k[:3] == "fc."}}  # fmt: skip
    torch.save(parts, tmp_path / "parts.pth")
    net = xfer.create_backbone("resnet18", str(tmp_path / "parts.pth"), classifier=True)
    assert torch.equal(net.state_dict()["classifier.fc.weight"], state["fc.weight"])


class _Settings(dict[str, Any]):
    """As configurations of trainers are: a dict of a class of its own."""


def test_objects_beside_the_weights_are_no_hindrance(tmp_path: Path) -> None:
    state = _drawn(_net())
    torch.save(
        {
            "args": argparse.Namespace(model="small", lr=np.float64(0.1), out=pathlib.Path("x")),
            "cfg": _Settings(a=[1, {2}], b=collections.defaultdict(list, {1: [2]})),
            "epoch": np.int64(3), "best": torch.tensor(0.5), "fn": torch.relu,
            "state_dict": state,
        },
        tmp_path / "last.ckpt",
    )  # fmt: skip
    assert _equal(_filled(tmp_path / "last.ckpt"), state)
    assert set(read_weights(tmp_path / "last.ckpt")) == set(state)


def test_a_net_saved_whole_and_torchscript_are_read(tmp_path: Path) -> None:
    module = _net().trunk
    module.load_state_dict(state := _drawn(module))
    torch.save({"model": module, "epoch": 2}, tmp_path / "whole.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(module).save(str(tmp_path / "script.pt"))  # pyright: ignore
    for name in ("whole.pt", "script.pt"):
        found = read_weights(tmp_path / name)
        assert found.keys() >= {k for k in state if "num_batches" not in k}
        assert all(torch.equal(found[k], state[k]) for k in found)
    assert open_weights(tmp_path / "script.pt").kind == "TorchScript"
    assert (
        main(
            ["models", "import", str(tmp_path / "script.pt"), "-o", str(tmp_path / "o.safetensors")]
        )
        == 0
    )


# -- by order ---------------------------------------------------------------------------------


def _numbered(state: State, prefix: str = "") -> State:
    """Under the names of a Sequential, whose numbers have gaps where layers have no weights."""
    numbers = {name: 3 * i for i, name in enumerate(dict.fromkeys(k.split(".")[1] for k in state))}
    return {f"{prefix}{numbers[k.split('.')[1]]}.{k.split('.', 2)[2]}": v for k, v in state.items()}


@pytest.mark.parametrize("prefix", ["", "features.", "module.enc."])
@pytest.mark.parametrize("kind", ["torch", "safetensors", "npz"])
def test_a_sequential_is_matched_by_order(prefix: str, kind: str, tmp_path: Path) -> None:
    net = _net()
    state = {k: v for k, v in _drawn(net).items() if k.startswith("trunk.")}
    named, file = _numbered(state, prefix), tmp_path / "w"
    if kind == "torch":
        torch.save({"student": {"a": torch.zeros(3)}, "net": named}, file)
    elif kind == "safetensors":
        save_file(named, file)
    else:
        with file.open("wb") as out:
            np.savez(out, **{k: v.numpy() for k, v in reversed(named.items())})  # pyright: ignore[reportArgumentType]
    report = fill(net, open_weights(file), "w")
    assert _equal(net, state) and "by order" in report.line()
    assert not report.skipped and all(name.startswith("tail.") for name in report.missing)


def test_the_children_of_a_residual_net_are_matched_by_order(tmp_path: Path) -> None:
    whole = models.resnet18(weights=None)
    state = _drawn(whole)
    whole.load_state_dict(state)
    children = nn.Sequential(*list(whole.children())[:-2]).state_dict()
    torch.save({f"encoder.{k}": v for k, v in children.items()}, tmp_path / "a.pth")
    save_file(children, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        net = xfer.create_backbone("resnet18", str(tmp_path / name))
        mine = {k: v for k, v in net.state_dict().items() if not k.endswith("tracked")}
        assert all(torch.equal(v, state[k.removeprefix("trunk.")]) for k, v in mine.items())


def _move_norm(state: State) -> State:
    order = sorted(state, key=lambda name: name.startswith("1."))
    return {name: state[name] for name in order}


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {k: v for k, v in s.items() if not k.startswith("9.")},  # a layer is missing
        lambda s: {"0.weight": torch.zeros(4, 3, 3, 3), **{f"1{k}": v for k, v in s.items()}},
        lambda s: {k: v.transpose(0, -1) for k, v in s.items()},
        lambda s: {k.replace("weight", "bias"): v for k, v in s.items() if "bias" not in k},
        lambda s: {f"layer_{i}": v for i, v in enumerate(s.values())},  # norms: which is which?
        lambda s: {f"{chr(99 - ord(k[0]) % 7)}.{k}": v for k, v in reversed(s.items())},
    ],
)  # fmt: skip
def test_an_order_that_disagrees_anywhere_is_none(
    change: Callable[[State], State], tmp_path: Path
) -> None:
    state = {k: v for k, v in _drawn(_net()).items() if k.startswith("trunk.")}
    torch.save(change(_numbered(state)), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth"):
        fill(_net(), open_weights(tmp_path / "w.pth"), "w.pth")


def test_a_file_sorted_by_name_gives_no_order_of_words(tmp_path: Path) -> None:
    state = {k: v for k, v in _drawn(_net()).items() if k.startswith("trunk.")}
    words = {"conv1": "stem", "bn1": "norm", "conv2": "one", "conv3": "last"}
    named = {f"{words[k.split('.')[1]]}.{k.split('.')[2]}": v for k, v in state.items()}
    torch.save(named, tmp_path / "kept.pth")
    assert _equal(_filled(tmp_path / "kept.pth"), state)
    save_file(named, tmp_path / "sorted.safetensors")  # last before one
    with pytest.raises(DataError):
        _filled(tmp_path / "sorted.safetensors")


def _vgg_parts() -> tuple[dict[str, Any], State]:
    """Arrays of a VGG-11 by Caffe's name of their layer, weights and biases, and its state."""
    state = _drawn(models.vgg11(weights=None, init_weights=False))
    layers = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1",
              "conv5_2", "fc6", "fc7", "fc8")  # fmt: skip
    values = iter(v.numpy() for v in state.values())
    return {layer: (next(values), next(values)) for layer in layers}, state


def test_caffes_names_are_known(tmp_path: Path) -> None:
    parts, state = _vgg_parts()
    net = xfer.create_backbone("vgg11", classifier=True)
    for w, b in (("_W", "_b"), (".weight", ".bias"), ("_weights", "_biases"), ("/w", "/b")):
        whole = w == "_W"
        named = {layer + leaf: values for layer, pair in parts.items()
                 for leaf, values in zip((w, b), pair, strict=True)
                 if whole or layer[:2] != "fc"}  # fmt: skip
        np.savez(tmp_path / "w.npz", **named)  # pyright: ignore[reportArgumentType]
        for parameter in net.parameters():
            parameter.data.zero_()
        report = fill(net, open_weights(tmp_path / "w.npz"), "w.npz")
        assert len(report.matched) == (22 if whole else 16) and not report.skipped
        mine = net.state_dict()
        assert torch.equal(mine["trunk.conv5_2.weight"], state["features.18.weight"])
        if whole:
            assert torch.equal(mine["classifier.bias"], state["classifier.6.bias"])
            assert torch.equal(mine["tail.fc6.weight"], state["classifier.0.weight"])
    turned = {f"{k}_W": w.transpose(2, 3, 1, 0) for k, (w, _) in parts.items() if w.ndim == 4}
    np.savez(tmp_path / "tf.npz", **turned)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"fills 0 of the 8|no tensor") as caught:
        fill(net, open_weights(tmp_path / "tf.npz"), "tf.npz")
    assert "TensorFlow" in str(caught.value.hint)


def test_old_names_of_densenet_are_matched_by_order(tmp_path: Path) -> None:
    state = _drawn(models.densenet121(weights=None))
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", k): v for k, v in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121.pth")
    net = xfer.create_backbone("torchvision:densenet121", str(tmp_path / "densenet121.pth"))
    name = "denseblock4.denselayer16.conv2.weight"
    assert torch.equal(net.state_dict()[f"trunk.features_{name}"], state[f"features.{name}"])
    assert net.weight_report is not None and not net.weight_report.missing


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ((64, 3, 7, 7), (64, 3, 7, 7), True), ((1, 1, 5, 144), (5, 144), True),
        ((5, 4, 6, 6), (5, 144), True), ((1, 1, 1, 4), (4,), True), ((4, 8), (4, 8, 1, 1), True),
        ((64, 7, 7, 3), (64, 3, 7, 7), False), ((3, 4), (4, 3), False), ((12,), (4, 3), False),
        ((), (1,), True), ((4, 9, 3), (4, 3, 9), False),
    ],
)  # fmt: skip
def test_shapes_agree_but_for_ones_and_flattening(
    theirs: tuple[int, ...], ours: tuple[int, ...], same: bool
) -> None:
    assert same_numbers(theirs, ours) == same == same_numbers(ours, theirs)


# -- another net ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "asked", "named"),
    [
        ("resnet50", "resnet18", "resnet50"), ("resnet34", "resnet18", "resnet34"),
        ("resnet18", "resnet34", "resnet18"), ("resnet50", "resnet101", "resnet50"),
        ("vgg11", "vgg11_bn", "vgg11"), ("alexnet", "vgg11", "alexnet"),
        ("wide_resnet50_2", "resnet50", "torchvision:wide_resnet50_2"),
        ("resnet18", "timm:resnet50", "timm:resnet18"),
    ],
)  # fmt: skip
def test_a_file_of_another_net_stops_and_names_it(
    file: str, asked: str, named: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in models.get_model(file, weights=None).state_dict().items()}
    # the tail's and classifier's numbers would be most of the file
    state = {
        f"model.{k}": torch.zeros(1).expand(s) if s else torch.zeros(()) for k, s in shapes.items()
    }
    torch.save({"state_dict": state}, tmp_path / "theirs.ckpt")
    with pytest.raises(DataError, match=rf"theirs\.ckpt fits {named} \(\d+ of \d+ ") as caught:
        _load_on_meta(asked, tmp_path / "theirs.ckpt")
    assert caught.value.message.endswith(f"tensors), not {asked}") and caught.value.code == 3


def _load_on_meta(name: str, file: Path) -> None:
    """`create_backbone` without the seconds that VGG's random numbers take."""
    with torch.device("meta"):
        net = xfer.create_backbone(name)
    load_weights(net, str(file), net=name)


def test_a_first_convolution_or_head_of_other_sizes_is_named(tmp_path: Path) -> None:
    state = models.resnet18(weights=None, num_classes=7).state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, tmp_path / "grey.pth")
    net = xfer.create_backbone("resnet18", str(tmp_path / "grey.pth"), classifier=True)
    report = net.weight_report
    assert report is not None and "trunk.conv1.weight" in report.missing
    assert [line.partition(":")[0] for line in report.skipped] == [
        "conv1.weight",
        "fc.weight",
        "fc.bias",
    ]
    assert "(64, 1, 7, 7) in the file, (64, 3, 7, 7) in the net" in report.skipped[0]


def test_layers_that_stay_random_are_warned_of(tmp_path: Path) -> None:
    state = {
        k: v for k, v in models.resnet18(weights=None).state_dict().items() if "layer4" not in k
    }
    torch.save(state, tmp_path / "c4.pth")
    net = xfer.create_backbone("resnet18")
    before = torch.get_rng_state()
    line = load_weights(net, str(tmp_path / "c4.pth"), net="resnet18").line()
    assert "warning: 5 of the 20 layers of resnet18 are not in" in line
    # other nets were built to compare with, without drawing from the run's random numbers
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_an_error_that_names_them(
    value: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    state = {k: v.to(dtype) if "weight" in k else v for k, v in _drawn(_net()).items()}
    state["trunk.conv2.weight"].view(-1)[7] = value
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: model\.trunk\.conv2\.weight has .* NaN or inf"):
        fill(_net(), open_weights(tmp_path / "w.pth"), "w.pth")
    save_file({"x": state["trunk.conv2.weight"]}, tmp_path / "w.safetensors")
    out = tmp_path / "o.safetensors"
    assert main(["models", "import", str(tmp_path / "w.safetensors"), "-o", str(out)]) == 3
    assert not out.exists()


def test_doubles_beyond_32_bits_are_an_error(tmp_path: Path) -> None:
    state = {k: v.double() if v.ndim else v for k, v in _drawn(_net()).items()}
    state["trunk.conv2.bias"][1] = 1e200
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"trunk\.conv2\.bias has"):
        fill(_net(), open_weights(tmp_path / "w.pth"), "w.pth")


def test_numbers_that_are_no_weights_are_refused_by_name(tmp_path: Path) -> None:
    state = _drawn(_net())
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "complex": lambda t: t.to(torch.complex64),
        "whole numbers": lambda t: (9 * t).to(torch.int8),
        "sparse": lambda t: t.to_sparse(),
    }
    for why, change in changes.items():
        odd = {k: change(v) if v.ndim == 4 else v for k, v in state.items()}
        torch.save(odd, tmp_path / "odd.pth")
        with pytest.raises(DataError, match="fills 0 of the 3") as caught:
            fill(_net(), open_weights(tmp_path / "odd.pth"), "odd.pth")
        assert why in str(caught.value.hint) and "conv1" in str(caught.value.hint)
        one = {**state, "trunk.conv2.weight": change(state["trunk.conv2.weight"])}
        torch.save(one, tmp_path / "one.pth")  # the others would fit
        with pytest.raises(DataError, match=rf"one\.pth: trunk\.conv2\.weight is .*{why}"):
            fill(_net(), open_weights(tmp_path / "one.pth"), "one.pth")
