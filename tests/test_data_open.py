"""From a spec to splits: roles, classes by name, junk, broken pictures, and errors in words."""

from __future__ import annotations

import json
import os
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from pictures import scene, write_folder, write_picture

from xfer import plugs
from xfer.cli.data_keys import reading_keys
from xfer.data.open import open_data, show
from xfer.data.sources.base import ArraySource, Subset
from xfer.errors import DataError, XferError
from xfer.testing.source import SyntheticSource, check_source
from xfer.types import DataInfo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """train: 6 ants, 10 bees; val: 2 ants, 3 bees."""
    counts = {"train/ant": 6, "train/bee": 10, "val/ant": 2, "val/bee": 3}
    return write_folder(tmp_path / "my photos", counts)


def sizes(bundle: object) -> dict[str, int]:
    return {role: len(source) for role, source in bundle.splits.items()}  # type: ignore[attr-defined]


def test_splits_are_found_by_their_names(photos: Path) -> None:
    bundle = open_data(str(photos))
    assert (bundle.format, bundle.kind, bundle.classes) == ("folder", "classify", ("ant", "bee"))
    assert sizes(bundle) == {"train": 16, "val": 5}
    assert "class folders in train/, val/" in bundle.notes[0]
    for source in bundle.splits.values():
        check_source(source)
    sample = bundle.splits["val"][3]
    assert sample.id == "val/bee/1.jpg" and sample.label == 1 and sample.image.shape == (16, 24, 3)
    assert bundle.splits["val"].info.split == "val"


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (("train", "valid", "test"), {"train", "val", "test"}),
        (("Training", "Validation"), {"train", "val"}),
        (("train", "testing"), {"train", "val", "test"}),
    ],
)
def test_other_names_of_splits(names: tuple[str, ...], roles: set[str], tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{n}/{c}": 5 for n in names for c in "ab"})
    assert set(open_data(str(tmp_path)).splits) == roles


def test_val_none_and_test_val_train_on_train_and_test_on_val(photos: Path) -> None:
    bundle = open_data(str(photos), val="none", test="val")
    assert sizes(bundle) == {"train": 16, "test": 5}
    assert bundle.splits["test"].ids[0] == "val/ant/0.jpg"
    assert bundle.splits["test"].info.split == "test"
    assert sizes(open_data(str(photos), val="none")) == {"train": 16}


def test_a_split_named_for_testing_does_not_choose_the_best_step(photos: Path) -> None:
    bundle = open_data(str(photos), test="val")
    assert sizes(bundle) == {"train": 13, "val": 3, "test": 5}
    assert all(name.startswith("train/") for name in bundle.splits["val"].ids)


def test_folders_of_any_name_can_be_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{s}/{c}": 3 for s in ("jan", "feb") for c in "xy"})
    with pytest.raises(XferError, match="are feb/, jan/ the classes, or x/, y/ in each") as caught:
        open_data(str(tmp_path))
    assert caught.value.code == 2 and "train='feb' val='jan'" in str(caught.value)
    assert open_data(f"folder:{tmp_path}").classes == ("feb", "jan")
    bundle = open_data(str(tmp_path), train="jan", val="feb")
    assert bundle.classes == ("x", "y") and sizes(bundle) == {"train": 6, "val": 6}


def test_an_unknown_split_is_an_error_that_names_the_others(photos: Path) -> None:
    with pytest.raises(XferError, match="no split 'vall'") as caught:
        open_data(str(photos), val="vall")
    assert "did you mean val" in str(caught.value)


def test_without_a_val_split_one_is_cut_by_class_and_said(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 20, "b": 5, "c": 2, "d": 1})
    bundle = open_data(str(tmp_path), seed=3)
    table = show(bundle)["splits"]
    assert table["val"]["classes"] == {"a": 4, "b": 1, "c": 1, "d": 0}
    assert table["train"]["images"] == 22
    assert any("seed 3" in note and "6 of 28" in note for note in bundle.notes)
    kept = bundle.split_json()
    assert json.loads(json.dumps(kept)) == kept and list(kept) == ["train", "val"]
    assert open_data(str(tmp_path), seed=3).split_json() == kept
    assert open_data(str(tmp_path), seed=4).split_json() != kept
    assert sizes(open_data(str(tmp_path), cut=False)) == {"train": 28}


