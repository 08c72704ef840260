"""Work in parts: which part a process does, the folder they fill, and features joined from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.extraction.join import join
from xfer.extraction.parquet import read_parquet
from xfer.extraction.store import read_features
from xfer.parts.part import Part, dealt, parse_part

NET = ["--backbone", "tiny_nets:tiny", "--weights", "none", "--layer", "conv2"]
FEATURES = ["features", *NET, "--data", "digits"]
SMALL = [*FEATURES, "--limit", "40", "--batch", "8", "--device", "cpu", "-q"]


@given(st.lists(st.integers(0, 60), max_size=4), st.integers(1, 9), st.integers(1, 12))
def test_parts_cover_every_row_once_and_cut_no_batch(
    counts: list[int], batch: int, many: int
) -> None:
    ranges = [Part(i, many).rows(counts, batch) for i in range(many)]
    for k, count in enumerate(counts):
        assert [row for own in ranges for row in own[k]] == list(range(count))
        assert all(own[k].start % batch == 0 for own in ranges if own[k])
    batches = [sum(-(-len(rows) // batch) for rows in own) for own in ranges]
    assert max(batches) - min(batches) <= 1


@given(st.integers(0, 80), st.integers(1, 9), st.integers(1, 5))
def test_processes_share_whole_batches(count: int, batch: int, world: int) -> None:
    shares = [dealt(count, batch, rank, world).tolist() for rank in range(world)]
    assert sorted(row for share in shares for row in share) == list(range(count))
    assert all(len({row // batch for row in share[k : k + batch]}) == 1
               for share in shares for k in range(0, len(share), batch))  # fmt: skip


ARRAY = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "5",
         "SLURM_ARRAY_TASK_STEP": "2"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told", "part"),
    [
        ("1/3", {"RANK": "0", "WORLD_SIZE": "9"}, Part(1, 3)),
        ("auto", {"RANK": "2", "WORLD_SIZE": "4"}, Part(2, 4)),
        ("auto", {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, Part(1, 2)),
        ("auto", ARRAY, Part(1, 3)),
        ("auto", {**ARRAY, "SLURM_PROCID": "0"}, Part(1, 3)),  # the script itself, without srun
        ("auto", {**ARRAY, "RANK": "1", "WORLD_SIZE": "8"}, Part(9, 24)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "4"}, Part(4, 5)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "4", "RANK": "1", "WORLD_SIZE": "2"}, Part(9, 10)),
        ("auto", {"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "5"}, Part(4, 5)),
    ],
)
def test_a_part_is_given_or_told_by_what_starts_the_process(
    text: str, told: dict[str, str], part: Part
) -> None:
    assert parse_part(text, told) == part


@pytest.mark.parametrize(
    ("text", "told", "said"),
    [
        ("3/3", {}, "numbered from 0 to N-1"),
        ("0/0", {}, "numbered from 0"),
        ("-1/3", {}, "not a part"),
        ("1", {}, "not a part"),
        ("auto", {}, "RANK, SLURM_PROCID is set"),
        ("auto", {"JOB_COMPLETION_INDEX": "4"}, "not how many parts there are"),
        ("auto/3", {"RANK": "2", "WORLD_SIZE": "4"}, "tells of 4 processes"),
        ("0/999999", {}, "at most 100,000"),
    ],
)
def test_what_is_no_part_is_refused(text: str, told: dict[str, str], said: str) -> None:
    with pytest.raises(XferError, match=said):
        parse_part(text, told)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one.npz, and the same in parts/ of three files and in tables/ of two."""
    place = tmp_path_factory.mktemp("parts")
    assert main([*SMALL, "--no-cache", "-o", str(place / "one.npz")]) == 0
    for i in range(3):
        assert main([*SMALL, "--part", f"{i}/3", "-o", str(place / "parts")]) == 0
    for i in range(2):
        words = [*SMALL, "--format", "parquet", "--part", f"{i}/2", "-o", str(place / "tables")]
        assert main(words) == 0
    return place


