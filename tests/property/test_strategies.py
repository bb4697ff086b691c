"""Strategies: both sides say the same however bars are cut, and nobody sees a bar that is not there yet."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.market.crossover import Crossing, Crossover
from raysignal.engine.strategies import registry
from raysignal.engine.strategies.sma import SmaCrossover, SmaFamily
from raysignal.engine.strategies.strategy import Bars, IndependentFamily, family
from tests.support.effort import examples
from tests.support.market_bars import INSTRUMENT, bar

DAY_US = 86_400_000_000
KINDS = [
    ("sma", {"fast": 2, "slow": 5}), ("sma", {"fast": 7, "slow": 40}), ("breakout", {"window": 4}),
    ("rsi", {"window": 5, "low": 40.0, "high": 60.0}), ("macd", {"fast": 3, "slow": 7, "signal": 4}),
    ("bollinger", {"window": 6, "width": 1.0}), ("volatility", {"window": 5, "target": 0.012}),
]  # fmt: skip


def bars(seed: int, n: int, step: float = 0.01) -> Bars:
    """Closes on a grid, so that means touch; highs and lows around them."""
    draws = np.random.default_rng(seed)
    close = np.round(100.0 * np.exp(np.cumsum(draws.integers(-2, 3, n) * step / 2)), 1)
    spread = np.round(draws.uniform(0.0, 0.5, (2, n)), 1)
    stamps = np.arange(1, n + 1, dtype=np.int64) * DAY_US
    return Bars(stamps, close, close + spread[0], close - spread[1], close, np.full(n, 1.0))


@pytest.mark.parametrize(("name", "values"), KINDS)
@settings(max_examples=examples(40))
@given(seed=st.integers(0, 999), n=st.integers(1, 300), data=st.data())
def test_however_bars_are_cut_the_actions_are_the_same_and_a_prefix_is_a_prefix(
    name, values, seed, n, data
) -> None:
    strategy, all_bars = registry.make(name, values), bars(seed, n)
    whole = strategy.actions(all_bars)
    assert whole.dtype == np.int8
    assert set(whole.tolist()) <= {-1, 0, 1}
    assert not whole[: strategy.warm_up].any()
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=6)))
    stream, parts = strategy.stream(), []
    for begin, end in zip([0, *cuts], [*cuts, n], strict=True):
        parts.append(stream.advance(all_bars.slice(begin, end)))
    assert np.concatenate(parts).tolist() == whole.tolist()
    seen = data.draw(st.integers(0, n))
    assert strategy.actions(all_bars.slice(0, seen)).tolist() == whole[:seen].tolist()


@settings(max_examples=examples(30))
@given(seed=st.integers(0, 999), n=st.integers(1, 1_500), data=st.data())
def test_a_family_of_averages_says_what_each_of_them_says(seed, n, data) -> None:
    windows = st.tuples(st.integers(1, 60), st.integers(1, 90)).map(
        lambda pair: SmaCrossover(pair[0], sum(pair))
    )
    strategies = data.draw(st.lists(windows, min_size=1, max_size=8))
    all_bars = bars(seed, n)
    together, cut = family(strategies), data.draw(st.integers(0, n))
    assert isinstance(together, SmaFamily)
    found = np.ones((len(strategies), n), np.int8)
    together.advance(all_bars.slice(0, cut), found[:, :cut])
    together.advance(all_bars.slice(cut, n), found[:, cut:])
    for strategy, row in zip(strategies, found, strict=True):
        assert row.tolist() == strategy.actions(all_bars).tolist()
    singly = np.zeros_like(found)
    IndependentFamily(strategies).advance(all_bars, singly)
    assert singly.tolist() == found.tolist()


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 999), n=st.integers(1, 250), fast=st.integers(1, 12), more=st.integers(1, 25))
def test_the_crossover_of_a_sweep_is_the_crossover_of_a_feed(seed, n, fast, more) -> None:
    all_bars = bars(seed, n)
    live = Crossover(DAY_US, fast, fast + more)
    expected = []
    for number, close in enumerate(all_bars.close.tolist()):
        step = live.take(bar(number, int(Decimal(str(close)).scaleb(INSTRUMENT.price_decimals))))
        expected.append(int(step.action) if isinstance(step, Crossing) else 0)
    assert SmaCrossover(fast, fast + more).actions(all_bars).tolist() == expected
