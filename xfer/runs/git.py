"""The git state of the current folder, without obeying the repository that the folder is in.

A repository's own settings may name programs: a file-system monitor, hooks, filters of files,
transports for objects that are missing. Whoever sends a folder of pictures may send a .git with it.
So HEAD is read from its files, and git compares the files with the index from a folder of ours,
which has the repository's objects and index but none of its settings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from xfer.errors import XferError
from xfer.files import KB, MB, text_of

_HASH = re.compile(r"[0-9a-f]{40}")
_LINE, _REFS = 4 * KB, 64 * MB  # bytes of HEAD or a branch, and of the list of packed branches
_SECONDS = 5
# what git needs of the person's own environment
_KEPT = ("PATH", "SYSTEMROOT", "TMPDIR", "TEMP")


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"commit": the hash, "changed": whether files differ from the index or are not in it, or None
    if that can't be told}; None outside a repository and before its first commit."""
    try:
        place = next((p for p in (folder, *folder.parents) if (p / ".git").exists()), None)
        own = None if place is None else _own_folder(place / ".git")
        if place is None or own is None:
            return None
        common = _common_folder(own)
        commit = _commit(own, common)
        if commit is None:
            return None
        return {"commit": commit, "changed": _changed(place, own, common, commit)}
    except (OSError, ValueError, XferError):
        return None


def _own_folder(dot_git: Path) -> Path | None:
    """The folder of HEAD and the index: .git itself, or the one that the file .git names (of a
    worktree or a submodule)."""
    if dot_git.is_dir():
        return dot_git
    word, _, path = text_of(dot_git, _LINE).partition(":")
    return dot_git.parent / path.strip() if word == "gitdir" else None


def _common_folder(own: Path) -> Path:
    """The folder of branches and objects, which worktrees share."""
    file = own / "commondir"
    return own / text_of(file, _LINE).strip() if file.is_file() else own


def _commit(own: Path, common: Path) -> str | None:
    """The hash of HEAD, by way of its branch."""
    text = text_of(own / "HEAD", _LINE).strip()
    for _ in range(5):  # a branch may stand for another
        if not text.startswith("ref:"):
            break
        name = text[4:].strip()
        if not name.startswith("refs/") or ".." in name.split("/"):
            return None
        file = next((f / name for f in (own, common) if (f / name).is_file()), None)
        text = _packed(common, name) if file is None else text_of(file, _LINE).strip()
    return text if _HASH.fullmatch(text) else None


def _packed(common: Path, name: str) -> str:
    file = common / "packed-refs"
    lines = text_of(file, _REFS).splitlines() if file.is_file() else []
    return next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), "")


def _changed(place: Path, own: Path, common: Path, commit: str) -> bool | None:
    """Whether `git status` would name any file; None without git, or if it fails."""
    # never from the current folder, which a PATH with "." or an empty entry would mean
    given = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [path for path in given if Path(path).is_absolute()]
    git = shutil.which("git", path=os.pathsep.join(paths))
    if git is None:
        return None
    with tempfile.TemporaryDirectory(prefix="xfer-git-") as temporary:
        ours = Path(temporary)
        (ours / "refs").mkdir()
        (ours / "objects").mkdir()
        (ours / "HEAD").write_text(f"{commit}\n")
        (ours / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
        environment = {
            **{key: os.environ[key] for key in _KEPT if key in os.environ},
            "PATH": os.pathsep.join(paths), "HOME": temporary, "LC_ALL": "C",
            "GIT_DIR": temporary, "GIT_WORK_TREE": str(place.resolve()),
            "GIT_OBJECT_DIRECTORY": str((common / "objects").resolve()),
            "GIT_INDEX_FILE": str((own / "index").resolve()),
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }  # fmt: skip
        words = ["-c", f"core.excludesFile={(common / 'info' / 'exclude').resolve()}", "status",
                 "--porcelain", "--ignore-submodules=all"]  # fmt: skip
        try:
            done = subprocess.run(
                [git, *words], capture_output=True, timeout=_SECONDS, check=True, cwd=place,
                env=environment, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.SubprocessError:
            return None
        return bool(done.stdout.strip())
