"""`xfer data pack`: packs any data set into a few large files, which are faster to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.data_keys import Assignments, Set, reading_keys
from xfer.cli.flags import NoVerify, SkipBad, Spec, WantedFor, out_option
from xfer.cli.output import Show


def pack(
    show: Show,
    spec: Spec,
    out: Annotated[Path, out_option("the pack's folder")],
    side: Annotated[
        int, typer.Option(metavar="N", help="largest short side, pixels; 0: unchanged")
    ] = 256,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="raw pixels instead of JPEG: larger, but faster to read"),
    ] = False,
    shard_mb: Annotated[
        int, typer.Option(metavar="N", help="size of a full shard, MB")
    ] = 256,
    quality: Annotated[int, typer.Option(metavar="N", help="JPEG quality, 1 to 100")] = 90,
    skip_bad: SkipBad = False,
    no_verify: NoVerify = False,
    task: WantedFor = "",
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
) -> None:  # fmt: skip
    """Pack a data set into shards, which are several times faster to read.

    Run the same command again to continue an interrupted pack, or to check a
    finished one and rewrite damaged shards. Labels, boxes, masks, segments,
    splits and classes are kept: use the pack with `--data pack:DIR`, or just DIR.

    Examples:
        xfer data pack photos/ -o packed/
        xfer data pack photos/ -o packed/ --side 0 --quality 95
        xfer finetune --data packed/
    """
    from xfer.data.pack.writer import Packing
    from xfer.data.pack.writer import pack as write
    from xfer.kinds.findings import counted

    options = Packing(side=side, raw=raw, shard_mb=shard_mb, quality=quality)

    kinds: tuple[str, ...] = ()
    if task:
        from xfer import task as tasks

        kinds = tasks.get(task).kinds

    def tick(done: int, total: int) -> None:
        show.note(f"{done} of {total} pictures")

    packed = write(spec, out, options, skip_bad=skip_bad, kinds=kinds, tick=tick,
                   data_keys=reading_keys([*set, *assignments], no_verify=no_verify))  # fmt: skip
    show.left_out(packed.skipped)
    for finding in packed.findings:
        show.note(f"warning: {finding.text}")
    if show.json:
        show.document({
            "path": str(packed.path), "images": packed.images, "shards": packed.shards,
            "kept": packed.kept, "bytes": packed.bytes,
            "skipped": [list(one) for one in packed.skipped],
        })  # fmt: skip
        return
    kept = f", {packed.kept} of them from an earlier run" if packed.kept else ""
    show.text(
        f"{packed.path}: {packed.images} pictures in {counted(packed.shards, 'shard')}{kept}, "
        f"{packed.bytes / 2**20:.0f} MB"
    )
