"""`xfer data check`: looks for what is wrong in data before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.data_keys import Assignments, Set, reading_keys
from xfer.cli.flags import NoVerify, Spec, WantedFor
from xfer.cli.output import Show
from xfer.errors import DataError

NAMED, LISTED = 4, 20  # names in a finding's line, and at most this many in the list below it
FLAGS = ("backbone", "weights", "train", "val", "test", "device")


def check(
    show: Show,
    given: dict[str, Any],
    spec: Spec,
    task: WantedFor = "",
    strict: Annotated[
        bool,
        typer.Option("--strict", show_default=False, help="exit with 3 if anything is found"),
    ] = False,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="draw the pictures of each finding"),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False,
            help="write the proposed changes as csv, for data.changes=FILE",
        ),
    ] = None,
    no_verify: NoVerify = False,
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
) -> None:  # fmt: skip
    """Look for what is wrong in a data set; the data stay as they are.

    Broken files, copies and near copies, one picture under two labels, blank and
    odd pictures, doubtful labels, boxes and masks. Labels are judged by a probe
    on a frozen backbone, if its weights are on this machine or given.

    Examples:
        xfer data check photos/
        xfer data check photos/ --draw drawn/ --fix changes.csv
        xfer finetune --data photos/ data.changes=changes.csv
    """
    from xfer.doctor.check import check_data
    from xfer.files import check_file, check_folder
    from xfer.kinds.findings import counted

    if draw is not None:
        check_folder(draw)
    if fix is not None:
        check_file(fix)
        check_folder(fix.absolute().parent)
    options = {key.rpartition(".")[2]: value for key, value in given.items()}
    net = {key: options.pop(key) for key in ("backbone", "weights", "device") if key in options}
    keys = reading_keys([*set, *assignments], ("train", "val", "test", "changes"), no_verify)

    def tick(done: int, total: int) -> None:
        if done % 2048 == 0 and done < total:
            show.note(f"{done:,} of {total:,} pictures")

    report = check_data(
        spec, task=task, draw=draw, fix=fix, data_keys={**options, **keys}, say=show.note,
        tick=tick, **net,
    )  # fmt: skip
    count = len(report.findings)
    if show.json:
        show.document(report.document())
    else:
        for note in report.notes:
            show.note(note)
        for finding in report.findings:
            lines = finding.lines or tuple(" = ".join(item) for item in finding.items)
            if len(lines) <= NAMED:
                show.text(f"{finding.check}: {finding.text}")
                continue
            show.text(f"{finding.check}: {finding.head or finding.text}")
            most = len(lines) if show.verbosity > 0 else LISTED
            for line in lines[:most]:
                show.text(f"  {line}")
            if len(lines) > most:
                show.text(f"  and {len(lines) - most} more; -v lists all")
        show.text(
            f"{spec}: {report.images:,} pictures, "
            + (counted(count, "finding") if count else "nothing found")
        )
    if strict and report.findings:
        raise DataError(f"{spec}: {counted(count, 'finding')}, and --strict is given")
