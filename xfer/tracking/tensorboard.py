"""TensorBoard's event files, in the run's folder tensorboard/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.tracking.tracker import About, Tracker, is_number, scalars_of

SECONDS = 10  # after which what was added is seen


class TensorBoard(Tracker):
    """Scalars, pictures, the recipe as text, and its settings as hyperparameters beside the scores.

    A resumed run adds a file; its first entry tells readers to forget the steps from there on
    (TensorBoard's own way, `purge_step`), so that none is shown twice.
    """

    package: ClassVar[str] = "tensorboard"

    def __init__(self, about: About) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = about.folder / "tensorboard"
        resumed = any(folder.glob("*tfevents*"))
        # the evaluation of this very step may be repeated: the log says which events of it stand
        self._writer: Any = SummaryWriter(
            str(folder), flush_secs=SECONDS, purge_step=about.step if resumed else None
        )
        self._settings = about.settings
        if not resumed:
            self._writer.add_text("recipe", _code(about.recipe), 0)
        for event in about.events:
            step = int(event.get("step", 0))
            if not resumed or step >= about.step:
                self.add(scalars_of(event), step)

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def end(self, scores: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: value if is_number(value) or isinstance(value, (str, bool)) else str(value)
            for key, value in self._settings.items()
        }
        final = {f"final/{name}": value for name, value in scores.items()}
        # add_hparams would make a run of its own of them
        for summary in hparams(plain, final):
            self._writer.file_writer.add_summary(summary)
        for name, value in final.items():
            self._writer.add_scalar(name, value, 0)

    def close(self) -> None:
        self._writer.close()


def _code(text: str) -> str:
    """The text as Markdown's code: indented by four."""
    return "\n".join(f"    {line}" for line in text.splitlines())
