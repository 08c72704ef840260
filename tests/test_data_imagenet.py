"""ImageNet in each form in which people have it: read in place, labelled right."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagenet_sets import (
    NAMES,
    VAL_TRUTH,
    WNIDS,
    devkit_files,
    jpeg,
    tar_bytes,
    train_pictures,
    write,
    write_devkit,
    write_imagenette,
    write_kaggle,
    write_parquet,
    write_shards,
    write_tar,
    write_tars,
    write_tiny,
    write_train,
    write_unpacked,
)

from xfer.data.images.decode import decode
from xfer.data.open import open_data, show
from xfer.data.readers.imagenet.devkit import read_devkit
from xfer.data.sources.base import Bundle
from xfer.data.sources.index_file import index_folder
from xfer.data.sources.tar_index import members, members_within
from xfer.errors import DataError
from xfer.testing.source import check_source


def named(bundle: Bundle, split: str) -> dict[str, str]:
    """Stem of each id -> the class's name."""
    items = show(bundle, items=True)["splits"][split]["items"]
    return {Path(name).stem: label for name, label in items}


def right(bundle: Bundle) -> None:
    """The classes by wnid, every label the right one, and the contract of sources kept."""
    assert bundle.classes == NAMES
    for source in bundle.splits.values():
        check_source(source)
    assert all(label[:9] in stem for stem, label in named(bundle, "train").items())


def val_truth(bundle: Bundle) -> bool:
    found = {stem[-8:]: label[:9] for stem, label in named(bundle, "val").items()}
    return found == {f"{i + 1:08d}": wnid for i, wnid in enumerate(VAL_TRUTH)}


TREES: dict[str, Callable[[Path], Path]] = {
    "tars": write_tars,
    "flat val and devkit": lambda p: write_unpacked(p, flat=True),
    "val by class": lambda p: write_unpacked(p, flat=False),
    "kaggle": write_kaggle,
}


@pytest.mark.parametrize("kind", TREES)
def test_every_tree_of_imagenet_is_recognised_and_labelled(kind: str, tmp_path: Path) -> None:
    bundle = open_data(str(TREES[kind](tmp_path)))
    assert bundle.format == "imagenet"
    assert {s: len(x) for s, x in bundle.splits.items()} == {"train": 15, "val": 5}
    right(bundle)
    assert val_truth(bundle)


def test_tars_and_the_unpacked_tree_are_the_same_set(tmp_path: Path) -> None:
    tars = open_data(f"imagenet:{write_tars(tmp_path / 'a')}")
    tree = open_data(f"imagenet:{write_unpacked(tmp_path / 'b', flat=True)}")
    for split in ("train", "val"):
        one, other = tars.splits[split], tree.splits[split]
        assert list(one.ids) == list(other.ids)
        assert np.array_equal(one.labels(), other.labels())
        assert np.array_equal(one[3].image, other[3].image)


def test_tars_are_not_unpacked_and_what_is_beside_them_stays(tmp_path: Path) -> None:
    write_tars(tmp_path)
    before = sorted(tmp_path.iterdir())
    source = open_data(str(tmp_path)).splits["train"]
    assert sorted(tmp_path.iterdir()) == before
    for i, name in enumerate(source.ids):
        wnid, file = name.split("/")[1:]
        assert np.array_equal(source[i].image, decode(train_pictures()[wnid][file]))


def test_an_index_is_made_once_and_again_when_the_tar_changes(tmp_path: Path) -> None:
    write_tars(tmp_path)
    first = open_data(str(tmp_path)).splits["train"]
    marks = {p: p.stat().st_mtime_ns for p in index_folder().rglob("*.npy")}
    again = open_data(str(tmp_path)).splits["train"]
    assert {p: p.stat().st_mtime_ns for p in index_folder().rglob("*.npy")} == marks
    assert first.fingerprint() == again.fingerprint()
    classes = {f"{w}.tar": tar_bytes({f"{w}_1.JPEG": jpeg()}) for w in WNIDS}
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", classes)
    other = open_data(str(tmp_path)).splits["train"]
    assert len(other) == len(WNIDS)
    assert other.fingerprint() != first.fingerprint()


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    write_tars(tmp_path)
    good = open_data(str(tmp_path)).splits["train"]
    for name in ("labels.npy", "about.json", "ids.npy"):
        for file in index_folder().rglob(name):
            file.write_bytes(file.read_bytes()[:60])
        again = open_data(str(tmp_path)).splits["train"]
        assert list(again.ids) == list(good.ids)
        assert again.fingerprint() == good.fingerprint()


def test_without_room_for_the_index_it_is_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(write(tmp_path / "file", "no folder")))
    bundle = open_data(str(write_tars(tmp_path / "in")))
    right(bundle)
    copy = pickle.loads(pickle.dumps(bundle.splits["train"]))
    assert np.array_equal(copy[2].image, bundle.splits["train"][2].image)


def test_an_index_is_pickled_as_its_path(tmp_path: Path) -> None:
    source = open_data(str(write_tars(tmp_path))).splits["train"]
    assert b"n01440764_0.JPEG" not in pickle.dumps(source)


