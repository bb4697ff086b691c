"""The loopback exchange as its users meet it: over HTTP, by its command, and playing a recording."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from raysignal.engine.core.market_events import BookChange, Channel, Event
from raysignal.engine.market.conversation import ConnectionTimeouts
from raysignal.engine.market.feed import Feed
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.recordings import Recorder
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.protocol import Subscription
from raysignal.loopback.exchanges.__main__ import main
from raysignal.loopback.exchanges.disturbance import Disturbance
from raysignal.loopback.exchanges.exchange import SYMBOLS, GeneratedExchange
from raysignal.loopback.exchanges.market import MarketMoves
from raysignal.loopback.exchanges.recorded import RecordedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.loopback.exchanges.unplugged import Unplugged
from tests.cluster.waiting import until

START_US = 1_700_000_000_000_000
FAR_US = 60_000_000
NEVER = 1e9  # a fast clock makes a busy machine look like a silent venue
SEEN = frozenset({Channel.DEPTH, Channel.QUOTES})


async def test_a_running_exchange_is_told_what_to_do_and_says_what_it_does() -> None:
    loopback = ExchangeServer(GeneratedExchange("okx", seed=1, start_us=START_US), speed=10)
    async with loopback, httpx.AsyncClient() as client:
        client.base_url = httpx.URL(loopback.hosts.rest)
        status = (await client.get("/loopback")).json()
        assert (status["venue"], status["connections"], status["waiting"]) == ("okx", 0, 0)
        asked = await client.get("/loopback/disturb?what=refused&count=2")
        assert (asked.status_code, asked.json()["waiting"]) == (200, 2)
        wrong = await client.get("/loopback/disturb?what=explode")
        assert wrong.status_code == 400
        assert "what is 'explode'; expected one of drop" in wrong.json()["detail"]
        assert (await client.get("/nowhere")).status_code == 404
        for _ in range(2):
            with pytest.raises(InvalidStatus, match="503"):
                async with connect(f"{loopback.hosts.stream}/ws/v5/public"):
                    pass
        with pytest.raises(InvalidStatus, match="404"):
            async with connect(f"{loopback.hosts.stream}/ws/nowhere"):
                pass
        assert (await client.get("/loopback")).json()["done"] == {"refused": 2}


async def test_what_a_venue_refuses_is_refused_in_its_words() -> None:
    for venue, path, text, words in (
        ("okx", "/ws/v5/public", '{"op":"subscribe","args":[{"channel":"books","instId":"X"}]}', "doesn't exist"),
        ("okx", "/ws/v5/public", "nonsense", "Invalid request"),
        ("okx", "/ws/v5/public", '{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}', "60018"),
        ("bybit", "/v5/public/spot", '{"op":"subscribe","args":["orderbook.50.X"]}', "handler not found"),
        ("binance", "/stream", "{", "unable to parse"),
    ):  # fmt: skip
        async with (
            asyncio.timeout(5),
            ExchangeServer(GeneratedExchange(venue, seed=1, start_us=START_US)) as loopback,
            connect(loopback.hosts.stream + path) as socket,
        ):
            await socket.send(text)
            assert words in await socket.recv(decode=True)


def recorded(venue: str, folder: Path) -> list[Path]:
    exchange = GeneratedExchange(
        venue, seed=4, start_us=START_US, symbols=SYMBOLS[venue][:1], market=MarketMoves(step_us=500_000)
    )
    subscriptions = [Subscription(each, SEEN) for each in exchange.instruments]
    with Recorder(folder, venue, observed=FeedMetrics()) as notes:
        run = Unplugged(
            exchange, venue_named(venue), subscriptions, lambda _: None, seed=4, notes_of=lambda _: notes
        )
        run.run(START_US + 150_000_000)
    return notes.paths


async def briefly(condition: Callable[[], bool]) -> None:
    """Wait until it holds, or for long enough for a snapshot to be asked for and answered."""
    with contextlib.suppress(AssertionError):
        await until(condition, "", deadline_s=0.3)


@pytest.mark.parametrize("venue", sorted(VENUES))
async def test_a_recording_is_played_to_a_feed_that_may_come_back_in_the_middle(
    venue: str, tmp_path: Path
) -> None:
    paths = recorded(venue, tmp_path)
    instruments = GeneratedExchange(venue, seed=4, start_us=START_US).instruments[:1]
    exchange = RecordedExchange(venue, paths, instruments)
    found: Any = venue_named(venue)
    patient = replace(found, manners=replace(found.manners, silence_s=NEVER))
    changes: list[BookChange] = []

    def sink(events: Sequence[Event]) -> None:
        changes.extend(each for each in events if isinstance(each, BookChange))

    async with ExchangeServer(exchange, speed=200) as loopback:
        feed = Feed(
            patient, [Subscription(each, SEEN) for each in instruments], sink, clock=loopback.clock,
            random=Random(1), hosts=loopback.hosts, terms=ConnectionTimeouts(still_s=NEVER, unsynced_s=NEVER,
            ping_s=NEVER),
        )  # fmt: skip
        async with feed:
            await until(lambda: len(changes) >= 100, "changes come")
            exchange.orders.place("cut")
            await until(lambda: bool(exchange.orders.done[Disturbance.CUT]), "the connection is cut")
            # A recording does not wait for who comes back: what it says meanwhile would be missing at its end.
            loopback.pause()
            await until(lambda: feed.observed.reconnects == 1, "the feed comes back")
            tracker = feed.tracker(instruments[0])
            while not tracker.in_sync(instruments[0]) and exchange.advance(exchange.now_us + FAR_US):
                loopback._send()
                await briefly(lambda: tracker.in_sync(instruments[0]))
            loopback.resume()
            await until(lambda: exchange.ended, "the recording ends")
            truth = exchange.shown()[instruments[0].symbol].newest()
            await until(lambda: changes[-1].update_id == truth.update_id, "the last change comes")
            book = feed.tracker(instruments[0]).book(instruments[0])
            sides = [
                dict(zip(*(each.tolist() for each in book.levels(side)), strict=True)) for side in (0, 1)
            ]
    assert sides == [truth.bids, truth.asks]
    assert feed.observed.reconnects == 1
    assert len(changes) > 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--venue", "nasdaq"], "invalid choice: 'nasdaq'"),
        (["--venue", "okx", "--speed", "0"], "--speed: 0; expected above 0"),
        (["--venue", "okx", "--recording", "nowhere.gz"], "nowhere.gz is not there"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert words in capsys.readouterr().err


async def test_the_command_serves_until_it_is_interrupted() -> None:
    # Where tests run in the background of a shell they ignore it, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "raysignal.loopback.exchanges", "--venue", "bybit", "--port", "0", "--speed", "10",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = (await process.stdout.readline()).decode()
        assert line.startswith("bybit on ws://127.0.0.1:")
        async with httpx.AsyncClient() as client:
            time = await client.get(line.split()[-1] + "/v5/market/time")
        assert time.json()["retCode"] == 0
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
