"""docs/data.md: every tree in it is built and opened as it stands, every command of it is typed.

The files that a tree names without their content are made here, see `content`.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import voc_xml
from pictures import encoded
from PIL import Image

from xfer.cli.app import main
from xfer.data.images import limits, picture_file
from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.walk import MAX_DEPTH
from xfer.data.open import open_data
from xfer.data.readers.base import EMBEDDED, FORMATS
from xfer.files import LARGE, NOTE, TABLE

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "data.md"
WIDTH, HEIGHT = 32, 24
FOUND = re.compile(r"(\w+): ((?:\w+ \d+(?:, )?)+)(?:; (.*))?$")  # csv: train 4, val 2; ant, bee


@dataclass
class Block:
    """A tree of the document, and the commands below it with what they say."""

    heading: str
    tree: list[str] = field(default_factory=list[str])
    commands: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])


def blocks() -> list[Block]:
    """The trees of the document."""
    found: list[Block] = []
    heading, inside = "", False
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not inside:
            heading = line.lstrip("# ")
        elif line.startswith("```"):
            inside = not inside
            if inside:
                found.append(Block(heading))
        elif inside and line.startswith("$ "):
            found[-1].commands.append((line[2:], []))
        elif inside and found[-1].commands and line:
            found[-1].commands[-1][1].append(line)
        elif inside and line:
            found[-1].tree.append(line)
    return found


BLOCKS = blocks()


def build(block: Block, root: Path) -> None:
    """Make the files of a tree."""
    folders: list[tuple[int, Path]] = [(-1, root)]
    text = root
    seed = 0
    for line in block.tree:
        indent, words = len(line) - len(line.lstrip()), line.strip()
        if words.startswith("|"):
            with text.open("a", encoding="utf-8") as file:
                file.write(words[2:] + "\n")
            continue
        while folders[-1][0] >= indent:
            folders.pop()
        folder = folders[-1][1]
        if " | " in words:
            name, _, first = words.partition(" | ")
            text = folder / name.strip()
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(first.strip() + "\n", encoding="utf-8")
            continue
        names = words.split()
        if names[0].endswith("/"):
            folder = folder / names.pop(0)
            folder.mkdir(parents=True, exist_ok=True)
            folders.append((indent, folder))
        for name in names:
            name, _, copied = name.partition("=")
            seed += 1
            other = next(iter(root.rglob(copied)), None) if copied else None
            data = other.read_bytes() if other else content(block, folder / name, root, seed)
            (folder / name).write_bytes(data)


def content(block: Block, file: Path, root: Path, seed: int) -> bytes:
    """The content of a file that a tree names without it."""
    ending = file.suffix.lower()
    if ending == ".json":
        return json.dumps(document(file, root)).encode()
    if ending == ".xml":
        boxes = [("cat", (3, 3, 12, 12)), ("dog", (5, 5, 20, 20))]
        return voc_xml(boxes, size=(WIDTH, HEIGHT)).encode()
    if ending == ".mat":
        scipy_io = pytest.importorskip("scipy.io")
        stream = io.BytesIO()
        parts = {"Segmentation": mask(seed), "CategoriesPresent": np.array([1, 2])}
        scipy_io.savemat(stream, {"GTcls": parts})
        return stream.getvalue()
    if ending == ".parquet":
        return parquet(seed)
    if ending == ".tar":
        return tar(seed)
    if file.name == "fer2013.csv":
        usage = ["Training"] * 6 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
        rows = [f"{i % 2},{' '.join(['7', '250'] * 32)},{use}" for i, use in enumerate(usage)]
        return "\n".join(["emotion,pixels,Usage", *rows, ""]).encode()
    if ending == ".heic":
        return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    if ending == ".png" and "panoptic_" in file.parent.name:
        colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        colours[..., 0] = mask(seed) + 1
        return encoded(colours)
    if ending == ".png" and block.heading != "Hugging Face":
        return encoded(mask(seed, 7 if "gtFine" in file.name else 0))
    return encoded(picture(seed), "PNG" if ending == ".png" else "JPEG")


def picture(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT)))


def mask(seed: int, first: int = 0) -> np.ndarray:
    """A mask of the values 0, 1 and 2, or from another one on."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[4:16, 4:14] = 1
    values[8:20, 18 : 24 + seed % 4] = 2
    return values + np.uint8(first)


