"""Which pixels a cell of a feature map sees: derived from the operations of a forward pass.

A forward pass without data (meta tensors) is watched operation by operation. Each tensor that
has the picture's rows and columns carries a `Window` per axis; convolutions, poolings, paddings
and slices move it, every other operation passes on the hull of its inputs' windows. So nothing is
entered by hand, and padding options, ceil modes and branches are right by construction.

Operations that mix all positions (attention; the global pooling of squeeze-excitation) keep the
window of the local path and mark the result.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Why cells may depend on more pixels than their window, or less evenly: they don't; a gate from a
# global pooling, or upsampling; attention
LOCAL, GATED, ATTENDED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Window:
    """Input pixels first..last that cell 0 sees along one axis; cell i sees those + i * step."""

    step: int = 1
    first: int = 0
    last: int = 0

    def through(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
        """After a convolution or pooling with this kernel, stride, padding, dilation, in cells."""
        first = self.first - padding * self.step
        last = self.last + ((kernel - 1) * dilation - padding) * self.step
        return Window(self.step * stride, first, last)

    def finer(self, times: int) -> Window:
        """After repeating each cell: the hull over the positions of the copies."""
        step = max(1, self.step // times)
        return Window(step, self.first - (times - 1) * step, self.last)

    def hull(self, other: Window) -> Window:
        return Window(
            max(self.step, other.step), min(self.first, other.first), max(self.last, other.last)
        )

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def centre(self) -> float:
        return (self.first + self.last) / 2


@dataclass(frozen=True, slots=True)
class View:
    """A tensor's windows along rows and columns, its grid, and what mixed its positions."""

    rows: Window
    columns: Window
    grid: tuple[int, int]
    mixing: int = LOCAL

    @property
    def larger(self) -> Window:
        return self.rows if self.rows.size >= self.columns.size else self.columns


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: its output (by id) and shape, its work and the parameters it read."""

    out: int
    shape: tuple[int, ...]
    multiply_adds: int
    parameters: tuple[int, ...]


def _tensors(value: Any) -> list[Tensor]:
    values = value if isinstance(value, (list, tuple)) else (value,)
    return [v for v in values if isinstance(v, Tensor)]


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = list(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _grid_dims(shape: Sequence[int], grid: tuple[int, int]) -> tuple[int, int] | None:
    """Which dimensions of a shape are rows and columns: NCHW first, then NHWC."""
    if len(shape) == 4:
        for rows in (2, 1):
            if (shape[rows], shape[rows + 1]) == grid:
                return rows, rows + 1
    return None


class Watch(TorchDispatchMode):
    """Follows the windows of all tensors that descend from `images`, and counts the work.

    Args:
        images: (N, C, H, W).
        parameters: of the net that will run.
    """

    def __init__(self, images: Tensor, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        # Parameters and tensors computed only from them (transposed, standardised): real weights,
        # unlike the matrix of ones that a response normalisation convolves with
        self.weights = {id(p) for p in parameters}
        grid = (images.shape[2], images.shape[3])
        self.views: dict[int, View] = {id(images): View(Window(), Window(), grid)}
        self.steps: list[Step] = []
        self.operations: set[str] = set()
        self._alive: list[Tensor] = [images]  # ids stay unique while the tensors live

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.operations.add(name)
        tensors = [t for argument in args for t in _tensors(argument)]
        outputs = _tensors(out)
        work = 0
        if name != "convolution" or id(args[1]) in self.weights:
            work = _multiply_adds(name, args, outputs)
        read = tuple(id(t) for t in tensors if id(t) not in self.views)
        self._alive += tensors + outputs
        inputs = [self.views[id(t)] for t in tensors if id(t) in self.views]
        if not inputs and any(id(t) in self.weights for t in tensors):
            self.weights |= {id(t) for t in outputs}
        for index, output in enumerate(outputs):
            once = work if index == 0 else 0
            self.steps.append(Step(id(output), tuple(output.shape), once, read))
            if inputs and not (index and name.startswith("max_pool")):
                self.views[id(output)] = _follow(name, args, inputs, output)
        return out


def _follow(name: str, args: Sequence[Any], inputs: list[View], output: Tensor) -> View:
    """The view of an operation's output, from its inputs' views."""
    view = inputs[0]
    grid = _grid_of(output, view.grid)
    if name in ("convolution", "max_pool2d_with_indices", "avg_pool2d"):
        if name == "convolution":
            kernel, stride, padding, dilation = args[1].shape[2:], args[3], args[4], args[5]
        else:
            kernel, stride = args[1], args[2] if len(args) > 2 and args[2] else args[1]
            padding = args[3] if len(args) > 3 else 0
            dilation = args[4] if name.startswith("max") and len(args) > 4 else 1
        turned = [_pair(v) for v in (kernel, stride, padding, dilation)]
        rows, columns = (
            window.through(*(values[axis] for values in turned))
            for axis, window in enumerate((view.rows, view.columns))
        )
        return View(rows, columns, grid, view.mixing)
    if name == "constant_pad_nd" and output.dim() == 4:
        pads = [*args[1], 0, 0, 0, 0][:4]
        rows = view.rows.through(1, 1, pads[2])
        columns = view.columns.through(1, 1, pads[0])
        return View(rows, columns, grid, view.mixing)
    if name.startswith("upsample") and output.dim() == 4:
        times = max(1, output.shape[2] // args[0].shape[2])  # downsampling undoes it
        rows, columns = view.rows.finer(times), view.columns.finer(times)
        return View(rows, columns, grid, max(view.mixing, GATED))
    if name == "slice":
        dims = _grid_dims(args[0].shape, view.grid)
        axis = args[1] % args[0].dim() if len(args) > 1 else 0
        if dims and axis in dims:
            start = args[2] if len(args) > 2 and args[2] is not None else 0
            start = start + args[0].shape[axis] if start < 0 else start
            step = args[4] if len(args) > 4 else 1
            windows = [view.rows, view.columns]
            at = dims.index(axis)
            windows[at] = windows[at].through(1, step, -start)
            grid = (output.shape[dims[0]], output.shape[dims[1]])
            return View(windows[0], windows[1], grid, view.mixing)
    # A pooled gate carries the window of the map that it came from: the hull over only the inputs
    # on the output's grid keeps the local path.
    same = [v for v in inputs if v.grid == grid] or inputs
    rows, columns = same[0].rows, same[0].columns
    for other in same[1:]:
        rows, columns = rows.hull(other.rows), columns.hull(other.columns)
    mixing = max(_mixing(name, args), *(v.mixing for v in inputs))
    return View(rows, columns, grid, mixing)


def _grid_of(output: Tensor, grid: tuple[int, int]) -> tuple[int, int]:
    """The rows and columns of a tensor; in another layout, those of the tensor it came from."""
    if output.dim() != 4 or _grid_dims(output.shape, grid) is not None:
        return grid
    # Only operations on NCHW maps change the grid, and the result has it in dimensions 2 and 3.
    return (output.shape[2], output.shape[3])


def _mixing(name: str, args: Sequence[Any]) -> int:
    if "attention" in name or name in ("_softmax", "bmm", "roll"):
        return ATTENDED
    pooled = "adaptive_avg_pool" in name or (
        name == "mean"
        and len(args) > 1
        and args[0].dim() == 4
        and len({d % 4 for d in args[1] or ()} & {1, 2, 3}) >= 2
    )
    return GATED if pooled else LOCAL


def _multiply_adds(name: str, args: Sequence[Any], outputs: list[Tensor]) -> int:
    if not outputs:
        return 0
    if name == "convolution":
        return outputs[0].numel() * args[1][0].numel()
    if name in ("addmm", "mm", "bmm", "baddbmm", "linear"):
        left = args[1] if name in ("addmm", "baddbmm") else args[0]
        return outputs[0].numel() * left.shape[-1]
    if "attention" in name:  # two products: queries with keys, scores with values
        query, key = args[0], args[1]
        return 2 * query.numel() * key.shape[-2]
    return 0


@dataclass(frozen=True, slots=True)
class Trace:
    """The record of a forward pass without data.

    steps      | the operations, in order
    views      | id of a tensor -> its view
    outputs    | name of a layer -> (id, shape) of the net's output for it
    read       | id of a tensor -> name of the parameter that it stands for
    operations | names of all operations
    """

    steps: list[Step]
    views: dict[int, View]
    outputs: dict[str, tuple[int, tuple[int, ...]]]
    read: dict[int, str]
    operations: frozenset[str]

    @property
    def multiply_adds(self) -> int:
        return sum(step.multiply_adds for step in self.steps)

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters and buffers that were read, in order of first use."""
        ids = (ident for step in self.steps for ident in step.parameters)
        return list(dict.fromkeys(self.read[ident] for ident in ids if ident in self.read))