def test_limit_takes_the_first_of_a_seeded_shuffle_after_splitting(photos: Path) -> None:
    small = open_data(str(photos), limit=4)
    assert sizes(small) == {"train": 4, "val": 4}
    larger = open_data(str(photos), limit=9)
    assert set(small.splits["train"].ids) < set(larger.splits["train"].ids)
    assert sizes(larger) == {"train": 9, "val": 5}
    assert set(open_data(str(photos), limit=4, seed=1).splits["train"].ids) != set(
        small.splits["train"].ids
    )


def test_the_class_is_the_first_folder_whatever_lies_deeper(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/ant/red/small": 2, "train/ant": 1, "train/bee/x": 2})
    bundle = open_data(str(tmp_path), val="none")
    assert show(bundle)["splits"]["train"]["classes"] == {"ant": 3, "bee": 2}


def test_classes_are_sorted_by_code_point(tmp_path: Path) -> None:
    write_folder(tmp_path, dict.fromkeys(("1", "2", "10", "a", "B", "é"), 2))
    assert open_data(str(tmp_path)).classes == ("1", "10", "2", "B", "a", "é")


def test_classes_are_matched_by_name_between_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 2, "train/b": 2, "train/c": 2, "val/c": 3, "val/b": 1})
    bundle = open_data(str(tmp_path))
    assert bundle.splits["val"].info.classes == bundle.classes == ("a", "b", "c")
    assert bundle.splits["val"].labels().tolist() == [1, 2, 2, 2]
    assert [bundle.splits["val"][i].label for i in range(4)] == [1, 2, 2, 2]
    check_source(bundle.splits["val"])


def test_a_class_that_train_does_not_have_stops_with_its_name(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/crow": 1})
    with pytest.raises(DataError, match="crow"):
        open_data(str(tmp_path))
    (tmp_path / "val/crow/0.jpg").unlink()
    assert sizes(open_data(str(tmp_path))) == {"train": 4, "val": 1}


def test_names_that_differ_in_form_or_case_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(f, "Käfer 日本") for f in ("NFC", "NFD"))
    write_folder(tmp_path, {f"train/{composed}": 2, "train/Ant": 2})
    write_folder(tmp_path, {f"val/{decomposed}": 1, "val/ant": 1})
    bundle = open_data(str(tmp_path))
    assert show(bundle)["splits"]["val"]["classes"] == {"Ant": 1, composed: 1}
    assert any("'ant' is taken for 'Ant'" in note for note in bundle.notes)


@pytest.mark.parametrize("counts", [{"train/a": 3, "val/a": 2}, {"a": 4}])
def test_one_class_is_nothing_to_tell_apart(counts: dict[str, int], tmp_path: Path) -> None:
    write_folder(tmp_path, counts)
    with pytest.raises(DataError, match="only one class"):
        open_data(str(tmp_path))


def test_a_models_classes_number_the_labels(photos: Path, tmp_path: Path) -> None:
    bundle = open_data(str(photos / "val"), classes=("wasp", "bee", "ant"))
    assert sizes(bundle) == {"train": 5} and bundle.classes == ("wasp", "bee", "ant")
    assert bundle.splits["train"].labels().tolist() == [2, 2, 1, 1, 1]
    write_folder(tmp_path / "one", {"bee": 2})
    alone = open_data(str(tmp_path / "one"), classes=("ant", "bee"))
    assert alone.splits["train"].labels().tolist() == [1, 1]
    with pytest.raises(DataError, match="the model does not have: ant"):
        open_data(str(photos), classes=("bee", "wasp"))


def test_junk_and_other_files_are_counted(photos: Path) -> None:
    for name in (".DS_Store", "._0.jpg", "Thumbs.db", "desktop.ini", "notes.txt", "@eaDir/0.jpg"):
        file = photos / "train" / "ant" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    write_picture(photos / "train" / "__MACOSX" / "bee" / "0.jpg")
    write_picture(photos / "train" / "cover.jpg")
    bundle = open_data(str(photos))
    assert sizes(bundle) == {"train": 16, "val": 5} and bundle.classes == ("ant", "bee")
    told = "\n".join(bundle.notes)
    assert "2 dot-files" in told and "1 Thumbs.db" in told and "1 @eaDir" in told
    assert "1 .txt" in told
    assert "not used: 1 picture outside the class folders (train/cover.jpg)" in told


