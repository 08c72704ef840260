"""The contract of a task: what a backbone can be trained to do.

A task is a module of xfer.tasks named after it, an entry point of an installed package in the group
xfer.tasks, or `module:Class`. The core calls `get(name)` and never imports a task directly.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from torch import Tensor, nn

from xfer import kinds, plugs, registry
from xfer.data.loading.offers import CachedFeatures as CachedFeatures
from xfer.data.loading.offers import DeviceCrops as DeviceCrops
from xfer.data.loading.offers import ManySides as ManySides
from xfer.errors import DataError, XferError, nearest
from xfer.proposals.contract import Proposes as Proposes
from xfer.recipe.option import When, checked
from xfer.recipe.option import option as option  # public here, for tasks
from xfer.recipe.words import TASKS, ours
from xfer.types import Batch, DataInfo, Preprocess, Sample

if TYPE_CHECKING:
    import numpy as np

    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.exporting.contract import Exportable
    from xfer.kinds.base import Kind
    from xfer.recipe.tables import DataTable
    from xfer.types import Source

ALIASES = TASKS
GROUP = "xfer.tasks"  # of packages' entry points
# for the `counts_when` of a task whose chance_loss is None
NO_CHANCE: dict[str, When | str] = {"run.chance_steps": "its loss has no chance level"}


class Metric(Protocol):
    """Accumulates predictions; the states of several processes can be merged.

    primary | key of the number in compute() that chooses the best step (higher is better)
    """

    primary: str

    def update(self, predictions: Sequence[Any], batch: Batch) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def load_states(self, states: Sequence[dict[str, Any]]) -> None: ...
    def compute(self) -> dict[str, Any]: ...
    def protocol(self) -> dict[str, str]: ...
    def rows(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the model, the unit of freezing and of layer-wise rates.

    role | trunk: of the backbone; head: new, never frozen
    """

    name: str
    module: nn.Module
    role: str = "trunk"


