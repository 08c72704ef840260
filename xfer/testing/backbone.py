"""Checks the contract of a backbone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from xfer.backbones.base import Backbone
from xfer.backbones.build import create_backbone
from xfer.errors import XferError


def check_backbone(backbone: str | Backbone, *, size: int | None = None, **options: Any) -> None:
    """Raises AssertionError, naming the failure, unless a backbone keeps the contract.

    | what | must hold |
    |--|--|
    | forward | every name returns a finite (N, C, h, w) or (N, D); an unknown one XferError |
    | early stop | asking for the first map runs fewer modules than asking for the last |
    | specs | one per map; the gradient of one cell reaches exactly the stated pixels |
    | tail | takes the last map or RoIs; as_conv() gives the same numbers in the same mode |
    | stages | each parameter, except the classifier's, is in exactly one |
    | modes | evaluation is repeatable; forward and backward work under bf16 autocast |
    | state | state_dict() loaded into a second instance gives equal outputs |

    Args:
        backbone: a name, or an instance (which is left in evaluation mode).
        size: side of the input in pixels; default: the preprocessing's. A small one is faster.
        options: for create_backbone, if `backbone` is a name.
    """
    net = create_backbone(backbone, **options) if isinstance(backbone, str) else backbone
    net.eval()
    side = size or net.preprocess.size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, side, side, generator=generator)
    _check_forward(net, images)
    _check_early_stop(net, images)
    _check_geometry(net, side)
    if net.tail is not None:
        _check_tail(net)
    _check_stages(net)
    _check_bf16(net, images)
    _check_normalise(net)
    _check_state(net, images)


def _check_forward(net: Backbone, images: Tensor) -> None:
    assert len(set(net.layers)) == len(net.layers), f"a name appears twice in {net.layers}"
    assert net.last == list(net.specs)[-1], (
        f"last is {net.last}, specs end in {list(net.specs)[-1]}"
    )
    with torch.no_grad():
        outputs = net(images, want=net.layers)
        again = net(images, want=net.layers)
    assert tuple(outputs) == net.layers, f"requested {net.layers}, got {tuple(outputs)}"
    for name, value in outputs.items():
        assert torch.isfinite(value).all(), f"{name} is not finite"
        assert torch.equal(value, again[name]), f"{name} differs between two runs in eval mode"
        if name in net.specs:
            channels = net.specs[name].channels
            assert value.dim() == 4 and value.shape[:2] == (len(images), channels), (
                f"{name} has shape {tuple(value.shape)}, its spec says {channels} channels"
            )
        else:
            assert value.dim() == 2, f"{name} of the tail has shape {tuple(value.shape)}"
    try:
        net(images, want=("no such layer",))
    except XferError:
        return
    raise AssertionError("an unknown layer name raised no XferError")


def _check_early_stop(net: Backbone, images: Tensor) -> None:
    if len(net.map_names) < 2:
        return

    def modules_run(name: str) -> int:
        count = 0

        def hook(*_: Any) -> None:
            nonlocal count
            count += 1

        handles = [m.register_forward_hook(hook) for m in net.modules() if not list(m.children())]
        with torch.no_grad():
            net(images[:1], want=(name,))
        for handle in handles:
            handle.remove()
        return count

    first, last = modules_run(net.map_names[0]), modules_run(net.last)
    assert first < last, (
        f"{net.map_names[0]} runs {first} modules, {net.last} {last}: no early stop"
    )


def _linear_twin(net: Backbone) -> Backbone:
    """A copy of the net without anything that could hide a path: every gradient is positive.

    Weights become positive, norms and activations the identity, and max-pooling becomes averaging,
    so that the support of a gradient is the window itself.
    """
    tail, net.tail = net.tail, None  # maps don't need it, and it has most of the weights
    try:
        twin = copy.deepcopy(net).eval().double()
    finally:
        net.tail = tail
    with torch.no_grad():
        for p in twin.parameters():
            p.copy_(p.abs() + 1e-3)
            p.div_(max(1.0, float(p[0].numel() * p.mean()) if p.dim() > 1 else 1.0))
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            kind = type(child).__name__.lower()
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, _AveragePool(child))
            elif _is_activation(child) or _is_norm(kind, child):
                setattr(parent, name, nn.Identity())
    return twin


def _is_norm(kind: str, module: nn.Module) -> bool:
    """Whether it is a plain norm: not one across positions, not a block that contains one."""
    within = any(isinstance(m, nn.Conv2d | nn.Linear) for m in module.modules())
    return "norm" in kind and "response" not in kind and not within


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ in ("torch.nn.modules.activation", "torchvision.ops.misc") and (
        not list(module.parameters())
    )


class _AveragePool(nn.Module):
    """Averages over a max-pooling's windows, so that all of a window gets a gradient."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        p = self.pool
        return nn.functional.avg_pool2d(
            x, p.kernel_size, p.stride, p.padding, bool(p.ceil_mode), count_include_pad=True
        )


