"""`xfer data get`: fetches a known data set to the folder that `--data NAME` reads."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from xfer.cli.output import Show


def get(
    show: Show,
    name: Annotated[
        str, typer.Argument(metavar="NAME", show_default=False, help="voc07, voc12 or coco")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be fetched, from where, its size")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="keep the archives after unpacking")
    ] = False,
) -> None:  # fmt: skip
    """Fetch a known data set from its official site into $XFER_DATA.

    Archives are checked against the published sizes and hashes. An interrupted
    download continues where it stopped.

    Examples:
        xfer data get voc07 --dry-run                    what would be fetched, its size
        xfer data get voc07
        xfer finetune --task detect --data voc07
    """
    from xfer.data.catalog import data_folder
    from xfer.data.download import get as fetch
    from xfer.data.download import known_set

    archives = known_set(name).archives
    about = [{"file": a.name, "bytes": a.size, "hash": a.hash, "url": a.urls[0]} for a in archives]
    document: dict[str, Any] = {"name": name, "path": str(data_folder(name)), "archives": about}
    if dry_run:
        if show.json:
            show.document(document)
            return
        show.table(about)
        total = sum(a.size for a in archives) / 1e9
        show.text(f"\n{total:.2f} GB in total, unpacked into {data_folder(name)}")
        return

    @contextlib.contextmanager
    def bar(text: str) -> Iterator[Any]:
        if show.verbosity < 0 or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=sys.stderr), transient=True) as progress:
            task = progress.add_task(text, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total or None)

    fetched = fetch(name, keep=keep, say=show.note, bar=bar)
    if show.json:
        show.document({**document, "files": fetched.files})
        return
    state = f"{fetched.files} files unpacked" if fetched.files else "already there"
    show.text(f"{fetched.path}: {state}; use it with --data {name}")
