"""Time per picture against AP: detectors x nets x sets, one seed, the same number of steps each.

Every run starts from its detector's own recipe (detect/default, detect/fcos, ...) with `--size` and
`--steps` set alike, is scored once with its last weights and one view, and then predicts pictures
of the test split one at a time, through PyTorch (in the precision the processor has: bf16 or fp32)
and through ONNX Runtime (`xfer export --dynamic size`, fp32), from the JPEG file to suppressed
boxes. Times are processor time of one thread, so that other jobs on the machine count little: the
median over 12 pictures after two uncounted ones.

--untrained times nets with random weights alone, through PyTorch, on one picture in memory: the
least of five, in bf16 and fp32.

Sets: BCCD, trainval to test; `large` of cut_sets.py: 101 pictures with few large objects of one
class, 51 to score. Nets: those whose published convolutions are at hand; `--timed NET ...` adds the
times of nets with random weights, and no scores.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/detectors.py --json out.json --plot out.png
    OMP_NUM_THREADS=1 python benchmarks/detectors.py --untrained --json out.json
    python benchmarks/detectors.py --draw out.json --plot out.png
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cut_sets import comparison, cut_large

VARIANTS: dict[str, dict[str, Any]] = {
    "faster": {"task.detector": "faster"},
    "fcos": {"task.detector": "fcos"},
    "retina": {"task.detector": "retina"},
    "ssd": {"task.detector": "ssd"},
    "fast": {"task.detector": "fast"},  # with selective search, about a second per picture
    "realtime": {"recipe": "detect/realtime"},
}
USUAL = ("faster", "fcos", "retina", "ssd", "realtime")
NETS = {
    "alexnet": "alexnet_torchvision_features/features.npz",
    "timm:tf_efficientnet_lite0": "efficientnet_lite0_timm/tf_efficientnet_lite0.safetensors",
}
SETS: dict[str, Callable[[Path, Path], tuple[str, str, Path]]] = {
    "bccd": lambda data, _: (f"voc:{data / 'bccd'}", "trainval", data / "bccd" / "JPEGImages"),
    "large": lambda data, out: (f"coco:{cut_large(data, out)}", "train", out / "val2017"),
}
PICTURES = 12
# net, short side, [task]: what --untrained times
NARROW = {"detector": "fcos", "width": 64, "towers": 1}
UNTRAINED: list[tuple[str, int, dict[str, Any]]] = [
    ("alexnet", 480, {"detector": "faster", "head": "fc"}),  # as where weights have no fc6, fc7
    ("alexnet", 480, {"detector": "faster", "head": "tail"}),
    ("alexnet", 480, {"detector": "fcos", "width": 128}),
    ("alexnet", 320, {"detector": "fcos", "width": 128}),
    ("alexnet", 320, NARROW),
    ("alexnet", 240, NARROW),
    ("alexnet", 320, {"detector": "ssd", "max_stride": 256}),
    ("timm:tf_efficientnet_lite0", 320, NARROW),
    ("timm:mobilenetv3_small_050", 320, NARROW),
    ("timm:test_resnet", 320, NARROW),
    ("resnet18", 320, NARROW),
]


def milliseconds(model: Any, files: Sequence[Path]) -> float:
    """Median processor time of one picture, from its file to its boxes."""
    for file in files[:2]:
        model.predict([file], tta="none")
    times: list[float] = []
    for file in files:
        start = time.process_time()
        model.predict([file], tta="none")
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def trained(
    spec: str, split: str, variant: str, net: str, weights: str, folder: Path, changes: Any
) -> Any:
    import xfer

    values = dict(VARIANTS[variant])
    recipe = values.pop("recipe", "")
    if recipe:  # its size is part of it
        changes = {key: value for key, value in changes.items() if key != "data.size"}
    return xfer.finetune(
        spec, "detect", recipe=recipe, out=folder / "run", overwrite=True, verbosity=-1,
        backbone=net, weights=weights, seed=0, train=split, val="none",
        test="test" if split == "trainval" else "val",
        **{"run.plots": False, "run.report": False, "eval.tta": "none", **changes, **values},
    )  # fmt: skip


def row(run: Any, variant: str, pictures: Path, folder: Path) -> dict[str, Any]:
    """A trained run's scores and times."""
    import xfer
    from xfer.exporting.opened import load_onnx

    files = sorted(pictures.glob("*.jpg"))[:PICTURES]
    scores = run.result["test_metrics"]
    found: dict[str, Any] = {
        "ap50": scores.get("voc_ap50_area", scores["coco_ap50"]),
        "coco_ap": scores["coco_ap"], "torch_ms": milliseconds(xfer.load(run.path), files),
    }  # fmt: skip
    if variant != "fast":  # its file is given proposals
        file = folder / "model.onnx"
        xfer.export(run.path, out=file, dynamic="size")
        found["onnx_ms"] = milliseconds(load_onnx(file), files)
    return found


