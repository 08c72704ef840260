"""Words of other tools are answered with ours: in options, keys, files, commands and Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import xfer
from xfer.cli.app import app, main
from xfer.errors import XferError, command_line, in_python, spoken
from xfer.recipe import words
from xfer.recipe.tables import FIELDS, FLAGS, Recipe, override
from xfer.recipe.toml import load_recipe
from xfer.train.signals import Interrupted


def test_the_table_names_nothing_that_does_not_exist() -> None:
    """Ours are keys, or what finetune, predict, features or probe take; theirs name one thing."""
    import typer.main

    group: Any = typer.main.get_command(app)
    options = {
        p.name
        for command in group.commands.values()
        for p in command.params  # pyright: ignore
    } | {"shots", "cv", "clf", "layer"}
    for ours in words._THEIRS:  # pyright: ignore[reportPrivateUsage]
        known = ours in FIELDS or ours.startswith("task.") or ours in options | {"run.track"}
        assert known, ours
    theirs = [w for listed in words._THEIRS.values() for w in listed.split()]  # pyright: ignore
    assert not {w for w in theirs if theirs.count(w) > 1}
    assert not {w for w in theirs if w in FLAGS and FLAGS[w] != words.ours(w)}


@pytest.mark.parametrize(
    ("option", "hint"),
    [("--model", "--backbone"), ("--lr0", "--lr"), ("--learning-rate", "--lr"),
     ("--imgsz", "data.size=VALUE"), ("--batch-size", "--batch"), ("--batch_size", "--batch"),
     ("--weight_decay", "--weight-decay"), ("--epoch", "--epochs"), ("--pretrained", "--weights"),
     ("--num-classes", "classes are those found"), ("--epohcs", "--epochs")],
)  # fmt: skip
def test_an_option_of_another_tool_is_told_ours(
    option: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finetune", "--data", "digits", option, "3"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert option in first and "Possible" not in first
    assert f"did you mean {hint}" in second or hint in second
    assert f"{hint}-" not in second


def test_an_option_is_proposed_only_where_the_command_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["predict", "runs/x", "a.jpg", "--conf", "0.5"]) == 2
    assert "did you mean --min-score?" in capsys.readouterr().err
    assert main(["predict", "runs/x", "a.jpg", "--lr0", "0.5"]) == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [("train", "xfer finetune --data SPEC"), ("val", "xfer eval RUN"), ("test", "xfer eval RUN"),
     ("detect", "--task detect"), ("infer", "xfer predict RUN"), ("runs list", "ls"),
     ("models info", "show"), ("finetun", "finetune")],
)  # fmt: skip
def test_a_command_of_another_tool_is_told_ours(
    line: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert repr(line.split()[-1]) in first and "did you mean" in second and hint in second


@pytest.mark.parametrize(
    ("key", "hint"),
    [("optim.learning_rate", "optim.lr"), ("lr0", "optim.lr"), ("data.batch_size", "data.batch"),
     ("imgsz", "data.size"), ("model", "backbone"), ("optimizer.lr_scheduler", "schedule.name"),
     ("grad_clip", "optim.clip"), ("task.smoothing", "task.label_smoothing")],
)  # fmt: skip
def test_keys_of_other_tools(key: str, hint: str, tmp_path: Path) -> None:
    from xfer.recipe.choose import check

    with pytest.raises(XferError) as caught:
        check(override(Recipe(), {key: 1}))
    assert caught.value.hint == f"did you mean {hint}?"
    table, _, name = key.rpartition(".")
    if table in ("optim", "data"):
        file = tmp_path / "mine.toml"
        file.write_text(f"[{table}]\n{name} = 1\n", encoding="utf-8")
        with pytest.raises(XferError, match=r"mine\.toml: unknown key") as caught:
            load_recipe(str(file))
        assert caught.value.hint == f"did you mean {hint}?"


def test_tables_of_other_tools(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[optimizer]\nlr = 1\n", encoding="utf-8")
    with pytest.raises(XferError, match=r"\[optimizer\]\n  did you mean \[optim\]\?"):
        load_recipe(str(file))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"model": "resnet50"}, "did you mean backbone=?"), ({"lr0": 1}, "did you mean lr=?"),
     ({"learning_rate": 1}, "did you mean lr=?"), ({"imgsz": 64}, "did you mean size=?"),
     ({"batch_size": 2}, "did you mean batch=?"), ({"epoch": 2}, "did you mean epochs=?"),
     ({"weights": None}, 'weights="none": random ones'), ({"freeze": True}, 'freeze="all"'),
     ({"weights": True}, 'weights="imagenet"'), ({"weights": "DEFAULT"}, 'weights="imagenet"'),
     ({"optim__learning_rate": 1}, "optim.lr"), ({"num_classes": 3}, "classes are those found"),
     ({"pretrained": True}, "did you mean weights=?")],
)  # fmt: skip
def test_arguments_of_other_tools(settings: dict[str, object], says: str) -> None:
    with pytest.raises(XferError) as caught:
        xfer.finetune("digits", "classify", **settings)  # pyright: ignore[reportArgumentType]
    assert says in str(caught.value)


def test_a_backbone_with_weights_of_another_tool() -> None:
    for weights in (True, "IMAGENET1K_V1"):
        with pytest.raises(XferError, match='weights="imagenet": the published'):
            xfer.create_backbone("alexnet", weights=weights)  # pyright: ignore[reportArgumentType]
    with pytest.raises(XferError, match=r"has no option 'pretrained'\n  did you mean weights"):
        xfer.create_backbone("alexnet", pretrained=True)


@pytest.mark.parametrize(
    ("line", "python"),
    [("interrupted; to resume: xfer finetune --resume 'my runs/1'",
      "interrupted; to resume: xfer.finetune(resume='my runs/1')"),
     ("--skip-bad (data.skip_bad=true) leaves them out", "skip_bad=True leaves them out"),
     ("a lower --lr, a longer --warmup, optim.clip=1, or --precision fp32",
      "a lower lr, a longer warmup, optim__clip=1, or precision='fp32'"),
     ("--batch 16 fits, or the same batch", "batch=16 fits, or the same batch"),
     ("another --lr or --seed, backbone.init=bvlc", "another lr or seed, backbone__init='bvlc'"),
     ("--freeze all trains only the head", "freeze='all' trains only the head"),
     ("--data NAME, PATH or FORMAT:PATH", "data=NAME, PATH or FORMAT:PATH"),
     ("scores with them; --set eval.tta=none", "scores with them; eval__tta='none'"),
     ("`xfer data show --list` says", "`xfer data show --list` says"),
     ("torchrun --nproc-per-node 2 or --device cpu", "torchrun --nproc-per-node 2 or device='cpu'"),
     ("to continue: --resume runs/a; to start afresh: --overwrite",
      "to continue: resume='runs/a'; to start afresh: overwrite=True"),
     ("--shots up to 3", "shots up to 3"),
     ("data.label=Moss,Dry (or more), data.val=none",
      "data__label='Moss,Dry' (or more), data__val='none'"),
     ("'data.label=Tree kind' or 'data.label=O'\"'\"'Neill'",
      "data__label='Tree kind' or data__label=\"O'Neill\""),
     ("optim.freeze must be text, got True", "optim.freeze must be text, got True")],
)  # fmt: skip
def test_messages_in_python_speak_python(line: str, python: str) -> None:
    assert in_python(line, keys=True) == python == spoken(line, keys=True)
    with command_line():
        assert spoken(line, keys=True) == line
    assert in_python("optim.ema=0.9: no effect") == "optim.ema=0.9: no effect"


def test_errors_and_interrupts_speak_python_in_python() -> None:
    error, stopped = XferError("no data", "--data PATH"), Interrupted(Path("runs/a b"))
    assert str(error) == "no data\n  data=PATH" and error.hint == "--data PATH"
    assert str(stopped).endswith("xfer.finetune(resume='runs/a b')")
    with command_line():
        assert str(error) == "no data\n  --data PATH"
        assert str(stopped).endswith("xfer finetune --resume 'runs/a b'")
