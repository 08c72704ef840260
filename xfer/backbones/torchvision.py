"""torchvision's nets: VGG, GoogLeNet and ResNet under bare names, any other as torchvision:NAME.

Each of its classification nets is a chain of modules, then a pooling and a head; the chain is
taken out and its links keep their names. Its vision transformers have no maps; timm's do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Any

from torch import Tensor, nn
from torchvision import models
from torchvision.ops import Permute

from xfer.backbones.base import Backbone, SequentialBackbone, backbones
from xfer.backbones.tail import Tail
from xfer.errors import XferError, nearest
from xfer.types import Preprocess

# Children outside the chain of maps
_HEADS = ("avgpool", "classifier", "fc", "dropout", "flatten", "head", "norm", "permute")
_AUX = ("aux1", "aux2", "AuxLogits")


def published(name: str, version: str | None = None) -> Any:
    """torchvision's entry (url, transforms, ...) of published weights.

    Args:
        name: of a torchvision net.
        version: e.g. IMAGENET1K_V1; None: the newest.
    """
    weights = models.get_model_weights(name)
    return weights[version] if version else getattr(weights, "DEFAULT", None)


def names() -> list[str]:
    """torchvision's classification nets."""
    return models.list_models(module=models)


def preprocess_of(name: str, version: str | None) -> Preprocess:
    """The preprocessing of the published weights; ImageNet's usual one if there are none."""
    entry = published(name, version)
    if entry is None:
        return Preprocess()
    t = entry.transforms()
    mean, std = tuple(t.mean), tuple(t.std)
    if name in ("googlenet", "inception_v3"):
        # Weights from TensorFlow: torchvision converts its usual normalisation inside the net
        mean = std = (0.5, 0.5, 0.5)
    return Preprocess(mean, std, "rgb", 1 / 255, t.crop_size[0], t.resize_size[0])


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True, **options}
    try:
        return models.get_model(name, weights=None, **options)
    except Exception as error:  # by the options' values, anything
        raise XferError(f"torchvision:{name}: {error or type(error).__name__}") from None


def plain(model: str, options: dict[str, Any]) -> nn.Module:
    """torchvision's own net, to take weights back to it. Raises XferError for wrong options."""
    return _build(model, options).eval()


