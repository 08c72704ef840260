"""A trained model, loaded from its run folder, and what it says of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfer import checkpoint
from xfer import task as tasks
from xfer.backbones.build import create_backbone
from xfer.data.decode import decode, shrink
from xfer.data.walk import find_pictures
from xfer.device import Place, find_device, find_precision
from xfer.errors import DataError, XferError
from xfer.finish import rows_to_csv
from xfer.recipe import DataTable
from xfer.run import Run
from xfer.task import Task
from xfer.types import DataInfo, Sample


def load(run: Path | str, *, device: str = "auto", place: Place | None = None) -> Model:
    """The model of a run folder (model.json and best.safetensors, or probe.skops).

    Raises: XferError where the folder holds no model, DataError where its files are damaged.
    """
    folder = Run.open(Path(run))
    about = folder.read_json("model.json")
    if place is None:
        where = find_device(device)
        place = Place(where, find_precision("auto", where))
    if about["task"] == "probe":
        from xfer.probe.model import load_task

        return Model(load_task(folder.path, str(place.device)), place, path=folder.path)
    kind = tasks.get(about["task"])
    backbone = create_backbone(about["backbone"], weights="none", **about["backbone_options"])
    task = kind(
        backbone,
        DataInfo("", about["kind"], tuple(about["classes"])),
        tasks.make_options(kind, about["task_options"]),
        DataTable(size=about["size"]),
    )
    weights = checkpoint.load_weights(folder.weights_file)
    try:
        task.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"{folder.weights_file} does not fit {folder.path / 'model.json'}",
            str(error).splitlines()[-1].strip(),
        ) from error
    place.put(task)
    return Model(task.eval(), place, about.get("tta", "none"), folder.path)


@dataclass(frozen=True)
class Model:
    """A trained model. `classes` are its classes; `task` the module itself."""

    task: Task
    place: Place
    tta: str = "none"
    path: Path | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.info.classes

    @torch.inference_mode()
    def predict(self, images: Any, *, tta: str = "", batch: int = 32) -> Predictions:
        """Predicts pictures, in their order.

        Args:
            images: a path, a folder, an array uint8 (H, W, 3), a PIL image, or several of these.
            tta: none, flip or 10crop; the run's own when left out.

        Raises: DataError for a picture that can't be read.
        """
        tta = tta or self.tta
        transform = self.task.transform(False, tta)
        samples = list(gather_samples(images))
        found: list[Any] = []
        unused = np.random.default_rng(0)
        for start in range(0, len(samples), batch):
            part = [self._read(s) for s in samples[start : start + batch]]
            moved = self.task.collate([transform(s, unused) for s in part]).to(self.place.device)
            with self.place.autocast():
                found.extend(self.task.predict(moved, tta))
        return Predictions(self.task, tuple(found), tuple(samples))

    def _read(self, sample: Sample | Path) -> Sample:
        side = self.task.short_side
        if isinstance(sample, Path):
            return Sample(str(sample), decode(sample, side))
        return replace(sample, image=shrink(sample.image, side))


@dataclass(frozen=True)
class Predictions(Sequence[Any]):
    """Predictions in the order of the pictures; each also as a flat row of plain values."""

    task: Task
    items: tuple[Any, ...]
    samples: tuple[Sample | Path, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: Any) -> Any:
        return self.items[i]

    def rows(self) -> list[dict[str, Any]]:
        """One dict a picture: id, what was found, and the scores by class name."""
        return [self.task.describe(item) for item in self.items]

    def to_json(self) -> list[dict[str, Any]]:
        return self.rows()

    def to_csv(self) -> str:
        """One line a picture; lists are joined by blanks, scores get a column a class."""
        if not self.items:
            return ""
        classes = self.task.info.classes
        flat: list[dict[str, Any]] = []
        for row in self.rows():
            line: dict[str, Any] = {
                k: " ".join(v) if isinstance(v, list) else v for k, v in row.items()
            }
            scores = line.pop("scores", None)
            if scores is not None:
                line.update({f"score:{name}": f"{scores[name]:.6f}" for name in classes})
            flat.append(line)
        return rows_to_csv(flat)

    def draw(self, folder: Path | str) -> list[Path]:
        """Writes <stem>.png for each picture into the folder; equal stems get a number."""
        from xfer.report.drawing import draw_prediction

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        taken: set[str] = set()
        for item, sample in zip(self.items, self.samples, strict=True):
            image = sample.image if isinstance(sample, Sample) else decode(sample)
            stem = name = Path(item.id).stem
            number = 1
            while name in taken:
                number += 1
                name = f"{stem}-{number}"
            taken.add(name)
            written.append(folder / f"{name}.png")
            draw_prediction(image, item, self.task.info.classes, written[-1])
        return written

    def __str__(self) -> str:
        return json.dumps(self.rows(), indent=1, ensure_ascii=False)


def gather_samples(images: Any) -> Iterable[Sample | Path]:
    """Paths, folders, arrays and PIL images as samples; paths are read when their turn comes."""
    one_array = isinstance(images, np.ndarray) and images.ndim == 3
    if isinstance(images, (str, Path)) or hasattr(images, "convert") or one_array:
        images = [images]
    for number, image in enumerate(images):
        if isinstance(image, (str, Path)):
            path = Path(image)
            if path.is_dir():
                inside = find_pictures(path)
                if not inside:
                    raise DataError(f"{path}: no pictures in this folder")
                yield from inside
            elif not path.exists():
                raise DataError(f"{path}: no such file")
            else:
                yield path
        elif hasattr(image, "convert"):
            yield Sample(str(number), np.asarray(image.convert("RGB")))
        elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
            yield Sample(str(number), image)
        else:
            raise XferError(
                f"can't predict a {type(image).__name__}",
                "give paths, uint8 arrays (H, W, 3) or PIL images",
            )


def predict(
    run: Path | str,
    paths: Sequence[str],
    *,
    tta: str = "",
    device: str = "auto",
    batch: int = 32,
) -> Predictions:
    """`xfer predict`: what the run's best weights say of these files and folders."""
    return load(run, device=device).predict(list(paths), tta=tta, batch=batch)
