"""Makes caffe_golden.npz: activations of Caffe's nets, computed by OpenCV's dnn module.

An independent engine reads the prototxt and caffemodel that this script writes, with weights from a
seeded generator. The tests write the same caffemodel again, read it with our reader, and compare
our nets with the numbers stored here.

Run  pip install "opencv-python-headless<5" numpy; python tests/golden/make_caffe_golden.py
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
SAMPLES = 250
# name: channels out, kernel, stride, padding, groups, inputs per group
CONVS = {
    "conv1": (96, 11, 4, 0, 1, 3),
    "conv2": (256, 5, 1, 2, 2, 48),
    "conv3": (384, 3, 1, 1, 1, 256),
    "conv4": (384, 3, 1, 1, 2, 192),
    "conv5": (256, 3, 1, 1, 2, 192),
}
FULL = {"fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (1000, 4096)}
MAPS = ("conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5", "pool5")
NETS = ("bvlc_alexnet", "caffenet", "alexnet_2012_paper", "alexnet_2012_code")


def weights(net: str, full: bool) -> dict[str, list[NDArray[np.float32]]]:
    """Weights and biases by layer, the same on every machine; activations keep their size."""
    rng = np.random.Generator(np.random.PCG64(NETS.index(net)))

    def uniform(shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
        bound = np.float32((6 / fan_in) ** 0.5)
        return (rng.random(shape, np.float32) * 2 - 1) * bound

    made: dict[str, list[NDArray[np.float32]]] = {}
    for name, (out, kernel, _, _, _, inputs) in CONVS.items():
        shape = (out, inputs, kernel, kernel)
        made[name] = [uniform(shape, inputs * kernel**2), uniform((out,), 1)]
    if full:
        for name, (out, inputs) in FULL.items():
            made[name] = [uniform((out, inputs), inputs), uniform((out,), 1)]
    return made


def picture(net: str) -> NDArray[np.float32]:
    """(1, 3, 227, 227), as large as pixels minus their mean."""
    rng = np.random.Generator(np.random.PCG64(100 + NETS.index(net)))
    return (rng.random((1, 3, 227, 227), np.float32) - np.float32(0.45)) * 255


def sample(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sample of a layer's numbers, evenly spaced."""
    flat = activations.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).astype(np.int64)]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def nested(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def blob(array: NDArray[np.float32], old: bool) -> bytes:
    """BlobProto; old: shape padded to four sizes with leading ones, short data not packed."""
    if not old:
        shape = nested(7, nested(1, b"".join(varint(d) for d in array.shape)))
        return shape + nested(5, array.astype("<f4").tobytes())
    sizes = (1, 1, 1, 1, *array.shape)[-4:]
    head = b"".join(number(i, d) for i, d in enumerate(sizes, 1))
    if array.size > 1000:
        return head + nested(5, array.astype("<f4").tobytes())
    return head + b"".join(
        varint(5 << 3 | 5) + struct.pack("<f", float(v)) for v in array.reshape(-1)
    )


def caffemodel(net: str, layers: dict[str, list[NDArray[np.float32]]], old: bool) -> bytes:
    """NetParameter with V1 layers (old) or new layers."""
    out = [nested(1, net.encode())]
    for name, blobs in layers.items():
        convolution = name.startswith("conv")
        if old:
            body = nested(4, name.encode()) + number(5, 4 if convolution else 14)
            body += b"".join(nested(6, blob(b, True)) for b in blobs)
            out.append(nested(2, body))
        else:
            kind = b"Convolution" if convolution else b"InnerProduct"
            body = nested(1, name.encode()) + nested(2, kind)
            body += b"".join(nested(7, blob(b, False)) for b in blobs)
            out.append(nested(100, body))
    return b"".join(out)


def layer(name: str, kind: str, bottom: str, more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {more} }}\n'


def lrn(name: str, bottom: str, alpha: float, k: int) -> str:
    """k = 2 expressed as k = 1, half the alpha, and a scale: dnn's importer ignores k."""
    rule = f"lrn_param {{ local_size: 5 alpha: {alpha / k} beta: 0.75 }}"
    if k == 1:
        return layer(name, "LRN", bottom, rule)
    text = layer(f"{name}_raw", "LRN", bottom, rule)
    return text + layer(name, "Power", f"{name}_raw", f"power_param {{ scale: {k**-0.75!r} }}")


