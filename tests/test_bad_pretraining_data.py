"""Damaged ImageNet, shards, tables and full disks: each named in a line, exit 3, the rest kept."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from imagenet_sets import (
    WNIDS,
    jpeg,
    tar_bytes,
    write,
    write_imagenette,
    write_kaggle,
    write_parquet,
    write_shards,
    write_tar,
    write_tars,
    write_tiny,
)
from pictures import write_folder
from test_data_imagenet import damaged

from xfer.cli.app import main
from xfer.data.open import open_data
from xfer.data.pack import writer as packing
from xfer.data.readers.imagenet.tars import VAL
from xfer.data.sources import index_file as kept_index
from xfer.data.sources.index_file import index_folder
from xfer.errors import DataError


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with exit 3: one line, and perhaps what to do."""
    assert main(words) == 3
    lines = capsys.readouterr().err.splitlines()
    wrong = [k for k, line in enumerate(lines) if line.startswith("xfer: ")]
    assert len(wrong) == 1 and len(lines) - wrong[0] <= 2
    return "\n".join(lines[wrong[0] :])


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("cut", "ILSVRC2012_img_train.tar: cut off"),
        ("shard", "shard imagenet1k-train-0001.tar missing"),
        ("year", "ILSVRC2010_validation_ground_truth.txt, of another year"),
        ("label", "line 4: label 99 is out of range"),
    ],
)
def test_pretraining_names_what_is_wrong(
    kind: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = damaged(kind, tmp_path / "in")
    words = ["pretrain", "tiny", "--data", str(folder), "--out", str(tmp_path / "run")]
    assert named in said(words, capsys)
    assert not (tmp_path / "run").exists()


def table(folder: Path, column: Any, labels: Any) -> Path:
    """A parquet file of one row group: pictures as `column`, a number a row."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    folder.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([(name, pa.binary() if name == "bytes" else pa.string()) for name in column])
    rows = [dict(zip(column, row, strict=True)) for row in zip(*column.values(), strict=True)]
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": labels}), folder / "a.parquet")
    return folder


def spoil(kind: str, folder: Path) -> Path:
    """A set with one thing wrong that test_data_imagenet's `damaged` has not."""
    if kind in ("big cls", "big json", "listed classes"):
        label = b"7" if kind == "listed classes" else b"5000000000"
        content = {"x.jpg": jpeg(), "x.cls": label}
        if kind == "big json":
            content = {"x.jpg": jpeg(), "x.json": b'{"label": 5000000000}'}
        write_tar(folder / "set-0000.tar", content)
        if kind == "listed classes":
            write(folder / "classes.txt", "a\nb\n")
    elif kind == "big label":
        table(folder, {"bytes": [jpeg()], "path": ["a.jpg"]}, [5_000_000_000])
    elif kind == "damaged group":
        pytest.importorskip("pyarrow")
        write_parquet(folder)
        file = next(folder.rglob("*train*.parquet"))
        data = bytearray(file.read_bytes())
        data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
        file.write_bytes(data)
    elif kind == "damaged zip":
        write_tars(folder)
        kit = folder / "ILSVRC2012_devkit_t12.tar.gz"
        data = bytearray(kit.read_bytes())
        data[40:90] = bytes(50)
        kit.write_bytes(data)
    elif kind == "annotations":
        file = write_tiny(folder) / "val" / "val_annotations.txt"
        file.write_bytes(b"\xff\xfe\x80" + file.read_bytes())
    elif kind == "solution":
        file = write_kaggle(folder) / "LOC_val_solution.csv"
        file.write_bytes(b"\xff\xfe\x80" + file.read_bytes())
    elif kind == "classes":
        write(write_shards(folder, info=False) / "classes.txt", b"\xff\xfe\x80")
    return folder


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("big cls", "x: label 5000000000 is out of range"),
        ("big json", "x: label 5000000000 is out of range"),
        ("listed classes", "label 7 is out of range"),
        ("big label", "label 5000000000 is out of range"),
        ("damaged group", "-of-"),
        ("damaged zip", "devkit_t12.tar.gz: cut off or damaged"),
        ("annotations", "val_annotations.txt: not text in UTF-8"),
        ("solution", "LOC_val_solution.csv: not text in UTF-8"),
        ("classes", "classes.txt: not text in UTF-8"),
    ],
)
def test_showing_names_what_is_wrong(
    kind: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = spoil(kind, tmp_path / "in")
    assert named in said(["data", "show", str(folder)], capsys)


def test_a_disk_that_is_full_while_packing_is_named_and_what_is_whole_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "in", {"train/a": 9, "train/b": 9, "val/a": 3, "val/b": 3})
    words = ["data", "pack", str(folder), "-o", str(tmp_path / "p"), "--raw"]
    whole = ["data", "pack", str(folder), "-o", str(tmp_path / "whole"), "--raw"]
    assert main(whole) == 0
    capsys.readouterr()
    calls = 0

    def full(file: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second shard
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_synced", full)
        text = said(words, capsys)
    assert "p/shard-00001.bin: No space left on device" in text and "to continue" in text
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "p" / file.name).read_bytes() == file.read_bytes()


