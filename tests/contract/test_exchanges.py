"""What every exchange has to answer; an adapter joins by a line in `_EXCHANGES`.

A `Bench` puts the exchange into a market that the test decides: for an adapter, the exchange's own test server.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from raysignal.engine.core.amounts import total
from raysignal.engine.core.errors import IdentityConflict, NotFound, OrderRejected
from raysignal.engine.core.orders import OrderState, Side, TimeInForce
from raysignal.engine.database.database import Database
from raysignal.engine.execution.exchange import Exchange, check_report
from tests.support.order_world import PlainBook, book, limit, market, paper


@dataclass
class Bench:
    """An exchange with 10 000 USDT and nothing held, that can trade BTCUSDT.

    `show` makes its book look like this; `again` gives the exchange as a process finds it that has just been started.
    """

    exchange: Exchange
    show: Callable[[PlainBook], None]
    again: Callable[[], Exchange]


def _paper(database: Database) -> Bench:
    exchange = paper(database)
    return Bench(
        exchange, lambda shown: exchange.book_changed(shown, exchange.clock_us + 1), lambda: paper(database)
    )


_EXCHANGES = {"paper": _paper}


@pytest.fixture(params=sorted(_EXCHANGES))
def bench(request: pytest.FixtureRequest, database: Database) -> Bench:
    made = _EXCHANGES[request.param](database)
    made.show(book())
    return made


def test_an_order_that_breaks_a_rule_is_rejected_with_its_reason_and_changes_nothing(bench: Bench) -> None:
    for ticket, reason in (
        (market("a", Side.BUY, "0.0005"), "size_step"),
        (limit("b", Side.BUY, "1", "100.001"), "price_step"),
        (market("c", Side.BUY, "200"), "insufficient_balance"),
        (limit("d", Side.BUY, "101", "100"), "insufficient_balance"),
        (market("e", Side.SELL, "1"), "insufficient_balance"),
    ):
        with pytest.raises(OrderRejected) as refused:
            bench.exchange.submit(ticket)
        assert refused.value.fields["reason"] == reason
    assert bench.exchange.balances().cash == 10_000
    assert not bench.exchange.open_orders()
    assert not bench.exchange.fills()


def test_what_was_rejected_does_not_come_about_when_it_is_sent_again(bench: Bench) -> None:
    ticket = market("a", Side.BUY, "200")
    for _ in range(2):
        with pytest.raises(OrderRejected):
            bench.exchange.submit(ticket)
    bench.show(book("1"))  # now there would be money for it
    with pytest.raises(OrderRejected):
        bench.exchange.submit(ticket)
    assert not bench.exchange.fills()


def test_an_order_that_was_never_seen_is_none_and_cannot_be_cancelled(bench: Bench) -> None:
    assert bench.exchange.order("never") is None
    with pytest.raises(NotFound):
        bench.exchange.cancel("never")


def test_the_same_order_again_is_the_same_order(bench: Bench) -> None:
    first = bench.exchange.submit(market("a", Side.BUY, "2"))
    assert bench.exchange.submit(market("a", Side.BUY, "2")) == first
    assert bench.again().submit(market("a", Side.BUY, "2")) == first
    assert bench.exchange.balances().positions == {"BTCUSDT": Decimal(2)}


def test_an_id_that_is_used_for_another_order_is_refused(bench: Bench) -> None:
    bench.exchange.submit(market("a", Side.BUY, "2"))
    with pytest.raises(IdentityConflict):
        bench.exchange.submit(market("a", Side.BUY, "3"))
    assert len(bench.exchange.fills()) == 1


def test_reports_add_up_and_are_the_same_when_looked_up(bench: Bench) -> None:
    bench.show(PlainBook([("99", "1")], [("100", "1"), ("101", "1")]))
    report = check_report(bench.exchange.submit(market("a", Side.BUY, "1.5")))
    assert report.progress.state is OrderState.FILLED
    assert report.progress.value == Decimal("150.5")
    assert bench.exchange.order("a") == report
    assert bench.again().order("a") == report


def test_the_account_is_what_its_fills_say(bench: Bench) -> None:
    bench.exchange.submit(market("a", Side.BUY, "2"))
    bench.show(book("110"))
    bench.exchange.submit(market("b", Side.SELL, "0.5"))
    fills = bench.exchange.fills()
    spent = total(fill.value * fill.side for fill in fills)
    fees = total(fill.fee for fill in fills)
    balances = bench.exchange.balances()
    assert balances.cash == 10_000 - spent - fees
    assert balances.positions == {"BTCUSDT": Decimal("1.5")}
    assert bench.again().balances() == balances


def test_fills_are_counted_and_can_be_read_from_any_on(bench: Bench) -> None:
    bench.exchange.submit(market("a", Side.BUY, "1"))
    bench.show(book("101"))
    bench.exchange.submit(market("b", Side.BUY, "1"))
    first, second = bench.exchange.fills()
    assert first.ordinal < second.ordinal
    assert [fill.client_id for fill in (first, second)] == ["a", "b"]
    assert bench.exchange.fills(first.ordinal) == [second]
    assert bench.exchange.fills(second.ordinal) == []


def test_an_order_that_rests_is_open_until_it_is_cancelled(bench: Bench) -> None:
    report = bench.exchange.submit(limit("a", Side.BUY, "1", "90"))
    assert report.progress.state is OrderState.ACCEPTED
    assert bench.again().open_orders() == [report]
    bench.exchange.cancel("a")
    bench.show(book())
    ended = bench.exchange.order("a")
    assert ended is not None
    assert ended.progress.state is OrderState.CANCELLED
    assert not bench.exchange.open_orders()
    assert bench.exchange.cancel("a") == ended  # and again, it changes nothing


def test_an_order_that_must_not_rest_expires(bench: Bench) -> None:
    report = bench.exchange.submit(limit("a", Side.BUY, "1", "90", TimeInForce.IOC))
    assert report.progress.state is OrderState.EXPIRED
    part = bench.exchange.submit(limit("b", Side.BUY, "12", "100", TimeInForce.IOC))
    assert part.progress.state is OrderState.EXPIRED
    assert part.progress.filled == 10
    rest = bench.exchange.submit(
        market("c", Side.BUY, "1")
    )  # the level is empty now, and nothing else is there
    assert rest.progress.state is OrderState.EXPIRED
    assert rest.progress.filled == 0
