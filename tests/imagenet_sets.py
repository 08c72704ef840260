"""Miniatures of ImageNet in the layouts it is downloaded in: real JPEGs of a few pixels."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pictures import encoded, scene
from PIL import Image

Content = dict[str, bytes] | list[tuple[str, bytes]]
# wnids in order; two are named crane
WNIDS = ("n01440764", "n02012849", "n03126707", "n07745940")
WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n03126707": "crane",
    "n07745940": "strawberry",
}
NAMES = ("n01440764 tench", "n02012849 crane", "n03126707 crane", "n07745940 strawberry")
# the devkit's ILSVRC2012_ID of each, deliberately not in the order of the wnids
IDS = {"n01440764": 3, "n02012849": 1, "n03126707": 4, "n07745940": 2}
EACH = 3
VAL_TRUTH = ("n07745940", "n01440764", "n01440764", "n03126707", "n02012849")


def jpeg(seed: int = 0, size: tuple[int, int] = (20, 16)) -> bytes:
    return encoded(scene(*size, seed=seed), "JPEG")


def cmyk_jpeg() -> bytes:
    return encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG")


def bad_exif_jpeg() -> bytes:
    """A JPEG whose EXIF block is truncated: Pillow warns about it."""
    plain = jpeg(3)
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12"
    return plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]


def odd_files() -> dict[str, bytes]:
    """The kinds of odd files in the training set, with similar names."""
    return {
        "n02012849_2933.JPEG": encoded(scene(seed=2), "PNG"),
        "n02012849_77.JPEG": cmyk_jpeg(),
        "n02012849_78.JPEG": bad_exif_jpeg(),
    }


def train_pictures(odd: bool = True) -> dict[str, dict[str, bytes]]:
    """wnid -> file name -> bytes; numbers are neither padded nor consecutive."""
    made = {
        wnid: {f"{wnid}_{(7 * i * i + 3 * k) % 1000}.JPEG": jpeg(10 * k + i) for i in range(EACH)}
        for k, wnid in enumerate(WNIDS)
    }
    if odd:
        made["n02012849"] |= odd_files()
    return made


def val_pictures() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{i + 1:08d}.JPEG": jpeg(100 + i) for i in range(len(VAL_TRUTH))}


def write_tar(path: Path, content: Content, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(content, mode))
    return path


def tar_bytes(content: Content, mode: str = "w") -> bytes:
    pairs = list(content.items()) if isinstance(content, dict) else content
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for name, payload in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return file.getvalue()


def devkit_files(year: int = 2012, truth: Iterable[int] | None = None) -> dict[str, bytes]:
    """The two relevant files of the devkit; one synset has the classes as children."""
    import scipy.io

    fields = (f"ILSVRC{year}_ID", "WNID", "words", "gloss", "num_children", "children",
              "wordnet_height", "num_train_images")  # fmt: skip
    rows = sorted(WNIDS, key=IDS.__getitem__)
    synsets = np.zeros((len(rows) + 1, 1), [(f, "O") for f in fields])
    for i, wnid in enumerate(rows):
        synsets[i, 0] = (IDS[wnid], wnid, WORDS[wnid], "", 0, np.zeros((0, 0)), 0, EACH)
    parent = (len(rows) + 1, "n00001740", "entity", "", 2, np.array([[1, 2]]), 3, 0)
    synsets[len(rows), 0] = parent
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"synsets": synsets})
    labels = [IDS[w] for w in VAL_TRUTH] if truth is None else truth
    text = "".join(f"{label}\n" for label in labels)
    return {
        "data/meta.mat": mat.getvalue(),
        f"data/ILSVRC{year}_validation_ground_truth.txt": text.encode(),
    }


def write_devkit(folder: Path, packed: bool = True, **kind: object) -> None:
    files = devkit_files(**kind)  # pyright: ignore[reportArgumentType]
    top = "ILSVRC2012_devkit_t12"
    if packed:
        write_tar(folder / f"{top}.tar.gz", {f"{top}/{n}": b for n, b in files.items()}, "w:gz")
        return
    for name, payload in files.items():
        write(folder / top / name, payload)


def write(path: Path, payload: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload.encode() if isinstance(payload, str) else payload)
    return path


def write_tars(folder: Path, devkit: bool = True) -> Path:
    """The pair of tars as downloaded; members are in no particular order."""
    classes = {f"{w}.tar": tar_bytes(files) for w, files in train_pictures().items()}
    write_tar(folder / "ILSVRC2012_img_train.tar", dict(reversed(classes.items())))
    write_tar(folder / "ILSVRC2012_img_val.tar", dict(reversed(val_pictures().items())))
    if devkit:
        write_devkit(folder)
    return folder


def write_train(folder: Path, below: str = "", odd: bool = True) -> None:
    for wnid, files in train_pictures(odd).items():
        for name, payload in files.items():
            write(folder / wnid / below / name, payload)


def write_unpacked(folder: Path, flat: bool) -> Path:
    """train/<wnid>/ with a flat val/ and the devkit, or with val/<wnid>/."""
    write_train(folder / "train")
    for (name, payload), wnid in zip(val_pictures().items(), VAL_TRUTH, strict=True):
        write(folder / "val" / ("" if flat else wnid) / name, payload)
    if flat:
        write_devkit(folder, packed=False)
    return folder


def write_kaggle(folder: Path) -> Path:
    data = folder / "ILSVRC" / "Data" / "CLS-LOC"
    write_train(data / "train")
    rows = ["ImageId,PredictionString"]
    for (name, payload), wnid in zip(val_pictures().items(), VAL_TRUTH, strict=True):
        write(data / "val" / name, payload)
        box = f"{wnid} 1 2 10 12 "
        rows.append(f"{Path(name).stem},{box * 2}")
    write(data / "test" / "ILSVRC2012_test_00000001.JPEG", jpeg())
    write(folder / "LOC_val_solution.csv", "\n".join([rows[0], *reversed(rows[1:])]) + "\n")
    write(folder / "LOC_train_solution.csv", "ImageId,PredictionString\n")
    mapping = "".join(f"{w} {WORDS[w]}\n" for w in WNIDS)
    write(folder / "LOC_synset_mapping.txt", mapping)
    write(folder / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt", "ILSVRC2012_val_00000001 1\n")
    return folder


def write_tiny(folder: Path) -> Path:
    """Tiny-ImageNet-200 as it is in its zip."""
    write(folder / "wnids.txt", "\n".join(reversed(WNIDS)) + "\n")
    write(folder / "words.txt", "".join(f"{w}\t{WORDS[w]}\n" for w in WNIDS))
    for wnid in WNIDS:
        names = [f"{wnid}_{i}.JPEG" for i in range(EACH)]
        for i, name in enumerate(names):
            write(folder / "train" / wnid / "images" / name, jpeg(i))
        boxes = "".join(f"{name}\t0\t0\t9\t9\n" for name in names)
        write(folder / "train" / wnid / f"{wnid}_boxes.txt", boxes)
    lines = ""
    for i, wnid in enumerate(VAL_TRUTH):
        write(folder / "val" / "images" / f"val_{i}.JPEG", jpeg(50 + i))
        lines += f"val_{i}.JPEG\t{wnid}\t0\t0\t9\t9\n"
    write(folder / "val" / "val_annotations.txt", lines)
    write(folder / "test" / "images" / "test_0.JPEG", jpeg())
    return folder


def write_imagenette(folder: Path) -> Path:
    """Imagenette and Imagewoof: folders by wnid, and a csv with noisy labels beside them."""
    rows = [f"path,{','.join(f'noisy_labels_{n}' for n in (0, 1, 5, 25, 50))},is_valid"]
    for split in ("train", "val"):
        for k, wnid in enumerate(WNIDS):
            for i in range(EACH):
                name = f"{split}/{wnid}/{wnid}_{i}.JPEG"
                write(folder / name, jpeg(k + i))
                rows.append(f"{name},{','.join([wnid] * 5)},{split == 'val'}")
    write(folder / "noisy_imagenette.csv", "\n".join(rows) + "\n")
    return folder


def write_shards(folder: Path, info: bool = True) -> Path:
    """timm's WebDataset of ImageNet: three training shards and one validation shard."""
    pictures = [(w, n, b) for k, w in enumerate(WNIDS) for n, b in train_pictures()[w].items()]
    shards: dict[str, list[tuple[str, bytes]]] = {}
    for i, (wnid, name, payload) in enumerate(pictures):
        shard = shards.setdefault(f"imagenet1k-train-{i % 3:04d}.tar", [])
        key = Path(name).stem
        label = WNIDS.index(wnid)
        shard += [(f"{key}.cls", str(label).encode()), (f"{key}.jpg", payload),
                  (f"{key}.json", json.dumps({"label": label}).encode())]  # fmt: skip
    valid = shards.setdefault("imagenet1k-validation-00.tar", [])
    for (name, payload), wnid in zip(val_pictures().items(), VAL_TRUTH, strict=True):
        key = Path(name).stem
        valid += [(f"{key}.jpg", payload), (f"{key}.cls", str(WNIDS.index(wnid)).encode())]
    for name, content in shards.items():
        write_tar(folder / name, content)
    if info:
        parts = {"train": "imagenet1k-train", "validation": "imagenet1k-validation"}
        splits = {
            split: {"name": split, "filenames": [n for n in shards if n.startswith(start)],
                    "num_samples": 0}
            for split, start in parts.items()
        }  # fmt: skip
        write(folder / "_info.json", json.dumps({"name": "imagenet1k", "splits": splits}))
    return folder


