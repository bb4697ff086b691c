"""A pipeline on live markets, in one process: feeds in, the path, orders at paper exchanges; and its session on disk.

    async with live_pipeline(config, text, folder, hosts_of=…, clock=…, random=…) as live:
        await live.run()

With a folder, its session is kept there: what led to something and what followed, and, if that is wanted, every
message before anything is made of it. A run that finds a session there plays it first (`SessionPlayer.play_facts`): so
it is where the last one was, and has checked that it does the same. Connections, candles that were open and paper
orders begin anew.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.events import CandleBackfill, Command, DecisionAnswer, StrategySignal
from raysignal.engine.core.market_events import Event, Instrument
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.feed import Feed
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.recordings import DISCONNECTED, RecordingHeader, snapshot_line
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Hosts, Subscription, Tracker, Venue
from raysignal.engine.pipeline.driver import EventLog, PathDriver
from raysignal.engine.pipeline.session import ABOUT, CONFIG, ParityCheck, SessionLock, SessionWriter
from raysignal.engine.portfolio.receipts import FollowedRows
from raysignal.engine.risk.breaker import check_command
from raysignal.runtime.candle_backfill import CandleBackfiller
from raysignal.runtime.feeds import Markets, listed
from raysignal.runtime.model_asker import Advise, ModelAsker
from raysignal.runtime.pipeline import Pipeline, subscriptions_of
from raysignal.runtime.pipeline_answers import MemoryAnswers
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_session import Both, SessionPlayer, check_models, read_about, write_about

_FLUSH_S = 1.0
_ROWS, _WAIT_S = 256, 5.0


class Portfolios(Protocol):
    """The portfolios of a service, whose rows a pipeline follows; None: the primary one."""

    async def follow(
        self, portfolio: str | None, first: int, limit: int, wait_s: float, /
    ) -> FollowedRows | None:
        """Rows from `first` on, once there are any; None: there were none in that time."""

    async def count(self, portfolio: str | None, /) -> int:
        """Rows so far."""


class SessionNotes:
    """One connection's messages, as a session keeps them; see `engine.market.conversation.Notes`."""

    def __init__(self, writer: SessionWriter, series: int) -> None:
        self._writer = writer
        self._series = series

    def message(self, received_ns: int, raw: bytes) -> None:
        """A message of the stream."""
        self._writer.message(self._series, received_ns, raw)

    def answer(self, received_ns: int, symbol: str, body: bytes) -> None:
        """A REST snapshot."""
        self._writer.message(self._series, received_ns, snapshot_line(symbol))
        self._writer.message(self._series, received_ns, body)

    def disconnected(self, received_ns: int) -> None:
        """The connection ended."""
        self._writer.message(self._series, received_ns, DISCONNECTED)


