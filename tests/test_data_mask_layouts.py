"""Which folders hold pictures and masks, and which mask belongs to which picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import SIZE, make_mask, mask_of, write_mask, write_picture, write_set
from PIL import Image

from xfer.data.open import open_data
from xfer.data.readers.base import FORMATS
from xfer.data.readers.masks.layout import find_layout, find_places, first_pair
from xfer.data.readers.masks.stems import match
from xfer.errors import DataError, XferError

NAMES = ("p1", "p2", "p3", "p4")


def write_masks(root: Path, pattern: str, values: tuple[int, ...] = (0, 1), seed: int = 0) -> None:
    for i, name in enumerate(NAMES):
        write_mask(root / pattern.format(name), make_mask(values, seed + i))


def sizes(root: Path, spec: str = "{}", **options) -> dict[str, int]:
    found = open_data(spec.format(root), kind="segment", cut=False, **options)
    assert found.format == "masks"
    return {role: len(source) for role, source in found.splits.items()}


# names


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.from_regex(r"[a-z]{1,4}[-_][0-9]{1,3}", fullmatch=True), min_size=3, unique=True),
    st.sampled_from(["_", "-", ".", " "]),
    st.from_regex(r"[A-Za-z]{1,6}[0-9]?", fullmatch=True),
    st.booleans(),
)
def test_any_text_that_masks_add_is_learnt(
    stems: list[str], mark: str, word: str, before: bool
) -> None:
    masks = [f"{word}{mark}{s}" if before else f"{s}{mark}{word}" for s in stems]
    forms = match(stems, masks)
    assert forms[0].pairs == dict(zip(masks, stems, strict=True))
    assert forms[0].ending == word
    assert len(forms) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 999), min_size=3, unique=True),
    st.permutations(["training", "manual", "HO", "sat"]),
)
def test_a_word_may_stand_for_another(numbers: list[int], words: list[str]) -> None:
    pictures = [f"{n}_{words[0]}" for n in numbers]
    masks = [f"{n}_{words[1]}" for n in numbers]
    assert match(pictures, masks)[0].pairs == dict(zip(masks, pictures, strict=True))


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        (["1", "2"], ["11", "12"]),  # other numbers
        (["train_1", "train_2"], ["test_1", "test_2"]),
        (["0", "1", "2"], ["m0", "m1", "m2"]),
        (["cat", "dog"], ["cats", "dogs"]),
    ],
)
def test_names_that_prove_nothing_pair_nothing(pictures: list[str], masks: list[str]) -> None:
    assert match(pictures, masks) == []


def test_numbers_behind_a_mask_are_further_masks_unless_pictures_are_numbered() -> None:
    (form,) = match(["a (1)", "b"], ["a (1)_mask", "a (1)_mask_1", "a (1)_mask_2", "b_mask"])
    assert sorted(form.pairs.values()) == ["a (1)", "a (1)", "a (1)", "b"]
    (form,) = match(["x_1", "x_2", "x"], ["x_1", "x_2", "x", "x_3"])
    assert "x_3" not in form.pairs  # its picture is lost


def test_numbers_that_are_glued_to_a_word_number_the_masks(tmp_path: Path) -> None:
    (form,) = match(["a", "b", "c"], ["a_mask", "b_mask", "c_mask", "c_mask2"])
    assert form.pairs["c_mask2"] == "c"
    (form,) = match(["a", "b"], ["a_seg1", "a_seg2", "a_seg3", "b_seg1"])
    assert [*form.pairs.values()] == ["a", "b", "a", "a"]
    (form,) = match(["1_training", "2_training"], ["1_manual1", "2_manual1"])
    assert form.ending == "manual1"
    for i, name in enumerate(("a", "b")):
        write_picture(tmp_path / f"images/{name}.png", i)
        for k in (1, 2):
            mask = make_mask((0, 1), 5 * i + k)
            mask[2:] = 1
            write_mask(tmp_path / f"labels/{name}_reader{k}.png", mask)
    with pytest.raises(XferError, match="cover each other"):
        open_data(tmp_path, kind="segment")
    assert sizes(tmp_path, label="2") == {"train": 2}


# folders


@pytest.mark.parametrize("spec", ["{}", "masks:{}"])
def test_domains_below_splits(tmp_path: Path, spec: str) -> None:
    for split in ("Train", "Val"):
        for domain in ("Forest", "Coast"):
            write_set(tmp_path, f"{split}/{domain}/images_png/{{}}.png",
                      f"{split}/{domain}/masks_png/{{}}.png", NAMES)  # fmt: skip
    write_picture(tmp_path / "Test/Coast/images_png/9.png")
    assert sizes(tmp_path, spec) == {"train": 8, "val": 8}


@pytest.mark.parametrize("spec", ["{}", "masks:{}"])
def test_splits_are_words_inside_names(tmp_path: Path, spec: str) -> None:
    for split, names in (("Training", NAMES), ("Validation", ("q1", "q2"))):
        write_set(tmp_path, f"Skin_Part1-2_{split}_Input/{{}}.jpg",
                  f"Skin_Part1_{split}_GroundTruth/{{}}_lesion.png", names)  # fmt: skip
    assert sizes(tmp_path, spec) == {"train": 4, "val": 2}
    source = open_data(tmp_path, cut=False).splits["val"]
    assert source.ids == ("Skin_Part1-2_Validation_Input/q1.jpg",
                          "Skin_Part1-2_Validation_Input/q2.jpg")  # fmt: skip


def test_a_mask_of_val_is_never_that_of_train(tmp_path: Path) -> None:
    train = write_set(tmp_path, "images/train/{}.png", "masks/train/{}.png", NAMES)
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / f"images/val/{name}.png", i)
        write_mask(tmp_path / f"masks/val/{name}.png", make_mask((0, 2), i))
    found = open_data(tmp_path, cut=False)
    assert np.array_equal(mask_of(found.splits["train"]), train["p1"])
    assert not (mask_of(found.splits["val"]) == 1).any()


@pytest.mark.parametrize("truth", ["first_manual", "manual1", "roi"])
def test_two_folders_that_fit_are_asked_about(tmp_path: Path, truth: str) -> None:
    for name in NAMES:
        write_picture(tmp_path / f"training/images/{name}_training.png")
    write_masks(tmp_path, f"training/{truth}/{{}}_{truth}.png")
    write_masks(tmp_path, "training/mask/{}_training_mask.png", (0, 2), 9)
    with pytest.raises(XferError, match=f"training/{truth}/") as caught:
        open_data(tmp_path, kind="segment")
    assert f"data.label={truth}" in str(caught.value.hint)
    assert "data.label=mask" in str(caught.value.hint)
    for label, values in ((truth, {0, 1}), ("mask", {0, 2}), (f"training/{truth}", {0, 1})):
        found = open_data(tmp_path, val="none", label=label)
        assert set(map(int, found.classes)) == values
        assert any(note.startswith("not used: 1 folder (training/") for note in found.notes)
    with pytest.raises(XferError, match=r"data\.label=other"):
        open_data(tmp_path, label="other")
    assert (first_pair(tmp_path) or (None,))[0] == tmp_path / "training/images"


def test_folders_of_other_names_in_train_and_test_are_asked_about(tmp_path: Path) -> None:
    write_set(tmp_path, "train/images/{}.png", "train/manual/{}.png", NAMES)
    write_set(tmp_path, "test/images/{}.png", "test/mask/{}.png", NAMES)
    with pytest.raises(XferError, match=r"train/manual/.*|test/mask/.*"):
        open_data(tmp_path)
    assert sizes(tmp_path, label="manual") == {"train": 4}


def test_two_endings_that_fit_are_asked_about(tmp_path: Path) -> None:
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / f"Eye_{name}.jpg", i)
    write_masks(tmp_path, "Eye_{}_1stHO.png")
    write_masks(tmp_path, "Eye_{}_2ndHO.png", (0, 1), 7)
    with pytest.raises(XferError, match=r"1stHO.*2ndHO") as caught:
        open_data(tmp_path, kind="segment")
    assert "data.label=2ndHO" in str(caught.value.hint)
    assert np.array_equal(
        mask_of(open_data(tmp_path, label="2ndHO", val="none").splits["train"]),
        make_mask((0, 1), 7),
    )


def test_other_forms_of_the_masks_are_passed_over(tmp_path: Path) -> None:
    masks = write_set(tmp_path, names=NAMES)
    write_masks(tmp_path, "masks/{}_color.png", (0, 9))
    write_masks(tmp_path, "masks_overlay/{}.png", (0, 9))
    write_masks(tmp_path, "masks_rgb/{}.png", (0, 9))
    found = open_data(tmp_path, cut=False)
    assert np.array_equal(mask_of(found.splits["train"]), masks["p1"])
    assert any("4 masks without a picture" in note for note in found.notes)
    assert any("2 folders (masks_overlay/, masks_rgb/)" in note for note in found.notes)


def test_folders_without_words_are_told_by_what_they_hold(tmp_path: Path) -> None:
    masks = write_set(tmp_path, "aerial/{}.png", "roads/{}.png", NAMES)
    found = open_data(tmp_path, kind="segment", cut=False)
    assert np.array_equal(mask_of(found.splits["train"]), masks["p1"])


def test_a_picture_of_another_kind_is_no_mask(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for kind, seed in (("rgb", 0), ("depth", 5)):
            for i in range(3):
                write_picture(tmp_path / f"{name}/{kind}/{i}.png", seed + i)
    assert find_places(tmp_path) == []
    assert open_data(tmp_path, cut=False).classes == ("cat", "dog")


@pytest.mark.parametrize("other", ["depth", "depth/train", "thumbs"])
def test_folders_beside_the_pictures_are_not_pictures_too(tmp_path: Path, other: str) -> None:
    split = "/train" if "/" in other else ""
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / f"images{split}/{name}.png", i)
        write_picture(tmp_path / f"{other}/{name}.png", i + 9)
    write_masks(tmp_path, f"masks{split}/{{}}.png")
    found = open_data(tmp_path, cut=False)
    assert found.splits["train"].ids == tuple(f"images{split}/{name}.png" for name in NAMES)
    assert any(f"not used: 1 folder ({other}/)" in note for note in found.notes)


def test_masks_that_fit_pictures_in_two_folders_are_asked_about(tmp_path: Path) -> None:
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / f"rgb/{name}.png", i)
        write_picture(tmp_path / f"photos/{name}.png", i + 9)
    write_masks(tmp_path, "masks/{}.png")
    with pytest.raises(XferError, match="which are meant") as caught:
        open_data(tmp_path, kind="segment")
    assert "data.images=rgb" in str(caught.value.hint)
    found = open_data(tmp_path, cut=False, images="rgb")
    assert found.splits["train"].ids == tuple(f"rgb/{name}.png" for name in NAMES)


def test_class_folders_with_equal_names_are_no_masks(tmp_path: Path) -> None:
    for n, name in enumerate(("mask", "no_mask", "target")):
        for i in range(3):
            write_picture(tmp_path / f"{name}/{i}.png", 10 * n + i)
    assert find_places(tmp_path) == []


def test_a_folder_for_each_picture(tmp_path: Path) -> None:
    whole = []
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / f"{name}/images/{name}.png", i)
        parts = np.zeros((3, *SIZE), np.uint8)
        for k in range(1 + i % 3):
            parts[k, 1:5, 1 + 4 * k : 4 + 4 * k] = 255
            write_mask(tmp_path / f"{name}/masks/{i}c{k}f.png", parts[k])
        whole.append(parts.max(0) > 0)
    found = open_data(tmp_path, val="none")
    source = found.splits["train"]
    assert found.classes == ("background", "foreground")
    assert [len(source), *(np.array_equal(mask_of(source, i), whole[i]) for i in range(4))] == [
        4, True, True, True, True,
    ]  # fmt: skip
    assert any("2 pictures with several masks" in note for note in found.notes)


def test_parts_of_a_mask_are_joined_and_two_drawings_of_it_asked_about(tmp_path: Path) -> None:
    masks = write_set(tmp_path, "{}.png", "{}_mask.png", NAMES, (0, 255))
    second = np.zeros(SIZE, np.uint8)
    second[masks["p2"] == 0] = 255
    write_mask(tmp_path / "p2_mask_1.png", second)
    source = open_data(tmp_path, val="none").splits["train"]
    assert mask_of(source, 1).all() and np.array_equal(mask_of(source, 0), masks["p1"] // 255)
    stamp, before = source.fingerprint(), open_data(tmp_path, val="none").fingerprint()
    for name in NAMES:
        write_mask(tmp_path / f"{name}_mask_2.png", masks[name])
    assert open_data(tmp_path, val="none", check=False, label="mask_2").fingerprint() != before
    with pytest.raises(XferError, match=r"p1_mask\.png and p1_mask_2\.png"):
        open_data(tmp_path, val="none")
    assert stamp == source.fingerprint()


def test_masks_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    masks = write_set(tmp_path, "{}.png", "{}_mask.png", NAMES, (0, 1))
    other = np.zeros(SIZE, np.uint8)
    other[np.unravel_index(np.flatnonzero(masks["p3"])[0], SIZE)] = 2
    other[masks["p3"] == 0] = 2
    write_mask(tmp_path / "p3_mask_1.png", other)
    with pytest.raises(DataError, match=r"p3_mask_1\.png.* differ at 1 pixels"):
        open_data(tmp_path, val="none")


def test_masks_in_two_formats_are_read_from_the_one_without_loss(tmp_path: Path) -> None:
    masks = write_set(tmp_path, names=NAMES)
    for name in NAMES:
        Image.fromarray(masks[name] * 90).save(tmp_path / f"masks/{name}.jpg")
    assert np.array_equal(mask_of(open_data(tmp_path, cut=False).splits["train"]), masks["p1"])


def test_pictures_of_a_split_without_masks_are_not_scored(tmp_path: Path) -> None:
    write_set(tmp_path, "train/images/{}.png", "train/masks/{}.png", NAMES)
    for i in range(3):
        write_picture(tmp_path / f"test/images/t{i}.png")
        write_picture(tmp_path / f"extra/e{i}.png")
    found = open_data(tmp_path, cut=False)
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 4}
    assert any("test: no labels" in note for note in found.notes)
    assert any("not used: 1 folder (extra/)" in note for note in found.notes)
    layout = find_layout(tmp_path)
    assert layout is not None and [len(p.without_mask) for p in layout.parts] == [3, 0]


# names of folders that other tools and people use


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("{0}Dataset/image/{1}.png", "{0}Dataset/mask/{1}.png"),
        ("{0}_img/{1}.jpg", "{0}_lab/{1}.png"),
        ("images_{0}/{1}.png", "masks_{0}/{1}.png"),
        ("tiff/{0}/{1}.tiff", "tiff/{0}_labels/{1}.tif"),
        ("{0}/sat/{1}.tiff", "{0}/map/{1}.tif"),
        ("{0}_x/{1}.png", "{0}_y/{1}.png"),
        ("top/images/{0}/a/{1}.png", "top/gt/{0}/a/{1}.png"),
        ("images/10k/{0}/{1}.png", "labels/sem_seg/masks/{0}/{1}.png"),
        ("{0}/images/{1}.png", "{0}/v2/labels/{1}.png"),
        ("x_{0}/seq/Images/{1}.png", "x_{0}/seq/Labels/{1}.png"),
    ],
)
def test_splits_and_masks_by_parts_of_names(tmp_path: Path, pictures: str, masks: str) -> None:
    seed = 0
    for split, count in (("Train", 4), ("Test", 3)):
        for name in NAMES[:count]:
            seed += 1
            write_picture(tmp_path / pictures.format(split, name), seed)
            write_mask(tmp_path / masks.format(split, name), make_mask((0, 1), seed))
    assert sizes(tmp_path) == {"train": 4, "test": 3}


def test_short_forms_of_splits_count_together(tmp_path: Path) -> None:
    write_set(tmp_path, "imagesTr/{}.png", "labelsTr/{}.png", NAMES)
    assert sizes(tmp_path) == {"train": 4}
    write_set(tmp_path, "imagesTs/{}.png", "labelsTs/{}.png", NAMES[:2])
    assert sizes(tmp_path) == {"train": 4, "test": 2}


def test_folders_named_by_their_picture(tmp_path: Path) -> None:
    for i, name in enumerate(("IM007", "IM012")):
        write_picture(tmp_path / f"{name}/{name}_Photo/{name}.bmp", i)
        write_mask(tmp_path / f"{name}/{name}_spot/{name}_spot.bmp", make_mask((0, 1), i))
    assert sizes(tmp_path) == {"train": 2}


def test_equal_names_in_each_picture_folder(tmp_path: Path) -> None:
    for i, name in enumerate(("one", "two", "six")):
        write_picture(tmp_path / f"{name}/photo.jpg", i)
        write_mask(tmp_path / f"{name}/vessels.png", make_mask((0, 1), i))
    found = open_data(tmp_path, kind="segment", cut=False)
    assert len(found.splits["train"]) == 3 and found.format == "masks"
    for name in ("one", "two", "six"):
        write_mask(tmp_path / f"{name}/discs.png", make_mask((0, 1), 9))
    with pytest.raises(XferError, match="'discs' or of names with 'vessels'"):
        open_data(tmp_path, kind="segment", cut=False)


def test_two_masks_by_number_that_cover_each_other_are_asked_about(tmp_path: Path) -> None:
    for i, name in enumerate(("a3", "b13", "c1")):
        write_picture(tmp_path / f"images/{name}.png", i)
        for k in (1, 2):
            mask = make_mask((0, 1), 5 * i + k)
            mask[2:, :] = 1
            write_mask(tmp_path / f"masks/{name}_{k}.png", mask)
    with pytest.raises(XferError, match=r"a3_1\.png and a3_2\.png") as caught:
        open_data(tmp_path, kind="segment")
    assert "data.label=1 or data.label=2" in str(caught.value.hint)
    assert sizes(tmp_path, label="2") == {"train": 3}


# official lists


def write_listed(root: Path, count: int = 8, masks: str = "masks/{}.png") -> list[str]:
    names = [f"img {i}" for i in range(count)]
    write_set(root, "images/{}.jpg", masks, names)
    return names


LINES = {
    "stems": "{}",
    "names": "{}.jpg",
    "paths": "images/{}.jpg",
    "paths of another machine": "/home/me/set/images/{}.jpg",
    "windows": "images\\{}.jpg",
    "masks": "{}.png",
}


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize(
    "files", [("train.txt", "val.txt"), ("train_list.txt", "val_list.txt"), ("lists/train.txt",
                                                                           "lists/valid.txt")]
)  # fmt: skip
def test_official_lists_divide_the_pictures(
    tmp_path: Path, form: str, files: tuple[str, str]
) -> None:
    names = write_listed(tmp_path)
    (tmp_path / files[0]).parent.mkdir(exist_ok=True)
    for file, own in zip(files, (names[:5], names[5:7]), strict=True):
        (tmp_path / file).write_text("".join(f"{LINES[form].format(n)}\n" for n in own))
    found = open_data(tmp_path)
    assert {role: s.ids for role, s in found.splits.items()} == {
        "train": tuple(f"images/{n}.jpg" for n in names[:5]),
        "val": tuple(f"images/{n}.jpg" for n in names[5:7]),
    }
    assert any("1 picture in no list (img 7.jpg)" in note for note in found.notes)


def test_a_list_of_val_alone_leaves_the_rest_to_train(tmp_path: Path) -> None:
    names = write_listed(tmp_path, 9, "labels/{}_P.png")
    (tmp_path / "valid.txt").write_text(f"{names[2]}.jpg\n{names[7]}.jpg\ngone.jpg\n")
    found = open_data(tmp_path)
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 7, "val": 2}
    assert any("1 of 3 lines name no picture (gone.jpg)" in note for note in found.notes)


def test_lines_with_a_picture_and_its_mask_decide(tmp_path: Path) -> None:
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / f"images/{name}.jpg", i)
    write_masks(tmp_path, "annotations/{}.png", (0, 1))
    write_masks(tmp_path, "other/{}.png", (0, 1), 20)
    for file, own in (("train.txt", NAMES[:3]), ("val.txt", NAMES[3:])):
        text = "".join(f"images/{n}.jpg other/{n}.png\n" for n in own)
        (tmp_path / file).write_text(text)
    found = open_data(tmp_path, label="annotations")
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 3, "val": 1}
    assert np.array_equal(mask_of(found.splits["val"]), make_mask((0, 1), 23))


def test_lists_that_are_not_used_are_counted(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_set(tmp_path, f"{split}/images/{{}}.png", f"{split}/masks/{{}}.png", NAMES)
        (tmp_path / f"{split}.txt").write_text("p1\np2\n")
    found = open_data(tmp_path)
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 4, "val": 4}
    assert any("not used: 2 lists (train.txt, val.txt)" in note for note in found.notes)


def test_a_list_about_something_else_is_not_used(tmp_path: Path) -> None:
    write_listed(tmp_path)
    (tmp_path / "train.txt").write_text("epoch 1 loss 0.3\nepoch 2 loss 0.2\n")
    found = open_data(tmp_path)
    assert len(found.splits["train"]) + len(found.splits["val"]) == 8
    assert any("not used: 1 list (train.txt)" in note for note in found.notes)


def test_a_list_of_test_alone_keeps_its_pictures_out_of_train(tmp_path: Path) -> None:
    names = write_listed(tmp_path)
    (tmp_path / "test.txt").write_text("\n".join(names[6:]))
    found = open_data(tmp_path, val="none")
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 6, "test": 2}


def test_lists_may_be_tables_and_other_tables_are_counted(tmp_path: Path) -> None:
    names = write_listed(tmp_path)
    for file, own in (("train.csv", names[:6]), ("val.csv", names[6:])):
        rows = "".join(f"images/{n}.jpg,masks/{n}.png\n" for n in own)
        (tmp_path / file).write_text(f"picture,mask\n{rows}")
    (tmp_path / "patients.csv").write_text("age,height\n3,90\n")
    found = open_data(f"masks:{tmp_path}")
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 6, "val": 2}
    assert not any("name no picture" in note for note in found.notes)
    assert any("not used: 1 table (patients.csv)" in note for note in found.notes)


def test_masks_of_other_splits_are_not_said_to_have_other_names(tmp_path: Path) -> None:
    write_set(tmp_path, "images/train/{}.png", "masks/val/{}.png", NAMES)
    with pytest.raises(DataError, match=r"other names than their pictures \(images/train/p1"):
        open_data(tmp_path, kind="segment")


def test_lists_of_folds_are_not_taken_for_splits(tmp_path: Path) -> None:
    names = write_listed(tmp_path)
    for k in range(2):
        (tmp_path / f"train_fold{k}.txt").write_text("\n".join(names[k::2]))
        (tmp_path / f"val_fold{k}.txt").write_text("\n".join(names[1 - k :: 2]))
    found = open_data(tmp_path, val="none")
    assert len(found.splits["train"]) == 8
    assert any("not used: 4 lists (train_fold0.txt" in note for note in found.notes)


def test_a_json_beside_folders_without_words_says_what_they_are(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / f"val2017/{i}.jpg", i)
        for kind in ("panoptic", "semantic"):
            write_mask(tmp_path / f"{kind}_val2017/{i}.png", make_mask((0, 1), i))
    assert FORMATS.get("masks")().recognise(tmp_path) is not None
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text('{"images": []}')
    assert FORMATS.get("masks")().recognise(tmp_path) is None


def test_a_word_in_every_name_divides_the_pictures(tmp_path: Path) -> None:
    names = [f"train_{i}" for i in range(4)] + [f"testA_{i}" for i in range(2)]
    write_set(tmp_path, "{}.bmp", "{}_anno.bmp", names)
    found = open_data(tmp_path, kind="segment", cut=False)
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 4, "test": 2}
    assert any("by a word in the pictures' names: train 4, test 2" in n for n in found.notes)
    write_set(tmp_path, "{}.bmp", "{}_anno.bmp", ["other"])
    assert sizes(tmp_path) == {"train": 7}
