"""Whatever text stands in a file, no command imports a module, calls a function, starts a process
or opens a connection on its word. Every text of every kind of file that xfer writes is replaced in
turn, so that a key that is new is swept as well."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import re
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import write_picture

import xfer
from xfer import cli
from xfer.errors import XferError
from xfer.extraction.store import read_features
from xfer.probing.store import load_probe
from xfer.recipe.tables import flatten
from xfer.recipe.toml import _toml, load_recipe
from xfer.runs.compare import compare_runs

CANARY = "canary_of_a_file"
# what a file may say where a name is due: a module beside it, one that Python has imported, forms
# of other tools
WORDS = (
    f"{CANARY}:Thing", f"{CANARY}:make:a.png", CANARY, "os:system", "builtins:exec",
    f"timm:hf-hub:{CANARY}/net", f"timm:local-dir:{CANARY}", "https://example.invalid/w.pth",
)  # fmt: skip
# events of Python that no file may cause; the addresses of data sets and weights are in our text
WATCHED = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn",
           "socket.connect", "socket.getaddrinfo", "urllib.Request")  # fmt: skip
NET = "timm:test_resnet"  # made and read in milliseconds, and needs no trust
OPTIONS: dict[str, Any] = {
    "workers": 0, "verbosity": -1, "run__plots": False, "run__report": False, "device": "cpu",
    "limit": 20,
    "schedule__steps": 1, "data__batch": 10, "weights": "none", "precision": "fp32",
}  # fmt: skip


class Watch:
    """Notes events of the interpreter while it is on; an audit hook can't be taken off."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in WATCHED or (event == "import" and str(args[0]).startswith(CANARY)):
            # git is asked for the state of the folder, by its path and without settings
            if event == "subprocess.Popen" and re.search(r"/git$", str(args[0])):
                return
            self.seen.append(f"{event} {args!r:.200}")


WATCH = Watch()
sys.addaudithook(WATCH)