def test_a_folder_that_gains_a_picture_is_listed_again(tmp_path: Path) -> None:
    write_unpacked(tmp_path, flat=False)
    assert len(open_data(str(tmp_path)).splits["train"]) == 15
    write(tmp_path / "train" / WNIDS[0] / f"{WNIDS[0]}_999.JPEG", jpeg())
    assert len(open_data(str(tmp_path)).splits["train"]) == 16


def test_tiny_imagenet_as_downloaded(tmp_path: Path) -> None:
    bundle = open_data(str(write_tiny(tmp_path)))
    right(bundle)
    assert [named(bundle, "val")[f"val_{i}"][:9] for i in range(5)] == list(VAL_TRUTH)
    assert any("test: no labels" in note for note in bundle.notes)


def test_imagenette_with_its_table_of_noisy_labels(tmp_path: Path) -> None:
    bundle = open_data(str(write_imagenette(tmp_path)))
    right(bundle)
    assert bundle.format == "imagenet"
    assert len(bundle.splits["val"]) == 12


def test_one_folder_of_wnids_is_cut(tmp_path: Path) -> None:
    write_train(tmp_path, odd=False)
    bundle = open_data(str(tmp_path))
    assert bundle.classes == NAMES
    assert set(bundle.splits) == {"train", "val"}


def test_a_train_tar_beside_an_unpacked_val(tmp_path: Path) -> None:
    write_tars(tmp_path / "tars")
    write_unpacked(tmp_path / "in", flat=False)
    for file in (tmp_path / "in" / "train").rglob("*.JPEG"):
        file.unlink()
    for folder in (tmp_path / "in" / "train").iterdir():
        folder.rmdir()
    (tmp_path / "in" / "train").rmdir()
    tar = "ILSVRC2012_img_train.tar"
    (tmp_path / "tars" / tar).rename(tmp_path / "in" / tar)
    bundle = open_data(f"imagenet:{tmp_path / 'in'}")
    right(bundle)
    assert val_truth(bundle)


def test_classes_match_by_wnid_whatever_stands_behind_it(tmp_path: Path) -> None:
    write_imagenette(tmp_path / "with")
    write_train(tmp_path / "plain", odd=False)
    model = open_data(str(tmp_path / "with")).classes
    assert model == NAMES
    plain = open_data(f"folder:{tmp_path / 'plain'}", classes=model, cut=False)
    assert plain.classes == NAMES
    assert np.array_equal(np.bincount(plain.splits["train"].labels()), [3, 3, 3, 3])


def test_shards_are_read_in_place(tmp_path: Path) -> None:
    bundle = open_data(str(write_shards(tmp_path)))
    assert bundle.format == "webdataset"
    right(bundle)
    assert val_truth(bundle)


def test_shards_without_classes_are_pictures(tmp_path: Path) -> None:
    """img2dataset's: a picture, its caption, and what is known of it."""
    content: dict[str, bytes] = {}
    for i in range(3):
        about = {"jpg": jpeg(i), "txt": b"a dog", "json": b'{"url": ""}'}
        content |= {f"{i:09d}.{end}": payload for end, payload in about.items()}
    write_tar(tmp_path / "00000.tar", content)
    write(tmp_path / "00000.parquet", b"beside")
    bundle = open_data(str(tmp_path), cut=False)
    assert (bundle.format, bundle.kind, len(bundle.splits["train"])) == ("webdataset", "images", 3)


def test_keys_end_at_the_first_dot(tmp_path: Path) -> None:
    content = {"a/x.1.jpg": jpeg(0), "a/x.cls": b"1", "b/x.jpg": jpeg(1), "b/x.cls": b"0\n"}
    write_tar(tmp_path / "s.tar", content)
    source = open_data(f"webdataset:{tmp_path / 's.tar'}", val="none").splits["train"]
    assert dict(zip(source.ids, source.labels().tolist(), strict=True)) == {"s/a/x": 1, "s/b/x": 0}


