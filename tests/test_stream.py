"""Shards that can only be read in sequence: they train, give features, and are counted."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, scene

from xfer.cli.app import main
from xfer.data.streams.open_stream import open_stream
from xfer.data.streams.shards import is_stream, name_of, shards_of
from xfer.data.streams.stream import Stream, pictures_of
from xfer.data.streams.stream_loader import StreamLoader
from xfer.data.streams.tar_stream import streamed
from xfer.errors import DataError, XferError
from xfer.extraction.store import read_features
from xfer.plugs import naming
from xfer.types import Batch


def tar_of(files: list[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_shards(folder: Path, counts: tuple[int, ...] = (5, 4, 6)) -> str:
    """Tars of small pictures of two classes; returns the stream's spec."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, count in enumerate(counts):
        files: list[tuple[str, bytes]] = []
        for n in range(count):
            files += [(f"{n}.png", encoded(scene(24, 24))), (f"{n}.cls", b"%d\n" % (n % 2))]
        (folder / f"{k:02d}.tar").write_bytes(tar_of(files))
    return f"webdataset:pipe:cat {folder}/{{00..{len(counts) - 1:02d}}}.tar"


def test_braces_stand_for_shards() -> None:
    spec = "webdataset:https://host/{train,val}-{08..10}.tar?x={}"
    names = [
        f"https://host/{s}-{n}.tar?x={{}}" for s in ("train", "val") for n in ("08", "09", "10")
    ]
    with naming(spec):
        assert shards_of(spec) == names
    with pytest.raises(XferError, match="asked to fetch https://host"):
        shards_of(spec)
    assert name_of(names[0]) == "train-08" and name_of("pipe:cat '/a b/7.tar'") == "7"
    assert shards_of("webdataset:/data/{9..11}.tar") == [f"/data/{n}.tar" for n in (9, 10, 11)]
    assert (
        is_stream(spec) and is_stream("webdataset:pipe:x") and is_stream("webdataset:s3://b/a.tar")
    )
    assert not is_stream("webdataset:/data/a.tar") and not is_stream("pipe:x")
    with (
        naming(other := "webdataset:ftp://host/a.tar"),
        pytest.raises(XferError, match="unknown kind of address"),
    ):
        shards_of(other)
    with pytest.raises(XferError, match="not a range"):
        shards_of("webdataset:/data/{9..1}.tar")


NAMES = st.builds(lambda part, n: part * n, st.text("ab/.", min_size=1, max_size=5),
                  st.integers(1, 24))  # fmt: skip
CONTENTS = st.integers(0, 1600).map(lambda n: (bytes(range(256)) * 7)[:n])
FILES = st.lists(st.tuples(NAMES, CONTENTS), max_size=6)


@settings(max_examples=40)
@given(FILES, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
def test_a_tar_in_sequence_is_the_tar(files: list[tuple[str, bytes]], form: int) -> None:
    try:
        data = tar_of(files, form)
    except ValueError:  # a name that ustar can't hold
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(m.name, tar.extractfile(m).read()) for m in tar if m.isreg()]  # pyright: ignore[reportOptionalMemberAccess]
    assert list(streamed(io.BytesIO(data), "x", lambda name: 10**6)) == expected
    assert [n for n, _ in streamed(io.BytesIO(data), "x", lambda name: 0)] == [
        n for n, _ in expected
    ]


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1024, 1536, 2048])
def test_a_tar_that_is_cut_off_is_told(length: int) -> None:
    data = tar_of([("a.png", bytes(700)), ("b.png", bytes(10))])
    with pytest.raises(DataError, match=r"x: .*(cut off|no tar)"):
        list(streamed(io.BytesIO(data[:length]), "x", lambda name: 10**6))


