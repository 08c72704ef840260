"""`xfer data check`: planted faults are found, clean data are left in peace, nothing is changed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from box_files import write_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

import xfer
from xfer import kinds
from xfer.cli import main
from xfer.data.open import open_data
from xfer.doctor import sheets
from xfer.doctor.check import Report, check_data
from xfer.doctor.copies import BITS, LEVELS, _difference, _pairs
from xfer.doctor.pictures import perceptual_hash, thumbnail
from xfer.doctor.suspects import find_suspects
from xfer.probing.held_out import held_out_probabilities
from xfer.types import Sample

SIZE = (96, 80)


def scene(seed: int, tint: int = 0) -> Image.Image:
    """A soft picture of blobs that no other seed resembles."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 8, 3), np.uint8)
    coarse[:, :, 0] = np.clip(coarse[:, :, 0].astype(int) + tint, 0, 255)
    image = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(1))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Clean data: 12 + 4 pictures of each of two classes."""
    top = tmp_path / "photos"
    for split, count in (("train", 12), ("val", 4)):
        for place, name in enumerate(("ash", "oak")):
            (top / split / name).mkdir(parents=True)
            for i in range(count):
                picture = scene(1000 * place + 100 * len(split) + i)
                picture.save(top / split / name / f"{i}.jpg", quality=92)
    return top


def items(report: Report, check: str) -> set[tuple[str, ...]]:
    return {item for f in report.findings if f.check == check for item in f.items}


def test_clean_data_have_nothing(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(photos), "--strict"]) == 0
    shown = capsys.readouterr()
    assert "32 pictures, nothing found" in shown.out
    assert "labels were not judged: no weights of alexnet on this machine" in shown.err


def test_planted_faults_are_found(photos: Path) -> None:
    shutil.copy(photos / "train/oak/1.jpg", photos / "val/oak/leak.jpg")
    shutil.copy(photos / "train/oak/2.jpg", photos / "train/oak/again.jpg")
    shutil.copy(photos / "train/oak/3.jpg", photos / "train/ash/both.jpg")
    with Image.open(photos / "train/ash/4.jpg") as image:
        image.resize((72, 60)).save(photos / "val/ash/smaller.jpg", quality=60)
    (photos / "train/oak/cut.jpg").write_bytes((photos / "train/oak/5.jpg").read_bytes()[:700])
    Image.new("RGB", SIZE, (9, 9, 9)).save(photos / "train/oak/blank.png")
    Image.new("RGB", SIZE, (9, 9, 9)).save(photos / "train/oak/blank2.png", compress_level=1)
    dim = np.asarray(scene(77)) // 12
    Image.fromarray(dim).save(photos / "train/oak/dim.png")
    scene(78).resize((16, 14)).save(photos / "train/oak/tiny.png")
    scene(79).resize((400, 60)).save(photos / "train/oak/long.png")
    report = check_data(str(photos))
    assert items(report, "copy") == {
        ("train/oak/1.jpg", "val/oak/leak.jpg"), ("train/oak/2.jpg", "train/oak/again.jpg"),
    }  # fmt: skip
    assert items(report, "two_labels") == {("train/ash/both.jpg", "train/oak/3.jpg")}
    assert items(report, "near_copy") == {("train/ash/4.jpg", "val/ash/smaller.jpg")}
    assert items(report, "broken") == {("train/oak/cut.jpg",)}
    assert items(report, "blank") == {("train/oak/blank.png",), ("train/oak/blank2.png",)}
    assert items(report, "dark") == {("train/oak/dim.png",)}
    assert items(report, "odd_size") == {("train/oak/tiny.png",)}
    assert items(report, "odd_shape") == {("train/oak/long.png",)}


def test_few_and_uneven_classes(photos: Path) -> None:
    for i in range(1, 12):
        (photos / f"train/oak/{i}.jpg").unlink()
    texts = {f.check: f.text for f in check_data(str(photos)).findings}
    assert texts["few"] == "1 class has fewer than 10 examples in train: oak (1)"
    assert "ash has 12 times as many examples in train as oak" in texts["uneven"]


def test_the_document_the_sheets_and_the_exit_code(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "train/oak/1.jpg", photos / "val/oak/leak.jpg")
    words = ["data", "check", str(photos)]
    assert main([*words, "--json", "--draw", str(tmp_path / "drawn")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 33
    assert [f["items"] for f in document["findings"] if f["check"] == "copy"] == [
        [["train/oak/1.jpg", "val/oak/leak.jpg"]]
    ]
    with Image.open(tmp_path / "drawn" / "copy.png") as sheet:
        assert sheet.width > 300 and len(sheet.getcolors(1 << 24) or []) > 100
    assert main([*words, "--strict"]) == 3
    shown = capsys.readouterr()
    assert "leak.jpg" in shown.out and "--strict" in shown.err


def test_proposed_changes_can_be_used(photos: Path, tmp_path: Path) -> None:
    """The data stay as they are; data.changes=FILE makes the changes, and then nothing is found."""
    shutil.copy(photos / "train/oak/1.jpg", photos / "val/oak/leak.jpg")
    shutil.copy(photos / "train/oak/3.jpg", photos / "train/ash/both.jpg")
    Image.new("RGB", SIZE, (9, 9, 9)).save(photos / "train/oak/blank.png")
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in photos.rglob("*.*")}
    file = tmp_path / "changes.csv"
    assert main(["data", "check", str(photos), "--fix", str(file), "-q"]) == 0
    with file.open(newline="") as lines:
        rows = {row["id"]: row for row in csv.DictReader(lines)}
    assert {name: row["change"] for name, row in rows.items()} == {
        "train/oak/1.jpg": "drop", "train/ash/both.jpg": "drop", "train/oak/3.jpg": "drop",
        "train/oak/blank.png": "drop",
    }  # fmt: skip
    assert rows["train/oak/1.jpg"]["reason"] == "the same picture as val/oak/leak.jpg"
    assert before == {p: hashlib.sha256(p.read_bytes()).digest() for p in photos.rglob("*.*")}
    assert check_data(str(photos), data_keys={"changes": str(file)}).findings == ()
    bundle = open_data(str(photos), changes=str(file))
    assert not set(rows) & set(bundle.splits["train"].ids)


def test_pictures_in_memory() -> None:
    images = [np.asarray(scene(seed)) for seed in range(10)]
    images[7] = images[2]
    report = check_data((images, ["ash"] * 5 + ["oak"] * 5))
    assert items(report, "two_labels") == {("2", "7")}


def test_doubtful_labels_of_a_trained_net(photos: Path, tmp_path: Path) -> None:
    """With weights the labels are judged; a random net still sees colours."""
    for k, place in enumerate(("train/ash", "train/oak")):
        for i in range(30):
            scene(5000 + 100 * k + i, 150 if k else -150).save(photos / place / f"c{i}.jpg")
    for i in range(3):
        shutil.move(photos / f"train/ash/c{i}.jpg", photos / f"train/oak/wrong{i}.jpg")
    net = xfer.create_backbone("alexnet", weights="none")
    import torch

    torch.save(net.state_dict(), tmp_path / "w.pth")
    report = check_data(str(photos / "train"), weights=str(tmp_path / "w.pth"))
    doubted = {name for (name,) in items(report, "label_suspect")}
    assert len(doubted & {f"oak/wrong{i}.jpg" for i in range(3)}) >= 2 and len(doubted) < 20


def test_weights_that_are_missing(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(photos), "--weights", "nowhere.pth"]) == 3
    assert "nowhere.pth" in capsys.readouterr().err
    assert main(["data", "check", str(photos), "--weights", "none"]) == 0
    assert "labels were not judged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "detect"), "one label per picture; detect trains on boxes"),
        (("--backbone", "resnet81"), "unknown backbone 'resnet81'"),
        (("--backbone", "timm:resnet81", "--weights", "none"), "timm has no net 'resnet81'"),
        (("--fix", "."), "is a folder, not a file"),
        (("--fix", os.devnull), "is a device, not a file"),
    ],
)
def test_what_can_not_be_done_is_said_first(
    words: tuple[str, ...], said: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(photos), *words]) in (2, 3)
    shown = capsys.readouterr()
    assert said in shown.err and not shown.out


def test_boxes_and_masks_are_looked_at_too() -> None:
    """Built-in sets of every kind pass through, and doubtful labels are declined with a line."""
    for task in ("detect", "segment"):
        report = check_data("digits", task=task, data_keys={"train": "val", "val": "none"})
        assert report.images > 0
        assert any("one class per picture" in note for note in report.notes)


def test_suspects_are_the_swapped_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 60)
    features = rng.normal(size=(180, 40)).astype(np.float32)
    features[np.arange(180), labels * 3] += 4
    swapped = labels.copy()
    swapped[[5, 70, 130]] = [1, 2, 0]
    found = [suspect.index for suspect in find_suspects(features, swapped)]
    assert set(found[:5]) >= {5, 70, 130} and len(found) < 12
    assert find_suspects(features, np.full(180, -1)) == []
    assert find_suspects(features, np.zeros(180, np.int64)) == []


def test_copies_are_judged_together() -> None:
    """A copy with the same wrong label must not vouch for it."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(2), 40)
    features = rng.normal(size=(80, 500)).astype(np.float32)
    features[:, :20] += 1.5 * labels[:, None]
    features[40], labels[40] = features[0], 0
    wrong = labels.copy()
    wrong[[0, 40]] = 1
    apart = held_out_probabilities(features, wrong, np.arange(80))
    same = np.arange(80)
    same[40] = 0
    together = held_out_probabilities(features, wrong, same)
    assert together[0, 1] < apart[0, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 1.5]), st.integers(40, 95))
