"""What is named as module:name, and what installed packages offer by entry points."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xfer
from xfer import cli, plugs
from xfer import task as tasks
from xfer.backbones import build
from xfer.data.open import open_data
from xfer.data.readers.base import FORMATS
from xfer.errors import XferError
from xfer.recipe.choose import build_recipe
from xfer.recipe.toml import load_recipe, recipe_names

NETS = """
import torch
from subprocess import run
from xfer.backbones.base import SequentialBackbone
from xfer.types import Preprocess

def stripe_net(width=4):
    "Two convolutions."
    trunk = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, 2, 1), torch.nn.ReLU(),
                                torch.nn.Conv2d(width, 8, 3, 2, 1), torch.nn.ReLU())
    return SequentialBackbone("stripe_net", Preprocess(size=32, resize=36), trunk,
                              {"conv1": 1, "conv2": 3})

number = 3
"""

TASKS = """
from xfer.tasks.classify import Classify

class OwnClassify(Classify):
    kinds = ("classify",)
    recipe = {"optim.lr": 3e-3, "schedule.epochs": 2, "data.augment": "none"}

def helper():
    pass
"""

READERS = """
from pathlib import Path
import numpy as np
from xfer.data.readers.base import Reading
from xfer.testing.source import SyntheticSource

class Listed:
    kinds = ("classify",)

    def recognise(self, path):
        return "a list of numbers" if path.suffix == ".numbers" else None

    def load(self, path, options):
        count = int(path.read_text())
        return Reading({"train": SyntheticSource(count), "val": SyntheticSource(9, seed=1)})

class FromPath(SyntheticSource):
    splits = ("train", "val")

    def __init__(self, path, split):
        super().__init__(int(Path(path).read_text()), split=split)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with modules of one's own."""
    for name, text in (("own_nets", NETS), ("own_tasks", TASKS), ("own_readers", READERS)):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "few.numbers").write_text("40")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def named() -> Iterator[None]:
    """The modules of one's own are named, as a command or a call would name them."""
    with plugs.naming(
        trust=("own_nets", "own_tasks", "own_readers", "not_there", "broken", "half")
    ):
        yield


