"""The dealer: orders on a thread of their own, durable before anything else, never on an old book."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.listings import Costs, Listing, OrderRules
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.core.orders import OrderState, OrderType
from raysignal.engine.core.signals import Action
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.execution.policy import ExecutionPolicy, Instruction
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.trader import Trader
from raysignal.engine.execution.trading_thread import MOST_WAITING, Levels, TradingThread
from raysignal.engine.market.books import OrderBook
from raysignal.engine.market.clocks import SystemClock
from raysignal.runtime import feeds
from raysignal.runtime.feeds import FeedContext
from raysignal.runtime.settings import Settings
from tests.cluster.waiting import until
from tests.support.market_keeping import Log

INSTRUMENT = Instrument("binance-usdm", "BTCUSDT", 2, 3)
LISTING = Listing.of(INSTRUMENT)
ACCOUNT = "paper:test"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'market.db'}")
    yield opened
    opened.close()


class Clock:
    """Microseconds that a test moves."""

    def __init__(self) -> None:
        self.now_us = 1_000_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


def dealer_of(
    database: Database,
    clock: Callable[[], int],
    *,
    latency_us: int = 0,
    kind: OrderType = OrderType.MARKET,
    log: Any = None,
    listing: Listing = LISTING,
) -> TradingThread:
    paper = PaperExchange(
        PaperStore(database, ACCOUNT), INSTRUMENT.venue, "quote", Decimal(10_000), [listing],
        costs=Costs(Decimal(10), Decimal(10)), latency_us=latency_us,
    )  # fmt: skip
    trader = Trader(
        OrderStore(database, ACCOUNT), paper, {INSTRUMENT.symbol: listing}, ExecutionPolicy(kind=kind)
    )
    return TradingThread(trader, paper, now_us=clock, log=log or structlog.get_logger())


def levels(price: int) -> Levels:
    book = OrderBook(INSTRUMENT)
    book.replace([(price - 100, 5_000)], [(price, 5_000)])
    return Levels.of(book)


def buy(at_us: int, signal_id: str = "cross-1") -> Instruction:
    return Instruction(signal_id, "sma-5-20", "BTCUSDT", Action.BUY, Decimal(60_000), at_us)


def filled(database: Database) -> list[str]:
    return [
        order.origin.signal_id
        for order in OrderStore(database, ACCOUNT).orders(open_only=False)
        if order.state is OrderState.FILLED
    ]


async def test_an_instruction_becomes_an_order_that_the_next_book_fills(database, clock):
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.trouble == "", "it is so")
        assert dealer.instruct(buy(clock.now_us))
        assert dealer.wants("BTCUSDT")
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: filled(database) == ["cross-1"], "it is so")
        await until(lambda: dealer.status()["positions"] == {"binance-usdm:BTCUSDT": "0.165"}, "it is held")


def test_a_market_order_worth_less_than_the_venue_takes_is_not_filled(database, clock):
    rules = OrderRules(Decimal("0.001"), Decimal("0.001"), least_value=Decimal(500))
    listing = Listing(INSTRUMENT, Decimal("0.01"), rules, rules)
    dealer = dealer_of(database, clock, listing=listing, latency_us=50_000)
    dealer._try_round()
    dealer.instruct(buy(clock.now_us))  # at 60 000, and the price is 3 000 now
    dealer._try_round()
    clock.now_us += 100_000
    dealer.book(levels(300_000), clock.now_us)
    dealer._try_round()
    (order,) = OrderStore(database, ACCOUNT).orders()
    assert (order.state, order.progress.reason) == (OrderState.EXPIRED, "least_value")


def test_a_feed_does_not_trade_what_one_with_other_settings_left_waiting(database, clock):
    around = FeedContext(
        database, lambda signal: signal.signal_id, Log().logger, SystemClock(), Random(1), None, {}
    )

    def dealer(**values: Any) -> TradingThread:
        settings = Settings(database_url="sqlite:///unused.db", **values)
        made = feeds.dealer_of("binance-usdm:BTCUSDT", INSTRUMENT, None, settings, around, lambda _: None)
        assert made is not None
        made._try_round()
        return made

    first = {"feed_bar": "1s", "feed_fast": 2, "feed_slow": 4}
    signal_id = "sma-2-4:binance-usdm:BTCUSDT:trades:1s:2025-01-01T00:00:00Z:BUY"
    dealer(**first).instruct(
        Instruction(signal_id, "sma-2-4", INSTRUMENT.name, Action.BUY, Decimal(60_000), around.now_us())
    )
    store = OrderStore(database, "paper:binance-usdm:BTCUSDT")
    dealer(feed_bar="1m", feed_fast=5, feed_slow=20)._try_round()
    assert (store.outcomes(), store.orders()) == ({signal_id: None}, [])
    dealer(**first)._try_round()
    assert store.outcomes() == {signal_id: "ordered"}


def sold(price: int, size: int, at_us: int) -> Trade:
    """Somebody has sold so many lots at a price."""
    return Trade(INSTRUMENT, f"t{at_us}", price, size, -1, at_us, at_us)


async def resting(database: Database, dealer: TradingThread, clock: Clock) -> None:
    """An order to buy at 60 000 that rests behind 5 000 lots of others."""
    await until(lambda: dealer.trouble == "", "it is so")
    dealer.instruct(buy(clock.now_us))
    dealer.book(levels(6_000_100), clock.now_us)  # the best bid is the limit
    await until(lambda: dealer.status()["orders"] == {"accepted": 1}, "it is there")


async def test_trades_fill_an_order_that_rests_once_they_have_taken_what_stood_before_it(database, clock):
    with dealer_of(database, clock, kind=OrderType.LIMIT) as dealer:
        await resting(database, dealer, clock)
        dealer.traded(sold(6_000_000, 4_000, clock.now_us + 1))
        dealer.traded(sold(6_000_000, 1_100, clock.now_us + 2))
        dealer.book(levels(6_000_100), clock.now_us + 3)
        await until(lambda: dealer.status()["orders"].get("partially_filled") == 1, "it is so")
        (order,) = OrderStore(database, ACCOUNT).orders(open_only=True)
        assert order.progress.filled == Decimal("0.1")
        dealer.traded(sold(5_999_900, 900, clock.now_us + 4))  # through its price
        await until(lambda: filled(database) == ["cross-1"], "it is so, without another book")


def sent(database: Database, clock: Clock) -> TradingThread:
    """A dealer whose thread does not run, with a limit order on its way."""
    dealer = dealer_of(database, clock, kind=OrderType.LIMIT)
    dealer._try_round()
    dealer.instruct(buy(clock.now_us))
    dealer._try_round()
    return dealer


def test_a_trade_from_before_an_order_rests_does_not_fill_it(database, clock):
    dealer = sent(database, clock)
    dealer.traded(sold(6_000_000, 9_000, clock.now_us + 1))
    dealer.book(levels(6_000_100), clock.now_us + 2)
    dealer.traded(sold(6_000_000, 5_000, clock.now_us + 3))  # what stood before it
    dealer.traded(sold(6_000_000, 1, clock.now_us + 4))
    dealer._try_round()
    (order,) = OrderStore(database, ACCOUNT).orders(open_only=True)
    assert order.progress.filled == Decimal("0.001")


def test_of_books_that_wait_the_newest_counts_in_its_own_place(database, clock):
    dealer = sent(database, clock)
    dealer.book(levels(5_900_000), clock.now_us)  # would fill it, but is over by now
    dealer.traded(sold(6_000_000, 9_000, clock.now_us + 1))
    dealer.book(levels(6_000_100), clock.now_us + 2)
    dealer.traded(sold(6_000_000, 5_007, clock.now_us + 3))
    dealer._try_round()
    (order,) = OrderStore(database, ACCOUNT).orders(open_only=True)
    assert order.progress.filled == Decimal("0.007")


def test_an_order_on_its_way_does_not_meet_a_book_that_a_trade_has_outdated(database, clock):
    dealer = sent(database, clock)
    dealer.lost("BTCUSDT")
    dealer.traded(sold(6_000_000, 1, clock.now_us + 1))
    dealer._try_round()
    (order,) = OrderStore(database, ACCOUNT).orders(open_only=True)
    assert (order.state, order.progress.filled) == (OrderState.ACCEPTED, 0)


def test_trades_that_nobody_goes_through_are_bounded(database, clock):
    dealer = dealer_of(database, clock)
    dealer.instruct(buy(clock.now_us))
    for number in range(MOST_WAITING + 10):
        dealer.traded(sold(6_000_000, 1, number))
    assert len(dealer._came) == MOST_WAITING


async def test_an_instruction_that_came_before_makes_no_second_order(database, clock):
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.trouble == "", "it is so")
        assert dealer.instruct(buy(clock.now_us))
        assert not dealer.instruct(buy(clock.now_us))
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: filled(database) == ["cross-1"], "it is so")


async def test_without_an_order_no_book_is_wanted(database, clock):
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.trouble == "" and not dealer.wants("BTCUSDT"), "it is so")
        dealer.instruct(buy(clock.now_us))
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: filled(database) == ["cross-1"], "it is so")
        await until(lambda: not dealer.wants("BTCUSDT"), "it is so")


async def test_an_order_never_meets_a_book_from_before_it_was_wanted(database, clock):
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.trouble == "", "it is so")
        dealer.instruct(buy(clock.now_us))
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: not dealer.wants("BTCUSDT"), "it is so")
        clock.now_us += 1_000_000
        dealer.instruct(
            Instruction("cross-2", "sma-5-20", "BTCUSDT", Action.SELL, Decimal(50_000), clock.now_us)
        )
        dealer.book(levels(5_000_000), clock.now_us)
        await until(lambda: len(filled(database)) == 2, "it is so")
        (sale,) = [fill for fill in OrderStore(database, ACCOUNT).fills() if fill.side.name == "SELL"]
        assert sale.price == Decimal(49999)


class Full(Database):
    """A database that can be read, and written while there is room."""

    def __init__(self, inner: Database) -> None:
        self.kind, self.shown, self._inner, self.room = inner.kind, inner.shown, inner, True

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._inner.writing() as connection:
            if not self.room:
                raise StoreUnavailable("market.db: OperationalError: database or disk is full")
            yield connection

    def reading(self):
        return self._inner.reading()


def test_a_full_disk_is_told_once_and_not_at_every_book(database, clock):
    full, log = Full(database), Log()
    dealer = dealer_of(full, clock, log=log.logger)
    dealer.instruct(buy(clock.now_us))
    dealer._try_round()
    full.room = False
    for number in range(50):
        dealer.book(levels(6_000_000 + number), clock.now_us + number)
        dealer._try_round()
        assert "disk is full" in dealer.status()["trouble"]
    assert [line["event"] for line in log.events() if line["event"].startswith("orders_")] == ["orders_wait"]
    full.room = True
    dealer.book(levels(6_000_000), clock.now_us + 100)
    dealer._try_round()
    assert not dealer.trouble
    dealer.book(levels(6_000_000), clock.now_us + 101)
    dealer._try_round()
    assert filled(database) == ["cross-1"]
    lines = [line["event"] for line in log.events() if line["event"].startswith("orders_")]
    assert lines == ["orders_wait", "orders_go_on"]


async def test_what_was_instructed_before_a_death_is_ordered_by_the_next_life(database, clock):
    dealer_of(database, clock).instruct(buy(clock.now_us))  # never started
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.wants("BTCUSDT"), "it is so")
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: filled(database) == ["cross-1"], "it is so")


async def test_a_difference_that_nothing_explains_stops_trading_and_says_so(database, clock):
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.trouble == "", "it is so")
        dealer.instruct(buy(clock.now_us))
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: filled(database) == ["cross-1"], "it is so")
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE paper_positions SET quantity = '9'")
    with dealer_of(database, clock) as dealer:
        await until(lambda: "disagree" in dealer.trouble, "it is so")
        clock.now_us += 1_000_000
        dealer.instruct(buy(clock.now_us, "cross-2"))
        assert "disagree" in dealer.status()["trouble"]


def test_an_instruction_that_cannot_be_stored_is_refused_and_leaves_nothing(database, clock, tmp_path):
    dealer = dealer_of(database, clock)
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE order_signals")
    with pytest.raises(Exception, match="order_signals"):
        dealer.instruct(buy(clock.now_us))
    assert not dealer.wants("BTCUSDT")


def test_levels_are_copies_best_first():
    book = OrderBook(INSTRUMENT)
    book.replace([(100, 1), (99, 2)], [(101, 3), (102, 4)])
    copied = Levels.of(book)
    book.clear()
    assert [part.tolist() for part in copied.levels(0, 1)] == [[100], [1]]
    assert [part.tolist() for part in copied.levels(1)] == [[101, 102], [3, 4]]