def untrained(net: str, size: int, options: dict[str, Any]) -> tuple[float, float]:
    """Processor ms of one picture of 480 x 640 pixels with random weights, in bf16 and in fp32."""
    import numpy as np
    import torch

    from xfer import task as tasks
    from xfer.backbones.build import create_backbone
    from xfer.recipe.tables import DataTable
    from xfer.types import DataInfo, Sample

    torch.manual_seed(0)
    kind = tasks.get("detect")
    given = tasks.make_options(kind, {"nms": 0.5, "least_score": 0.05, **options})
    info = DataInfo("x", "detect", ("a", "b", "c"))
    task: Any = kind(create_backbone(net), info, given, DataTable(size=size)).eval()
    task = task.to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    transform = task.transform(False)
    found: list[float] = []
    for bf16 in (True, False):
        times: list[float] = []
        for _ in range(6):
            start = time.process_time()
            batch = task.collate([transform(Sample("x", pixels), np.random.default_rng(0))])
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                task.predict(batch)
            times.append(time.process_time() - start)
        found.append(1000 * min(times[1:]))
    return found[0], found[1]


def draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """AP50 over time, a panel per set: a colour per detector, a mark per net; filled: PyTorch,
    hollow: ONNX Runtime."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    scored = [row for row in rows if row.get("ap50") is not None]
    sets = list(dict.fromkeys(row["set"] for row in scored))
    nets = list(dict.fromkeys(row["net"] for row in scored))
    figure, panels = plt.subplots(1, len(sets), figsize=(4.4 * len(sets), 3.6), squeeze=False)
    for panel, name in zip(panels[0], sets, strict=True):
        for row in (row for row in scored if row["set"] == name):
            colour = f"C{list(VARIANTS).index(row['detector'])}"
            mark = "osD^v"[nets.index(row["net"])]
            panel.plot(row["torch_ms"], row["ap50"], mark, color=colour)
            if "onnx_ms" in row:
                panel.plot(row["onnx_ms"], row["ap50"], mark, color=colour, fillstyle="none")
        panel.set(xscale="log", title=name, xlabel="ms per picture, one thread")
        for axis in (panel.xaxis,):
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
        panel.set_xticks([10, 20, 50, 100, 200, 400])
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("AP50")
    for number, variant in enumerate(VARIANTS):
        if any(row["detector"] == variant for row in scored):
            panels[0][0].plot([], [], "o", color=f"C{number}", label=variant)
    for mark, net in zip("osD^v", nets, strict=False):
        panels[0][0].plot([], [], mark, color="grey", label=net.removeprefix("timm:"))
    panels[0][0].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = comparison(__doc__ or "", list(VARIANTS), list(SETS))
    parser.set_defaults(variants=list(USUAL))
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    parser.add_argument("--untrained", action="store_true", help="only times, of random weights")
    parser.add_argument("--timed", nargs="*", default=[], metavar="NET", help="not scored")
    parser.add_argument("--size", type=int, default=320, help="short side, pixels (%(default)s)")
    parser.add_argument("--steps", type=int, default=400, help="of two pictures (%(default)s)")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw AP50 over time to this file"
    )
    parser.add_argument("--draw", type=Path, metavar="JSON", help="only draw what --json wrote")
    parser.add_argument("--quick", action="store_true", help="two steps on 8 pictures")
    args = parser.parse_args()
    if args.draw:
        draw(json.loads(args.draw.read_text()), args.plot)
        return
    import torch

    torch.set_num_threads(1)
    if args.untrained:
        times: dict[str, tuple[float, float]] = {}
        for net, size, options in UNTRAINED:
            key = f"{net}, {size} px, {options}"
            times[key] = untrained(net, size, options)
            print(f"{key}: bf16 {times[key][0]:.1f} ms, fp32 {times[key][1]:.1f} ms", flush=True)
        if args.json:
            args.json.write_text(json.dumps(times, indent=1))
        return
    data = args.data.absolute()
    changes: dict[str, Any] = {"data.size": args.size, "schedule.steps": args.steps}
    if args.quick:
        changes |= {"schedule.steps": 2, "data.limit": 8}
    rows: list[dict[str, Any]] = []
    for name in args.sets:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            spec, split, pictures = SETS[name](data, folder / name)
            nets = {net: str(data / "weights" / NETS[net]) for net in args.nets}
            for net, weights in {**nets, **dict.fromkeys(args.timed, "none")}.items():
                for variant in args.variants:
                    few = {"schedule.steps": 2, "data.limit": 8} if weights == "none" else {}
                    run = trained(spec, split, variant, net, weights, folder, {**changes, **few})
                    found = row(run, variant, pictures, folder)
                    if weights == "none":
                        found |= {"ap50": None, "coco_ap": None}
                    rows.append({"set": name, "detector": variant, "net": net, **found})
                    print("| " + " | ".join(
                        f"{v:.3f}" if isinstance(v, float) and v <= 1 else f"{v:.1f}"
                        if isinstance(v, float) else str(v) for v in rows[-1].values()
                    ) + " |", flush=True)  # fmt: skip
                    if args.json:
                        args.json.write_text(json.dumps(rows, indent=1))
    if args.plot:
        draw(rows, args.plot)


if __name__ == "__main__":
    main()
