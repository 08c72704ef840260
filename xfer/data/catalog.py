"""Data sets known by name: the tree expected in their folder, and where to get them.

Sizes in bytes and hashes are those of the archives as published: TensorFlow Datasets' lists
(url_checksums/voc.txt and coco.txt) give both. The hash decides; a place without https comes last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A file to fetch.

    urls | where to get it, the official place first
    size | bytes
    hash | "sha256:HEX", of the whole file
    """

    urls: tuple[str, ...]
    size: int
    hash: str = ""

    @property
    def name(self) -> str:
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True)
class KnownSet:
    """A set at $XFER_DATA/NAME.

    tree     | what that folder must hold, in words
    source   | the page or file to get it from, if xfer does not fetch it
    archives | what `xfer data get NAME` fetches and unpacks there
    """

    tree: str
    source: str = ""
    archives: tuple[Archive, ...] = ()


def _voc(year: str, name: str, size: int, sha256: str) -> Archive:
    official = f"host.robots.ox.ac.uk/pascal/VOC/voc{year}"
    places = f"https://{official}", "https://pjreddie.com/media/files", f"http://{official}"
    return Archive(tuple(f"{place}/{name}" for place in places), size, f"sha256:{sha256}")


def _coco(name: str, size: int, sha256: str) -> Archive:
    # the bucket's own name has no certificate; Amazon's name for it has one
    places = "https://s3.amazonaws.com/images.cocodataset.org", "http://images.cocodataset.org"
    return Archive(tuple(f"{place}/{name}" for place in places), size, f"sha256:{sha256}")


KNOWN: dict[str, KnownSet] = {
    "imagenet": KnownSet(
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or "
        "train/<wnid>/*.JPEG with val/<wnid>/*.JPEG (or val/*.JPEG and the devkit), or Kaggle's "
        "ILSVRC/ with LOC_val_solution.csv, or Hugging Face's data/*.parquet, or WebDataset shards",
        "https://image-net.org/download (behind a login)",
    ),
    "tiny-imagenet": KnownSet(
        "train/<wnid>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt",
        "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
    ),
    "imagenette": KnownSet(
        "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
    ),
    "hymenoptera": KnownSet(
        "train/{ants,bees}/*.jpg and val/{ants,bees}/*.jpg",
        "https://download.pytorch.org/tutorial/hymenoptera_data.zip",
    ),
    "voc07": KnownSet(
        "VOCdevkit/VOC2007/{Annotations,ImageSets,JPEGImages}",
        archives=(
            _voc("2007", "VOCtrainval_06-Nov-2007.tar", 460_032_000,
                 "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508"),
            _voc("2007", "VOCtest_06-Nov-2007.tar", 451_020_800,
                 "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892"),
        ),
    ),
    "voc12": KnownSet(
        "VOCdevkit/VOC2012/{Annotations,ImageSets,JPEGImages}",
        archives=(
            _voc("2012", "VOCtrainval_11-May-2012.tar", 1_999_639_040,
                 "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"),
        ),
    ),
    "coco": KnownSet(
        "annotations/instances_{train,val}2017.json, train2017/*.jpg and val2017/*.jpg",
        archives=(
            _coco("annotations/annotations_trainval2017.zip", 252_907_541,
                  "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"),
            _coco("zips/val2017.zip", 815_585_330,
                  "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),
            _coco("zips/train2017.zip", 19_336_861_798,
                  "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),
        ),
    ),
}  # fmt: skip


def data_folder(name: str = "") -> Path:
    """The folder of a known set: $XFER_DATA/NAME, or ~/.local/share/xfer/NAME."""
    folder = os.environ.get("XFER_DATA")
    return (Path(folder) if folder else Path.home() / ".local" / "share" / "xfer") / name