def _check_geometry(net: Backbone, side: int) -> None:
    """Compares the gradient of one cell with the window in its spec."""
    twin = _linear_twin(net).requires_grad_(False)
    local = [name for name in net.specs if name not in net.non_local]
    if not local:
        return  # attention and gates reach every pixel
    images = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    maps = twin(images, want=tuple(local))
    for name in local:
        spec, cells = net.specs[name], maps[name]
        height, width = cells.shape[2:]
        row, column = height // 2, width // 2
        (gradient,) = torch.autograd.grad(cells[0, :, row, column].sum(), images, retain_graph=True)
        reached = gradient[0].abs().sum(0) > 0
        for axis, (cell, lit) in enumerate(((row, reached.any(1)), (column, reached.any(0)))):
            centre = spec.offset + spec.stride * cell
            first = max(0, round(centre - (spec.receptive_field - 1) / 2))
            last = min(side - 1, round(centre + (spec.receptive_field - 1) / 2))
            where = lit.nonzero().flatten()
            got = (int(where[0]), int(where[-1])) if len(where) else None
            assert got == (first, last), (
                f"{name}: cell {cell} of axis {axis} sees pixels {got}, its spec says {first, last}"
            )


def _check_tail(net: Backbone) -> None:
    tail = net.tail
    assert tail is not None
    rois = torch.randn(3, *tail.in_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        vectors = tail(rois)
        conv = tail.as_conv()
        maps = conv(rois)
    assert vectors.shape == (3, tail.out_features), f"the tail returns {tuple(vectors.shape)}"
    assert maps.shape == (3, tail.out_features, 1, 1), f"as_conv() returns {tuple(maps.shape)}"
    worst = float((maps.flatten(1) - vectors).abs().max())
    scale = float(vectors.abs().max())
    assert worst <= 1e-4 * max(1.0, scale), f"as_conv() differs from the tail by {worst:g}"
    assert not conv.training, "as_conv() is not in the tail's mode"


def _check_stages(net: Backbone) -> None:
    classifier = set[int]()
    if net.classifier is not None:
        classifier = {id(p) for p in net.classifier.parameters()}
    seen: dict[int, str] = {}
    for name, module in net.stages():
        for p in module.parameters():
            assert id(p) not in seen, f"a parameter is in the stages {seen[id(p)]} and {name}"
            seen[id(p)] = name
    missing = [
        name for name, p in net.named_parameters() if id(p) not in seen and id(p) not in classifier
    ]
    assert not missing, f"in no stage: {', '.join(missing[:5])}"


def _check_bf16(net: Backbone, images: Tensor) -> None:
    net.train()
    try:
        with torch.autocast("cpu", torch.bfloat16):
            out = net(images, want=(net.layers[-1],))[net.layers[-1]]
        out.float().mean().backward()
        dead = [
            name
            for name, p in net.named_parameters()
            if p.grad is None and not name.startswith("classifier.") and p.requires_grad
        ]
        assert torch.isfinite(out).all(), f"{net.layers[-1]} is not finite under bf16 autocast"
        if net.classifier is None:
            assert not dead, f"no gradient reaches {', '.join(dead[:5])}"
    finally:
        net.zero_grad(set_to_none=True)
        net.eval()


def _check_normalise(net: Backbone) -> None:
    p = net.preprocess
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)
    got = net.normalise(images)
    order = [2, 1, 0] if p.channels == "bgr" else [0, 1, 2]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (p.mean, p.std))
    wanted = (images[:, order].float() * p.scale - mean) / std
    assert torch.allclose(got, wanted, atol=1e-4 * float(wanted.abs().max())), (
        "normalise() gives wrong values"
    )
    assert got.is_contiguous(memory_format=torch.channels_last), "normalise() loses channels_last"


def _check_state(net: Backbone, images: Tensor) -> None:
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    missing = twin.load_state_dict(net.state_dict(), strict=True)
    assert not missing.missing_keys
    twin.eval()
    with torch.no_grad():
        ours, theirs = net(images)[_default(net)], twin(images)[_default(net)]
    assert torch.equal(ours, theirs), "state_dict() lacks something that the output depends on"


def _default(net: Backbone) -> str:
    return "conv5" if "conv5" in net.map_names else net.last