@contextlib.contextmanager
def nothing_runs(what: str) -> Iterator[None]:
    WATCH.seen, WATCH.on = [], True
    try:
        yield
    finally:
        WATCH.on = False
    assert WATCH.seen == [], f"{what}: {WATCH.seen}"
    assert CANARY not in sys.modules and not Path("ran").exists(), what


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, features, a probe and a pack, and a module that must not be imported."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XFER_CACHE", str(folder / "cache"))
        xfer.finetune("digits", backbone=NET, out="run", **OPTIONS)
        shutil.copytree("run", "half")
        (folder / "half" / "result.json").unlink()
        words = ["--backbone", NET, "--weights", "none", "--layer", "layer2", "--pool"]
        few = ["avg", "--data", "digits", "--limit", "30", "--out", "f.npz", "-q"]
        assert cli.main(["features", *words, *few, "--device", "cpu"]) == 0
        assert cli.main(["probe", "f.npz", "--out", "probe", "--cv", "2", "-q"]) == 0
        for n in range(6):
            (folder / "photos" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
            write_picture(folder / "photos" / "ab"[n % 2] / f"{n}.png")
        assert cli.main(["data", "pack", "photos", "-o", "pack", "-q"]) == 0
    write_picture(folder / "a.png")
    (folder / f"{CANARY}.py").write_text("open('ran', 'w').close()\nmake = Thing = print\n")
    (folder / f"{CANARY}-1.0.dist-info").mkdir()
    (folder / f"{CANARY}-1.0.dist-info" / "METADATA").write_text(f"Name: {CANARY}\nVersion: 1\n")
    (folder / f"{CANARY}-1.0.dist-info" / "entry_points.txt").write_text(
        f"[xfer.backbones]\nmine = {CANARY}:make\n[xfer.tasks]\nmine = {CANARY}:Thing\n"
    )
    return folder


@pytest.fixture
def there(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, on Python's path as `python -m` would have it."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("XFER_CACHE", str(made / "cache"))
    monkeypatch.syspath_prepend(made)
    return made


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of the texts in a document, each list by its first items alone."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:2]):
            yield from leaves(item, (*path, index))


def bent(document: Any, path: tuple[Any, ...], word: str) -> Any:
    """A copy with another text at a place."""
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = word
    return changed


def tried(what: str, *calls: Callable[[], Any]) -> None:
    """Makes calls, each of which may end well or in an XferError, and runs nothing of a file."""
    for call in calls:
        with nothing_runs(what), contextlib.suppress(XferError):
            call()


def command(*words: str) -> Callable[[], Any]:
    """A command, which must not end in an internal error."""

    def call() -> None:
        assert cli.main([*words, "-q"]) != 1, words

    return call


def copied(there: Path, name: str) -> Path:
    place = there / "bent"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(there / name, place)
    shutil.rmtree(there / "out", ignore_errors=True)
    return place


USES: dict[str, tuple[Callable[[], Any], ...]] = {
    "model.json": (
        lambda: xfer.load("bent"),
        command("data", "proposals", "digits", "--method", "run:bent"),
        command("finetune", "--data", "photos", "--weights", "run:bent", "--dry-run"),
        command("runs", "show", "bent"),
    ),
    "env.json": (command("runs", "show", "bent"), lambda: xfer.evaluate("bent")),
    "split.json": (lambda: xfer.evaluate("bent"),),
    "result.json": (
        command("runs", "ls", "."), command("runs", "show", "bent"),
        lambda: compare_runs(["bent", "run"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
def test_no_text_of_a_run_runs(there: Path, name: str) -> None:
    place = copied(there, "run")
    document = json.loads((place / name).read_text())
    count = 0
    for path in leaves(document):
        telling = path[0] in ("task", "backbone", "kind", "data_format", "data_notes", "val")
        for word in WORDS if telling and name == "model.json" else WORDS[:1]:
            (place / name).write_text(json.dumps(bent(document, path, word)))
            all_of_them = telling and word == WORDS[0]
            tried(f"{name} {path} = {word}", *USES[name][: None if all_of_them else 1])
            count += 1
    assert count >= 4


def test_nor_do_keys_that_a_model_may_have(there: Path) -> None:
    place = copied(there, "run")
    about = json.loads((place / "model.json").read_text())
    ran = {"command": "touch ran"}
    for change in (
        {"kind": "mine", "kind_from": CANARY}, {"kind": "mine", "kind_from": "os"},
        {"backbone": "os:system", "backbone_options": ran},
        {"backbone": "subprocess:run", "backbone_options": {"args": ["touch", "ran"]}},
        {"backbone": f"{CANARY}:make", "task": f"{CANARY}:Thing"},
        {"backbone": "mine"}, {"task": "mine"}, {"svd": {f"{CANARY}:x": 2}},
        {"backbone": "timm:resnet18", "backbone_options": {"checkpoint_path": "evil.pth"}},
        {"backbone": "timm:resnet18", "backbone_options": {"pretrained_cfg": {"file": "evil.pth"}}},
        {"backbone": "timm:resnet18", "backbone_options": {"act_layer": "os.system"}},
        {"backbone": "torchvision:resnet18", "backbone_options": {"norm_layer": "os.system"}},
    ):  # fmt: skip
        (place / "model.json").write_text(json.dumps({**about, **change}))
        with nothing_runs(str(change)), pytest.raises(XferError):
            xfer.load("bent")


def recipe_texts(recipe: str) -> list[str]:
    """The keys of a recipe, and those that it may have besides, whose values are text."""
    flat = flatten(load_recipe(recipe))
    texts = [key for key, value in flat.items() if isinstance(value, str)]
    return [*dict.fromkeys([*texts, "name", "extends", "weights", "task.proposals", "task.levels"])]


@pytest.mark.parametrize("word", [*WORDS[:4], WORDS[5]])
def test_no_text_of_a_recipe_runs(there: Path, word: str) -> None:
    place = copied(there, "half")
    text = (place / "recipe.toml").read_text()
    document = tomllib.loads(text)
    keys = recipe_texts(str(place / "recipe.toml"))
    for key in (
        keys if word == WORDS[0] else ("task", "backbone", "weights", "data.source", "extends")
    ):
        table, _, name = key.partition(".")
        name = name or ("name" if table in ("task", "backbone") else "")
        changed = copy.deepcopy(document)
        if name:
            changed.setdefault(table, {})[name] = word
        else:
            changed[table] = word
        lines = [f"{k} = {_toml(v)}" for k, v in changed.items() if not isinstance(v, dict)]
        for title, values in changed.items():
            if isinstance(values, dict):
                lines += [f"[{title}]", *(f"{k} = {_toml(v)}" for k, v in values.items())]
        (place / "recipe.toml").write_text("\n".join(lines))
        (there / "bent.toml").write_text("\n".join(lines))
        calls = [
            command("recipes", "check", "bent.toml"),
            command("finetune", "--recipe", "bent.toml", "--dry-run", "--out", "out"),
        ]
        if word == WORDS[0]:
            calls += [
                command("recipes", "show", "-v", "bent.toml"),
                lambda: xfer.finetune(resume="bent", verbosity=-1), command("runs", "show", "bent"),
            ]  # fmt: skip
        tried(f"recipe {key} = {word}", *calls)


def test_recipes_check_says_that_code_is_asked_for(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (there / "code.toml").write_text(f'task = "{CANARY}:Thing"\nbackbone = "os:system"\n')
    with nothing_runs("check"):
        assert cli.main(["recipes", "check", "code.toml"]) == 2
    said = capsys.readouterr().err
    assert f"code.toml asks for code: module {CANARY}" in said and "module os" in said
    assert f"--trust {CANARY}:Thing --trust os:system" in said


def test_no_text_of_features_or_of_a_probe_runs(there: Path) -> None:
    arrays = dict(np.load("f.npz"))
    meta = json.loads(str(arrays["meta"]))
    for path in leaves(meta):
        changed = {**arrays, "meta": np.array(json.dumps(bent(meta, path, WORDS[0])))}
        np.savez("g.npz", **changed)
        tried(f"features {path}", lambda: read_features("g.npz").layers)
        if path[0] in ("backbone", "weights"):
            shutil.rmtree("out", ignore_errors=True)
            tried(
                f"features {path}",
                command("probe", "g.npz", "--clf", "ridge", "--cv", "2", "--out", "out"),
            )
    place = copied(there, "probe")
    about = json.loads((place / "model.json").read_text())
    for path in leaves(about):
        if path[0] == "classes" or path[:2] in (("features", "data"), ("features", "versions")):
            continue  # shown, or not read by a model
        (place / "model.json").write_text(json.dumps(bent(about, path, WORDS[0])))
        tried(f"probe {path}", lambda: xfer.load("bent"))


def test_a_probe_s_file_names_nothing_but_a_probe_s_parts(there: Path) -> None:
    place = copied(there, "probe")
    with zipfile.ZipFile(place / "probe.skops") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"])
    count = 0
    for path in leaves(schema):
        if path[-1] not in ("__class__", "__module__", "__loader__"):
            continue
        for word in {"__loader__": ("FunctionNode", "MethodNode"), "__module__": ("os", CANARY),
                     "__class__": ("system", "FunctionTransformer")}[path[-1]]:  # fmt: skip
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                for name, data in files.items():
                    text = json.dumps(bent(schema, path, word)).encode()
                    archive.writestr(name, text if name == "schema.json" else data)
            (place / "probe.skops").write_bytes(out.getvalue())
            with nothing_runs(f"skops {path} = {word}"), pytest.raises(XferError):
                load_probe(place)
            count += 1
    assert count > 30


def test_no_text_of_a_pack_or_a_table_runs(there: Path) -> None:
    place = copied(there, "pack")
    for file in place.rglob("*.json"):
        document = json.loads(file.read_text())
        for path in leaves(document):
            for word in WORDS[:3]:
                file.write_text(json.dumps(bent(document, path, word)))
                tried(f"{file.name} {path}", command("data", "show", "bent"))
        file.write_text(json.dumps(document))
    for word in WORDS[:4]:
        lines = {
            "l.csv": f"path,label\na.png,{word}\n{word},b\na.png,c\n",
            "c.csv": f"path,label,drop\n{word},{word},\na.png,{word},1\n",
            "data.yaml": f"path: .\ntrain: '{word}'\nval: photos\nnames: ['{word}', b]\n",
            "y2.yaml": f"train: !!python/object/apply:os.system ['ran']\nnames: [a, '{word}']\n",
            "o.json": json.dumps({"images": [{"id": 1, "file_name": word, "width": 9, "height": 9}],
                                  "categories": [{"id": 1, "name": word}], "annotations": []}),
        }  # fmt: skip
        for name, text in lines.items():
            (there / name).write_text(text)
            tried(
                f"{name}: {word}",
                command("data", "show", name),
                command("data", "show", "photos", f"data.changes={name}"),
            )


def test_the_hook_sees_what_it_must(there: Path) -> None:
    """The sweep would notice: else all of these tests say nothing."""
    with pytest.raises(AssertionError, match="canary"), nothing_runs("import"):
        __import__(CANARY)
    del sys.modules[CANARY]
    (there / "ran").unlink()
    with pytest.raises(AssertionError, match=r"os\.system"), nothing_runs("system"):
        os.system("true")
