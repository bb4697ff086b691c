"""Trades of rows that are written out by hand: what brackets, reversals and reductions make of them."""

from typing import Any

import msgspec
import numpy as np
import pytest

from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.portfolio.trade_summary import trade_rows
from raysignal.engine.portfolio.trades import TradeFold, TradeRows

MINUTE_US = 60_000_000


def rows_of(*told: dict[str, Any], first: int = 0) -> TradeRows:
    """Rows of one symbol, each the price and what differs from a row that does nothing."""

    def column(name: str, otherwise: Any = 0.0) -> Any:
        return np.array([row.get(name, otherwise) for row in told])

    n, fill_price = len(told), column("fill_price", np.nan)
    return TradeRows(
        first=first,
        timestamp_us=(first + np.arange(n)) * MINUTE_US,
        symbol=np.zeros(n, np.int32),
        symbols=["BTC"],
        price=column("price"),
        high=np.array([row.get("high", row["price"]) for row in told]),
        low=np.array([row.get("low", row["price"]) for row in told]),
        signal_id=TextColumn.of(f"s{first + row}" for row in range(n)),
        own=np.ones(n, np.bool_),
        closed_by=column("closed_by", CloseReason.SIGNAL).astype(np.int8),
        exit_price=np.array(
            [row.get("exit_price", fill) for row, fill in zip(told, fill_price, strict=True)]
        ),
        fill_quantity=column("fill_quantity"),
        fill_price=fill_price,
        fee=column("fee"),
        position=column("position"),
    )


def test_a_bracket_closes_at_its_own_price_and_the_order_of_the_same_row_opens_another_trade() -> None:
    rows = rows_of(
        {"price": 100.0, "fill_price": 100.0, "fill_quantity": 10.0, "position": 10.0, "fee": 1.0},
        {"price": 104.0, "position": 10.0},
        {
            "price": 96.0, "fill_price": 96.0, "exit_price": 95.0, "closed_by": CloseReason.STOP, "fill_quantity": -1.0,
            "position": 9.0, "fee": 0.95 + 0.864,
        },
        {"price": 90.0, "position": 9.0},
    )  # fmt: skip
    fold = TradeFold()
    (closed,) = trade_rows(fold.run(rows))
    assert (closed["exit_price"], closed["exit_reason"], closed["bars"]) == (95.0, "stop", 2)
    assert (closed["entry_signal_id"], closed["exit_signal_id"]) == ("s0", None)
    assert closed["fees"] == pytest.approx(1.95)
    assert closed["pnl"] == pytest.approx(-50.0 - 1.95)
    assert (closed["mfe"], closed["mae"]) == (pytest.approx(0.04), pytest.approx(-0.05))
    (held,) = trade_rows(fold.open())
    assert (held["entry_price"], held["quantity"], held["entry_signal_id"]) == (96.0, 9.0, "s2")
    assert held["pnl"] == pytest.approx(9.0 * (90.0 - 96.0) - 0.864)


def test_ranges_of_bars_count_while_a_trade_is_open() -> None:
    rows = rows_of(
        {"price": 100.0, "high": 150.0, "low": 50.0, "fill_price": 100.0, "fill_quantity": 1.0, "position": 1.0},
        {"price": 101.0, "high": 110.0, "low": 97.0, "position": 1.0},
        {"price": 100.0, "high": 112.0, "low": 99.0, "fill_price": 100.0, "fill_quantity": -1.0},
    )  # fmt: skip
    (closed,) = trade_rows(TradeFold().run(rows))
    assert (closed["mfe"], closed["mae"]) == (pytest.approx(0.12), pytest.approx(-0.03))


def test_of_the_bar_in_which_a_bracket_closed_only_the_exit_counts() -> None:
    rows = rows_of(
        {"price": 100.0, "fill_price": 100.0, "fill_quantity": 1.0, "position": 1.0},
        {
            "price": 96.0, "high": 130.0, "low": 90.0, "fill_price": 95.0, "exit_price": 95.0,
            "closed_by": CloseReason.STOP, "fill_quantity": -1.0,
        },
    )  # fmt: skip
    (closed,) = trade_rows(TradeFold().run(rows))
    assert (closed["mfe"], closed["mae"]) == (0.0, pytest.approx(-0.05))


