"""`xfer probe FILE`: a run folder with scores, pictures and a model that runs no code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.extraction.store import Features, write_features
from xfer.probing.run import probe
from xfer.probing.shots import shot_curve
from xfer.probing.store import MODEL, load_probe

CLASSES = ("ant", "bee", "wasp")


def features_file(
    path: Path, counts: dict[str, int], *, width: int = 60, apart: float = 1.0,
    several: bool = False, layers: tuple[str, ...] = ("pool5",), classes: Any = CLASSES,
) -> Path:  # fmt: skip
    """A features file with so many pictures a class in each split."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(len(classes), width)) * apart
    y = np.concatenate([np.repeat(np.arange(len(classes)), n) for n in counts.values()])
    splits = np.repeat(list(counts), [n * len(classes) for n in counts.values()])
    rows = (centres[y] + rng.normal(size=(len(y), width)) * 2).astype(np.float32)
    labels: Any = np.eye(len(classes), dtype=np.int8)[y] if several else y.astype(np.int64)
    if several:
        labels[::9, 0] = -1
    meta = {
        "backbone": "alexnet", "options": {}, "layers": dict.fromkeys(layers, width),
        "weights": {"spec": "none", "source": "none", "file_sha256": "", "digest": "d"},
        "pool": "flatten", "crops": "centre", "views": "mean", "normalise": "none",
        "data": {"spec": "insects", "kind": "classify", "fingerprint": "f"},
    }  # fmt: skip
    ids = np.array([f"{s}/{i}.jpg" for i, s in enumerate(splits)])
    named = {name: (rows + at).astype(np.float16) for at, name in enumerate(layers)}
    write_features(path, Features(named, labels, ids, np.array(classes, str), splits, meta))
    return path


