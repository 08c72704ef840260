"""`create_backbone`: a name, a choice of weights and options -> a backbone."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xfer import plugs, registry
from xfer.backbones.base import SCHEMES, Backbone, backbones
from xfer.errors import XferError, nearest
from xfer.recipe import words

FORMS = "use a bare name, torchvision:NAME, timm:NAME or package.module:function"


@plugs.face("name")
def create_backbone(
    name: str,
    weights: str = "none",
    *,
    classifier: bool = False,
    report: Callable[[str], None] | None = None,
    trust: str | Sequence[str] = (),
    **options: Any,
) -> Backbone:
    """A backbone by name, in training mode, on the CPU.

    Args:
        name: alexnet, caffenet, vgg16, ... ; torchvision:NAME; timm:NAME; or
            package.module:function, which is called with the options and returns a Backbone.
        weights: "imagenet" (the published ones), "none", a file, or run:DIR.
        classifier: also make, and load, the net's own classifier.
        report: called with lines about downloads and about which tensors were loaded.
        trust: your own modules, besides the net's, that a run given as weights may name.
        options: options of the net: conv1_padding, pool_padding, init, lrn, dropout, ...

    Raises:
        XferError: unknown name or option; the message names the nearest valid ones.
        DataError: the weights are missing or broken, or none of them fit the net.
    """
    return make_backbone(name, weights, classifier=classifier, report=report, **options)


def make_backbone(
    name: str,
    weights: str = "none",
    *,
    classifier: bool = False,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> Backbone:
    """Like `create_backbone`, for a name that may come from a file: module:function is refused
    unless the user has named the module, see `xfer.plugs`."""
    from xfer.backbones.weights import load_weights

    right = words.right_value("weights", weights)
    if right is not None and not (isinstance(weights, str) and Path(weights).exists()):
        hint = words.value_hint("weights", weights)
        raise XferError(f"weights={weights!r}: not known here", hint)
    net = _build(name, classifier, options)
    if weights != "none":
        net.weight_report = load_weights(net, weights, net=name, say=report)
        if report is not None:
            report(net.weight_report.line())
    return net


def check_name(name: str) -> None:
    """Raises XferError for a backbone that does not exist; a user's own is not made."""
    ours = ":" in name or backbones.origin(name) == registry.OURS
    if ours and plugs.parse(name, SCHEMES) is None:
        with torch.device("meta"):
            _build(name, False, {})


def _build(name: str, classifier: bool, options: dict[str, Any]) -> Backbone:
    kind, colon, rest = name.partition(":")
    if not colon:
        make = backbones.get(name)
        if backbones.origin(name) != registry.OURS:
            return _foreign(name, make, classifier, options)
        _check_options(name, make, options)
        return make(**_own(make, name, classifier), **options)
    if kind == "torchvision":
        from xfer.backbones.torchvision import from_torchvision

        return from_torchvision(name, rest, None, classifier, **options)
    if kind == "timm":
        from xfer.backbones.timm import from_timm

        return from_timm(name, rest, classifier, **options)
    return _foreign(name, plug_maker(name), classifier, options)


def _own(make: Callable[..., Any], name: str, classifier: bool) -> dict[str, Any]:
    """The name and classifier arguments, if the function that makes the net takes them."""
    parameters = inspect.signature(make).parameters
    arguments = {"name": name, "classifier": classifier}
    return {key: value for key, value in arguments.items() if key in parameters}


def _check_options(name: str, make: Callable[..., Any], options: dict[str, Any]) -> None:
    valid = [key for key in inspect.signature(make).parameters if key not in ("name", "classifier")]
    for key in options:
        if key not in valid:
            hint = nearest(key, valid) if valid else "it has no options"
            hint = "did you mean weights?" if words.ours(key) == "weights" else hint
            raise XferError(f"backbone {name} has no option {key!r}", hint)


def plug_maker(name: str) -> Callable[..., Any]:
    """The function or class that `module:function` names.

    Raises: XferError for any other spec, and if it can't be imported or called, or does not say
        that it makes a Backbone.
    """
    plug = plugs.parse(name, SCHEMES)
    if plug is None or plug.path:
        raise XferError(f"unknown backbone {name!r}", FORMS)
    make = plugs.maker(plug, "backbone", lambda made: issubclass(made, Backbone), "Backbone", FORMS)
    if not callable(make):
        raise XferError(
            f"backbone {name} is a {type(make).__name__}, not a function that returns a Backbone"
        )
    return make


def _foreign(
    name: str, make: Callable[..., Any], classifier: bool, options: dict[str, Any]
) -> Backbone:
    """The net that a user's or another package's function makes."""
    parameters = inspect.signature(make).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if not anything:
        _check_options(name, make, options)
    if classifier and ("classifier" in parameters or anything):
        options = {**options, "classifier": True}
    net = make(**options)
    if not isinstance(net, Backbone):
        raise XferError(f"{name} returned a {type(net).__name__}, not an xfer Backbone")
    return net


def names(glob: str = "*") -> list[str]:
    """Names that match a shell pattern: bare ones, "torchvision:..." or "timm:..."."""
    kind, colon, rest = glob.partition(":")
    if colon and kind == "torchvision":
        from xfer.backbones.torchvision import names as theirs

        return [f"torchvision:{n}" for n in theirs() if fnmatch.fnmatchcase(n, rest)]
    if colon and kind == "timm":
        from xfer.backbones.timm import names as theirs

        return [f"timm:{n}" for n in theirs(rest)]
    return backbones.names(glob)


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """A line of `xfer models ls`.

    name       | as create_backbone takes it
    summary    | one line
    parameters | with the net's own classifier; None if counting would require building the net
    origin     | xfer, torchvision, timm, or the installed package that offers it
    """

    name: str
    summary: str
    parameters: int | None
    origin: str = registry.OURS


def describe(name: str) -> BackboneInfo:
    """Describes a net without allocating it. Raises XferError if there is no such net."""
    kind, colon, rest = name.partition(":")
    if colon:
        parameters = None
        if kind == "torchvision":
            from xfer.backbones.torchvision import published

            entry = published(rest)
            parameters = int(entry.meta["num_params"]) if entry is not None else None
        return BackboneInfo(name, f"{rest}, by {kind}", parameters, kind)
    make = backbones.get(name)
    summary = (inspect.getdoc(make) or "").split("\n")[0]
    origin = backbones.origin(name)
    if origin != registry.OURS:  # a user's net may not work on the meta device
        return BackboneInfo(name, summary, None, origin)
    with torch.device("meta"):
        net = make(**_own(make, name, True))
    return BackboneInfo(name, summary, sum(p.numel() for p in net.parameters()))