def _links(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The chain of maps, (name in torchvision, module) in order of execution."""
    links: list[tuple[str, nn.Module]] = []
    for name, child in net.named_children():
        if name in _HEADS or name in _AUX:
            continue
        if name in ("features", "layers", "blocks", "trunk_output"):
            links += [(f"{name}.{key}", module) for key, module in child.named_children()]
        else:
            links.append((name, child))
    return links


def _head(net: nn.Module) -> tuple[nn.Sequential, list[str]]:
    """The layers from the last map to logits, and the names of torchvision's modules in it."""
    parts = {name: child for name, child in net.named_children() if name in _HEADS}
    last = next(name for name in ("classifier", "fc", "head") if name in parts)
    head: OrderedDict[str, nn.Module] = OrderedDict()
    if isinstance(net, models.DenseNet):
        head["relu"] = nn.ReLU()  # torchvision has it in forward
    if isinstance(net, models.SwinTransformer):
        head["nhwc"] = Permute([0, 2, 3, 1])
        head["norm"] = parts["norm"]
        head["nchw"] = Permute([0, 3, 1, 2])
    pools = isinstance(net, models.SqueezeNet | models.MaxVit)
    if not pools:
        head["pool"] = parts.get("avgpool", nn.AdaptiveAvgPool2d(1))
    if not pools and not isinstance(net, models.ConvNeXt):
        head["flatten"] = nn.Flatten()
    if "dropout" in parts:
        head["dropout"] = parts["dropout"]
    head[last] = parts[last]
    if isinstance(net, models.SqueezeNet):
        head["flatten"] = nn.Flatten()
    return nn.Sequential(head), [name for name in head if name in parts]


class _Chain(SequentialBackbone):
    """A chain whose links may pass on (N, h, w, C), as Swin's do; its maps are NCHW."""

    nhwc = False

    def maps(self, images: Tensor, want: Collection[str]) -> dict[str, Tensor]:
        outputs = super().maps(images, want)
        return {k: v.permute(0, 3, 1, 2) for k, v in outputs.items()} if self.nhwc else outputs


def _taps(links: list[tuple[str, nn.Module]]) -> dict[str, int]:
    """Links whose output is a map: those with weights, after the norm and ReLU that follow."""
    taps: dict[str, int] = {}
    pending: str | None = None
    for index, (name, module) in enumerate(links):
        follows = isinstance(module, nn.BatchNorm2d | nn.ReLU | nn.ReLU6)
        if not follows or pending is None:
            pending = name
        after = links[index + 1][1] if index + 1 < len(links) else None
        if not isinstance(after, nn.BatchNorm2d | nn.ReLU | nn.ReLU6):
            if any(True for _ in module.parameters()) or follows:
                taps[pending] = index
            pending = None
    return taps


def from_torchvision(
    name: str, model: str, version: str | None, classifier: bool, **options: Any
) -> Backbone:
    """Any chain-shaped net of torchvision, with torchvision's own names for its maps.

    Args:
        name: the backbone's full name, for messages.
        model: torchvision's name.
        version: the published weights whose preprocessing is used.
        classifier: keep the net's own classifier.
        options: for torchvision's constructor.

    Raises: XferError if there is no such net, or it has no maps.
    """
    if model not in names():
        raise XferError(f"torchvision has no net {model!r}", nearest(model, names()))
    if model.startswith("vit_"):
        raise XferError(
            f"torchvision's {model} has no feature maps", "timm's do: timm:vit_base_patch16_224"
        )
    net = _build(model, options)
    links = _links(net)
    trunk = nn.Sequential(OrderedDict((n.replace(".", "_"), m) for n, m in links))
    aliases = {f"{n}.": f"trunk.{n.replace('.', '_')}." for n, _ in links}
    head = None
    if classifier:
        head, parts = _head(net)
        aliases |= {f"{part}.": f"classifier.{part}." for part in parts}
    chain = _Chain(
        name, preprocess_of(model, version), trunk, _taps(links), classifier=head, aliases=aliases
    )
    chain.nhwc = isinstance(net, models.SwinTransformer)
    if isinstance(net, models.SwinTransformer | models.MaxVit):
        chain._sizes = None  # not every size: sizes are tried when needed
    return chain


def _vgg(name: str, classifier: bool, dropout: float, conv1_padding: int) -> Backbone:
    net = _build(name, {})
    assert isinstance(net, models.VGG)
    taps: dict[str, int] = {}
    trunk: OrderedDict[str, nn.Module] = OrderedDict()
    aliases: dict[str, str] = {}
    block, conv = 1, 0
    assert isinstance(net.features, nn.Sequential)
    for index, module in enumerate(net.features):
        if isinstance(module, nn.Conv2d):
            conv += 1
        kind = {"Conv2d": "conv", "BatchNorm2d": "bn", "ReLU": "relu"}.get(type(module).__name__)
        layer_name = f"{kind}{block}_{conv}" if kind else f"pool{block}"
        if layer_name == "conv1_1":
            assert isinstance(module, nn.Conv2d)
            module.padding = (conv1_padding, conv1_padding)
        trunk[layer_name] = module
        aliases[f"features.{index}."] = f"trunk.{layer_name}."
        if kind == "relu":
            taps[f"conv{block}_{conv}"] = index
        elif kind is None:
            taps[layer_name] = index
            block, conv = block + 1, 0
    tail = Tail((512, 7, 7), dropout=dropout)
    for layer in (tail.fc6, tail.fc7):
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, 0, 0.01)  # as in torchvision, whose layers these replace
        nn.init.zeros_(layer.bias)
    aliases |= {"classifier.0.": "tail.fc6.", "classifier.3.": "tail.fc7."}
    aliases |= {"classifier.6.": "classifier."}
    head = net.classifier[6] if classifier else None
    return SequentialBackbone(
        name, preprocess_of(name, "IMAGENET1K_V1"), nn.Sequential(trunk), taps,
        tail=tail, classifier=head, aliases=aliases,
    )  # fmt: skip


@backbones.register("vgg11", "vgg13", "vgg16", "vgg19")
@backbones.register("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
def vgg(
    name: str, classifier: bool = False, dropout: float = 0.5, conv1_padding: int = 1
) -> Backbone:
    """VGG with its paper's names: conv1_1 ... conv5_3 (after ReLU), pool1 ... pool5, fc6, fc7.

    conv1_padding=100 is the padding of the FCN nets (Long et al. 2015).

    Source: Simonyan and Zisserman 2015, Table 1; torchvision.models.vgg.
    """
    return _vgg(name, classifier, dropout, conv1_padding)


@backbones.register("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
def resnet(name: str, classifier: bool = False) -> Backbone:
    """ResNet with torchvision's names: conv1 (after its ReLU), layer1 ... layer4.

    Source: He et al. 2016, Table 1 (conv2_x is layer1); torchvision.models.resnet, whose
    bottlenecks stride in their 3x3 convolution.
    """
    return from_torchvision(name, name, "IMAGENET1K_V1", classifier)


@backbones.register("googlenet")
def googlenet(name: str = "googlenet", classifier: bool = False) -> Backbone:
    """GoogLeNet with batch norm: conv1, conv2, conv3, inception3a ... inception5b.

    Source: Szegedy et al. 2015, Table 1; torchvision.models.googlenet.  Differs: no auxiliary
    classifiers.
    """
    return from_torchvision(name, name, "IMAGENET1K_V1", classifier)
