"""A pipeline in two processes, with the bus between them: one for the market, one that decides.

    async with market_process(config, …) as live:            # the feeds, candles and paper accounts
        await live.run()
    async with decide_process(text, …) as live:              # strategies to orders, in a journal
        await live.run()

See `engine.pipeline.ends`. Calls of the bus wait, so they are made in threads; the exchange is asked in the loop alone.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec

from raysignal.engine.core.errors import EventsLost, NotFound, StoreUnavailable, UnreadableInput
from raysignal.engine.core.events import (
    CandleBackfill,
    Command,
    DecisionQuestion,
    OrderFill,
    PathRestarted,
    PlannedOrder,
)
from raysignal.engine.database.database import Database
from raysignal.engine.execution.paper_state import PaperRecords, PaperState
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.journal.stores import Stores
from raysignal.engine.market.backoff import Backoff
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.feed import Feed
from raysignal.engine.market.venues.protocol import Hosts, Venue
from raysignal.engine.pipeline.bus import MOST_AT_ONCE, NOWHERE, Bus, BusEvent
from raysignal.engine.pipeline.driver import EventLog
from raysignal.engine.pipeline.durable_stage import DurableStage
from raysignal.engine.pipeline.ends import (
    DecideEnd,
    MarketEnd,
    commands_stream,
    decide_group,
    market_group,
    market_stream,
    orders_stream,
)
from raysignal.engine.risk.breaker import check_command
from raysignal.runtime.candle_backfill import CandleBackfiller
from raysignal.runtime.model_asker import Advise, ModelAsker
from raysignal.runtime.pipeline import Pipeline, build, subscriptions_of
from raysignal.runtime.pipeline_accounts import account_name
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_file import config_of
from raysignal.runtime.pipeline_live import feed_of, first_rows, markets_of
from raysignal.runtime.pipeline_session import Both, check_models, feed_sink

T = TypeVar("T")

CONSUMER = "only"
"""The name of each end's process in its group: there is one at a time."""

COMMAND_S = 30.0
"""For so long a command may not be taken."""

_WAIT_S = 0.5
_AGAIN_S = 1.0  # what was given so long ago and is not known here was in an answer that was lost


@dataclass(frozen=True, slots=True)
class MarketProcess:
    """The market's side, which runs."""

    pipeline: Pipeline
    feeds: tuple[Feed, ...]
    bus: Bus
    end: MarketEnd
    said: asyncio.Event

    async def run(self) -> None:
        """Until cancelled; an error of a feed, an exchange or the bus comes out of here."""
        try:
            async with asyncio.TaskGroup() as group:
                for feed in self.feeds:
                    group.create_task(feed.run())
                group.create_task(self._publish())
                if self.pipeline.venue is not None:
                    group.create_task(self._take_orders())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def begin(self) -> None:
        """Take up what a process before left: orders whose ends are not published are submitted again."""
        name = self.pipeline.config.name
        if self.pipeline.venue is not None:
            await asyncio.to_thread(self.bus.join, orders_stream(name), market_group(name))
        told = await asyncio.to_thread(_all_of, self.bus, market_stream(name))
        self.end.published_before(told)
        if self.pipeline.venue is not None:
            self.pipeline.venue.check_told(event for event in told if isinstance(event, OrderFill))
            await self._claim(0.0)

    async def _claim(self, idle_s: float) -> None:
        name = self.pipeline.config.name
        claim = partial(self.bus.claim, [orders_stream(name)], market_group(name), CONSUMER, idle_s=idle_s)
        self.end.take_orders(await _patiently(claim))

    async def _take_orders(self) -> None:
        name = self.pipeline.config.name
        read = partial(self.bus.read, [orders_stream(name)], market_group(name), CONSUMER, wait_s=_WAIT_S)
        while True:
            deliveries = await _patiently(read)
            self.end.take_orders(deliveries)
            if not deliveries:
                await self._claim(_AGAIN_S)

    async def _publish(self) -> None:
        name = self.pipeline.config.name
        while True:
            await self.said.wait()
            self.said.clear()
            while events := self.end.waiting(MOST_AT_ONCE):
                await _patiently(partial(self.bus.publish, market_stream(name), events, wait_s=_WAIT_S))
                done = self.end.published(len(events))
                if done:
                    await _patiently(partial(self.bus.acknowledge, market_group(name), done))


