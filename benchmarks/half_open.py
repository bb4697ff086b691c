"""Posts beside a client that opens connections and finishes nothing: `python -m benchmarks half_open`.

5 000 connections from 127.0.0.2, half of them silent and half with half a body, each opened again some seconds after
the service closed it; meanwhile posts from 127.0.0.1 are measured, at a steady rate.
"""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.load import Plan, run
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from raysignal.serve.service import local_service

CONNECTIONS = 5000
OTHER = "127.0.0.2"
CLIENTS = 16
RATE = 200.0
SECONDS = 20.0
_AGAIN_S = 5.0
_BEGUN = b'POST /signal HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"timestamp"'


def measure() -> list[Figure]:
    """Latencies of normal posts, alone and beside the half-open connections."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=(Path(folder) / "store").as_uri(), port=free_port(), enhanced="")
        with local_service(settings, log_path=str(Path(folder) / "log")):
            plan = partial(Plan, settings.http.port, "/signal", CLIENTS, SECONDS, rate=RATE)
            alone = run(plan())
            with half_open(settings.http.port) as attempts:
                beside = run(plan(first_minute=alone["next_minute"] + 1))
                opened = attempts()
    for name, measured in (("alone", alone), ("beside them", beside)):
        target = 100.0 if measured is beside else None
        figures += [
            Figure("half_open", f"posts {name}: p50", measured["p50_ms"], "ms", better="less"),
            Figure("half_open", f"posts {name}: p99", measured["p99_ms"], "ms", target, better="less"),
            Figure("half_open", f"posts {name}: max", measured["max_ms"], "ms", better="less"),
        ]
    failed = sum(count for status, count in beside["statuses"].items() if status != "200")
    figures += [
        Figure("half_open", "posts beside them that failed", failed, "posts", 0.0, better="less"),
        Figure("half_open", f"connections from {OTHER} held at once", CONNECTIONS, "connections"),
        Figure("half_open", "of these opened, with those opened again", opened, "connections"),
    ]
    return figures


@contextmanager
def half_open(port: int) -> "Iterator[partial[int]]":
    """While it lasts, connections are open that finish nothing; gives how many were opened so far."""
    loop = asyncio.new_event_loop()
    opened: list[int] = []
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(_open_all(port, opened), loop).result()
    try:
        yield partial(len, opened)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _open_all(port: int, opened: list[int]) -> None:
    """Open them a hundred at a time, so that none waits in the kernel's queue for long."""
    for first in range(0, CONNECTIONS, 100):
        await asyncio.gather(
            *(_HalfOpen(port, number, opened).open() for number in range(first, first + 100))
        )


class _HalfOpen(asyncio.Protocol):
    """One connection, opened again a second after it was closed."""

    def __init__(self, port: int, number: int, opened: list[int]) -> None:
        self._port = port
        self._number = number
        self._opened = opened
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            await loop.create_connection(lambda: self, "127.0.0.1", self._port, local_addr=(OTHER, 0))
            return
        self._later()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._opened.append(self._number)
        if self._number % 2:
            assert isinstance(transport, asyncio.Transport)
            transport.write(_BEGUN)

    def connection_lost(self, _error: Exception | None) -> None:
        self._later()

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_S, self._again)

    def _again(self) -> None:
        task = asyncio.get_running_loop().create_task(self.open())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
