"""A feed from its start to its end: what it is given, what it says of itself, and what ends it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from raysignal.engine.core.errors import InvalidField, StoreUnavailable, VenueRefusal
from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event, Instrument
from raysignal.engine.market.clocks import FastClock
from raysignal.engine.market.conversation import ConnectionTimeouts, Notes, Sink
from raysignal.engine.market.feed import Feed, history_of, instruments_of
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.monitoring.health import FeedState
from raysignal.engine.market.recordings import Recorder, RecordingPlayer, read_recording
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues import binance
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.protocol import Hosts, RestRequest, Subscription, Venue
from raysignal.loopback.exchanges.disturbance import Disturbance
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from tests.support.feed_pages import feed_page

START_US = 1_700_000_000_000_000
MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
BOOKS = frozenset({Channel.DEPTH})


def exchange_of(venue: str = "binance") -> GeneratedExchange:
    return GeneratedExchange(venue, seed=5, start_us=START_US)


class Sunk:
    """Keeps the events, and tells who waits."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._called = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.events += events
        self._called.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self._called.clear()
                await self._called.wait()

    def changes(self) -> int:
        return sum(isinstance(each, BookChange) for each in self.events)


def feed_of(
    loopback: ExchangeServer,
    sink: Sink,
    *,
    venue: Venue = binance.SPOT,
    terms: ConnectionTimeouts | None = None,
    limits: VenueLimits | None = None,
    notes_of: Callable[[int], Notes] | None = None,
) -> Feed:
    subscriptions = [Subscription(each, BOOKS) for each in loopback.exchange.instruments]
    return Feed(
        venue, subscriptions, sink, clock=loopback.clock, random=Random(5), hosts=loopback.hosts, terms=terms,
        limits=limits, notes_of=notes_of,
    )  # fmt: skip


async def test_a_stopped_feed_has_said_that_every_book_is_lost_and_leaves_the_exchange() -> None:
    sink = Sunk()
    async with ExchangeServer(exchange_of(), speed=50) as loopback:
        feed = feed_of(loopback, sink)
        async with feed:
            await sink.until(lambda: feed.health().ready)
        assert loopback.exchange.clients == []
        lost = [each for each in sink.events[-2:] if isinstance(each, BookLost)]
        assert sorted(each.instrument.symbol for each in lost) == ["BTCUSDT", "ETHUSDT"]
        assert {each.reason for each in lost} == {"disconnected"}
        assert (feed.health().state, feed.health().reason) == (FeedState.DEAD, "stopped")


@pytest.mark.parametrize("after", [1, 2, 40])
async def test_an_error_of_the_sink_ends_the_feed_and_comes_out(after: int) -> None:
    calls = 0
    failed = asyncio.Event()

    def sink(
        events: Sequence[Event],
    ) -> None:  # the first calls come of REST snapshots, later ones of messages
        nonlocal calls
        calls += 1
        if calls == after:
            failed.set()
            raise ZeroDivisionError("a defect")

    async with ExchangeServer(exchange_of(), speed=50) as loopback:
        feed = feed_of(loopback, sink)
        await feed.__aenter__()
        async with asyncio.timeout(15):
            await failed.wait()
            while feed.health().alive:
                await loopback.clock.sleep(1.0)
        with pytest.raises(ZeroDivisionError, match="a defect"):
            await feed.__aexit__()
        assert feed.health().reason == "ended by ZeroDivisionError: a defect"
        assert calls == after  # nobody hears anything after an error of his own


async def test_a_connection_is_renewed_before_the_venue_would_end_it() -> None:
    sink = Sunk()
    venue = replace(binance.SPOT, manners=replace(binance.SPOT.manners, lifetime_s=20.0))
    async with ExchangeServer(exchange_of(), speed=50) as loopback:
        async with feed_of(loopback, sink, venue=venue) as feed:
            await sink.until(lambda: feed.observed.renewals >= 2 and feed.health().ready)
            assert feed.observed.connect_errors == 0
            assert feed.counts()["gaps"] == 0
        lost = [each for each in sink.events if isinstance(each, BookLost)]
        assert {each.reason for each in lost} == {"disconnected"}


