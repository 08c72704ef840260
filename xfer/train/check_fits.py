"""Whether a recipe fits its data and processes, before anything is built."""

from __future__ import annotations

from xfer.data.sources.base import Bundle
from xfer.data.streams.stream import Stream
from xfer.device import Place
from xfer.errors import XferError
from xfer.recipe.tables import Recipe


def check_fits(recipe: Recipe, place: Place, bundle: Bundle) -> None:
    """Raises XferError for settings that can't work with these data and processes."""
    data, schedule = recipe.data, recipe.schedule
    if data.batch < place.world:
        raise XferError(
            f"a batch of {data.batch} can't be shared by {place.world} processes",
            f"--batch {place.world} or more",
        )
    if data.balance and data.window:
        raise XferError(
            "data.balance draws from all pictures, data.window from a few at a time",
            "data.window=0 or data.balance=false",
        )
    train = bundle.splits["train"]
    if isinstance(train, Stream):
        _check_streams(recipe, train)
    waits = "schedule.name=plateau" if schedule.name == "plateau" else "schedule.stop_after"
    if "val" not in bundle.splits and (schedule.name == "plateau" or schedule.stop_after):
        raise XferError(f"{waits} needs scores, but there is no val split", "leave out --val none")


def _check_streams(recipe: Recipe, train: Stream) -> None:
    """Raises XferError for settings that need pictures by number, or all labels, of a stream."""
    data, options = recipe.data, recipe.task_options
    for key, used in (
        ("data.balance=true", data.balance),
        ("data.crop_on=device", data.crop_on == "device"),
        ("data.decode=device", data.decode == "device"),
        ("data.skip_bad=true", data.skip_bad),
        ("task.lighting", bool(options.get("lighting"))),
        ("task.class_weights", bool(options.get("class_weights")) and train.counts is None),
    ):
        if used:
            raise XferError(
                f"{key}: a stream's pictures come one after the other, and no list of them is kept",
                "leave it out, or read the shards as files: webdataset:FOLDER",
            )
