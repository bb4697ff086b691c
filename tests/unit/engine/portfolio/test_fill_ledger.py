"""Figures and trades of a portfolio whose fills are made elsewhere: parts of orders, turns, slippage, and the bound."""

import pytest

from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import fill_ledger
from raysignal.engine.portfolio.fill_ledger import BookedFill, FillLedger
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.portfolio.trade_summary import trade_rows

MINUTE_US = 60_000_000


class Account:
    """Books fills one after the other, as a portfolio does."""

    def __init__(self, cash: float = 1_000.0, symbols: tuple[str, ...] = ("BTC",)) -> None:
        self.ledger = FillLedger(Policy(initial_cash=cash), symbols)
        self.cash = cash
        self.held = dict.fromkeys(symbols, 0.0)

    def price(self, minute: int, price: float, symbol: str = "BTC") -> None:
        self.ledger.mark(minute * MINUTE_US, symbol, price, price, price)

    def fill(
        self, minute: int, quantity: float, price: float, *, fee: float = 0.0, slippage: float = 0.0, order: str = "",
        symbol: str = "BTC", closed_by: CloseReason = CloseReason.SIGNAL,
    ) -> None:  # fmt: skip
        self.cash -= quantity * price + fee
        self.held[symbol] += quantity
        booked = BookedFill(quantity, price, fee, self.held[symbol], self.cash, slippage, order, closed_by)
        self.ledger.fill(minute * MINUTE_US, symbol, booked)

    def pay(self, amount: float, symbol: str = "BTC") -> None:
        self.cash -= amount
        self.ledger.pay(symbol, amount, self.cash)

    def performance(self) -> Performance:
        status = self.ledger.status("test")
        return Performance.of(status.account, status.policy)


def test_parts_of_an_order_are_one_trade_and_one_executed_decision() -> None:
    account = Account()
    account.price(0, 100.0)
    for quantity, price in ((1.0, 100.0), (2.0, 103.0)):
        account.fill(1, quantity, price, fee=0.5, slippage=price - 100.0, order="in")
    account.price(2, 110.0)
    for quantity in (-1.0, -2.0):
        account.fill(3, quantity, 110.0, fee=1.0, order="out")
    (trade,) = trade_rows(account.ledger.closed())
    assert trade["quantity"] == 3.0
    assert trade["entry_price"] == pytest.approx(102.0)
    assert trade["exit_price"] == 110.0
    assert trade["fees"] == pytest.approx(3.0)
    assert trade["pnl"] == pytest.approx(330.0 - 306.0 - 3.0)
    assert trade["slippage"] == pytest.approx(3.0)
    assert (trade["entry_signal_id"], trade["exit_signal_id"]) == ("in", "out")
    found = account.performance()
    assert (found.trades, found.closed_trades, found.win_rate) == (2, 1, 1.0)
    assert found.realised_pnl == pytest.approx(trade["pnl"])
    assert found.equity == pytest.approx(1_000.0 + trade["pnl"])
    assert found.fees == pytest.approx(3.0)


def test_part_that_is_closed_is_realised_and_wins_or_loses_with_the_rest_of_its_position() -> None:
    account = Account()
    account.price(0, 100.0)
    account.fill(0, 2.0, 100.0, order="in")
    account.fill(1, -1.0, 110.0, order="less")
    part = account.performance()
    assert (part.realised_pnl, part.closed_trades, part.win_rate) == (10.0, 0, None)
    assert part.equity == pytest.approx(part.initial_cash + part.realised_pnl + part.unrealised_pnl)
    account.fill(2, -1.0, 80.0, order="out")
    whole = account.performance()
    assert (whole.realised_pnl, whole.closed_trades, whole.win_rate) == (-10.0, 1, 0.0)
    (trade,) = trade_rows(account.ledger.closed())
    assert trade["pnl"] == pytest.approx(-10.0)


