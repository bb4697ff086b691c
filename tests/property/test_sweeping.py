"""Accounts of a sweep are those of ledgers, byte for byte, whatever the policies, prices, actions and cuts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.sweep import Sweep
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Bars
from tests.support.effort import examples

POLICIES = st.builds(
    Policy,
    initial_cash=st.sampled_from([10_000.0, 1.0, 777.77]),
    fee_bps=st.sampled_from([0.0, 10.0, 500.0, 1000.0]),
    slippage_bps=st.sampled_from([0.0, 3.0]),
    side=st.sampled_from(["long-flat", "long-short"]),
    weight=st.sampled_from([1.0, 0.3, 1e-10]),
    fill=st.sampled_from(["signal", "next"]),
)


class Given:
    """A family whose actions are known."""

    def __init__(self, actions: Int8Array) -> None:
        self._actions, self._done = actions, 0

    def advance(self, bars: Bars, actions: Int8Array) -> None:
        actions[:] = self._actions[:, self._done : self._done + len(bars)]
        self._done += len(bars)


@settings(max_examples=examples(120))
@given(
    policies=st.lists(POLICIES, min_size=1, max_size=19),
    seed=st.integers(0, 9_999),
    n=st.integers(1, 1_400),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.9]),
    volatility=st.sampled_from([0.001, 0.02, 0.5]),  # the last ruins shorts
    cuts=st.lists(st.integers(0, 1_400), max_size=5),
)
def test_every_account_is_a_ledgers(policies, seed, n, density, volatility, cuts) -> None:
    draws = np.random.default_rng(seed)
    close = np.clip(100.0 * np.exp(np.cumsum(draws.normal(0.0, volatility, n))), 1e-3, 1e9)
    stamps = np.cumsum(draws.integers(1, 10**9, n))
    shape = (len(policies), n)
    actions = np.where(draws.random(shape) < density, draws.choice([-1, 1], shape), 0).astype(np.int8)
    sweep, bars = Sweep(Given(actions), policies), Bars.of_closes(stamps, close)
    edges = sorted({0, n, *(cut for cut in cuts if cut < n)})
    for begin, end in pairwise(edges):
        sweep.advance(bars.slice(begin, end))
        sweep.accounts()  # looking at them changes nothing
    for policy, row, account in zip(policies, actions, sweep.accounts(), strict=True):
        ledger = Ledger(policy)
        ledger.ensure_symbols(1)
        ledger.run(stamps, np.zeros(n, np.int32), row, close)
        assert account.tobytes() == ledger.account.tobytes()


def test_more_bars_than_are_worked_on_at_once_and_columns_that_cannot_be_written() -> None:
    draws = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(draws.normal(0.0, 0.01, 10_000)))
    stamps = np.arange(1, 10_001, dtype=np.int64) * 60_000_000
    close.setflags(write=False)
    stamps.setflags(write=False)
    strategies = [SmaCrossover(fast, slow) for fast in (2, 5, 9) for slow in (20, 33, 70)]
    bars = Bars.of_closes(stamps, close)
    sweep = Sweep(strategies, [Policy(fee_bps=float(number)) for number in range(9)])
    sweep.advance(bars)
    for number, (strategy, account) in enumerate(zip(strategies, sweep.accounts(), strict=True)):
        ledger = Ledger(Policy(fee_bps=float(number)))
        ledger.ensure_symbols(1)
        ledger.run(stamps, np.zeros(10_000, np.int32), strategy.actions(bars), close)
        assert account.tobytes() == ledger.account.tobytes()


@pytest.mark.parametrize(
    ("close", "stamps", "field", "row"),
    [
        ([1.0, float("nan"), 2.0], [10, 11, 12], "price", 1),
        ([1.0, 0.0, 2.0], [10, 11, 12], "price", 1),
        ([1.0, 2.0, float("inf")], [10, 11, 12], "price", 2),
        ([1.0, 2.0, 3.0], [10, 12, 12], "timestamp", 2),
        ([1.0, 2.0, 3.0], [5, 12, 13], "timestamp", 0),
    ],
)
def test_bars_that_cannot_be_are_refused_by_row_and_change_nothing(close, stamps, field, row) -> None:
    sweep = Sweep([SmaCrossover(1, 2)], [Policy()])
    sweep.advance(Bars.of_closes(np.array([1, 5]), np.array([1.0, 2.0])))
    before = sweep.accounts()
    with pytest.raises(InvalidField) as refusal:
        sweep.advance(Bars.of_closes(np.array(stamps), np.array(close)))
    assert (refusal.value.fields["field"], refusal.value.fields["row"]) == (field, row)
    assert sweep.accounts().tobytes() == before.tobytes()


def test_nothing_to_do_is_done() -> None:
    nobody = Sweep([], [])
    nobody.advance(Bars.of_closes(np.array([1, 2]), np.array([1.0, 2.0])))
    assert nobody.accounts().shape == (0, ACCOUNT_SIZE)
    with pytest.raises(InvalidField, match="as many as policies"):
        Sweep([SmaCrossover(1, 2)], [])


GUARDED = st.builds(
    Policy,
    fee_bps=st.sampled_from([0.0, 10.0]),
    slippage_bps=st.sampled_from([0.0, 3.0]),
    side=st.sampled_from(["long-flat", "long-short"]),
    fill=st.sampled_from(["signal", "next"]),
    min_confidence=st.sampled_from([0.0, 0.5]),
    stop_bps=st.sampled_from([0.0, 50.0, 400.0]),
    take_bps=st.sampled_from([0.0, 50.0, 800.0]),
    trail_bps=st.sampled_from([0.0, 60.0, 500.0]),
)


@settings(max_examples=examples(120))
@given(
    policies=st.lists(GUARDED, min_size=1, max_size=11),
    seed=st.integers(0, 9_999),
    n=st.integers(1, 1_400),
    density=st.sampled_from([0.003, 0.05, 0.9]),
    volatility=st.sampled_from([0.0005, 0.003, 0.05]),
    follows=st.booleans(),
    ranges=st.booleans(),
    cuts=st.lists(st.integers(0, 1_400), max_size=4),
)
def test_every_account_with_brackets_is_a_ledgers(
    policies, seed, n, density, volatility, follows, ranges, cuts
) -> None:
    draws = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(draws.normal(0.0, volatility, n)))
    wide = np.exp(np.abs(draws.normal(0.0, volatility, (2, n)))) if ranges else np.ones((2, n))
    stamps = np.cumsum(draws.integers(1, 10**9, n))
    signals = np.where(
        draws.random(n) < density, draws.choice([-1, 1, 2] if follows else [-1, 1], n), 0
    ).astype(np.int8)
    # Some configurations do something else than the signals ask for, as an agent would.
    actions = np.where(draws.random((len(policies), n)) < 0.9, signals, 0).astype(np.int8)
    values = np.full((n, 6), np.nan)
    said = draws.random((n, 6)) < 0.4
    values[:, 0], values[:, 3], values[:, 4] = 0.5, 120.0, draws.random(n)
    values[:, 1], values[:, 2] = close * (1.0 - 0.004 * signals), close * (1.0 + 0.006 * signals)
    values[:, 5] = stamps + 10**10
    values[~said] = np.nan
    bars = Bars(stamps, close, close * wide[0], close / wide[1], close, np.full(n, np.nan))
    terms = SignalTerms(values if follows else None, bars.high, bars.low)

    sweep = Sweep(Given(actions), policies, follows=follows)
    for begin, end in pairwise(sorted({0, n, *(cut for cut in cuts if cut < n)})):
        sweep.advance(bars.slice(begin, end), signals[begin:end], terms.slice(begin, end))
    for policy, row, account in zip(policies, actions, sweep.accounts(), strict=True):
        ledger = Ledger(policy)
        ledger.ensure_symbols(1)
        ledger.run(stamps, np.zeros(n, np.int32), row, close, terms=terms.done(signals, row))
        assert account.tobytes() == ledger.account.tobytes()
