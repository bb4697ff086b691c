"""A load generator for HTTP/1.1: keep-alive connections, prepared requests, nothing between it and the socket.

It runs in a process of its own, `python -m benchmarks.load`, reads a plan on stdin and prints what
it measured, so that whoever is measured does not share an interpreter with it.

Two ways: `clients` connections that each send their next request when the answer is there (closed loop), or
requests at fixed instants whatever the answers do (open loop; latency counts from the instant at which a
request was due, so that a stall is not hidden by the requests it kept from being sent).
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import uvloop

from raysignal.runtime.ports import free_port


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send.

    Attributes:
        port: on the loopback address.
        path: of every request.
        clients: connections.
        seconds: how long; the answers that are under way then are waited for.
        rate: requests a second, all connections together; 0 is closed loop.
        first_minute: where the time of the signals begins, in minutes; each client has a symbol of its own.
        features: a JSON object of features that each signal carries, as text, without its braces.
        says: what a signal says beside symbol and time, likewise; `%(action)d` and `%(price)s` are its own.
    """

    port: int
    path: str
    clients: int
    seconds: float
    rate: float = 0.0
    first_minute: int = 0
    features: str = ""
    says: str = '"signal":%(action)d,"price":%(price)s'


def run(plan: Plan) -> dict[str, Any]:
    """The plan in a process of its own: requests, statuses, requests_s, p50_ms, p99_ms, max_ms."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class _Client(asyncio.Protocol):
    """One connection; requests wait in `due` until the one before is answered."""

    def __init__(self, plan: Plan, number: int, latencies: list[float], statuses: Counter[str]) -> None:
        self._plan = plan
        self._symbol = f"S{number:03d}"
        self._minute = plan.first_minute
        self._latencies = latencies
        self._statuses = statuses
        self._buffer = b""
        self._due: deque[float] = deque()
        self._sent_for: float | None = None
        self._until = 0.0
        self.idle = asyncio.Event()
        self.idle.set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        """A request that is not answered any more must not be waited for; it counts as `lost`."""
        if self._sent_for is not None:
            self._statuses["lost"] += 1
            self._due.clear()
            self.idle.set()

    def start(self, until: float) -> None:
        """Closed loop until then."""
        self._until = until
        self.send(time.perf_counter())

    def send(self, due: float) -> None:
        """Send a request that was due then, or as soon as the one before is answered."""
        if self._transport.is_closing():
            self._statuses["lost"] += 1
            self.idle.set()
            return
        self.idle.clear()
        if self._sent_for is not None:
            self._due.append(due)
            return
        self._sent_for = due
        self._minute += 1
        stamp = _STAMPS[self._minute % len(_STAMPS)]
        day = 1 + self._minute // len(_STAMPS)
        action = 1 if self._minute & 1 else -1
        price = 95_000.0 + self._minute % 977
        body = (
            f'{{"symbol":"{self._symbol}","timestamp":"20{day // 365 + 20:02d}-{_DAYS[day % 365]}T{stamp}Z",'
            f"{self._plan.says % {'action': action, 'price': price}}{self._plan.features}}}"
        ).encode()
        self._transport.write(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (self._plan.path.encode(), len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        now = time.perf_counter()
        self._buffer = rest[length:]
        assert self._sent_for is not None
        self._latencies.append(now - self._sent_for)
        self._statuses[head[9:12].decode()] += 1
        self._sent_for = None
        if self._due:
            self.send(self._due.popleft())
        elif now < self._until:
            self.send(now)
        else:
            self.idle.set()


_STAMPS = [f"{minute // 60:02d}:{minute % 60:02d}:00" for minute in range(1440)]
_DAYS = [
    f"{month:02d}-{day:02d}"
    for month, days in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), 1)
    for day in range(1, days + 1)
]


async def _load(plan: Plan) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    clients = [_Client(plan, number, latencies, statuses) for number in range(plan.clients)]
    for client in clients:
        await loop.create_connection(partial(_itself, client), "127.0.0.1", plan.port)
    began = time.perf_counter()
    if plan.rate:
        for index in range(int(plan.rate * plan.seconds)):
            due = began + index / plan.rate
            await asyncio.sleep(due - time.perf_counter())
            clients[index % plan.clients].send(due)
    else:
        for client in clients:
            client.start(began + plan.seconds)
    await asyncio.gather(*(client.idle.wait() for client in clients))
    took = time.perf_counter() - began
    milliseconds = np.array(latencies) * 1e3
    return {
        "requests": len(latencies),
        "statuses": dict(statuses),
        "requests_s": len(latencies) / took,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "max_ms": float(milliseconds.max()),
        "next_minute": max(client._minute for client in clients),  # noqa: SLF001 - its own
    }


def _itself(client: _Client) -> _Client:
    return client


@contextlib.contextmanager
def peer_app(module: str, *arguments: str) -> Iterator[int]:
    """The port of a peer in a process of its own, `python -m module PORT arguments`, once it listens."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", module, str(port), *arguments])
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            if process.poll() is not None:
                raise RuntimeError("the peer did not start")
        yield port
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    json.dump(uvloop.run(_load(Plan(**json.load(sys.stdin)))), sys.stdout)
