"""A run is scored on the pictures that its split.json lists, however its data have changed since,
and what was trained on is never scored without a word."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import write_coco
from pictures import encoded

import xfer
from xfer.cli.app import main
from xfer.data.open import open_data
from xfer.data.pack.writer import pack
from xfer.data.sources import base
from xfer.errors import DataError, XferError
from xfer.inference.evaluate import evaluate

NAMES = ("owl", "wren")
KEYS = {
    "backbone": "tiny_nets:tiny", "weights": "none", "epochs": 1, "eval__tta": "none",
    "task__head": "flat", "data__size": 32, "run__plots": False, "run__report": False, "workers": 0,
    "device": "cpu",
}  # fmt: skip


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(noise(seed), "JPEG"))


def write_birds(root: Path, count: int = 10, first: int = 0, names: Any = NAMES) -> Path:
    """Class folders of pictures that all differ."""
    for c, name in enumerate(names):
        for k in range(first, first + count):
            write_picture(root / name / f"{name[0]}{k:02d}.jpg", seed=100 * c + k)
    return root


def train(data: Any, out: Path, **settings: Any) -> Path:
    return xfer.finetune(data, out=out, verbosity=-1, **{**KEYS, **settings}).path


def splits(run: Path) -> dict[str, Any]:
    return json.loads((run / "split.json").read_text())


def scored(run: Path, **options: Any) -> dict[str, Any]:
    """evaluate's answer; its notes are not Python warnings."""
    return evaluate(run, device="cpu", workers=0, say=lambda _: None, **options)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    return write_birds(tmp_path / "birds")


@pytest.fixture
def run(birds: Path, tmp_path: Path) -> Path:
    return train(str(birds), tmp_path / "run")


def test_a_picture_that_split_json_names_twice_does_not_count_twice(run: Path) -> None:
    """One bit makes another picture's name of w02.jpg."""
    file, names = run / "split.json", splits(run)
    names["val"][1] = names["val"][0]
    file.write_text(json.dumps(names))
    with pytest.raises(DataError, match=r"split\.json: damaged \(val names '.*' twice"):
        scored(run)


def test_unchanged_data_give_the_run_s_own_scores_and_no_remark(run: Path) -> None:
    told = json.loads((run / "result.json").read_text())["metrics"]
    found = scored(run)
    assert found["metrics"]["loss"] == pytest.approx(told["loss"], abs=1e-3)
    assert (found["images"], found["trained_on"], found["changes"]) == (4, 0, {})
    assert found["notes"] == []
    assert found["metrics"]["top1"] == told["top1"]