def trace(net: nn.Module, size: tuple[int, int], want: Sequence[str]) -> Trace:
    """Runs `net(images, want=want)` in evaluation mode on tensors without data, and records it.

    Args:
        net: takes (1, 3, H, W) and returns a dict of tensors; left unchanged.
        size: H, W in pixels.
        want: the outputs to ask for.
    """
    try:
        return _watched(net, size, want, torch.device("meta"))
    except (RuntimeError, NotImplementedError) as error:
        if "meta" not in str(error):
            raise
    # a net that creates tensors on the CPU
    return _watched(net, size, want, torch.device("cpu"))


def _watched(
    net: nn.Module, size: tuple[int, int], want: Sequence[str], device: torch.device
) -> Trace:
    """`trace`, on tensors without data (meta) or with zeros for weights (cpu)."""
    state = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    # a copy that shares the weights: some nets cache tensors in their first pass
    net = copy.deepcopy(net, {id(tensor): tensor for tensor in state.values()}).eval()
    twins = {name: torch.zeros_like(tensor, device=device) for name, tensor in state.items()}
    images = torch.zeros(1, 3, *size, device=device, dtype=_floating(state.values()))
    with torch.no_grad(), Watch(images, twins.values()) as watched:
        out = torch.func.functional_call(net, twins, (images,), {"want": tuple(want)})
    outputs = {name: (id(t), tuple(t.shape)) for name, t in out.items()}
    read = {id(twin): name for name, twin in twins.items()}
    return Trace(
        watched.steps, watched.views, outputs, read, frozenset(watched.operations)
    )  # fmt: skip


def _floating(tensors: Iterable[Tensor]) -> torch.dtype:
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