def test_links_are_followed_and_circles_are_not(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "ant" / "again").symlink_to(photos / "train" / "ant")
    (photos / "train" / "bee" / "self").symlink_to("self")
    (photos / "train" / "cat").symlink_to(write_folder(tmp_path / "else", {"cats": 2}) / "cats")
    bundle = open_data(str(photos))
    assert show(bundle)["splits"]["train"]["classes"] == {"ant": 6, "bee": 10, "cat": 2}


def break_some(photos: Path, many: int = 3) -> list[str]:
    whole = (photos / "train/ant/0.jpg").read_bytes()
    contents = [b"<html><body>404</body></html>", b"", whole[: len(whole) // 2]]
    for k in range(many):
        (photos / f"train/bee/broken {k:02d}.jpg").write_bytes(contents[k % 3])
    return [f"train/bee/broken {k:02d}.jpg" for k in range(many)]


def test_broken_pictures_stop_with_their_names_and_reasons(photos: Path) -> None:
    names = break_some(photos)
    with pytest.raises(DataError, match="3 of 24 pictures") as caught:
        open_data(str(photos))
    for name, reason in zip(names, ("is HTML", "zero bytes", "cut off"), strict=True):
        assert f"{name} ({reason}" in caught.value.message
    assert "skip_bad=True" in str(caught.value) and len(str(caught.value).splitlines()) <= 3
    assert sizes(open_data(str(photos), check=False)) == {"train": 19, "val": 5}


def test_the_list_of_broken_pictures_is_shortened_past_ten(photos: Path) -> None:
    break_some(photos, 14)
    with pytest.raises(DataError, match="and 4 more") as caught:
        open_data(str(photos))
    assert "broken 09" in caught.value.message and "broken 10" not in caught.value.message


def test_broken_pictures_are_left_out_on_request_and_recorded(photos: Path) -> None:
    names = break_some(photos)
    bundle = open_data(str(photos), skip_bad=True)
    assert sizes(bundle) == {"train": 16, "val": 5}
    assert [name for name, _ in bundle.skipped] == names
    assert bundle.skipped[1][1] == "zero bytes" and "left out: 3" in bundle.notes[-1]
    assert f"{names[1]} (zero bytes)" in bundle.notes[-1]
    for file in (photos / "val").rglob("*.jpg"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no picture of val"):
        open_data(str(photos), skip_bad=True)


def test_of_large_sets_it_is_remembered_which_files_were_good(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from xfer.data.inspect import verify

    looked: list[int] = []
    real = verify.verify
    monkeypatch.setattr(verify, "verify", lambda source, i: looked.append(i) or real(source, i))
    monkeypatch.setattr(verify, "REMEMBERED", 10)
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    names = break_some(photos)
    for _ in range(2):
        with pytest.raises(DataError, match="3 of 24"):
            open_data(str(photos))
    assert len(looked) == 24 + 3 + 5  # val is too small to be remembered
    (photos / names[0]).write_bytes((photos / "train/ant/0.jpg").read_bytes())
    (photos / "train/ant/1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"ant/1\.jpg \(zero bytes\); .*broken 01"):
        open_data(str(photos))
    (tmp_path / "cache/verified.npy").write_bytes(b"spoilt")
    with pytest.raises(DataError, match="3 of 24"):
        open_data(str(photos))


def test_a_path_that_is_not_there_names_its_neighbour(photos: Path) -> None:
    with pytest.raises(DataError, match="no such file") as caught:
        open_data(str(photos.parent / "my photo"))
    assert "did you mean my photos?" in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        open_data(str(photos.parent / "no" / "such" / "place"))
    with pytest.raises(DataError, match="no such file") as caught:
        open_data("digit")
    assert "digits" in str(caught.value)


def test_known_sets_are_looked_for_in_the_library(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_DATA", str(photos.parent))
    with pytest.raises(DataError, match="imagenet is not at") as caught:
        open_data("imagenet")
    assert str(photos.parent) in str(caught.value) and "image-net.org" in str(caught.value)
    assert sizes(open_data(photos.name)) == {"train": 16, "val": 5}


def test_an_empty_folder_holds_no_data(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    (tmp_path / "hollow" / "train" / "ant").mkdir(parents=True)
    for name in ("empty", "texts", "hollow"):
        for spec in (
            str(tmp_path / name),
            f"folder:{tmp_path / name}",
            f"images:{tmp_path / name}",
        ):
            with pytest.raises(DataError):
                open_data(spec)


def test_several_readings_are_an_error_that_names_them(photos: Path) -> None:
    (photos / "labels.csv").write_text("path,label\ntrain/ant/0.jpg,x\ntrain/bee/0.jpg,y\n")
    with pytest.raises(XferError, match="several ways") as caught:
        open_data(str(photos))
    assert caught.value.code == 2 and f"csv:{photos} or folder:{photos}" in str(caught.value)
    assert open_data(f"folder:{photos}").classes == ("ant", "bee")
    assert open_data(f"csv:{photos}", val="none").classes == ("x", "y")


def test_pictures_without_a_label_are_left_out_and_counted() -> None:
    info = DataInfo("x", "classify", ("a", "b"))
    labels = np.array([0, -1, 1, 1, -1, 0])
    source = ArraySource(info, [scene(seed=k) for k in range(6)], labels, list("pqrstu"))
    bundle = open_data(source, val="none")
    assert bundle.splits["train"].ids == ("p", "r", "s", "u")
    assert any("2 pictures without a label" in note for note in bundle.notes)


def test_a_folder_for_pictures_is_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"images": 4})
    assert open_data(str(tmp_path)).kind == "images"
    rows = "".join(f"{k},{'xy'[k % 2]}\n" for k in range(4))
    (tmp_path / "labels.csv").write_text(f"id,label\n{rows}")
    assert open_data(str(tmp_path)).format == "csv"


def test_folders_of_other_layouts_are_not_taken_for_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"JPEGImages": 2, "ImageSets": 2})
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(DataError, match="FORMAT:PATH"):
        open_data(str(tmp_path))


def test_pictures_without_labels_are_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"flat": 3})
    bundle = open_data(str(tmp_path / "flat"), val="none")
    assert (bundle.format, bundle.kind, bundle.classes) == ("images", "images", ())
    check_source(bundle.splits["train"])
    assert show(bundle, items=True)["splits"]["train"]["items"][0] == ["0.jpg", None]


def test_a_test_split_without_labels_is_not_scored(photos: Path) -> None:
    write_folder(photos, {"test": 3})
    bundle = open_data(str(photos))
    assert "test" not in bundle.splits and any("no labels" in note for note in bundle.notes)
    with pytest.raises(DataError, match="no labels"):
        open_data(str(photos), test="test")


def test_digits_come_with_a_split_that_no_seed_changes() -> None:
    bundle = open_data("digits", seed=5)
    assert sizes(bundle) == {"train": 1437, "val": 360} and bundle.classes == tuple("0123456789")
    assert bundle.split_json() == open_data("digits").split_json()
    check_source(bundle.splits["val"])
    counts = np.bincount(bundle.splits["val"].labels())
    assert counts.min() >= 34 and counts.max() <= 38
    images = [bundle.splits["val"][i].image for i in range(20)]
    assert images[0].shape == (8, 8, 3) and np.max(images) == 255


def test_a_source_a_mapping_or_a_bundle_can_be_given_itself() -> None:
    source = SyntheticSource(20)
    bundle = open_data(source)
    assert sizes(bundle) == {"train": 16, "val": 4} and bundle.name == "synthetic"
    both = {"train": source, "valid": SyntheticSource(8, seed=1, split="val")}
    again = open_data(both)
    assert sizes(again) == {"train": 20, "val": 8}
    assert open_data(again, val="none", test="val").splits["test"].ids == again.splits["val"].ids
    with pytest.raises(XferError, match="is not data"):
        open_data(3)


def test_a_class_of_the_users_own_is_found_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "zoo_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.py").write_text(
        "from xfer.testing.source import SyntheticSource\n"
        "class Whole(SyntheticSource):\n    pass\n"
        "class Split(SyntheticSource):\n    splits = ('train', 'val')\n"
        "    def __init__(self, split):\n"
        "        super().__init__(30 if split == 'train' else 9, split=split)\n"
    )
    with plugs.naming(trust=("zoo_of_tests", "foldr")):
        assert sizes(open_data("zoo_of_tests.data:Whole")) == {"train": 51, "val": 13}
        assert sizes(open_data("zoo_of_tests.data:Split")) == {"train": 30, "val": 9}
        for spec in (
            "zoo_of_tests.data:None_",
            "zoo_of_tests.nothing:X",
            "foldr:here",
            "foldr:./a",
        ):
            with pytest.raises(
                XferError, match="choose from: Split" if "None_" in spec else "formats"
            ):
                open_data(spec)
    with pytest.raises(XferError, match=r"zoo_of_tests.data:Whole.* not named in this call"):
        open_data("zoo_of_tests.data:Whole")


