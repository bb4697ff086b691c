"""One instrument followed, from its venue to its orders on paper: the parts put together.

async with following("binance-usdm:BTCUSDT", settings, context) as followed:
    await followed.run()                    # until it fails or is cancelled
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import InvalidField, StoreUnavailable, UnreadableInput, VenueRefusal
from raysignal.engine.core.instants import parse_bar
from raysignal.engine.core.listings import Costs, Listing
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.orders import OrderType
from raysignal.engine.core.signals import Signal
from raysignal.engine.database.database import Database
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.execution.policy import ExecutionPolicy
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.trader import Trader
from raysignal.engine.execution.trading_thread import TradingThread
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.market.bars import Bar, Basis, bar_of
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.feed import Answers, Feed, history_of, learn_the_time, naming_symbols
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.monitoring.health import FeedState, Health
from raysignal.engine.market.monitoring.offset import VenueClock
from raysignal.engine.market.recorder import RecorderContext, Rename, nothing_to_rename
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Hosts, Venue
from raysignal.engine.pipeline.crossover_feed import CrossoverFeed, CrossoverOptions
from raysignal.runtime.settings import Settings

CURRENCY = "quote"
"""What a paper account of one instrument counts in: whatever its prices are in."""

_HISTORY_S = 60.0
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class FeedContext:
    """What a program gives to those that it follows.

    Attributes:
        post: gives a signal to the portfolios, from a thread; see `engine.market.recorder.Post`.
        blobs: where bars are written as files, a day each; None: nowhere.
        limits: of each venue, shared by all its feeds; filled as they are needed.
        rename: renames a symbol of the portfolio; see `engine.market.recorder.Rename`.
    """

    database: Database
    post: Callable[[Signal], str]
    log: FilteringBoundLogger
    clock: Clock
    random: Random
    blobs: BlobStore | None
    limits: dict[str, VenueLimits]
    rename: Rename = nothing_to_rename

    def now_us(self) -> int:
        """The market's time."""
        return self.clock.now_ns() // 1000