def test_parquet_of_hugging_face(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    bundle = open_data(str(write_parquet(tmp_path)))
    assert bundle.format == "parquet"
    right(bundle)
    assert len(bundle.splits["train"]) == 15
    assert [s[:9] for s in named(bundle, "val").values()] == list(VAL_TRUTH)


def test_the_devkit_is_followed_from_id_to_wnid(tmp_path: Path) -> None:
    write_devkit(tmp_path)
    write_devkit(tmp_path, packed=False)
    for place in ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12"):
        kit = read_devkit(tmp_path / place)
        assert kit.truth == VAL_TRUTH
        assert set(kit.words) == set(WNIDS)


def damaged(kind: str, folder: Path) -> Path:
    """A set with one thing wrong, at `folder`."""
    train, val = folder / "ILSVRC2012_img_train.tar", folder / "ILSVRC2012_img_val.tar"
    if kind in ("shard", "listed", "cls", "json"):
        write_shards(folder, info=kind == "listed")
        number = 1 if kind == "shard" else 2
        if kind in ("shard", "listed"):
            (folder / f"imagenet1k-train-{number:04d}.tar").unlink()
        else:
            bad = {"x.jpg": jpeg(), f"x.{kind}": b'{"label": -2}' if kind == "json" else b"dog"}
            write_tar(folder / "imagenet1k-train-0003.tar", bad)
        return folder
    if kind in ("solution", "annotations"):
        (write_kaggle if kind == "solution" else write_tiny)(folder)
        file = folder / (
            "LOC_val_solution.csv" if kind == "solution" else "val/val_annotations.txt"
        )
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
        return folder
    write_tars(folder, devkit=kind not in ("none", "year", "label", "short", "kit", "meta"))
    if kind == "cut":
        train.write_bytes(train.read_bytes()[:-12000])
    elif kind == "between":
        with tarfile.open(train) as tar:
            second = tar.getmembers()[1].offset
        train.write_bytes(train.read_bytes()[:second])
    elif kind == "gzip":
        write_tar(val, {"a.JPEG": jpeg()}, "w:gz")
    elif kind == "flat":
        write_tar(train, {"n01440764_1.JPEG": jpeg(), "other.tar": tar_bytes({"a.JPEG": jpeg()})})
    elif kind == "year":
        write_devkit(folder, year=2010)
    elif kind == "meta":
        files = {**devkit_files(2010), **{k: b for k, b in devkit_files().items() if "txt" in k}}
        top = "ILSVRC2012_devkit_t12"
        write_tar(folder / f"{top}.tar.gz", {f"{top}/{n}": b for n, b in files.items()}, "w:gz")
    elif kind == "label":
        write_devkit(folder, truth=[1, 2, 3, 99, 1])
    elif kind == "short":
        write_devkit(folder, truth=[1, 2])
    elif kind == "kit":
        write_devkit(folder)
        kit = folder / "ILSVRC2012_devkit_t12.tar.gz"
        kit.write_bytes(kit.read_bytes()[:300])
    elif kind == "twice":
        inner = tar_bytes([("n01440764_1.JPEG", jpeg()), ("n01440764_1.JPEG", jpeg(1))])
        write_tar(train, {"n01440764.tar": inner})
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut", "ILSVRC2012_img_train.tar: cut off"),
        ("between", "ILSVRC2012_img_train.tar: cut off: the end"),
        ("gzip", "ILSVRC2012_img_val.tar: compressed with gzip"),
        ("flat", "other.tar is not the tar of a class"),
        ("none", "its labels are in the devkit"),
        ("year", "ILSVRC2010_validation_ground_truth.txt, of another year"),
        ("meta", "of another year .*ILSVRC2010_ID"),
        ("label", "line 4: label 99 is out of range"),
        ("short", "no label for ILSVRC2012_val_0000000"),
        ("kit", "devkit_t12.tar.gz: cut off or damaged"),
        ("twice", "n01440764_1.JPEG occurs twice"),
        ("shard", "shard imagenet1k-train-0001.tar missing"),
        ("listed", "shard imagenet1k-train-0002.tar missing, listed in _info.json"),
        ("cls", "imagenet1k-train-0003.tar: x.cls: label 'dog'"),
        ("json", "x.json: label -2"),
        ("solution", "LOC_val_solution.csv: no label for ILSVRC2012_val_00000001"),
        ("annotations", "val_annotations.txt: no label for val_4"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept_of_it(
    kind: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    folder = damaged(kind, tmp_path / "in")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(DataError, match=said):
        open_data(str(folder))
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    left = [p for p in (tmp_path / "cache").rglob("*") if p.name.startswith(".")]
    assert not [p for p in left if p.is_dir()]


def test_every_cut_of_a_tar_is_found(tmp_path: Path) -> None:
    classes = {f"{w}.tar": tar_bytes(files) for w, files in train_pictures().items()}
    whole = write_tar(tmp_path / "whole.tar", classes).read_bytes()
    assert len(list(members_within(tmp_path / "whole.tar"))) == 15
    used = len(whole.rstrip(b"\0"))
    part = tmp_path / "part.tar"
    for end in [*range(0, used, 512), *range(7, used, 1999)]:
        part.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"part.tar"):
            list(members_within(part))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_lie_where_tarfile_says(form: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    long = "x" * 150 + "é.jpg"
    with tarfile.open(path, "w", format=form) as tar:
        for name, payload in (("a.jpg", b"abc"), (long, b"defg"), ("d/e.jpg", b"")):
            file = write(tmp_path / "payload", payload)
            tar.add(file, name)
        tar.add(tmp_path / "payload", "again")
        link: Any = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = path.read_bytes()
    found = {m.name: data[m.start : m.start + m.length] for m in members(path)}
    assert found == {"a.jpg": b"abc", long: b"defg", "d/e.jpg": b"", "again": b""}


def test_data_show_tells_one_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xfer.cli.app import main

    words = ["data", "show", f"imagenet:{write_tars(tmp_path)}", "--list", "--json", "--split"]
    assert main([*words, "validation"]) == 0
    found = json.loads(capsys.readouterr().out)["splits"]
    assert list(found) == ["val"]
    assert [label[:9] for _, label in found["val"]["items"]] == list(VAL_TRUTH)
    assert main([*words, "tset"]) == 2
    assert "no split 'tset'" in capsys.readouterr().err
