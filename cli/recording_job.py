"""What `raysignal feed record` and `raysignal feed replay` do."""

import asyncio
import signal as signals
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rich.table import Table
from structlog.typing import FilteringBoundLogger

from raysignal.cli.feed_job import FeedConfig, loopback_settings, open_lines
from raysignal.cli.options import writing_to
from raysignal.cli.output import Output, rows_table
from raysignal.cli.texts import escape
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import BookChange, Channel, Event, Instrument
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.trading_thread import TradingThread
from raysignal.engine.market.clocks import Clock, SystemClock
from raysignal.engine.market.conversation import Sink
from raysignal.engine.market.feed import Feed, instruments_of
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.recordings import Recorder, RecordingHeader
from raysignal.engine.market.replay import MergedReplay, Series, series_of
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.catalogue import is_inverse, venue_named
from raysignal.engine.market.venues.protocol import Subscription
from raysignal.engine.pipeline.market_pipeline import MarketPipeline
from raysignal.runtime.feeds import FeedContext, dealer_of, hosts_of, terms_of
from raysignal.runtime.settings import Settings
from raysignal.serve.logs import json_logger
from raysignal.serve.shutdown import ShutdownSignal

Desk = tuple[MarketPipeline, TradingThread | None]
"""What follows one instrument, and who trades it."""

_SHOWN_EVERY_S = 5.0
_LOOK_S = 0.2
_CHECK_EVERY = 256  # lines
_AHEAD = 500  # bars that may wait for the database before the recording does
_TURN_S, _TURNS = 0.001, 10
_SETTLE_S = 10.0


# Recording


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


def record_until_told(job: FeedConfig, folder: Path, channels: str, output: Output) -> None:
    """Record until SIGINT, SIGTERM or the job's end; then say what was written."""
    wanted = _channels(channels)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(_record(job, folder, wanted, output))
    if output.as_json:
        output.json({"recordings": found})
        return
    columns = ("recording", "messages", "left out", "reconnects", "gaps", "files", "MB written")
    rows = [
        (
            one["name"], one["messages"], one["left_out"], one["reconnects"], one["gaps"], len(one["files"]),
            round(one["bytes_written"] / 1e6, 3),
        )
        for one in found
    ]  # fmt: skip
    output.table(rows_table(columns, rows))
    output.say(f"replay    raysignal feed replay {escape(str(folder))}")


def _channels(text: str) -> frozenset[Channel]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in set(Channel):
            raise InvalidField("channels", name, f"some of {', '.join(Channel)}, with commas between them")
    return frozenset(Channel(name) for name in names)


async def _record(
    job: FeedConfig, folder: Path, channels: frozenset[Channel], output: Output
) -> list[dict[str, Any]]:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signals.SIGINT, signals.SIGTERM):
        loop.add_signal_handler(number, told.set)
    recorded: list[RecordedInstrument] = []
    async with AsyncExitStack() as stack:
        settings, clock = await loopback_settings(job, stack)
        limits: dict[str, VenueLimits] = {}
        for name in settings.feeds:
            one = await _recorded(name, settings, folder, channels, clock, limits, stack)
            await stack.enter_async_context(one.feed)
            recorded.append(one)
        ends = None if job.seconds is None else loop.time() + job.seconds
        shown = loop.time()
        while not told.is_set() and (ends is None or loop.time() < ends):
            try:
                async with asyncio.timeout(_LOOK_S):
                    await told.wait()
            except TimeoutError:
                pass
            for one in recorded:
                if (
                    failure := next((each.failure for each in one.recorders if each.failure), None)
                ) is not None:
                    raise failure
            if loop.time() - shown >= _SHOWN_EVERY_S:
                shown = loop.time()
                for one in recorded:
                    output.err.print(one.sentence())
    return [one.as_dict() for one in recorded]


async def _recorded(
    name: str, settings: Settings, folder: Path, channels: frozenset[Channel], clock: Clock,
    limits: dict[str, VenueLimits], stack: AsyncExitStack,
) -> RecordedInstrument:  # fmt: skip
    venue_name, _, symbol = name.partition(":")
    venue = venue_named(venue_name)
    hosts, random = hosts_of(settings, venue), Random()  # noqa: S311 - jitter
    its_limits = limits.setdefault(venue.name, VenueLimits.of(venue.manners))
    observed, recorders = FeedMetrics(), []
    rest = RestClient(hosts.rest, its_limits, clock, observed, random)
    try:
        (instrument,) = await instruments_of(venue, [symbol], rest)
        subscription = Subscription(instrument, channels)
        for number, opening in enumerate(venue.openings([subscription])):
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


# Replaying


@dataclass(frozen=True, slots=True)
class Replay:
    """What is played.

    Attributes:
        places: files and folders.
        told: of what recordings are that do not say it.
        speed: times as fast as it was recorded; None: as fast as it goes.
        keeps: bars, signals and orders stay in the database of the settings.
    """

    places: tuple[Path, ...]
    told: Subscription | None
    speed: float | None
    keeps: bool

    @classmethod
    def of(cls, places: Sequence[Path], instrument: str | None, speed: str, *, keeps: bool) -> "Replay":
        """From what was said; raises `InvalidField`."""
        told = None
        if instrument is not None:
            venue, _, symbol = instrument.partition(":")
            if not symbol:
                raise InvalidField("instrument", instrument, "venue:symbol, such as binance-usdm:BTCUSDT")
            told = Subscription(
                Instrument(venue_named(venue).name, symbol, inverse=is_inverse(venue, symbol))
            )
        return cls(tuple(places), told, _speed(speed), keeps)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < 1e6:
        raise InvalidField("speed", text, "max, or a number above 0 such as 1 or 60")
    return speed


