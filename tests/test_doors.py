"""Files that are nested without end, too long, or hold other types than are due."""

from __future__ import annotations

import json
import pickle
import sqlite3
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from xfer.cache import Cache
from xfer.errors import DataError
from xfer.files import check_fields, json_of
from xfer.proposals.files import read_proposals
from xfer.recipe.toml import load_recipe
from xfer.runs.json_files import read_events
from xfer.runs.listing import read_json

ZEROS = np.zeros(1 << 16, np.float32)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ('{"a": ' * 3000 + "1" + "}" * 3000, "nested too deeply"),
        ("9" * 5000, "not valid JSON"),
        ('{"a": 1', "not valid JSON"),
    ],
)
def test_json_beyond_reading_is_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"a\.json: .*{says}"):
        json_of(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (".".join("a" * 50_000) + " = 1", "a key of more than 100 parts"),
        ("x = {" + ".".join("a" * 5_000) + " = 1}", "a key of more than 100 parts"),
        ("[" + ".".join("a" * 50_000) + "]", "a key of more than 100 parts"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 5000, "too many digits"),
        ('extends = "\\u0000"', "no name of a file"),
        ("# " + "a" * (1 << 20), "bytes, where at most"),
    ],
)
def test_toml_beyond_reading_is_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"(?s)a\.toml.*{says}"):
        load_recipe(str(file))


def test_dots_in_values_are_no_keys(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    area = ", ".join(["0.5"] * 200)
    file.write_text(f"# {'.' * 300}\n[task]\nx = [{area}]\n")
    assert load_recipe(str(file)).task_options["x"][0] == 0.5


def test_fields_of_other_types_are_named() -> None:
    assert check_fields("f", {"a": 1, "b": 2}, {"a": int}, {"c": str}) == {"a": 1, "b": 2}
    for content, says in (
        ([], "f: damaged .a list where a table is due"), ({}, "it lacks a"),
        ({"a": "x"}, "a is 'x'"), ({"a": 1, "c": ["y" * 99]}, r"c is \['yyy.* \.\.\."),
    ):  # fmt: skip
        with pytest.raises(DataError, match=says):
            check_fields("f", content, {"a": int}, {"c": str})


def test_a_run_s_files_have_the_types_that_runs_write(tmp_path: Path) -> None:
    for name, content in (
        ("result.json", {"metrics": []}), ("result.json", {"primary": ["top1"]}),
        ("result.json", []), ("split.json", {"val": [1]}), ("split.json", {"val": {}}),
        ("env.json", {"data_notes": "a"}),
    ):  # fmt: skip
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(DataError, match=f"{name}: damaged"):
            read_json(tmp_path / name)
    log = tmp_path / "log.jsonl"
    rows = [
        '{"event": "eval", "step": 1, "metrics": {}}',
        "[" * 9999,
        '{"event": "eval", "step": {}}',
        '{"eve',
    ]
    log.write_text("\n".join(rows))
    assert read_events(log) == [{"event": "eval", "step": 1, "metrics": {}}]
    assert read_events(tmp_path / "none") == []


def test_a_cache_with_views_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "private" / "v1.sqlite"
    file.parent.mkdir(mode=0o700)
    base = sqlite3.connect(file)
    base.execute("CREATE VIEW entries AS SELECT 1 AS id, x'00' AS key, x'00' AS value")
    base.close()
    lines: list[str] = []
    cache = Cache(file, 1 << 20, lines.append)
    cache.keep({b"a" * 32: ZEROS[:4]})
    assert not cache.find([b"a" * 32])
    assert len(lines) == 1 and "no longer cached" in lines[0]
    assert "free some space" not in lines[0]  # the disk is not to blame


def test_a_pickle_asks_for_no_more_memory_than_it_has(tmp_path: Path) -> None:
    arrays = {"boxes": [np.array([[1, 2, 3, 4]], np.float32)], "ids": ["a"]}
    content = pickle.dumps(arrays, protocol=5)
    at = content.index(b"\x96") + 1
    for broken in (
        content[:at] + (1 << 40).to_bytes(8, "little") + content[at + 8 :],
        b"\x80\x04]r\xff\xff\xff\x7f.",  # a place in the memo
    ):
        (tmp_path / "p.pkl").write_bytes(broken)
        tracemalloc.start()
        with pytest.raises(DataError, match=r"p\.pkl"):
            read_proposals(tmp_path / "p.pkl")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 24
    (tmp_path / "p.pkl").write_bytes(content)
    assert len(read_proposals(tmp_path / "p.pkl").ids) == 1
