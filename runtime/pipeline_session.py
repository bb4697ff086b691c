"""Sessions: a pipeline's run that is recorded, and its replay (`raysignal parity`)."""

import heapq
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from raysignal.engine.core.errors import InvalidField, UnreadableInput, shorten
from raysignal.engine.core.events import (
    Candle,
    FundingPayment,
    OrderEnded,
    OrderFill,
    PathRestarted,
    StrategySignal,
    decode_event,
)
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.market_events import MOST_DECIMALS, BookChange, Event, Instrument
from raysignal.engine.market.recordings import RecordingHeader, RecordingLine, RecordingPlayer, read_recording
from raysignal.engine.market.replay import Series, series_of
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Tracker
from raysignal.engine.pipeline.driver import EventLog, PathDriver
from raysignal.engine.pipeline.paper_venue import CandleMarket
from raysignal.engine.pipeline.session import (
    ABOUT,
    CONFIG,
    END,
    INPUT,
    MESSAGE,
    OUTPUT,
    ParityCheck,
    SessionWriter,
    market_message,
    read_frames,
)
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_file import read_config


class SessionAbout(msgspec.Struct, frozen=True):
    """Of what a session is.

    Attributes:
        version: of the program that recorded it.
        instruments, listings: by the portfolio's symbols; a listing that is missing follows from its instrument.
        series: the headers of its market connections; none: candles are its inputs.
        posted: of each strategy whose signals are posted: the first row of its portfolio that counts.
        raw: whether every message of the market is in it.
        models: of each strategy that is a model: its digest.
    """

    version: str
    instruments: dict[str, Instrument]
    listings: dict[str, Listing] = {}
    series: list[str] = []
    posted: dict[str, int] = {}
    raw: bool = True
    models: dict[str, str] = {}


def write_about(
    folder: Path, config_text: str, config: PipelineConfig, instruments: Mapping[str, Instrument],
    listings: Mapping[str, Listing] | None = None, series: Sequence[RecordingHeader] = (),
    posted: Mapping[str, int] | None = None, raw: bool = True,
) -> None:  # fmt: skip
    """What stands beside the frames: the configuration, and what was traded."""
    about = SessionAbout(
        version("raysignal"),
        dict(instruments),
        dict(listings or {}),
        [each.line().decode() for each in series],
        dict(posted or {}),
        raw,
        config.models,
    )
    # The configuration last: where it is, all of it is.
    _write(folder / ABOUT, msgspec.json.format(msgspec.json.encode(about)) + b"\n")
    _write(folder / CONFIG, config_text.encode())


