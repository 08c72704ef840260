"""Frozen features of AlexNet's pool5: ours against plain torch, as in most scripts.

plain  torchvision's alexnet, fp32, NCHW, no_grad; files through PIL and torchvision's Resize(256),
       CenterCrop(224), ToTensor, Normalize in a DataLoader with two workers
ours   `xfer features` without its cache: threads that decode to uint8, pictures normalised per
       batch, weights in the precision of `--precision auto`

files    the pictures of coco-mini and voc-mini: from the path to the vector
compute  only the net on one batch: plain from normalised floats, ours from uint8 pixels
cosine   the minimum over all pictures between ours and plain fp32, with the same crops for both

Each pass is timed after an uncounted one, so starting workers and first reads of the disk are not
included. The ratios are plain seconds over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import harness

BATCH = 64
SETS = ("coco-mini", "voc-mini")


def data_folder() -> Path:
    """$XFER_TEST_DATA, else ../shared/data beside the repository."""
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("XFER_TEST_DATA") or root.parent / "shared" / "data")


def pictures(quick: bool) -> list[Path]:
    """The JPEGs of both sets. Ends the program if there are none."""
    files = [p for name in SETS for p in sorted((data_folder() / name).rglob("*.jpg"))]
    if not files:
        raise SystemExit(f"no pictures in {data_folder()}: set XFER_TEST_DATA")
    return files[:: 10 if quick else 1]


def our_net(device: str, precision: str = "auto") -> Any:
    """AlexNet, with the weights beside the pictures if they are there, else random ones."""
    from xfer.extraction.net import Choice, load_net

    file = data_folder() / "weights" / "alexnet_torchvision_features" / "features.npz"
    weights = str(file) if file.is_file() else "none"
    return load_net(Choice("alexnet", weights, ("pool5",), device=device, precision=precision))


def plain_net(device: str) -> Any:
    """torchvision's trunk, with the same weights as ours."""
    from torch import nn
    from torchvision.models import alexnet

    ours = our_net("cpu", "fp32")
    trunk = alexnet().features.eval()
    theirs, mine = (
        [m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (trunk, ours.net)
    )
    for there, here in zip(theirs, mine, strict=True):
        there.load_state_dict(here.state_dict())
    return trunk.to(device)


class Files:
    """The pictures as users of torchvision read them."""

    def __init__(self, paths: list[Path]) -> None:
        from torchvision import transforms

        self.paths = paths
        self.transform = transforms.Compose([
            transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB"))


def plain_work(what: str, paths: list[Path], device: Any, seconds: float) -> float:
    """Seconds of plain torch per pass over the files, or per batch."""
    import torch
    from torch.utils.data import DataLoader

    from xfer.device import Place

    place = Place(device)
    net = plain_net(str(device))
    with torch.no_grad():
        if what == "compute":
            images = torch.randn(BATCH, 3, 224, 224, device=device)
            return harness.seconds_per_call(lambda: net(images), place.synchronise, 3, seconds)
        dataset: Any = Files(paths)
        loader = DataLoader(dataset, BATCH, num_workers=2, persistent_workers=True)

        def one_pass() -> None:
            for images in loader:
                net(images.to(device)).flatten(1).cpu().numpy()

        return timed_pass(one_pass, seconds)


def our_work(what: str, paths: list[Path], device: str, seconds: float) -> float:
    """Our seconds per pass over the files, or per batch."""
    import torch

    from xfer.extraction.cache import FeatureCache
    from xfer.extraction.items import Items
    from xfer.extraction.stream import parts

    net = our_net(device)
    if what == "compute":
        pixels = torch.randint(0, 256, (BATCH, 224, 224, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        return harness.seconds_per_call(lambda: net(pixels), net.place.synchronise, 3, seconds)
    source, cache = Items(paths), FeatureCache(None, 0)

    def one_pass() -> None:
        assert sum(len(part.rows) for part in parts(source, net, cache, batch=BATCH)) == len(paths)

    return timed_pass(one_pass, seconds)


def timed_pass(one_pass: Any, seconds: float) -> float:
    """The minimum of several passes after an uncounted one: noise only adds time."""
    one_pass()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        one_pass()
        times.append(time.perf_counter() - start)
    return min(times)


def least_cosine(paths: list[Path], device: str) -> float:
    """The minimum cosine over the pictures between our features and plain fp32's."""
    import torch
    import torch.nn.functional as F

    from xfer.data.images.decode import decode
    from xfer.data.loading.collate import stack_images

    net, plain = our_net(device), plain_net(device)
    cut, lowest = net.transform(), 1.0
    for start in range(0, len(paths), BATCH):
        images = stack_images([cut(decode(p, 256)) for p in paths[start : start + BATCH]])
        ours = torch.from_numpy(net(images)["pool5"]).double()
        with torch.no_grad():
            floats = net.net.normalise(images.contiguous()).to(device)
            theirs = plain(floats).flatten(1).cpu().double()
        lowest = min(lowest, float(F.cosine_similarity(ours, theirs).min()))
    return lowest


def work(options: argparse.Namespace) -> None:
    """One variant in this process; prints its seconds, or the cosine."""
    from xfer.device import find_device, placed

    variant, what = options.worker
    paths = pictures(options.quick)
    seconds = 0.0 if options.quick else 6.0
    if variant == "plain":
        device = find_device(options.device)
        print(json.dumps({"value": plain_work(what, paths, device, seconds)}))
        return
    with placed(options.device) as place:
        device = str(place.device)
        value = (
            least_cosine(paths, device)
            if what == "cosine"
            else our_work(what, paths, device, seconds)
        )
    print(json.dumps({"value": value}))


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=3)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (%(default)s)")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    rounds = 1 if options.quick else options.rounds
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    count = len(pictures(options.quick))
    print(f"{harness.machine(options.device)}; {count} pictures")

    def value(*words: str) -> float:
        return harness.worker(__file__, [*words, *flags])["value"]

    found: dict[str, Any] = {}
    for what, images in (("files", count), ("compute", BATCH)):
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(rounds):
            for variant, times in seconds.items():
                times.append(value(variant, what))
            rates = {k: images / times[-1] for k, times in seconds.items()}
            print(f"{what}: plain {rates['plain']:.0f}, ours {rates['ours']:.0f} images/s",
                  flush=True)  # fmt: skip
        middle, lowest, highest = harness.median_ratio(seconds["plain"], seconds["ours"])
        print(f"{what}: ratios {lowest:.2f} to {highest:.2f} in {rounds} rounds")
        found[what] = middle
    found["cosine"] = value("ours", "cosine")
    print(f"minimum cosine to plain fp32 over {count} pictures: {found['cosine']:.6f}")
    harness.report(found, options.json)


if __name__ == "__main__":
    main()