def test_what_a_tar_may_not_hold() -> None:
    data = tar_of([("a.png", bytes(700))])
    with pytest.raises(DataError, match="700 bytes, more than are read"):
        list(streamed(io.BytesIO(data), "x", lambda name: 100))
    with pytest.raises(DataError, match="more follows the end"):
        list(streamed(io.BytesIO(data + b"x"), "x", lambda name: 1000))
    with pytest.raises(DataError, match="no tar"):
        list(streamed(io.BytesIO(b"<html>" * 400), "x", lambda name: 1000))


def test_a_stream_is_counted_once_if_nobody_says_what_it_holds(tmp_path: Path) -> None:
    spec = write_shards(tmp_path)
    with naming(spec):
        found = open_stream(spec)
        assert found.classes == ("0", "1") and len(found.splits["train"]) == 15
        assert np.bincount(found.splits["train"].labels()).tolist() == [8, 7]
        assert any("data.stream_size=15 data.classes=0,1 saves it" in n for n in found.notes)
        told = open_stream(spec, "ant,bee", 9)
        assert told.classes == ("ant", "bee") and len(told.splits["train"]) == 9
        assert not any("counted" in note for note in told.notes)
        with pytest.raises(DataError, match="label 1, but"):
            open_stream(spec, "ant")
    with (
        naming(wrong := f"webdataset:pipe:cat {tmp_path}/gone.tar"),
        pytest.raises(DataError, match=r"ended with exit code 1: .*gone\.tar: No such file"),
    ):
        open_stream(wrong)


def test_through_fsspec(tmp_path: Path) -> None:
    import fsspec  # pyright: ignore[reportMissingTypeStubs]

    write_shards(tmp_path, (3,))
    memory: Any = fsspec.filesystem("memory")
    memory.pipe("/shards/00.tar", (tmp_path / "00.tar").read_bytes())
    found = list(pictures_of("memory://shards/00.tar"))
    assert [one.id for one in found] == ["00/0", "00/1", "00/2"]
    assert [one.label for one in found] == [0, 1, 0]
    with pytest.raises(DataError, match=r"memory://shards/01\.tar: FileNotFoundError"):
        list(pictures_of("memory://shards/01.tar"))


def loader(stream: Stream, rank: int = 0, world: int = 1, window: int = 0) -> StreamLoader:
    def collate(items: list[Any]) -> Batch:
        import torch

        return Batch(torch.zeros(len(items)), tuple(items))

    return StreamLoader(
        stream, lambda sample, rng: f"{sample.id} {rng.random():.6f}", collate, batch=4,
        workers=2, rank=rank, world=world, window=window,
    )  # fmt: skip


def ids(batches: Any) -> list[str]:
    return [one for batch in batches for one in batch.ids]


def test_an_epoch_shows_pictures_once_and_resumes_where_it_was(tmp_path: Path) -> None:
    spec = write_shards(tmp_path)
    with naming(spec):
        stream = open_stream(spec).splits["train"]
    assert isinstance(stream, Stream)
    threads = threading.active_count()
    one = loader(stream)
    shown = ids(one.batches(0))
    assert len(one) == 3 and len(shown) == len({name.split()[0] for name in shown}) == 12
    assert shown == ids(loader(stream).batches(0)) and shown != ids(loader(stream).batches(1))
    assert ids(loader(stream).batches(0, 2)) == shown[8:]
    assert ids(loader(stream, window=3).batches(0)) != shown
    with pytest.raises(XferError, match="3 shards for 4 processes"):
        loader(stream, 0, 4)
    early = one.batches(0)
    next(early)
    early.close()
    assert threading.active_count() == threads


def test_shards_are_dealt_to_processes(tmp_path: Path) -> None:
    spec = write_shards(tmp_path, (4, 4, 4, 4))
    with naming(spec):
        stream = open_stream(spec).splits["train"]
    assert isinstance(stream, Stream)
    ranks = [ids(loader(stream, rank, 2).batches(0)) for rank in range(2)]
    assert [len(own) for own in ranks] == [8, 8]
    assert len({name.split()[0] for own in ranks for name in own}) == 16


