"""The event-driven backtest against the vectorised one: where fills are the kernel's, the same trades, one by one."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.events import OrderFill
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.pipeline.portfolio import KernelPortfolio
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.strategies.registry import make
from raysignal.engine.strategies.strategy import Bars
from tests.support.effort import examples
from tests.support.pipelines import config_of, played, walk

KINDS = st.sampled_from(
    [
        ("sma", {"fast": 2, "slow": 5}), ("sma", {"fast": 5, "slow": 20}), ("rsi", {"window": 3}),
        ("macd", {"fast": 3, "slow": 7, "signal": 2}), ("bollinger", {"window": 5, "width": 1.0}),
        ("breakout", {"window": 4}),
    ]
)  # fmt: skip
POLICIES = st.builds(
    dict,
    fee_bps=st.sampled_from([0.0, 1.0, 25.0]),
    slippage_bps=st.sampled_from([0.0, 3.0]),
    side=st.sampled_from(["long-flat", "long-short"]),
    fill=st.sampled_from(["signal", "next"]),
    weight=st.sampled_from([0.3, 1.0]),
    stop_bps=st.sampled_from([0.0, 8.0]),
    take_bps=st.sampled_from([0.0, 15.0]),
)


Fill = tuple[int, float, float, float]
"""Instant, quantity with its sign, price, fee."""


def vectorised(
    bars: Bars, kind: str, parameters: dict[str, float], policy: Policy
) -> tuple[Ledger, LedgerRows]:
    """The kernel over all rows at once, as a sweep has it."""
    ledger, rows = Ledger(policy), LedgerRows.empty(len(bars))
    ledger.ensure_symbols(1)
    actions = make(kind, parameters).actions(bars)
    terms = SignalTerms(None, bars.high, bars.low) if policy.has_bracket else None
    ledger.run(bars.known_at_us, np.zeros(len(bars), np.int32), actions, bars.close, rows, terms=terms)
    return ledger, rows


@settings(max_examples=examples(60))
@given(seed=st.integers(0, 10_000), count=st.integers(2, 300), kind=KINDS, policy=POLICIES)
def test_backtest_fills_what_the_kernel_fills_on_the_whole_array(
    seed: int, count: int, kind: tuple[str, dict[str, float]], policy: dict[str, object]
) -> None:
    name, parameters = kind
    bars = walk(seed, count)
    strategies = [{"name": "one", "kind": name, "bar": "1m", "parameters": parameters}]
    pipeline, events = played(config_of(strategies=strategies, portfolio=policy), bars)
    ledger, rows = vectorised(bars, name, parameters, Policy.from_dict(policy))
    filled = np.flatnonzero(rows.fill_quantity)
    expected = [
        (
            int(bars.known_at_us[row]),
            float(rows.fill_quantity[row]),
            float(rows.fill_price[row]),
            float(rows.fee[row]),
        )
        for row in filled
    ]
    found = [
        (fill.at_us, fill.side * float(fill.quantity), float(fill.price), float(fill.fee))
        for fill in events.of(OrderFill)
    ]
    assert merged(found) == pytest.approx(merged(expected), rel=1e-9, abs=1e-9)
    portfolio = pipeline.portfolio
    assert isinstance(portfolio, KernelPortfolio)
    assert portfolio.ledger.equity == pytest.approx(ledger.equity, rel=1e-12)
    assert portfolio.equity == pytest.approx(ledger.equity, rel=1e-12)

    # Booked fill by fill, its figures are those of the kernel.
    status = portfolio.record.status("test")
    own, whole = (Performance.of(each, ledger.policy).as_dict() for each in (status.account, ledger.account))
    for figures in (own, whole):
        del figures["signals"], figures["signal_return"]  # a fill is a row of its own
        figures |= {f"hold {name}": value for name, value in figures.pop("buy_and_hold").items()}
    trades = figures_that_count(own), figures_that_count(whole)
    assert trades[0] == pytest.approx(trades[1], rel=1e-9, abs=1e-9)
    assert own["calendar"] == whole["calendar"]


def figures_that_count(figures: dict[str, Any]) -> dict[str, float]:
    """Those that are defined, without how many orders executed: a bracket and an order that meet one row are two."""
    return {
        name: value
        for name, value in figures.items()
        if value is not None and name not in {"calendar", "trades"}
    }


def merged(fills: list[Fill]) -> list[float]:
    """By instant: quantity, fee, and the price of the last fill. A bracket and an order that meet one row are one row
    of the kernel, whose price is the order's.
    """
    found: dict[int, list[float]] = {}
    for at_us, quantity, price, fee in fills:
        held = found.setdefault(at_us, [at_us, 0.0, price, 0.0])
        held[1] += quantity
        held[2] = price
        held[3] += fee
    return [value for at_us in sorted(found) for value in found[at_us]]


def test_longer_candles_are_those_of_the_shorter_ones() -> None:
    strategies = [
        {"name": f"{kind}-{bar}", "kind": kind, "bar": bar}
        for kind, bar in product(("macd", "bollinger"), ("1m", "5m"))
    ]
    bars = walk(3, 2_000)
    _, events = played(config_of(strategies=strategies), bars, intervals_us=(60_000_000, 300_000_000))
    longer = [candle for candle in events.inputs if candle.interval_us == 300_000_000]
    assert len(longer) == 400
    for place, candle in enumerate(longer):
        rows = slice(place * 5, place * 5 + 5)
        assert candle.at_us == bars.known_at_us[rows][-1]
        assert candle.open == bars.open[rows][0]
        assert candle.high == bars.high[rows].max()
        assert candle.low == bars.low[rows].min()
        assert candle.close == bars.close[rows][-1]
        assert candle.volume == pytest.approx(bars.volume[rows].sum())
    stamps = [(candle.at_us, candle.interval_us) for candle in events.inputs]
    assert stamps == sorted(stamps)
