"""FILE.py beside FILE.onnx: predicts with onnxruntime, numpy and Pillow, without xfer and torch.

Its text is that of two modules of `xfer.exporting.scripts`: pictures, which every script has, and
the one that the task's net names.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from xfer.errors import XferError
from xfer.exporting.contract import Exportable
from xfer.files import replacing

FIRST = "#!/usr/bin/env python3\n# Written by `xfer export`"
_OURS = "from xfer.exporting.scripts.pictures import"


def script_beside(file: Path) -> Path:
    """The script of an ONNX file: the same name, ending in .py."""
    return file.with_suffix(".py")


def check_script(file: Path) -> None:
    """Raises XferError if a file is in the script's place that `xfer export` has not written."""
    script = script_beside(file)
    if not script.exists():
        return
    with script.open("rb") as handle:
        begins = handle.read(len(FIRST)).decode("utf-8", "replace")
    if begins != FIRST:
        raise XferError(
            f"{script}, where the script beside {file.name} would be, is a file of yours",
            "choose another name: -o FILE.onnx",
        )


def write_script(file: Path, net: Exportable) -> Path:
    """Writes the script beside an ONNX file; returns its path."""
    path = script_beside(file)
    with replacing(path) as temporary:
        temporary.write_text(script_text(net.script), encoding="utf-8")
    return path


def script_text(name: str) -> str:
    """The text of a script. Args: name: a module of `xfer.exporting.scripts`."""
    folder = files("xfer.exporting.scripts")
    shared = folder.joinpath("pictures.py").read_text(encoding="utf-8")
    own = folder.joinpath(f"{name}.py").read_text(encoding="utf-8")
    head, _, body = own.partition("\n\n\n")  # its docstring and imports, then what it does
    words = head.split('"""')[1].strip()
    lines = [line for line in head.splitlines() if line.startswith(("import ", "from "))]
    extra = [n for n in lines if not n.startswith(_OURS) and n not in shared.splitlines()]
    about = shared.split('"""')[1]
    shared = "\n".join([*extra, shared.split('"""', 2)[2].strip("\n")])
    return f'{FIRST}: yours to change.\n"""{words}\n{about}"""\n\n{shared}\n\n{body}'
