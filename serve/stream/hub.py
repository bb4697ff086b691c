"""The broadcast of one replica: follows the shards, encodes each message once, and hands it to its clients.

It follows nothing while nobody listens. No Ray and no HTTP: whoever drives it hands in where the rows are, and how a
client is sent something.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from raysignal.engine.core.errors import NotFound, RaysignalError
from raysignal.engine.core.instants import format_instant
from raysignal.engine.portfolio.stream_messages import Shard, StreamMessage, row_of, sequence_of
from raysignal.runtime.setting_areas import StreamSettings
from raysignal.serve.stream.log import PAGE_ROWS, StreamLog, StreamSource, pipeline_of
from raysignal.serve.stream.recent import RecentMessages
from raysignal.serve.stream.session import StreamSession, error_fields
from raysignal.serve.stream.subscription import Cursor, shown_cursor

SLOW, DEFECT = 4408, 1011
"""The codes with which a client is closed that does not read, and all of them where following a shard failed."""
_ROWS_AT_ONCE = 512
_WAIT_S = 20.0
_AGAIN_S = 0.5
_TICK_S = 1.0
_FIRST_S = 2.0
"""How long a pipeline may take to answer before the first clients are served; later it joins."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """Something as it stands.

    Attributes:
        kind: the type of the message that tells it.
        name: what it is, among those of its kind.
        symbol: what it is about; None: about no one.
        values: the message.
    """

    kind: str
    name: str
    symbol: str | None
    values: Mapping[str, Any]


class LiveSource(StreamSource, Protocol):
    """Where rows are, and what is only sent live."""

    async def performance(self, portfolio: str) -> dict[str, Any]:
        """How a portfolio stands."""

    async def report(self, counts: Mapping[str, int]) -> None:
        """Keep what this replica has counted, for whoever reads the metrics."""

    async def states(self) -> Sequence["LiveState"]:
        """What is told whenever it changed: what live feeds see."""


class StreamHub:
    """The broadcast of one replica.

    Args:
        source: where rows and figures are.
        settings: bounds of a client, and of what is kept.
        now_us: the present, UTC microseconds.
        clock: seconds of a clock that only goes forward.

    Attributes:
        sessions: the clients.
        recent: the last messages.
        log: the messages before.
        epoch: of the store; known once there is a client.
        shards: of the store.
        counts: clients by what became of them, and `sent` messages, since this began.
    """

    def __init__(
        self,
        source: LiveSource,
        settings: StreamSettings,
        *,
        now_us: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.sessions: set[StreamSession] = set()
        self.recent = RecentMessages(settings.recent_bytes)
        self.log = StreamLog(source)
        self.epoch = ""
        self.shards = source.shards
        self.counts: Counter[str] = Counter()
        self._source = source
        self._now_us = now_us
        self._beginning = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._beat_at = 0.0
        self._traded: dict[str, int] = {}
        self._told: dict[tuple[str, str], LiveState] = {}
        self._trouble: str | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[StreamSession]:
        """A client, which is sent what comes from now on until it subscribes to something else.

        Raises:
            StoreError: the store does not answer.
        """
        async with self._beginning:
            if not self._tasks:
                await self._begin()
            session = StreamSession(self)
            self.sessions.add(session)
        self.counts["connected"] += 1
        try:
            yield session
        finally:
            self.sessions.discard(session)
            if not self.sessions:
                await self._end()

    def is_over(self, shard: Shard) -> bool:
        """Whether it is the session of a pipeline that is gone, or writes another one by now."""
        if isinstance(shard, int) or shard in self.recent.heads:
            return False
        name = pipeline_of(shard)
        return name not in self._source.pipelines or any(
            isinstance(each, str) and pipeline_of(each) == name for each in self.recent.heads
        )

    def publish(self, messages: Sequence[StreamMessage]) -> None:
        """Hand messages to all clients."""
        self.recent.add(messages)
        for session in self.sessions:
            session.wake()

    def live_message(
        self,
        kind: str,
        cursor: Cursor | None = None,
        *,
        about: tuple[str | None, str | None] = (None, None),
        **values: Any,
    ) -> StreamMessage:
        """A message that is only sent live, and up to where its reader has all; `about` a symbol and a portfolio."""
        told = {
            "type": kind, "sequence": shown_cursor(self.recent.heads if cursor is None else cursor),
            "epoch": self.epoch, "time": format_instant(self._now_us()), **values,
        }  # fmt: skip
        return StreamMessage(None, 0, kind, *about, orjson.dumps(told, default=str).decode())

    async def tick(self) -> None:
        """What is due by the clock: slow clients are closed; heartbeats, figures and states are told."""
        now_s = self.clock()
        for session in self.sessions:
            self._judge(session, now_s)
        if now_s - self._beat_at >= self.settings.heartbeat_s:
            self._beat_at = now_s
            self.publish([self.live_message("heartbeat")])
            for session in self.sessions:
                if session.catching_up:
                    session.reply("heartbeat")
        await self._tell_figures()
        await self._tell_states()
        await self._report()

    async def _report(self) -> None:
        await self._source.report({**self.counts, "clients": len(self.sessions)})

    def _judge(self, session: StreamSession, now_s: float) -> None:
        """Close a client that is too slow."""
        if session.closing is not None:
            return
        since = session.sending_since
        if since is not None and now_s - since > self.settings.slow_s:
            self.counts["slow_seconds"] += 1
            session.close(SLOW, f"nothing was read for {self.settings.slow_s:g} s; come back and resume")
        elif session.bytes_behind > self.settings.slow_bytes:
            self.counts["slow_bytes"] += 1
            session.close(SLOW, f"more than {self.settings.slow_bytes} bytes behind; come back and resume")

    async def _begin(self) -> None:
        """Follow the shards from now on."""
        self.epoch = await self._source.epoch()
        self.recent = RecentMessages(self.settings.recent_bytes)
        await asyncio.gather(
            *(self._begin_shard(shard) for shard in range(self._source.shards)),
            *(self._join(name, _FIRST_S) for name in self._source.pipelines),
        )
        self._beat_at, self._told = self.clock(), {}
        self._tasks = [asyncio.create_task(self._follow(shard)) for shard in range(self._source.shards)]
        self._tasks += [asyncio.create_task(self._follow_pipeline(name)) for name in self._source.pipelines]
        self._tasks.append(asyncio.create_task(self._tick_on()))
        for task in self._tasks:
            task.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        """A defect: clients come back to a broadcast that begins anew, rather than wait for what never comes."""
        if task.cancelled() or task not in self._tasks:
            return
        _log_defect(task.exception())
        tasks, self._tasks = self._tasks, []
        for each in tasks:
            each.cancel()
        for session in self.sessions:
            session.close(DEFECT, "an unexpected error, which the service's log has; come back and resume")

    async def _end(self) -> None:
        """Nobody listens any more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await self._report()

    async def _begin_shard(self, shard: Shard) -> None:
        """Follow a shard, with its last messages at hand: who comes back after a moment reads them in place."""
        end = await self.log.end(shard)
        first = row = max(0, (end // PAGE_ROWS - 1) * PAGE_ROWS)
        messages: list[StreamMessage] = []
        try:
            while row < end:
                page = await self.log.read(shard, row, PAGE_ROWS)
                messages += page.messages
                row = page.end
        except NotFound:  # they were removed from the store
            first, row, messages = end, end, []
        self.recent.begin(shard, sequence_of(first, -1))
        self.recent.add(messages)
        self.recent.heads[shard] = sequence_of(row, -1)

    async def _join(self, pipeline: str, wait_s: float) -> Shard | None:
        """The session that a pipeline writes, which is followed from then on; None: it does not run."""
        try:
            async with asyncio.timeout(2 * wait_s):
                shard = (await self._source.session(pipeline, None, 0, wait_s)).shard
                if shard in self.recent.heads:
                    return shard
                await self._begin_shard(shard)
        except (RaysignalError, TimeoutError):
            return None
        for other in [each for each in self.recent.heads if isinstance(each, str) and each != shard]:
            if pipeline_of(other) == pipeline:
                del self.recent.heads[other]
        for session in self.sessions:
            session.follow(shard, self.recent.heads[shard])
        self.publish([self.live_message("heartbeat")])
        return shard

    async def _follow_pipeline(self, name: str) -> None:
        """Publish what a pipeline does, whenever it runs, until cancelled."""
        while True:
            shard = await self._join(name, _WAIT_S)
            if shard is not None:
                with suppress(RaysignalError):
                    while True:
                        await self._publish_next(shard)
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self, shard: Shard) -> None:
        """Publish the messages of a shard of the store, until cancelled."""
        while True:
            try:
                await self._publish_next(shard)
            except RaysignalError as error:
                if self._trouble != str(error):
                    self._trouble = str(error)
                    self.publish([self.live_message("error", shard=shard, **error_fields(error))])
                await asyncio.sleep(_AGAIN_S)
            else:
                self._trouble = None

    async def _publish_next(self, shard: Shard) -> None:
        """The next messages of a shard, waited for; raises as `StreamLog.read`."""
        page = await self.log.read(shard, row_of(self.recent.heads[shard]), _ROWS_AT_ONCE, _WAIT_S)
        if page.end > page.first:
            self.publish(page.messages)
            self.recent.heads[shard] = sequence_of(page.end, -1)
        if isinstance(shard, int):
            self._traded.update({each.portfolio: shard for each in page.messages if each.portfolio})

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(min(_TICK_S, self.settings.heartbeat_s))
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001 - a defect: what is about rows goes on without it
                _log_defect(error)

    async def _tell_figures(self) -> None:
        """The figures of portfolios that something was sent about since."""
        traded, self._traded = self._traded, {}
        for portfolio in traded:
            try:
                figures = await self._source.performance(portfolio)
            except RaysignalError:
                self._traded.setdefault(portfolio, traded[portfolio])
            else:
                self.publish([self.live_message("performance", about=(None, portfolio), **_without(figures))])

    async def _tell_states(self) -> None:
        """What changed of that."""
        try:
            states = await self._source.states()
        except RaysignalError:
            return
        for state in states:
            if self._told.get((state.kind, state.name)) != state:
                self._told[state.kind, state.name] = state
                self.publish([self.live_message(state.kind, about=(state.symbol, None), **state.values)])


def _log_defect(error: BaseException | None) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "the broadcast failed", "exception": error})


def _without(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures without the name that a message has for something else."""
    return {name: value for name, value in figures.items() if name != "sequence"}
