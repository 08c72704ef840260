"""Makes caffe_heads_golden.npz: outputs of detectors and FCNs of Caffe, by OpenCV's dnn module.

An independent engine reads prototxts that are laid out as the published ones (narrower in fc6 and
fc7, with the proposals as an input, since OpenCV has no Python layers) and caffemodels with weights
from a seeded generator. The tests write the same files again, import them as runs, and compare.

Run  pip install "opencv-python-headless<5" numpy; python tests/golden/make_caffe_heads_golden.py
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
from make_caffe_golden import caffemodel, layer, sample  # noqa: E402

Array = NDArray[np.float32]
FC6, FC7, CLASSES = 40, 24, 21
VGG = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
NETS = ("fcn32s", "fcn8s", "fast_s", "fast_m", "faster_zf", "faster_vgg16")
SIDES = {"fcn32s": (64, 96), "fcn8s": (32, 64)}  # of the picture: height, width
# outputs that are kept
WANTED = {
    "fcn32s": ("score_fr", "score"), "fcn8s": ("score_fr", "score"),
    "fast_s": ("relu5", "cls_score", "bbox_pred"), "fast_m": ("relu5", "cls_score", "bbox_pred"),
    "faster_zf": ("relu5", "rpn_cls_score", "rpn_bbox_pred", "cls_score", "bbox_pred"),
    "faster_vgg16": ("relu5_3", "rpn_cls_score", "rpn_bbox_pred", "cls_score", "bbox_pred"),
}  # fmt: skip


@dataclass
class Layout:
    """A prototxt as it grows, and the shapes of its weights."""

    text: str = ""
    below: str = "data"
    shapes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    def conv(
        self, name: str, out: int, inputs: int, kernel: int, rest: str = "", bottom: str = "",
        top: str = "",
    ) -> None:  # fmt: skip
        group = 2 if "group: 2" in rest else 1
        self.shapes[name] = [(out, inputs // group, kernel, kernel), (out,)]
        rule = f"convolution_param {{ num_output: {out} kernel_size: {kernel} {rest} }}"
        text = layer(name, "Convolution", bottom or self.below, rule)
        self.text += text.replace(f'top: "{name}"', f'top: "{top or name}"')
        self.below = top or name

    def relu(self, name: str) -> None:
        self.text += (
            f'layer {{ name: "{name}" type: "ReLU" bottom: "{self.below}" top: "{self.below}" }}\n'
        )

    def pool(self, name: str, rule: str) -> None:
        self.add(name, "Pooling", f"pooling_param {{ pool: MAX {rule} }}")

    def add(self, name: str, kind: str, rule: str) -> None:
        self.text += layer(name, kind, self.below, rule)
        self.below = name

    def full(self, name: str, out: int, inputs: int, bottom: str = "") -> None:
        self.shapes[name] = [(out, inputs), (out,)]
        rule = f"inner_product_param {{ num_output: {out} }}"
        self.text += layer(name, "InnerProduct", bottom or self.below, rule)
        self.below = name

    def drop(self, name: str, rule: str = "") -> None:
        rule = f"dropout_param {{ dropout_ratio: 0.5 {rule} }}"
        blob = self.below
        self.text += (
            f'layer {{ name: "{name}" type: "Dropout" bottom: "{blob}" top: "{blob}" {rule} }}\n'
        )

    def crop(self, name: str, bottoms: tuple[str, str], offset: int) -> None:
        first, second = bottoms
        self.text += (
            f'layer {{ name: "{name}" type: "Crop" bottom: "{first}" bottom: "{second}" '
            f'top: "{name}" crop_param {{ axis: 2 offset: {offset} }} }}\n'
        )
        self.below = name

    def up(self, name: str, kernel: int, stride: int) -> None:
        self.shapes[name] = [(CLASSES, CLASSES, kernel, kernel)]
        rule = f"num_output: {CLASSES} bias_term: false kernel_size: {kernel} stride: {stride}"
        self.add(name, "Deconvolution", f"convolution_param {{ {rule} }}")

    def add_sum(self, name: str, bottoms: tuple[str, str]) -> None:
        self.text += (
            f'layer {{ name: "{name}" type: "Eltwise" bottom: "{bottoms[0]}" bottom: '
            f'"{bottoms[1]}" top: "{name}" eltwise_param {{ operation: SUM }} }}\n'
        )
        self.below = name


def alexnet(net: Layout, pads: tuple[int, int], last_pool: bool) -> None:
    """CaffeNet's convolutions: pooling before LRN."""
    below = 3
    for index, (out, kernel, rest) in enumerate(
        ((96, 11, f"stride: 4 pad: {pads[0]}"), (256, 5, "pad: 2 group: 2"), (384, 3, "pad: 1"),
         (384, 3, "pad: 1 group: 2"), (256, 3, "pad: 1 group: 2")), 1
    ):  # fmt: skip
        net.conv(f"conv{index}", out, below, kernel, rest)
        net.relu(f"relu{index}")
        below = out
        if index <= 2:
            net.pool(f"pool{index}", f"kernel_size: 3 stride: 2 pad: {pads[1]}")
            net.add(f"norm{index}", "LRN", "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    if last_pool:
        net.pool("pool5", "kernel_size: 3 stride: 2")


def strided(net: Layout, pads: tuple[int, int, int], width: int, norm: str) -> None:
    """The convolutions of ZF-5 and of the VGG group's medium net."""
    below = 3
    for index, (out, kernel, rest) in enumerate(
        ((96, 7, f"stride: 2 pad: {pads[0]}"), (256, 5, f"stride: 2 pad: {pads[1]}"),
         *((w, 3, "pad: 1 stride: 1") for w in ((384, 384, 256) if width == 384 else (512,) * 3))),
        1,
    ):  # fmt: skip
        net.conv(f"conv{index}", out, below, kernel, rest)
        net.relu(f"relu{index}")
        below = out
        if index <= 2:
            net.add(f"norm{index}", "LRN", f"lrn_param {{ {norm} }}")
            net.pool(f"pool{index}", f"kernel_size: 3 stride: 2 pad: {pads[2]}")


def vgg(net: Layout, pad: int, blocks: int) -> None:
    below = 3
    for block, (count, out) in enumerate(VGG, 1):
        for number in range(1, count + 1):
            name = f"{block}_{number}"
            net.conv(f"conv{name}", out, below, 3, f"pad: {pad if name == '1_1' else 1} stride: 1")
            net.relu(f"relu{name}")
            below = out
        if block <= blocks:
            net.pool(f"pool{block}", "kernel_size: 2 stride: 2")


def fcn_tail(net: Layout, channels: int, kernel: int) -> None:
    for name, (out, inputs, size) in {
        "fc6": (FC6, channels, kernel), "fc7": (FC7, FC6, 1),
    }.items():  # fmt: skip
        net.conv(name, out, inputs, size, "pad: 0 stride: 1")
        net.relu(f"relu{name[2]}")
        net.drop(f"drop{name[2]}")
    net.conv("score_fr", CLASSES, FC7, 1, "pad: 0")


def detector_tail(net: Layout, level: str, channels: int, side: int, drop: str) -> None:
    net.text += (
        f'layer {{ name: "roi_pool5" type: "ROIPooling" bottom: "{level}" bottom: "rois" '
        f'top: "roi_pool5" roi_pooling_param {{ pooled_w: {side} pooled_h: {side} '
        "spatial_scale: 0.0625 } }\n"
    )
    net.below = "roi_pool5"
    for name, (out, inputs) in {
        "fc6": (FC6, channels * side * side), "fc7": (FC7, FC6)
    }.items():  # fmt: skip
        net.full(name, out, inputs)
        net.relu(f"relu{name[2]}")
        net.drop(f"drop{name[2]}", drop)
    net.full("cls_score", CLASSES, FC7)
    net.full("bbox_pred", 4 * CLASSES, FC7, bottom="fc7")


def rpn(net: Layout, level: str, channels: int, name: str, top: str) -> None:
    net.conv(name, 256 if channels == 256 else 512, channels, 3, "pad: 1 stride: 1", level, top)
    net.relu("rpn_relu/3x3")
    width, blob = net.shapes[name][0][0], net.below
    net.conv("rpn_cls_score", 18, width, 1, "pad: 0 stride: 1", blob)
    net.conv("rpn_bbox_pred", 36, width, 1, "pad: 0 stride: 1", blob)
    net.text += PROPOSAL


def layout(name: str) -> Layout:
    """The net, laid out as its published prototxt."""
    height, width = SIDES.get(name, (112, 144))
    net = Layout(f'name: "{name}"\ninput: "data"\n')
    net.text += f"input_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}\n"
    if not name.startswith("fcn"):
        net.text += IM_INFO if name.startswith("faster") else ROIS
    if name == "fcn32s":
        alexnet(net, (100, 0), True)
        fcn_tail(net, 256, 6)
        net.up("upscore", 63, 32)
        net.crop("score", ("upscore", "data"), 18)
    elif name == "fcn8s":
        vgg(net, 100, 5)
        fcn_tail(net, 512, 7)
        net.up("upscore2", 4, 2)
        for level, channels, up, offset in (("pool4", 512, "upscore2", 5),
                                            ("pool3", 256, "upscore_pool4", 9)):  # fmt: skip
            net.text += layer(f"scale_{level}", "Scale", level, "scale_param { }")
            net.shapes[f"scale_{level}"] = [(channels,)]
            net.conv(f"score_{level}", CLASSES, channels, 1, "pad: 0", f"scale_{level}")
            net.crop(f"score_{level}c", (f"score_{level}", up), offset)
            net.add_sum(f"fuse_{level}", (up, f"score_{level}c"))
            net.up(*(("upscore_pool4", 4, 2) if level == "pool4" else ("upscore8", 16, 8)))
        net.crop("score", ("upscore8", "data"), 31)
    elif name == "fast_s":
        alexnet(net, (5, 1), False)
        detector_tail(net, "conv5", 256, 6, "")
    elif name == "fast_m":
        strided(net, (0, 1, 0), 512, LRN_M)
        detector_tail(net, "conv5", 512, 6, "")
    elif name == "faster_zf":
        region = "norm_region: WITHIN_CHANNEL engine: CAFFE"
        strided(net, (3, 2, 1), 384, f"local_size: 3 alpha: 0.00005 beta: 0.75 {region}")
        rpn(net, "conv5", 256, "rpn_conv1", "rpn_conv1")
        detector_tail(net, "conv5", 256, 6, "scale_train: false")
    else:
        vgg(net, 1, 4)
        rpn(net, "conv5_3", 512, "rpn_conv/3x3", "rpn/output")
        detector_tail(net, "conv5_3", 512, 7, "")
    return net


IM_INFO = 'input: "im_info"\ninput_shape { dim: 1 dim: 3 }\n'
ROIS = 'input: "rois"\ninput_shape { dim: 12 dim: 5 }\n'
PROPOSAL = """layer {
  name: 'proposal' type: 'Python'
  bottom: 'rpn_cls_prob_reshape' bottom: 'rpn_bbox_pred' bottom: 'im_info' top: 'rois'
  python_param {
    module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: "'feat_stride': 16"
  }
}
"""
LRN_M = "local_size: 5 alpha: 0.0005 beta: 0.75 k: 2"


def for_opencv(text: str) -> str:
    """The same net without its Python layer, and with k = 2 of an LRN expressed as k = 1, half the
    alpha, and a scale: dnn's importer ignores k."""
    text = text.replace(IM_INFO, ROIS).replace(PROPOSAL, "")
    for number in (1, 2):
        after = layer(f"norm{number}", "LRN", f"conv{number}", f"lrn_param {{ {LRN_M} }}")
        halved = LRN_M.replace("0.0005", "0.00025").replace(" k: 2", "")
        raw = layer(f"raw{number}", "LRN", f"conv{number}", f"lrn_param {{ {halved} }}")
        scale = layer(f"norm{number}", "Power", f"raw{number}",
                      f"power_param {{ scale: {2 ** -0.75!r} }}")  # fmt: skip
        text = text.replace(after, raw + scale)
    return text


def bilinear(kernel: int) -> Array:
    reach = (kernel + 1) // 2
    line = 1 - abs(np.arange(kernel) - (kernel - 1) / 2) / reach
    return np.asarray(line[:, None] * line, np.float32)


def weights(name: str) -> dict[str, list[Array]]:
    """Weights and biases by layer, the same on every machine; activations keep their size."""
    rng = np.random.Generator(np.random.PCG64(200 + NETS.index(name)))

    def uniform(shape: tuple[int, ...]) -> Array:
        fan_in = int(np.prod(shape[1:])) or 1
        bound = np.float32((6 / fan_in) ** 0.5)
        return (rng.random(shape, np.float32) * 2 - 1) * bound

    made: dict[str, list[Array]] = {}
    for layer_name, shapes in layout(name).shapes.items():
        if layer_name.startswith("up"):
            kernel = shapes[0][-1]
            array = np.zeros(shapes[0], np.float32)
            array[range(CLASSES), range(CLASSES)] = bilinear(kernel)
            made[layer_name] = [array]
        elif layer_name.startswith("scale"):
            factor = 0.01 if layer_name.endswith("4") else 0.0001
            made[layer_name] = [np.full(shapes[0], factor, np.float32)]
        else:
            made[layer_name] = [uniform(shape) for shape in shapes]
    return made


def picture(name: str) -> Array:
    """(1, 3, H, W), as large as pixels minus their mean."""
    rng = np.random.Generator(np.random.PCG64(300 + NETS.index(name)))
    height, width = SIDES.get(name, (112, 144))
    coarse = rng.random((1, 3, height // 8, width // 8), np.float32) - np.float32(0.45)
    fine = rng.random((1, 3, height, width), np.float32) - np.float32(0.5)
    large = np.kron(coarse, np.ones((8, 8), np.float32)).astype(np.float32)
    return np.asarray((large + fine * np.float32(0.3)) * np.float32(200), np.float32)


def rois() -> Array:
    """(R, 5): the picture, and first and last pixel of a region, as Caffe has them."""
    rng = np.random.Generator(np.random.PCG64(400))
    corners = rng.random((12, 2)) * [100, 70]
    sizes = 8 + rng.random((12, 2)) * [90, 70]
    ends = np.minimum(corners + sizes, [143, 111])
    return np.concatenate([np.zeros((12, 1)), corners, ends], 1).round(1).astype(np.float32)


def main() -> None:
    import cv2  # pyright: ignore[reportMissingImports]

    kept: dict[str, Array] = {}
    for name in NETS:
        with tempfile.TemporaryDirectory() as folder:
            proto, binary = Path(folder, "net.prototxt"), Path(folder, "net.caffemodel")
            proto.write_text(for_opencv(layout(name).text))
            binary.write_bytes(caffemodel(name, weights(name), old=False))
            read = cv2.dnn.readNetFromCaffe  # pyright: ignore[reportAttributeAccessIssue]
            engine = read(str(proto), str(binary))
        engine.enableFusion(False)
        engine.setInput(picture(name), "data")
        if not name.startswith("fcn"):
            engine.setInput(rois(), "rois")
        for blob, out in zip(WANTED[name], engine.forward(list(WANTED[name])), strict=True):
            if blob == "rpn_cls_score":  # of background and object: softmax reads the difference
                out = out[:, 9:] - out[:, :9]
            kept[f"{name}/{blob}"] = sample(out)
            if blob == "score":
                kept[f"{name}/classes"] = out[0].argmax(0).astype(np.uint8)
    file = HERE / "caffe_heads_golden.npz"
    np.savez_compressed(file, **kept)  # pyright: ignore[reportArgumentType]
    print(f"OpenCV {cv2.__version__}: {len(kept)} layers", file=sys.stderr)


if __name__ == "__main__":
    main()
