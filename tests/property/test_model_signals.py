"""Generated signals over bars with gaps: what positions come to is what the portfolio has earned, and levels hold."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.agents.inference.indicators import USUAL, indicator_named
from raysignal.agents.inference.signals import SignalRules, portfolio_signal
from raysignal.agents.inference.values import Probabilities, SignalRequest
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Signal
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.trades import TradeFold, TradeRows
from raysignal.engine.strategies.strategy import Bars
from tests.support.effort import examples

MINUTE = 60_000_000
FIRST_US = 1_740_355_800_000_000
NIGHT = 14 * 60
"""Minutes between two sessions of USD/COP."""


class Model:
    """Has a name; its answers are drawn."""

    name, version, placeholder = "drawn", "1", False
    features: tuple[str, ...] = ()
    optional_features: tuple[str, ...] = ()

    def step(self, request: SignalRequest, state: bytes | None) -> tuple[Probabilities, bytes | None]:
        raise NotImplementedError


DrawnBar = tuple[int, float, float, float, tuple[float, ...], str, float]
MOVES = st.floats(-0.01, 0.01)
BARS = st.tuples(
    st.sampled_from([1, 1, 1, 1, 7, NIGHT]), MOVES, st.floats(0.0, 0.02), st.floats(0.0, 0.02),
    st.sampled_from([(0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.8, 0.1, 0.1), (0.2, 0.4, 0.4)]),
    st.sampled_from(["USDCOP", "USDCOP", "EURCOP"]), st.sampled_from([0.0, 0.0, 0.0, 0.05, -0.05]),
)  # fmt: skip
"""Minutes since the one before, move, upper and lower shadow, probabilities, symbol, jump of the opening."""


def generated(bars: list[DrawnBar], rules: SignalRules) -> Iterator[Signal]:
    streams = {
        symbol: {
            name: indicator.stream() for name in USUAL if (indicator := indicator_named(name)) is not None
        }
        for symbol in ("USDCOP", "EURCOP")
    }
    close, now_us = {"USDCOP": 4_000.0, "EURCOP": 4_400.0}, FIRST_US
    for place, (minutes, move, up, down, shares, symbol, jump) in enumerate(bars):
        now_us += minutes * MINUTE
        first = close[symbol] * (1.0 + (jump if minutes > 1 else 0.0))
        last = close[symbol] = first * (1.0 + move)
        high, low = max(first, last) * (1.0 + up), min(first, last) * (1.0 - down)
        bar = Bars(np.array([now_us]), *(np.array([each]) for each in (first, high, low, last, 1.0)))
        values = {name: float(stream.advance(bar)[0]) for name, stream in streams[symbol].items()}
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        request = SignalRequest(symbol, now_us, last, known | {"high": high, "low": low}, f"id-{place}")
        signal = rules(request, Probabilities(*shares), Model())
        yield portfolio_signal(signal, request.features)


@given(st.lists(BARS, min_size=30, max_size=90), st.sampled_from([0.02, 0.5, 1.0]))
@settings(max_examples=examples(60))
def test_profit_of_positions_is_the_portfolios_and_levels_close_them(
    bars: list[DrawnBar], size: float
) -> None:
    rules = SignalRules(position_size=size)
    taken = list(generated(bars, rules))
    batch = SignalBatch.of_signals(taken)
    policy = Policy(side="long-short")
    ledger, rows, fold = Ledger(policy), LedgerRows.empty(len(batch)), TradeFold()
    ledger.ensure_symbols(len(batch.symbols))
    terms = SignalTerms.of(batch.terms, batch.numbers)
    ledger.run(batch.timestamp_us, batch.symbol, batch.action, batch.price, rows, terms=terms)
    told = TradeRows.of(
        0, batch.timestamp_us, batch.symbol, batch.symbols, batch.price, batch.signal_id, rows, terms
    )
    closed, left = fold.run(told), fold.open()
    total = closed["pnl"].to_numpy().sum() + left["pnl"].to_numpy().sum()
    assert total == pytest.approx(
        ledger.equity - policy.initial_cash, rel=1e-9, abs=1e-9 * policy.initial_cash
    )
    assert closed["pnl"].to_numpy().sum() == pytest.approx(
        ledger.account[at.REALISED], rel=1e-9, abs=1e-9 * policy.initial_cash
    )
    for trade in closed.to_pylist():
        opened, ends = taken[trade["entry_ordinal"]], taken[trade["exit_ordinal"]]
        if trade["exit_reason"] in {"stop", "target"}:
            level = opened.stop_loss if trade["exit_reason"] == "stop" else opened.take_profit
            assert level is not None
            # At the level, or where the price had jumped beyond it, at the price of the row.
            low, high = (float(ends.features[name]) for name in ("low", "high"))
            assert trade["exit_price"] == level or not low <= level <= high