def check_models(known: Mapping[str, str], config: PipelineConfig, what: str) -> None:
    """Refuse another model than decisions were recorded with.

    Args:
        known: of each strategy that was a model: its digest.
        config: the path as it is read now.
        what: was recorded, for the sentence.

    Raises:
        UnreadableInput: a strategy's model is another, by name.
    """
    now = config.models
    for name in sorted(known.keys() | now.keys()):
        if known.get(name) != now.get(name):
            raise UnreadableInput(
                f"{what} was recorded with another model of the strategy {name}: {known.get(name)}, and what lies "
                f"there now is {now.get(name)}; expected the same card.json and model.onnx",
                strategy=name, recorded=known.get(name), found=now.get(name),
            )  # fmt: skip


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing."""
    begun = path.with_name(f"{path.name}.tmp")
    begun.write_bytes(data)
    begun.replace(path)


def candle_market(config: PipelineConfig, instruments: Mapping[str, Instrument]) -> CandleMarket | None:
    """How a paper venue fills where only candles are known; None without a venue."""
    if config.venue.kind == "none":
        return None
    return CandleMarket(
        instruments, {symbol: config.intervals_us(symbol)[0] for symbol in config.symbols}, config.venue.spread_bps,
        round(config.venue.latency_ms * 1000),
    )  # fmt: skip


class SessionPlayer:
    """A path made anew, that a session is played into, and that can go on live from there.

    Args:
        headers: the market connections of the session, in its order; none: candles are its inputs.
        also: told of every event that is played; None: nobody.

    Attributes:
        posted: of each strategy whose signals are posted: the next row of its portfolio.
    """

    def __init__(
        self, config: PipelineConfig, instruments: Mapping[str, Instrument], listings: Mapping[str, Listing],
        headers: Sequence[RecordingHeader], also: EventLog | None = None,
    ) -> None:  # fmt: skip
        self.listings = dict(listings)
        self.posted: dict[str, int] = {}
        self._number = 0
        self.pipeline = build(config, instruments, listings=listings, gapless=bool(headers))
        self._instruments = frozenset(instruments.values())
        self._check = ParityCheck(also)
        self._driver = PathDriver(
            self.pipeline.path, self.pipeline.portfolio, self.pipeline.venue, log=self._check,
            market=None if headers else candle_market(config, instruments),
        )  # fmt: skip
        self._headers = tuple(headers)
        self._players: list[RecordingPlayer] = []
        self._connect()

    def play(self, folder: Path) -> ParityCheck:
        """Play the session that is there, market and all, until its end or the first difference.

        Raises as `read_frames`.
        """
        check = self._check
        with self._reading(folder):
            for number, kind, data in self._frames(folder):
                if kind == OUTPUT:
                    check.expect(data)
                else:
                    check.playing(number)
                    if kind == MESSAGE:
                        self.message(*market_message(data))
                    else:
                        self._take(decode_event(data))
                if check.difference is not None:
                    break
        return check

    def play_facts(self, folder: Path) -> ParityCheck:
        """The same without the market: candles, fills and ends are taken from the session, messages passed over.

        Everything that follows from them is held against the session all the same. It takes as long as there were
        candles and decisions, however many messages there were.
        """
        self._driver.sends = False
        with self._reading(folder):
            self._play_facts(folder)
        self._driver.sends = True
        return self._check

    def _play_facts(self, folder: Path) -> None:
        check = self._check
        facts: tuple[type, ...] = (
            (Candle,) if self.pipeline.venue is None else (Candle, OrderFill, OrderEnded, FundingPayment)
        )
        for number, kind, data in self._frames(folder):
            if kind == MESSAGE:
                continue
            event = decode_event(data)
            if kind == INPUT:
                check.playing(number)
                self._take(event)
            else:
                if isinstance(event, facts):
                    self._driver.fact(event)
                check.expect(data)
            if check.difference is not None:
                return

    @contextmanager
    def _reading(self, folder: Path) -> Iterator[None]:
        """Within, a frame that cannot be played is `UnreadableInput`."""
        try:
            yield
        except (msgspec.MsgspecError, UnicodeDecodeError, struct.error, IndexError, KeyError) as error:
            raise UnreadableInput(f"{folder}: frame {self._number} cannot be played: {error!r}") from error

    def _frames(self, folder: Path) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, kind and data of the frames but ends."""
        self._check.whole = False
        for number, (kind, data) in enumerate(read_frames(folder), 1):
            self._check.whole, self._number = kind == END, number
            if kind != END:
                yield number, kind, data

    def _take(self, event: Any) -> None:
        """An input of the session."""
        if isinstance(event, StrategySignal):
            self.posted[event.strategy] = event.ordinal + 1
        self._driver.take(event)
        if isinstance(event, PathRestarted):
            self._connect()

    def _connect(self) -> None:
        """Connections that have seen nothing yet."""
        self._players = []
        for header in self._headers:
            tracker = venue_named(header.venue).tracker(header.subscriptions)
            sink = self.sink(partial(_always, tracker))
            self._players.append(RecordingPlayer(tracker, header.subscriptions, sink))

    def message(self, series: int, received_ns: int, raw: bytes) -> None:
        """A message of a connection, as it was recorded."""
        self._players[series].take(RecordingLine(received_ns, raw))

    def restart(self, at_us: int) -> None:
        """The process that ran the session is gone; another one goes on."""
        self._take(PathRestarted(at_us=at_us, symbol=""))

    def go_live(self, log: EventLog) -> PathDriver:
        """From now on events are told to `log`, and are held against nothing."""
        self._driver.log = log
        return self._driver

    def sink(self, tracker_of: Callable[[Instrument], Tracker]) -> Callable[[Sequence[Event]], None]:
        """See `feed_sink`."""
        return feed_sink(self._driver, self._instruments, tracker_of)


def feed_sink(
    driver: PathDriver, instruments: Collection[Instrument], tracker_of: Callable[[Instrument], Tracker]
) -> Callable[[Sequence[Event]], None]:
    """Takes a feed's events, a change of a book with the book."""

    def taken(events: Sequence[Event]) -> None:
        for event in events:
            if event.instrument not in instruments:
                continue
            book = (
                tracker_of(event.instrument).book(event.instrument) if isinstance(event, BookChange) else None
            )
            driver.market(event, book)

    return taken


@contextmanager
def _nobody(*_: object) -> Iterator[Callable[[], None]]:
    yield lambda: None