@pytest.mark.parametrize("folder", ["parts", "tables"])
@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_joined_parts_equal_one_run(made: Path, folder: str, ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"joined{ending}"
    assert main(["features", "join", str(made / folder), "-o", str(out), "-q"]) == 0
    one = read_features(made / "one.npz")
    got = (read_features if ending == ".npz" else read_parquet)(out)
    for name in ("y", "ids", "classes", "splits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(got, name))
    assert list(one.layers) == list(got.layers) == ["conv2"]
    assert one.layers["conv2"].tobytes() == got.layers["conv2"].tobytes()
    known = {key: value for key, value in one.meta.items() if key not in ("format", "schema")}
    assert {key: got.meta.get(key) for key in known} == known and "part" not in got.meta


def state(folder: Path) -> list[tuple[str, int]]:
    return sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir())


def test_a_finished_part_is_not_done_again(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(made / "parts")
    assert main([*SMALL, "--part", "1/3", "-o", str(made / "parts"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 0
    assert state(made / "parts") == before
    assert before[-1][0] == "parts.json" and len(before) == 4  # nothing else is left behind


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--part 1/4", "holds parts of 3, not of 4"),
        ("--part 1/3 --pool avg", 'net.pool is "flatten" there, "avg" here'),
        ("--part 1/3 --seed 1", "seed is 0 there, 1 here"),
        ("--part 1/3 --format parquet", ""),
    ],
)
def test_parts_of_different_jobs_are_kept_apart(
    made: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another form of file is no other job."""
    code = main([*SMALL, *words.split(), "-o", str(made / "parts")])
    (made / "parts" / "part-00001.parquet").unlink(missing_ok=True)
    assert code == (2 if said else 0)
    assert said in capsys.readouterr().err


def test_no_file_and_no_format_without_a_part(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (["--part", "0/2", "-o", str(tmp_path / "f.npz")], "-o parts/"),
        (["--part", "0/2", "-o", str(made / "one.npz")], "-o parts/"),
        (["--format", "npz", "-o", str(tmp_path / "f.npz")], "--format is for --part"),
    ):
        assert main([*SMALL, *words]) == 2
        assert said in capsys.readouterr().err


def copied(made: Path, to: Path) -> Path:
    to.mkdir()
    for file in (made / "parts").iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_what_can_not_be_joined_is_told(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "parts")
    second = folder / "part-00001.npz"
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"part-00001\.npz: cut off") as caught:
        join(folder, tmp_path / "f.npz")
    assert caught.value.hint == "--part 1/N makes it again"
    second.unlink()
    with pytest.raises(DataError, match="part missing: 1/3"):
        join(folder, tmp_path / "f.npz")
    second.write_bytes((folder / "part-00002.npz").read_bytes())
    with pytest.raises(DataError, match="are both part 2/3"):
        join(folder, tmp_path / "f.npz")
    second.write_bytes((made / "one.npz").read_bytes())
    with pytest.raises(DataError, match="no part of a job"):
        join(folder, tmp_path / "f.npz")
    with pytest.raises(DataError, match="no part in it"):
        join(tmp_path, tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()


def test_a_part_that_can_not_be_read_is_made_again(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(made, tmp_path / "parts")
    (folder / "part-00001.npz").write_bytes(b"")
    assert main([*SMALL, "--part", "1/3", "-o", str(folder)]) == 0
    assert "part-00001.npz: not an .npz file: it is made again" in capsys.readouterr().err
    whole = (made / "parts" / "part-00001.npz", folder / "part-00001.npz")
    one, two = (read_features(file).layers["conv2"].tobytes() for file in whole)
    assert one == two


def test_more_parts_than_batches_leave_some_empty(tmp_path: Path) -> None:
    for i in range(4):
        words = ["--limit", "3", "--part", f"{i}/4", "-o", str(tmp_path / "parts")]
        assert main([*FEATURES, *words, "-q", "--device", "cpu"]) == 0
    joined = join(tmp_path / "parts", tmp_path / "f.npz")
    assert (joined.rows, joined.parts) == (len(read_features(tmp_path / "f.npz")), 4)
    assert joined.rows in (3, 6, 9)
