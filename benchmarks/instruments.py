"""200 instruments live at once, and how long it takes from the end of a candle to its order.

    python -m benchmarks.instruments

A made-up exchange in a process of its own speaks Bybit's protocol: books ten times a second, about five trades a second
in bursts, states of contracts and liquidations. Four strategies on each instrument, orders on paper. Processor time and
memory (PSS) are those of the process that follows it: sockets, books, candles, strategies, risk, orders and fills.

From the end of a candle to its order: in memory, one trade at a time through the path of all instruments; through
Redis, by the ends of the path in processes of their own, from the candle at the market's end until the order is back
there. Redis is a server of its own without a file.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.bus import redis_server
from benchmarks.figures import Figure
from benchmarks.pipeline import Counter
from raysignal.engine.core.events import Candle, PlannedOrder
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.database.database import open_database
from raysignal.engine.market.clocks import SystemClock
from raysignal.engine.market.venues.protocol import Hosts, Venue
from raysignal.engine.pipeline.bus import open_bus
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import CandleDepth
from raysignal.runtime.pipeline import build
from raysignal.runtime.pipeline_bus import market_process
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_file import read_config
from raysignal.runtime.pipeline_live import live_pipeline

INSTRUMENTS, THROUGH_REDIS = 200, 20
WARM_UP_S, MEASURED_S = 15.0, 30.0
TRADES = 20_000
VENUE = "bybit-linear"
_MOST_TURNS = 20
START_US = 1_700_000_000_000_000
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def measure() -> list[Figure]:
    """The figures."""
    share, pss_mb, orders = asyncio.run(follow(INSTRUMENTS))
    in_memory = in_memory_ms(INSTRUMENTS)
    with redis_server() as url:
        over_redis = asyncio.run(over_redis_ms(THROUGH_REDIS, url))
    return [
        _figure(f"{INSTRUMENTS} instruments live, {orders:,d} orders: CPU of a core", 100 * share, "%"),
        _figure(f"{INSTRUMENTS} instruments live: memory (PSS)", pss_mb, "MB"),
        _figure(
            f"{INSTRUMENTS} instruments, from the trade that ends a candle to its order, p99",
            float(np.percentile(in_memory, 99)), "ms", 5.0,
        ),
        _figure(
            f"{THROUGH_REDIS} instruments, Redis, from a candle to its order back at the market's end, p50",
            float(np.percentile(over_redis, 50)), "ms",
        ),
        _figure(
            f"the same, p99 of {len(over_redis):,d}", float(np.percentile(over_redis, 99)), "ms", 25.0,
        ),
    ]  # fmt: skip


def _figure(what: str, value: float, unit: str, target: float | None = None) -> Figure:
    return Figure("instruments", what, value, unit, target, "less")


def config_text(count: int, bar: str, longer: str) -> str:
    """A pipeline of so many instruments, with four strategies of bars of two lengths."""
    members: dict[str, Any] = {
        "name": "bench",
        "instruments": [{"symbol": f"S{n}", "market": f"{VENUE}:{symbol}"} for n, symbol in enumerate(_symbols(count))],
        "strategies": [
            {"name": "fast", "kind": "sma", "bar": bar, "parameters": {"fast": 1, "slow": 3}},
            {"name": "slow", "kind": "sma", "bar": longer, "parameters": {"fast": 5, "slow": 20}},
            {"name": "macd", "kind": "macd", "bar": longer},
            {"name": "bands", "kind": "bollinger", "bar": bar},
        ],
        "features": ["rsi(14)", "imbalance", "basis"],
        "portfolio": {"initial_cash": 10_000_000, "weight": 0.5 / count, "side": "long-short"},
        "venue": {"kind": "paper", "fee_bps": 2},
    }  # fmt: skip
    return json.dumps(members)  # which is YAML


def _symbols(count: int) -> list[str]:
    return [f"A{number}USDT" for number in range(count)]


@contextmanager
def exchange(count: int) -> Iterator[Hosts]:
    """The made-up exchange in a process of its own."""
    command = [
        sys.executable, "-m", "raysignal.loopback.exchanges", "--venue", VENUE, "--port", "0", "--symbols",
        ",".join(_symbols(count)),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline().split()
            yield Hosts(said[2], said[4])
        finally:
            process.terminate()


async def follow(count: int) -> tuple[float, float, int]:
    """Share of a core, PSS in MB, and orders, of this process while it follows so many instruments live."""
    text = config_text(count, "5s", "10s")
    config, log = PipelineConfig(**json.loads(text)), Counter()

    async def nobody() -> tuple[None, str]:
        return None, "no_model"

    with exchange(count) as hosts:
        async with live_pipeline(
            config,
            text,
            None,
            log=log,
            hosts_of=_at(hosts),
            clock=SystemClock(),
            random=Random(1),
            advise=nobody,
        ) as live:
            running = asyncio.ensure_future(live.run())
            await _wait(running, WARM_UP_S)
            orders, began, spent = len(log.to_order_ns), time.perf_counter(), time.process_time()
            await _wait(running, MEASURED_S)
            share = (time.process_time() - spent) / (time.perf_counter() - began)
            healths = live.healths()
            assert all(each["state"] == "ready" for each in healths), healths
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    return share, pss() / 1e6, len(log.to_order_ns) - orders


def pss() -> int:
    """Bytes of memory of this process, what it shares counted by its share."""
    found = _PSS.search(Path("/proc/self/smaps_rollup").read_text(encoding="ascii"))
    assert found is not None
    return 1024 * int(found[1])


def _at(hosts: Hosts) -> Callable[[Venue], Hosts]:
    return lambda _: hosts


async def _wait(running: Awaitable[None], seconds: float) -> None:
    """So long, or until it ends, which it should not."""
    done, _ = await asyncio.wait({asyncio.ensure_future(running)}, timeout=seconds)
    for each in done:
        each.result()


def in_memory_ms(count: int) -> list[float]:
    """From the trade that ends a candle to each of its orders."""
    config = PipelineConfig(**json.loads(config_text(count, "1s", "5s")))
    instruments = {each.symbol: Instrument(VENUE, each.place[1], 2, 3) for each in config.instruments}
    pipeline, log = build(config, instruments), Counter()
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=log)
    draws = np.random.default_rng(1)
    traded = list(instruments.values())
    prices = np.full(count, 6_000_000)
    for number in range(TRADES):
        place, at_us = int(draws.integers(count)), START_US + number * 1_000_000 // (5 * count)
        prices[place] += draws.integers(-400, 401)
        price = int(prices[place])
        log.began_ns = time.perf_counter_ns()
        driver.market(Trade(traded[place], str(number), price, 100, 1, at_us, at_us), None)
        if not driver.idle:
            driver.book_changed(CandleDepth(traded[place], price / 100, 2.0), at_us)
    return [ns / 1e6 for ns in log.to_order_ns]


class OrderTimes:
    """An event log of the market's end: how long after its candle each order comes, in ms."""

    def __init__(self) -> None:
        self._candles: dict[tuple[str, int], int] = {}
        self.ms: list[float] = []

    def input(self, event: object) -> None:
        """An order from the other end."""
        if isinstance(event, PlannedOrder):
            self.ms.append((time.perf_counter_ns() - self._candles[event.symbol, event.at_us]) / 1e6)

    def output(self, event: object) -> None:
        """A candle on its way there."""
        if isinstance(event, Candle):
            self._candles.setdefault((event.symbol, event.at_us), time.perf_counter_ns())


