"""Whatever a file makes a reader raise is an error that names it; a plug's own errors name its
line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import write_folder, write_picture

from xfer.cli.app import main
from xfer.data.images.decode import DecodeError
from xfer.data.inspect import verify
from xfer.data.loading.loader import Loader
from xfer.data.readers.base import FORMATS
from xfer.data.sources.files import FileSource
from xfer.data.spec import open_spec
from xfer.errors import DataError, whole
from xfer.fetch import cache_folder
from xfer.kinds import pixel_counts
from xfer.types import Batch, DataInfo

OWN = """
from xfer.testing.source import SyntheticSource

class Reader:
    kinds = ("classify",)

    def recognise(self, path):
        return "a list" if path.suffix == ".own" else None

    def load(self, path, options):
        return {}["typo"]
"""


def unforeseen(*args: Any, **named: Any) -> Any:
    raise OverflowError("Python int too large to convert to C long")


@pytest.mark.parametrize("method", ["recognise", "load"])
def test_a_formats_unforeseen_error_names_the_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    write_folder(tmp_path, {"ant": 2, "bee": 2})
    monkeypatch.setattr(FORMATS.get("folder"), method, unforeseen)
    with pytest.raises(DataError, match="OverflowError: Python int too large") as caught:
        open_spec(tmp_path)
    assert caught.value.file == str(tmp_path)
    assert isinstance(caught.value.__cause__, OverflowError)


def test_the_innermost_file_is_the_one_at_fault() -> None:
    with pytest.raises(DataError) as caught, whole("a folder"), whole("a folder/file"):
        raise TypeError("list indices must be integers")
    assert caught.value.file == "a folder/file"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.file) == (str(caught.value), "a folder/file")


class Strange(FileSource):
    """Pictures, some of which raise what nobody thought of."""

    def path(self, i: int) -> Path:
        if i == 2:
            raise RecursionError("maximum recursion depth exceeded")
        return super().path(i)


def strange(tmp_path: Path) -> Strange:
    files = [write_picture(tmp_path / f"{i}.jpg").name for i in range(4)]
    return Strange(DataInfo("d", "images", ()), tmp_path, files, np.full(4, -1))


def test_a_samples_unforeseen_error_names_the_sample(tmp_path: Path) -> None:
    source = strange(tmp_path)
    for read in (source.__getitem__, source.read, source.verify):
        with pytest.raises(DecodeError, match=r"2\.jpg: .*nested too deeply") as caught:
            read(2)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(copy, DecodeError)
        assert (copy.reason, copy.file) == (caught.value.reason, "2.jpg")
    with pytest.raises(IndexError):  # by which Python ends a loop over a source
        source[4]
    loader = Loader(
        source,
        lambda sample, rng: sample,
        lambda items: Batch(torch.zeros(1), ()),
        batch=2,
        train=False,
        workers=2,
    )
    with pytest.raises(DecodeError, match=r"2\.jpg"):
        list(loader.batches(0))


def test_a_plugs_own_error_names_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ownreader.py").write_text(OWN)
    (tmp_path / "a.own").write_text("")
    monkeypatch.chdir(tmp_path)
    command = ["data", "show", "ownreader:Reader:a.own"]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "xfer: ownreader.py, line 11, in Reader.load: KeyError: 'typo'",
        "  --debug shows the traceback",
    ]
    assert main([*command, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("head", [b"{'shape': (99999999999999999999,), }", b"((((", b"{'descr': 1"])
def test_what_is_kept_of_earlier_runs_may_be_broken(head: bytes) -> None:
    """numpy raises almost anything for a damaged header: then the pictures are looked at anew."""
    text = (head + b", 'descr': '<u8', 'fortran_order': False").ljust(118) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    marks, counts = verify._file(), cache_folder() / "pixels" / "a.npy"
    for file in (marks, counts):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert not len(verify._remembered())
    assert pixel_counts._read(counts) is None
    marks.unlink()