def document(file: Path, root: Path) -> dict[str, Any]:
    """A json of labelme, VIA, COCO or COCO's panoptic masks for the pictures near it."""
    places = [file.parent, file.parent / "images"]
    if "_" in file.stem and file.parent.name == "annotations":
        places = [file.parent.parent / file.stem.rpartition("_")[2]]
    names = sorted(p.name for place in places for p in place.glob("*.jpg"))
    if file.parent.name == "annotations":  # the pictures come later in the tree
        names = ["3.jpg"] if "val" in file.name else ["1.jpg", "2.jpg"]
    sides = {"width": WIDTH, "height": HEIGHT}
    if file.stem.isdigit():
        rectangle = {"label": "cat", "points": [[3, 4], [12, 13]], "shape_type": "rectangle",
                     "group_id": None, "flags": {}}  # fmt: skip
        named = {"imagePath": f"{file.stem}.jpg", "imageWidth": WIDTH, "imageHeight": HEIGHT}
        return {"version": "5.0", "flags": {}, "shapes": [rectangle], "imageData": None, **named}
    if file.name.startswith("via"):
        region = {
            "shape_attributes": {"name": "rect", "x": 3, "y": 4, "width": 9, "height": 8},
            "region_attributes": {"type": "cat"},
        }
        return {
            f"{name}99": {"filename": name, "size": 99, "regions": [region], "file_attributes": {}}
            for name in names
        }
    categories = [{"id": k, "name": name, "isthing": 1, "supercategory": "animal"}
                  for k, name in ((1, "cat"), (2, "dog"))]  # fmt: skip
    images = [{"id": int(name[0]), "file_name": name, **sides} for name in names]
    if file.name.startswith("panoptic"):
        segments = [{"id": k + 1, "category_id": c, "iscrowd": 0, "area": 9, "bbox": [0, 0, 3, 3]}
                    for k, c in ((0, 1), (1, 2), (2, 2))]  # fmt: skip
        annotations = [{"image_id": i["id"], "file_name": i["file_name"].replace("jpg", "png"),
                        "segments_info": segments} for i in images]  # fmt: skip
    else:
        annotations = [
            {"id": 10 * i["id"] + c, "image_id": i["id"], "category_id": c, "iscrowd": 0,
             "bbox": [3 * c, 3, 10, 9], "area": 90,
             "segmentation": [[3 * c, 3, 3 * c + 10, 3, 3 * c + 10, 12, 3 * c, 12]]}
            for i in images for c in (1, 2)
        ]  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": categories}


def parquet(seed: int) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": encoded(picture(100 * seed + k)), "path": f"{k}.png"} for k in range(6)]
    stream = io.BytesIO()
    table = arrow.table({"image": rows, "label": ["cat", "dog"] * 3})
    tables.write_table(table, stream)
    return stream.getvalue()