def test_fill_that_turns_a_position_closes_one_trade_and_opens_another() -> None:
    account = Account()
    account.price(0, 100.0)
    account.fill(0, 1.0, 100.0, order="in")
    account.fill(1, -3.0, 90.0, fee=3.0, slippage=6.0, order="turn")
    (closed,) = trade_rows(account.ledger.closed())
    (held,) = trade_rows(account.ledger.open())
    assert (closed["side"], closed["pnl"], closed["fees"]) == (
        "long",
        pytest.approx(-11.0),
        pytest.approx(1.0),
    )
    assert closed["slippage"] == pytest.approx(2.0)
    assert (held["side"], held["quantity"], held["slippage"]) == ("short", 2.0, pytest.approx(4.0))
    found = account.performance()
    assert (found.trades, found.closed_trades) == (2, 1)
    assert found.realised_pnl == pytest.approx(-11.0)
    assert found.realised_pnl + found.unrealised_pnl == pytest.approx(found.equity - 1_000.0)


def test_exposure_is_the_share_of_time_with_a_position() -> None:
    account = Account()
    account.price(0, 100.0)
    account.fill(2, 1.0, 100.0)
    account.price(4, 100.0)
    account.fill(5, -1.0, 100.0)
    account.price(10, 100.0)
    assert account.performance().exposure == pytest.approx(0.3)


def test_figures_are_the_same_however_often_they_are_asked_for() -> None:
    asked, once = Account(symbols=("BTC", "ETH")), Account(symbols=("BTC", "ETH"))
    for account in (asked, once):
        for minute in range(50):
            symbol = ("BTC", "ETH")[minute % 2]
            account.price(minute, 100.0 + minute % 7, symbol)
            if minute % 5 == 0:
                account.fill(
                    minute, -1.0 if account.held[symbol] else 1.0, 100.0 + minute % 7, fee=0.1, symbol=symbol
                )
            if account is asked:
                account.ledger.summary()
    assert asked.ledger.status("test").account.tobytes() == once.ledger.status("test").account.tobytes()
    assert asked.ledger.closed().equals(once.ledger.closed())
    assert trade_rows(asked.ledger.open()) == trade_rows(once.ledger.open())
    pnl = sum(asked.ledger.closed()["pnl"].to_pylist()) + sum(asked.ledger.open()["pnl"].to_pylist())
    assert pnl == pytest.approx(asked.performance().equity - 1_000.0)


def test_bracket_says_why_it_closed() -> None:
    account = Account()
    account.price(0, 100.0)
    account.fill(0, 1.0, 100.0, order="in")
    account.fill(1, -1.0, 95.0, closed_by=CloseReason.STOP)
    (trade,) = trade_rows(account.ledger.closed())
    assert (trade["exit_reason"], trade["exit_signal_id"]) == ("stop", None)


def test_oldest_closed_trades_are_dropped_and_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill_ledger, "KEPT_TRADES", 3)
    account = Account()
    account.price(0, 100.0)
    for minute in range(10):
        account.fill(minute, 1.0, 100.0)
        account.fill(minute, -1.0, 101.0)
        account.performance()
    trades = trade_rows(account.ledger.closed())
    assert [trade["exit_time"][14:16] for trade in trades] == ["07", "08", "09"]
    assert account.performance().closed_trades == 10


def test_nothing_has_happened_yet() -> None:
    ledger = Account().ledger
    assert ledger.status("test").as_dict()["as_of"] is None
    assert len(ledger.closed()) == len(ledger.open()) == 0
    assert ledger.summary()["trades"] == 0


def test_funding_comes_out_of_the_profit_of_the_trade_whose_position_paid_it() -> None:
    account = Account()
    account.price(0, 100.0)
    account.fill(0, 2.0, 100.0, order="in")
    account.pay(3.0)
    account.fill(2, -1.0, 110.0, order="less")
    account.pay(-0.5)
    (held,) = trade_rows(account.ledger.open())
    assert (held["funding"], held["pnl"]) == (2.5, 10.0 + 0.0 - 2.5)
    account.fill(4, -3.0, 105.0, order="turn")
    account.pay(1.0)
    (closed,) = trade_rows(account.ledger.closed())
    assert (closed["funding"], closed["pnl"]) == (2.5, 10.0 + 5.0 - 2.5)
    assert closed["return"] == pytest.approx(12.5 / 200.0)
    (turned,) = trade_rows(account.ledger.open())
    assert (turned["side"], turned["funding"]) == ("short", 1.0)
    found = account.performance()
    assert account.ledger.funding == 3.5
    assert found.realised_pnl == pytest.approx(12.5 - 1.0)
    assert found.equity == pytest.approx(found.initial_cash + found.realised_pnl + found.unrealised_pnl)
    assert found.equity == pytest.approx(account.cash - 2.0 * 100.0)
