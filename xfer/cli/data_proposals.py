"""`xfer data proposals`: object proposals, and how many true boxes they cover."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.data_keys import Assignments, Set, reading_keys
from xfer.cli.flags import NoVerify, SkipBad, Spec, Split, out_option
from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.files import check_folder
from xfer.locking.sole_writer import sole_writer

FLAGS = ("limit", "seed", "workers")


def proposals(
    show: Show,
    given: dict[str, Any],
    spec: Spec,
    method: Annotated[
        str,
        typer.Option("--method", metavar="M", help="selective_search, grid, file:PATH or run:DIR"),
    ] = "selective_search",
    split: Split = "",
    most: Annotated[
        int, typer.Option(metavar="N", min=1, help="most boxes per picture")
    ] = 2000,
    out: Annotated[
        list[Path],
        out_option(
            "a folder for recall.png and recall.json, or a file for the boxes, to be read by "
            "file:PATH; may be repeated", "DIR|FILE.npz",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    skip_bad: SkipBad = False,
    no_verify: NoVerify = False,
    set: Set = [],  # noqa: B006
    assignments: Assignments = [],  # noqa: B006
) -> None:  # fmt: skip
    """Measure the recall of a proposal method against the number of proposals.

    SPEC is data with boxes. Without --split, all its pictures are used once.

    Examples:
        xfer data proposals annotations.json
        xfer data proposals voc07 --split test --method run:runs/NAME -o recall/
    """
    files = [path for path in out if path.suffix == ".npz"]
    folders = [path for path in out if path.suffix != ".npz"]
    for path in folders:
        if path.is_file() or path.suffix in (".json", ".pkl", ".mat", ".png"):
            raise XferError(f"--out {path}: not a folder", "DIR, or FILE.npz for the boxes")
    for folder in [*folders, *(path.parent for path in files)]:
        check_folder(folder)
    from xfer.proposals.measure import measure
    from xfer.proposals.search import ticker

    model = None
    if method.startswith("run:"):
        from xfer.inference.model import load

        model = load(method.removeprefix("run:"))
    options = {key.rpartition(".")[2]: value for key, value in given.items()}
    if "split_seed" in options:
        options["seed"] = options.pop("split_seed")
    with contextlib.ExitStack() as held:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(sole_writer(path))
        result = measure(
            spec, method, model=model, split=split, max_boxes=most, skip_bad=skip_bad,
            say=show.note, data_keys=reading_keys([*set, *assignments], no_verify=no_verify),
            tick=ticker(show.note), **options,
        )  # fmt: skip
        for path in files:
            result.write(path)
            show.note(f"{path}: the boxes of {len(result.ids)} pictures")
        for folder in folders:
            result.write_report(folder)
            show.note(f"{folder}: recall.png, recall.json")
    document = result.document()
    if show.json:
        show.document(document)
        return
    show.table(document["curve"])
    seconds = document["seconds_per_image_core"]
    cost = "" if seconds is None else f", {seconds:.2f} s per image and core"
    show.text(
        f"\n{document['images']} pictures, {document['boxes']} true boxes; "
        f"{document['boxes_per_image']:.0f} proposals per picture, at most "
        f"{document['max_boxes']}{cost}"
    )
    if show.verbosity > 0:
        show.table([{"class": name, **row} for name, row in document["per_class"].items()])
    for key, value in document["protocol"].items():
        show.note(f"{key}: {value}")
