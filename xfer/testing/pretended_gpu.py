"""A pretended GPU, on which tests run code for CUDA and count how often the host waits for it.

Its tensors say that they are on cuda:0 and hold CPU data. Nothing is compiled and no driver is
needed. It knows no streams, kernels or speed: what it shows is that no CPU tensor meets one on the
device, and where the host would have to wait.

What is counted as a host wait
    item, tolist, bool(), print       | a number read from the device
    copy to the device, to the host   | unless non_blocking; to the device, unless pinned as well
    nonzero, boolean index, unique,   | the size of the result depends on values on the device
    masked_select, bincount, repeat_interleave, nms
    Event, Stream and torch.cuda.synchronize
What is refused, as on a GPU
    operations on tensors of both kinds, except numbers (0-dimensional CPU tensors)
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from xfer.testing.pretended_autocast import Autocast

CARD = torch.device("cuda", 0)
# what torch itself takes the tensors to be: on a device without a driver that autograd would ask
_INNER = torch.device("lazy", 0)
_aten = torch.ops.aten

_SIZED_BY_VALUES = frozenset({
    "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::repeat_interleave.Tensor",
    "aten::_unique", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive",
    "aten::histc", "aten::equal", "aten::_local_scalar_dense", "torchvision::nms",
})  # fmt: skip
_HERE = Path(__file__).resolve()
_OURS = (str(_HERE.parents[1]) + "/", str(_HERE.parents[2] / "tasks") + "/")


class HostWaits:
    """How often the host has waited for the device, by reason and place in our code.

    total | all of them; `while_counting` is a context in which they are counted
    """

    def __init__(self) -> None:
        self.places: Counter[tuple[str, str]] = Counter()
        self.operations = 0
        self._counting = False

    @property
    def total(self) -> int:
        return self.places.total()

    @contextlib.contextmanager
    def counting(self) -> Iterator[HostWaits]:
        """Counts from zero, inside of this context only."""
        self.places.clear()
        self.operations = 0
        self._counting = True
        try:
            yield self
        finally:
            self._counting = False

    def add(self, reason: str) -> None:
        if self._counting:
            self.places[reason, _place()] += 1

    def add_operation(self) -> None:
        self.operations += self._counting

    def __str__(self) -> str:
        lines = [f"{n:4d}  {reason:24s} {at}" for (reason, at), n in self.places.most_common()]
        return "\n".join([f"{self.total} host waits", *lines])


def _place() -> str:
    """The innermost lines of our own code that led here, innermost first."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < 2:
        name = frame.f_code.co_filename
        if name.startswith(_OURS) and name != __file__:
            found.append(f"{Path(name).parent.name}/{Path(name).name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)


_waits = HostWaits()
_pinned: set[int] = set()  # addresses of the memory that is said to be pinned


class OnCard(torch.Tensor):
    """A tensor that says it is on cuda:0, and holds the data in `inner`."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=_INNER, requires_grad=False,
        )  # fmt: skip
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return CARD

    @property
    def is_cuda(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return True

    def tolist(self) -> Any:
        _waits.add("tolist")
        return self.inner.tolist()

    def record_stream(self, stream: Any) -> None: ...

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor on cuda:0 to numpy: copy it to the host first")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        _waits.add("print")
        return f"OnCard({self.inner!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, OnCard) else x


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation of torch on tensors of either kind."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, OnCard)]
    wanted = kwargs.get("device")
    wanted = None if wanted is None else torch.device(wanted).type
    if func is _aten._to_copy.default:
        return _copied(args[0], kwargs, wanted)
    if func is _aten.copy_.default:
        return _copied_into(*args, **kwargs)
    if not there and wanted != _INNER.type:
        return func(*args, **kwargs)
    name = func.name()
    _waits.add_operation()
    if name in _SIZED_BY_VALUES:
        _waits.add(name.split("::")[1].removeprefix("_").split(".")[0])
    indexing = name.startswith(("aten::index", "aten::_index_put", "aten::_unsafe_index"))
    if indexing and len(args) > 1 and isinstance(args[1], (list, tuple)):
        _check_indices(name, args[0], args[1])
        tensors = [args[0], *(x for x in args[2:] if isinstance(x, torch.Tensor))]
    if there and any(not isinstance(x, OnCard) and x.dim() > 0 for x in tensors):
        shapes = [(tuple(x.shape), str(x.device)) for x in tensors]
        raise RuntimeError(f"{name}: tensors on cuda:0 and on the CPU: {shapes}")
    inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
    if wanted == _INNER.type:
        inner_kwargs["device"] = torch.device("cpu")
    inner_kwargs.pop("pin_memory", None)
    made = func(*inner_args, **inner_kwargs)
    if wanted == "cpu":
        return made
    # an operation in place, or into `out`, returns its own argument
    own = {id(x.inner): x for x in there}
    return tree_map(lambda x: own.get(id(x), OnCard(x)) if isinstance(x, torch.Tensor) else x, made)


def _copied(source: torch.Tensor, kwargs: dict[str, Any], wanted: str | None) -> torch.Tensor:
    """A copy on the same or on the other device, or of another type."""
    there = isinstance(source, OnCard)
    to_card = wanted == _INNER.type or (wanted is None and there)
    plain = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory", "non_blocking")}
    made = _aten._to_copy.default(_inner(source), **plain)
    _count_copy(there, to_card, source, kwargs.get("non_blocking", False))
    return OnCard(made) if to_card else made


def _copied_into(
    target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False
) -> torch.Tensor:
    there, to_card = isinstance(source, OnCard), isinstance(target, OnCard)
    _count_copy(there, to_card, target if there else source, non_blocking)
    _inner(target).copy_(_inner(source))
    return target


def _count_copy(there: bool, to_card: bool, on_host: torch.Tensor, non_blocking: bool) -> None:
    if there and to_card:
        _waits.add_operation()
    elif there and not non_blocking:
        _waits.add("copy to the host")
    elif to_card and not there:
        if not non_blocking:
            _waits.add("copy to the device")
        elif not is_pinned(on_host):
            _waits.add("copy of unpinned memory")


def _check_indices(name: str, indexed: torch.Tensor, indices: Any) -> None:
    for index in indices:
        if not isinstance(index, torch.Tensor):
            continue
        if isinstance(index, OnCard) and not isinstance(indexed, OnCard):
            raise RuntimeError(f"{name}: a tensor on the CPU is indexed by one on cuda:0")
        if index.dtype in (torch.bool, torch.uint8):
            _waits.add("boolean index")
        elif not isinstance(index, OnCard):
            _waits.add("index from the host")


class _Dispatch(TorchDispatchMode):
    """Sees the operations without a tensor on the card: those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Has whoever names cuda:0 mean the pretended card."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        args, kwargs = tree_map(_translated, (args, kwargs))
        args, kwargs = Autocast.cast(func, (args, kwargs), OnCard)
        return func(*args, **kwargs)


def _translated(x: Any) -> Any:
    if isinstance(x, torch.device) and x.type == "cuda":
        return _INNER
    if isinstance(x, str) and (x == "cuda" or x.startswith("cuda:")):
        return _INNER
    return x


def is_pinned(tensor: torch.Tensor) -> bool:
    return not isinstance(tensor, OnCard) and tensor.untyped_storage().data_ptr() in _pinned


def _pin(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    if is_pinned(tensor):
        return tensor
    copy = tensor.clone()
    _pinned.add(copy.untyped_storage().data_ptr())
    return copy


class _Stream:
    """A stream: all of them run at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None: ...
    def wait_event(self, event: Any) -> None: ...
    def wait_stream(self, stream: Any) -> None: ...
    def record_event(self, event: Any = None) -> _Event:
        return _Event()

    def query(self) -> bool:
        return True

    def is_capturing(self) -> bool:
        return False

    def synchronize(self) -> None:
        _waits.add("synchronize")


class _Event:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def record(self, stream: Any = None) -> None: ...
    def wait(self, stream: Any = None) -> None: ...
    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        _waits.add("synchronize")

    def elapsed_time(self, end: Any) -> float:
        raise RuntimeError("a pretended card takes no time")


_EMPTY = torch.empty


def _empty(*args: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
    made = _EMPTY(*args, **kwargs)
    if pin_memory:
        _pinned.add(made.untyped_storage().data_ptr())
    return made


def _patches() -> Iterator[Any]:
    """What torch says about the machine's cards, and what it would ask a driver."""
    nothing: Callable[..., None] = lambda *args, **kwargs: None  # noqa: E731
    answers: dict[str, Any] = {
        "is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0,
        "get_device_name": lambda *_: "pretended GPU", "is_bf16_supported": lambda *_, **__: True,
        "get_device_capability": lambda *_: (9, 0), "set_device": nothing,
        "synchronize": lambda *_: _waits.add("synchronize"), "empty_cache": nothing,
        "max_memory_allocated": lambda *_: 0, "reset_peak_memory_stats": nothing,
        "Stream": _Stream, "Event": _Event, "stream": lambda stream: stream,
        "current_stream": lambda *_: _Stream(), "default_stream": lambda *_: _Stream(),
        "is_initialized": lambda: False, "is_current_stream_capturing": lambda: False,
    }  # fmt: skip
    for name, answer in answers.items():
        yield mock.patch.object(torch.cuda, name, answer)
    if hasattr(torch, "accelerator"):  # from torch 2.6 on
        yield mock.patch.object(torch.accelerator, "current_stream", lambda *_: _Stream())
    yield mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    yield mock.patch.object(torch.Tensor, "pin_memory", _pin)
    yield mock.patch.object(torch.Tensor, "is_pinned", is_pinned)
    yield mock.patch.object(torch, "empty", _empty)
    yield mock.patch.object(torch, "autocast", Autocast)


@contextlib.contextmanager
def pretended_gpu() -> Iterator[HostWaits]:
    """Inside of this context torch has one card, the pretended one; yields what counts the waits.

    Only the calling thread may name the card; its tensors may be used by any.
    """
    import torch._dynamo  # looks at what is patched below

    replaces = torch.__future__.get_overwrite_module_params_on_conversion()
    _pinned.clear()
    with ExitStack() as held:
        for patch in _patches():
            held.enter_context(patch)
        held.callback(torch.__future__.set_overwrite_module_params_on_conversion, replaces)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        # torch.tensor(..., device=) makes a tensor on the CPU and copies it
        lift = torch._C._only_lift_cpu_tensors()
        held.callback(torch._C._set_only_lift_cpu_tensors, lift)
        torch._C._set_only_lift_cpu_tensors(True)
        # the engine has no thread for this card
        held.enter_context(torch.autograd.set_multithreading_enabled(False))
        held.enter_context(_Functions())
        held.enter_context(_Dispatch())
        yield _waits