class Task(nn.Module, ABC):
    """A backbone, a head, and what turns samples into losses, predictions and scores.

    Args:
        backbone: the pretrained net; kept as `self.backbone`.
        info: what the data contain: kind and classes.
        options: an instance of the class's `Options`.
        data: the recipe's [data] table: input size, augmentation.

    What a task must have
        kinds             | names of the kinds of data that it trains on
        Options           | frozen dataclass; each field made by `option`, with its help text; may
                          | have decided() -> values of `auto` that follow from other options
        transform(train)  | (Sample, generator) -> item; runs in the loader's threads
        collate(items)    | items -> Batch
        forward(batch)    | dict of named losses, scalars; summed by the loop
        predict(batch)    | one prediction per picture, in the batch's order, each with `id`
        metric()          | a new Metric
        stages()          | every trainable part once, shallow to deep, the head last
    What it may have
        counts_when       | keys of the recipe's tables that have an effect only sometimes, as
                          | `option`'s when, or never: a text that says what is used instead
        recipe            | keys of a recipe and their values, for a task without a recipe T/default
        recipe_by         | an option whose value, if a user sets it, may name a recipe T/VALUE
        views             | what eval.tta may be, each with a description
        decides           | backbone.KEY -> task.KEY: backbone options that its own replace
        any_shape         | whether the net sees pictures that are not square
        size_words        | what happens to pictures if the net takes a single size
        picture_side      | side of the training pictures, pixels
        short_side        | pictures are decoded no larger than this, pixels; 0: full size
        describe(p)       | a prediction as plain values; its kind's by default
        exports           | class of its net as tensors in, tensors out, for `xfer export`
        not_exported      | without it, the words for what can't be exported
        fit_labels(labels), fit_data(bundle) | inspect the training data before the first step
        prepare(source)   | called with a source before its pictures are read
        loss_weights(b)   | what each loss is a mean over, if not the pictures
        view_protocol(tta), chance_loss(), resolved_options() | what a run records
    As one of several heads (`xfer.heads`)
        reads             | the backbone's layers that forward and predict ask for; all maps by
                          | default
        cuts              | options that say how pictures are cut or altered: of no use where
                          | another head does that
    It may also be: DeviceCrops, CachedFeatures, ManySides, Proposes (data/loading/offers.py,
    proposals/contract.py).
    Provided: preprocess, kind, freeze(modules), check_views(...).
    """

    kinds: ClassVar[tuple[str, ...]]
    decides: ClassVar[dict[str, str]] = {}
    views: ClassVar[dict[str, str]] = {
        "none": "single centre crop",
        "flip": "centre crop and its mirror image, probabilities averaged",
        "10crop": "4 corners and centre with mirror images, probabilities averaged "
        "(Krizhevsky 2012)",
    }
    Options: ClassVar[type[Any]]
    # {"optim.lr": 1e-3}: what differs from the recipe defaults
    recipe: ClassVar[Mapping[str, Any]] = {}
    recipe_by: ClassVar[str] = ""
    counts_when: ClassVar[Mapping[str, When | str]] = {}
    exports: ClassVar[type[Exportable] | None] = None
    not_exported: ClassVar[str] = ""
    cuts: ClassVar[tuple[str, ...]] = ()
    any_shape: ClassVar[bool] = False
    size_words: ClassVar[str] = "pictures are scaled to it, whatever data.size is"

    def __init__(self, backbone: Backbone, info: DataInfo, options: Any, data: DataTable) -> None:
        super().__init__()
        self.backbone = backbone
        self.info = info
        self.options = options
        self.data = data
        self._frozen: list[nn.Module] = []
        backbone.adapt(self.picture_side)

    @classmethod
    def option_fields(cls, values: Mapping[str, Any]) -> dict[str, Field[Any]]:
        """The options by name, given the values that are set: some may make room for more."""
        return {option.name: option for option in fields(cls.Options)}

    @classmethod
    def options_from(cls, values: Mapping[str, Any]) -> Any:
        """Options with these values, which have been checked against `option_fields`."""
        return replace(cls.Options(), **values)

    @classmethod
    def kinds_for(cls, options: Any) -> tuple[str, ...]:
        """The kinds of data that it trains on with these options."""
        return cls.kinds

    @classmethod
    def conditions(cls, values: Mapping[str, Any]) -> Mapping[str, When | str]:
        """`counts_when`, given the values of options that are set."""
        return cls.counts_when

    @property
    def reads(self) -> tuple[str, ...]:
        """The backbone's layers that the net asks for."""
        return tuple(self.backbone.map_names)

    @property
    def picture_side(self) -> int:
        """Side of the training pictures, as requested, pixels; 0: the backbone's own."""
        return self.data.size

    @property
    def preprocess(self) -> Preprocess:
        """The backbone's, at the input size that the recipe asks for, if the net can take it."""
        return self.backbone.preprocess.at(self.backbone.side_for(self.picture_side))

    @property
    def size_note(self) -> str:
        """A line on what is done for a net that takes a single size; empty: nothing."""
        net, side = self.backbone, self.picture_side
        fits = not self.any_shape and side in (0, net.preprocess.size)
        if fits or not net.fixed_side:
            return ""
        return f"{net.name} takes only squares of {net.fixed_side} px: {self.size_words}"

    @property
    def short_side(self) -> int:
        """Pictures are decoded no larger than this short side, pixels; 0: full size."""
        return 0

    @abstractmethod
    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]: ...

    @abstractmethod
    def collate(self, items: list[Any]) -> Batch: ...

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]: ...

    @abstractmethod
    def predict(self, batch: Batch, tta: str = "none") -> list[Any]: ...

    @abstractmethod
    def metric(self) -> Metric: ...

    @abstractmethod
    def stages(self) -> list[Stage]: ...

    @property
    def kind(self) -> Kind:
        """The kind of data it trains on."""
        return kinds.get(self.info.kind)

    def describe(self, prediction: Any) -> dict[str, Any]:
        """A prediction as a row of plain values, "id" first; its kind's by default."""
        return self.kind.describe(prediction, self.info.classes)

    def fit_labels(self, labels: np.ndarray) -> None:
        """Inspects the training labels once, before training; most tasks need not."""

    def fit_data(self, bundle: Bundle) -> None:
        """Inspects the training data once, before training; most tasks need not."""

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        """Called with a source before `transform` reads its pictures; `say` reports slow work."""

    def view_protocol(self, tta: str) -> str:
        """A description of how pictures are cut at evaluation."""
        own = self.preprocess
        return f"{self.views[tta]}, {own.size} px from short side {own.resize} px"

    def check_views(self, *names: str) -> None:
        """Raises XferError for views that the task does not offer."""
        for tta in names:
            if tta not in self.views:
                raise XferError(f"unknown tta {tta!r}", f"choose from {', '.join(self.views)}")

    def loss_weights(self, batch: Batch) -> dict[str, Tensor]:
        """The total weight of what each loss is a mean over, by the loss's name, as scalars on the
        batch's device: how many pixels are labelled, or the sum of their classes' weights.

        The losses of a batch's parts, and of several processes, are added in proportion to it, so
        that they make the loss of the whole batch. A loss left out is a mean over the pictures.
        """
        return {}

    def chance_loss(self) -> float | None:
        """The loss of a model that guesses; None if there is no such number."""
        return None

    def resolved_options(self) -> dict[str, Any]:
        """The options with every `auto` replaced by the choice made: they rebuild the model."""
        chosen = {f.name: getattr(self.options, f.name) for f in fields(self.options)}
        return {
            k: list(cast("tuple[Any, ...]", v)) if isinstance(v, tuple) else v
            for k, v in chosen.items()
        }

    def freeze(self, modules: Sequence[nn.Module]) -> None:
        """Freezes exactly these: no gradients, batch norm and dropout in eval mode."""
        for module in self._frozen:
            module.requires_grad_(True)
        self._frozen = list(modules)
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Task:
        """Train or eval mode; frozen modules stay in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def _built_in() -> list[str]:
    package = importlib.import_module("xfer.tasks")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def names() -> list[str]:
    """The names of all tasks: xfer's and those of installed packages."""
    return sorted({*_built_in(), *registry.offers(GROUP)})