def towers(name: str, bottom: str, alpha: float, k: int) -> str:
    """LRN within each half of the channels."""
    text = (
        f'layer {{ name: "{name}_cut" type: "Slice" bottom: "{bottom}" '
        f'top: "{name}_a" top: "{name}_b" slice_param {{ axis: 1 }} }}\n'
    )
    text += lrn(f"{name}_na", f"{name}_a", alpha, k) + lrn(f"{name}_nb", f"{name}_b", alpha, k)
    return text + (
        f'layer {{ name: "{name}" type: "Concat" bottom: "{name}_na" bottom: "{name}_nb" '
        f'top: "{name}" concat_param {{ axis: 1 }} }}\n'
    )


def prototxt(net: str, full: bool) -> str:
    """The net layer by layer; "convN" in the golden file is the output of "reluN"."""
    text = f'name: "{net}"\ninput: "data"\n'
    text += "input_shape { dim: 1 dim: 3 dim: 227 dim: 227 }\n"
    pool = "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"
    below = "data"
    for index, (name, (out, kernel, stride, pad, groups, _)) in enumerate(CONVS.items(), 1):
        rule = (
            f"num_output: {out} kernel_size: {kernel} stride: {stride} pad: {pad} group: {groups}"
        )
        text += layer(name, "Convolution", below, f"convolution_param {{ {rule} }}")
        below = name
        relu, norm, pooled = f"relu{index}", f"norm{index}", f"pool{index}"
        if index > 2:
            text += layer(relu, "ReLU", below)
            below = relu
        elif net == "bvlc_alexnet":
            text += layer(relu, "ReLU", below) + lrn(norm, relu, 1e-4, 1)
            text += layer(pooled, "Pooling", norm, pool)
            below = pooled
        elif net == "caffenet":
            text += layer(relu, "ReLU", below) + layer(pooled, "Pooling", relu, pool)
            text += lrn(norm, pooled, 1e-4, 1)
            below = norm
        elif net == "alexnet_2012_paper":
            text += layer(relu, "ReLU", below) + lrn(norm, relu, 5e-4, 2)
            text += layer(pooled, "Pooling", norm, pool)
            below = pooled
        elif index == 1:  # the authors' code: norm before the ReLU
            text += towers("norm1_linear", below, 1e-4, 2) + layer(relu, "ReLU", "norm1_linear")
            text += layer(pooled, "Pooling", relu, pool)
            below = pooled
        else:
            text += layer(relu, "ReLU", below) + towers(norm, relu, 1e-4, 2)
            text += layer(pooled, "Pooling", norm, pool)
            below = pooled
    text += layer("pool5", "Pooling", below, pool)
    below = "pool5"
    for name, (out, _) in FULL.items() if full else ():
        text += layer(name, "InnerProduct", below, f"inner_product_param {{ num_output: {out} }}")
        below = name
        if name != "fc8":
            below = f"relu{name[2]}"
            text += layer(below, "ReLU", name)
    return text


def main() -> None:
    import cv2  # pyright: ignore[reportMissingImports]

    kept: dict[str, NDArray[np.float32]] = {}
    for net in NETS:
        full = net == "caffenet"
        model = caffemodel(net, weights(net, full), old=net == "bvlc_alexnet")
        with tempfile.TemporaryDirectory() as folder:
            text, binary = Path(folder, "net.prototxt"), Path(folder, "net.caffemodel")
            text.write_text(prototxt(net, full))
            binary.write_bytes(model)
            read = cv2.dnn.readNetFromCaffe  # pyright: ignore[reportAttributeAccessIssue]
            engine = read(str(text), str(binary))
        engine.enableFusion(False)
        engine.setInput(picture(net))
        wanted = {m: m.replace("conv", "relu") for m in MAPS}
        if net == "alexnet_2012_code":
            del wanted["norm1"]
        if full:
            wanted |= {"fc6": "relu6", "fc7": "relu7", "fc8": "fc8"}
        for name, out in zip(wanted, engine.forward(list(wanted.values())), strict=True):
            kept[f"{net}/{name}"] = sample(out)
    file = HERE / "caffe_golden.npz"
    np.savez_compressed(file, **kept)  # pyright: ignore[reportArgumentType]
    print(f"OpenCV {cv2.__version__}: {len(kept)} layers", file=sys.stderr)


if __name__ == "__main__":
    main()
