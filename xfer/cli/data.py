"""`xfer data`: lists, shows, fetches and packs data sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli import data_cache, data_check, data_get, data_pack, data_proposals
from xfer.cli.command import DRAWS, command
from xfer.cli.data_keys import Assignments, Set, reading_keys
from xfer.cli.flags import NoVerify, Spec, Split, WantedFor
from xfer.cli.help import Group
from xfer.cli.output import Show
from xfer.errors import XferError, nearest
from xfer.files import check_folder

app = typer.Typer(
    help="Data sets: list, show, check, fetch, pack.", no_args_is_help=True, cls=Group
)


@command(app, "ls")
def data_ls(show: Show) -> None:
    """List the data sets that can be given as NAME: built in, or under $XFER_DATA.

    Examples:
        xfer data ls
    """
    from xfer.data.catalog import KNOWN, data_folder
    from xfer.data.readers.base import EMBEDDED, FORMATS
    from xfer.registry import OURS

    rows = [{"name": name, "where": "embedded"} for name in EMBEDDED.names()]
    root = data_folder("")
    if root.is_dir():
        inside = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
        rows += [{"name": entry.name, "where": str(entry)} for entry in inside]
    origins = {name: FORMATS.origin(name) for name in FORMATS.names()}
    rows += [
        {"name": f"{name}:PATH", "where": f"a format of package {origin}"}
        for name, origin in origins.items()
        if origin != OURS
    ]
    if show.json:
        show.document(rows)
        return
    show.table(rows)
    show.note(f"known sets are searched in {root}")
    show.note(f"`xfer data get` fetches {', '.join(n for n, k in KNOWN.items() if k.archives)}")
    show.note(f"formats of FORMAT:PATH: {', '.join(origins)}")


@command(app, "show", flags=("train", "val", "test", "limit", "seed", "skip_bad"), seed=DRAWS)
def data_show(
    show: Show,
    given: dict[str, Any],
    spec: Spec,
    list_items: Annotated[
        bool, typer.Option("--list", help="list every picture with its class", show_default=False)
    ] = False,
    task: WantedFor = "",
    images: Annotated[
        str,
        typer.Option(
            metavar="DIR", show_default=False, help="folder with an annotation file's pictures"
        ),
    ] = "",
    ignore: Annotated[
        str,
        typer.Option(metavar="NAME", show_default=False, help="mask classes to leave out"),
    ] = "",
    split: Split = "",
    no_verify: NoVerify = False,
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="draw sample pictures with labels"),
    ] = None,
) -> None:
    """Show a data set: splits, classes, counts, and pictures that can't be read.

    For boxes, also their sizes and shapes; for masks, each class's share of the
    pixels.

    Examples:
        xfer data show photos/
        xfer data show labels.csv --list --split val     every picture of a split
        xfer data show annotations.json --draw drawn/    sample pictures with labels
    """
    from xfer import kinds
    from xfer.data.open import open_data
    from xfer.data.open import show as describe
    from xfer.data.sources.split_names import role_of

    if draw is not None:
        check_folder(draw)
    options = {
        key.partition(".")[2]: value for key, value in given.items() if key != "data.skip_bad"
    }
    options |= reading_keys(
        [*set, *assignments], ("train", "val", "test", "limit", "split_seed", "changes"), no_verify
    )
    if "split_seed" in options:
        options["seed"] = options.pop("split_seed")
    if task:
        from xfer import task as tasks

        options["kind"] = tasks.get(task).kinds
    if images:
        options["images"] = images
    if ignore:
        options["ignore"] = ignore
    bundle = open_data(spec, skip_bad=True, **options)
    if task:
        from xfer.recipe.data import check_kind

        check_kind(spec, bundle, task)
    if split:
        role = split if split in bundle.splits else role_of(split)
        if role not in bundle.splits:
            raise XferError(f"{spec} has no split {split!r}", nearest(split, bundle.splits))
        bundle = replace(bundle, splits={role: bundle.splits[role]})
    if draw is not None:
        from xfer.report.data import draw_data

        show.note(f"{len(draw_data(bundle, draw))} pictures in {draw}")
    document = describe(bundle, items=list_items)
    if show.json:
        show.document(document)
        return
    for note in bundle.notes:
        if not note.startswith("left out: "):  # all of them are named below
            show.note(note)
    show.left_out(bundle.skipped)
    if bundle.skipped and not given.get("data.skip_bad"):
        show.note("training stops at what can't be used, unless --skip-bad leaves it out")
    splits: dict[str, dict[str, Any]] = document["splits"]
    for number, table in enumerate(kinds.get(bundle.kind).tables(splits)):
        if number:
            show.text("")
        show.table(table)
    if list_items:
        show.text("")
        show.table(
            [
                {"split": name, "id": item[0], "class": item[1]}
                for name, summary in splits.items()
                for item in summary["items"]
            ]
        )


command(app, "cache")(data_cache.cache)
command(app, "check", flags=data_check.FLAGS, trust=True)(data_check.check)
command(app, "get")(data_get.get)
command(app, "pack")(data_pack.pack)
command(app, "proposals", flags=data_proposals.FLAGS, trust=True, seed=DRAWS)(
    data_proposals.proposals
)
