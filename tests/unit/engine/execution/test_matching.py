"""How the paper exchange fills orders from a market that does not know of them."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from raysignal.engine.core.errors import (
    ExchangeUnreachable,
    Fenced,
    InvalidField,
    OrderRejected,
    StoreUnavailable,
)
from raysignal.engine.core.listings import Listing, OrderRules
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.orders import OrderState, OrderStatus, Side, TimeInForce
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution import paper_state
from raysignal.engine.execution.exchange import OrderReport
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_state import MemoryPaperStore
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.market.books import OrderBook
from tests.support.order_script import Wire, WiredDatabase
from tests.support.order_world import BTC, LISTING, PERP, SECOND, PlainBook, book, limit, market, paper, trade

SHORTS = Listing.of(PERP, shorts=True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'market.db'}")
    yield opened
    opened.close()


def now(exchange: PaperExchange, client_id: str = "a") -> OrderReport:
    report = exchange.order(client_id)
    assert report is not None
    return report


def prices(report: OrderReport) -> list[tuple[str, str]]:
    return [(str(fill.price), format(fill.quantity.normalize(), "f")) for fill in report.fills]


def test_a_market_order_walks_the_depth_and_what_is_not_there_expires(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("99", "1")], [("100", "1"), ("101", "2"), ("105", "3")]), 1)
    report = exchange.submit(market("a", Side.BUY, "7"))
    assert prices(report) == [("100.00", "1"), ("101.00", "2"), ("105.00", "3")]
    assert (report.progress.state, report.progress.reason) == (OrderState.EXPIRED, "no_depth")
    assert report.progress.value == 100 + 202 + 315
    assert report.progress.fees == Decimal("0.617")
    assert all(not fill.maker for fill in report.fills)


def test_an_order_meets_the_first_book_at_or_after_its_latency(database: Database) -> None:
    exchange = paper(database, latency_us=100)
    exchange.book_changed(book("100"), 1_000)
    assert exchange.submit(market("a", Side.BUY, "1")).progress == OrderStatus(OrderState.ACCEPTED)
    exchange.book_changed(book("101"), 1_099)
    exchange.traded(trade("50", "100", Side.SELL), 1_100)
    assert now(exchange).progress.filled == 0
    exchange.book_changed(book("102"), 1_101)
    assert prices(now(exchange)) == [("102.00", "1")]
    assert now(exchange).fills[0].at_us == 1_101


def test_an_order_meets_the_next_book_after_a_clock_that_was_ahead_is_put_back(database: Database) -> None:
    exchange = paper(database, latency_us=100)
    exchange.book_changed(book("100"), 3_600 * SECOND)
    exchange.submit(market("a", Side.BUY, "1"))
    exchange.book_changed(book("101"), 60 * SECOND)
    assert prices(now(exchange)) == [("101.00", "1")]
    exchange.submit(market("b", Side.BUY, "1"))
    exchange.book_changed(book("102"), 60 * SECOND + 99)
    assert now(exchange, "b").progress.filled == 0
    exchange.book_changed(book("103"), 60 * SECOND + 100)
    assert prices(now(exchange, "b")) == [("103.00", "1")]
    exchange.book_changed(book("103"), 7_200 * SECOND)
    exchange.submit(limit("c", Side.BUY, "1", "90"))
    exchange.time_passed(7_200 * SECOND + 100)
    exchange.cancel("c")
    again = paper(database, latency_us=100)  # a restart has the wrong time of before
    again.book_changed(book("103"), 70 * SECOND)
    assert now(again, "c").progress.state is OrderState.CANCELLED
    again.submit(market("d", Side.SELL, "2"))
    again.book_changed(book("104"), 70 * SECOND + 100)
    assert now(again, "d").progress.state is OrderState.FILLED


def test_a_message_that_was_overtaken_does_not_put_the_clock_back(database: Database) -> None:
    exchange = paper(database, latency_us=2 * SECOND)
    exchange.book_changed(book("100"), 100 * SECOND)
    exchange.submit(market("a", Side.BUY, "1"))
    exchange.book_changed(book("101"), 96 * SECOND)
    assert exchange.clock_us == 100 * SECOND
    assert now(exchange).progress.filled == 0
    exchange.book_changed(book("102"), 102 * SECOND)
    assert prices(now(exchange)) == [("102.00", "1")]


def test_a_book_that_stands_still_is_met_when_time_has_passed(database: Database) -> None:
    exchange = paper(database, latency_us=100)
    exchange.book_changed(book("100"), 1_000)
    exchange.submit(market("a", Side.BUY, "1"))
    exchange.time_passed(1_099)
    assert now(exchange).progress.state is OrderState.ACCEPTED
    exchange.time_passed(1_100)
    assert now(exchange).progress.state is OrderState.FILLED


def test_an_order_waits_while_the_book_is_lost(database: Database) -> None:
    exchange = paper(database)
    assert exchange.submit(market("a", Side.BUY, "1")).progress.state is OrderState.ACCEPTED  # no book yet
    exchange.book_changed(book("100"), 1)
    assert prices(now(exchange)) == [("100.00", "1")]
    exchange.book_lost("BTCUSDT", 2)
    exchange.submit(market("b", Side.BUY, "1"))
    exchange.time_passed(10 * SECOND)
    assert now(exchange, "b").progress.state is OrderState.ACCEPTED
    exchange.book_changed(book("103"), 11 * SECOND)
    assert prices(now(exchange, "b")) == [("103.00", "1")]


def test_the_same_lots_are_not_taken_twice_until_their_level_changes(database: Database) -> None:
    exchange = paper(database)
    shown = PlainBook([("99", "5")], [("100", "2"), ("101", "9")])
    exchange.book_changed(shown, 1)
    exchange.submit(market("a", Side.BUY, "1"))
    exchange.book_changed(
        PlainBook([("98", "4")], [("100", "2"), ("101", "8")]), 2
    )  # this level did not change
    assert prices(exchange.submit(market("b", Side.BUY, "2"))) == [("100.00", "1"), ("101.00", "1")]
    again = paper(database)  # a restart does not give them back
    again.book_changed(shown, 3)
    assert prices(again.submit(market("c", Side.BUY, "1"))) == [("101.00", "1")]
    again.book_changed(PlainBook([("98", "4")], [("100", "3")]), 4)
    assert prices(again.submit(market("d", Side.BUY, "5"))) == [("100.00", "3")]


def test_a_level_that_has_gone_and_come_back_is_whole(database: Database) -> None:
    exchange = paper(database)
    shown = PlainBook([("99", "5")], [("100", "2")])
    exchange.book_changed(shown, 1)
    exchange.submit(market("a", Side.BUY, "2"))
    exchange.book_changed(PlainBook([("99", "5")], [("101", "2")]), 2)
    exchange.book_changed(shown, 3)
    assert prices(exchange.submit(market("b", Side.BUY, "2"))) == [("100.00", "2")]


def test_a_limit_order_takes_down_to_its_limit_and_the_rest_stands_in_the_queue(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("100", "4"), ("99", "5")], [("101", "1"), ("102", "1")]), 1)
    report = exchange.submit(limit("a", Side.BUY, "3", "101"))
    assert prices(report) == [("101.00", "1")]
    assert report.progress.state is OrderState.PARTIALLY_FILLED
    exchange.traded(trade("101", "1.5", Side.SELL), 2)  # nothing stood before it at 101
    assert prices(now(exchange)) == [("101.00", "1"), ("101.00", "1.5")]
    assert [fill.maker for fill in now(exchange).fills] == [False, True]


def test_only_trades_at_its_price_shorten_what_stands_before_an_order(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("100", "4")], [("101", "9")]), 1)
    exchange.submit(limit("a", Side.BUY, "2", "100"))
    exchange.book_changed(
        PlainBook([("100", "1")], [("101", "9")]), 2
    )  # somebody has cancelled: not before us
    exchange.traded(trade("100", "9", Side.BUY), 3)  # a buyer took at our price: not from our side
    exchange.traded(trade("101", "9", Side.SELL), 3)  # worse for us than our limit
    exchange.traded(trade("100", "3", Side.SELL), 4)
    assert now(exchange).progress.state is OrderState.ACCEPTED
    exchange.traded(trade("100", "1", Side.SELL), 5)
    assert now(exchange).progress.state is OrderState.ACCEPTED
    exchange.traded(trade("100", "1.5", Side.SELL), 6)
    assert prices(now(exchange)) == [("100.00", "1.5")]


def test_a_place_in_the_queue_outlives_the_exchange(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("100", "4")], [("101", "9")]), 1)
    exchange.submit(limit("a", Side.BUY, "2", "100"))
    exchange.traded(trade("100", "3", Side.SELL), 2)
    again = paper(database)
    again.traded(trade("100", "2", Side.SELL), 3)
    assert prices(now(again)) == [("100.00", "1")]


def test_a_trade_through_the_limit_fills_at_the_limit(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("100", "4")], [("101", "9")]), 1)
    exchange.submit(limit("a", Side.BUY, "2", "100"))
    exchange.traded(trade("99.99", "1.5", Side.SELL), 2)
    assert prices(now(exchange)) == [("100.00", "1.5")]


def test_one_trade_is_spent_once_on_the_better_and_older_order_first(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("90", "1")], [("110", "9")]), 1)
    exchange.submit(limit("worse", Side.BUY, "2", "99"))
    exchange.submit(limit("older", Side.BUY, "2", "100"))
    exchange.submit(limit("younger", Side.BUY, "2", "100"))
    exchange.traded(trade("98", "3", Side.SELL), 2)
    assert [now(exchange, name).progress.filled for name in ("older", "younger", "worse")] == [2, 1, 0]


def test_an_opposing_book_that_comes_to_the_limit_fills_what_it_shows(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(PlainBook([("100", "4")], [("103", "9")]), 1)
    exchange.submit(limit("a", Side.BUY, "5", "101"))
    crossing = PlainBook([("99", "4")], [("100.50", "1"), ("101", "1"), ("102", "9")])
    exchange.book_changed(crossing, 2)
    exchange.book_changed(crossing, 3)  # the same lots again
    assert prices(now(exchange)) == [("101.00", "1"), ("101.00", "1")]
    assert all(fill.maker for fill in now(exchange).fills)


def test_a_request_to_cancel_takes_as_long_as_an_order(database: Database) -> None:
    exchange = paper(database, latency_us=100)
    exchange.book_changed(PlainBook([("100", "0.001")], [("110", "9")]), 1_000)
    exchange.submit(limit("a", Side.BUY, "2", "101"))
    exchange.time_passed(1_100)
    assert exchange.cancel("a").progress.state is OrderState.ACCEPTED
    exchange.traded(trade("101", "1", Side.SELL), 1_150)
    assert now(exchange).progress.state is OrderState.PARTIALLY_FILLED
    exchange.traded(trade("101", "1", Side.SELL), 1_200)  # as it takes effect
    assert (now(exchange).progress.state, now(exchange).progress.filled) == (OrderState.CANCELLED, 1)


def test_makers_and_takers_pay_their_own_fee(database: Database) -> None:
    exchange = paper(database, maker_bps="2", taker_bps="7.5")
    exchange.book_changed(PlainBook([("100", "0.001")], [("101", "1")]), 1)
    exchange.submit(limit("a", Side.BUY, "2", "101"))
    exchange.traded(trade("101", "1", Side.SELL), 2)
    assert [fill.fee for fill in now(exchange).fills] == [Decimal("0.07575"), Decimal("0.0202")]


def test_money_for_open_orders_is_set_aside(database: Database) -> None:
    exchange = paper(database, cash="1000", maker_bps="0", taker_bps="0")
    exchange.book_changed(PlainBook([("90", "9")], [("110", "9")]), 1)
    exchange.submit(limit("a", Side.BUY, "6", "100"))
    with pytest.raises(OrderRejected, match="enough for 4"):
        exchange.submit(limit("b", Side.BUY, "4.001", "100"))
    exchange.submit(limit("c", Side.BUY, "4", "100"))
    exchange.cancel("a")
    exchange.submit(limit("d", Side.BUY, "6", "100"))
    exchange.traded(trade("99", "100", Side.SELL), 2)
    assert exchange.balances().cash == 0


def test_what_is_held_is_not_sold_twice(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(book("100"), 1)
    exchange.submit(market("a", Side.BUY, "3"))
    exchange.submit(limit("b", Side.SELL, "2", "120"))
    with pytest.raises(OrderRejected, match="enough for 1"):
        exchange.submit(market("c", Side.SELL, "2"))


def test_an_order_whose_price_runs_away_is_filled_as_far_as_the_money_goes(database: Database) -> None:
    exchange = paper(database, cash="1000", latency_us=100, taker_bps="0", maker_bps="0")
    exchange.book_changed(book("100"), 1_000)
    exchange.submit(market("a", Side.BUY, "10"))
    exchange.book_changed(book("125"), 1_100)
    report = now(exchange)
    assert (report.progress.state, report.progress.reason) == (OrderState.EXPIRED, "insufficient_balance")
    assert report.progress.filled == 8
    assert exchange.balances().cash == 0


def test_a_short_position_is_covered_twice_and_a_flip_is_one_order(database: Database) -> None:
    exchange = paper(database, cash="1000", taker_bps="0", maker_bps="0", listings=[SHORTS])
    exchange.book_changed(book("100", "1000", instrument=PERP), 1)
    exchange.submit(market("a", Side.BUY, "10", PERP))
    with pytest.raises(OrderRejected, match="enough for 20"):
        exchange.submit(market("b", Side.SELL, "20.001", PERP))
    exchange.submit(market("c", Side.SELL, "20", PERP))
    assert exchange.balances().positions == {"BTCUSDT": Decimal(-10)}
    with pytest.raises(OrderRejected, match="enough for 0"):
        exchange.submit(market("d", Side.SELL, "0.001", PERP))
    exchange.submit(market("e", Side.BUY, "10", PERP))
    assert exchange.balances().positions == {}


def rules(step: str, least: str, **more: Decimal) -> OrderRules:
    return OrderRules(Decimal(step), Decimal(least), **more)


def test_an_order_that_breaks_a_rule_of_the_listing_is_refused_by_its_name(database: Database) -> None:
    limits = rules("0.01", "0.05", most=Decimal(50), least_value=Decimal(10), most_value=Decimal(4000))
    markets = rules("0.01", "0.05", most=Decimal(20), least_value=Decimal(10))
    listing = Listing(BTC, Decimal("0.5"), limits, markets, least_price=Decimal(50), most_price=Decimal(5000))
    exchange = paper(database, listings=[listing])
    exchange.book_changed(book("100"), 1)
    for ticket, reason in (
        (market("a", Side.BUY, "0.04"), "least_size"),
        (market("b", Side.BUY, "0.055"), "size_step"),
        (market("c", Side.BUY, "0.09"), "least_value"),
        (limit("d", Side.BUY, "0.1", "99"), "least_value"),
        (limit("e", Side.BUY, "1", "99.25"), "price_step"),
        (limit("e1", Side.BUY, "1", "49.5"), "price_range"),
        (limit("e2", Side.BUY, "1", "5000.5"), "price_range"),
        (limit("e3", Side.BUY, "40.5", "99"), "most_value"),
        (limit("e4", Side.BUY, "50.01", "50"), "most_size"),
        (market("e5", Side.BUY, "20.01"), "most_size"),
        (market("f", Side.BUY, "1", PERP), "not_listed"),
    ):
        with pytest.raises(OrderRejected) as refused:
            exchange.submit(ticket)
        assert refused.value.fields["reason"] == reason
    assert exchange.submit(limit("g", Side.BUY, "0.2", "99.5", TimeInForce.IOC)).progress.filled == 0


@pytest.mark.parametrize(
    ("best", "reason"), [("20", "least_value"), ("600", "most_value"), ("100", ""), ("50", ""), ("500", "")]
)
def test_the_value_of_a_market_order_that_came_before_any_book_is_that_at_the_first_one(
    database: Database, best: str, reason: str
) -> None:
    bounded = rules("0.001", "0.001", least_value=Decimal(5), most_value=Decimal(50))
    exchange = paper(database, listings=[replace(LISTING, market=bounded)], latency_us=100)
    assert exchange.submit(market("a", Side.BUY, "0.1")).progress == OrderStatus(OrderState.ACCEPTED)
    exchange.book_changed(book(best), 200)
    expected = OrderState.EXPIRED if reason else OrderState.FILLED
    assert (now(exchange).progress.state, now(exchange).progress.reason) == (expected, reason)
    assert exchange.balances().positions == ({} if reason else {"BTCUSDT": Decimal("0.1")})


def test_a_price_finer_than_the_tick_is_refused_as_the_venue_refuses_it(database: Database) -> None:
    btc = Instrument("binance", "BTCUSDT", price_decimals=8, size_decimals=5)
    listing = Listing(btc, Decimal("0.01"), rules("0.00001", "0.00001"), rules("0.00001", "0.00001"))
    exchange = paper(database, listings=[listing], cash="100000")
    with pytest.raises(OrderRejected, match=r"in steps of 0\.01") as refused:
        exchange.submit(limit("a", Side.BUY, "1", "60026.12345678", instrument=btc))
    assert refused.value.fields["reason"] == "price_step"
    assert exchange.submit(limit("b", Side.BUY, "1", "60026.12", instrument=btc)).progress.filled == 0


def test_an_instrument_that_its_venue_has_halted_takes_no_order(database: Database) -> None:
    exchange = paper(database, listings=[replace(LISTING, halted="BREAK")])
    exchange.book_changed(book("100"), 1)
    with pytest.raises(OrderRejected, match="status of BTCUSDT is BREAK") as refused:
        exchange.submit(market("a", Side.BUY, "1"))
    assert refused.value.fields["reason"] == "not_trading"


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("price_step", lambda: replace(LISTING, price_step=Decimal("0.001"))),
        ("limit.step", lambda: replace(LISTING, limit=rules("0.0001", "0.001"))),
        ("market.step", lambda: replace(LISTING, market=rules("0.0001", "0.001"))),
        ("step", lambda: rules("0", "0.001")),
        ("least", lambda: rules("0.001", "-1")),
        ("most", lambda: rules("0.001", "1", most=Decimal(0))),
        ("least_value", lambda: rules("0.001", "1", least_value=Decimal("NaN"))),
        ("instrument", lambda: Listing.of(Instrument("binance-coinm", "BTCUSD_PERP", inverse=True))),
    ],
)
def test_a_listing_that_cannot_be_is_refused_by_field(field: str, make: object) -> None:
    with pytest.raises(InvalidField) as refused:
        make()  # type: ignore[operator]
    assert refused.value.fields["field"] == field


def test_arguments_that_cannot_be_are_refused_by_field(database: Database) -> None:
    for field, change in (
        ("cash", {"cash": "-1"}), ("latency_us", {"latency_us": -1}), ("maker_bps", {"maker_bps": "1001"}),
    ):  # fmt: skip
        with pytest.raises(InvalidField) as refused:
            paper(database, **change)  # type: ignore[arg-type]
        assert refused.value.fields["field"] == field
    with pytest.raises(InvalidField, match="listings"):
        PaperExchange(PaperStore(database, "a"), "binance", "USDT", Decimal(1), [SHORTS])
    paper(database)
    with pytest.raises(InvalidField, match="venue is 'binance-usdm'; expected 'binance'"):
        paper(database, listings=[SHORTS])


@pytest.mark.parametrize("change", [{"price_decimals": 1}, {"price_decimals": 3}, {"size_decimals": 4}])
def test_orders_of_an_instrument_that_is_written_otherwise_now_expire(
    database: Database, change: dict[str, int]
) -> None:
    exchange = paper(database, latency_us=100)
    exchange.book_changed(PlainBook([("99.90", "5")], [("100.00", "5")]), 1)
    exchange.submit(market("held", Side.BUY, "2"))
    exchange.time_passed(101)
    for name, side, price in (("high", Side.SELL, "105"), ("low", Side.BUY, "95")):
        exchange.submit(limit(name, side, "1", price))
    exchange.time_passed(202)
    exchange.submit(market("onitsway", Side.BUY, "1"))
    btc = Instrument("binance", "BTCUSDT", **{"price_decimals": 2, "size_decimals": 3} | change)
    again = paper(database, listings=[Listing.of(btc)])
    for name in ("high", "low", "onitsway"):
        assert now(again, name).progress == OrderStatus(OrderState.EXPIRED, reason="instrument_changed")
    again.book_changed(PlainBook([("99.9", "5")], [("100.0", "5")], btc), 300)
    again.book_changed(PlainBook([("89.0", "5")], [("90.0", "5")], btc), 400)
    assert [fill.client_id for fill in again.fills()] == ["held"]
    # What was set aside for them is free, and what is held can be sold.
    assert again.submit(market("sale", Side.SELL, "2", btc)).progress.state is OrderState.FILLED
    assert paper(database, listings=[Listing.of(btc)]).open_orders() == []


def test_an_open_order_in_a_symbol_that_is_not_listed_any_more_expires(database: Database) -> None:
    exchange = paper(database, listings=[LISTING, Listing.of(Instrument("binance", "ETHUSDT", 2, 3))])
    exchange.submit(limit("a", Side.BUY, "1", "50"))
    eth = Instrument("binance", "ETHUSDT", 2, 3)
    again = paper(database, listings=[Listing.of(eth)])
    assert now(again).progress == OrderStatus(OrderState.EXPIRED, reason="instrument_changed")
    again.book_changed(book("100", instrument=eth), 1)
    assert again.submit(market("b", Side.BUY, "1", eth)).progress.state is OrderState.FILLED


def test_an_account_that_exists_keeps_its_cash(database: Database) -> None:
    paper(database, cash="5")
    assert paper(database, cash="7").balances().cash == 5


def test_a_second_exchange_of_the_same_account_stops_the_first(database: Database) -> None:
    first = paper(database)
    first.book_changed(book(), 1)
    second = paper(database)
    second.submit(market("a", Side.BUY, "1"))
    with pytest.raises(Fenced, match="run by another"):
        first.submit(market("b", Side.BUY, "1"))
    assert first.order("b") is None


def test_an_exchange_whose_commit_is_not_confirmed_is_unreachable_and_knows_afterwards(
    database: Database,
) -> None:
    def lost() -> None:
        raise StoreUnavailable("the connection is gone")

    wire = Wire(
        [6], lost
    )  # after the commit of the first order: three steps a write, the opening is the first
    exchange = paper(WiredDatabase(database, wire))
    exchange.book_changed(book(), 1)
    with pytest.raises(ExchangeUnreachable):
        exchange.submit(market("a", Side.BUY, "1"))
    exchange.book_changed(book(), 2)
    assert now(exchange).progress.state is OrderState.FILLED
    assert len(exchange.fills()) == 1
    assert exchange.submit(market("b", Side.SELL, "1")).progress.state is OrderState.FILLED


def test_a_market_order_takes_from_the_feed_s_book_what_the_book_itself_says(database: Database) -> None:
    shown = OrderBook(BTC)
    shown.replace([(9_900, 5_000)], [(10_000 + 7 * step, 300 + 100 * step) for step in range(40)])
    exchange = paper(database, cash="1000000")
    exchange.book_changed(shown, 1)
    report = exchange.submit(market("a", Side.BUY, "17.3"))
    # 300 + 400 + ... + 1,800 lots are 16,800.
    lots = [*range(300, 1_900, 100), 500]
    assert [(fill.price, fill.quantity) for fill in report.fills] == [
        (BTC.exact_price(10_000 + 7 * step), BTC.exact_size(size)) for step, size in enumerate(lots)
    ]
    shown.change([], [(10_000, 5_000)])  # the exchange looks at the book as it is when it is told
    exchange.book_changed(shown, 2)
    assert prices(exchange.submit(market("b", Side.BUY, "4"))) == [("100.00", "4")]


def test_paper_account_in_memory_forgets_the_orders_that_were_over_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paper_state, "KEPT_ORDERS", 5)
    exchange = PaperExchange(MemoryPaperStore("a"), "binance", "USDT", Decimal(1_000_000), [LISTING])
    exchange.book_changed(book(size="1000"), 1)
    for number in range(20):
        exchange.submit(market(f"o{number}", Side.BUY, "1"))
    assert [fill.client_id for fill in exchange.fills(18)] == ["o18", "o19"]
    assert exchange.order("o0") is None
    assert exchange.order("o19") is not None
