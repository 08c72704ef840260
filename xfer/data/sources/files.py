"""A source of picture files on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import decode
from xfer.data.images.jpeg_rows import Rows
from xfer.data.images.picture_file import picture_bytes
from xfer.data.images.walk import readable
from xfer.data.sources import door
from xfer.data.sources.base import sample_label
from xfer.types import DataInfo, Sample

PROBE_SIDE = 64


class FileSource:
    """Picture files with labels, used by the readers of folders and tables.

    info   | kind and classes
    root   | the folder that ids are relative to
    files  | N paths relative to root, or absolute
    labels | int64 (N,) or int8 (N, C), as in `Source`
    ids    | N names; default: the files, with forward slashes
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        labels: NDArray[np.int64] | NDArray[np.int8],
        ids: Sequence[str] | None = None,
    ) -> None:
        self.info = info
        self.root = Path(root)
        self.files = tuple(files)
        self.ids = (
            tuple(ids) if ids is not None else tuple(readable(Path(f).as_posix()) for f in files)
        )
        self._labels = labels
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self.files)

    def path(self, i: int) -> Path:
        """The file of picture i."""
        return self.root / self.files[i]

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i, decoded no larger than `short_side` asks for."""
        return self.read_rows(i, short_side, None)

    @door.sample
    def read_rows(self, i: int, short_side: int, rows: Rows | None) -> Sample:
        """Like `read`; rows that are not needed may be black (see `decode`)."""
        image = decode(self.path(i), short_side, rows)
        return Sample(self.ids[i], image, sample_label(self._labels[i]))

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self._labels

    @door.sample
    def verify(self, i: int) -> None:
        """Raises DecodeError if picture i can't be decoded.

        Large JPEGs are decoded at an eighth of their size, but every byte is still read.
        """
        decode(self.path(i), PROBE_SIDE)

    def raw(self, i: int) -> bytes:
        """Picture i as it is stored. Raises OSError if it is gone."""
        return picture_bytes(self.path(i))

    def stamp(self, i: int) -> str | None:
        """The path, size and time of change of picture i; None if it is gone."""
        path = self.path(i).absolute()
        try:
            state = path.stat()
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return None
        return f"{path}\0{state.st_size}\0{state.st_mtime_ns}"

    def fingerprint(self) -> str:
        """Of ids, labels, classes, and each file's size and time of change in whole seconds, since
        archives keep nothing finer. Computed once per process."""
        if not self._fingerprint:
            digest = hashlib.sha256("\0".join([*self.ids, "", *self.info.classes]).encode())
            digest.update(np.ascontiguousarray(self._labels).tobytes())
            for i in range(len(self)):
                try:
                    state = self.path(i).stat()
                    digest.update(f"{state.st_size} {int(state.st_mtime)};".encode())
                except (OSError, ValueError):
                    digest.update(b"gone;")
            self._fingerprint = digest.hexdigest()
        return self._fingerprint
