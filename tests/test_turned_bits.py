"""A bit that turns in a file that xfer wrote is an error that names the file, wherever it is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xfer.backbones.files import open_weights
from xfer.backbones.stored import SAFE_NUMBERS
from xfer.cache import Cache
from xfer.data.images.decode import DecodeError
from xfer.data.pack.check import SUMS
from xfer.data.pack.writer import Packing, pack
from xfer.data.readers.base import ReadOptions
from xfer.data.readers.pack import Pack
from xfer.data.sources.base import Bundle, verify
from xfer.data.sources.index_file import Entries, Index, kept_index
from xfer.errors import DataError
from xfer.extraction.store import Features, read_features, write_features
from xfer.files import check_schema, check_seal, sealed
from xfer.kinds import pixel_counts
from xfer.runs import checkpoint
from xfer.runs.json_files import read_json
from xfer.runs.pictures import read_pictures, write_pictures
from xfer.testing.source import SyntheticSource

GB = 2**30
WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2),
           "steps": torch.tensor(7)}  # fmt: skip


def turn(file: Path, place: int, bit: int = 6) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def each_bit(file: Path, read: Callable[[], Any], step: int = 1) -> int:
    """Turns bits one after another, a different one in each byte; `read` must raise a DataError
    that names the file. Returns how many it tried."""
    whole = file.read_bytes()
    places = range(0, len(whole), step)
    for place in places:
        turn(file, place, place // step % 8)
        with pytest.raises(DataError) as raised:
            read()
            raise AssertionError(f"bit {place // step % 8} of byte {place} went unnoticed")
        assert file.name in str(raised.value), place
    file.write_bytes(whole)
    read()
    return len(places)


def test_any_bit_of_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    checkpoint.save_weights(file, WEIGHTS, {"format": "xfer", "step": "3"})
    assert each_bit(file, lambda: checkpoint.load_weights(file)) > 300
    each_bit(file, lambda: open_weights(file), 3)


def test_any_bit_of_a_state(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    checkpoint.save_state(file, {"step": 3, "task": WEIGHTS})
    assert each_bit(file, lambda: checkpoint.load_state(file), 3) > 400


def test_a_bit_of_the_numbers_of_a_state_without_checksum(tmp_path: Path) -> None:
    """Of an earlier version: the archive's own sums are compared."""
    file = tmp_path / "state.pt"
    torch.save({"step": 3, "task": WEIGHTS}, file)
    assert checkpoint.load_state(file)["step"] == 3
    with zipfile.ZipFile(file) as archive:
        info = max((i for i in archive.infolist() if "/data/" in i.filename),
                   key=lambda i: i.file_size)  # fmt: skip
    start = file.read_bytes().index(WEIGHTS["a.weight"].numpy().tobytes())
    turn(file, start + info.file_size // 2)
    with pytest.raises(DataError, match=r"state\.pt: damaged"):
        checkpoint.load_state(file)


def test_torch_alone_reads_a_state(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    checkpoint.save_state(file, {"step": 3, "task": WEIGHTS})
    found = torch.load(file, weights_only=True)
    assert found["step"] == 3 and torch.equal(found["task"]["a.weight"], WEIGHTS["a.weight"])


def features(count: int = 6) -> Features:
    rng = np.random.default_rng(0)
    return Features(
        {"pool5": rng.random((count, 8), np.float32)}, np.arange(count) % 2,
        np.array([f"{i}.jpg" for i in range(count)], str), np.array(["ant", "bee"], str),
        np.array(["train"] * count, str), {"backbone": "alexnet"},
    )  # fmt: skip


def same(one: Features, two: Features) -> bool:
    arrays = all(np.array_equal(getattr(one, n), getattr(two, n))
                 for n in ("y", "ids", "classes", "splits"))  # fmt: skip
    return arrays and one.meta == two.meta and one.layers.keys() == two.layers.keys() and all(
        np.array_equal(one.layers[name], two.layers[name]) for name in one.layers
    )  # fmt: skip


def test_any_bit_of_a_features_file_is_told_or_says_nothing(tmp_path: Path) -> None:
    """Nothing: the date of a member in a zip archive, for example."""
    file = tmp_path / "f.npz"
    write_features(file, features())
    whole, read = file.read_bytes(), read_features(file)
    told = 0
    for place in range(0, len(whole), 7):
        turn(file, place, place % 8)
        try:
            found = read_features(file)
            assert same(found, read), f"bit {place % 8} of byte {place} went unnoticed"
        except DataError as error:
            assert "f.npz" in str(error)
            told += 1
        file.write_bytes(whole)
    assert told > len(whole) / 7 * 0.7


def test_features_that_are_not_compared_and_those_without_checksums(tmp_path: Path) -> None:
    file = tmp_path / "f.npz"
    write_features(file, features())
    arrays = dict(np.load(file))
    assert set(arrays) == {"pool5", "y", "ids", "classes", "splits", "meta"}
    place = file.read_bytes().index(arrays["pool5"].tobytes()) + 3
    turn(file, place)
    table = read_features(file)  # a layer is compared when it is used
    with pytest.raises(DataError, match=r"f\.npz: damaged: pool5 .*sha256"):
        table.layers["pool5"]
    changed = read_features(file, verify=False).layers["pool5"]
    assert (changed != arrays["pool5"]).sum() == 1
    # somebody changes the meta, or numbers, with numpy: the file has no checksums any more
    arrays["meta"] = np.array(str(arrays["meta"]).replace("alexnet", "zfnet"))
    arrays["pool5"] += 1
    np.savez(file, **arrays)
    again = read_features(file)
    assert again.meta["backbone"] == "zfnet"
    assert np.array_equal(again.layers["pool5"], arrays["pool5"])
    turn(file, file.read_bytes().index(arrays["pool5"].tobytes()) + 3)
    with pytest.raises(DataError, match=r"f\.npz: damaged"):
        read_features(file).layers["pool5"]


def write_pack(folder: Path, raw: bool = False) -> Path:
    pack(SyntheticSource(12, size=40), folder, Packing(side=0, raw=raw))
    return folder


def read_pack(folder: Path, verify: bool = True) -> list[Any]:
    parts = Pack().load(folder, ReadOptions(verify=verify)).parts
    return [s[i].image for s in parts.values() for i in range(len(s))]


@pytest.mark.parametrize("raw", [False, True])
def test_any_bit_of_a_pack(tmp_path: Path, raw: bool) -> None:
    folder = write_pack(tmp_path / "pk", raw)
    for name, step in (("index.json", 7), ("shard-00000.npz", 101), ("shard-00000.bin", 211)):
        assert each_bit(folder / name, lambda: read_pack(folder), step) > 25


def test_a_damaged_index_is_still_a_pack(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "pk")
    turn(folder / "index.json", (folder / "index.json").read_bytes().index(b"xfer-pack") + 2)
    assert Pack().recognise(folder) == "a pack"
    with pytest.raises(DataError, match=r"index\.json: damaged"):
        read_pack(folder)


def test_a_pack_that_is_not_compared_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pack(tmp_path / "pk", raw=True)
    before = [image.copy() for image in read_pack(folder)]
    turn(folder / "shard-00000.bin", 5)
    turn(folder / "shard-00000.npz", 10)  # the time of a member, which means nothing
    index = json.loads((folder / "index.json").read_text())
    index["sha256"] = "sha256:" + "0" * 64
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"index\.json: damaged"):
        read_pack(folder)
    reading = Pack().load(folder, ReadOptions(verify=False))
    assert any("data.verify=false" in note for note in reading.notes)
    (source,) = reading.parts.values()
    monkeypatch.setattr("xfer.data.pack.reader.SUMS", None)
    pixels = [source[i].image for i in range(len(source))]
    verify(source, 0)
    assert sum(int((a != b).sum()) for a, b in zip(pixels, before, strict=True)) == 1


def test_each_picture_of_a_pack_is_compared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pack(tmp_path / "pk", raw=True)
    (source,) = Pack().load(folder, ReadOptions()).parts.values()
    source[3]
    monkeypatch.setitem(SUMS, "xxh3", lambda data: 0)
    source[3]  # not again
    with pytest.raises(DecodeError, match=r"shard-00000\.bin is damaged"):
        source[4]


def first_version(folder: Path, shards: int) -> None:
    """Gives the first shards of a pack the checksums of version 1, CRC-32."""
    index = json.loads((folder / "index.json").read_text())
    for about in index["shards"][:shards]:
        file = folder / f"{about['name']}.npz"
        table = dict(np.load(file))
        pixels = file.with_suffix(".bin").read_bytes()
        ends = table["start"] + table["length"] + table["mask_length"]
        parts = [pixels[a:b] for a, b in zip(table["start"], ends, strict=True)]
        del table["xxh3"]
        table["crc"] = np.array([zlib.crc32(part) for part in parts], np.uint32)
        np.savez(file, **table)
        about["npz_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    version = 1 if shards == len(index["shards"]) else 2
    (folder / "index.json").write_text(json.dumps(sealed({**index, "version": version})))


@pytest.mark.parametrize("old", [1, 2])
def test_a_pack_of_the_first_version_is_read_and_compared(tmp_path: Path, old: int) -> None:
    """Whole, or packed to its end by this version."""
    source = SyntheticSource(24, size=150)
    folder = tmp_path / "pk"
    pack(source, folder, Packing(side=0, raw=True, shard_mb=1))
    before = read_pack(folder)
    first_version(folder, old)
    assert all(np.array_equal(a, b) for a, b in zip(before, read_pack(folder), strict=True))
    for number in (0, 1):
        each_bit(folder / f"shard-0000{number}.bin", lambda: read_pack(folder), 67_001)
    again = pack(source, folder, Packing(side=0, raw=True, shard_mb=1))
    assert (again.shards, again.kept) == (2, 2)


def test_a_pack_without_checksums_of_its_pictures_is_damaged(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "pk")
    file = folder / "shard-00000.npz"
    np.savez(file, **{name: array for name, array in np.load(file).items() if name != "xxh3"})
    for compared, why in ((True, "its checksum differs"), (False, "it lacks xxh3")):
        with pytest.raises(DataError, match=rf"shard-00000\.npz: damaged.*{why}"):
            read_pack(folder, compared)


def test_a_kept_index_with_a_turned_bit_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))

    def make() -> Entries:
        entries = Entries(classes=("ant", "bee"), files=["x.tar"])
        for i in range(20):
            entries.add(f"{i:02d}.jpg", i % 2, 0, 512 * i, 100)
        return entries

    def content(index: Index) -> tuple[Any, ...]:  # copies: the arrays are mapped
        return index.labels.tolist(), list(index.ids), index.start.tolist(), index.classes

    first = kept_index(["x"], make)
    assert first.path is not None
    before = content(first)
    for name in ("labels.npy", "start.npy", "about.json"):
        file = first.path / name
        at = file.read_bytes().index(b"bee") if name == "about.json" else file.stat().st_size - 8
        turn(file, at, 0)
        again = kept_index(["x"], make)
        assert content(again) == before
        assert any("damaged" in note for note in again.notes)
        assert not any("damaged" in note for note in kept_index(["x"], make).notes)
    turn(first.path / "labels.npy", -8, 0)  # not compared: read as it is
    assert kept_index(["x"], make, verify=False).labels[-1] == 0