def test_a_disk_that_is_full_while_an_index_is_kept_costs_only_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    folder = write_tars(tmp_path / "in")
    with monkeypatch.context() as patch:
        patch.setattr(kept_index, "_synced", full)
        bundle = open_data(str(folder))
    assert len(bundle.splits["train"]) == 15
    assert any("can't be stored" in note and "No space left" in note for note in bundle.notes)
    assert not [p for p in index_folder().iterdir() if p.is_dir()]
    assert not any("can't be stored" in note for note in open_data(str(folder)).notes)


def test_what_only_val_needs_does_not_stop_train(tmp_path: Path) -> None:
    write_tars(tmp_path, devkit=False)
    (tmp_path / VAL).unlink()
    write(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", b"of another year")
    assert len(open_data(f"imagenet:{tmp_path}", cut=False).splits["train"]) == 15


def test_junk_and_names_that_are_no_utf8_are_passed_by(tmp_path: Path) -> None:
    inner = tar_bytes({f"{WNIDS[0]}_caf\udce9.JPEG": jpeg()})
    other = tar_bytes({f"{WNIDS[1]}_1.JPEG": jpeg(1)})
    content = {f"._{WNIDS[0]}.tar": b"mac", f"{WNIDS[0]}.tar": inner, f"{WNIDS[1]}.tar": other}
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", content)
    source = open_data(str(tmp_path), cut=False).splits["train"]
    assert len(source) == 2 and source[0].image.ndim == 3
    assert all(name.isprintable() for name in source.ids)


def test_shards_may_be_numbered_from_one(tmp_path: Path) -> None:
    for k in (1, 2, 3):
        write_tar(tmp_path / f"s-{k}.tar", {f"{k}.jpg": jpeg(k), f"{k}.cls": b"%d" % (k % 2)})
    assert len(open_data(str(tmp_path), val="none").splits["train"]) == 3
    (tmp_path / "s-2.tar").unlink()
    with pytest.raises(DataError, match=r"shard s-2\.tar missing"):
        open_data(str(tmp_path))


def test_json_that_is_no_object_is_no_label(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"a.jpg": jpeg(), "a.json": b'["label"]'})
    assert open_data(f"webdataset:{tmp_path / 's.tar'}", cut=False).kind == "images"


def test_bytes_without_paths_are_read(tmp_path: Path) -> None:
    table(tmp_path, {"bytes": [jpeg(k) for k in range(4)]}, [0, 1, 0, 1])
    source = open_data(f"parquet:{tmp_path}", val="none").splits["train"]
    assert source.labels().tolist() == [0, 1, 0, 1] and source[2].image.ndim == 3


def test_folders_without_pictures_are_told(tmp_path: Path) -> None:
    write_imagenette(tmp_path)
    (tmp_path / "train" / "n99999999").mkdir()
    notes = open_data(str(tmp_path)).notes
    assert any("n99999999" in note and "no pictures" in note for note in notes)
