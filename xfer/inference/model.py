"""A trained model, loaded from its run folder, and its predictions."""

from __future__ import annotations

import copyreg
import shlex
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from xfer import plugs
from xfer.data.images.decode import DecodeError
from xfer.data.images.from_memory import KINDS, given_picture, is_one
from xfer.data.images.remarks import Remark
from xfer.data.images.unread import UNREAD_ENDINGS
from xfer.data.images.walk import walk
from xfer.data.inspect.verify import odd_pictures
from xfer.data.loading.halved import Halved
from xfer.device import Place, find_device, find_precision, usable_precision
from xfer.errors import DataError, XferError
from xfer.explain.heat_maps import Explanation, explain
from xfer.files import exists, is_dir
from xfer.inference.batches import Given, Group, in_groups, predicted
from xfer.inference.predictions import Predictions
from xfer.kinds.findings import Finding, counted
from xfer.notebook.objects import model_card
from xfer.recipe.code import check_code
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.runs.model_file import NAME, read_model, rebuild
from xfer.runs.undrawn import Undrawn
from xfer.task import Task
from xfer.types import Sample


@plugs.face()
def load(
    run: Path | str,
    *,
    device: str = "auto",
    place: Place | None = None,
    trust: str | Sequence[str] = (),
) -> Model:
    """The model of a run folder (model.json and best.safetensors, or probe.skops), which computes
    in the run's own precision if the device supports it.

    Args: trust: your own modules that the run may import: its backbone's or its task's.

    Raises: XferError if the folder holds no model, and for a module that is missing or not trusted;
        DataError if its files are damaged.
    """
    folder = Run.open(Path(run))
    recipe, about = folder.recipe(), read_model(folder)
    check_code(recipe, folder.path / "recipe.toml")
    if place is None:
        where = find_device(device)
        own = usable_precision(recipe.run.precision, str(where))
        place = Place(where, find_precision(own, where))
    if about["task"] == "probe":
        from xfer.probing.model import load_task

        return Model(load_task(folder.path, str(place.device)), place, path=folder.path)
    file = folder.weights_file
    with ThreadPoolExecutor(1) as beside:  # their checksum is compared while the net is made
        weights = beside.submit(checkpoint.load_weights, file)
        with Undrawn():
            task = rebuild(folder.path / NAME, about)
        checkpoint.fill(task, weights.result(), file)
    place.put(task)
    ids = tuple(about.get("category_ids", ()))
    tta, temperature = about.get("tta", "none"), about.get("temperature")
    return Model(task.eval(), place, tta, folder.path, ids, temperature)


@dataclass(frozen=True, repr=False)
class Model:
    """A trained model. `classes` are its classes, `category_ids` their ids if it was trained on a
    COCO file; `task` is the module itself; `temperature` divides its logits where calibrated
    probabilities are asked for, None: it was not fitted."""

    task: Task
    place: Place
    tta: str = "none"
    path: Path | None = None
    category_ids: tuple[int | str, ...] = ()
    temperature: float | None = None

    def __reduce__(self) -> Any:
        """A pickle of a run's model names the run, from which each process loads it once."""
        if self.path is None:
            return copyreg.__newobj__, (type(self),), self.__dict__  # pyright: ignore
        about = (str(self.path.absolute()), str(self.place.device), self.tta, plugs.trusted())
        return _shared, about

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.info.classes

    def __repr__(self) -> str:
        where = "" if self.path is None else f" of {self.path}"
        classes, device = f"{len(self.classes):,} classes", self.place.device
        return f"<model{where}: {self._title()}, {classes}, on {device}>"

    def _repr_html_(self) -> str:
        task = self.task
        count = sum(p.numel() for p in task.parameters())
        about = {
            "parameters": f"{count:,}" if count else None,
            "views": f"{self.tta}: {task.views.get(self.tta, '')}",
            "device": f"{self.place.device}, {self.place.precision}",
        }
        where = "" if self.path is None else str(self.path)
        return model_card(self._title(), self.classes, about, where)

    def _title(self) -> str:
        net = getattr(getattr(self.task, "backbone", None), "name", "")
        kind = f"trained on {self.task.kind.holds}"
        return f"{net}, {kind}" if net else kind

    @torch.no_grad()
    def predict(
        self,
        images: Any,
        *,
        tta: str = "",
        batch: int = 32,
        skip_bad: bool = False,
        calibrated: bool = False,
    ) -> Predictions:
        """Predicts pictures, in their order.

        Args:
            images: a path, a folder, a PIL image, encoded bytes, an array (H, W, 3), (H, W) or
                (H, W, 4) or a tensor (3, H, W), of uint8 or of floats in 0..1; or several of these.
            tta: one of the task's views; the run's own by default.
            batch: pictures at a time, fewer if they are large.
            skip_bad: go on past pictures that can't be read, and list them in `skipped`.
            calibrated: probabilities at the temperature that was fitted to the run's val split.

        Raises: DataError for a picture that can't be read, unless `skip_bad`; XferError for
            `calibrated` if no temperature was fitted.
        """
        self.check(tta, calibrated)
        looked = Looked(skip_bad)
        samples = list(gather_samples(images, looked))
        predictions = self.task.kind.collect()
        groups = in_groups(samples, range(len(samples)), batch)
        for group in self.groups(groups, looked, tta=tta, calibrated=calibrated):
            predictions.extend(group.items)
        kept = tuple(predictions) if isinstance(predictions, list) else predictions
        return Predictions(
            self.task, kept, tuple(looked.read), self.category_ids, tuple(looked.skipped),
            looked.findings(),
        )  # fmt: skip

    @torch.no_grad()
    def groups(
        self, groups: Iterable[Sequence[Given]], looked: Looked, *, tta: str = "",
        calibrated: bool = False,
    ) -> Iterator[Group]:  # fmt: skip
        """The predictions of groups of pictures, as each is done; see `predicted`.

        Args: looked: gets what reading the pictures has shown.
        """
        tta = tta or self.tta
        temperature = self.check(tta, calibrated)
        fitting = Halved[list[Any]](self.place, looked.lines.append, "--device cpu")
        for group in predicted(self.task, groups, tta, fitting, looked.skip_bad):
            if temperature is not None:
                one_by_one = (self.task.kind.calibrated(one, temperature) for one in group.items)
                group.items = list(one_by_one)
            looked.add(group)
            yield group

    def explain(
        self, image: Any, label: str | int | None = None, method: str = "grad_cam",
        check: bool = False,
    ) -> Explanation:  # fmt: skip
        """Where in a picture a class was found, as a heat map; see `xfer.explain.heat_maps`.

        Args:
            image: a path, or a picture in memory; label: a class by name or index; None: the one
                that is predicted.
            method: grad_cam, or occlusion; check: how far both agree as well.
        """
        return explain(self, image, label, method, check)

    def check(self, tta: str = "", calibrated: bool = False) -> float | None:
        """The temperature for `calibrated`, else None. Raises XferError for views that the task
        does not offer, and if no temperature was fitted."""
        self.task.check_views(tta or self.tta)
        return self._fitted() if calibrated else None

    def _fitted(self) -> float:
        """The temperature. Raises XferError if there is none."""
        if self.temperature is not None:
            return self.temperature
        name = "this model" if self.path is None else str(self.path)
        if hasattr(self.task, "probe"):
            raise XferError(f"{name}: a probe's probabilities are calibrated already")
        self.task.kind.check_calibrated()
        where = "RUN" if self.path is None else shlex.quote(str(self.path))
        raise XferError(
            f"{name}: no temperature was fitted: it has no val split, or an older xfer trained it",
            f"xfer eval {where} --calibrate fits one",
        )