def test_a_damaged_vector_of_the_cache_is_computed_again(tmp_path: Path) -> None:
    said: list[str] = []
    cache = Cache(tmp_path / "c", GB, said.append)
    keys = [bytes([i]) * 32 for i in range(3)]
    rows = {key: np.random.default_rng(0).random(9, np.float32) for key in keys}
    cache.keep(rows)
    assert cache._base is not None
    (entry,) = cache._base.execute("SELECT value FROM entries WHERE key=?", keys[:1]).fetchone()
    for place in range(len(entry)):
        damaged = bytearray(entry)
        damaged[place] ^= 1 << place % 8
        cache._base.execute("UPDATE entries SET value=? WHERE key=?", (bytes(damaged), keys[0]))
        assert cache.find(keys).keys() == set(keys[1:])
        cache.keep({keys[0]: rows[keys[0]]})  # its place is free again
        assert np.array_equal(cache.find(keys)[keys[0]], rows[keys[0]])
    # the vector of one picture under the key of another
    cache._base.execute("UPDATE entries SET value=? WHERE key=?", (entry, keys[1]))
    assert keys[1] not in cache.find(keys)
    assert len(said) == 1 and "computed again" in said[0]


def test_a_bit_of_the_numbers_of_a_run_s_pictures(tmp_path: Path) -> None:
    """Told, or without a meaning: no array is left out without a word."""
    source = SyntheticSource(12)
    bundle = Bundle("", "", "classify", source.info.classes, {"train": source, "val": source})
    write_pictures(tmp_path, bundle)
    file, ids = tmp_path / "pictures.npz", {"train": list(source.ids), "val": list(source.ids)}
    whole, read = file.read_bytes(), read_pictures(tmp_path, ids)
    told = 0
    for place in range(0, len(whole), 4):
        turn(file, place, place // 4 % 8)
        try:
            found = read_pictures(tmp_path, ids)
            assert str(found) == str(read), f"a bit of byte {place} went unnoticed"
        except DataError as error:
            assert "pictures.npz" in str(error)
            told += 1
        file.write_bytes(whole)
    assert told > len(whole) / 12


def test_damaged_counts_of_pixels_are_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_counts, "others_write", lambda _: "")
    file, counts = tmp_path / "counts.npy", np.arange(12).reshape(3, 4)
    pixel_counts._write(file, counts)
    whole = file.read_bytes()
    assert np.array_equal(np.load(file), counts)  # a file of numpy's, and a few bytes behind it
    for place in range(0, len(whole), 3):
        turn(file, place, place // 3 % 8)
        assert pixel_counts._read(file) is None, place
        file.write_bytes(whole)
    for content in (whole, whole[:-32]):  # the latter is an earlier version's
        file.write_bytes(content)
        again = pixel_counts._read(file)
        assert again is not None and np.array_equal(again, counts)


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"vam": ["1", "2"]}', "'vam' is none of train, val, test"), ('{"val": "1"}', "val is")],
)
def test_a_split_of_a_run_has_a_known_name(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "split.json"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"split\.json: damaged \({words}"):
        read_json(file)