@asynccontextmanager
async def deciding(file: Path, url: str, hosts: Hosts, folder: Path) -> AsyncIterator[None]:
    """The end that decides, in a process of its own."""
    environment = os.environ | {
        "RAYSIGNAL_FEED__HOSTS": json.dumps({VENUE: {"stream": hosts.stream, "rest": hosts.rest}}),
        "RAYSIGNAL_STORE": (folder / "store").as_uri(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "raysignal.cli", "pipeline", "run", str(file), "--bus", url, "--stage", "decide",
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def over_redis_ms(count: int, url: str) -> list[float]:
    """From a candle to its order, by the ends of a path and a Redis; the first ones, while it begins, left out."""
    log = OrderTimes()
    with tempfile.TemporaryDirectory(prefix="raysignal-ends-") as place, exchange(count) as hosts:
        folder = Path(place)
        file = folder / "pipeline.yaml"
        file.write_text(config_text(count, "1s", "5s"), encoding="utf-8")
        bus, database = open_bus(url), open_database(f"sqlite:///{folder / 'paper.db'}")
        async with (
            deciding(file, url, hosts, folder),
            market_process(
                read_config(file),
                bus,
                database,
                log=log,
                hosts_of=_at(hosts),
                clock=SystemClock(),
                random=Random(1),
            ) as market,
        ):
            running = asyncio.ensure_future(market.run())
            for _ in range(_MOST_TURNS):  # until the other end, which starts beside, has caught up
                await _wait(running, WARM_UP_S)
                if log.ms:
                    break
            first = len(log.ms)
            await _wait(running, MEASURED_S)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        database.close()
        bus.close()
    return log.ms[first:]


def main() -> None:
    """Print the figures, one a line."""
    for found in measure():
        print(f"{found.what:<95} {found.shown:>16} {found.asked}")


if __name__ == "__main__":
    main()
