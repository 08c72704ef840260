"""One input: the files that a reader is given, and how they get onto the disk and back."""

from __future__ import annotations

import shutil
from pathlib import Path

# file name, with "/" for folders -> content
Case = dict[str, bytes]


def of_file(path: Path, name: str = "") -> Case:
    """A case of one file, under its own name by default."""
    return {name or path.name: path.read_bytes()}


def of_folder(folder: Path) -> Case:
    """A case of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def size(case: Case) -> int:
    """Bytes of a case, by which the smallest input of a fault is chosen."""
    return sum(len(name) + len(content) for name, content in case.items())


def write(case: Case, folder: Path) -> Path:
    """Writes a case into a folder, in place of what is there; returns what the reader is given."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return given(case, folder)


def given(case: Case, folder: Path) -> Path:
    """The file of a case of one file, else the folder."""
    if len(case) == 1 and "/" not in (name := next(iter(case))):
        return folder / name
    return folder


class Bench:
    """A folder in which one case after another is laid out; what is equal is not written again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lies: Case = {}
        self._laid = 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def lay(self, case: Case) -> Path:
        """Lays a case out; returns what the reader is given."""
        self._laid += 1
        if self._laid % 500 == 0:  # whatever a reader may have left or changed
            self._lies = {}
            write({}, self.folder)
            self.folder.mkdir(exist_ok=True)
        for name in self._lies.keys() - case.keys():
            (self.folder / name).unlink(missing_ok=True)
            for parent in (self.folder / name).parents:  # empty folders tell a reader something
                if parent == self.folder or any(parent.iterdir()):
                    break
                parent.rmdir()
        for name, content in case.items():
            if self._lies.get(name) is not content:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self._lies = dict(case)
        return given(case, self.folder)
