"""`xfer data proposals`: boxes that may hold objects, and how many true ones they cover."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.files import check_folder

FLAGS = ("limit", "seed", "workers")


def proposals(
    show: Show,
    given: dict[str, Any],
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", show_default=False, help="data with boxes"),
    ],
    method: Annotated[
        str,
        typer.Option("--method", metavar="M", help="selective_search, grid, file:PATH or run:DIR"),
    ] = "selective_search",
    split: Annotated[
        str,
        typer.Option(
            metavar="S", show_default=False,
            help="train, val, ...; all pictures of the set, each once, when left out",
        ),
    ] = "",
    most: Annotated[
        int, typer.Option(metavar="N", min=1, help="boxes a picture, at most")
    ] = 2000,
    out: Annotated[
        list[Path],
        typer.Option(
            "--out", "-o", metavar="DIR|FILE.npz", show_default=False,
            help="a folder for recall.png and recall.json, or a file for the boxes, which "
            "file:PATH reads; as often as needed",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", show_default=False,
            help="leave out pictures that can't be decoded and boxes that are none",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Say how many true boxes a method's proposals cover, against their number."""
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
    found = measure(
        spec, method, model=model, split=split, most=most, skip_bad=skip_bad, say=show.note,
        tick=ticker(show.note), **{key.rpartition(".")[2]: value for key, value in given.items()},
    )  # fmt: skip
    for path in files:
        found.write(path)
        show.note(f"{path}: the boxes of {len(found.ids)} pictures")
    document = found.document()
    for folder in folders:
        from xfer.files import replacing
        from xfer.report.recall import recall_curves

        folder.mkdir(parents=True, exist_ok=True)
        recall_curves(found.recall, folder / "recall.png", f"{method} on {spec}")
        with replacing(folder / "recall.json") as temporary:
            text = json.dumps(document, indent=1, ensure_ascii=False)
            temporary.write_text(f"{text}\n", encoding="utf-8")
        show.note(f"{folder}: recall.png, recall.json")
    if show.json:
        show.document(document)
        return
    show.table(document["curve"])
    seconds = document["seconds_per_image_core"]
    spent = "" if seconds is None else f", {seconds:.2f} s an image and core"
    show.text(
        f"\n{document['images']} pictures, {document['boxes']} true boxes; "
        f"{document['boxes_per_image']:.0f} proposals a picture, at most "
        f"{document['max_boxes']}{spent}"
    )
    if show.verbosity > 0:
        show.table([{"class": name, **row} for name, row in document["per_class"].items()])
    for key, value in document["protocol"].items():
        show.note(f"{key}: {value}")
