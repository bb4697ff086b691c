"""The dealer: orders on a thread of their own, durable before anything else, never on an old book."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

from engine.database.database import Database, open_database
from engine.market.books import OrderBook
from engine.market.events import Instrument
from engine.orders.dealing import Dealer, Levels
from engine.orders.listings import Costs, Listing
from engine.orders.orders import State
from engine.orders.paper import PaperExchange
from engine.orders.planning import Instruction, Plan
from engine.orders.store import OrderStore
from engine.orders.trader import Trader
from engine.signals import Action
from tests.cluster.waiting import until

INSTRUMENT = Instrument("binance-usdm", "BTCUSDT", 2, 3)
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


def dealer_of(database: Database, clock: Callable[[], int], *, latency_us: int = 0) -> Dealer:
    listing = Listing.of(INSTRUMENT)
    paper = PaperExchange(
        database, ACCOUNT, INSTRUMENT.venue, "quote", Decimal(10_000), [listing],
        costs=Costs(Decimal(10), Decimal(10)), latency_us=latency_us,
    )  # fmt: skip
    trader = Trader(OrderStore(database, ACCOUNT), paper, {INSTRUMENT.symbol: listing}, Plan())
    return Dealer(trader, paper, now_us=clock, log=structlog.get_logger())


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
        if order.state is State.FILLED
    ]


async def test_an_instruction_becomes_an_order_that_the_next_book_fills(database, clock):
    with dealer_of(database, clock) as dealer:
        await until(lambda: dealer.trouble == "", "it is so")
        assert dealer.instruct(buy(clock.now_us))
        assert dealer.wants("BTCUSDT")
        dealer.book(levels(6_000_000), clock.now_us)
        await until(lambda: filled(database) == ["cross-1"], "it is so")
        await until(lambda: dealer.status()["positions"] == {"BTCUSDT": "0.165"}, "it is held")


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
