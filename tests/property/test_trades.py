"""Trades against the slow reference, however the rows are cut, and against the account that made them."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.kernel import reach
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.portfolio.trade_summary import trade_statistics
from raysignal.engine.portfolio.trades import REASONS, TradeFold, TradeRows, trades_of
from tests.property.test_ledger_brackets import POLICIES as BRACKETED
from tests.property.test_ledger_brackets import Row, columns, terms_of, told
from tests.property.test_ledger_brackets import ledger_of as bracketed_ledger
from tests.property.test_ledger_reference import POLICIES, Signals, arrays, ledger_of, signals
from tests.support.effort import examples
from tests.support.reference_trades import reference_trades

NAMES = ("AAA", "BBB", "CCC")


def executed(policy: Policy, taken: Signals) -> tuple[Ledger, TradeRows, LedgerRows]:
    rows = LedgerRows.empty(len(taken))
    ledger = ledger_of(policy, taken)
    stamps, symbols, actions, prices = arrays(taken)
    ledger.run(stamps, symbols, actions, prices, rows=rows)
    ids = TextColumn.of(f"id-{row}" for row in range(len(taken)))
    return (
        ledger,
        TradeRows.of(0, stamps, symbols, NAMES, prices, ids, rows),
        rows,
    )


def plain(trades: pa.Table) -> list[dict[str, Any]]:
    stamped = trades
    for name in ("entry_time", "exit_time"):
        stamped = stamped.set_column(
            stamped.schema.get_field_index(name), name, stamped[name].cast(pa.int64())
        )
    rows: list[dict[str, Any]] = stamped.to_pylist()
    return [row | {"symbol": NAMES.index(row["symbol"])} for row in rows]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            scale = abs(other["quantity"] * other["entry_price"]) * max(1.0, other["mfe"], -other["mae"])
            close = isinstance(value, float)
            assert one[name] == (pytest.approx(value, rel=1e-9, abs=1e-9 * scale) if close else value), name


@given(POLICIES, signals(), st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=examples(300))
def test_trades_are_those_of_the_reference_however_rows_are_cut(
    policy: Policy, taken: Signals, cuts: list[int]
) -> None:
    _, rows, ledger_rows = executed(policy, taken)
    ids = rows.signal_id.to_list()
    closed, left = reference_trades(
        rows.timestamp_us.tolist(), rows.symbol.tolist(), rows.price.tolist(), ids, ledger_rows
    )
    fold = TradeFold()
    parts = []
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, stop in pairwise(edges):
        if start < stop:
            parts.append(fold.run(rows.slice(start, stop)))
            fold = TradeFold.load(fold.dump())
    whole = TradeFold()
    assert pa.concat_tables(parts).to_pylist() == whole.run(rows).to_pylist()
    assert fold.open().to_pylist() == whole.open().to_pylist()
    same(plain(pa.concat_tables(parts)), closed)
    same(plain(fold.open()), left)


@given(told())
@settings(max_examples=examples(200))
def test_ranges_of_columns_are_those_of_the_kernel(taken: list[Row]) -> None:
    prices, terms = columns(taken)[3], terms_of(taken)
    assert terms.high is not None
    assert terms.low is not None
    found = [reach(price, terms.high, terms.low, row) for row, price in enumerate(prices)]
    assert list(zip(*(side.tolist() for side in terms.reach(prices)), strict=True)) == found


@given(POLICIES, signals())
@settings(max_examples=examples(300))
def test_profit_of_all_trades_is_the_change_of_equity(policy: Policy, taken: Signals) -> None:
    ledger, rows, ledger_rows = executed(policy, taken)
    fold = TradeFold()
    closed, left = fold.run(rows), fold.open()
    change = ledger.equity - policy.initial_cash
    most = max(policy.initial_cash, np.abs(ledger_rows.equity).max(), ledger.account[at.NOTIONAL])
    total = closed["pnl"].to_numpy().sum() + left["pnl"].to_numpy().sum()
    assert total == pytest.approx(change, rel=1e-9, abs=1e-9 * most)
    assert closed["pnl"].to_numpy().sum() == pytest.approx(
        ledger.account[at.REALISED], rel=1e-9, abs=1e-9 * most
    )
    fees = closed["fees"].to_numpy().sum() + left["fees"].to_numpy().sum()
    assert fees == pytest.approx(ledger.account[at.FEES], rel=1e-9)
    ended = fold.open(at_end=True)
    assert ended["pnl"].to_pylist() == left["pnl"].to_pylist()
    assert set(ended["exit_reason"].to_pylist()) <= {"end_of_file"}


@given(POLICIES, signals())
@settings(max_examples=examples(100))
def test_statistics_of_trades_are_those_of_the_account(policy: Policy, taken: Signals) -> None:
    ledger, rows, _ = executed(policy, taken)
    found = trade_statistics(TradeFold().run(rows))
    figures = Performance.of(ledger.account)
    assert found.trades == figures.closed_trades
    # What an account calls a profit of 0 may be one of 1e-17 here.
    if found.win_rate is not None and abs(found.win_rate - (figures.win_rate or 0.0)) > 1e-12:
        assert ledger.account[at.REALISED] == pytest.approx(0.0, abs=1e-9 * ledger.account[at.NOTIONAL])


@given(BRACKETED, told(), st.integers(0, 50))
@settings(max_examples=examples(300))
def test_profit_of_trades_that_brackets_closed_is_the_change_of_equity(
    policy: Policy, taken: list[Row], cut: int
) -> None:
    rows = LedgerRows.empty(len(taken))
    ledger = bracketed_ledger(policy, taken)
    stamps, symbols, actions, prices = columns(taken)
    ledger.run(stamps, symbols, actions, prices, rows=rows, terms=terms_of(taken))
    ids = TextColumn.of(f"id-{row}" for row in range(len(taken)))
    made = TradeRows.of(0, stamps, symbols, NAMES, prices, ids, rows, terms_of(taken))
    fold = TradeFold()
    closed = pa.concat_tables(
        [fold.run(made.slice(0, min(cut, len(made)))), fold.run(made.slice(min(cut, len(made)), len(made)))]
    )
    assert closed.to_pylist() == TradeFold().run(made).to_pylist()
    total = closed["pnl"].to_numpy().sum() + fold.open()["pnl"].to_numpy().sum()
    most = max(policy.initial_cash, np.abs(rows.equity).max(), ledger.account[at.NOTIONAL])
    assert total == pytest.approx(ledger.equity - policy.initial_cash, rel=1e-9, abs=1e-9 * most)
    fees = closed["fees"].to_numpy().sum() + fold.open()["fees"].to_numpy().sum()
    assert fees == pytest.approx(ledger.account[at.FEES], rel=1e-9)
    assert len(closed) == ledger.account[at.CLOSED]
    by = np.bincount(rows.closed_by, minlength=len(REASONS))
    for reason, count in zip(REASONS[1:], by[1:].tolist(), strict=True):
        assert closed["exit_reason"].to_pylist().count(reason) == count
    direct, ended = trades_of(
        policy, stamps, symbols, NAMES[: len(ledger.positions)], actions, prices, ids, terms_of(taken)
    )
    assert direct.to_pylist() == closed.to_pylist()
    assert len(ended) == len(fold.open())
