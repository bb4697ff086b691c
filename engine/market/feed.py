"""A feed: one venue, what is wanted of it, on as many connections as the venue asks for.

    feed = Feed(venue, subscriptions, sink, terms=…, clock=SystemClock(), random=Random(seed))
    async with feed:          # or: await feed.run()
        ...

Events come to `sink` in the order of their messages, connection by connection, in the event loop that runs the feed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from random import Random
from typing import Any, Protocol, Self

from raysignal.engine.core.errors import InvalidField, RaysignalError, StoreUnavailable, VenueRefusal
from raysignal.engine.core.listings import ListedSymbol
from raysignal.engine.core.market_events import Channel, Instrument, Kline
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.connection import Connection
from raysignal.engine.market.conversation import ConnectionTimeouts, Conversation, Notes, Sink
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.collector import BOUNDS_NS
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.monitoring.health import Health, HealthWatch
from raysignal.engine.market.monitoring.offset import VenueClock
from raysignal.engine.market.monitoring.process import ProcessWatch
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.protocol import Hosts, RestRequest, Subscription, Tracker, Venue
from raysignal.engine.market.venues.tracker import COUNTS


class Answers(Protocol):
    """A venue's REST side: `engine.market.rest.RestClient`, or what stands for it where there are no sockets."""

    async def get(self, request: RestRequest, *, tries: int | None = None) -> bytes:
        """See `RestClient.get`."""


_LEAST_S = 2.0


class Feed:
    """See the module.

    Args:
        sink: takes the events; see `engine.market.conversation`.
        hosts: where to connect; None: the venue's own addresses.
        limits: shared with the venue's other feeds of this process; None: this feed is the only one.
        observed: where it counts; None: it makes its own. Its offset sets the clock right by which messages are
            stamped.
        notes_of: makes the recording of a connection, by its number; None: nothing is recorded.
    """

    def __init__(
        self,
        venue: Venue,
        subscriptions: Sequence[Subscription],
        sink: Sink,
        *,
        clock: Clock,
        random: Random,
        terms: ConnectionTimeouts | None = None,
        hosts: Hosts | None = None,
        limits: VenueLimits | None = None,
        observed: FeedMetrics | None = None,
        notes_of: Callable[[int], Notes] | None = None,
    ) -> None:
        self.venue, self.observed = venue, observed or FeedMetrics()
        self._own_clock, self._terms = clock, _keepable(terms or ConnectionTimeouts(), clock)
        self._clock = VenueClock(clock, self.observed.offset)
        self._hosts = hosts or venue.hosts
        self._limits = limits or VenueLimits.of(venue.manners)
        now_s = clock.monotonic()
        self._conversations = [
            Conversation(
                venue, opening, sink, terms=self._terms, observed=self.observed, random=random, now_s=now_s,
                notes=notes_of(number) if notes_of else None,
            )
            for number, opening in enumerate(venue.openings(subscriptions))
        ]  # fmt: skip
        self._random = random
        self._connections: list[Connection] = []
        self._health = HealthWatch(
            now_s, start_within_s=self._terms.start_within_s, mend_within_s=self._terms.mend_within_s
        )
        self._task: asyncio.Task[None] | None = None
        self._process = ProcessWatch()

    async def run(self) -> None:
        """Run until cancelled; an exception of the sink ends it and comes out of here."""
        terms, observed, manners = self._terms, self.observed, self.venue.manners
        rest = self.rest_client()
        self._connections = [
            Connection(
                each, self._hosts.stream, clock=self._clock, limits=self._limits, rest=rest, terms=terms,
                texts_per_s=manners.texts_per_s, silence_s=manners.silence_s, observed=observed,
                random=self._random,
            )
            for each in self._conversations
        ]  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                for connection in self._connections:
                    group.create_task(connection.run())
                group.create_task(self._keep_asking_the_time(rest))
        except BaseExceptionGroup as group_of:
            error = group_of.exceptions[0]
            self._health.ended(f"ended by {type(error).__name__}: {error}")
            raise error from None
        except asyncio.CancelledError:
            self._health.ended("stopped")
            raise
        finally:
            await rest.close()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: connections closed, requests given up, every book said to be lost. Raises what the sink raised."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise

    def rest_client(self) -> RestClient:
        """A client of the venue's REST side within this feed's limits; its maker closes it."""
        return RestClient(
            self._hosts.rest,
            self._limits,
            self._clock,
            self.observed,
            self._random,
            answer_s=self._terms.answer_s,
        )

    async def ask_the_time(self, rest: Answers) -> None:
        """Learn how far the clocks are apart, where the venue says so; raises nothing."""
        with suppress(StoreUnavailable):
            await learn_the_time(self.venue, rest, self._own_clock, self.observed)

    async def _keep_asking_the_time(self, rest: Answers) -> None:
        while True:
            await self.ask_the_time(rest)
            await self._clock.sleep(self._terms.time_every_s)

    @property
    def was_ready(self) -> bool:
        """Whether it was ready once."""
        return self._health.was_ready

    def tracker(self, instrument: Instrument) -> Tracker:
        """The tracker that keeps the book of an instrument; KeyError if its depth was not subscribed to."""
        for each in self._conversations:
            if instrument.symbol in each.symbols:
                return each.tracker
        raise KeyError(instrument.symbol)

    def health(self) -> Health:
        """See `engine.market.monitoring.health`."""
        now_s = self._clock.monotonic()
        missing = [each.missing(now_s) for each in self._conversations]
        errors = {
            each.last_error for each in self._connections if each.last_error and not each.conversation.open
        }
        said = "; ".join(each for each in missing if each)
        return self._health.judge(f"{said} ({'; '.join(sorted(errors))})" if said and errors else said, now_s)

    def counts(self) -> dict[str, int]:
        """What the trackers count, of all connections."""
        total: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        for each in self._conversations:
            total.update({name: each.tracker.counts[name] for name in COUNTS})
        return dict(total)

    def snapshot(self) -> dict[str, Any]:
        """All there is to say, in plain values: for `GET /feed`, and for `FeedCollector`."""
        now_s, now_us = self._clock.monotonic(), self._own_clock.now_ns() // 1000
        health, offset = self.health(), self.observed.offset.estimate(now_us)
        stillness = [each.watch.longest_s(now_s) for each in self._conversations if each.symbols]
        refusals = [each.tracker.last_refusal for each in self._conversations if each.tracker.last_refusal]
        books = [
            each.tracker.in_sync(subscription.instrument)
            for each in self._conversations
            for subscription in each.opening.subscriptions
            if Channel.DEPTH in subscription.channels
        ]
        return {
            "name": self.venue.name,
            "health": health.as_dict(),
            "state": {
                "books": len(books),
                "books_in_sync": sum(books),
                "connections": sum(each.open for each in self._conversations),
                "staleness_s": max((each for each in stillness if each is not None), default=None),
            },
            "counts": self.observed.counts(),
            "books": self.counts(),
            "clock": {
                "offset_us": None if offset is None else offset.offset_us,
                "uncertainty_us": None if offset is None else offset.uncertainty_us,
                "basis": "" if offset is None else offset.basis,
                "corrected_us": self.observed.offset.correction_us,
                "trouble": self.observed.time_refused,
            },
            "latency": {
                stage: {
                    **found.summary(), "total_s": found.total_ns / 1e9, "buckets": found.counts_below(BOUNDS_NS),
                }
                for stage, found in self.observed.stages.items()
            },
            "loop": {"worst_lag_s": self.observed.worst_lag_s},
            "last_refusal": refusals[-1] if refusals else "",
            "process": asdict(self._process.read()),
        }  # fmt: skip