def test_a_probe_leaves_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = features_file(tmp_path / "f.npz", {"train": 20, "val": 10, "test": 5})
    out = tmp_path / "p"
    words = ["probe", str(file), "--clf", "logreg", "--out", str(out), "--shots", "1,8"]
    assert main([*words, "--repeats", "3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    result = json.loads((out / "result.json").read_text())
    assert printed == {"run": str(out), **result}
    assert result["task"] == "probe" and result["primary"] == "top1" and result["schema"] == 1
    assert result["metrics"]["top1"] > 0.9 and result["test_metrics"]["top1"] > 0.8
    assert "5-fold cross-validation on train only" in result["protocol"]["chosen_by"]
    assert "Kornblith" in result["protocol"]["chosen_by"]
    assert result["protocol"]["scored_on"] == "val"
    one, eight = result["shots"]
    assert one["shots"] == 1 and len(one["values"]) == 3
    assert one["top1"] < eight["top1"] <= 1
    assert one["low"] <= one["top1"] <= one["high"]
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert names >= {
        "recipe.toml", "env.json", "log.jsonl", "result.json", "model.json", MODEL, "classes.txt",
        "split.json", "predictions/val.csv", "predictions/test.csv", "plots/confusion.png",
        "plots/choice.png", "plots/shots.png",
    }  # fmt: skip
    split = json.loads((out / "split.json").read_text())
    assert {k: len(v) for k, v in split.items()} == {"train": 60, "val": 30, "test": 15}
    assert main(["runs", "ls", str(tmp_path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["task"], row["state"], row["data"]) == ("probe", "finished", "insects")
    assert main(words) == 2
    assert "holds a finished run" in capsys.readouterr().err


def test_the_saved_probe_says_the_same(tmp_path: Path) -> None:
    file = features_file(tmp_path / "f.npz", {"train": 12, "val": 10}, width=200)
    for clf in ("logreg", "linear-svm", "ridge", "knn", "rbf-svm", "lda"):
        result = probe(file, clf, out=tmp_path / clf)
        loaded, about = load_probe(tmp_path / clf)
        assert about["classes"] == list(CLASSES) and about["layer"] == "pool5"
        with np.load(file) as raw:
            rows = raw["pool5"][raw["splits"] == "val"]
            truth = raw["y"][raw["splits"] == "val"]
        found = loaded.probabilities(rows)
        assert (found.argmax(1) == truth).mean() == result["metrics"]["top1"]
        wanted = (tmp_path / clf / "predictions" / "val.csv").read_text().splitlines()[1:]
        scores = {line.split(",")[0]: float(line.split(",")[3]) for line in wanted}
        with np.load(file) as raw:
            ids = raw["ids"][raw["splits"] == "val"]
        for name, row in zip(ids, found, strict=True):
            assert scores[name] == pytest.approx(float(row.max()), abs=1e-6)


def test_without_a_val_split_train_is_scored_by_folds(tmp_path: Path) -> None:
    file = features_file(tmp_path / "f.npz", {"train": 15})
    result = probe(file, "ridge", out=tmp_path / "p", cv=3, shots=[2], repeats=2)
    assert "3-fold cross-validation" in result["protocol"]["scored_on"]
    assert sum(row["n"] for row in result["metrics"]["per_class"].values()) == 45
    assert result["metrics"]["top1"] > 0.7
    assert "left out of the draws" in result["protocol"]["shots"]
    again = probe(file, "ridge", out=tmp_path / "q", cv=3)
    assert again["metrics"] == result["metrics"]


def test_labels_that_are_noise_score_at_chance_by_folds(tmp_path: Path) -> None:
    """A choice that had seen the held-out labels would score better than that."""
    file = features_file(tmp_path / "f.npz", {"train": 30}, apart=0.0, width=300)
    result = probe(file, "logreg", out=tmp_path / "p")
    assert 0.15 < result["metrics"]["top1"] < 0.5


def test_several_labels_are_scored_by_average_precision(tmp_path: Path) -> None:
    file = features_file(tmp_path / "f.npz", {"train": 20, "val": 10}, several=True)
    result = probe(file, "linear-svm", out=tmp_path / "p")
    assert result["primary"] == "map" and result["metrics"]["map"] > 0.9
    assert (tmp_path / "p" / "plots" / "classes.png").is_file()
    loaded, _ = load_probe(tmp_path / "p")
    with np.load(file) as raw:
        assert loaded.probabilities(raw["pool5"]).shape == (90, 3)
    with pytest.raises(XferError, match="one label per picture"):
        probe(file, out=tmp_path / "q", shots=[1])


def test_the_layer_is_asked_for_where_there_are_several(tmp_path: Path) -> None:
    file = features_file(tmp_path / "f.npz", {"train": 6, "val": 6}, layers=("conv3", "pool5"))
    with pytest.raises(XferError, match="conv3, pool5") as caught:
        probe(file, out=tmp_path / "p")
    assert "layer=NAME" in str(caught.value)
    with pytest.raises(XferError, match="did you mean pool5"):
        probe(file, out=tmp_path / "p", layer="pool4")
    assert probe(file, "ridge", out=tmp_path / "p", layer="conv3")["layer"] == "conv3"


@pytest.mark.parametrize(
    ("counts", "classes", "options", "says"),
    [
        ({"train": 8, "val": 8}, ("ant",), {}, r"of one class \(ant\)"),
        ({"train": 3}, CLASSES, {}, "3 training pictures, fewer than 5 folds"),
        ({"train": 3, "val": 3}, CLASSES, {"cv": 4}, "3 training pictures, fewer than 4 folds"),
        ({"train": 3, "val": 3}, CLASSES, {"shots": [1, 4]}, "shots=4: a class has 3"),
        ({"val": 3}, CLASSES, {}, "no labelled training pictures"),
    ],
)  # fmt: skip
def test_pictures_that_can_not_be_learnt_from_are_refused(
    tmp_path: Path, counts: dict[str, int], classes: Any, options: dict[str, Any], says: str
) -> None:
    file = features_file(tmp_path / "f.npz", counts, classes=classes)
    with pytest.raises(DataError, match=says):
        probe(file, out=tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


def test_wrong_words_and_files_end_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = features_file(tmp_path / "f.npz", {"train": 6, "val": 6})
    cut = tmp_path / "cut.npz"
    cut.write_bytes(file.read_bytes()[:-900])
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(3))
    for words, code, says in [
        ([str(cut)], 3, "cut off"),
        ([str(other)], 3, "not written by `xfer features`"),
        ([str(tmp_path / "none.npz")], 3, "no such"),
        ([str(file), "--clf", "svm"], 2, "linear-svm"),
        ([str(file), "--shots", "1,two"], 2, "not whole numbers"),
        ([str(file), "--shots", "0"], 2, "at least one"),
        ([str(file), "--cv", "1"], 2, "two folds"),
        ([str(file), "--data", "photos"], 2, "need --compare"),
        ([], 2, "no features file"),
        (["--compare", "--data", "photos"], 2, "--backbones"),
        (["--compare", str(file)], 2, "computes its own features"),
        (["--compare", "--repeats", "3"], 2, "computes its own features"),
        ([str(file), "--repeats", "3"], 2, "--shots"),
    ]:
        assert main(["probe", *words, "--out", str(tmp_path / "p")]) == code
        shown = capsys.readouterr()
        assert says in shown.err and "Traceback" not in shown.err
        assert shown.out == ""
    assert not (tmp_path / "p").exists()


def test_a_file_that_could_run_code_is_not_loaded(tmp_path: Path) -> None:
    from skops import io

    file = features_file(tmp_path / "f.npz", {"train": 6, "val": 6})
    probe(file, "ridge", out=tmp_path / "p")
    model = tmp_path / "p" / MODEL
    good = model.read_bytes()
    io.dump(Path("x"), model)
    with pytest.raises(DataError, match=r"probe\.skops"):
        load_probe(tmp_path / "p")
    model.write_bytes(good[:-200])
    with pytest.raises(DataError, match="damaged"):
        load_probe(tmp_path / "p")
    model.unlink()
    with pytest.raises(DataError, match="no such file"):
        load_probe(tmp_path / "p")
    assert zipfile.is_zipfile(file)


def test_more_shots_are_better_and_draws_grow() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(2, 40))
    y, truth = np.repeat([0, 1], 40), np.repeat([0, 1], 50)
    rows, others = (centres[t] + rng.normal(size=(len(t), 40)) * 3 for t in (y, truth))
    said: list[str] = []
    found = shot_curve(
        "ridge", rows, y, others, truth, [16, 1, 4], scaling="l2", classes=2, repeats=4,
        tick=said.append,
    )  # fmt: skip
    assert [row["shots"] for row in found] == [1, 4, 16] and len(said) == 3
    assert found[0]["top1"] < found[2]["top1"]
    assert found[0]["std"] == pytest.approx(np.std(found[0]["values"], ddof=1))
    # Student's t of 3 degrees of freedom at 0.975 is 3.182
    half = 3.182446 * found[1]["std"] / 2
    assert found[1]["low"] == pytest.approx(max(0, found[1]["top1"] - half), abs=1e-6)


def test_the_command_is_a_function_of_the_package(tmp_path: Path) -> None:
    import xfer

    file = features_file(tmp_path / "f.npz", {"train": 6, "val": 6})
    assert xfer.probe(file, "ridge", out=tmp_path / "p")["primary"] == "top1"