def write_parquet(folder: Path) -> Path:
    """Hugging Face's: train in two files with small row groups, validation, unlabelled test."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    features = {"label": {"names": [WORDS[w] for w in WNIDS], "_type": "ClassLabel"},
                "image": {"_type": "Image"}}  # fmt: skip
    note = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", picture), ("label", pa.int64())], metadata=note)

    def table(name: str, rows: list[tuple[bytes, str, int]]) -> None:
        images = [{"bytes": b, "path": p} for b, p, _ in rows]
        made = pa.table([pa.array(images, picture), [r[2] for r in rows]], schema=schema)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(made, folder / "data" / name, row_group_size=4)

    train = [
        (payload, f"{Path(name).stem}_{wnid}.JPEG", k)
        for k, wnid in enumerate(WNIDS)
        for name, payload in train_pictures()[wnid].items()
    ]
    table("train-00000-of-00002.parquet", train[::2])
    table("train-00001-of-00002.parquet", train[1::2])
    val = [
        (payload, f"{Path(name).stem}_{wnid}.JPEG", WNIDS.index(wnid))
        for (name, payload), wnid in zip(val_pictures().items(), VAL_TRUTH, strict=True)
    ]
    table("validation-00000-of-00001.parquet", val)
    table("test-00000-of-00001.parquet", [(jpeg(), "ILSVRC2012_test_00000001.JPEG", -1)])
    return folder