def tar(seed: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for k in range(2):
            data = encoded(picture(100 * seed + k), "JPEG")
            for ending, payload in (("jpg", data), ("cls", str(k).encode())):
                info = tarfile.TarInfo(f"{seed}{k}.{ending}")
                info.size = len(payload)
                archive.addfile(info, io.BytesIO(payload))
    return stream.getvalue()


def typed(command: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """The exit code of a command, and all that it prints."""
    words = shlex.split(command)
    assert words.pop(0) == "xfer"
    code = main([*words, *more])
    out, err = capsys.readouterr()
    return code, out + err


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_document_is_true(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = BLOCKS[number]
    assert block.commands, f"{block.heading}: a tree without a command"
    build(block, tmp_path)
    monkeypatch.chdir(tmp_path)
    for command, lines in block.commands:
        assert lines, f"{command}: nothing is said of it"
        code, said = typed(command, capsys)
        ways = {line.split(": ")[0] for line in lines}
        wanted = 2 if "asks" in ways else 3 if "stops" in ways else 0
        assert code == wanted, f"$ {command}\n{said}"
        for line in lines:
            word, _, text = line.partition(": ")
            if word in ("asks", "stops", "says"):
                assert text in said, f"$ {command}\n{line}\n{said}"
            else:
                check_found(command, line, said, capsys)


def check_found(command: str, line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check a line such as csv: train 4, val 2; ant, bee."""
    match = FOUND.match(line)
    assert match, f"not understood: {line}"
    form, sizes, names = match.groups()
    spec = shlex.split(command)[3]
    if spec not in EMBEDDED.names() and ":" not in spec:
        assert f"{spec}: read as {form} (" in said, f"$ {command}\n{line}\n{said}"
    assert form in FORMATS.names() or form in EMBEDDED.names()
    splits = json.loads(typed(command, capsys, "--json", "-q")[1])["splits"]
    counts = [f"{role} {split['images']}" for role, split in splits.items()]
    assert ", ".join(counts) == sizes, f"$ {command}\n{said}"
    first = next(iter(splits.values()))
    classes = [*first.get("classes", first.get("pixels", {}))]
    expected = names.split(", ") if names else []
    if expected and expected[-1] == "...":
        expected.pop()
        assert len(classes) > len(expected)
        classes = classes[: len(expected)]
    assert classes == expected, f"$ {command}\n{said}"


def test_every_format_is_in_the_document() -> None:
    said = {line.split(":")[0] for block in BLOCKS for _, lines in block.commands for line in lines}
    assert set(FORMATS.names()) <= said
    assert len(BLOCKS) > 20


def test_every_question_of_the_table_is_asked() -> None:
    """Each answer of the table in section 6 is in a hint that a command of the document gets."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = re.search(r"\| it asks .*?\n\n", text, re.DOTALL)
    assert table
    hints = [line for b in BLOCKS for _, lines in b.commands for line in lines if "asks: " in line]
    flags = set(re.findall(r"data\.\w+=|--\w+ |folder:|FORMAT:", table.group()))
    assert {"data.label=", "data.path=", "folder:", "--val ", "--train "} <= flags
    for flag in flags - {"FORMAT:"}:
        assert any(flag in hint for hint in hints), flag
    assert any("choose: csv:" in hint for hint in hints)


def test_the_document_and_the_readme_link() -> None:
    root = DOCUMENT.parent.parent
    assert "(docs/data.md)" in (root / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((\w+\.md)\)", DOCUMENT.read_text(encoding="utf-8")):
        assert (DOCUMENT.parent / target).is_file()


def rows_of(section: str) -> dict[str, str]:
    """The first table of a section of the document: first cell -> second."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(f"\n{section}")[2]
    text = text.partition("\n## ")[0].partition("\n### ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1] for row in cells[1:]}


def test_the_table_of_pictures_is_true(tmp_path: Path) -> None:
    shown = picture(3)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = np.full((4, 6), 257 * 100, np.uint16)
    dark = np.full((4, 6), 4000, np.uint16)
    clear = np.dstack([np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)])
    floats = np.full((4, 6), 0.5, np.float32)
    frames = [Image.fromarray(np.full((4, 6), v, np.uint8)) for v in (10, 200)]
    cmyk = Image.fromarray(shown).convert("CMYK")
    pages = {"save_all": True, "append_images": frames[1:]}
    seen = {
        "EXIF orientation": decode(encoded(shown, "JPEG", exif=turned)).shape == (32, 24, 3),
        "CMYK": decode(encoded(cmyk, "JPEG")).shape == (24, 32, 3),
        "16 bits per channel": (decode(encoded(deep)) == 100).all(),
        "floating point": (decode(encoded(floats, "TIFF")) == 128).all(),
        "transparency": (decode(encoded(clear)) == 255).all(),
        "animation, several pages": (decode(encoded(frames[0], "TIFF", **pages)) == 10).all(),
    }
    assert all(seen.values()), seen
    with pytest.raises(DecodeError, match=r"not within 0\.\.1"):
        decode(encoded(floats * 9, "TIFF"))
    huge = encoded(clear)[:16] + (16_000).to_bytes(4, "big") * 2 + encoded(clear)[24:]
    with pytest.raises(DecodeError, match="more than 250 million pixels"):
        decode(huge)
    assert {*seen, "more than 250 million pixels"} == set(rows_of("## 7. "))
    for k in range(4):
        (tmp_path / f"{k}.png").write_bytes(encoded(dark))
    assert any("only the lower 12 of 16 bits" in n for n in open_data(tmp_path, val="none").notes)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF"):
        assert decode(encoded(shown, kind)).shape == (24, 32, 3)


Box = tuple[float, float, float, float]


def coco_with(root: Path, boxes: Sequence[Box]) -> str:
    """What is said of a COCO json with boxes of class 1 in three pictures; class 2 has none."""
    for k in (1, 2, 3):
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{k}.jpg").write_bytes(encoded(picture(k), "JPEG"))
    sides = {"width": WIDTH, "height": HEIGHT}
    images = [{"id": k, "file_name": f"{k}.jpg", **sides} for k in (1, 2, 3)]
    annotations = [{"id": n, "image_id": n % 3 + 1, "category_id": 1, "bbox": box, "iscrowd": 0,
                    "area": 9} for n, box in enumerate(boxes)]  # fmt: skip
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    text = {"images": images, "annotations": annotations, "categories": categories}
    (root / "boxes.json").write_text(json.dumps(text))
    return "\n".join(open_data(root, val="none", skip_bad=True).notes)


def test_the_warnings_of_boxes_are_true(tmp_path: Path) -> None:
    good: list[Box] = [(2, 3, 10, 8), (4, 5, 9, 9), (3, 2, 12, 9)]
    for name, boxes, said in (
        ("outside", [(25, 3, 20, 9)], "outside"),
        ("flat", [(5, 5, 0, 9)], "without area"),
        ("swapped", [(12, 12, -5, -5)], "swapped"),
        ("twice", [good[0]] * 4, "twice"),
        ("none", [], "no box in train: dog"),
    ):
        notes = coco_with(tmp_path / name, [*good, *boxes, *good])
        assert any(said in n for n in notes.splitlines() if "warning" in n), (name, notes)
    shares = coco_with(tmp_path / "shares", [(0.1, 0.2, 0.3, 0.3)] * 9)
    assert "warning: the boxes look like shares of the picture" in shares
    assert {"all", "labels", "boxes", "masks"} == set(rows_of("## 8. "))


def test_the_table_of_limits_is_true() -> None:
    rows = rows_of("### What is refused for its size")
    assert f"{limits.MAX_PIXELS / 1e6:.0f} million" == rows["pixels"]
    assert f"{limits.MAX_DECODED / 1e6:.0f} MB" in rows["pixels as stored (all channels and bits)"]
    assert f"{limits.MAX_RATIO} times" in rows["the same, of more than 89 million pixels"]
    assert rows["file"].startswith(f"{picture_file.MAX_FILE >> 30} GB")
    assert rows["passes over a JPEG"].startswith(f"{limits.MAX_SCANS},")
    notes = f"{NOTE >> 20} MB of a note, {LARGE >> 20} MB of labelme, {TABLE >> 30} GB of a table"
    assert notes in rows["annotation file"]
    assert rows["folders in folders"] == str(MAX_DEPTH)