@dataclass(frozen=True, slots=True)
class DecideProcess:
    """The side that decides, which runs."""

    pipeline: Pipeline
    stage: DurableStage
    bus: Bus
    backfiller: CandleBackfiller
    asker: ModelAsker | None

    async def run(self) -> None:
        """Until cancelled; an error of the bus's data, the journal or the path comes out of here."""
        stopping = threading.Event()
        running = asyncio.ensure_future(asyncio.to_thread(_step, self.stage, stopping))
        others = [asyncio.ensure_future(self.backfiller.run(self._backfill))]
        if self.asker is not None:
            others.append(asyncio.ensure_future(self.asker.run()))
        try:
            await asyncio.wait({running, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.set()
            for each in others:
                each.cancel()
            ended = await asyncio.gather(running, *others, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _backfill(self, backfill: CandleBackfill) -> None:
        await _tell(self.bus, self.pipeline.config.name, backfill)


class _QuestionsToLoop:
    """An `EventLog` of the thread that decides: its questions go to who asks a model, in the loop."""

    def __init__(self, asker: ModelAsker) -> None:
        self._asker = asker
        self._loop = asyncio.get_running_loop()

    def input(self, event: Any) -> None:
        """See `EventLog`."""

    def output(self, event: Any) -> None:
        """See `EventLog`."""
        if isinstance(event, DecisionQuestion):
            self._loop.call_soon_threadsafe(self._asker.output, event)


async def _tell(bus: Bus, name: str, event: BusEvent) -> None:
    """Give the path an input over the bus, so that it is taken in once and is in the journal."""
    await _patiently(partial(bus.publish, commands_stream(name), [event]))


def _step(stage: DurableStage, stopping: threading.Event) -> None:
    """Step until told; a bus that is away or full is waited for."""
    backoff = _backoff()
    while not stopping.is_set():
        try:
            stage.step(wait_s=_WAIT_S)
        except StoreUnavailable:
            if not stage.whole:
                raise
            stopping.wait(backoff.failed())
        else:
            backoff.succeeded()


@asynccontextmanager
async def market_process(
    config: PipelineConfig, bus: Bus, database: Database, *, log: EventLog, hosts_of: Callable[[Venue], Hosts],
    clock: Clock, random: Random,
) -> AsyncIterator[MarketProcess]:  # fmt: skip
    """The market's side of a path, ready to run.

    Args:
        config: the path, of which every instrument names its market.
        bus: between this process and the one that decides.
        database: where the paper accounts are, `pipeline:<name>:<venue>`.
        log: told of every order that comes and every event that goes to the other side.
        hosts_of: where a venue is reached.
        clock: the market's.
        random: of back-offs.

    Raises:
        As `markets_of`; StoreUnavailable, EventsLost: of the bus; UnexplainedDifference: see `PaperVenue.check_told`.
    """
    markets = await markets_of(config, hosts_of, clock, random)

    def records(venue: str, _: PaperState) -> PaperRecords:
        return PaperStore(database, account_name(config.name, venue))

    pipeline = build(config, markets.instruments, listings=markets.listings, records_of=records)
    said = asyncio.Event()
    end = MarketEnd(pipeline.candles, pipeline.venue, pipeline.portfolio, log=log, said=said.set)
    sink_of = partial(feed_sink, end.driver, frozenset(markets.instruments.values()))
    feeds = tuple(
        feed_of(name, wanted, sink_of, markets, hosts_of, clock, random)
        for name, wanted in subscriptions_of(markets.instruments.values()).items()
    )
    process = MarketProcess(pipeline, feeds, bus, end, said)
    await process.begin()
    yield process


@asynccontextmanager
async def decide_process(
    text: str, bus: Bus, stores: Stores, cache_dir: Path, *, log: EventLog,
    hosts_of: Callable[[Venue], Hosts], clock: Clock, random: Random, advise: Advise, accept_loss: bool = False,
) -> AsyncIterator[DecideProcess]:  # fmt: skip
    """The side of a path that decides, where its journal ends, ready to run.

    Args:
        text: the configuration as it is written, of which every instrument names its market: a journal is of one.
        bus: between this process and the market's.
        stores: where the journal is.
        cache_dir: a local folder for copies of the identities.
        log: told of every event, those of the journal included.
        hosts_of: where a venue is asked what is traded.
        clock: the market's.
        random: of back-offs.
        advise: makes who asks a model, where one is asked.
        accept_loss: see `DurableStage.open`.

    Raises:
        SettingsError: the text is no configuration.
        InvalidField: posted signals, which only a service takes in; and as `markets_of`.
        UnreadableInput: the journal is of another configuration.
        StoreUnavailable, EventsLost, Fenced, JournalDamaged: see `DurableStage.open`.
    """
    config = config_of(text, "the configuration")
    await first_rows(config, None)
    markets = await markets_of(config, hosts_of, clock, random)
    pipeline = build(config, markets.instruments, listings=markets.listings, gapless=True)
    group = decide_group(config.name)
    await asyncio.to_thread(_check_config, stores, group, text, config)
    end = DecideEnd(pipeline.path, log)
    stage = await asyncio.to_thread(
        partial(
            DurableStage.open, end, bus, streams=streams_of(config.name),
            group=group, consumer=CONSUMER, route=partial(_route, config.name), stores=stores,
            cache_dir=cache_dir, accept_loss=accept_loss,
        )
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        stack.callback(stage.close)
        backfiller = CandleBackfiller(pipeline.strategies, markets, hosts_of, clock, random)
        asker = None
        if pipeline.answers is not None and pipeline.answers.asks:
            adviser, why_off = await advise()
            if adviser is not None:
                stack.push_async_callback(adviser.aclose)
            asker = ModelAsker(
                pipeline.answers, partial(_tell, bus, config.name), adviser, why_off,
                now_us=lambda: clock.now_ns() // 1000,
            )  # fmt: skip
            end.log = Both(log, _QuestionsToLoop(asker))
            if stage.taken:  # what was open is answered by nobody
                await _tell(bus, config.name, PathRestarted(at_us=clock.now_ns() // 1000, symbol=""))
        yield DecideProcess(pipeline, stage, bus, backfiller, asker)


def streams_of(name: str) -> list[str]:
    """What the side that decides reads; of what comes together, commands first."""
    return [commands_stream(name), market_stream(name)]


def command_over_bus(bus: Bus, name: str, command: Command, *, wait_s: float = COMMAND_S) -> None:
    """Tell the risk of a portfolio something; its journal has it when this returns.

    Args:
        bus: that its processes are on.
        name: of the portfolio.
        command: what is told.
        wait_s: for how long it may not take the command.

    Raises:
        InvalidField: the command names nobody or no reason, and nothing was told.
        NotFound: no process that decides for such a portfolio was ever on the bus; nothing was told.
        StoreUnavailable: the bus does not answer, or nobody has taken the command; who begins later does.
        EventsLost: the bus came back without its data.
    """
    check_command(command)
    stream, group = commands_stream(name), decide_group(name)
    try:
        bus.first_needed(stream, group)
    except EventsLost as error:
        raise NotFound(
            f"pipeline is {name!r}; expected the name of one whose decide stage is, or was, on this bus",
            field="pipeline", value=name,
        ) from error  # fmt: skip
    bus.publish(stream, [command])
    told, until_s = bus.last(stream).sequence, time.monotonic() + wait_s
    backoff, never = _backoff(), threading.Event()
    while bus.first_needed(stream, group) <= told:
        if time.monotonic() > until_s:
            raise StoreUnavailable(
                f"the decide stage of {name} has not taken the command in {wait_s:g} s; expected it to run and its "
                "journal to be written. The command is on the bus, and is taken when that is so"
            )
        never.wait(backoff.failed())


def _check_config(stores: Stores, group: str, text: str, config: PipelineConfig) -> None:
    """Refuse another configuration, or other models, than the journal is of."""
    held = _kept(stores, f"stages/{group}/pipeline.yaml", text.encode())
    if held != text.encode():
        raise UnreadableInput(
            f"the store holds the journal of {group}, which is of another configuration; expected the same, or "
            "another name in it, or another store"
        )
    models = _kept(stores, f"stages/{group}/models.json", msgspec.json.encode(config.models))
    check_models(msgspec.json.decode(models), config, f"the journal of {group}")


def _kept(stores: Stores, place: str, data: bytes) -> bytes:
    """What a blob holds, which is written where there is none."""
    held = stores.blobs.get(place)
    if held is None:
        stores.blobs.put(place, data)
    return data if held is None else held


def _route(name: str, event: BusEvent) -> str | None:
    return orders_stream(name) if isinstance(event, PlannedOrder) else None


def _all_of(bus: Bus, stream: str) -> list[BusEvent]:
    """All that a stream holds; it is bounded."""
    events: list[BusEvent] = []
    after = NOWHERE
    while found := bus.entries(stream, after):
        events += (delivery.event for delivery in found)
        after = found[-1].position
    return events


async def _patiently(call: Callable[[], T]) -> T:
    """Make a call of the bus in a thread, again and again while it is away or full."""
    backoff = _backoff()
    while True:
        try:
            return await asyncio.to_thread(call)
        except StoreUnavailable:
            await asyncio.sleep(backoff.failed())


def _backoff() -> Backoff:
    return Backoff(Random(), first_s=0.1, most_s=5.0)  # noqa: S311 - delays are no secret
