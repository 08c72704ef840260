"""`xfer compress`: fully connected layers by truncated SVD, and its effect on score and speed."""

from __future__ import annotations

import copy
import shlex
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xfer import plugs
from xfer.data.loading.halved import Halved
from xfer.device import Place, find_device, placed, usable_precision
from xfer.errors import XferError
from xfer.exit_codes import as_the_only_one
from xfer.files import replacing
from xfer.inference.evaluate import eval_loader, tell
from xfer.inference.model import load
from xfer.inference.score import predict_batch, view_protocol
from xfer.inference.scored import open_scored
from xfer.nn.low_rank import ranks_keeping, replace_linear
from xfer.runs import checkpoint
from xfer.runs.counts import write_counts
from xfer.runs.folder import Run, environment
from xfer.runs.model_file import read_model, write_model
from xfer.runs.pictures import PICTURES
from xfer.runs.tables import write_rows
from xfer.task import Metric, Task

KEPT = ("recipe.toml", "classes.txt", "split.json", PICTURES)
KEPT_ENERGY = 0.9  # of each layer, with auto


@plugs.face("data")
def compress(
    run: Path | str,
    svd: Mapping[str, int] | str,
    out: Path | str,
    *,
    data: str = "",
    split: str = "",
    device: str = "auto",
    workers: int = -1,
    overwrite: bool = False,
    skip_bad: bool = False,
    verify: bool = True,
    trust: str | Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Writes a copy of a run whose layers keep fewer singular values, and scores both.

    Both models process the same batches in turn, so that their times are comparable.

    Args:
        run: a finished run; svd: layer -> singular values to keep, {"fc6": 1024, "fc7": 256} or
            "fc6=1024,fc7=256"; "auto:0.8": as few as keep 0.8 of each large layer's energy, the
            sum of their squares; "auto": 0.9.
        out: the new run's folder; data, split: what both are scored on, by default the run's own
            val (or test).
        skip_bad: leave out pictures that can't be decoded, and list them under "skipped".
        verify: compare the checksums of packs and kept indexes.
        trust: your own modules that the run may import.
        say: called with lines about the pictures, as in `evaluate`.

    Returns: {"svd", "split", "images", "primary", "before", "after"}, the last two {"metrics",
        "seconds_per_image", "parameters"}; the new run's result.json has it as "compressed".
    Raises: XferError for a folder that is not a run, an unknown layer, a rank that makes it no
        smaller, or an `out` that is in use; DataError for data that don't fit.
    """
    wanted = read_ranks(svd) if isinstance(svd, str) else dict(svd)
    folder = Run.open(Path(run))
    if not folder.finished:
        again = f"xfer finetune --resume {shlex.quote(str(folder.path))}"
        raise XferError(f"{folder.path}: not a finished run", again)
    if Path(out).resolve() == folder.path.resolve():
        raise XferError(f"{out} is the run itself", "choose another --out")
    recipe, about, old = folder.recipe(), read_model(folder), folder.read_json("result.json")
    if "svd" in about:
        raise XferError(
            f"{folder.path} is already compressed", "compress the run that it was made from"
        )
    Run.check_free(Path(out), overwrite)
    precision = usable_precision(recipe.run.precision, device)
    device = str(find_device(device))  # of several processes, this one's own
    with as_the_only_one(), placed(device, precision) as place:
        before = load(folder.path, place=place).task
        after = copy.deepcopy(before)
        ranks = wanted if isinstance(wanted, dict) else ranks_keeping(after, wanted)
        replace_linear(after, ranks, approximate=True)
        place.put(after)
        scored = open_scored(folder, before, data, split, skip_bad=skip_bad, verify=verify)
        tell(scored.notes, say)
        role, tta = scored.role, recipe.eval.tta
        loader = eval_loader(recipe, before, scored.source, place, tta, workers=workers)
        scores = _score_both({"before": before, "after": after}, loader, place, tta, say)
        metric = scores["after"][0]
        report: dict[str, Any] = {
            "svd": ranks, "from": str(folder.path), **scored.document(),
            "primary": metric.primary,
        }  # fmt: skip
        for name, task in (("before", before), ("after", after)):
            task_metric, seconds = scores[name]
            report[name] = {
                "metrics": task_metric.compute(),
                "seconds_per_image": seconds,
                "parameters": sum(p.numel() for p in task.parameters()),
            }
        with Run.start(recipe, Path(out), overwrite) as fresh:
            fresh.write_json("env.json", environment(
                made_by="compress", device=place.describe(), world_size=1, seed=recipe.run.seed,
            ))  # fmt: skip
            for file in KEPT:
                if (folder.path / file).is_file():
                    with replacing(fresh.path / file) as temporary:
                        shutil.copyfile(folder.path / file, temporary)
            write_model(fresh, {**about, "svd": ranks})
            checkpoint.save_weights(fresh.weights_file, after.state_dict(), {"format": "xfer"})
            write_rows(fresh.path / "predictions" / f"{role}.csv", metric.rows())
            write_counts(fresh.path, role, metric)
            key = "test_metrics" if role == "test" else "metrics"
            kept = {k: v for k, v in old.items() if k not in ("metrics", "test_metrics")}
            protocol = {**metric.protocol(), **view_protocol(after, tta)}
            if data:
                kept["data"] = data  # what the scores were measured on
            fresh.write_json(
                "result.json",
                {
                    **kept,
                    key: report["after"]["metrics"],
                    "protocol": protocol,
                    "compressed": report,
                },
            )
    return report


def read_ranks(text: str) -> dict[str, int] | float:
    """fc6=1024,fc7=256 as a mapping; of auto[:SHARE], the share. Raises XferError otherwise."""
    word, colon, share = text.partition(":")
    if word.strip() == "auto":
        try:
            value = float(share) if colon else KEPT_ENERGY
        except ValueError:
            value = 0.0
        if not 0 < value < 1:
            raise XferError(f"--svd {text}: the share of energy is above 0 and below 1", "auto:0.9")
        return value
    ranks: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if not name.strip() or not number.strip().isdecimal():
            raise XferError(
                f"--svd {text}: {part!r} is not LAYER=NUMBER", "--svd fc6=1024,fc7=256, or auto"
            )
        ranks[name.strip()] = int(number)
    return ranks


@torch.inference_mode()
def _score_both(
    models: Mapping[str, Task],
    loader: Any,
    place: Place,
    tta: str,
    say: Callable[[str], None] | None,
) -> dict[str, tuple[Metric, float]]:
    """Each model's metric, and its median seconds per picture, not counting the loading."""
    metrics = {name: task.eval().metric() for name, task in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    fitting = Halved[list[Any]](place, say)
    for number, batch in enumerate(loader.batches(0)):
        moved = batch.to(place.device)
        for name, task in models.items():
            if number == 0:
                predict_batch(task, moved, tta, fitting)  # the first call compiles kernels
            place.synchronise()
            start = time.perf_counter()
            predictions = predict_batch(task, moved, tta, fitting)
            place.synchronise()
            times[name].append((time.perf_counter() - start) / len(batch))
            metrics[name].update(predictions, batch)
    return {name: (metrics[name], statistics.median(times[name])) for name in models}