def test_a_resized_picture_is_a_near_copy_and_another_is_not(
    seed: int, scale: float, quality: int
) -> None:
    import io

    image = scene(seed)
    data = io.BytesIO()
    size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    image.resize(size).save(data, "JPEG", quality=quality)
    own, again, other = (
        thumbnail(np.asarray(picture.convert("RGB")))
        for picture in (image, Image.open(data), scene(seed + 1))
    )
    bits = [int.bit_count(perceptual_hash(own) ^ perceptual_hash(t)) for t in (again, other)]
    levels = [float(_difference(own[None], t[None])[0]) for t in (again, other)]
    assert bits[0] <= BITS and levels[0] <= LEVELS
    assert bits[1] > BITS or levels[1] > LEVELS


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.lists(st.integers(0, 63), max_size=3))
def test_pairs_of_near_hashes(values: list[int], flips: list[int]) -> None:
    """Every pair within BITS is found once; with more pictures than ALL_PAIRS those within three
    bits are, since they share a quarter of the hash."""
    from xfer.doctor import copies

    near = [v ^ sum(1 << bit for bit in set(flips)) for v in values[:5]]
    hashes = np.array([*values, *near], np.uint64)
    wanted = {
        (a, b) for a in range(len(hashes)) for b in range(a + 1, len(hashes))
        if int(hashes[a] ^ hashes[b]).bit_count() <= BITS
    }  # fmt: skip
    found = [pair for a, b in _pairs(hashes) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    assert sorted(found) == sorted(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "ALL_PAIRS", 0)
        banded = {
            (min(pair), max(pair)) for a, b in _pairs(hashes)
            for pair in zip(a.tolist(), b.tolist(), strict=True)
        }  # fmt: skip
    close = {(a, b) for a, b in wanted if int(hashes[a] ^ hashes[b]).bit_count() <= 3}
    assert close <= banded <= wanted


def test_sheets_show_the_boxes_and_masks_that_they_are_about(tmp_path: Path) -> None:
    picture = np.full((64, 64, 3), 128, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 1
    kind = kinds.get("segment")
    small = Sample("a", picture[::2, ::2], mask=mask)
    shown = kind.tinted(small, ("background", "leaf"))
    assert shown.shape == (32, 32, 3)
    assert (shown[14, 14] != 128).any() and (shown[2, 2] == 128).all()

    write_coco(tmp_path, pictures=3)
    path = next(tmp_path.rglob("*.json"))
    document = json.loads(path.read_text())
    document["annotations"].append({**document["annotations"][0], "id": 9_999})
    path.write_text(json.dumps(document))
    report = check_data(f"coco:{path}", draw=tmp_path / "sheets")
    twice = next(f for f in report.findings if f.check == "doubled")
    x, y, width, height = document["annotations"][0]["bbox"]
    assert twice.boxes == (((x, y, x + width, y + height),),)
    sheet = np.asarray(Image.open(tmp_path / "sheets" / "doubled.png").convert("RGB")).astype(int)
    red, green, blue = np.moveaxis(sheet, 2, 0)
    assert ((red > 180) & (green > 60) & (green < 110) & (blue < 40)).sum() > 20


def test_a_sheet_says_how_many_are_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(sheets, "mosaic", lambda tiles, path, title: titles.append(title))
    for i in range(40):
        (tmp_path / "p" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (i, i, i)).save(tmp_path / "p" / "ab"[i % 2] / f"{i}.png")
    check_data(str(tmp_path / "p"), draw=tmp_path / "sheets")
    assert titles[0].endswith("; 4 more are not drawn")


def test_no_split_is_dropped_whole(photos: Path, tmp_path: Path) -> None:
    """Val is a copy of train: which of the two to leave out is not for a list of changes to say."""
    shutil.rmtree(photos / "val")
    shutil.copytree(photos / "train", photos / "val")
    report = check_data(str(photos), fix=tmp_path / "fix.csv")
    assert len(items(report, "copy")) == 24 and report.changes == ()
    assert len(open_data(str(photos), changes=str(tmp_path / "fix.csv")).splits["train"]) == 24