def _keepable(terms: ConnectionTimeouts, clock: Clock) -> ConnectionTimeouts:
    """Bounds that hang on how soon this machine reads are of its own seconds, too, however fast the clock runs."""
    least_s = _LEAST_S / clock.real(1.0)
    return replace(terms, quiet_s=max(terms.quiet_s, least_s), pong_s=max(terms.pong_s, least_s))


async def learn_the_time(venue: Venue, rest: Answers, own_clock: Clock, observed: FeedMetrics) -> int:
    """Learn how far the clocks are apart, to within half the time that an answer takes; gives what the venue said.

    Raises:
        StoreUnavailable: the venue does not say what time it is.
    """
    sent_us = own_clock.now_ns() // 1000
    try:
        server_us = venue.read_time(await rest.get(venue.time_request, tries=1))
    except RaysignalError as error:
        observed.time_refused = str(error)
        raise StoreUnavailable(f"{venue.name} does not say what time it is: {error}") from error
    observed.time_refused = ""
    observed.offset.asked(sent_us, server_us, own_clock.now_ns() // 1000)
    return server_us


async def instruments_of(venue: Venue, symbols: Sequence[str], rest: RestClient) -> list[Instrument]:
    """How these symbols are written at the venue, asked of it.

    Raises:
        InvalidField: one that it does not trade, with what it says.
        StoreUnavailable: it does not answer.
        UnreadableInput: its answer is none.
    """
    with naming_symbols(venue, symbols):
        return venue.read_instruments(symbols, await rest.get(venue.instruments_request(symbols), tries=5))


async def symbols_of(venue: Venue, rest: Answers) -> list[ListedSymbol]:
    """Every symbol that the venue lists, by name.

    Raises:
        StoreUnavailable: it does not answer.
        UnreadableInput: its answer is none.
    """
    found: list[ListedSymbol] = []
    for request in venue.symbols_requests:
        following: RestRequest | None = request
        while following is not None:
            body = await rest.get(following, tries=5)
            found += venue.read_symbols(body)
            following = venue.more_symbols(body)
    return sorted(found, key=lambda each: each.symbol)


@contextmanager
def naming_symbols(venue: Venue, symbols: Sequence[str]) -> Iterator[None]:
    """Within, what the venue refuses is `InvalidField` of these symbols, with what it says."""
    try:
        yield
    except VenueRefusal as error:
        listed = ", ".join(symbols)
        raise InvalidField(
            "symbol", listed, f"one that {venue.name} trades, written as it does; it answered {error}"
        ) from error


async def history_of(
    venue: Venue, instrument: Instrument, interval_us: int, count: int, rest: Answers, now_us: int
) -> list[Kline]:
    """The last `count` closed klines, oldest first, in as many requests as it takes; fewer if there are no more."""
    found: list[Kline] = []
    end_us = now_us - now_us % interval_us
    while len(found) < count:
        limit = min(venue.most_klines, count - len(found))
        request = venue.klines_request(instrument, interval_us, end_us, limit)
        body = await rest.get(request, tries=5)
        klines = [
            each
            for each in venue.read_klines(instrument, interval_us, body, now_us)
            if each.closed and each.open_us < end_us
        ]
        if not klines:
            break
        found = klines + found
        end_us = klines[0].open_us
    return found[-count:]