def play_recordings(
    config: PipelineConfig,
    places: Sequence[Path],
    log: EventLog,
    record: Path | None = None,
    text: str = "",
    asking: Callable[[Pipeline, PathDriver], AbstractContextManager[Callable[[], None]]] = _nobody,
) -> Pipeline:
    """Play recordings of `raysignal feed record` through a path, in the order in which their messages came.

    Args:
        config: the path; each instrument names its market.
        places: files, or folders that hold them.
        log: told of every event.
        record: the folder of the session that is kept of it; None: none.
        text: the configuration as it was written, for the session.
        asking: within it, what is called after each message, for who gives the driver more inputs.

    Returns:
        The pipeline as it ends.

    Raises:
        NotFound: a place that is not there.
        InvalidField: an instrument that no recording is of.
        UnreadableInput: a file that cannot be read.
    """
    markets = {each.market: each.symbol for each in config.instruments}
    series = [
        each
        for each in series_of(places)
        if any(one.instrument.name in markets for one in each.about.subscriptions)
    ]
    instruments = {
        markets[one.instrument.name]: one.instrument
        for each in series
        for one in each.about.subscriptions
        if one.instrument.name in markets
    }
    for market, symbol in markets.items():
        if symbol not in instruments:
            raise InvalidField(f"market of {symbol}", market, "one that the recordings are of")
    headers = [each.about for each in series]
    player = SessionPlayer(config, {symbol: instruments[symbol] for symbol in config.symbols}, {}, headers)
    with ExitStack() as stack:
        writer = None
        if record is not None:
            writer = stack.enter_context(SessionWriter(record))
            write_about(record, text, config, instruments, None, headers)
        driver = player.go_live(log if writer is None else Both(writer, log))
        after = stack.enter_context(asking(player.pipeline, driver))
        merged = heapq.merge(*(_lines(number, each) for number, each in enumerate(series)))
        for received_ns, number, raw in merged:
            if writer is not None:
                writer.message(number, received_ns, raw)
            player.message(number, received_ns, raw)
            after()
    return player.pipeline


def _lines(number: int, series: Series) -> Iterator[tuple[int, int, bytes]]:
    for line in read_recording(series.paths):
        yield line.received_ns, number, line.raw


class Both:
    """Two event logs as one."""

    def __init__(self, first: EventLog, second: EventLog) -> None:
        self._logs = (first, second)

    def input(self, event: Any) -> None:
        """See `EventLog`."""
        for log in self._logs:
            log.input(event)

    def output(self, event: Any) -> None:
        """See `EventLog`."""
        for log in self._logs:
            log.output(event)


def _always(tracker: Tracker, _: Instrument) -> Tracker:
    return tracker


def replay_session(folder: Path) -> ParityCheck:
    """Play a session through a path made anew; where it differs from what was recorded, if it does.

    Raises:
        NotFound: there is no session.
        UnreadableInput: a part of it is damaged, or nothing happened in it.
    """
    config = read_config(folder / CONFIG)
    about, headers = read_about(folder / ABOUT)
    if about.instruments.keys() != set(config.symbols):
        raise UnreadableInput(
            f"{folder / ABOUT}: instruments are {', '.join(about.instruments) or 'none'}; expected those of {CONFIG}: "
            f"{', '.join(config.symbols)}"
        )
    check_models(about.models, config, str(folder))
    player = SessionPlayer(config, about.instruments, about.listings, headers)
    check = player.play(folder) if about.raw else player.play_facts(folder)
    check.ended()
    if not check.events:
        raise UnreadableInput(f"{folder} holds no event; expected a session in which something happened")
    return check


def read_about(path: Path) -> tuple[SessionAbout, list[RecordingHeader]]:
    """Of what a session is, and its connections; `UnreadableInput` where it does not say."""
    try:
        about = msgspec.json.decode(path.read_bytes(), type=SessionAbout)
    except (OSError, msgspec.MsgspecError) as error:
        raise UnreadableInput(f"{path} does not say of what the session is: {error}") from error
    for symbol, each in about.instruments.items():
        for name in ("price_decimals", "size_decimals"):
            if not 0 <= getattr(each, name) <= MOST_DECIMALS:
                raise _untrue(path, f"{name} of {symbol}", getattr(each, name), f"0 to {MOST_DECIMALS}")
        if not (each.contract_size.is_finite() and each.contract_size > 0):
            raise _untrue(path, f"contract_size of {symbol}", each.contract_size, "a number above 0")
    if not (about.raw or about.series):
        raise _untrue(path, "raw", about.raw, "true where series is empty: its candles are inputs")
    headers = []
    for line in about.series:
        header = RecordingHeader.read(line.encode())
        if header is None:
            raise _untrue(path, "series", line, "first lines of recordings")
        headers.append(header)
    return about, headers


def _untrue(path: Path, name: str, value: object, expected: str) -> UnreadableInput:
    return UnreadableInput(
        f"{path} does not say of what the session is: {name} is {shorten(value)}; expected {expected}"
    )
