"""Readers of tars, and of ImageNet's in all layouts that it is downloaded in."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from imagenet_sets import (
    devkit_files,
    jpeg,
    tar_bytes,
    write_kaggle,
    write_shards,
    write_tars,
    write_tiny,
    write_unpacked,
)

from fuzz.case import Case
from fuzz.reading import attempts, seeds_in, use_data
from fuzz.target import target
from xfer.data.readers.imagenet.devkit import read_devkit
from xfer.data.sources.tar_index import members, members_within
from xfer.data.unpack import unpack


def tars(folder: Path) -> list[Case]:
    """Shards of WebDataset with a list of them and without, and with labels in JSON alone."""

    def in_json(root: Path) -> None:
        content: dict[str, bytes] = {}
        for k in range(4):
            content[f"{k}.jpg"] = jpeg(k)
            content[f"{k}.json"] = b'{"label": %d}' % (k % 2)
        (root / "train-0000.tar").write_bytes(tar_bytes(content))
        (root / "classes.txt").write_text("ant\nbee\n")

    return seeds_in(folder, write_shards, lambda root: write_shards(root, False), in_json)


@target("tars", tars)
def use_tars(path: Path) -> None:
    shards = sorted(path.glob("*.tar"))
    ways: list[Callable[[], object]] = [lambda: use_data(f"webdataset:{path}")]
    ways += [lambda shard=shard: list(members(shard)) for shard in shards]
    attempts(ways)


def archives(folder: Path) -> list[Case]:
    content = {"set/a.jpg": jpeg(), "set/b.txt": b"hello " * 40}
    cases: list[Case] = []
    for mode, name in (
        ("w", "a.tar"),
        ("w:gz", "a.tgz"),
        ("w:bz2", "a.tar.bz2"),
        ("w:xz", "a.txz"),
    ):
        cases.append({name: tar_bytes(content, mode)})
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as made:
            for name, payload in content.items():
                made.writestr(name, payload)
        cases.append({"a.zip": file.getvalue()})
    odd = io.BytesIO()
    with tarfile.open(fileobj=odd, mode="w", format=tarfile.PAX_FORMAT) as made:
        folder_in_it = tarfile.TarInfo(f"set/{'x' * 120}")  # such a name takes a header of its own
        folder_in_it.type = tarfile.DIRTYPE
        made.addfile(folder_in_it)
        made.addfile(tarfile.TarInfo("set/é.txt"))
    return [*cases, {"a.tar": odd.getvalue()}]


@target("unpack", archives)
def use_unpack(path: Path) -> None:
    out = Path(tempfile.mkdtemp())
    try:
        unpack(path, out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def devkits(folder: Path) -> list[Case]:
    files = devkit_files()
    packed = {f"ILSVRC2012_devkit_t12/{name}": data for name, data in files.items()}
    return [files, {"ILSVRC2012_devkit_t12.tar.gz": tar_bytes(packed, "w:gz")}]


@target("devkit", devkits)
def use_devkit(path: Path) -> None:
    read_devkit(path)


def imagenet_sets(folder: Path) -> list[Case]:
    """Each layout, with the first picture of each of its folders."""
    cases = seeds_in(
        folder, write_tars, lambda root: write_unpacked(root, True), write_kaggle, write_tiny
    )
    for case in cases:
        pictures = [name for name in case if name.endswith(".JPEG") and "train" in name]
        first = {name.rpartition("/")[0]: name for name in reversed(pictures)}.values()
        for name in set(pictures).difference(first):
            del case[name]
    return cases


@target("imagenet", imagenet_sets, keep=("*.JPEG",))
def use_imagenet(path: Path) -> None:
    whole = path / "ILSVRC2012_img_train.tar"
    ways: list[Callable[[], object]] = [lambda: use_data(f"imagenet:{path}")]
    if whole.is_file():
        ways.append(lambda: list(members_within(whole)))
    attempts(ways)