WRITE = """
import sys, torch
from pathlib import Path
from xfer.runs.checkpoint import save_weights
tensors = {n: torch.arange(5) for n in sorted({"b", "a", "c"}, key=hash)}
about = {n: n for n in {"step", "format", "source", "backbone"}}
save_weights(Path(sys.argv[1]), tensors, about)
"""


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    """In another process, whose sets and dicts are in another order."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    words = [sys.executable, "-c", WRITE, str(one)]
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    subprocess.run(words, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    about = {n: n for n in ("backbone", "format", "step", "source")}
    checkpoint.save_weights(two, {n: torch.arange(5) for n in "cab"}, about)
    assert one.read_bytes() == two.read_bytes()


def test_safetensors_reads_what_we_write_and_lays_it_out_alike(tmp_path: Path) -> None:
    kinds = [d for d in SAFE_NUMBERS.values() if d not in (torch.uint64, torch.uint32)]
    tensors = {f"t{i % 7}.{i}": torch.arange(3).to(d) for i, d in enumerate(kinds)}
    tensors |= {"none": torch.empty(0, 3), "one": torch.tensor(2.5), "last": torch.ones(2, 1, 2)}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    checkpoint.save_weights(ours, tensors, {"format": "pt"})
    save_file(tensors, theirs, {"format": "pt"})
    found = load_file(ours)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    with safe_open(ours, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt" and metadata["sha256"].startswith("sha256:")
    contents = [file.read_bytes() for file in (ours, theirs)]
    starts = [8 + int.from_bytes(content[:8], "little") for content in contents]
    assert contents[0][starts[0] :] == contents[1][starts[1] :]
    assert starts[0] % 8 == 0
    # saved again by the library, with its metadata: the checksum still holds
    save_file(found, theirs, metadata)
    assert checkpoint.load_weights(theirs).keys() == tensors.keys()
    # and one tensor changed on purpose: the line says what to do
    save_file({**found, "one": torch.tensor(3.5)}, theirs, metadata)
    with pytest.raises(DataError, match="without the metadata's sha256"):
        checkpoint.load_weights(theirs)


def test_tied_tensors_are_kept_and_sparse_ones_named(tmp_path: Path) -> None:
    tied = torch.arange(4.0)
    file = tmp_path / "w.safetensors"
    checkpoint.save_weights(file, {"a": tied, "b": tied}, {})
    assert torch.equal(checkpoint.load_weights(file)["b"], tied)
    with pytest.raises(DataError, match=r"w\.safetensors: b is made of sparse_coo"):
        checkpoint.save_weights(file, {"a": tied, "b": tied.to_sparse()}, {})
    assert torch.equal(checkpoint.load_weights(file)["b"], tied)


class Masked(torch.nn.Module):
    """A layer, and a mask that is infinite by design."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.tensor([[1.0, torch.nan], [0.0, 0.0]]), "NaN or infinite"),
        (torch.tensor([[1.0, torch.inf], [0.0, 0.0]]), "NaN or infinite"),
        (torch.ones(2, 2, dtype=torch.complex64), "complex"),
        (torch.ones(2, 2, dtype=torch.int64), "made of int64"),
        (torch.ones(2, 2).to_sparse(), "sparse"),
    ],
)
def test_numbers_that_no_net_computes_with_are_named(
    tmp_path: Path, bad: torch.Tensor, words: str
) -> None:
    file = tmp_path / "best.safetensors"
    state = Masked().state_dict()
    checkpoint.fill(Masked(), state, file)
    with pytest.raises(DataError, match=rf"best\.safetensors: fc\.weight .*{words}"):
        checkpoint.fill(Masked(), {**state, "fc.weight": bad}, file)
    if words in ("made of int64", "sparse"):
        return  # a state has whole numbers, too, and torch warns of sparse ones itself
    file = tmp_path / "state.pt"
    checkpoint.save_state(file, {"task": {**state, "fc.weight": bad}})
    with pytest.raises(DataError, match=rf"state\.pt: task\.fc\.weight .*{words}"):
        checkpoint.load_state(file, Masked().state_dict())