def replay_files(replay: Replay, settings: Settings, log: Path | None, output: Output) -> None:
    """Play, and show what came out; Ctrl-C ends it early, and shows what there was until then."""
    terms_of(settings)
    series = series_of(replay.places, replay.told)
    with ExitStack() as stack:
        lines = stack.enter_context(open_lines(log))
        database = stack.enter_context(_database(replay, settings))
        stop = stack.enter_context(ShutdownSignal())
        played = _Played(replay, series, settings, database, json_logger(lines))
        stack.callback(played.stop)
        interrupted = False
        try:
            with stop.interruptible():
                played.play(output)
        except KeyboardInterrupt:
            interrupted = True
        played.settle()
        found = played.as_dict() | {"ended": not interrupted}
    if output.as_json:
        output.json(found)
    else:
        _show(found, output)
    if interrupted:
        output.err.print("interrupted before the recordings ended")
        raise KeyboardInterrupt


class _Played:
    """A replay on its way."""

    def __init__(
        self, replay: Replay, series: Sequence[Series], settings: Settings, database: Database,
        log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._replay = replay
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

    def play(self, output: Output) -> None:
        together, speed = self._together, self._replay.speed
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
                if together.taken % _CHECK_EVERY == 0 and time.monotonic() - shown >= _SHOWN_EVERY_S:
                    shown = time.monotonic()
                    output.err.print(f"{together.taken:,d} lines")
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
            if dealer is not None and self._replay.speed is None and dealer.wants(""):
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
) -> Desk:
    name = f"{instrument.venue}:{instrument.symbol}"
    clock = _Recorded(together)
    around = FeedContext(database, lambda signal: signal.signal_id, log, clock, Random(0), None, {})  # noqa: S311 - unused
    dealer = dealer_of(name, instrument, None, settings, around, lambda _duration_ns: None)
    station = MarketPipeline(
        venue_named(instrument.venue), [instrument], terms_of(settings), database=database, post=around.post,
        history=lambda _instrument, _interval_us, _from_us, _to_us: (), log=log, now_us=around.now_us, dealer=dealer,
    )  # fmt: skip
    return station, dealer


class _Recorded(SystemClock):
    """The recording's time; durations and waits are this machine's."""

    def __init__(self, together: MergedReplay) -> None:
        self._together = together

    def now_ns(self) -> int:
        """When the last line came."""
        return self._together.now_us * 1000


@contextmanager
def _database(replay: Replay, settings: Settings) -> Iterator[Database]:
    if replay.keeps:
        database = open_database(settings.database_url.get_secret_value())
        try:
            yield database
        finally:
            database.close()
        return
    with tempfile.TemporaryDirectory(prefix="raysignal-replay-") as folder:
        database = open_database(f"sqlite:///{folder}/replay.db")
        try:
            yield database
        finally:
            database.close()


def _show(found: Mapping[str, Any], output: Output) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{found['recorded_s']:,.1f} s recorded")
    for feed in found["feeds"]:
        table.add_column(escape(feed["name"]), justify="right")
    rows: list[tuple[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]] = [
        ("last price", lambda _, one: "—" if one["last"] is None else f"{one['last']:,.8g}"),
        ("bars of", lambda station, _: station["bar"]),
        ("last bar", lambda _, one: "—" if one["bar"] is None else one["bar"]["open"]),
        ("crossings", lambda station, _: station["signals"]),
        ("orders filled", lambda station, _: (station["paper"] or {}).get("orders", {}).get("filled", 0)),
        ("paper cash", lambda station, _: _cash(station["paper"])),
    ]
    table.add_row("last bid / ask", *(_pair(feed["best"]) for feed in found["feeds"]))
    for name, figure in rows:
        cells = []
        for feed in found["feeds"]:
            (symbol,) = feed["station"]["symbols"].values()
            cells.append(str(figure(feed["station"], symbol)))
        table.add_row(name, *cells)
    output.table(table)
    books = found["books"]
    rate = "" if found["messages_per_s"] is None else f", {found['messages_per_s']:,.0f} a second"
    output.say(
        f"{found['messages']:,d} messages{rate}; {books['gaps']} gaps, {books['resyncs']} resyncs, "
        f"{books['crossed']} crossed books, {books['malformed']} messages that could not be read"
    )
    compared = books["agreed"] + books["differed"]
    output.say(
        f"{books['agreed']:,d} of {compared:,d} of the venue's own best prices are those of the book at the same update"
    )


def _best(change: BookChange | None) -> dict[str, float] | None:
    """The best prices after the last change of a book; None: there was none."""
    if change is None:
        return None
    return {"bid": change.instrument.price(change.bid), "ask": change.instrument.price(change.ask)}


def _pair(best: Mapping[str, float] | None) -> str:
    return "—" if best is None else f"{best['bid']:,.8g} / {best['ask']:,.8g}"


def _cash(paper: Mapping[str, Any] | None) -> str:
    cash = (paper or {}).get("cash")
    return "—" if cash is None else f"{float(cash):,.2f}"
