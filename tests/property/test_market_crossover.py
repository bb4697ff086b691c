"""The streaming crossover is the vectorised one, bar by bar, wherever it is interrupted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.instants import DAY_US
from raysignal.engine.market.crossover import Crossing, Crossover
from tests.support.market_bars import bar

CLOSES = st.lists(st.one_of(st.integers(1, 5), st.integers(10**9, 10**9 + 3)), max_size=120)
WINDOWS = st.tuples(st.integers(1, 6), st.integers(1, 8)).map(lambda pair: (pair[0], sum(pair)))


def vectorised(closes, fast, slow):
    """(bar, action) of every crossing, from cumulative sums of int64."""
    total = np.concatenate([[0], np.cumsum(np.asarray(closes, np.int64))])
    if len(closes) < slow:
        return []
    ends = np.arange(slow, len(closes) + 1)
    sign = np.sign((total[ends] - total[ends - fast]) * slow - (total[ends] - total[ends - slow]) * fast)
    at, sides = ends[sign != 0] - 1, sign[sign != 0]
    turned = np.flatnonzero(np.diff(sides)) + 1
    return list(zip(at[turned].tolist(), sides[turned].tolist(), strict=True))


@given(CLOSES, WINDOWS)
def test_on_every_prefix_it_has_made_the_crossings_of_the_vectorised_one(closes, windows):
    crossover, made = Crossover(DAY_US, *windows), []
    for number, close in enumerate(closes):
        step = crossover.take(bar(number, close))
        if isinstance(step, Crossing):
            made.append((number, int(step.action)))
        assert made == vectorised(closes[: number + 1], *windows)


@given(CLOSES, WINDOWS, st.integers(1, 30))
def test_resumed_from_stored_bars_at_any_place_it_makes_the_same_crossings(closes, windows, every):
    bars = [bar(number, close) for number, close in enumerate(closes)]
    crossover, made = Crossover(DAY_US, *windows), []
    for number, item in enumerate(bars):
        if number and number % every == 0:
            progress = crossover.progress
            crossover = Crossover(DAY_US, *windows)
            crossover.resume(
                progress, [b for b in bars if progress.first_us <= b.open_us <= progress.last_us]
            )
        step = crossover.take(item)
        if isinstance(step, Crossing):
            made.append((number, int(step.action)))
    assert made == vectorised(closes, *windows)
