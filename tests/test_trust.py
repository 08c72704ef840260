"""A module that only a file names is never imported; what a person names or trusts is."""

from __future__ import annotations

import ast
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import write_picture
from test_plugs import NETS, TASKS, install

import xfer
from xfer import cli, plugs
from xfer import task as tasks
from xfer.errors import XferError
from xfer.extraction.store import read_features
from xfer.kinds import KINDS, Kind
from xfer.recipe.tables import Recipe

MODULES = ("safe_nets", "safe_tasks", "safe_data")
DATA = """
from xfer.testing.source import SyntheticSource

class Squares(SyntheticSource):
    splits = ("train", "val")

    def __init__(self, split):
        super().__init__(24, split=split)
"""
OPTIONS: dict[str, Any] = {
    "workers": 1,
    "verbosity": -1,
    "run__plots": False,
    "run__report": False,
    "device": "cpu",
}


def forget() -> None:
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a net, a task and data of one's own, and a run and features made of them."""
    folder = tmp_path_factory.mktemp("made")
    for name, text in zip(MODULES, (NETS, TASKS, DATA), strict=True):
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XFER_CACHE", str(folder / "cache"))
        xfer.finetune(
            "safe_data:Squares", "safe_tasks:OwnClassify", backbone="safe_nets:stripe_net",
            weights="none", out="run", **OPTIONS,
        )  # fmt: skip
        words = ["--backbone", "safe_nets:stripe_net", "--weights", "none", "--data", "digits"]
        out = ["--layer", "conv2", "--pool", "avg", "--limit", "40", "--out", "f.npz", "-q"]
        assert cli.main(["features", *words, *out]) == 0
    forget()
    return folder


