"""Clients of the broadcast in one process: the application over a real shard on disk, spoken to as a server does."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Signal
from raysignal.engine.journal.layout import write_layout
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.pipeline.portfolio import VenuePortfolio
from raysignal.engine.pipeline.session_messages import SessionMessages, SessionTail
from raysignal.runtime.settings import Settings
from raysignal.serve.access import Credentials
from raysignal.serve.stream.app import StreamApp
from raysignal.serve.stream.hub import LiveState, StreamHub
from raysignal.serve.stream.source import ServiceSource
from tests.support.one_replica import Desk, replica

NOW_US = 1_800_000_000_000_000
HOST = (b"host", b"localhost:8000")


@dataclass
class World:
    """A broadcast and the portfolio behind it; `now_s` is the time."""

    hub: StreamHub
    app: StreamApp
    desk: Desk
    root: Path
    now_s: float = 100.0
    states: list[LiveState] = field(default_factory=list)

    async def post(self, signals: Sequence[Signal]) -> None:
        """Have signals taken in."""
        batch = SignalBatch.of_signals(signals).in_time()
        await self.desk.submit(
            "baseline", batch.encode(), all_or_nothing=True, accept_price_jump=True, receipts=False
        )

    def socket(self, query: str = "", **options: Any) -> "SocketClient":
        """A client of the WebSocket."""
        return SocketClient(self.app, query, **options)


class PipelineSessions:
    """Pipelines of this process, by their names; one that has no messages does not run."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.running: dict[str, SessionMessages] = {}
        self._news = asyncio.Event()
        self._begun = ExitStack()

    def close(self) -> None:
        """End them all."""
        self._begun.close()

    def end(self, name: str) -> None:
        """End the pipeline; its session is kept."""
        del self.running[name]
        self._news.set()

    def begin(self, name: str, folder: Path) -> SessionMessages:
        """Begin the pipeline, with the session in that folder."""
        portfolio = VenuePortfolio(Policy(initial_cash=10_000.0), mark_us={"BTC": 60_000_000})
        self.running[name] = self._begun.enter_context(
            SessionMessages(name, folder, portfolio, self._news.set)
        )
        self._news.set()
        return self.running[name]

    async def tail(self, name: str, first: int | None, limit: int, wait_s: float) -> SessionTail:
        """See `PipelineRun.tail`."""
        begun = self.running.get(name)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while begun is not None and first is not None and first >= begun.end:
                    self._news.clear()
                    await self._news.wait()
                    begun = begun if self.running.get(name) is begun else None
        if begun is None:
            raise StoreUnavailable(f"pipeline {name} does not run")
        return SessionTail(begun.shard, begun.end, () if first is None else begun.read(first, limit))


class _Source(ServiceSource):
    """With states that a test makes up."""

    world: World | None = None

    async def states(self) -> Sequence[LiveState]:
        return [] if self.world is None else self.world.states


@asynccontextmanager
async def world(
    folder: Path, pipelines: PipelineSessions | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A broadcast over a store in the folder."""
    chosen = Settings(store=(folder / "store").as_uri(), **settings)
    stores = open_stores(chosen.store)
    write_layout(stores, 1)
    async with replica(folder) as found:
        desk: Any = found.desk
        source = _Source("r1", desk, stores.blobs, 1, pipelines=pipelines)  # type: ignore[arg-type]
        made: World
        hub = StreamHub(source, chosen.stream, now_us=lambda: NOW_US, clock=lambda: made.now_s)
        made = World(hub, StreamApp(hub, Credentials.of(chosen)), found.desk, folder / "store")
        source.world = made
        yield made


class BothShards:
    """The desks of two shards as one: the first has the portfolio that is asked about."""

    def __init__(self, *desks: Desk) -> None:
        self._desks = desks

    async def tail(self, shard: int, first: int, limit: int, wait_s: float) -> Any:
        return await self._desks[shard].tail(0, first, limit, wait_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desks[0], name)


@asynccontextmanager
async def two_shards(folder: Path) -> AsyncIterator[tuple[World, Desk]]:
    """A broadcast over two shards, and the desk of the second."""
    chosen = Settings(store=(folder / "first" / "store").as_uri())
    stores = open_stores(chosen.store)
    write_layout(stores, 1)
    async with replica(folder / "first") as first, replica(folder / "second") as second:
        both: Any = BothShards(first.desk, second.desk)
        made: World
        hub = StreamHub(
            _Source("r1", both, stores.blobs, 2),
            chosen.stream,
            now_us=lambda: NOW_US,
            clock=lambda: made.now_s,
        )
        made = World(hub, StreamApp(hub, Credentials.of(chosen)), first.desk, folder)
        yield made, second.desk


class SocketClient:
    """A client of the WebSocket; while `reading` is not set, it takes nothing that it is sent.

    Attributes:
        frames: what it was sent, as it came.
        closed: the code with which it was closed, and why.
        refused: the status and the problem where it was not let in.
    """

    def __init__(
        self, app: StreamApp, query: str = "", *, headers: Sequence[tuple[bytes, bytes]] = (HOST,),
        protocols: Sequence[str] = (), path: str = "/ws/signals",
    ) -> None:  # fmt: skip
        self.frames: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.refused: tuple[int, dict[str, Any]] | None = None
        self.protocol: str | None = None
        self.reading = asyncio.Event()
        self.reading.set()
        self._app = app
        self._scope = {
            "type": "websocket", "path": path, "query_string": query.encode(), "headers": list(headers),
            "subprotocols": list(protocols), "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._status = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages so far."""
        return [json.loads(line) for frame in self.frames for line in frame.split("\n")]

    @property
    def texts(self) -> list[str]:
        """Those about rows, as they came."""
        lines = [line for frame in self.frames for line in frame.split("\n")]
        return [line for line in lines if '"epoch"' not in line]

    async def __aenter__(self) -> Self:
        self._said.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._app(self._scope, self._said.get, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reading.set()
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1001})
        assert self._task is not None
        await self._task

    def say(self, message: Any) -> None:
        """Send a message."""
        text = message if isinstance(message, str) else json.dumps(message)
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    async def until(self, there: Callable[["SocketClient"], Any]) -> Any:
        """Wait until something is true of what came, and give it."""
        async with asyncio.timeout(60):
            while not (self.frames or self.closed or self.refused) or not (found := there(self)):
                self._news.clear()
                await self._news.wait()
        return found

    async def message(self, kind: str) -> dict[str, Any]:
        """The first message of a type, waited for."""
        found: dict[str, Any] = await self.until(
            lambda each: next((told for told in each.messages if told["type"] == kind), None)
        )
        return found

    async def sequence(self, sequence: int) -> None:
        """Wait until a message with that sequence, or a later one, came."""
        await self.until(
            lambda each: any(
                told["sequence"] >= sequence for told in each.messages if "epoch" not in told
            )
        )  # fmt: skip

    async def ended(self) -> tuple[int, str]:
        """Wait until it was closed."""
        found: tuple[int, str] = await self.until(lambda each: each.closed)
        return found

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.protocol = message.get("subprotocol")
        elif kind == "websocket.close":
            self.closed = message["code"], message["reason"]
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
        elif kind == "websocket.http.response.body":
            self.refused = self._status, json.loads(message["body"])
        else:
            await self.reading.wait()
            self.frames.append(message["text"])
        self._news.set()