@pytest.mark.parametrize("price", [94.0, 93.1, 0.1 + 0.2, 42_123.456789012345])
def test_prices_of_a_trade_of_one_fill_each_are_those_of_the_fills(price: float) -> None:
    for quantity in (99.9000999000999, 1 / 3, 7e-9):
        rows = rows_of(
            {"price": price, "fill_price": price, "fill_quantity": quantity, "position": quantity},
            {"price": price, "fill_price": price, "fill_quantity": -quantity},
        )
        fold = TradeFold()
        fold.run(rows.slice(0, 1))
        (closed,) = trade_rows(TradeFold.load(fold.dump()).run(rows.slice(1, 2)))
        assert (closed["entry_price"], closed["exit_price"]) == (price, price)


def test_the_state_of_the_format_of_before_is_read() -> None:
    rows = rows_of(
        {"price": 100.0, "fill_price": 100.0, "fill_quantity": 1.0, "position": 1.0},
        {"price": 90.0, "fill_price": 90.0, "fill_quantity": -1.0},
    )
    fold = TradeFold()
    fold.run(rows.slice(0, 1))
    told = msgspec.msgpack.decode(fold.dump())
    before = [1, *told[1:3], told[3][:-8], *told[4:]]
    (closed,) = trade_rows(TradeFold.load(msgspec.msgpack.encode(before)).run(rows.slice(1, 2)))
    assert (closed["entry_price"], closed["bars"]) == (100.0, 1)


@pytest.mark.parametrize("reason", [CloseReason.TARGET, CloseReason.TRAILING, CloseReason.EXPIRY])
def test_a_trade_says_which_bracket_closed_it(reason: CloseReason) -> None:
    rows = rows_of(
        {"price": 100.0, "fill_price": 100.0, "fill_quantity": -1.0, "position": -1.0},
        {"price": 80.0, "fill_price": 90.0, "exit_price": 90.0, "closed_by": reason, "fill_quantity": 1.0},
    )
    (closed,) = trade_rows(TradeFold().run(rows))
    assert (closed["exit_reason"], closed["side"], closed["exit_signal_id"]) == (
        reason.name.lower(),
        "short",
        None,
    )
    assert (closed["return"], closed["mfe"], closed["mae"]) == (pytest.approx(0.1), pytest.approx(0.1), 0.0)


def test_additions_and_reductions_belong_to_one_trade_of_mean_prices() -> None:
    rows = rows_of(
        {"price": 100.0, "fill_price": 100.0, "fill_quantity": 1.0, "position": 1.0, "fee": 1.0},
        {"price": 110.0, "fill_price": 110.0, "fill_quantity": 3.0, "position": 4.0, "fee": 1.0},
        {"price": 120.0, "fill_price": 120.0, "fill_quantity": -2.0, "position": 2.0, "fee": 1.0},
        {"price": 90.0, "fill_price": 90.0, "fill_quantity": -2.0, "fee": 1.0},
    )
    fold = TradeFold()
    fold.run(rows.slice(0, 3))
    (held,) = trade_rows(fold.open())
    assert held["pnl"] == pytest.approx(2 * 120.0 + 240.0 - 430.0 - 3.0)
    (closed,) = trade_rows(fold.run(rows.slice(3, 4)))
    assert (closed["quantity"], closed["entry_price"], closed["exit_price"]) == (4.0, 107.5, 105.0)
    assert (closed["pnl"], closed["fees"], closed["bars"]) == (pytest.approx(-14.0), 4.0, 3)


def test_rows_out_of_their_turn_and_a_state_that_is_none_are_refused() -> None:
    fold = TradeFold()
    fold.run(rows_of({"price": 1.0}))
    with pytest.raises(ValueError, match="rows from 0 on; expected those from 1 on"):
        fold.run(rows_of({"price": 1.0}))
    for data in (b"", b"\x93\x03\x01\x01", b"\xc1"):
        with pytest.raises(JournalDamaged, match="state of trades"):
            TradeFold.load(data)