@pytest.fixture
def there(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The present folder: a copy of it, in which nothing has been imported."""
    folder = tmp_path / "there"
    shutil.copytree(made, folder)
    write_picture(folder / "a.png")
    monkeypatch.chdir(folder)
    forget()
    yield folder
    forget()


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """What a command says on stderr, which must end with this code and import nothing of ours."""
    assert cli.main(list(words)) == code
    return capsys.readouterr().err


USES = (
    ["predict", "run", "a.png"],
    ["eval", "run"],
    ["compress", "run", "--svd", "head=2", "--out", "thin"],
    ["data", "proposals", "digits", "--method", "run:run"],
    ["finetune", "--recipe", "run/recipe.toml", "--out", "again"],
    ["finetune", "--recipe", "run/recipe.toml", "--dry-run"],
    ["recipes", "check", "run/recipe.toml"],
)


@pytest.mark.parametrize("words", USES, ids=" ".join)
def test_what_a_file_names_is_not_imported(
    there: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, *words)
    assert "asks for code: module safe_tasks (task safe_tasks:OwnClassify)" in text
    assert text.startswith("xfer: run/recipe.toml")
    assert "--trust safe_tasks" in text
    assert len(text.splitlines()) == 2
    assert not set(MODULES) & set(sys.modules)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (
            ["finetune", "--data", "digits", "--weights", "run:run", "--limit", "30", "--dry-run"],
            [],
        ),
        (["models", "import", "run:run", "-o", "w.safetensors"], []),
        (
            [
                "features",
                "--weights",
                "run:run",
                "--layer",
                "conv2",
                "--data",
                "digits",
                "-o",
                "g.npz",
            ],
            ["--backbone", "safe_nets:stripe_net", "--limit", "30"],
        ),
    ],
    ids=["finetune", "import", "features"],
)
def test_weights_of_a_run_need_its_net_s_module_named(
    there: Path, words: list[str], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, *words)
    assert "run/model.json asks for code: module safe_nets" in text
    again = options or ["--trust", "safe_nets"]
    if words[0] == "finetune":  # the weights fit their own net alone
        again = ["--backbone", "safe_nets:stripe_net"]
    assert cli.main([*words, *again]) == 0


def test_a_resumed_run_and_a_called_one_are_no_exception(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (there / "run" / "result.json").unlink()
    assert "run/recipe.toml asks for code" in said(capsys, "finetune", "--resume", "run")
    calls = (
        lambda: xfer.load("run"),
        lambda: xfer.evaluate("run"),
        lambda: xfer.finetune(resume="run"),
        lambda: xfer.finetune(recipe="run/recipe.toml"),
        lambda: xfer.fit(Recipe(task="safe_tasks:OwnClassify", backbone="safe_nets:stripe_net")),
    )
    for call in calls:
        with pytest.raises(XferError, match="module safe_tasks"):
            call()
    assert not set(MODULES) & set(sys.modules)


def test_each_module_is_asked_for(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["recipes", "check", "run/recipe.toml"]
    for count, name in enumerate(("safe_tasks", "safe_nets", "safe_data")):
        trusted = [w for m in ("safe_tasks", "safe_nets")[:count] for w in ("--trust", m)]
        assert f"module {name}" in said(capsys, *check, *trusted)
    trusted = [word for name in MODULES for word in ("--trust", name)]
    assert cli.main([*check, *trusted, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == ["safe_tasks", "safe_nets", "safe_data"]


def test_what_is_trusted_works(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trusted = ["--trust", "safe_tasks", "--trust", "safe_nets"]
    whole = [*trusted, "--trust", "safe_data"]
    assert cli.main(["predict", "run", "a.png", "--json", *whole]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    # naming again is as good; the data are those of the recipe
    assert "recipe.toml asks for code: module safe_data" in said(capsys, "eval", "run", *trusted)
    assert cli.main(["eval", "run", "--data", "safe_data:Squares", *trusted]) == 0
    assert cli.main(["eval", "run", *whole]) == 0
    assert xfer.load("run", trust=MODULES).predict(["a.png"]).rows()
    with pytest.raises(XferError, match="safe_tasks"):  # allowed in that call alone
        xfer.load("run")
    assert xfer.evaluate("run", trust=MODULES)["images"] == 24
    again = xfer.finetune(
        recipe="run/recipe.toml", task="safe_tasks:OwnClassify", backbone="safe_nets:stripe_net",
        trust="safe_data", out="again", **OPTIONS,
    )  # fmt: skip
    assert again.predict(["a.png"]).rows()  # the call that trained it has named its modules
    (there / "run" / "result.json").unlink()
    assert xfer.finetune(resume="run", trust=MODULES, verbosity=-1).result["steps"]


def test_words_of_the_command_line_name_modules(there: Path) -> None:
    words = ["--weights", "none", "--out", "own", "--workers", "1", "-q", "--epochs", "1"]
    named = ["task=safe_tasks:OwnClassify", "backbone=safe_nets:stripe_net", "run.plots=false"]
    assert cli.main(["finetune", "--data", "safe_data:Squares", *words, *named]) == 0
    assert cli.main(["models", "show", "safe_nets:stripe_net"]) == 0


def test_features_say_what_predicting_will_need(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_features("f.npz").meta["backbone"] == "safe_nets:stripe_net"
    assert cli.main(["probe", "f.npz", "--out", "p"]) == 0
    assert "needs --trust safe_nets" in capsys.readouterr().err
    assert not set(MODULES) & set(sys.modules)
    assert "p/recipe.toml asks for code: module safe_nets" in said(capsys, "predict", "p", "a.png")
    assert cli.main(["predict", "p", "a.png", "--trust", "safe_nets"]) == 0
    assert cli.main(["eval", "p", "--trust", "safe_nets"]) == 0
    capsys.readouterr()
    assert cli.main(["probe", "f.npz", "--out", "p2", "--trust", "safe_nets"]) == 0
    assert "needs --trust" not in capsys.readouterr().err


def test_a_missing_module_is_told_with_the_way_to_give_it(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (there / "safe_tasks.py").unlink()
    text = said(capsys, "predict", "run", "a.png")
    assert "asks for code: module safe_tasks" in text and "PYTHONPATH=FOLDER" in text
    trusted = [word for name in MODULES for word in ("--trust", name)]
    text = said(capsys, "predict", "run", "a.png", *trusted)
    assert "no module named safe_tasks" in text and "PYTHONPATH=FOLDER" in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "builtins:exec", "safe_nets:run"])
def test_not_even_a_trusted_module_lends_what_is_not_its_own(there: Path, name: str) -> None:
    model = json.loads(Path("run/model.json").read_text())
    mark = there / "mark"
    options = {"command": f"touch {mark}"}
    changed = {**model, "task": "classify", "backbone": name, "backbone_options": options}
    Path("run/model.json").write_text(json.dumps(changed))
    with pytest.raises(XferError, match="asks for code"):
        xfer.load("run")
    with pytest.raises(XferError):
        xfer.load("run", trust=MODULES)
    assert not mark.exists()


def test_installed_packages_count_as_named(
    there: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = "[xfer.backbones]\nsafe = safe_nets:stripe_net\n[xfer.tasks]\nown = safe_tasks\n"
    install(tmp_path / "site", "safe-package", entries, monkeypatch)
    assert xfer.load("run", trust="safe_data").predict(["a.png"]).rows()
    assert tasks.get("own").__name__ == "OwnClassify"


def test_a_thread_is_not_trusted_for_another(there: Path) -> None:
    found: list[Any] = []

    def other() -> None:
        try:
            found.append(tasks.get("safe_tasks:OwnClassify"))
        except XferError as error:
            found.append(error)

    with plugs.naming("safe_tasks:OwnClassify"):
        assert plugs.named()[-1] == "safe_tasks" or "safe_tasks" in plugs.named()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert isinstance(found[0], XferError)


def test_a_misspelt_name_of_a_trusted_module_is_told(there: Path) -> None:
    with pytest.raises(XferError, match="safe_nets:strip_net: module safe_nets has no") as raised:
        xfer.load("run", trust=(*MODULES, "safe_nets:strip_net"))
    assert "did you mean stripe_net" in str(raised.value)
    with pytest.raises(XferError, match=r"no module named safe_nets\.py\n  write safe_nets:strip"):
        xfer.finetune("digits", backbone="safe_nets.py:stripe_net", weights="none", **OPTIONS)


class Numbers(Kind):
    name = "numbers"
    task = ""


def test_the_task_is_found_in_the_module_that_the_data_name(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (there / "safe_data.py").write_text(
        DATA.replace("24, split=split", "24, split=split)\n        self.info = replace(self.info, "
                     "kind='numbers'")
        + TASKS.replace('kinds = ("classify",)', 'kinds = ("numbers",)')
        + "\nfrom dataclasses import replace\n"
    )  # fmt: skip
    monkeypatch.setattr(KINDS, "_things", {**KINDS._things, "numbers": Numbers()})
    with plugs.naming("safe_data:Squares"):
        assert tasks.for_kind("numbers") == "safe_data:OwnClassify"
        monkeypatch.setattr(Numbers, "task", "safe_tasks:OwnClassify")
        assert tasks.for_kind("numbers") == "safe_tasks:OwnClassify"  # the kind's own word
        assert tasks.get("safe_tasks:OwnClassify").__name__ == "OwnClassify"
        monkeypatch.setattr(Numbers, "task", "")
        forget()
        with (there / "safe_data.py").open("a") as file:
            file.write("class Second(OwnClassify):\n    pass\n")
        forget()
        with pytest.raises(
            XferError, match="several tasks for 'numbers' data: OwnClassify, Second"
        ):
            tasks.for_kind("numbers")
    with pytest.raises(XferError, match="no task trains on 'numbers' data"):
        tasks.for_kind("numbers")


@pytest.mark.parametrize("name", ["a:b:c", "a:b/c", "../x", ""])
def test_what_is_trusted_must_be_a_module(name: str) -> None:
    with pytest.raises(XferError, match="not the name of a module"):
        xfer.load("run", trust=(name,))


def test_every_command_that_reads_a_run_a_recipe_or_features_has_the_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = (
        "finetune", "pretrain", "eval", "predict", "compress", "features", "probe",
        "data proposals", "models import", "recipes check", "recipes show",
    )  # fmt: skip
    for words in commands:
        assert cli.main([*words.split(), "--help"]) == 0
        assert "--trust" in capsys.readouterr().out, words


def test_inner_code_asks_for_nets_by_the_call_that_checks_names() -> None:
    """create_backbone takes a name as a person's word: only what passes on such words calls it."""
    root = Path(xfer.__file__).parent
    callers = {
        path.relative_to(root).as_posix()
        for path in [*root.glob("*/*.py"), *root.glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "create_backbone"
    }
    assert callers == {"cli/models.py", "testing/backbone.py", "runs/convert.py"}


def test_a_features_file_s_net_is_text(there: Path) -> None:
    arrays = dict(np.load("f.npz"))
    meta = json.loads(str(arrays["meta"]))
    meta["backbone"], meta["options"] = "os:system", {"command": "touch mark"}
    np.savez("bent.npz", **{**arrays, "meta": np.array(json.dumps(meta))})
    assert cli.main(["probe", "bent.npz", "--out", "bent", "-q"]) == 0
    assert cli.main(["predict", "bent", "a.png"]) == 2
    assert not Path("mark").exists()
