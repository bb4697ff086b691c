"""The broadcast: `python -m benchmarks.stream [--clients N] [--seconds S] [--rate R] [--kill-every S]`.

Clients listen to signals that are posted at a steady rate, a tenth of them stop reading and a hundredth reads a byte a
second, while the replica is killed now and then. Then all come back at once from 100 000 messages back.
"""

import argparse
import asyncio
import base64
import os
import random
import re
import signal
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import Figure
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from raysignal.serve.service import local_service

CLIENTS = 200
SECONDS = 15.0
RATE = 5.0
KILL_EVERY_S = 8.0
ROWS_BACK = 25_000
"""Of four messages each, as each of them trades."""
_AFTER_A_KILL_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
"""Between attempts to come back, as `raysignal.Stream` has them."""
_LOOK_S = 0.05
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_SENT, _SEQUENCE = re.compile(rb'"sent":([0-9.]+)'), re.compile(rb'"sequence":([0-9]+)')


@dataclass(slots=True)
class Received:
    """What one client got: sequences, and the delay of each."""

    sequences: list[int] = field(default_factory=list)
    delays: list[tuple[float, float]] = field(default_factory=list)
    messages: int = 0
    closes: list[int] = field(default_factory=list)


class SocketListener(asyncio.Protocol):
    """A WebSocket that only listens, with as little work a message as can be."""

    def __init__(self, path: str, received: Received, on_lost: Callable[[], None]) -> None:
        self.received = received
        self.opened = False
        self._path, self._on_lost = path, on_lost
        self._data = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.opened:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self._data[:end]:
                self.transport.close()
                return
            self.opened = True
            del self._data[: end + 4]
        self._frames()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self._on_lost()

    def _frames(self) -> None:
        at, data = 0, self._data
        while len(data) - at >= 2:
            length, start = data[at + 1] & 127, at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                if len(data) - at < 2 + size:
                    break
                length, start = int.from_bytes(data[start : start + size], "big"), start + size
            if len(data) < start + length:
                break
            self._frame(data[at] & 15, bytes(data[start : start + length]))
            at = start + length
        del data[:at]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            self.transport.write(bytes([128 | _PONG, 128 | len(payload)]) + mask + masked)
        elif opcode == _CLOSE:
            self.received.closes.append(struct.unpack("!H", payload[:2])[0] if payload else 1005)
            self.transport.close()
        elif opcode == _TEXT and b'"epoch"' not in payload:
            now = time.time()
            self.received.messages += payload.count(b"\n") + 1
            last = payload[payload.rfind(b"\n") + 1 :]
            found, sent = _SEQUENCE.search(last), _SENT.search(last)
            if found is not None:
                self.received.sequences.append(int(found[1]))
            if sent is not None:
                self.received.delays.append((float(sent[1]), now - float(sent[1])))


class ListeningClient:
    """Listens, comes back and resumes, until it is told to end; `stuck`: it never reads."""

    def __init__(self, port: int, query: str, since: int | None, *, stuck: bool = False) -> None:
        self._stuck = stuck
        self.received = Received()
        self._port, self._query, self._since = port, query, since
        self._ending = False
        self.transport: asyncio.Transport | None = None

    async def run(self) -> None:
        """Until told to end."""
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while not self._ending:
            lost = asyncio.Event()
            since = self.received.sequences[-1] if self.received.sequences else self._since
            path = f"/ws/signals?{self._query}" + ("" if since is None else f"&since={since}")
            with suppress(OSError):
                self.transport, listener = await loop.create_connection(
                    partial(SocketListener, path, self.received, lost.set),
                    "127.0.0.1",
                    self._port,
                )
                if self._stuck:
                    self.transport.pause_reading()
                await lost.wait()
                if listener.opened or self._stuck:
                    pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def end(self) -> None:
        """End at the next chance."""
        self._ending = True
        if self.transport is not None:
            self.transport.close()


