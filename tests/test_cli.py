"""The command line: flags become recipe keys, and every ending has its code and its line."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import xfer.cli
from xfer.cli.app import main
from xfer.cli.command import PANEL_OF
from xfer.errors import DataError, DivergedError, XferError
from xfer.recipe.choose import build_recipe
from xfer.recipe.tables import FLAGS, Recipe, flatten
from xfer.train.signals import Interrupted

Fit = Callable[..., Any]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `fit` was called with; it returns a result without training."""
    seen: list[dict[str, Any]] = []

    def fit(recipe: Recipe | None, out: Path | None, **options: Any) -> Any:
        seen.append({"recipe": recipe, "out": out, **options})
        result = {"primary": "top1", "metrics": {"top1": 0.5, "loss": float("nan")}}
        return SimpleNamespace(path=Path("runs/x"), result=result, line=lambda: "val top1 0.5000",
                               closing=lambda: ["why so"])  # fmt: skip

    monkeypatch.setitem(sys.modules, "xfer.train.loop", SimpleNamespace(fit=fit))
    return seen


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `fit` raise."""

    def install(error: BaseException) -> None:
        def fit(*words: Any, **options: Any) -> Any:
            raise error

        monkeypatch.setitem(sys.modules, "xfer.train.loop", SimpleNamespace(fit=fit))

    return install


TRAIN = ["finetune", "--task", "classify", "--data", "digits"]


def test_every_flag_reaches_its_key(calls: list[dict[str, Any]]) -> None:
    values = {
        "backbone": "caffenet", "weights": "w.npz", "epochs": "3", "batch": "8", "lr": "0.5",
        "weight_decay": "0.25", "optimizer": "sgd", "schedule": "step", "warmup": "2",
        "freeze": "conv2", "freeze_epochs": "1.5", "layer_decay": "0.75", "train": "a", "val": "b",
        "test": "c", "limit": "9", "workers": "0", "tta": "10crop", "seed": "7", "device": "cpu",
        "precision": "fp32",
    }  # fmt: skip
    assert {*values, "skip_bad", "verify"} == set(FLAGS) == set(PANEL_OF)
    words = [w for flag, value in values.items() for w in (f"--{flag.replace('_', '-')}", value)]
    assert main([*TRAIN, *words, "--skip-bad", "--no-verify", "-o", "there"]) == 0
    flat = flatten(calls[0]["recipe"])
    assert flat["data.skip_bad"] is True and flat["data.verify"] is False
    for flag, value in values.items():
        found = flat[FLAGS[flag]]
        assert (found if isinstance(found, str) else float(found)) == type(found)(value), flag
    assert calls[0]["out"] == Path("there")
    assert flat["data.source"] == "digits"


def test_assignments_win_over_flags_and_flags_over_the_recipe(calls: list[dict[str, Any]]) -> None:
    words = ["--lr", "0.5", "--set", "optim.ema=0.5", "--set", "data.flip=true", "optim.lr=0.25"]
    assert main([*TRAIN, *words, "task.dropout=0"]) == 0
    recipe: Recipe = calls[0]["recipe"]
    assert recipe.name == "classify/digits"
    assert (recipe.optim.lr, recipe.optim.ema, recipe.data.flip) == (0.25, 0.5, True)
    assert recipe.task_options["dropout"] == 0
    assert recipe.backbone == build_recipe("digits", "cls").backbone


def test_switches_reach_the_call(calls: list[dict[str, Any]]) -> None:
    assert main([*TRAIN, "--overwrite", "--dry-run", "-v"]) == 0
    assert main([*TRAIN, "-q"]) == 0
    assert main(["finetune", "--resume", "runs/x"]) == 0
    assert [c["verbosity"] for c in calls] == [1, -1, 0]
    assert [(c["overwrite"], c["dry_run"]) for c in calls] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    assert (calls[2]["recipe"], calls[2]["resume"]) == (None, Path("runs/x"))


def test_json_is_alone_on_stdout(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"] == {"top1": 0.5, "loss": None}
    assert main(TRAIN) == 0
    shown = capsys.readouterr()
    assert shown.out == "val top1 0.5000\n"
    notes = shown.err[shown.err.index("why so") :].splitlines()
    assert notes[1:3] == ["next: xfer predict runs/x PICTURE...", "      xfer report runs/x"]


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (XferError("wrong word", "the right one"), 2, ["xfer: wrong word", "  the right one"]),
        (DataError("no file"), 3, ["xfer: no file"]),
        (DivergedError("nan", "lower --lr"), 4, ["xfer: nan", "  lower --lr"]),
        (Interrupted(Path("r")), 130,
         ["xfer: interrupted; to resume: xfer finetune --resume r"]),
        (KeyboardInterrupt(), 130, ["xfer: interrupted"]),
        (RuntimeError("a\nb"), 1,
         ["xfer: internal error: RuntimeError: a b", "  --debug shows the traceback"]),
        (OSError(28, "No space left on device", "out/f.npz"), 3,
         ["xfer: no space left on device: out/f.npz",
          "  what was already written is kept; free some space, or write elsewhere"]),
        (PermissionError(13, "Permission denied", "out/f.npz"), 3,
         ["xfer: out/f.npz: permission denied"]),
        (OSError(5, "Input/output error"), 1,
         ["xfer: internal error: OSError: [Errno 5] Input/output error",
          "  --debug shows the traceback"]),
    ],
)  # fmt: skip
def test_endings(
    fails: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str],
    error: BaseException, code: int, lines: list[str],
) -> None:  # fmt: skip
    fails(error)
    assert main([*TRAIN, "-q"]) == code
    shown = capsys.readouterr()
    assert shown.err.splitlines() == lines
    assert shown.out == ""
    assert main([*TRAIN, "-q", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_process_of_several_says_which_it_is(
    fails: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fails(DataError("no file"))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)  # they can't meet
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(TRAIN) == 3
    assert capsys.readouterr().err == "xfer: rank 1: no file\n"
    fails(RuntimeError("here"))
    assert main(TRAIN) == 1
    assert "rank 1: internal error: RuntimeError: here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["finetun"], 2, "mean finetune?"),
        (["recipes", "shwo"], 2, "mean show?"),
        (["finetune", "--epohcs", "3"], 2, "--epochs"),
        (["finetune", "--epochs", "many"], 2, "--epochs"),
        (["finetune", "--epochs"], 2, "--epochs"),
        (["finetune"], 2, "--data"),
        (["finetune", "photos/"], 2, "--data photos/"),
        (["finetune", "--task", "detekt", "--data", "digits"], 2, "unknown task 'detekt'"),
        ([*TRAIN, "--epochs", "-3"], 2, "schedule.epochs must be above 0, got -3"),
        ([*TRAIN, "--set", "optim.momentun=0.9"], 2, "momentum"),
        ([*TRAIN, "task.hed=flat"], 2, "head"),
        ([*TRAIN, "task.head=flatt"], 2, "auto, tail, flat, avg"),
        ([*TRAIN, "--backbone", "alexnett"], 2, "alexnet"),
        ([*TRAIN, "backbone.lnr=paper"], 2, "lnr"),
        ([*TRAIN, "--recipe", "classify/digitz"], 2, "classify/digits"),
        ([*TRAIN, "--recipe", "gone.toml"], 3, "gone.toml"),
        ([*TRAIN, "--resume", "runs/x"], 2, "--resume runs/x"),
        (["pretrain"], 2, "xfer pretrain NAME"),
        (["pretrain", "imagenet-0"], 2, "unknown recipe 'pretrain/imagenet-0'"),
        (["recipes", "show", "classify/nothing"], 2, "classify/"),
        (["recipes", "ls", "nothing*"], 2, "nothing*"),
        (["predict", "runs/x", "a.jpg", "--format", "xml"], 2, "table, json, csv or coco"),
        (["predict", "runs/x"], 2, "PATH"),
    ],
)
def test_a_wrong_command_is_told_in_a_few_lines(
    words: list[str], code: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    shown = capsys.readouterr()
    assert named in shown.err
    assert 1 <= len(shown.err.splitlines()) <= 4
    assert shown.out == ""
    assert "Traceback" not in shown.err


def test_recipes_are_listed_shown_copied_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "ls", "classify/*", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert "classify/digits" in names
    assert main(["recipes", "show", "classify/digits"]) == 0
    text = capsys.readouterr().out
    file = tmp_path / "shown.toml"
    file.write_text(text, encoding="utf-8")
    assert text.startswith("# Handwritten digits")
    assert main(["recipes", "show", "classify/digits", "-v"]) == 0
    assert "# peak learning rate" in capsys.readouterr().out
    assert main(["recipes", "check", str(file)]) == 0
    copied = tmp_path / "mine.toml"
    assert main(["recipes", "cp", "classify/default", str(copied)]) == 0
    assert "# Expect" in copied.read_text(encoding="utf-8")
    copied.write_text('[task]\nname = "cls"\nlabel_smothing = 1', encoding="utf-8")
    assert main(["recipes", "check", str(copied)]) == 2
    shown = capsys.readouterr().err
    assert f"{copied}: unknown key task.label_smothing" in shown and "label_smoothing" in shown


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xfer", *words], capture_output=True, text=True, **options
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "xfer", "recipes", "show", "classify/default"],
        stdout=write, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_version_and_the_help_are_the_same_program() -> None:
    from xfer import __version__

    assert run("--version").stdout == f"xfer {__version__}\n"
    shown = run("--help", env={**os.environ, "COLUMNS": "100"})
    assert shown.returncode == 0
    for name in ("finetune", "pretrain", "eval", "predict", "data", "models", "recipes", "runs"):
        assert f" {name} " in shown.stdout


def test_every_option_of_every_command_has_a_help_text() -> None:
    import typer.main

    from xfer.cli.app import app

    def walk(command: Any, path: str) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}")
        assert command.help, path
        for parameter in command.params:
            assert parameter.help, f"{path}: {parameter.name}"

    walk(typer.main.get_command(app), "xfer")


def test_no_help_text_is_written_twice() -> None:
    """What several commands have is one alias of xfer.cli.flags, or a key of the recipe."""
    texts: list[str] = []
    for file in Path(xfer.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            values: list[ast.expr] = []
            if isinstance(node, ast.keyword) and node.arg == "help":
                values = [node.value]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "out_option":
                values = node.args[:1]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "_switch":
                values = node.args[1:2]
            texts += [str(value.value) for value in values if isinstance(value, ast.Constant)]
    assert len(texts) > 60
    assert not {text for text in texts if texts.count(text) > 1}


@pytest.mark.parametrize(
    ("words", "offered"),
    [("finetune --task cl", "classify"), ("finetune --recipe classify/dig", "classify/digits"),
     ("finetune --schedule on", "onecycle"), ("recipes show class", "classify/default")],
)  # fmt: skip
def test_the_shell_completes_values(words: str, offered: str) -> None:
    count = len(words.split())
    env = {**os.environ, "_XFER_COMPLETE": "complete_bash", "COMP_WORDS": f"xfer {words}",
           "COMP_CWORD": str(count)}  # fmt: skip
    assert offered in run(env=env).stdout.split()
