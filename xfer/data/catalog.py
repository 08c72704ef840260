"""Data sets known by name: the tree expected in their folder, and where to get them.

Sizes in bytes and hashes are those of the archives as published (torchvision's and TensorFlow
Datasets' lists of checksums). COCO publishes no hashes of its pictures: their size is compared, and
each file in a zip has its folder checksum.
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
    hash | "md5:HEX", "sha256:HEX", or "" where none is published
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


def _voc(year: str, name: str, size: int, md5: str) -> Archive:
    places = f"http://host.robots.ox.ac.uk/pascal/VOC/voc{year}", "http://pjreddie.com/media/files"
    return Archive(tuple(f"{place}/{name}" for place in places), size, f"md5:{md5}")


def _coco(name: str, size: int, hash: str = "") -> Archive:
    return Archive((f"http://images.cocodataset.org/{name}",), size, hash)


KNOWN: dict[str, KnownSet] = {
    "imagenet": KnownSet(
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or "
        "train/<wnid>/*.JPEG with val/<wnid>/*.JPEG (or val/*.JPEG and the devkit), or Kaggle's "
        "ILSVRC/ with LOC_val_solution.csv, or Hugging Face's data/*.parquet, or WebDataset shards",
        "https://image-net.org/download (behind a login)",
    ),
    "tiny-imagenet": KnownSet(
        "train/<wnid>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
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
                 "c52e279531787c972589f7e41ab4ae64"),
            _voc("2007", "VOCtest_06-Nov-2007.tar", 451_020_800,
                 "b6e924de25625d8de591ea690078ad9f"),
        ),
    ),
    "voc12": KnownSet(
        "VOCdevkit/VOC2012/{Annotations,ImageSets,JPEGImages}",
        archives=(
            _voc("2012", "VOCtrainval_11-May-2012.tar", 1_999_639_040,
                 "6cd6e144f989b92b3379bac3b3de84fd"),
        ),
    ),
    "coco": KnownSet(
        "annotations/instances_{train,val}2017.json, train2017/*.jpg and val2017/*.jpg",
        archives=(
            _coco("annotations/annotations_trainval2017.zip", 252_907_541,
                  "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"),
            _coco("zips/val2017.zip", 815_585_330),
            _coco("zips/train2017.zip", 19_336_861_798),
        ),
    ),
}  # fmt: skip


def data_folder(name: str = "") -> Path:
    """The folder of a known set: $XFER_DATA/NAME, or ~/.local/share/xfer/NAME."""
    folder = os.environ.get("XFER_DATA")
    return (Path(folder) if folder else Path.home() / ".local" / "share" / "xfer") / name