_loaded: dict[tuple[str, str], Model] = {}
_loading = threading.Lock()
_KEPT = 3


def _shared(path: str, device: str, tta: str, trust: tuple[str, ...]) -> Model:
    """The model of a run, loaded once per process; the last ones used are kept."""
    with _loading:
        kind = torch.device(device).type  # which card is this process's own affair
        model = _loaded.pop((path, kind), None) or load(path, device=kind, trust=trust)
        _loaded[path, kind] = model
        while len(_loaded) > _KEPT:
            _loaded.pop(next(iter(_loaded)))
    return replace(model, tta=tta)


@dataclass
class Looked:
    """What reading the pictures to predict has shown.

    skip_bad | whether to go on past those that can't be read
    read     | those that were read; skipped | (name, reason) of the others
    remarks  | (id, remark) of those that may look wrong
    unread   | how many files of each ending whose kind of picture is not read
    lines    | what else there is to say
    """

    skip_bad: bool
    read: list[Given] = field(default_factory=list[Given])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    remarks: list[tuple[str, Remark]] = field(default_factory=list[tuple[str, Remark]])
    unread: Counter[str] = field(default_factory=Counter[str])
    lines: list[str] = field(default_factory=list[str])

    def add(self, group: Group) -> None:
        """Adds what reading a group has shown."""
        self.read += group.read
        self.skipped += group.skipped
        self.remarks += group.remarks

    def findings(self) -> tuple[Finding, ...]:
        found = odd_pictures(self.remarks)
        if self.unread:
            what = counted(self.unread.total(), "file is", "files are")
            text = f"{what} of kinds that are not read ({', '.join(sorted(self.unread))})"
            found.append(Finding("unread", f"{text}: save them as JPEG or PNG"))
        found += [Finding("memory", line.removeprefix("warning: ")) for line in self.lines]
        return tuple(found)


def gather_samples(images: Any, looked: Looked | None = None) -> Iterable[Given]:
    """Paths, folders and pictures in memory as samples; paths are read later, one by one.

    Args: looked: gets the pictures in memory that can't be read, if they may be skipped, and what
        folders hold besides pictures.
    """
    looked = looked or Looked(False)
    if is_one(images):
        images = [images]
    if not isinstance(images, Iterable):
        raise XferError(f"type {type(images).__name__} is not a picture", KINDS)
    for number, image in enumerate(images):
        if isinstance(image, (str, Path)):
            path = Path(image)
            if is_dir(path):
                found = walk(path)
                unread = {e: n for e, n in found.others.items() if e in UNREAD_ENDINGS}
                looked.unread.update(unread)
                if not found.pictures and unread:
                    kinds = ", ".join(sorted(unread))
                    raise DataError(
                        f"{path}: its pictures are {kinds}, which are not read",
                        "save them as JPEG or PNG",
                    )
                if not found.pictures:
                    raise DataError(f"{path}: no pictures in this folder")
                yield from found.pictures
            elif not exists(path):
                raise DataError(f"{path}: no such file")
            else:
                yield path
        else:
            try:
                yield Sample(str(number), given_picture(image, number))
            except DecodeError as error:
                if not looked.skip_bad:
                    raise
                looked.skipped.append((error.name, error.reason))


@plugs.face()
def predict(
    run: Path | str,
    paths: Sequence[str],
    *,
    tta: str = "",
    device: str = "auto",
    batch: int = 32,
    skip_bad: bool = False,
    calibrated: bool = False,
    trust: str | Sequence[str] = (),
) -> Predictions:
    """`xfer predict`: predictions of the run's best weights for these files and folders."""
    model = load(run, device=device)
    return model.predict(
        list(paths), tta=tta, batch=batch, skip_bad=skip_bad, calibrated=calibrated
    )