def test_a_fingerprint_changes_with_files_labels_and_splits(photos: Path) -> None:
    def mark(**options: object) -> str:
        return open_data(str(photos), **options).fingerprint()  # type: ignore[arg-type]

    first = mark()
    assert mark() == first
    assert len({first, mark(limit=3), mark(val="none"), mark(test="val")}) == 4
    write_picture(photos / "train/ant/0.jpg", seed=9, size=(30, 30))
    changed = mark()
    os.utime(photos / "train/ant/1.jpg", (1, 1))
    touched = mark()
    (photos / "train/ant/5.jpg").rename(photos / "train/bee/moved.jpg")
    assert len({first, changed, touched, mark()}) == 4


def test_show_lists_each_picture_with_its_class(photos: Path) -> None:
    val = show(open_data(str(photos)), items=True)["splits"]["val"]
    assert val["images"] == 5 and val["classes"] == {"ant": 2, "bee": 3}
    assert val["items"][0] == ["val/ant/0.jpg", "ant"] and len(val["items"]) == 5
    assert "items" not in show(open_data(str(photos)))["splits"]["val"]


def test_names_that_are_not_utf8_can_be_read_and_written_down(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    odd = os.fsencode(tmp_path / "a") + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(odd)).write_bytes((tmp_path / "a/0.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    bundle = open_data(str(tmp_path), val="none")
    assert sizes(bundle) == {"train": 7}
    json.dumps(bundle.split_json()).encode()
    bundle.fingerprint().encode()


def test_a_moved_subset_reads_what_it_says() -> None:
    info = DataInfo("x", "classify", ("a", "b"))
    labels = np.array([0, 1, 1, -1])
    source = ArraySource(info, [scene(seed=k) for k in range(4)], labels, list("pqrs"))
    check_source(source)
    moved = Subset(source, [3, 1, 0], classes=("z", "b", "a"), table=np.array([2, 1]))
    check_source(moved)
    assert moved.labels().tolist() == [-1, 1, 2] and moved.ids == ("s", "q", "p")
    assert pickle.loads(pickle.dumps(moved)).fingerprint() == moved.fingerprint()


def test_names_with_other_blanks_are_one_class_between_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/red_oak": 2, "train/elm": 2, "val/Red oak": 1, "val/elm ": 1})
    bundle = open_data(tmp_path)
    assert show(bundle)["splits"]["val"]["classes"] == {"elm": 1, "red_oak": 1}
    assert any("'Red oak' is taken for 'red_oak'" in note for note in bundle.notes)
    write_folder(tmp_path / "two", {"train/red_oak": 2, "train/red oak": 2, "val/Red-oak": 1})
    with pytest.raises(DataError, match="may be any of red oak, red_oak"):
        open_data(tmp_path / "two")


def test_skip_bad_as_a_key_is_answered_with_the_flag() -> None:
    with pytest.raises(XferError, match="does not use it") as caught:
        reading_keys(["data.skip_bad=true"])
    assert caught.value.hint is not None and "--skip-bad" in caught.value.hint
