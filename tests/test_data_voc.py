"""VOC's XML: its own tree and other tools' exports, from 1 or from 0, and XML that is none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import SIZE, voc_xml, write_voc
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import scene, write_picture
from PIL import Image

from xfer.data.open import open_data
from xfer.data.readers.voc.reader import corners
from xfer.data.readers.voc.xml import read_voc_xml
from xfer.data.sources.base import path_of
from xfer.errors import DataError, XferError
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source
from xfer.types import Source

FOUR = {f"{i:06d}": voc_xml([("cat", (1, 1, 5 + i, 6)), ("dog", (3, 4, 9, 30))]) for i in range(4)}
IDS = list(FOUR)


def opened(path: Path, **options: Any) -> Source:
    return open_data(str(path), **{"val": "none", **options}).splits["train"]


def test_boxes_count_from_one_and_name_the_last_pixel(tmp_path: Path) -> None:
    write_voc(tmp_path, {"000005": voc_xml([("dog", (1, 2, 40, 30)), ("cat", (7, 8, 7, 8))])})
    source = opened(tmp_path)
    check_source(source)
    found = annotation(source, 0)
    assert source.info.classes == ("cat", "dog") and source.ids == ("000005",)
    assert found.xyxy.tolist() == [[0, 1, 40, 30], [6, 7, 7, 8]]  # equal corners: one pixel
    assert found.labels.tolist() == [1, 0] and found.area.tolist() == [1160, 1]
    assert found.size == (30, 40)


def test_parts_of_an_object_are_not_objects(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_xml([("person", (5, 5, 20, 20))])})
    assert opened(tmp_path).info.classes == ("person",)
    assert annotation(opened(tmp_path), 0).xyxy.tolist() == [[4, 4, 20, 20]]


@pytest.mark.parametrize(("text", "flag"), [("1", True), ("0", False), ("", False), ("true", True),
                                            ("0.0", False), ("Unspecified", False)])  # fmt: skip
def test_difficult_is_kept(tmp_path: Path, text: str, flag: bool) -> None:
    write_voc(tmp_path, {"a": voc_xml([("cat", (1, 1, 5, 5))], difficult=text)})
    assert annotation(opened(tmp_path), 0).difficult.tolist() == [flag]


@pytest.mark.parametrize(
    "inside", ["", "VOC2007", "VOCdevkit/VOC2007", "TrainVal/VOCdevkit/VOC2011"]
)
def test_splits_are_the_lists_and_trainval_is_train_only_where_it_must_be(
    tmp_path: Path, inside: str
) -> None:
    lists = {"train": IDS[:2], "val": IDS[2:3], "trainval": IDS[:3], "test": IDS[3:]}
    write_voc(tmp_path / inside, FOUR, lists)
    per_class = tmp_path / inside / "ImageSets" / "Main" / "cat_train.txt"
    per_class.write_text("".join(f"{name}  1\n" for name in IDS))

    def sizes(**options: Any) -> dict[str, int]:
        bundle = open_data(str(tmp_path), **options)
        return {role: len(s) for role, s in bundle.splits.items()}

    assert sizes() == {"train": 2, "val": 1, "test": 1}
    asked: dict[str, Any] = {"train": "trainval", "val": "none", "test": "test"}
    assert sizes(**asked) == {"train": 3, "test": 1}
    assert opened(tmp_path, **asked).ids == tuple(IDS[:3])
    for name in ("train", "val"):
        (tmp_path / inside / "ImageSets" / "Main" / f"{name}.txt").unlink()
    assert sizes(val="none") == {"train": 3, "test": 1}


def test_two_sets_in_one_devkit_are_a_choice(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / "VOCdevkit" / year, FOUR)
    with pytest.raises(XferError, match="several sets") as caught:
        open_data(f"voc:{tmp_path}")
    assert "VOC2007 or voc:" in str(caught.value)
    assert len(opened(tmp_path / "VOCdevkit" / "VOC2012")) == 4


def test_exports_without_lists_and_with_other_folders(tmp_path: Path) -> None:
    write_voc(tmp_path, FOUR)
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    assert len(opened(tmp_path)) == 4
    (tmp_path / "images").rename(tmp_path.parent / "moved")
    with pytest.raises(DataError, match="no picture of all is there"):
        opened(tmp_path)
    assert len(opened(tmp_path, images=str(tmp_path.parent / "moved"))) == 4


def test_lists_may_name_the_pictures(tmp_path: Path) -> None:
    files = {name: voc_xml([("cat", (3, 4, 9, 9))]) for name in ("a", "b")}
    write_voc(tmp_path, files, {"train": ["a.jpg"], "val": ["b"]})
    found = open_data(str(tmp_path)).splits
    assert {role: source.ids for role, source in found.items()} == {"train": ("a",), "val": ("b",)}


def test_annotations_may_be_written_small(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_xml([("cat", (3, 4, 9, 9))])})
    (tmp_path / "Annotations").rename(tmp_path / "annotations")
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    bundle = open_data(str(tmp_path), val="none")
    assert (bundle.format, bundle.classes) == ("voc", ("cat",))
    assert "annotations" in bundle.notes[0]


def test_roboflows_xml_lies_beside_the_pictures(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for name, text in FOUR.items():
            write_picture(tmp_path / split / f"{name}.jpg", size=SIZE)
            (tmp_path / split / f"{name}.xml").write_text(text)
    bundle = open_data(str(tmp_path))
    assert bundle.format == "voc" and [len(s) for s in bundle.splits.values()] == [4, 4]
    assert len(opened(tmp_path / "train")) == 4


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        # zeros and no ones: counted from 0, nothing is lowered, nothing wraps around
        ([("a", (0, 0, 5, 6)), ("a", (3, 4, 9, 9))], [[0, 0, 5, 6], [3, 4, 9, 9]]),
        # a slip among boxes from 1
        ([("a", (0, 2, 5, 6)), ("a", (1, 1, 9, 9)), ("a", (1, 3, 4, 4))],
         [[0, 1, 5, 6], [0, 0, 9, 9], [0, 2, 4, 4]]),
        ([("a", (45.7, 3.2, 50, 9))], [[44.7, 2.2, 50, 9]]),
        ([("a", (0, 4, 0, 4))], [[0, 4, 1, 5]]),
    ],
)  # fmt: skip
def test_sets_that_count_from_zero_are_told_by_their_zeros(
    tmp_path: Path, objects: Any, expected: Any
) -> None:
    write_voc(tmp_path, {"a": voc_xml(objects, size=(60, 30))})
    write_picture(tmp_path / "JPEGImages" / "a.jpg", size=(60, 30))
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy == pytest.approx(np.array(expected))
    zeros = any(0 in box[:2] for _, box in objects)
    assert any("counted from" in note for note in bundle.notes) == zeros


def test_a_size_that_is_not_given_is_read_from_the_picture(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_xml([("cat", (1, 1, 99, 99))], size=None)})
    found = annotation(opened(tmp_path), 0)
    assert found.size == (30, 40) and found.xyxy.tolist() == [[0, 0, 40, 30]]


BOMB = '<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;">]>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (voc_xml([("&c;", (1, 1, 5, 5))], head=BOMB), "document type"),
        (voc_xml([], head='<!DOCTYPE a SYSTEM "file:///etc/passwd">'), "document type"),
        (voc_xml([("cat", (1, 1, 5, 5))])[:-30], "not valid XML"),
        ("", "not valid XML"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "not valid XML"),
        (voc_xml([("cat", ("nan", 1, 5, 5))]), "box of object 1"),
        (voc_xml([("cat", ("inf", 1, 5, 5))]), "box of object 1"),
        (voc_xml([("cat", ("left", 1, 5, 5))]), "box of object 1"),
        (voc_xml([("", (1, 1, 5, 5))]), "object 1 has no name"),
    ],
)
def test_xml_that_is_none_stops_the_run_unless_it_may_be_left_out(
    tmp_path: Path, text: str, said: str
) -> None:
    write_voc(tmp_path, {**FOUR, "bad": text})
    with pytest.raises(DataError, match=said) as caught:
        opened(tmp_path)
    assert "bad.xml" in str(caught.value) and len(str(caught.value).splitlines()) == 2
    bundle = open_data(str(tmp_path), val="none", skip_bad=True)
    assert len(bundle.splits["train"]) == 4
    assert [name for name, _ in bundle.skipped] == ["bad.xml"]


def test_a_bomb_in_utf16_is_no_way_around(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes(('<?xml version="1.0" encoding="utf-16"?>' + BOMB + "<a/>").encode("utf-16"))
    with pytest.raises(DataError, match="document type"):
        read_voc_xml(file)


@pytest.mark.parametrize("gone", ["JPEGImages/000001.jpg", "Annotations/000001.xml"])
def test_missing_files_are_named(tmp_path: Path, gone: str) -> None:
    write_voc(tmp_path, FOUR, {"train": IDS})
    (tmp_path / gone).unlink()
    with pytest.raises(DataError, match="000001"):
        opened(tmp_path)
    bundle = open_data(str(tmp_path), val="none", skip_bad=True)
    assert len(bundle.splits["train"]) == 3 and bundle.skipped[0][0] == "000001"


def test_a_test_split_without_annotations_is_not_scored(tmp_path: Path) -> None:
    write_voc(tmp_path, FOUR, {"train": IDS, "test": ["secret"]})
    write_picture(tmp_path / "JPEGImages" / "secret.jpg")
    bundle = open_data(str(tmp_path), val="none")
    assert list(bundle.splits) == ["train"]
    assert "test: no labels, so it is not scored" in bundle.notes


def test_a_class_that_train_has_not_stops_the_run(tmp_path: Path) -> None:
    files = {**FOUR, "odd": voc_xml([("fox", (1, 1, 5, 5))])}
    write_voc(tmp_path, files, {"train": IDS, "val": ["odd"]})
    with pytest.raises(DataError, match="classes that train does not have: fox"):
        open_data(str(tmp_path))


def test_a_class_that_val_has_not_is_absent_there(tmp_path: Path) -> None:
    write_voc(
        tmp_path, {**FOUR, "v": voc_xml([("dog", (1, 1, 5, 5))])}, {"train": IDS, "val": ["v"]}
    )
    val = open_data(str(tmp_path)).splits["val"]
    assert val.labels().tolist() == [[0, 1]] and annotation(val, 0).labels.tolist() == [1]
    check_source(val)


numbers = st.integers(1, 200)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1))
def test_corners_from_one_cover_the_pixels_that_they_name(rows: list[Any]) -> None:
    written = np.array(rows, np.float64)
    written[:, 2:] = np.maximum(written[:, :2], written[:, 2:])
    boxes = corners(written, from_one=True)
    # pixel k (from 1) is the span k - 1 .. k
    assert (boxes[:, 2:] - boxes[:, :2] == written[:, 2:] - written[:, :2] + 1).all()
    assert (boxes[:, :2] >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_told(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("xml") / "a.xml"
    file.write_bytes(data)
    try:
        read_voc_xml(file)
    except DataError as error:
        assert error.message


@pytest.mark.data
def test_bccd_is_read_as_published(picture_data: Path) -> None:
    root = picture_data / "bccd"
    bundle = open_data(f"voc:{root}", train="trainval", val="none", test="test", check=False)
    assert bundle.classes == ("Platelets", "RBC", "WBC")
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 292, "test": 72}
    counts: Counter[int] = Counter()
    for source in bundle.splits.values():
        check_source(source, samples=3)
        for i in range(len(source)):
            counts.update(annotation(source, i).labels.tolist())
    assert counts == {0: 361, 1: 4155, 2: 372}
    train = bundle.splits["train"]
    odd = annotation(train, list(train.ids).index("BloodImage_00338"))
    assert odd.area.min() == 1  # equal corners: one pixel, which stays


@pytest.mark.data
def test_voc_mini_equals_the_boxes_of_its_coco_twin(picture_data: Path) -> None:
    from xfer.data.readers.coco.json import read_coco_json

    root = picture_data / "voc-mini"
    source = open_data(f"voc:{root}", train="all", val="none", check=False).splits["train"]
    twin = read_coco_json(root / "detections" / "gt_coco.json")
    assert len(source) == 100 and source.info.classes == tuple(sorted(twin.categories))
    stems = [Path(name).stem for name in twin.file_names]
    for i, name in enumerate(source.ids):
        rows = twin.picture == stems.index(name)
        own = annotation(source, i).xyxy
        # the twin's width is xmax - xmin, and it counts from 1
        assert own[:, 2:] == pytest.approx(twin.boxes_xyxy[rows][:, 2:])
        assert own[:, :2] == pytest.approx(twin.boxes_xywh[rows][:, :2] - 1)


# --- folders of any name


def write_loose(root: Path, xmls: str, pictures: str, names: tuple[str, ...] = ("a", "b")) -> Path:
    """XML in one folder, pictures in another; a cat in the first, dogs in the others."""
    for i, name in enumerate(names):
        write_picture(root / pictures / f"{name}.jpg", seed=i, size=SIZE)
        file = root / xmls / f"{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(voc_xml([("dog" if i else "cat", (3, 4, 9, 9))]))
    return root


@pytest.mark.parametrize("names", [("a", "b"), ("cam0/1", "cam1/2"), ("x/y/1", "x/z/2")])
@pytest.mark.parametrize(
    ("xmls", "pictures"), [("annots", "images"), ("labels", "pics"), ("Annotations", "JPEGImages")]
)
def test_xml_in_a_folder_of_any_name(
    tmp_path: Path, xmls: str, pictures: str, names: tuple[str, ...]
) -> None:
    write_loose(tmp_path, xmls, pictures, names)
    bundle = open_data(str(tmp_path), val="none", kind="detect")
    assert bundle.format in ("voc", "xml") and bundle.classes == ("cat", "dog")
    paths = [str(path_of(bundle.splits["train"], i)) for i in range(2)]
    assert [path.removesuffix(".jpg") for path in paths] == [
        str(tmp_path / pictures / name) for name in names
    ]
    check_source(bundle.splits["train"])
    assert len(open_data(f"voc:{tmp_path}", val="none").splits["train"]) == 2


@pytest.mark.parametrize(
    ("xmls", "pictures"),
    [("{}/annotations", "{}/images"), ("annots/{}", "images/{}"), ("{}_xml", "{}_images")],
)
def test_xml_in_a_folder_of_each_split(tmp_path: Path, xmls: str, pictures: str) -> None:
    """The same names in both splits: each takes its own pictures."""
    for split in ("train", "val"):
        write_loose(tmp_path, xmls.format(split), pictures.format(split))
    bundle = open_data(str(tmp_path), kind="detect")
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 2, "val": 2}
    for role, source in bundle.splits.items():
        paths = [path for i in range(2) if (path := path_of(source, i)) is not None]
        assert len(paths) == 2 and all(role in str(p.relative_to(tmp_path)) for p in paths)


@pytest.mark.parametrize("inside", ["scan{}/frames", "run{}/JPEG"])
def test_pictures_next_to_their_xml_are_taken_where_every_folder_has_that_name(
    tmp_path: Path, inside: str
) -> None:
    for k in range(3):
        top = inside.format(k).partition("/")[0]
        write_loose(tmp_path, f"{top}/notes", inside.format(k), ("a", "b"))
    bundle = open_data(str(tmp_path), val="none", kind="detect")
    source = bundle.splits["train"]
    assert len(source) == 6 and not any("warning" in n and "name" in n for n in bundle.notes)
    for i, name in enumerate(source.ids):
        place = path_of(source, i)
        assert place is not None and place.parts[-3] == name.partition("/")[0]


def test_folders_of_annotations_named_like_splits_are_splits(tmp_path: Path) -> None:
    files = {f"{split}/{k}": voc_xml([("cat", (1, 1, 9, 9)), ("dog", (3, 4, 9, 30))])
             for split, n in (("training", 4), ("dev", 2)) for k in range(n)}  # fmt: skip
    write_voc(tmp_path, files)
    splits = open_data(str(tmp_path)).splits
    assert {role: len(source) for role, source in splits.items()} == {"train": 4, "val": 2}
    (tmp_path / "Annotations" / "more").mkdir()
    (tmp_path / "Annotations" / "more" / "x.xml").write_text(files["dev/0"])
    write_picture(tmp_path / "JPEGImages" / "more" / "x.jpg", size=SIZE)
    assert len(open_data(str(tmp_path), val="none").splits["train"]) == 7  # not all are splits


def test_pictures_of_several_folders_with_one_name_are_asked_about(tmp_path: Path) -> None:
    write_loose(tmp_path, "annots", "images/left")
    write_loose(tmp_path, "annots", "images/right")
    with pytest.raises(DataError, match=r"'a' may be .*left/a.jpg or .*right/a.jpg"):
        open_data(str(tmp_path), kind="detect", val="none")


def test_class_folders_with_xml_are_asked_about_unless_a_task_decides(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        write_loose(tmp_path, name, name)
    with pytest.raises(XferError, match="several ways"):
        open_data(str(tmp_path), val="none")
    assert open_data(str(tmp_path), val="none", kind="classify").classes == ("ant", "bee")
    assert open_data(str(tmp_path), val="none", kind="detect").classes == ("cat", "dog")


def test_other_xml_is_no_annotation(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        write_picture(tmp_path / name / "0.jpg")
        (tmp_path / name / "about.xml").write_text("<rdf><description/></rdf>")
    assert open_data(str(tmp_path), val="none").format == "folder"


@pytest.mark.parametrize("line", ["{}", "images/{}.jpg", "images/{}.jpg annots/{}.xml", "./{}.jpg"])
def test_lists_beside_the_annotations_are_splits(tmp_path: Path, line: str) -> None:
    write_loose(tmp_path, "annots", "images", ("a", "b", "c"))
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        text = "\n".join(line.format(name, name) for name in names)
        (tmp_path / f"{split}.txt").write_text(text)
    bundle = open_data(str(tmp_path), kind="detect")
    assert {role: s.ids for role, s in bundle.splits.items()} == {
        "train": ("a", "b"),
        "val": ("c",),
    }


def test_a_list_of_something_else_is_told(tmp_path: Path) -> None:
    write_loose(tmp_path, "annots", "images")
    (tmp_path / "train.txt").write_text("see the readme\nfor more\n")
    notes = open_data(str(tmp_path), kind="detect", val="none").notes
    assert "not used: 1 list (train.txt)" in notes


@pytest.mark.parametrize("xmls", ["Annotations", "annots"])
def test_pictures_without_xml_are_background(tmp_path: Path, xmls: str) -> None:
    write_loose(tmp_path, xmls, "images", ("a", "b", "c"))
    (tmp_path / xmls / "c.xml").unlink()
    write_picture(tmp_path / "images" / "d.jpg", size=SIZE)
    bundle = open_data(str(tmp_path), kind="detect", val="none")
    source = bundle.splits["train"]
    assert [len(annotation(source, i)) for i in range(4)] == [1, 1, 0, 0]
    assert source.ids == ("a", "b", "c", "d")
    assert "all: 2 pictures without an annotation file are background" in bundle.notes


def test_pictures_that_no_list_names_are_no_background(tmp_path: Path) -> None:
    write_voc(tmp_path, FOUR, {"train": IDS})
    write_picture(tmp_path / "JPEGImages" / "more.jpg", size=SIZE)
    assert len(opened(tmp_path)) == 4


def named(text: str, picture: str) -> str:
    return text.replace("<annotation>", f"<annotation><filename>{picture}</filename>")


def test_a_renamed_annotation_file_is_that_of_its_filename(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / "JPEGImages" / f"IMG {i}.jpg", size=SIZE)
        file = tmp_path / "Annotations" / f"{i}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(named(voc_xml([("cat", (1 + i, 4, 9, 9))]), f"IMG {2 - i}.jpg"))
    bundle = open_data(str(tmp_path), val="none")
    source = bundle.splits["train"]
    paths = [path for i in range(3) if (path := path_of(source, i)) is not None]
    assert [path.name for path in paths] == ["IMG 2.jpg", "IMG 1.jpg", "IMG 0.jpg"]
    assert any(
        "3 pictures by the name in their file: 0.xml is of IMG 2.jpg" in note
        for note in bundle.notes
    )
    (tmp_path / "Annotations" / "1.xml").write_text(
        named(voc_xml([("cat", (1, 4, 9, 9))]), "IMG 2.jpg")
    )
    with pytest.raises(DataError, match=r"it names IMG 2.jpg, as 0.xml does"):
        opened(tmp_path)


def test_a_filename_of_another_picture_that_is_there_is_told(tmp_path: Path) -> None:
    write_voc(tmp_path, {name: named(text, "000002.jpg") for name, text in FOUR.items()})
    notes = open_data(str(tmp_path), val="none").notes
    told = [note for note in notes if "another picture" in note]
    assert len(told) == 1 and "3 annotation files" in told[0]


def test_shares_and_swapped_corners_are_read_as_such(tmp_path: Path) -> None:
    write_voc(tmp_path, {str(i): voc_xml([("cat", (0.25, 0.5, 0.75, 0.9))]) for i in range(4)})
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy == pytest.approx(np.array([[10, 15, 30, 27]]))
    assert any("look like shares" in note for note in bundle.notes)


def test_sides_where_corners_are_due_are_read_as_sides(tmp_path: Path) -> None:
    boxes = [(20 + i, 3 + i, 10, 8) for i in range(8)]
    write_voc(tmp_path, {str(i): voc_xml([("cat", box)]) for i, box in enumerate(boxes)})
    bundle = open_data(str(tmp_path), val="none")
    assert any("look like" in note for note in bundle.notes)


def test_a_turned_picture_is_in_the_frame_of_its_boxes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    write_voc(tmp_path, {str(i): voc_xml([("cat", (2, 2, 28, 38))]) for i in range(3)})
    for path in (tmp_path / "JPEGImages").iterdir():
        Image.fromarray(scene(*SIZE)).save(path, exif=exif)
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy.tolist() == [[1, 1, 28, 38]]
    assert bundle.splits["train"][0].image.shape == (40, 30, 3)
    assert any("EXIF turns" in note for note in bundle.notes)


def test_boxes_beside_masks_are_not_read_where_masks_are(tmp_path: Path) -> None:
    """Oxford's pets: annotations/trimaps for every picture, annotations/xmls for some heads."""
    write_loose(tmp_path, "annotations/xmls", "images", ("a", "b", "c"))
    for name in ("a", "b", "c"):
        mask = np.zeros(SIZE[::-1], np.uint8)
        mask[:9] = 1
        (tmp_path / "annotations" / "trimaps").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "annotations" / "trimaps" / f"{name}.png")
    assert open_data(str(tmp_path), val="none").format == "masks"
    assert open_data(str(tmp_path), val="none", kind="segment").format == "masks"
    assert open_data(str(tmp_path), val="none", kind="detect").format == "xml"


def test_cvats_own_xml_is_told_as_such(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg", size=SIZE)
    text = '<annotations><image name="a.jpg" width="40" height="30"></image></annotations>'
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match="CVAT's own XML, which is not read"):
        open_data(str(tmp_path), kind="detect", val="none")
