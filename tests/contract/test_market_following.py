"""An instrument that is followed, on exchanges, clocks and databases that are not as they should be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import event

from raysignal.engine.database.database import Database
from raysignal.engine.market.bar_rows import read_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.market.monitoring.health import FeedState
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.loopback.exchanges.speech import RestAnswer
from raysignal.runtime.feed_supervisor import Supervisor
from raysignal.runtime.feeds import FollowedInstrument, following
from tests.support.feed_pages import feed_page
from tests.support.market_following import START_US, Refusing, WrongClock, around_of, settings_of
from tests.support.market_keeping import Log

SYMBOL = {"binance": "BTCUSDT", "okx": "BTC-USDT", "bybit": "BTCUSDT"}
TIME = {"binance": "/time", "okx": "/public/time", "bybit": "/market/time"}


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Look again each turn of the loop that something happened in."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - of another thread's work, too, which tells nobody
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(
    followed: FollowedInstrument,
) -> AsyncIterator[Callable[[Callable[[], bool]], Awaitable[None]]]:
    """It runs; gives a wait for a condition, which fails with what has ended it."""
    task = asyncio.create_task(followed.run())

    async def wait(condition: Callable[[], bool]) -> None:
        await until(lambda: task.done() or condition())
        if task.done():
            task.result()

    try:
        yield wait
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("ahead_s", [-61.0, 600.0])
@pytest.mark.parametrize("venue", sorted(SYMBOL))
async def test_a_clock_that_is_wrong_makes_the_same_bars(venue: str, ahead_s: float, tmp_path: Path) -> None:
    symbol = SYMBOL[venue]
    async with (
        ExchangeServer(Refusing(venue, symbols=[symbol]), speed=10) as loopback,
        around_of(loopback, tmp_path, WrongClock(loopback.clock, ahead_s)) as context,
        following(f"{venue}:{symbol}", settings_of(loopback, tmp_path, symbol), context) as followed,
        running(followed) as wait,
    ):

        def whole() -> list[Bar]:
            with context.database.reading() as connection:
                bars = read_bars(
                    connection, followed.instrument, Basis.TRADES, 1_000_000, START_US, 2 * START_US
                )
            assert all(bar.end_us <= loopback.exchange.now_us for bar in bars)  # none that was not over
            return [bar for bar in bars if bar.complete]

        def right() -> bool:
            return abs(followed.status()["clock"]["corrected_us"] - ahead_s * 1e6) < 1e6

        await wait(lambda: len(whole()) >= 3 and followed.health().ready and right())
        status = followed.status()
        (shown,) = status["station"]["symbols"].values()
        assert (shown["ahead"], shown["late"]) == (0, 0)


@pytest.mark.parametrize("venue", sorted(SYMBOL))
async def test_a_feed_that_leaves_out_every_price_is_not_ready_and_says_why(
    venue: str, tmp_path: Path
) -> None:
    symbol, exchange = SYMBOL[venue], Refusing(venue, symbols=[SYMBOL[venue]])
    exchange.answers[TIME[venue]] = RestAnswer(503, b"closed for today")
    async with (
        ExchangeServer(exchange, speed=10) as loopback,
        around_of(loopback, tmp_path, WrongClock(loopback.clock, -61.0)) as context,
        following(f"{venue}:{symbol}", settings_of(loopback, tmp_path, symbol), context) as followed,
        running(followed) as wait,
    ):
        await wait(lambda: followed.feed.health().ready and "left out" in followed.health().reason)
        status, health = followed.status(), followed.health()
        page = feed_page([status]).decode()
        assert health.state is not FeedState.READY
        assert f"prices of {symbol} are left out, being stamped 61 s ahead of the clock" in health.reason
        assert "closed for today" in health.reason
        assert status["health"]["reason"] == health.reason
        left_out = f'raysignal_feed_prices_left_out_total{{feed="{venue}:{symbol}",reason="ahead"}} '
        (line,) = [line for line in page.splitlines() if line.startswith(left_out)]
        assert float(line.rpartition(" ")[2]) >= 10
        exchange.answers.clear()  # the venue says its time again
        rest = followed.feed.rest_client()
        await followed.feed.ask_the_time(rest)
        await rest.close()
        await wait(lambda: followed.health().ready)


@pytest.mark.parametrize("venue", sorted(SYMBOL))
async def test_a_fast_clock_stores_no_kline_that_is_not_over_while_the_venue_does_not_say_its_time(
    venue: str, tmp_path: Path
) -> None:
    symbol, exchange = SYMBOL[venue], Refusing(venue, symbols=[SYMBOL[venue]])
    exchange.answers[TIME[venue]] = RestAnswer(503, b"closed for today")
    async with (
        ExchangeServer(exchange, speed=10) as loopback,
        around_of(loopback, tmp_path, WrongClock(loopback.clock, 61.0)) as context,
        following(f"{venue}:{symbol}", settings_of(loopback, tmp_path, symbol), context) as followed,
        running(followed) as wait,
    ):
        await wait(lambda: "bars and signals are not kept" in followed.health().reason)
        health = followed.health()
        assert not health.ready
        assert f"{venue} does not say what time it is" in health.reason
        assert health.reason.count("closed for today") == 1
        exchange.answers.clear()

        def stored() -> list[Bar]:
            with context.database.reading() as connection:
                bars = read_bars(
                    connection, followed.instrument, Basis.TRADES, 1_000_000, START_US - 10**9, 2 * START_US
                )
            assert all(bar.end_us <= loopback.exchange.now_us for bar in bars)
            return bars

        await wait(lambda: len(stored()) >= 50 and followed.health().ready)


@pytest.mark.parametrize("symbol", ["NOSUCH", "btcusdt"])
@pytest.mark.parametrize("venue", ["binance", "binance-usdm", "okx", "bybit"])
async def test_a_symbol_that_the_venue_refuses_is_asked_for_once_and_has_failed_with_its_words(
    venue: str, symbol: str, tmp_path: Path
) -> None:
    exchange, name = Refusing(venue), f"{venue}:{symbol}"
    async with ExchangeServer(exchange) as loopback, around_of(loopback, tmp_path) as context:
        settings = settings_of(loopback, tmp_path, symbol)
        supervisor = Supervisor(
            name,
            lambda: following(name, settings, context),
            clock=loopback.clock,
            random=Random(1),
            log=context.log,
        )
        async with asyncio.timeout(20):
            await supervisor.run()
    health = supervisor.health()
    assert health.state is FeedState.FAILED
    assert f"symbol is '{symbol}'; expected one that {venue} trades" in health.reason
    assert [
        path for path in exchange.asked if "nstrument" in path or "exchangeInfo" in path
    ] == exchange.asked
    assert len(exchange.asked) == 1


async def test_a_full_disk_is_trouble_until_there_is_room_and_is_logged_once(tmp_path: Path) -> None:
    exchange, log = Refusing("okx", symbols=["BTC-USDT"]), Log()
    async with (
        ExchangeServer(exchange, speed=10) as loopback,
        around_of(loopback, tmp_path, log=log.logger) as context,
        following("okx:BTC-USDT", settings_of(loopback, tmp_path, "BTC-USDT"), context) as followed,
        running(followed) as wait,
    ):
        await wait(lambda: followed.health().ready and followed.station.begun)
        with full_disk(context.database):
            await wait(lambda: not followed.health().ready)
            since_us = exchange.now_us
            await wait(lambda: exchange.now_us > since_us + 30_000_000)
            status = followed.status()
            assert status["health"]["state"] == "stale"
            assert "full" in status["trouble"]
            assert status["health"]["reason"] == status["trouble"]
            troubles = [
                (line["event"], line["reason"]) for line in log.events() if "full" in line.get("reason", "")
            ]
            assert 1 <= len(troubles) <= 4
            assert len(set(troubles)) == len(troubles)
        await wait(lambda: followed.health().ready and followed.station.begun)
        assert followed.status()["trouble"] is None


@contextmanager
def full_disk(database: Database) -> Iterator[None]:
    """The file of the database cannot grow."""

    def limit(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    def unlimit(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    event.listen(database._engine, "checkout", limit)
    try:
        yield
    finally:
        event.remove(database._engine, "checkout", limit)
        event.listen(database._engine, "checkout", unlimit)
