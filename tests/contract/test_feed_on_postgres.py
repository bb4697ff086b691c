"""A feed that runs while its PostgreSQL is away: nothing is lost, nothing is doubled, and it says what it waits for."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from io import BytesIO
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest
from sqlalchemy import select

from raysignal.engine.core.errors import StoreError
from raysignal.engine.core.listings import Costs, Listing
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.tables import PAPER_ORDERS
from raysignal.engine.market.bar_rows import read_bars
from raysignal.engine.market.bars import Basis
from raysignal.engine.market.signal_rows import read_signals
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime.feeds import CURRENCY, FeedContext, following
from raysignal.runtime.settings import Settings
from raysignal.serve.logs import json_logger
from tests.cluster.waiting import until
from tests.support.postgres import Postgres, postgres_server

NAME, SYMBOL = "okx:BTC-USDT", "BTC-USDT"
START_US, BAR_US = 1_700_000_000_000_000, 5_000_000
FAST, SLOW = 2, 5


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that other tests do not use, because it is stopped."""
    with postgres_server() as own:
        yield own


@pytest.mark.timeout(200)
async def test_a_feed_outlives_its_database_and_ends_where_an_undisturbed_one_would(server: Postgres) -> None:
    address = server.empty_database()
    database, posted, prices, lines = open_database(address), Counter[str](), list[Signal](), BytesIO()

    def post(signal: Signal) -> str:
        if signal.action is Action.HOLD:
            prices.append(signal)
        else:
            posted[signal.signal_id] += 1
        return f"receipt of {signal.signal_id}"

    exchange = GeneratedExchange("okx", seed=3, start_us=START_US, symbols=[SYMBOL])
    async with ExchangeServer(exchange, speed=30) as loopback:
        settings = Settings(
            feeds=(NAME,), feed_bar="5s", feed_fast=FAST, feed_slow=SLOW, paper_cash=10_000.0,
            feed_hosts={"okx": {"stream": loopback.hosts.stream, "rest": loopback.hosts.rest}},
        )  # fmt: skip
        context = FeedContext(database, post, json_logger(lines), loopback.clock, Random(1), None, {})
        async with following(NAME, settings, context) as followed:
            running = asyncio.create_task(followed.run())

            def status() -> dict[str, Any]:
                return followed.status()

            await until(lambda: status()["station"]["signals"] >= 3, "it has crossed")
            await asyncio.to_thread(server.stop)
            await until(lambda: bool(status()["trouble"]), "it says that the database is away")
            await until(lambda: status()["station"]["bars_waiting"] >= 20, "bars wait meanwhile")
            assert status()["health"]["state"] == "stale"
            assert followed.feed.health().ready, "books are followed all the same"
            assert "unused" not in str(status()) + lines.getvalue().decode(), "the password is shown nowhere"
            await asyncio.to_thread(server.start)
            before = sum(posted.values())
            await until(
                lambda: (
                    not status()["trouble"]
                    and not status()["station"]["paper"]["trouble"]
                    and status()["station"]["bars_waiting"] == 0
                    and sum(posted.values()) >= before + 5
                ),
                "it goes on",
            )
            loopback.pause()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    (instrument,) = exchange.instruments
    check_bars_and_crossings(database, instrument, posted)
    check_prices(database, instrument, prices)
    check_orders(database, instrument)
    events = [orjson.loads(line)["event"] for line in lines.getvalue().splitlines()]
    assert events.index("market_keeper_waits") < events.index("market_keeper_goes_on")
    database.close()


def check_bars_and_crossings(database: Database, instrument: Instrument, posted: Counter[str]) -> None:
    with database.reading() as connection:
        bars = read_bars(connection, instrument, Basis.TRADES, BAR_US, 0, 2 * START_US)
        signals = [each.made for each in read_signals(connection) if not each.made.is_price]
    opens = [bar.open_us for bar in bars]
    assert opens == list(range(opens[0], opens[-1] + 1, BAR_US)), "no bar is missing"
    assert len(bars) > 40
    sums = np.concatenate([[0], np.cumsum([bar.close for bar in bars])])
    fast, slow = (sums[SLOW:] - sums[SLOW - n : len(sums) - n] for n in (FAST, SLOW))
    signs = np.sign(fast * SLOW - slow * FAST)
    told = np.flatnonzero(signs)
    turned = told[1:][signs[told[1:]] != signs[told[:-1]]]
    expected = [(opens[n + SLOW - 1], int(signs[n])) for n in turned.tolist()]
    stored = [(each.bar_open_us, int(each.signal.action)) for each in signals]
    assert stored == [each for each in expected if each[0] >= stored[0][0]]
    assert len(stored) >= 8
    assert set(posted) <= {each.signal.signal_id for each in signals}
    assert len(posted) >= 8


def check_prices(database: Database, instrument: Instrument, prices: list[Signal]) -> None:
    """From the first bar that was posted on, each was, or still waits for it."""
    with database.reading() as connection:
        bars = read_bars(connection, instrument, Basis.TRADES, BAR_US, 0, 2 * START_US)
        waiting = [each.made.signal for each in read_signals(connection) if each.made.is_price]
    told = {signal.timestamp_us: signal.price for signal in [*prices, *waiting]}
    since_us = min(told)
    closes = {bar.end_us: float(instrument.exact_price(bar.close)) for bar in bars if bar.end_us >= since_us}
    assert told == closes
    assert len(prices) > 30


def check_orders(database: Database, instrument: Instrument) -> None:
    store = OrderStore(database, account := f"paper:{NAME}")
    orders = store.orders()
    assert orders
    listing = Listing.of(orders[0].ticket.instrument)  # as the venue wrote it
    paper = PaperExchange(
        PaperStore(database, account), instrument.venue, CURRENCY, Decimal(10_000), [listing],
        costs=Costs(Decimal(10), Decimal(10)), latency_us=50_000,
    )  # fmt: skip
    with database.reading() as connection:
        there = set(connection.execute(select(PAPER_ORDERS.c.client_id)).scalars())
    assert there == {order.client_id for order in orders}
    assert len({order.origin.signal_id for order in orders}) == len(orders)
    for order in orders:
        report = paper.order(order.client_id)
        assert report is not None
        assert (report.ticket, report.progress) == (order.ticket, order.progress)
    assert store.fills() == list(paper.fills())
    assert store.cash() == paper.balances().cash


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (
            "postgresql://me:s3cret@127.0.0.1:1/nowhere",
            "postgresql://me@127.0.0.1:1/nowhere: OperationalError: connection failed",
        ),
        ("postgresql://me:s3cret@/nowhere?host=/nonexistent", "nonexistent"),
    ],
)
def test_a_database_that_is_not_there_is_a_sentence_without_the_password(address: str, shown: str) -> None:
    with pytest.raises(StoreError) as refusal:
        open_database(address)
    assert shown in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_a_name_that_no_database_has_is_a_sentence_without_the_password(server: Postgres) -> None:
    with pytest.raises(StoreError, match="does not exist") as refusal:
        open_database(server.address("nowhere"))
    assert "unused" not in str(refusal.value)