def test_a_stream_longer_than_its_shards_goes_through_them_again(tmp_path: Path) -> None:
    spec = write_shards(tmp_path, (2, 3))
    with naming(spec):
        stream = open_stream(spec, "a,b", 12).splits["train"]
        assert isinstance(stream, Stream)
    one = loader(stream)
    shown = [name.split()[0] for name in ids(one.batches(0))]
    assert len(shown) == 12 and set(map(shown.count, set(shown))) == {2, 3} and one.passes == 5


NET = ["--backbone", "tiny_nets:tiny", "--weights", "none", "--device", "cpu", "-q"]


def test_a_stream_trains_and_says_what_it_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, run = write_shards(tmp_path / "s"), str(tmp_path / "run")
    words = ["finetune", "--data", spec, *NET, "--epochs", "2", "--batch", "4", "--out", run]
    assert main([*words, "data.stream_size=15"]) == 2
    assert "--val none" in capsys.readouterr().err
    assert main([*words, "data.stream_size=15", "--val", "none"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 6
    notes = json.loads((tmp_path / "run" / "env.json").read_text())["data_notes"]
    assert "24 pictures seen, in 6 steps; the shards hold 15" in notes
    assert json.loads((tmp_path / "run" / "split.json").read_text())["train"]["images"] == 15
    assert main(["eval", run, "--trust", "tiny_nets"]) == 3
    assert "--data SPEC scores the run on other pictures" in capsys.readouterr().err
    assert main(["finetune", "--data", "digits", *NET, "data.stream_size=9", "--dry-run"]) == 2
    assert "digits is no stream" in capsys.readouterr().err
    for more, said in (
        (["data.balance=true"], "data.balance=true: a stream's pictures come one after"),
        (["--limit", "3"], "a stream has no limit"),
    ):
        again = [*words, "--val", "none", "--overwrite", *more]
        assert main(again) == 2 and said in capsys.readouterr().err


def test_features_of_a_stream_in_parts_equal_one_file(tmp_path: Path) -> None:
    spec = write_shards(tmp_path / "s")
    words = ["features", "--data", spec, *NET, "--layer", "conv2", "--batch", "4"]
    assert main([*words, "-o", str(tmp_path / "one.npz")]) == 0
    for i in range(2):
        assert main([*words, "--part", f"{i}/2", "-o", str(tmp_path / "parts")]) == 0
    assert main(["features", "join", str(tmp_path / "parts"), "-o", str(tmp_path / "j.npz")]) == 0
    one, two = (read_features(tmp_path / name) for name in ("one.npz", "j.npz"))
    assert one.layers["conv2"].tobytes() == two.layers["conv2"].tobytes() and len(one) == 15
    assert one.ids.tolist() == two.ids.tolist() and one.ids[0] == "00/0"
    assert one.y.tolist() == two.y.tolist() and one.classes.tolist() == two.classes.tolist()


def test_a_command_that_only_a_file_names_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    recipe = tmp_path / "r.toml"
    command = f"touch {mark}; cat nothing"
    recipe.write_text(
        f'task = "classify"\nbackbone = "alexnet"\n[data]\nsource = "webdataset:pipe:{command}"\n'
        'val = "none"\n'
    )
    words = ["finetune", "--recipe", str(recipe), *NET, "--out", str(tmp_path / "run")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"asks to run a command: {command}" in said and f"--trust 'pipe:{command}'" in said
    assert not mark.exists()
    assert main([*words, "--trust", "pipe:another"]) == 2 and not mark.exists()
    assert main([*words, "--trust", f"pipe:{command}"]) == 3 and mark.exists()
    assert "ended with exit code 1" in capsys.readouterr().err
    assert main(["data", "show", f"webdataset:pipe:{command}"]) == 2
    assert "no other command" in capsys.readouterr().err
