"""What a person copies or completes is no command of somebody else's, and what names data, a
published net or a path allows no module of that name."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from pictures import write_picture

import xfer
from xfer import cli, plugs
from xfer.cli import completion
from xfer.cli.command import _specs
from xfer.data.readers.masks.several import _choice
from xfer.errors import DataError, XferError
from xfer.runs import card

STRANGE = "a; touch ran"


@pytest.mark.parametrize("spec", ["csv:photos", "folder:photos", "timm:net", "torchvision:net"])
def test_a_format_and_a_publisher_name_no_module(spec: str) -> None:
    plug = plugs.parse(spec)
    assert plug is not None
    with plugs.naming(spec):
        assert not plugs.is_named(plug) and not {spec, plug.module} & {*plugs.trusted()}
    with plugs.naming(trust=spec):
        assert plugs.is_named(plug)


def test_nor_does_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plug = plugs.Plug("mine", "data")
    with plugs.naming("mine:data"):
        assert plugs.is_named(plug)
    Path("mine:data").mkdir()
    with plugs.naming("mine:data"):
        assert not plugs.is_named(plug)


def test_a_run_is_not_given_the_module_of_a_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`eval RUN --data folder:photos`, where the run asks for `folder:photos` as its net."""
    monkeypatch.chdir(tmp_path)
    for n in range(12):
        place = tmp_path / "photos" / "ab"[n % 2]
        place.mkdir(parents=True, exist_ok=True)
        write_picture(place / f"{n}.png")
    Path("folder.py").write_text("open('ran', 'w')\nphotos = print\n")
    options: dict[str, Any] = {
        "workers": 0,
        "verbosity": -1,
        "run__plots": False,
        "run__report": False,
    }
    xfer.finetune("photos", backbone="alexnet_bn", weights="none", out="run", device="cpu",
                  schedule__steps=1, data__batch=4, **options)  # fmt: skip
    about = json.loads(Path("run/model.json").read_text())
    Path("run/model.json").write_text(json.dumps({**about, "backbone": "folder:photos"}))
    assert cli.main(["eval", "run", "--data", "folder:photos"]) == 2
    assert "asks for code: module folder" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_trust_is_asked_for_as_a_module() -> None:
    with pytest.raises(XferError, match=r"trust='mynet'$"), plugs.naming(trust="./mynet.py"):
        pass
    for strange in (3, [3], "../x"):
        with pytest.raises(XferError, match="name of a module"), plugs.naming(trust=strange):  # pyright: ignore[reportArgumentType]
            pass


def test_only_lists_of_nets_are_split_at_commas() -> None:
    assert _specs({"data": "photos,evil:x"}) == ["photos,evil:x", ""]
    assert _specs({"backbones": "alexnet,mine:net"}) == ["alexnet", "mine:net"]


def test_commands_in_hints_are_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quoted = f"xfer finetune --resume {shlex.quote(STRANGE)}"
    assert cli.main(["finetune", "--resume", STRANGE, "--epochs", "2"]) == 2
    assert quoted in capsys.readouterr().err
    Path(STRANGE).mkdir()
    (Path(STRANGE) / "recipe.toml").write_text('task = "classify"\n')
    for words in (["models", "import", f"run:{STRANGE}", "-o", "w.safetensors"],
                  ["compress", STRANGE, "--svd", "fc6=2", "--out", "small"]):  # fmt: skip
        assert cli.main(words) in (2, 3)
        assert quoted in capsys.readouterr().err
    assert "'data.label=$(touch ran)'" in _choice("1_$(touch ran)", "1_b")


def test_columns_in_hints_are_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "a.png")
    content = [(tmp_path / "a.png").read_bytes()] * 4
    pq.write_table(pa.table({"front $(touch ran)": content, "back": content}), "t.parquet")
    assert cli.main(["data", "show", "t.parquet"]) == 2
    assert "'data.path=front $(touch ran)' or data.path=back" in capsys.readouterr().err


def test_a_run_whose_name_needs_quotes_is_not_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("good-1", "$(touch ran)", "`touch ran`", "a;b"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text('task = "classify"\n')
    assert completion.runs("runs/") == ["runs/good-1"]


def test_a_card_holds_no_code_of_the_run_s() -> None:
    preprocess = {"size": 8, "resize": 9, "channels": "rgb", "mean": [0], "std": [1], "scale": 1}
    model = {"backbone": "alexnet", "backbone_options": {"width": 2}, "classes": ["a|b", "c"],
             "preprocess": preprocess}  # fmt: skip
    result = {"seed": 0, "data": "<script>\n```\n# x", "steps": 1, "best_step": 1,
              "metrics": {"top1": 0.5}, "protocol": {"top1": "a\nb"}}  # fmt: skip
    shown = card.text(Path("net.safetensors"), model, result, "my`recipe", "")
    assert r"| on | \<script\> \`\`\` # x: 2 classes (a\|b, c) |" in shown
    assert 'create_backbone("alexnet", weights="net.safetensors", width=2)' in shown
    assert shown.count("```") == 2 and "- top1: a b" in shown
    model["backbone"] = 'x"); print("ran") #'
    shown = card.text(Path("net.safetensors"), model, result, "r", "")
    assert r'create_backbone("x\"); print(\"ran\") #", weights=' in shown
    model["backbone_options"] = {"x=print('ran'), y": 1}
    with pytest.raises(DataError, match="not the name of an option"):
        card.text(Path("net.safetensors"), model, result, "r", "")