@dataclass(frozen=True, slots=True)
class FollowedInstrument:
    """One instrument that is followed.

    Attributes:
        name: `venue:symbol`.
    """

    name: str
    instrument: Instrument
    feed: Feed
    station: CrossoverFeed

    def health(self) -> Health:
        """How the feed stands, and what follows it: ready if both are."""
        health = self.feed.health()
        missing = self.missing()
        return Health(FeedState.STALE, missing, health.since_s) if health.ready and missing else health

    def missing(self) -> str:
        """What is not as it should be of what follows the feed, in words; empty: nothing."""
        missing = self.station.missing()
        if missing and self.feed.observed.time_refused not in missing:
            missing += f" (the venue does not say its time: {self.feed.observed.time_refused})"
        return missing

    def status(self) -> dict[str, Any]:
        """As in `GET /feed`."""
        return self.feed.snapshot() | {
            "name": self.name,
            "health": self.health().as_dict(),
            "trouble": self.missing() or None,
            "station": self.station.status(),
        }

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            StoreUnavailable: the feed is dead; begin anew.
            Exception: what ended the feed, or the keeper behind it.
        """
        running = asyncio.create_task(self.feed.run())
        try:
            while True:
                done, _ = await asyncio.wait({running}, timeout=_LOOK_S)
                if done:
                    running.result()
                    return
                if self.station.failure is not None:
                    raise self.station.failure
                health = self.feed.health()
                if not health.alive:
                    raise StoreUnavailable(f"the feed is {health.state}: {health.reason}")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def following(name: str, settings: Settings, context: FeedContext) -> AsyncIterator[FollowedInstrument]:
    """An instrument, `venue:symbol`, with keeper and dealer at work; on exit, what was seen is on record.

    Raises:
        InvalidField: a venue or symbol that is none, windows or a bar that cannot be.
        StoreUnavailable: the venue does not answer.
    """
    venue_name, _, symbol = name.partition(":")
    venue = venue_named(venue_name)
    hosts = hosts_of(settings, venue)
    limits = context.limits.setdefault(venue.name, VenueLimits.of(venue.manners))
    observed = FeedMetrics()
    here, context = context.clock, replace(context, clock=VenueClock(context.clock, observed.offset))
    rest = RestClient(hosts.rest, limits, context.clock, observed, context.random)
    try:
        instrument, listing = await listed(venue, symbol, rest)
        dealer = await asyncio.to_thread(
            dealer_of, name, instrument, listing, settings, context, observed.stages["order"].observe
        )
        recorded = RecorderContext(
            database=context.database, history=_history(venue, rest, here, observed), post=context.post,
            log=context.log, now_us=context.now_us, blobs=context.blobs, rename=context.rename,
        )  # fmt: skip
        station = CrossoverFeed(venue, [instrument], terms_of(settings), recorded, dealer=dealer)
        feed = Feed(
            venue, station.subscriptions, station.take, clock=here, random=context.random, hosts=hosts,
            limits=limits, observed=observed,
        )  # fmt: skip
        await feed.ask_the_time(rest)
        station.follow(feed.tracker)
        station.start()
        try:
            yield FollowedInstrument(name, instrument, feed, station)
        finally:
            await asyncio.to_thread(station.stop)
    finally:
        await rest.close()


def hosts_of(settings: Settings, venue: Venue) -> Hosts:
    """Where a venue is reached."""
    other = settings.feed.hosts.get(venue.name)
    return venue.hosts if other is None else Hosts(other["stream"], other["rest"])


def terms_of(settings: Settings) -> CrossoverOptions:
    """What the settings say of bars and crossover."""
    feed = settings.feed
    return CrossoverOptions(
        parse_bar(feed.bar), feed.fast, feed.slow, Basis(feed.basis), post_bars=feed.post_bars
    )


@dataclass(frozen=True, slots=True)
class Markets:
    """What the venues say of the instruments of a path, by the portfolio's symbols, and each venue's limits."""

    instruments: dict[str, Instrument]
    listings: dict[str, Listing]
    limits: dict[str, VenueLimits]


async def bars_of_history(
    venue: Venue,
    instrument: Instrument,
    interval_us: int,
    from_us: int,
    to_us: int,
    rest: Answers,
    now_us: int,
) -> list[Bar]:
    """The venue's own klines that open from `from_us` on and before `to_us`, as bars; none of a length it has not."""
    count = max(1, -((from_us - now_us) // interval_us))
    try:
        klines = await history_of(venue, instrument, interval_us, count, rest, now_us)
    except InvalidField:
        return []
    except (UnreadableInput, VenueRefusal) as error:
        # What follows the market goes on without its past, and asks for it again later.
        raise StoreUnavailable(f"{venue.name} does not give its klines: {error}") from error
    return [bar_of(kline) for kline in klines if from_us <= kline.open_us < to_us]


async def listed(venue: Venue, symbol: str, rest: Answers) -> tuple[Instrument, Listing | None]:
    """How a symbol is written, and what the venue asks of orders in it; None for an inverse contract.

    Raises:
        InvalidField: a symbol that the venue does not trade.
        StoreUnavailable: it does not answer.
    """
    with naming_symbols(venue, [symbol]):
        body = await rest.get(venue.instruments_request([symbol]), tries=5)
        (instrument,) = venue.read_instruments([symbol], body)
        return instrument, None if instrument.inverse else venue.read_listings([symbol], body)[0]


def dealer_of(
    name: str,
    instrument: Instrument,
    listing: Listing | None,
    settings: Settings,
    context: FeedContext,
    sent: Callable[[int], None],
) -> TradingThread | None:
    """Who trades the crossings, if anybody does: an account of its own for each instrument.

    `listing` is what the venue asks of orders; None: it is not known, as for a recording.
    """
    if settings.paper.cash == 0.0:
        return None
    if instrument.inverse:
        context.log.info("no_paper_orders", feed=name, reason="it is an inverse contract")
        return None
    account = f"paper:{name}"
    listing = Listing.of(instrument) if listing is None else listing
    fee, cash = Decimal(repr(settings.paper.fee_bps)), Decimal(repr(settings.paper.cash))
    paper = PaperExchange(
        PaperStore(context.database, account), instrument.venue, CURRENCY, cash, [listing], costs=Costs(fee, fee),
        latency_us=round(settings.paper.latency_ms * 1000),
    )  # fmt: skip
    trader = Trader(
        OrderStore(context.database, account), paper, {instrument.name: listing}, plan_of(settings),
        identity=terms_of(settings).watch(instrument).identity,
    )  # fmt: skip
    return TradingThread(trader, paper, now_us=context.now_us, log=context.log, sent=sent)


def plan_of(settings: Settings) -> ExecutionPolicy:
    """What the settings say of orders."""
    kind = OrderType.LIMIT if settings.paper.order == "limit" else OrderType.MARKET
    return ExecutionPolicy(kind=kind, offset_bps=Decimal(repr(settings.paper.offset_bps)))


def _history(
    venue: Venue, rest: RestClient, own_clock: Clock, observed: FeedMetrics
) -> Callable[[Instrument, int, int, int], Sequence[Bar]]:
    """The venue's own klines as a keeper's history: called from its thread, asked in this loop."""
    loop = asyncio.get_running_loop()

    async def asked(instrument: Instrument, interval_us: int, from_us: int, to_us: int) -> list[Bar]:
        # By a clock that is fast the venue's bar of now is over, and would be stored as whole for good. What the venue
        # said before is not later than its now, however wrong this machine's clock is.
        venue_us = await learn_the_time(venue, rest, own_clock, observed)
        return await bars_of_history(venue, instrument, interval_us, from_us, to_us, rest, venue_us)

    def history(instrument: Instrument, interval_us: int, from_us: int, to_us: int) -> Sequence[Bar]:
        question = asyncio.run_coroutine_threadsafe(asked(instrument, interval_us, from_us, to_us), loop)
        try:
            return question.result(_HISTORY_S)
        except TimeoutError as error:
            question.cancel()
            raise StoreUnavailable(
                f"{venue.name} did not answer within {_HISTORY_S:g} s about its klines"
            ) from error

    return history
