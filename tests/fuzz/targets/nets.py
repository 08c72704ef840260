"""Prototxts: the nets of Caffe's models, as people write and edit them."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from fuzz.case import Case
from fuzz.target import target
from xfer.errors import DataError
from xfer.importing.caffe_detector import anchors_of
from xfer.importing.caffe_fcn import FCNPlan
from xfer.importing.caffe_net import CaffeNet
from xfer.importing.prototxt import read_prototxt

_OLD = """# an old net
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
  convolution_param < num_output: 96 kernel_size: [11], stride: 4; pad: 0 > }
layers { name: 'fc6' type: INNER_PRODUCT bottom: "conv1" top: "fc6" include { phase: TEST } }
"""


def prototxts(folder: Path) -> list[Case]:
    golden = str(Path(__file__).parents[2] / "golden")
    sys.path.insert(0, golden)
    try:
        from make_caffe_heads_golden import layout  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(golden)
    texts = [layout(name).text for name in ("fcn32s", "faster_zf")]
    return [{"net.prototxt": text.encode()} for text in (*texts, _OLD)]


@target("prototxt", prototxts)
def use(path: Path) -> None:
    """As `xfer models import --prototxt` reads it."""
    layers = read_prototxt(path)
    with contextlib.suppress(DataError):  # another net than those that are known
        FCNPlan(CaffeNet(path, path, layers, {}, set()))
    with contextlib.suppress(DataError):
        anchors_of(CaffeNet(path, path, layers, {}, set()))