def test_a_state_may_hold_what_training_goes_on_with(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    squares = {"state": {0: {"exp_avg_sq": torch.tensor([torch.inf])}}}
    state = {"task": Masked().state_dict(), "optimizer": squares, "best": {"score": -torch.inf}}
    checkpoint.save_state(file, state)
    checkpoint.load_state(file, Masked().state_dict())
    squares["state"][0]["exp_avg_sq"] += torch.nan
    checkpoint.save_state(file, state)
    with pytest.raises(DataError, match=r"optimizer\.state\.0\.exp_avg_sq .*NaN"):
        checkpoint.load_state(file, Masked().state_dict())
    checkpoint.save_state(file, {"pending": {"losses": {"loss": torch.nan}}})
    with pytest.raises(DataError, match=r"pending\.losses\.loss .*NaN"):
        checkpoint.load_state(file)


@pytest.mark.parametrize(
    "found",
    ["1", None, True, 1.5, 0, -1, [], 10**5000],
    ids=lambda value: str(value)[:9] if value != 10**5000 else "long",
)
def test_a_schema_that_is_no_number(found: object) -> None:
    with pytest.raises(DataError, match=r"a\.json: (damaged \(schema|written by a newer)"):
        check_schema("a.json", found, 2)


def test_a_newer_schema_says_how_to_read_it() -> None:
    assert check_schema("a.json", 1, 2) == 1
    with pytest.raises(DataError) as raised:
        check_schema("a.json", 3, 2)
    assert "written by a newer xfer (schema 3, this one reads up to 2)" in str(raised.value)
    assert raised.value.hint == "pip install -U xfer"


def newer(folder: Path, name: str, value: object = 99) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    key = "version" if name == "index.json" else "schema"
    (folder / name).write_text(json.dumps(sealed({**content, key: value})), encoding="utf-8")


@pytest.mark.parametrize("value", [99, "1", None])
def test_every_file_with_a_schema_is_checked(tmp_path: Path, value: object) -> None:
    folder = write_pack(tmp_path / "pk")
    newer(folder, "index.json", value)
    with pytest.raises(DataError, match=r"index\.json: (written by a newer|damaged)"):
        read_pack(folder)
    table = features()
    write_features(tmp_path / "f.npz", table)
    arrays = dict(np.load(tmp_path / "f.npz"))
    meta = {**json.loads(str(arrays["meta"])), "schema": value}
    np.savez(tmp_path / "f.npz", **{**arrays, "meta": np.array(json.dumps(meta))})
    with pytest.raises(DataError, match=r"f\.npz: (written by a newer|damaged)"):
        read_features(tmp_path / "f.npz")
    torch.save({"schema": value, "step": 1}, tmp_path / "state.pt")
    with pytest.raises(DataError, match=r"state\.pt: (written by a newer|damaged)"):
        checkpoint.load_state(tmp_path / "state.pt")


def test_a_json_file_is_sealed_whatever_the_order_of_its_keys() -> None:
    content = sealed({"b": 1, "a": {"z": 1, "y": [1, 2]}, "ä": None})
    check_seal("x.json", dict(reversed(content.items())))
    check_seal("x.json", {"a": 1})  # of an earlier version
    for changed in ({"b": 2}, {"c": 1}, {"sha256": "sha256:" + "0" * 64}, {"sha256": ""}):
        with pytest.raises(DataError, match=r"x\.json: damaged"):
            check_seal("x.json", {**content, **changed})


def test_copies_of_a_pack_are_read(tmp_path: Path) -> None:
    """Nothing in the checksums depends on where the files are."""
    before = read_pack(write_pack(tmp_path / "pk"))
    shutil.copytree(tmp_path / "pk", tmp_path / "copy")
    after = read_pack(tmp_path / "copy")
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