async def test_an_exchange_that_is_not_there_is_a_slow_start_first_and_a_failed_feed_then() -> None:
    sink, clock = Sunk(), FastClock(START_US, 100.0)
    instrument = exchange_of().instruments[0]
    feed = Feed(
        binance.SPOT, [Subscription(instrument)], sink, clock=clock, random=Random(1),
        hosts=Hosts("ws://127.0.0.1:9", "http://127.0.0.1:9"),
        terms=ConnectionTimeouts(start_within_s=60.0, most_delay_s=10.0),
    )  # fmt: skip
    assert feed.health().state is FeedState.STARTING
    async with feed, asyncio.timeout(15):
        while feed.health().alive or feed.observed.connect_errors < 3:
            await clock.sleep(1.0)
        reason = feed.health().reason
        assert feed.health().state is FeedState.FAILED
    assert reason.startswith("not ready within 60 s: /stream is not connected (")
    assert feed.observed.connect_errors >= 3
    assert sink.events == []


async def test_a_refusal_is_kept_away_from_for_as_long_as_the_venue_says() -> None:
    exchange, sink = GeneratedExchange("binance", seed=5, start_us=START_US, retry_after_s=30), Sunk()
    exchange.orders.place(Disturbance.REFUSED)
    async with ExchangeServer(exchange, speed=50) as loopback:
        begun = loopback.clock.monotonic()
        async with feed_of(loopback, sink) as feed:
            await sink.until(lambda: feed.observed.connects == 1)
            assert feed.observed.connect_errors == 1
            assert loopback.clock.monotonic() - begun >= 30.0


async def test_a_sink_that_holds_up_reading_is_counted() -> None:
    sink = Sunk()
    async with (
        ExchangeServer(exchange_of(), speed=50) as loopback,
        feed_of(loopback, sink, terms=ConnectionTimeouts(slow_sink_s=0.0)) as feed,
    ):
        await sink.until(lambda: feed.observed.slow_sinks > 5)
        assert feed.snapshot()["latency"]["decision"]["count"] >= feed.observed.slow_sinks


async def test_what_a_feed_records_replays_to_what_it_said(tmp_path: Path) -> None:
    sink, again = Sunk(), Sunk()
    async with ExchangeServer(exchange_of(), speed=50) as loopback:
        with Recorder(tmp_path, "binance-0", observed=FeedMetrics()) as notes:
            async with feed_of(loopback, sink, notes_of=lambda _: notes) as feed:
                await sink.until(lambda: sink.changes() > 50)
                loopback.exchange.orders.place("drop")
                loopback.exchange.orders.place("cut")
                await sink.until(lambda: feed.observed.reconnects >= 1 and feed.health().ready)
        subscriptions = [Subscription(each, BOOKS) for each in loopback.exchange.instruments]
    player = RecordingPlayer(binance.SPOT.tracker(subscriptions), subscriptions, again)
    for line in read_recording(notes.paths):
        player.take(line)
    assert again.events == sink.events


async def test_a_feed_says_of_itself_what_prometheus_reads() -> None:
    sink = Sunk()
    async with ExchangeServer(exchange_of(), speed=50) as loopback, feed_of(loopback, sink) as feed:
        await sink.until(lambda: sink.changes() > 20)
        snapshot = feed.snapshot()
        assert snapshot["state"] == {
            "books": 2, "books_in_sync": 2, "connections": 1, "staleness_s": snapshot["state"]["staleness_s"],
        }  # fmt: skip
        assert snapshot["counts"]["events"] >= 20
        assert snapshot["latency"]["arrival"]["below_zero"] == 0
        clock = snapshot["clock"]
        assert (clock["basis"], clock["trouble"]) == ("server time", "")
        # One clock, so that they are apart by no more than is said; the venue writes milliseconds.
        assert abs(clock["offset_us"]) <= clock["uncertainty_us"] + 1000 * loopback.speed
        page = feed_page([snapshot]).decode()
    assert f'raysignal_feed_events_total{{feed="binance"}} {float(snapshot["counts"]["events"])}' in page
    assert 'raysignal_feed_state{feed="binance",state="ready"} 1.0' in page
    assert 'raysignal_feed_clock_offset_seconds{basis="server time",feed="binance"}' in page
    assert (
        f'raysignal_feed_clock_uncertainty_seconds{{feed="binance"}} {clock["uncertainty_us"] / 1e6}' in page
    )


