"""A source of pictures located by an index: in tars, or as files."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.jpeg_rows import Rows
from xfer.data.images.picture_file import check_large, picture_bytes
from xfer.data.sources import door
from xfer.data.sources.base import sample_label
from xfer.data.sources.files import PROBE_SIDE
from xfer.data.sources.index_file import Index
from xfer.files import open_regular
from xfer.types import DataInfo, Sample

OPEN_FILES = 64


class IndexedSource:
    """Pictures located by an index; safe to read from several threads, each with its own pread.

    Args:
        info: kind and classes; root: the folder that the index's files are relative to; index.

    If a picture is a file of its own, its id is its path below `root`.
    """

    def __init__(self, info: DataInfo, root: Path, index: Index) -> None:
        self.info, self.root, self.index = info, Path(root), index
        self.ids = index.ids
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i, decoded no larger than `short_side` asks for."""
        return self.read_rows(i, short_side, None)

    @door.sample
    def read_rows(self, i: int, short_side: int, rows: Rows | None) -> Sample:
        """Like `read`; rows that are not needed may be black (see `decode`)."""
        i = range(len(self))[i]
        name = self.ids[i]
        image = self._decoded(i, name, short_side, rows)
        return Sample(name, image, sample_label(self.index.labels[i]))

    @door.sample
    def verify(self, i: int) -> None:
        """Raises DecodeError if picture i can't be decoded."""
        self._decoded(i, self.ids[i], PROBE_SIDE)

    def raw(self, i: int) -> bytes:
        """Picture i as it is stored. Raises OSError if its file is gone."""
        start = int(self.index.start[i])
        if start < 0:
            return picture_bytes(self._file(i))
        return self._bytes(int(self.index.file[i]), start, int(self.index.length[i]))

    def labels(self) -> NDArray[np.int64]:
        return self.index.labels

    def fingerprint(self) -> str:
        """Of ids, labels, classes and lengths, as they were when the index was made."""
        about = f"{self.index.digest}\0{self.info.kind}\0{self.info.split}"
        return hashlib.sha256(about.encode()).hexdigest()

    def stored(self) -> NDArray[np.int64]:
        """The indices in the order in which their pictures are stored."""
        return np.lexsort((self.index.start, self.index.file))

    def stamp(self, i: int) -> str | None:
        """Text that changes with the file of picture i; None if it is gone."""
        path = self._file(i).absolute()
        try:
            state = path.stat()
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return None
        return f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0{self.index.start[i]}"

    def path(self, i: int) -> Path | None:
        """The file of picture i; None if it is in a tar."""
        return None if self.index.start[i] >= 0 else self._file(i)

    def _file(self, i: int) -> Path:
        """The file of picture i, or the tar that holds it."""
        if self.index.start[i] < 0:
            return self.root / self.ids[i]
        return self.root / self.index.files[int(self.index.file[i])]

    def _decoded(
        self, i: int, name: str, short_side: int, rows: Rows | None = None
    ) -> NDArray[np.uint8]:
        start, length = int(self.index.start[i]), int(self.index.length[i])
        if start < 0:
            return decode(self._file(i), short_side, rows)
        try:
            data = self._bytes(int(self.index.file[i]), start, length)
        except OSError as error:
            raise DecodeError(f"{self._file(i)}: {error.strerror}", name) from None
        except DecodeError as error:
            raise DecodeError(f"{error.reason} (in {self._file(i)})", name) from None
        if len(data) < length:
            raise DecodeError(f"cut off in {self._file(i)}", name)
        try:
            return decode(data, short_side, rows)
        except DecodeError as error:
            raise DecodeError(f"{error.reason} (in {self._file(i)})", name) from error.__cause__

    def _bytes(self, file: int, start: int, length: int) -> bytes:
        """Read bytes of a file. The first OPEN_FILES files stay open; a pread needs no lock."""
        handle = self._open.get(file)
        if handle is None:
            with self._lock:
                handle = self._open.get(file)
                if handle is None and len(self._open) < OPEN_FILES:
                    handle = open_regular(self.root / self.index.files[file])
                    self._open[file] = handle
        if handle is not None:
            check_large(handle, start, length, "")
            return os.pread(handle, length, start)
        once = open_regular(self.root / self.index.files[file])
        try:
            check_large(once, start, length, "")
            return os.pread(once, length, start)
        finally:
            os.close(once)

    def __getstate__(self) -> dict[str, Any]:
        return {"info": self.info, "root": self.root, "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        IndexedSource.__init__(self, state["info"], state["root"], state["index"])

    def __del__(self) -> None:
        for handle in getattr(self, "_open", {}).values():
            os.close(handle)
