"""The folder that the parts of one job fill: part-00000.npz, part-00001.npz, ... and parts.json,
which says of what job they are, so that no others get between them.

parts.json | {"format", "schema", "command", "parts": N, "asked": {...}, "made": {...}, "sha256"};
           | asked: the command's settings, made: digests of what they led to

Each part is written by its own process, under another name until it is whole; whoever comes first
writes parts.json. So no process waits for another, and a part that died is done again alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer.errors import DataError, XferError, listed
from xfer.files import (
    check_fields,
    check_folder,
    check_schema,
    check_seal,
    json_of,
    make_folder,
    replacing,
    sealed,
)
from xfer.parts.part import Part

NAME = "parts.json"
FORMAT, SCHEMA = "xfer parts", 1
_FIELDS = {"format": str, "command": str, "parts": int, "asked": dict, "made": dict}


@dataclass(frozen=True)
class PartsFolder:
    """Where a part goes.

    path    | the folder; part: which one; ending: of the files, ".npz"
    command | what makes the parts: features or predict
    asked   | the command's settings, as JSON types: whatever makes another result
    """

    path: Path
    part: Part
    ending: str
    command: str
    asked: Mapping[str, Any]

    @property
    def file(self) -> Path:
        return self.path / f"{self.part.name}{self.ending}"

    def finished(self) -> bool:
        """Whether this part is there already.

        Raises: XferError if the folder holds parts of another job, or is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise XferError(f"{self.path} is a file", "with --part, -o names a folder")
        check_folder(self.path)
        about = self._about()
        if about is not None:
            self._compare(about, "asked", self.asked)
        return self.file.is_file()

    def begin(self, made: Mapping[str, Any]) -> None:
        """Writes parts.json, or compares it: `made` as well as `asked` must be the same.

        Raises: as `finished`.
        """
        content = {
            "format": FORMAT,
            "schema": SCHEMA,
            "command": self.command,
            "parts": self.part.count,
            "asked": plain(self.asked),
            "made": plain(made),
        }
        make_folder(self.path)
        _write_once(self.path / NAME, json.dumps(sealed(content), indent=1, ensure_ascii=False))
        about = self._about()
        if about is None:
            raise DataError(f"{self.path / NAME}: was removed while parts were being written")
        self._compare(about, "asked", self.asked)
        self._compare(about, "made", made)

    def _about(self) -> dict[str, Any] | None:
        """The content of parts.json, of this command and number of parts; None: not there yet."""
        file = self.path / NAME
        if not file.exists():
            strange = sorted(p.name for p in self.path.glob("part-*"))
            if strange:
                raise XferError(
                    f"{self.path}: holds {listed(strange, 3)}, but no {NAME} to say of what",
                    "choose another -o",
                )
            return None
        about = check_fields(file, json_of(file), _FIELDS)
        check_schema(file, about.get("schema", 1), SCHEMA)
        check_seal(file, about)
        if about["format"] != FORMAT:
            raise DataError(f"{file}: not written by --part", "choose another -o")
        if about["command"] != self.command:
            raise XferError(
                f"{self.path}: holds parts of `xfer {about['command']}`", "choose another -o"
            )
        if about["parts"] != self.part.count:
            raise XferError(
                f"{self.path}: holds parts of {about['parts']}, not of {self.part.count}",
                f"--part {self.part.index}/{about['parts']}, or another -o",
            )
        return about

    def _compare(self, about: Mapping[str, Any], key: str, own: Mapping[str, Any]) -> None:
        found = difference(about[key], plain(own))
        if found:
            name, theirs, ours = found
            raise XferError(
                f"{self.path}: holds parts with other settings: {name} is {short(theirs)} there, "
                f"{short(ours)} here",
                "the same command for each part, or another -o",
            )


def difference(one: Any, other: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value in which two JSON objects differ: its name, and what it is in each."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            found = difference(one.get(key), other.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return None
    return None if one == other else (name, one, other)


def plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists, keys are texts."""
    return json.loads(json.dumps(value, default=str))


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _write_once(file: Path, text: str) -> None:
    """Writes a file whole, unless it exists: of several processes the first one wins."""
    if file.exists():
        return
    whole = file.with_name(f".{file.name}.{os.urandom(4).hex()}.tmp")
    try:
        with replacing(whole) as temporary:
            temporary.write_text(text, encoding="utf-8")
        try:
            os.link(whole, file)
        except FileExistsError:
            return
        except OSError:  # a disk without hard links
            if not file.exists():
                os.replace(whole, file)  # noqa: PTH105
    finally:
        whole.unlink(missing_ok=True)
