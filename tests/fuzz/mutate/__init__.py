"""Files made wrong: a mutation takes a file's bytes and random numbers, and gives other bytes."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from random import Random

from fuzz.case import Case
from fuzz.mutate.arrays import array
from fuzz.mutate.packed import gzipped, mat, png, tar
from fuzz.mutate.pickled import opcodes
from fuzz.mutate.raw import anyhow, spliced
from fuzz.mutate.text import cells, lines, tags
from fuzz.mutate.unfit import Unfit
from fuzz.mutate.values import json_lines, json_values, toml_values
from fuzz.mutate.zipped import members

Mutation = Callable[[bytes, Random], bytes]

# ending -> the mutations that know its form; those by bytes are made as well
MUTATORS: dict[str, tuple[Mutation, ...]] = {
    ".json": (json_values,), ".jsonl": (json_lines, lines), ".toml": (toml_values, lines),
    ".npz": (members,), ".npy": (array,), ".pth": (members, opcodes), ".pkl": (opcodes,),
    ".skops": (members,), ".zip": (members,), ".csv": (cells, lines), ".tsv": (cells, lines),
    ".txt": (lines, cells), ".xml": (tags, lines), ".yaml": (lines,), ".yml": (lines,),
    ".png": (png,), ".tar": (tar,), ".gz": (gzipped,), ".tgz": (gzipped,), ".mat": (mat,),
}  # fmt: skip


def by_form(name: str, content: bytes, rng: Random) -> bytes:
    """One mutation of a file, by a mutation that knows its form or by bytes."""
    known = MUTATORS.get(PurePosixPath(name).suffix.lower(), ())
    if known and rng.random() < 0.7:
        try:
            return rng.choice(known)(content, rng)
        except (Unfit, RecursionError, ArithmeticError, LookupError, ValueError):
            pass  # an input that was mutated before may be cut anywhere and hold any number
    return anyhow(content, rng)


def mutated(case: Case, corpus: Sequence[Case], keep: Sequence[str], rng: Random) -> Case:
    """A case with one or several of its files made wrong, sometimes missing, empty or swapped."""
    names = [n for n in case if not any(fnmatch.fnmatch(n, one) for one in keep)]
    names = names or list(case)  # of a kept case that has lost all others
    result = dict(case)
    for _ in range(1 if rng.random() < 0.7 else rng.randint(2, 5)):
        name = rng.choice(names)
        draw = rng.random()
        if len(names) > 1 and draw < 0.02:
            result.pop(name, None)
        elif len(names) > 1 and draw < 0.04:
            result[name] = result.get(rng.choice(names), b"")
        elif draw < 0.1:
            other = rng.choice(corpus)
            result[name] = spliced(result.get(name, b""), rng.choice(list(other.values())), rng)
        else:
            result[name] = by_form(name, result.get(name, b""), rng)
    return result or dict(case)
