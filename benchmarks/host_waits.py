"""How often the host waits for the GPU: in a training step, and in predicting 16 pictures.

Counted on a pretended GPU (xfer/testing/pretended_gpu.py), with the product's own steps, so that
no GPU is needed. --backbone: any of the registry; --show: where the waits are.
"""

from __future__ import annotations

import sys
from typing import Any

import harness

NAMES = (
    "classify",
    "segment",
    "fast_rcnn",
    "faster_rcnn",
    "fcos",
    "retina",
    "ssd",
    "instance",
    "panoptic",
)
# the prediction that stands for each task
TASKS = {"classify": "classify", "segment": "segment", "faster_rcnn": "detect",
         "instance": "instance", "panoptic": "panoptic"}  # fmt: skip


def main() -> None:
    parser = harness.parser(__doc__ or "", 1)
    parser.add_argument("--backbone", default="alexnet", help="(%(default)s)")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--show", action="store_true", help="where the host waits")
    arguments = parser.parse_args()

    from xfer.testing.host_waits import CASES, count_waits

    results: dict[str, Any] = {}
    for name in arguments.only:
        pictures = 4 if arguments.quick else 16
        waits = count_waits(CASES[name], arguments.backbone, pictures, keys={"data.size": 96})
        results[name] = waits.step
        if arguments.show:
            print(f"== {name}\n{waits.where}\n{dict(waits.losses)}", file=sys.stderr)
        task = TASKS.get(name, name)
        results[f"predict_{task}"] = waits.predict
    harness.report(results, arguments.json)


if __name__ == "__main__":
    main()
