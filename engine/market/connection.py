"""The thin part that touches sockets: keeps one `Conversation` connected, for as long as it runs.

A connection that is renewed before the venue ends it is closed first and opened then, without a delay: for that
moment its books are lost and said to be (`BookLost`, `disconnected`). Two connections at once would say every trade
twice, and which of them is ahead nobody can know.
"""

import asyncio
import contextlib
import ssl
from random import Random

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.market.backoff import Backoff, retry_after_s
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.conversation import ConnectionTimeouts, Conversation
from raysignal.engine.market.limits import Limiter, VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.protocol import RestRequest

_LIMITED = frozenset({418, 429})
_MOST_MESSAGE = 16 << 20
_LOOKS_A_BOUND = 4  # how often the watch looks within the shortest of its bounds
_MOST_BETWEEN_LOOKS_S = 1.0


class Connection:
    """See the module. `run` ends when `stop` was called; an exception from the sink ends it, too."""

    def __init__(
        self, conversation: Conversation, base: str, *, clock: Clock, limits: VenueLimits, rest: RestClient,
        terms: ConnectionTimeouts, texts_per_s: float, silence_s: float, observed: FeedMetrics, random: Random,
    ) -> None:  # fmt: skip
        self.conversation = conversation
        self.last_error = ""
        self._address = base + conversation.opening.path
        self._clock, self._limits, self._rest, self._terms, self._observed = (
            clock,
            limits,
            rest,
            terms,
            observed,
        )
        self._backoff = Backoff(
            random, first_s=terms.first_delay_s, most_s=terms.most_delay_s, lasting_s=terms.lasting_s
        )
        self._texts = Limiter(max(1.0, texts_per_s), 1.0)
        bounds = (silence_s, terms.still_s, terms.ping_s, terms.pong_s)
        self._look_s = min(_MOST_BETWEEN_LOOKS_S, min(bounds) / _LOOKS_A_BOUND)
        self._opened = 0

    async def run(self) -> None:
        """Connect, talk, and connect again, until cancelled."""
        while True:
            await self._turn()
            reason, lasted_s, asked_s = await self._session()
            _end_if_cancelled()
            if reason == "renewal":
                self._backoff.succeeded()
                continue
            self.last_error = reason
            await self._clock.sleep(max(asked_s, self._backoff.failed(lasted_s)))

    async def _turn(self) -> None:
        wait = self._limits.connects.reserve(self._clock.monotonic())
        while wait > 0:
            await self._clock.sleep(wait)
            wait = self._limits.connects.paused_for(self._clock.monotonic())

    async def _session(self) -> tuple[str, float, float]:
        """One connection from opening to end: why it ended, how long it held, what wait the venue asked for."""
        real = self._clock.real
        try:
            socket = await connect(
                self._address, compression=None, ping_interval=None, max_size=_MOST_MESSAGE, max_queue=256,
                open_timeout=max(0.5, real(self._terms.open_s)), close_timeout=min(1.0, real(2.0)),
            )  # fmt: skip
        except InvalidStatus as refusal:
            self._observed.connect_errors += 1
            status = refusal.response.status_code
            asked = retry_after_s(refusal.response.headers.get("Retry-After")) or 0.0
            if status in _LIMITED:
                self._limits.connects.pause(self._clock.monotonic() + asked)
            return f"refused with {status}", 0.0, asked
        except (OSError, TimeoutError, WebSocketException, ssl.SSLError) as error:
            self._observed.connect_errors += 1
            return f"{type(error).__name__}: {error}", 0.0, 0.0
        self._observed.connects += 1
        self._observed.reconnects += self._opened > 0
        self._opened += 1
        begun = self._clock.monotonic()
        reason = await self._talk(socket, begun)
        return reason, self._clock.monotonic() - begun, 0.0

    async def _talk(self, socket: ClientConnection, begun: float) -> str:
        """Until the connection ends, and why it did. What the sink raises comes out of here."""
        outgoing: asyncio.Queue[str] = asyncio.Queue()
        ended: list[str] = []
        politely = True
        try:
            async with asyncio.TaskGroup() as group:
                for text in self.conversation.opened(begun):
                    outgoing.put_nowait(text)
                group.create_task(self._write(socket, outgoing))
                group.create_task(self._watch(socket, outgoing, ended))
                await self._read(socket, outgoing, group)
        except BaseExceptionGroup as failures:
            others = failures.split(ConnectionClosed)[1]
            if others is not None:
                raise others.exceptions[0] from None
            politely = False
        finally:
            if politely:
                with contextlib.suppress(TimeoutError, OSError):
                    async with asyncio.timeout(1.0):
                        await socket.close()
            socket.transport.abort()
            self.conversation.closed(self._clock.now_ns(), self._clock.monotonic())
        return ended[0] if ended else f"closed by the venue with {socket.close_code}"

    async def _read(
        self, socket: ClientConnection, outgoing: asyncio.Queue[str], group: asyncio.TaskGroup
    ) -> None:
        receive, clock, conversation = socket.recv, self._clock, self.conversation
        while True:
            raw = await receive(decode=False)
            conversation.received(raw, clock.now_ns(), clock.monotonic())
            self._follow(outgoing, group)

    def _follow(self, outgoing: asyncio.Queue[str], group: asyncio.TaskGroup) -> None:
        texts, requests = self.conversation.wants()
        for text in texts:
            outgoing.put_nowait(text)
        for delay, instrument, request in requests:
            group.create_task(self._fetch(delay, instrument, request, outgoing, group))

    async def _fetch(
        self, delay: float, instrument: Instrument, request: RestRequest, outgoing: asyncio.Queue[str],
        group: asyncio.TaskGroup,
    ) -> None:  # fmt: skip
        await self._clock.sleep(delay)
        try:
            body = await self._rest.get(request)
        except RaysignalError as error:
            # Refused for good; the watch over books that never become whole connects again, ever more slowly.
            self.last_error = str(error)
            return
        self.conversation.answered(instrument, body, self._clock.now_ns(), self._clock.monotonic())
        self._follow(outgoing, group)

    async def _write(self, socket: ClientConnection, outgoing: asyncio.Queue[str]) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                text = await outgoing.get()
                wait = self._texts.reserve(self._clock.monotonic())
                if wait > 0:
                    await self._clock.sleep(wait)
                await socket.send(text)

    async def _watch(self, socket: ClientConnection, outgoing: asyncio.Queue[str], ended: list[str]) -> None:
        conversation, clock = self.conversation, self._clock
        loop = asyncio.get_running_loop()
        while True:
            planned = loop.time() + clock.real(self._look_s)
            await clock.sleep(self._look_s)
            late = loop.time() - planned
            self._observed.worst_lag_s = max(self._observed.worst_lag_s, late)
            self._observed.loop_lags += late > self._terms.late_loop_s
            now = clock.monotonic()
            text = conversation.text_due(now)
            if text is not None:
                outgoing.put_nowait(text)
            if conversation.ping.due(now):
                await self._ping(socket)
            reason = conversation.over(now)
            if reason is not None:
                ended.append(reason)
                socket.transport.abort()
                return

    async def _ping(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            asyncio.ensure_future(await socket.ping()).add_done_callback(self._ponged)

    def _ponged(self, answer: asyncio.Future[float]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self.conversation.ponged(self._clock.monotonic())


def _end_if_cancelled() -> None:
    """A task group that ends with an error just when it is cancelled forgets the cancellation (until Python 3.13)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