@pytest.mark.parametrize("name", ["a", "z"])  # before and after the others
def test_pictures_that_were_added_are_not_scored(
    run: Path, birds: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(7):
        write_picture(birds / "owl" / f"{name}{k}.jpg", seed=500 + k)
    before = json.loads((run / "result.json").read_text())["metrics"]
    found = scored(run)
    assert (found["images"], found["changes"]) == (4, {"new": 7})
    assert found["metrics"]["loss"] == pytest.approx(before["loss"], abs=1e-3)
    assert main(["eval", str(run), "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert "val: 4 pictures" in shown.out and "7 new pictures are not scored: owl/" in shown.err
    assert main(["eval", str(run), "--device", "cpu", "--json", "-q"]) == 0
    shown = capsys.readouterr()
    assert "7 new pictures" in json.loads(shown.out)["notes"][0] and not shown.err


def test_a_new_class_does_not_stand_in_the_way(run: Path, birds: Path) -> None:
    write_birds(birds, 3, names=("kite",))
    assert scored(run)["changes"] == {"new": 3}


def test_pictures_that_are_gone_are_counted_and_named(run: Path, birds: Path) -> None:
    first, *others = splits(run)["val"]
    (birds / first).unlink()
    found = scored(run)
    assert (found["images"], found["changes"]) == (3, {"gone": 1})
    assert found["notes"] == [f"1 picture of val is gone: {first}"]
    for name in others:
        (birds / name).unlink()
    with pytest.raises(DataError, match=f"none of the 4 pictures of val is there .* {first}"):
        scored(run)


def test_a_picture_under_another_class_is_scored_as_what_it_is_now(run: Path, birds: Path) -> None:
    name = next(name for name in splits(run)["val"] if name.startswith("owl"))
    moved = f"wren/{Path(name).name}"
    (birds / name).rename(birds / moved)
    write_picture(birds / "wren" / "new.jpg", seed=900)
    found = scored(run)
    assert (found["images"], found["trained_on"]) == (4, 0)
    assert found["changes"] == {"new": 1, "moved": 1, "relabelled": 1}
    assert f"1 picture of val has another name now: {name} is {moved}" in found["notes"]
    assert found["metrics"]["per_class"]["wren"]["n"] == 3


def test_changed_pictures_and_labels_are_told(birds: Path, tmp_path: Path) -> None:
    files = [f"{p.parent.name}/{p.name}" for p in sorted(birds.glob("*/*.jpg"))]
    table = tmp_path / "birds.csv"

    def write(other: str = "") -> None:
        rows = [f"birds/{f},{'wren' if f == other else f.partition('/')[0]}" for f in files]
        table.write_text("\n".join(["path,label", *rows]) + "\n")

    write()
    run = train(str(table), tmp_path / "run")
    one, two, *_ = sorted(splits(run)["val"])
    write_picture(tmp_path / two, seed=901)
    write(one.removeprefix("birds/"))
    found = scored(run)
    assert (found["images"], found["changes"]) == (4, {"changed": 1, "relabelled": 1})
    assert found["notes"] == [
        f"1 picture of val has changed since the run was trained: {two}",
        f"1 picture of val has other labels than when the run was trained: {one}",
    ]
    (run / "pictures.npz").unlink()  # an older run can only say that there is something
    (line,) = scored(run)["notes"]
    assert line.startswith("the data are not as this run recorded them")


def test_the_val_folder_of_the_data_may_grow_too(tmp_path: Path) -> None:
    data = tmp_path / "set"
    write_birds(data / "train", 6)
    write_birds(data / "val", 3, first=20)
    run = train(str(data), tmp_path / "run")
    write_birds(data / "train", 5, first=40)
    assert scored(run)["changes"] == {}  # nothing that was added belongs to val
    write_birds(data / "val", 2, first=60)
    found = scored(run)
    assert (found["images"], found["changes"]) == (6, {"new": 4})
    assert scored(run, split="train")["changes"] == {"new": 10}
    write_birds(data / "test", 2, first=80)  # a split that the run did not know
    found = scored(run, split="test")
    assert (found["images"], found["trained_on"], found["notes"]) == (4, 0, [])
    with pytest.raises(DataError, match="no 'dev' split"):
        scored(run, split="dev")


def test_with_a_limit_no_picture_is_called_new(birds: Path, tmp_path: Path) -> None:
    run = train(str(birds), tmp_path / "run", limit=3)
    assert scored(run)["notes"] == []
    found = scored(run, split="val")
    assert (found["images"], found["changes"]) == (3, {})
    write_birds(birds, 2, first=70)
    (line,) = scored(run)["notes"]
    assert line.startswith("the data are not as this run recorded them")


def test_training_pictures_are_scored_with_a_warning(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scored(run, split="train")
    assert (found["images"], found["trained_on"]) == (16, 16)
    assert found["notes"] == ["warning: all 16 pictures were trained on"]
    assert main(["eval", str(run), "--split", "train", "--device", "cpu", "-q"]) == 0
    assert "all 16 pictures were trained on" in capsys.readouterr().err
    with pytest.warns(RuntimeWarning, match="all 16 pictures were trained on"):
        xfer.evaluate(run, split="train", device="cpu", workers=0)


def test_a_run_without_val_is_scored_on_what_it_was_trained_on(birds: Path, tmp_path: Path) -> None:
    run = train(str(birds), tmp_path / "run", val="none")
    found = scored(run)
    assert (found["split"], found["trained_on"]) == ("train", 20)


def csv_of(birds: Path) -> str:
    table = birds.parent / "table.csv"
    files = sorted(birds.glob("*/*.jpg"))
    rows = [f"{p.relative_to(birds.parent).as_posix()},{p.parent.name}" for p in files]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    return str(table)


def copy_of(birds: Path) -> str:
    """The pictures in another folder, under other names; the old folder is gone."""
    for k, file in enumerate(sorted(birds.glob("*/*.jpg"))):
        place = birds.parent / "elsewhere" / file.parent.name / f"copy {k}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    shutil.rmtree(birds)
    return str(birds.parent / "elsewhere")


def link_to(birds: Path) -> str:
    (birds.parent / "link").symlink_to(birds, target_is_directory=True)
    return str(birds.parent / "link")


@pytest.mark.parametrize(
    ("other", "recorded"),
    [(str, True), (str, False), (csv_of, True), (csv_of, False), (copy_of, True), (link_to, True),
     (link_to, False)],
)  # fmt: skip
def test_other_data_are_compared_with_what_was_trained_on(
    run: Path, birds: Path, other: Any, recorded: bool
) -> None:
    data = other(birds)
    if not recorded:  # as in a run from before there was the file
        (run / "pictures.npz").unlink()
    found = scored(run, data=data)
    assert (found["images"], found["trained_on"]) == (20, 16)
    warning = next(note for note in found["notes"] if "trained on" in note)
    assert warning.startswith("warning: 16 of the 20 pictures were trained on")
    flag = "without --data" if other is str else "with --split val"
    hint = f"; {flag} the val split of the run is scored"
    assert warning.endswith(hint) == (recorded or other is not csv_of)


@pytest.mark.parametrize("renamed", [False, True])
def test_the_split_of_a_run_is_found_in_data_that_have_moved(
    run: Path, birds: Path, renamed: bool
) -> None:
    before = json.loads((run / "result.json").read_text())["metrics"]
    moved = copy_of(birds) if renamed else str(birds.rename(birds.parent / "moved"))
    write_birds(Path(moved), 2, first=70)
    found = scored(run, data=moved, split="val")
    assert (found["split"], found["images"], found["trained_on"]) == ("val", 4, 0)
    assert found["metrics"]["loss"] == pytest.approx(before["loss"], abs=1e-3)
    assert found["changes"]["moved" if renamed else "new"] == 4
    other = write_birds(Path(moved).parent / "other", 3, first=50)
    with pytest.raises(DataError, match="none of the 4 pictures of val"):
        scored(run, data=str(other), split="val")


@pytest.mark.parametrize("recorded", [True, False])
def test_a_table_that_is_put_beside_the_pictures_changes_nothing(
    run: Path, birds: Path, recorded: bool
) -> None:
    if not recorded:
        environment = json.loads((run / "env.json").read_text())
        assert environment.pop("data_format") == "folder"
        (run / "env.json").write_text(json.dumps(environment))
    rows = [f"{p.relative_to(birds).as_posix()},{p.stat().st_size % 2}"
            for p in sorted(birds.glob("*/*.jpg"))]  # fmt: skip
    (birds / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    with pytest.raises(XferError, match="several ways"):
        open_data(str(birds))
    found = scored(run)
    assert (found["images"], found["notes"]) == (4, [])


def test_a_folder_above_or_below_is_compared_as_well(tmp_path: Path) -> None:
    data = tmp_path / "set"
    write_birds(data / "train", 6)
    write_birds(data / "val", 3, first=20)
    run = train(str(data), tmp_path / "run")
    assert scored(run, data=str(data / "train"))["trained_on"] == 12
    assert scored(run, data=str(data / "val"))["trained_on"] == 0
    below = train(str(data / "train"), tmp_path / "below")
    found = scored(below, data=str(data))
    assert (found["split"], found["trained_on"]) == ("val", 0)
    assert scored(below, data=str(data), split="train")["trained_on"] == 10


def test_a_picture_that_was_edited_in_place_was_trained_on_all_the_same(
    run: Path, birds: Path
) -> None:
    write_picture(birds / splits(run)["train"][0], seed=902)
    assert scored(run, data=str(birds))["trained_on"] == 16


def test_other_pictures_are_scored_without_a_warning(run: Path, tmp_path: Path) -> None:
    other = write_birds(tmp_path / "other", 3, first=50)  # also called owl/o50.jpg
    found = scored(run, data=str(other))
    assert (found["images"], found["trained_on"]) == (6, 0)
    assert not [note for note in found["notes"] if "trained on" in note]
    same_names = tmp_path / "same names"
    for name in splits(run)["train"]:
        write_picture(same_names / name, seed=sum(name.encode()) + 1000)
    assert scored(run, data=str(same_names))["trained_on"] == 0


def test_the_run_s_own_folder_is_known_however_it_is_written(
    run: Path, birds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(birds.parent)
    assert main(["eval", str(run), "--data", "birds", "--device", "cpu"]) == 0
    shown = capsys.readouterr().err
    assert "16 of the 20 pictures were trained on; without --data the val split of" in shown


def test_it_is_said_where_nothing_can_be_compared(run: Path, birds: Path, tmp_path: Path) -> None:
    other = write_birds(tmp_path / "other", 3, first=50)
    (run / "pictures.npz").unlink()
    shutil.rmtree(birds)
    found = scored(run, data=str(other))
    assert found["trained_on"] is None
    assert any("can't be told" in note for note in found["notes"])
    again = write_birds(tmp_path / "again")  # only the names are left to compare
    found = scored(run, data=str(again))
    assert found["trained_on"] == 16
    assert any("16 of the 20 pictures have the names of" in note for note in found["notes"])


def test_a_pack_of_the_training_pictures_is_known_by_their_names(
    run: Path, birds: Path, tmp_path: Path
) -> None:
    pack(str(birds), tmp_path / "pack")
    found = scored(run, data=str(tmp_path / "pack"))
    assert (found["images"], found["trained_on"]) == (20, 16)
    assert any("16 of the 20 pictures have the names of pictures that were" in note
               for note in found["notes"])  # fmt: skip


def test_data_in_memory_are_the_run_s_own_if_they_are_the_same(tmp_path: Path) -> None:
    images = np.stack([noise(k) for k in range(20)])
    labels = ["owl", "wren"] * 10
    run = train((images, labels), tmp_path / "run")
    val = splits(run)["val"]
    found = scored(run, data=(images, labels))
    assert (found["split"], found["images"], found["trained_on"]) == ("val", len(val), 0)
    fewer = scored(run, data=(images[5:], labels[5:]))
    trained = len([name for name in splits(run)["train"] if int(name) >= 5])
    assert (fewer["images"], fewer["trained_on"]) == (15, trained)
    new = np.stack([noise(k) for k in range(200, 204)])
    assert scored(run, data=(new, labels[:4]))["trained_on"] == 0


def test_a_split_too_large_to_list_is_drawn_again(
    birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "LISTED", 3)
    run = train(str(birds), tmp_path / "run")
    assert splits(run)["val"]["images"] == 4
    assert scored(run)["notes"] == []
    write_birds(birds, 5, first=70)
    (line,) = scored(run)["notes"]
    assert line.startswith("warning: the data have changed since the run was trained, so that some")


def test_an_older_run_keeps_its_split(birds: Path, tmp_path: Path) -> None:
    run = train(str(birds), tmp_path / "run", seed=3, data__split_seed=3)
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(re.sub(r"(?m)^split_seed = .*\n", "", recipe))
    (run / "pictures.npz").unlink()
    assert scored(run)["notes"] == []
    (run / "split.json").unlink()  # then it is drawn again, by the run's seed
    found = scored(run)
    assert (found["images"], found["notes"]) == (4, [])
    write_birds(birds, 5, first=70)
    assert "may have been trained on" in scored(run)["notes"][0]


def test_a_damaged_record_is_named(run: Path) -> None:
    content = bytearray((run / "pictures.npz").read_bytes())
    content[len(content) // 2] ^= 0x40
    (run / "pictures.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"pictures\.npz: damaged"):
        scored(run)


def test_the_record_holds_a_number_for_each_picture(run: Path, birds: Path) -> None:
    with np.load(run / "pictures.npz", allow_pickle=False) as arrays:
        marks = np.concatenate([arrays["train_marks"], arrays["val_marks"]])
        truths = np.concatenate([arrays["train_truths"], arrays["val_truths"]])
    assert len(set(marks.tolist())) == 20 and 0 not in marks
    assert len(set(truths.tolist())) == 2
    assert open_data(str(birds)).split_json() == splits(run)


def test_a_run_is_not_resumed_on_other_pictures(birds: Path, tmp_path: Path) -> None:
    run = train(str(birds), tmp_path / "run")
    (run / "result.json").unlink()
    write_birds(birds, 2, first=70)
    (birds / splits(run)["train"][0]).unlink()
    changed = "has changed since the run was started: 4 new pictures, 1 gone"
    with pytest.raises(DataError, match=changed):
        xfer.finetune(resume=run, verbosity=-1)


def listed_birds(tmp_path: Path) -> tuple[Path, list[str]]:
    """The csv that lists a folder of birds, and its rows."""
    data = write_birds(tmp_path / "birds")
    table = data / "list.csv"
    rows = [f"{n}/{n[0]}{k:02d}.jpg,{n}" for n in NAMES for k in range(10)]
    table.write_text("file,bird\n" + "\n".join(rows) + "\n")
    return table, rows


def test_pictures_of_a_renamed_folder_are_not_new(tmp_path: Path) -> None:
    table, _ = listed_birds(tmp_path)
    data = table.parent
    run = train(f"csv:{table}", tmp_path / "run")
    (data / "owl").rename(data / "eagle owl")
    table.write_text(table.read_text().replace("owl/", "eagle owl/"))
    write_picture(data / "wren" / "late.jpg", seed=9_000)
    table.write_text(table.read_text() + "wren/late.jpg,wren\n")
    assert scored(run)["changes"] == {"moved": 2, "new": 1}


def test_pictures_in_another_split_now_are_not_called_gone(tmp_path: Path) -> None:
    table, rows = listed_birds(tmp_path)
    run = train(f"csv:{table}", tmp_path / "run")
    val = splits(run)["val"]
    parts = ["test" if row.startswith(val[0]) else "train" for row in rows]
    text = "\n".join(f"{row},{part}" for row, part in zip(rows, parts, strict=True))
    table.write_text(f"file,bird,split\n{text}\n")
    found = scored(run)
    assert (found["images"], found["changes"]) == (len(val) - 1, {"elsewhere": 1})
    assert (
        f"1 picture of val is in another split of the data now, and is not scored: {val[0]}"
        in (found["notes"])
    )


def test_data_that_have_moved_are_asked_for(run: Path, birds: Path) -> None:
    birds.rename(birds.with_name("elsewhere"))
    with pytest.raises(DataError, match="no such file") as caught:
        scored(run)
    assert caught.value.hint == "if the data have moved: --data PLACE --split val"


def test_a_class_that_is_declared_alone_does_not_stop_the_scoring(tmp_path: Path) -> None:
    write_coco(tmp_path, pictures=3)
    path = next(tmp_path.rglob("*.json"))
    document = json.loads(path.read_text())
    own = tuple(c["name"] for c in document["categories"])
    document["categories"].append({"id": 777, "name": "kite"})
    path.write_text(json.dumps(document))
    source = open_data(f"coco:{path}", classes=own, cut=False).splits["train"]
    assert source.info.classes == own
    document["annotations"][0]["category_id"] = 777
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="the model does not have: kite"):
        open_data(f"coco:{path}", classes=own, cut=False)