def install(
    folder: Path, package: str, entries: str, monkeypatch: pytest.MonkeyPatch, **files: str
) -> None:
    """A package as pip leaves it: its modules, and its entry points in a .dist-info."""
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entries)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a net, a task, a reader and a recipe."""
    site = tmp_path / "site"
    (site / "zoo_recipes" / "zoo_task").mkdir(parents=True)
    (site / "zoo_recipes" / "__init__.py").write_text("")
    (site / "zoo_recipes" / "zoo_task" / "default.toml").write_text(
        '# Zoo: what the zoo trains\ntask = "zoo_task"\nbackbone = "zoo_net"\nweights = "none"\n'
    )
    install(
        site, "xfer-zoo",
        "[xfer.backbones]\nzoo_net = zoo_nets:stripe_net\n"
        "[xfer.tasks]\nzoo_task = zoo_tasks:OwnClassify\n"
        "[xfer.readers]\nzoo = zoo_readers:Listed\n"
        "[xfer.recipes]\nzoo = zoo_recipes\n",
        monkeypatch, zoo_nets=NETS, zoo_tasks=TASKS, zoo_readers=READERS,
    )  # fmt: skip
    monkeypatch.delitem(sys.modules, "zoo_recipes", raising=False)


@pytest.mark.parametrize(
    ("spec", "plug"),
    [
        ("a:B", plugs.Plug("a", "B")),
        ("a.b_1.c:D:/x/y:z", plugs.Plug("a.b_1.c", "D", "/x/y:z")),
        ("a:b/c", None), ("a", None), ("1a:b", None), ("timm:net", None), (":b", None),
        ("a:B:", None),
    ],
)  # fmt: skip
def test_a_spec_is_a_plug_or_something_else(spec: str, plug: plugs.Plug | None) -> None:
    assert plugs.parse(spec, ("timm",)) == plug


def test_a_net_a_task_and_a_reader_of_ones_own_train(mine: Path) -> None:
    run = xfer.finetune(
        "own_readers:Listed:few.numbers", "own_tasks:OwnClassify",
        backbone="own_nets:stripe_net", weights="none", backbone__width=6, verbosity=-1, workers=1,
        run__plots=False, run__report=False,
    )  # fmt: skip
    assert run.path.name == "ownclassify-own_nets_stripe_net-few.numbers-1"
    recipe = load_recipe(str(run.path / "recipe.toml"))
    assert recipe.task == "own_tasks:OwnClassify" and recipe.schedule.epochs == 2
    assert recipe.data.source == f"own_readers:Listed:{mine / 'few.numbers'}"
    about = json.loads((run.path / "model.json").read_text())
    assert about["task"] == "own_tasks:OwnClassify"
    assert about["backbone"] == "own_nets:stripe_net"
    assert about["backbone_options"] == {"width": 6}


def test_a_task_without_recipes_trains_by_what_it_states_itself(mine: Path, named: None) -> None:
    lines: list[str] = []
    recipe = build_recipe("digits", "own_tasks:OwnClassify", settings={"lr": 0.1}, say=lines.append)
    assert (recipe.optim.lr, recipe.schedule.epochs, recipe.data.augment) == (0.1, 2, "none")
    assert lines == [
        "recipe: there is no own_tasks:OwnClassify/default; the defaults, with "
        "own_tasks:OwnClassify's own optim.lr=0.003, schedule.epochs=2, data.augment=none"
    ]


def test_a_source_may_be_given_a_path(mine: Path, named: None) -> None:
    bundle = open_data("own_readers:FromPath:few.numbers", check=False)
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 40, "val": 40}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("own_readers:Listed", "a reader needs a path"),
        ("own_readers:Listed:gone.numbers", "gone.numbers: no such file"),
        ("own_readers:FromPath", r"FromPath\(split='train'\): missing a required argument: 'path'"),
        ("own_nets:number", "type int is not data"),
        ("own_nets:missing", "module own_nets has no 'missing'"),
        ("not_there:X", "no module named not_there"),
        ("broken:X", "module broken can't be imported: SyntaxError"),
        ("half:X", "module half can't be imported: ModuleNotFoundError.*no_such_thing"),
    ],
)
def test_what_is_wrong_with_data_of_ones_own_is_said(
    mine: Path, named: None, spec: str, said: str
) -> None:
    (mine / "broken.py").write_text("def (")
    (mine / "half.py").write_text("import no_such_thing")
    with pytest.raises(XferError, match=said):
        open_data(spec)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("own_tasks:helper", "a function, not a subclass"),
        ("own_tasks:Classify", "Classify belongs to xfer.tasks.classify, not to own_tasks"),
        ("own_nets:number", "a int, not a subclass"),
        ("own_nets:run", "run belongs to subprocess"),
        ("own_tasks:X:y", "unknown task"),
    ],
)
def test_a_task_must_be_one(mine: Path, named: None, task: str, said: str) -> None:
    with pytest.raises(XferError, match=said):
        tasks.get(task)


def test_installed_packages_are_listed_with_their_names(
    zoo: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "zoo_nets" not in sys.modules
    assert "zoo_task" in tasks.names() and "zoo_net" in build.names("zoo*")
    assert "zoo_task/default" in recipe_names()
    assert "zoo_nets" not in sys.modules  # names alone import nothing

    def listed(*words: str) -> dict[str, dict[str, str]]:
        assert cli.main([*words, "--json"]) == 0
        return {row["name"]: row for row in json.loads(capsys.readouterr().out)}

    assert listed("models", "ls", "zoo*")["zoo_net"]["from"] == "xfer-zoo"
    assert listed("models", "ls", "alexnet")["alexnet"]["from"] == "xfer"
    recipes = listed("recipes", "ls")
    assert recipes["zoo_task/default"]["from"] == "xfer-zoo"
    assert recipes["zoo_task/default"]["summary"] == "Zoo: what the zoo trains"
    assert recipes["classify/default"]["from"] == "xfer"
    assert listed("data", "ls")["zoo:PATH"]["where"] == "a format of package xfer-zoo"


def test_what_a_package_offers_is_found_by_its_bare_name(zoo: None, tmp_path: Path) -> None:
    file = tmp_path / "few.numbers"
    file.write_text("30")
    assert FORMATS.get("zoo")().recognise(file)
    assert open_data(str(file), check=False).format == "zoo"
    recipe = build_recipe(str(file), "zoo_task")
    assert (recipe.name, recipe.backbone) == ("zoo_task/default", "zoo_net")
    assert xfer.create_backbone("zoo_net", width=5).specs["conv1"].channels == 5
    with pytest.raises(XferError, match="no option 'widht'"):
        xfer.create_backbone("zoo_net", widht=5)


def test_a_name_that_two_have_is_an_error_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = (
        "[xfer.backbones]\nalexnet = twin:net\nsame = twin:net\n[xfer.tasks]\ndetect = twin:T\n"
    )
    install(tmp_path / "one", "one", entries, monkeypatch)
    install(tmp_path / "two", "two", "[xfer.backbones]\nsame = twin:net\n", monkeypatch)
    for name in ("alexnet", "same"):
        with pytest.raises(XferError, match=f"backbone '{name}' comes from .* and from package"):
            xfer.create_backbone(name)
    with pytest.raises(XferError, match="task 'detect' comes from xfer and from package one"):
        tasks.get("detect")
    assert xfer.create_backbone("caffenet").name == "caffenet"  # others go on
    assert cli.main(["models", "ls"]) == 2
    assert "comes from" in capsys.readouterr().err


def test_a_package_that_can_t_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "sick", "[xfer.backbones]\nsick_net = sick:net\n", monkeypatch, sick="1 / 0")
    with pytest.raises(XferError, match=r"of package sick .*ZeroDivisionError"):
        xfer.create_backbone("sick_net")
