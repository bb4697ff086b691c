"""Recordings of exchanges: made of a live feed, and played through what follows one."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import BookChange, Channel, Event, Instrument
from raysignal.engine.database.database import Database
from raysignal.engine.execution.trading_thread import TradingThread
from raysignal.engine.market.clocks import Clock, SystemClock
from raysignal.engine.market.conversation import Sink
from raysignal.engine.market.feed import Feed, instruments_of
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.recorder import RecorderContext
from raysignal.engine.market.recordings import Recorder, RecordingHeader
from raysignal.engine.market.replay import MergedReplay, Series
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Subscription
from raysignal.engine.pipeline.crossover_feed import CrossoverFeed
from raysignal.runtime.feeds import FeedContext, dealer_of, hosts_of, terms_of
from raysignal.runtime.settings import Settings

TradedFeed = tuple[CrossoverFeed, TradingThread | None]
"""What follows one instrument, and who trades it."""

SHOWN_EVERY_S = 5.0
_CHECK_EVERY = 256  # lines
_AHEAD = 500  # bars that may wait for the database before the recording does
_TURN_S, _TURNS = 0.001, 10
_SETTLE_S = 10.0


@dataclass(slots=True)
class RecordedInstrument:
    """One instrument that is recorded."""

    name: str
    feed: Feed
    recorders: list[Recorder]

    def sentence(self) -> str:
        """How it stands, in a line."""
        health, counts = self.feed.health(), self.feed.observed.counts()
        why = f" ({health.reason})" if health.reason else ""
        return f"{self.name}: {health.state}{why}; {counts['messages']:,d} messages, {counts['bytes'] / 1e6:,.1f} MB"

    def as_dict(self) -> dict[str, Any]:
        """What was written."""
        counts = self.feed.observed.counts()
        files = [str(path) for recorder in self.recorders for path in recorder.paths]
        return {
            "name": self.name,
            "messages": counts["messages"],
            "bytes": counts["bytes"],
            "left_out": counts["unrecorded"],
            "reconnects": counts["reconnects"],
            **{
                name: count
                for name, count in self.feed.counts().items()
                if name in {"gaps", "resyncs", "malformed"}
            },
            "files": files,
            "bytes_written": sum(Path(path).stat().st_size for path in files),
        }


async def record_instrument(
    name: str, settings: Settings, folder: Path, channels: frozenset[Channel], clock: Clock,
    limits: dict[str, VenueLimits], stack: AsyncExitStack,
) -> RecordedInstrument:  # fmt: skip
    """Find an instrument at its venue, and prepare what records it; `stack` ends it.

    Args:
        name: `venue:symbol`.
        settings: the venue's hosts.
        folder: where the files go.
        channels: what is recorded.
        clock: of the venue.
        limits: of each venue, shared by its instruments.
        stack: closes the files.

    Raises:
        InvalidField: the venue has none of these channels of it.
    """
    venue_name, _, symbol = name.partition(":")
    venue = venue_named(venue_name)
    hosts, random = hosts_of(settings, venue), Random()  # noqa: S311 - jitter
    its_limits = limits.setdefault(venue.name, VenueLimits.of(venue.manners))
    observed, recorders = FeedMetrics(), []
    rest = RestClient(hosts.rest, its_limits, clock, observed, random)
    try:
        (instrument,) = await instruments_of(venue, [symbol], rest)
        subscription = Subscription(instrument, channels)
        openings = venue.openings([subscription])
        if not openings:
            raise InvalidField("channels", ", ".join(channels), f"some that {venue.name} has of {symbol}")
        for number, opening in enumerate(openings):
            about = RecordingHeader(venue.name, number, opening.subscriptions)
            recorder = Recorder(
                folder, f"{venue.name}-{symbol.lower()}-{number}", observed=observed, about=about
            )
            stack.callback(recorder.close)
            recorders.append(recorder)
        feed = Feed(
            venue, [subscription], lambda _events: None, clock=clock, random=random, hosts=hosts, limits=its_limits,
            observed=observed, notes_of=recorders.__getitem__,
        )  # fmt: skip
        await feed.ask_the_time(rest)  # so that the first message is stamped as the last
    finally:
        await rest.close()
    return RecordedInstrument(name, feed, recorders)


class PlayedRecordings:
    """Recordings played through what follows a live feed.

    Args:
        series: what is played.
        speed: times as fast as it was recorded; None: as fast as it goes.
        settings: of the bars, the crossings and the orders.
        database: where these are kept.
        log: what happens.
    """

    def __init__(
        self, series: Sequence[Series], speed: float | None, settings: Settings, database: Database,
        log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._speed = speed
        self._together = MergedReplay(series, self._sink_of)
        self._desks = {
            instrument: _station(self._together, instrument, settings, database, log)
            for instrument in self._together.instruments
        }
        self._best: dict[Instrument, BookChange] = {}
        self._pause = threading.Event()  # never set: to wait for
        self._first_ns = 0
        self._seconds = 0.0
        for station, _ in self._desks.values():
            station.follow(self._together.tracker)
            station.start()

    def stop(self) -> None:
        """End the threads."""
        for station, _ in self._desks.values():
            station.stop()

    def _sink_of(self, venue: str) -> Sink:
        def take(events: Sequence[Event]) -> None:
            for instrument, (station, _) in self._desks.items():
                if instrument.venue == venue:
                    station.take(events)
            for event in events:
                if isinstance(event, BookChange):
                    self._best[event.instrument] = event

        return take

    def play(self, show: Callable[[str], None]) -> None:
        """Play to the end; `show` is told now and then how far it is."""
        together, speed = self._together, self._speed
        self._until(lambda: all(station.begun for station, _ in self._desks.values()))
        began, shown = time.monotonic(), time.monotonic()
        try:
            for due in together.lines():
                self._first_ns = self._first_ns or due.received_ns
                if speed is not None:
                    wait = began + (due.received_ns - self._first_ns) / 1e9 / speed - time.monotonic()
                    if wait > 0:
                        self._pause.wait(wait)
                together.take(due)
                self._make_room()
                if together.taken % _CHECK_EVERY == 0 and time.monotonic() - shown >= SHOWN_EVERY_S:
                    shown = time.monotonic()
                    show(f"{together.taken:,d} lines")
        finally:
            self._seconds = time.monotonic() - began

    def settle(self) -> None:
        """Let keeper and dealer end what they have begun."""
        ends = time.monotonic() + _SETTLE_S
        self._until(
            lambda: time.monotonic() > ends or not any(station.waiting for station, _ in self._desks.values())
        )

    def as_dict(self) -> dict[str, Any]:
        """All that came out, in plain values."""
        together, counts = self._together, self._together.counts()
        return {
            "lines": together.taken,
            "messages": counts["messages"],
            "recorded_s": (together.now_us * 1000 - self._first_ns) / 1e9 if self._first_ns else 0.0,
            "seconds": self._seconds,
            "messages_per_s": counts["messages"] / self._seconds if self._seconds else None,
            "books": {name: count for name, count in counts.items() if name != "messages"},
            "feeds": [
                {
                    "name": f"{instrument.venue}:{instrument.symbol}",
                    "best": _best(self._best.get(instrument)),
                    "station": station.status(),
                }
                for instrument, (station, _) in self._desks.items()
            ],
        }

    def _make_room(self) -> None:
        """As much time as the threads would have had, so that the recording does not run away from them."""
        for station, dealer in self._desks.values():
            if station.failure is not None:
                raise station.failure
            if station.waiting > (_AHEAD if dealer is None else 0):
                self._until(lambda station=station: not station.waiting or station.failure is not None)  # type: ignore[misc]
            if dealer is not None and self._speed is None and dealer.wants(""):
                for _ in range(_TURNS):
                    if not dealer.behind:
                        break
                    self._pause.wait(_TURN_S / _TURNS)

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._pause.wait(_TURN_S)


def _station(
    together: MergedReplay,
    instrument: Instrument,
    settings: Settings,
    database: Database,
    log: FilteringBoundLogger,
) -> TradedFeed:
    name = f"{instrument.venue}:{instrument.symbol}"
    clock = _Recorded(together)
    context = FeedContext(database, lambda signal: signal.signal_id, log, clock, Random(0), None, {})  # noqa: S311 - unused
    dealer = dealer_of(name, instrument, None, settings, context, lambda _duration_ns: None)
    recorded = RecorderContext(
        database=database, history=lambda _instrument, _interval_us, _from_us, _to_us: (), post=context.post, log=log,
        now_us=context.now_us,
    )  # fmt: skip
    venue = venue_named(instrument.venue)
    station = CrossoverFeed(
        venue, [instrument], replace(terms_of(settings), post_bars=False), recorded, dealer=dealer
    )
    return station, dealer


class _Recorded(SystemClock):
    """The recording's time; durations and waits are this machine's."""

    def __init__(self, together: MergedReplay) -> None:
        self._together = together

    def now_ns(self) -> int:
        """When the last line came."""
        return self._together.now_us * 1000


def _best(change: BookChange | None) -> dict[str, float] | None:
    """The best prices after the last change of a book; None: there was none."""
    if change is None:
        return None
    return {"bid": change.instrument.price(change.bid), "ask": change.instrument.price(change.ask)}