def canonical(name: str) -> str:
    """A task's canonical name: det and detection are detect; module:Class stays as it is. Raises
    XferError for an unknown name, and for one that several packages offer."""
    name = ALIASES.get(name, name)
    plug = plugs.parse(name)
    if plug is not None and not plug.path:
        return name
    if name not in names():
        hint = "a task of your own: module:Class" if ":" in name else nearest(name, names())
        raise XferError(f"unknown task {name!r}", hint)
    registry.check_single("task", name, name in _built_in(), registry.offers(GROUP).get(name, ()))
    return name


def get(name: str) -> type[Task]:
    """The class of the task of that name. Raises XferError naming the nearest ones."""
    name = canonical(name)
    plug = plugs.parse(name)
    if plug is not None:
        return _task_class(plugs.resolve(plug, "task"), name)
    if name in _built_in():
        return _task_class(importlib.import_module(f"xfer.tasks.{name}"), name)
    (offer,) = registry.offers(GROUP)[name]
    return _task_class(offer.load("task"), f"{name} of package {offer.package}")


def _task_class(value: Any, name: str) -> type[Task]:
    """The task class: `value` itself, or the one in a module. Raises XferError if there is none."""
    if isinstance(value, ModuleType):
        tasks = [v for v in _tasks_in(value).values() if v.__module__ == value.__name__]
        if len(tasks) != 1:
            raise XferError(f"task {name}: {value.__name__} must hold one Task, not {len(tasks)}")
        return tasks[0]
    if not (isinstance(value, type) and issubclass(value, Task)):
        kind = f"class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise XferError(f"task {name}: a {kind}, not a subclass of xfer.task.Task")
    return value


def _tasks_in(module: ModuleType) -> dict[str, type[Task]]:
    """The tasks in a module's namespace, by name; without the base class and xfer's own."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Task)
        and (value.__module__ == module.__name__ or not value.__module__.startswith("xfer."))
    }


def for_kind(kind: str) -> str:
    """The name of the task that trains on data of that kind: xfer's, else an installed package's,
    else the one that the kind names, else the one in a module that the user has named."""
    ours = _built_in()
    for name in (*ours, *(name for name in names() if name not in ours)):
        if kind in get(name).kinds:
            return name
    own = str(getattr(kinds.get(kind), "task", "") or "")
    if own:
        plugs.allow(own)
        return canonical(own)
    for module in plugs.named():
        code = plugs.imported(plugs.Plug(module, ""), "task")
        fitting = [n for n, t in _tasks_in(code).items() if kind in getattr(t, "kinds", ())]
        if len(fitting) > 1:
            raise XferError(
                f"module {module} has several tasks for {kind!r} data: {', '.join(fitting)}",
                f"choose one: --task {module}:{fitting[0]}",
            )
        if fitting:
            return f"{module}:{fitting[0]}"
    if not kinds.get(kind).labelled:
        raise DataError(
            "the pictures have no labels",
            "one folder of pictures per class, or a csv: path,label",
        )
    raise XferError(f"no task trains on {kind!r} data", f"tasks: {', '.join(names())}")


def options_of(task: type[Task], values: Mapping[str, Any] | None = None) -> dict[str, Field[Any]]:
    """The task's options by their recipe keys: task.head. Args: values: those that are set."""
    return {f"task.{name}": option for name, option in task.option_fields(values or {}).items()}


def make_options(task: type[Task], values: Mapping[str, Any], where: str = "task") -> Any:
    """The task's Options with these values. Raises XferError for an unknown key or a bad value."""
    known = task.option_fields(values)
    for key in values:
        if key not in known:
            meant = ours(key)
            hint = f"did you mean {meant}?" if meant.removeprefix("task.") in known else ""
            raise XferError(f"unknown key {where}.{key}", hint or nearest(key, known))
    return task.options_from({k: checked(f"{where}.{k}", v, known[k]) for k, v in values.items()})