@pytest.mark.parametrize("name", sorted(VENUES))
async def test_the_venues_time_is_asked_for_again_and_a_refusal_disturbs_nothing(name: str) -> None:
    sink, exchange = Sunk(), exchange_of(name)
    async with ExchangeServer(exchange, speed=50) as loopback:
        exchange.orders.place("unavailable")
        async with feed_of(
            loopback, sink, venue=venue_named(name), terms=ConnectionTimeouts(time_every_s=60.0)
        ) as feed:
            await sink.until(lambda: bool(feed.observed.time_refused))
            assert "503" in feed.snapshot()["clock"]["trouble"]
            await sink.until(lambda: feed.snapshot()["clock"]["basis"] == "server time")
            assert feed.snapshot()["clock"]["trouble"] == ""
            first = feed.observed.offset.estimate(loopback.clock.now_ns() // 1000)
            assert first is not None
            assert first.uncertainty_us is not None
            await sink.until(lambda: sink.changes() > 20)
            assert feed.observed.reconnects == 0


def rest_of(loopback: ExchangeServer, observed: FeedMetrics) -> RestClient:
    limits = VenueLimits.of(binance.SPOT.manners)
    return RestClient(loopback.hosts.rest, limits, loopback.clock, observed, Random(1))


@pytest.mark.parametrize("name", sorted(VENUES))
async def test_a_venue_is_asked_for_instruments_and_history(name: str) -> None:
    venue, exchange = venue_named(name), exchange_of(name)
    async with ExchangeServer(exchange, speed=1000) as loopback:
        rest = rest_of(loopback, FeedMetrics())
        try:
            symbols = [each.symbol for each in exchange.instruments]
            found = await instruments_of(venue, symbols, rest)
            assert [each.symbol for each in found] == symbols
            assert [each.contract_size for each in found] == [
                each.contract_size for each in exchange.instruments
            ]
            with pytest.raises(InvalidField, match="symbol is 'NOSUCH'; expected one that"):
                await instruments_of(venue, ["NOSUCH"], rest)
            # As the venue writes them, so that no digit is lost.
            instrument = exchange.instruments[0]
            now_us = exchange.now_us
            klines = await history_of(venue, instrument, DAY_US, 250, rest, now_us)
            assert len(klines) == 250
            today = now_us - now_us % DAY_US
            assert [each.open_us for each in klines] == [today - (250 - k) * DAY_US for k in range(250)]
            assert all(each.closed for each in klines)
            assert all(first.close == second.open for first, second in pairwise(klines))
        finally:
            await rest.close()


async def test_a_request_that_is_refused_for_good_is_not_made_again() -> None:
    async with ExchangeServer(exchange_of()) as loopback:
        observed = FeedMetrics()
        rest = rest_of(loopback, observed)
        with pytest.raises(VenueRefusal, match=r"/api/v3/depth: 400 .*Invalid symbol"):
            await rest.get(RestRequest("/api/v3/depth?symbol=NOSUCH"))
        with pytest.raises(VenueRefusal, match="404"):
            await rest.get(RestRequest("/nowhere"))
        assert observed.rest_requests == 2
        await rest.close()


async def test_a_request_is_made_again_within_its_tries_and_everybody_waits_for_a_limit() -> None:
    async with ExchangeServer(exchange_of(), speed=50) as loopback:
        observed = FeedMetrics()
        rest, clock = rest_of(loopback, observed), loopback.clock
        loopback.exchange.orders.place("unavailable", count=3)
        with pytest.raises(StoreUnavailable, match="503"):
            await rest.get(RestRequest("/api/v3/time"), tries=3)
        loopback.exchange.orders.place("too_many")
        begun = clock.monotonic()
        await asyncio.gather(*(rest.get(RestRequest("/api/v3/time")) for _ in range(4)))
        assert clock.monotonic() - begun >= 2.0
        assert (observed.rest_limited, observed.rest_errors) == (1, 4)
        await rest.close()


def test_the_tracker_of_what_was_not_subscribed_to_is_not_there() -> None:
    clock = FastClock(START_US, 1.0)
    instrument = Instrument("binance", "BTCUSDT")
    feed = Feed(binance.SPOT, [Subscription(instrument)], lambda _: None, clock=clock, random=Random(1))
    assert feed.tracker(instrument).in_sync(instrument) is False
    with pytest.raises(KeyError):
        feed.tracker(Instrument("binance", "ETHUSDT"))


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_a_feed_can_be_stopped_at_any_moment_of_losing_its_connection(turns: int) -> None:
    sink = Sunk()
    async with ExchangeServer(exchange_of(), speed=50) as loopback:
        feed = feed_of(loopback, sink)
        async with feed:
            await sink.until(lambda: feed.health().ready)
            for connection in list(loopback._clients):
                connection.transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)  # a turn of the loop, no time
            async with asyncio.timeout(10):
                await feed.__aexit__()
        assert feed.health().reason == "stopped"
