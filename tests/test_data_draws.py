"""Each picture's own random numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.data.loading.sample_rng import draws_of

LARGE = st.integers(0, 2**70)


@settings(deadline=None)
@given(LARGE, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 99))
def test_they_are_philox_by_key_and_counter(seed: int, epoch: int, index: int, again: int) -> None:
    counter = 0 + (index << 64) + (again << 128) + (seed >> 64 << 192)
    bits = np.random.Philox(counter=counter, key=seed % 2**64 + (epoch << 64))
    expected = np.random.Generator(bits)
    got = draws_of(seed, epoch, index, again)
    assert got.random(5).tolist() == expected.random(5).tolist()
    assert got.integers(7) == expected.integers(7)


def test_what_was_drawn_before_leaves_no_trace() -> None:
    first = draws_of(3, 1, 4).random(3).tolist()
    # half of a 64-bit number is kept for the next small one, unless it is set back
    draws_of(0, 0, 0).integers(5, dtype=np.uint32)
    assert draws_of(3, 1, 4).random(3).tolist() == first
    assert draws_of(3, 1, 4).integers(1 << 30) == draws_of(3, 1, 4).integers(1 << 30)


def test_each_of_the_four_matters_and_the_numbers_spread() -> None:
    places = [(s, e, i, a) for s in range(4) for e in range(4) for i in range(16) for a in (0, 1)]
    drawn = np.array([draws_of(*place).random(2) for place in places])
    assert len(np.unique(drawn)) == 2 * len(places)
    assert (
        abs(drawn.mean() - 0.5) < 0.03
        and abs(float((drawn[:, 0] * drawn[:, 1]).mean()) - 0.25) < 0.03
    )


def test_threads_have_their_own() -> None:
    def draw(i: int) -> list[float]:
        rng = draws_of(0, 0, i)
        return [rng.random() for _ in range(200)]

    inline = [draw(i) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(40))) == inline