@dataclass(frozen=True, slots=True)
class LivePipeline:
    """What runs.

    Attributes:
        resumed: events of the session that was there.
        posted: of each strategy whose signals are posted: the next row of its portfolio.
        asker: asks a model what the path leaves open; None: nobody is asked.
    """

    driver: PathDriver
    pipeline: Pipeline
    feeds: tuple[Feed, ...]
    writer: SessionWriter | None
    resumed: int
    clock: Clock
    portfolios: "Portfolios | None"
    posted: dict[str, int]
    asker: ModelAsker | None
    backfiller: CandleBackfiller

    async def run(self) -> None:
        """Until cancelled; an error of a feed or of the path comes out of here."""
        try:
            async with asyncio.TaskGroup() as group:
                for feed in self.feeds:
                    group.create_task(feed.run())
                group.create_task(self.backfiller.run(self._backfill))
                if self.writer is not None:
                    group.create_task(_flush(self.writer))
                for strategy in self.posted:
                    group.create_task(self._follow(strategy))
                if self.asker is not None:
                    group.create_task(self.asker.run())
        except BaseExceptionGroup as group_of:
            raise group_of.exceptions[0] from None

    async def _follow(self, strategy: str) -> None:
        """Take the signals that are posted to a portfolio, each once: its row is in the session with it."""
        (config,) = (each for each in self.pipeline.config.strategies if each.name == strategy)
        source, symbols = config.posted, self.pipeline.config.symbols_of(config)
        assert source is not None
        assert self.portfolios is not None
        while True:
            rows = await self.portfolios.follow(source.portfolio, self.posted[strategy], _ROWS, _WAIT_S)
            if rows is None:
                continue
            batch = rows.batch(features=False)
            for place in range(len(batch)):
                signal = batch.signal(place)
                ordinal = rows.first + place
                self.posted[strategy] = ordinal + 1
                if (
                    signal.source == source.source
                    and signal.symbol in symbols
                    and signal.action is not Action.HOLD
                ):
                    self.driver.take(_posted(strategy, signal, ordinal, self.clock.now_ns() // 1000))
            self.keep()

    async def _backfill(self, backfill: CandleBackfill) -> None:
        self.driver.take(backfill)

    def command(self, command: Command) -> None:
        """A person's order to the path; `InvalidField` without a name or a reason, and nothing has changed."""
        check_command(command)
        self.driver.take(command)
        self.keep()

    def keep(self) -> None:
        """What was told is in the session, whatever becomes of this machine."""
        if self.writer is not None:
            self.writer.flush(durable=True)

    def healths(self) -> list[dict[str, Any]]:
        """How each venue's feed stands."""
        return [{"venue": feed.venue.name} | feed.health().as_dict() for feed in self.feeds]


def _posted(strategy: str, signal: Signal, ordinal: int, now_us: int) -> StrategySignal:
    return StrategySignal(
        at_us=now_us, symbol=signal.symbol, strategy=strategy,
        side=0 if signal.action is Action.CLOSE else int(signal.action), price=signal.price,
        signal_id=signal.signal_id or f"{strategy}:{ordinal}",
        confidence=1.0 if signal.confidence is None else signal.confidence, ordinal=ordinal,
    )  # fmt: skip


async def markets_of(
    config: PipelineConfig, hosts_of: Callable[[Venue], Hosts], clock: Clock, random: Random
) -> Markets:
    """Ask the venues of a path what is traded.

    Raises:
        InvalidField: an instrument without a market, or one that is not traded there.
        StoreUnavailable: a venue does not answer.
    """
    found = Markets({}, {}, {})
    for each in config.instruments:
        venue_name, symbol = each.place
        if not symbol:
            raise InvalidField(
                f"market of {each.symbol}",
                each.market,
                "venue:symbol, such as binance-usdm:BTCUSDT, to run live",
            )
        venue = venue_named(venue_name)
        limit = found.limits.setdefault(venue.name, VenueLimits.of(venue.manners))
        rest = RestClient(hosts_of(venue).rest, limit, clock, FeedMetrics(), random)
        try:
            found.instruments[each.symbol], listing = await listed(venue, symbol, rest)
        finally:
            await rest.close()
        if listing:
            found.listings[each.symbol] = listing
    return found


async def _flush(writer: SessionWriter) -> None:
    while True:
        await asyncio.sleep(_FLUSH_S)
        writer.flush()


@asynccontextmanager
async def live_pipeline(
    config: PipelineConfig, text: str, folder: Path | None, *, log: EventLog, hosts_of: Callable[[Venue], Hosts],
    clock: Clock, random: Random, advise: Advise, portfolios: Portfolios | None = None, raw: bool = True,
) -> AsyncIterator[LivePipeline]:  # fmt: skip
    """A pipeline, ready to run.

    Args:
        config: the path, of which every instrument names its market.
        text: the configuration as it was written, for the session.
        folder: of the session; None: nothing is recorded.
        log: told of every event.
        hosts_of: where a venue is reached.
        clock: the market's.
        random: of back-offs.
        advise: makes who asks a model, where one is asked.
        portfolios: whose posted signals count; None: there is no service.
        raw: whether a new session keeps every message of the market.

    Raises:
        InvalidField: posted signals without a service; an instrument without a market, or one that is not traded there.
        UnreadableInput: a session of another configuration, or one that does not play as it was recorded.
        StoreUnavailable: a venue does not answer.
        Fenced: another process runs the session in the folder.
    """
    async with AsyncExitStack() as stack:
        if folder is not None:
            stack.enter_context(SessionLock(folder))
        markets = await markets_of(config, hosts_of, clock, random)
        instruments = markets.instruments
        headers = headers_of(instruments.values())
        player = SessionPlayer(config, instruments, markets.listings, headers, log)
        writer, resumed = None, None
        posted = await first_rows(config, portfolios)
        if folder is not None:
            resumed = _resume(player, folder, text, config, instruments)
            writer = stack.enter_context(SessionWriter(folder))
            if resumed is None:
                write_about(folder, text, config, instruments, player.listings, headers, posted, raw)
            else:
                about, _ = read_about(folder / ABOUT)
                posted, raw = about.posted | player.posted, about.raw
                for event in resumed.waiting:
                    writer.output(event)  # its end was torn
        driver = player.go_live(log if writer is None else Both(writer, log))
        if resumed is not None:
            player.restart(clock.now_ns() // 1000)
        asker = await _asker(player.pipeline.answers, driver, writer, clock, advise, stack)
        notes = writer if raw else None
        feeds = []
        for name, wanted in subscriptions_of(instruments.values()).items():
            series = [place for place, header in enumerate(headers) if header.venue == name]
            notes_of = None if notes is None else partial(_notes, notes, series)
            feeds.append(feed_of(name, wanted, player.sink, markets, hosts_of, clock, random, notes_of))
        events = 0 if resumed is None else resumed.events
        backfiller = CandleBackfiller(player.pipeline.strategies, markets, hosts_of, clock, random)
        yield LivePipeline(
            driver,
            player.pipeline,
            tuple(feeds),
            writer,
            events,
            clock,
            portfolios,
            posted,
            asker,
            backfiller,
        )


async def _asker(
    answers: MemoryAnswers | None, driver: PathDriver, writer: SessionWriter | None, clock: Clock, advise: Advise,
    stack: AsyncExitStack,
) -> ModelAsker | None:  # fmt: skip
    """Who asks a model, told of the questions from now on; None: nobody is asked."""
    if answers is None or not answers.asks:
        return None
    adviser, why_off = await advise()
    if adviser is not None:
        stack.push_async_callback(adviser.aclose)

    async def take(answer: DecisionAnswer) -> None:
        driver.take(answer)
        if writer is not None:
            writer.flush(durable=True)  # nobody would say it again

    asker = ModelAsker(answers, take, adviser, why_off, now_us=lambda: clock.now_ns() // 1000)
    driver.log = Both(driver.log, asker)
    return asker


def headers_of(instruments: Any) -> list[RecordingHeader]:
    """The connections that bring these instruments, in order: the series of a session."""
    return [
        RecordingHeader(name, number, opening.subscriptions)
        for name, wanted in subscriptions_of(instruments).items()
        for number, opening in enumerate(venue_named(name).openings(wanted))
    ]


def feed_of(
    name: str, wanted: Sequence[Subscription],
    sink_of: Callable[[Callable[[Instrument], Tracker]], Callable[[Sequence[Event]], None]], markets: Markets,
    hosts_of: Callable[[Venue], Hosts], clock: Clock, random: Random,
    notes_of: Callable[[int], SessionNotes] | None = None,
) -> Feed:  # fmt: skip
    """The feed of a venue; `sink_of` makes what takes its events, given what knows its books."""
    venue = venue_named(name)
    feeds: list[Feed] = []

    def tracker_of(instrument: Instrument) -> Tracker:
        return feeds[0].tracker(instrument)

    feed = Feed(
        venue, wanted, sink_of(tracker_of), clock=clock, random=random,
        hosts=hosts_of(venue), limits=markets.limits[name], notes_of=notes_of,
    )  # fmt: skip
    feeds.append(feed)
    return feed


def _notes(writer: SessionWriter, series: Sequence[int], number: int) -> SessionNotes:
    return SessionNotes(writer, series[number])


async def first_rows(config: PipelineConfig, portfolios: Portfolios | None) -> dict[str, int]:
    """Of each strategy whose signals are posted, the row of its portfolio that comes next."""
    first: dict[str, int] = {}
    for each in config.strategies:
        if each.posted is not None:
            if portfolios is None:
                raise InvalidField(
                    f"kind of {each.name}",
                    each.kind,
                    "a rule: posted signals are taken in by a running service",
                )
            first[each.name] = await portfolios.count(each.posted.portfolio)
    return first


def _resume(
    player: SessionPlayer,
    folder: Path,
    text: str,
    config: PipelineConfig,
    instruments: Mapping[str, Instrument],
) -> ParityCheck | None:
    """Play what is recorded there; None: there is no session."""
    if not (folder / CONFIG).is_file():
        return None
    if (folder / CONFIG).read_text(encoding="utf-8") != text:
        raise UnreadableInput(
            f"{folder} holds a session of another configuration; expected the same, or a new folder for --record"
        )
    about, _ = read_about(folder / ABOUT)
    check_models(about.models, config, str(folder))
    if about.instruments != dict(instruments) or about.listings != player.listings:
        raise UnreadableInput(
            f"{folder} holds a session of instruments that their venues write, or take orders in, otherwise now; "
            "expected the same, or a new folder for --record"
        )
    check = player.play_facts(folder)
    if check.difference is not None:
        raise UnreadableInput(
            f"{folder} does not play as it was recorded, from event {check.difference.number} on; "
            f"raysignal parity {folder} shows it. Nothing was started"
        )
    return check