def measure(
    clients: int = CLIENTS, seconds: float = SECONDS, rate: float = RATE, kill_every_s: float = KILL_EVERY_S
) -> list[Figure]:
    """The figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            store=(Path(folder) / "store").as_uri(), port=free_port(), connections_per_client=4096, enhanced="",
            stream={"start": "always"},
        )  # fmt: skip
        with local_service(settings, log_path=str(Path(folder) / "log")) as service:
            return asyncio.run(
                _measured(service.url, settings.http.port, clients, seconds, rate, kill_every_s)
            )


async def _measured(
    url: str, port: int, clients: int, seconds: float, rate: float, kill_every_s: float
) -> list[Figure]:
    figures: list[Figure] = []

    def note(what: str, value: float, unit: str, target: float | None = None) -> None:
        figures.append(Figure("stream", what, value, unit, target, "less"))

    async with httpx.AsyncClient(base_url=url, timeout=60.0) as http:
        await _preload(http)
        listening = [ListeningClient(port, "types=signal", None) for _ in range(clients)]
        tasks = [asyncio.create_task(each.run()) for each in listening]
        stuck = [ListeningClient(port, "lines=true", 0, stuck=True) for _ in range(clients // 10)]
        tasks += [asyncio.create_task(each.run()) for each in stuck]
        dripping = [asyncio.create_task(_drip(port)) for _ in range(clients // 100)]
        await _until(lambda: all(each.transport is not None for each in (*listening, *stuck)))
        before = _replica().memory_info().rss
        calm = await _post_steadily(http, seconds, rate, None)
        after = _replica().memory_info().rss
        kills: list[float] = []
        await _post_steadily(http, seconds, rate, (kill_every_s, kills))
        last = await _last_posted(http)
        with suppress(TimeoutError):
            await _until(lambda: all(each.received.sequences[-1:] == [last] for each in listening), 60.0)
        note("clients that read", clients, "clients")
        note(
            f"p99 of delivery, {rate:g} messages/s, no kill",
            _p99([late for each in listening for sent, late in each.received.delays if calm[0] <= sent <= calm[1]]),
            "ms", 300.0,
        )  # fmt: skip
        note(
            "p99 apart from 10 s behind each kill",
            _p99([
                delay for each in listening for sent, delay in each.received.delays
                if not any(kill - 1.0 <= sent <= kill + _AFTER_A_KILL_S for kill in kills)
            ]), "ms", 300.0,
        )  # fmt: skip
        note("kills of the replica", len(kills), "kills")
        back = _back(listening, kills)
        note("back after a kill, half of the clients", statistics.median(back) if back else 0.0, "s")
        note("back after a kill, all clients", max(back, default=0.0), "s")
        note(
            "messages missing",
            sum(_holes(each.received.sequences, last) for each in listening),
            "messages",
            0.0,
        )
        note("messages twice", sum(_doubles(each.received.sequences) for each in listening), "messages", 0.0)
        note("memory of the replica, before", before / 2**20, "MiB")
        note("memory of the replica, after the calm part", after / 2**20, "MiB")
        page = (await http.get("/metrics")).text
        slow = sum(
            float(found)
            for found in re.findall(r"raysignal_stream_slow_clients_total\{.*\} ([0-9.e+]+)", page)
        )
        note("clients closed as slow", slow, "clients")
        for each in (*listening, *stuck):
            each.end()
        for task in (*tasks, *dripping):
            task.cancel()
        await asyncio.gather(*tasks, *dripping, return_exceptions=True)
        note(f"resume of {clients} at once, 100 000 messages back", await _resume(port, clients), "s")
    return figures


async def _preload(http: httpx.AsyncClient) -> None:
    """Rows of which each trades."""
    for first in range(0, ROWS_BACK, 5000):
        lines = [
            f'{{"timestamp": {1_700_000_000 + row}, "signal": "{("BUY", "SELL")[row % 2]}", "price": {100 + row % 2}}}'
            for row in range(first, first + 5000)
        ]
        body = "\n".join(lines).encode()
        (
            await http.post("/signals", content=body, headers={"content-type": "application/x-ndjson"})
        ).raise_for_status()


async def _post_steadily(
    http: httpx.AsyncClient, seconds: float, rate: float, killing: tuple[float, list[float]] | None
) -> tuple[float, float]:
    """Post signals, and kill the replica now and then; from when to when."""
    began = time.time()
    next_kill = None if killing is None else began + killing[0] / 2
    for count in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, began + count / rate - time.time()))
        now = time.time()
        body = {"timestamp": now, "signal": "HOLD", "price": 100.0, "sent": now}
        (await http.post("/signal", json=body)).raise_for_status()
        if killing is not None and next_kill is not None and now >= next_kill:
            with suppress(psutil.Error, StopIteration):
                _replica().send_signal(signal.SIGKILL)
                killing[1].append(now)
            next_kill = now + killing[0]
    return began, time.time()


async def _last_posted(http: httpx.AsyncClient) -> int:
    """The sequence of the last signal: there is one portfolio, so its rows are those of the shard."""
    rows: int = (await http.get("/performance")).raise_for_status().json()["signals"]
    return 4 * (rows - 1) + 1


async def _resume(port: int, clients: int) -> float:
    began = time.perf_counter()
    coming = [ListeningClient(port, "lines=true", 0) for _ in range(clients)]
    tasks = [asyncio.create_task(each.run()) for each in coming]
    await _until(lambda: all(each.received.messages >= 4 * ROWS_BACK for each in coming))
    took = time.perf_counter() - began
    for each in coming:
        each.end()
    await asyncio.gather(*tasks)
    return took


async def _drip(port: int) -> None:
    """Read a byte a second of all there is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws/signals?since=0&lines=true HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    with suppress(OSError):
        while await reader.read(1):  # noqa: ASYNC110 - it waits for nothing
            await asyncio.sleep(1.0)


async def _until(there: Callable[[], bool], within_s: float = 600.0) -> None:
    for _ in range(int(within_s / _LOOK_S)):
        if there():
            return
        await asyncio.sleep(_LOOK_S)
    raise TimeoutError


def _replica() -> psutil.Process:
    """The broadcast's, among the processes below this one."""
    return next(
        each for each in psutil.Process().children(recursive=True)
        if "ray::ServeReplica:raysignal-ws" in " ".join(each.cmdline())
    )  # fmt: skip


def _back(clients: list[ListeningClient], kills: list[float]) -> list[float]:
    """Seconds from each kill until each client had a message that was sent half a second behind it or later."""
    found = []
    for kill in kills:
        for each in clients:
            came = [sent + late for sent, late in each.received.delays if sent > kill + 0.5]
            if came:
                found.append(min(came) - kill)
    return found


def _p99(delays: list[float]) -> float:
    return statistics.quantiles(delays, n=100)[98] * 1e3


def _holes(sequences: list[int], last: int) -> int:
    """Signals between the first and the last that a client did not get; their sequences are four apart."""
    return (last - sequences[0]) // 4 + 1 - len(set(sequences))


def _doubles(sequences: list[int]) -> int:
    return len(sequences) - len(set(sequences))


def main() -> None:
    """Print the figures of a run of the size that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--kill-every", type=float, default=KILL_EVERY_S)
    given = parser.parse_args()
    for figure in measure(given.clients, given.seconds, given.rate, given.kill_every):
        print(f"{figure.what}: {figure.shown}  {figure.asked}")


if __name__ == "__main__":
    main()
