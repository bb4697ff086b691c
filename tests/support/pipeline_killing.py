"""A pipeline in two processes, killed at random, and Redis: is every order ended and every fill booked once?

python -m tests.support.pipeline_killing 200
"""

import argparse
import asyncio
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random

from raysignal.engine.core.errors import EventsLost
from raysignal.engine.core.events import Command, CommandKind, OrderEnded, OrderFill, PlannedOrder
from raysignal.engine.database.database import open_database
from raysignal.engine.execution.holdings import Holdings
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.pipeline.bus import BusEvent
from raysignal.engine.pipeline.durable_stage import read_records
from raysignal.engine.pipeline.ends import decide_group
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from tests.support.redis_server import IN_MEMORY, RedisServer, redis_server

CONFIG = """
name: split
instruments:
  - {symbol: BTC, market: "binance-usdm:BTCUSDT"}
  - {symbol: ETH, market: "binance-usdm:ETHUSDT"}
strategies:
  - {name: cross, kind: sma, bar: 1s, parameters: {fast: 1, slow: 2}}
portfolio: {weight: 0.3, side: long-short}
venue: {kind: paper, fee_bps: 2, latency_ms: 20}
"""
VENUE, NAME = "binance-usdm", "split"
_PATIENCE_S = 300.0  # two starts on a machine that has much else to do


class Stage:
    """`raysignal pipeline run` of one stage, as a process that can be killed and started again."""

    def __init__(self, name: str, folder: Path, url: str, hosts: str) -> None:
        self.name = name
        self._folder, self._url = folder, url
        self._environment = os.environ | {
            "RAYSIGNAL_STORE": (folder / "store").as_uri(),
            "RAYSIGNAL_DATABASE_URL": f"sqlite:///{folder}/paper.db",
            "RAYSIGNAL_FEED__HOSTS": hosts,
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        command = [
            sys.executable, "-m", "raysignal.cli", "pipeline", "run", str(self._folder / "pipeline.yaml"),
            "--bus", self._url, "--stage", self.name,
        ]  # fmt: skip
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        """Its last words."""
        return (self._folder / f"{self.name}.log").read_text()[-2_000:]

    def check(self) -> None:
        """It runs."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended that nobody killed: {self.said}"

    def kill(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def said_by(folder: Path) -> list[PlannedOrder | OrderFill | OrderEnded]:
    """Orders, fills and ends, by the journal of the side that decides."""
    return [event for event in journal_of(folder) if isinstance(event, PlannedOrder | OrderFill | OrderEnded)]


def journal_of(folder: Path) -> Iterator[BusEvent]:
    """All that the side that decides was given and said."""
    for record in read_records(open_stores((folder / "store").as_uri()), decide_group(NAME)):
        yield from (delivery.event for delivery in record.taken)
        yield from (word.event for word in record.said)


def killed(folder: Path, kills: int, random: Random) -> Counter[str]:
    """Kill both processes and Redis in turn; how many orders, ends and fills there were in the end.

    Raises:
        AssertionError: something was lost or doubled, or a process ended by itself.
    """
    (folder / "pipeline.yaml").write_text(CONFIG, encoding="utf-8")
    with redis_server() as server, subprocess.Popen(
        [sys.executable, "-m", "tests.support.pipeline_killing", "--exchange"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    ) as exchange:  # fmt: skip
        assert exchange.stdout is not None
        hosts = exchange.stdout.readline().strip()
        stages = [Stage(name, folder, server.url, hosts) for name in ("market", "decide")]
        try:
            for stage in stages:
                stage.start()
            _kill_in_turn(folder, stages, server, kills, random)
            _settle(folder, stages)
        finally:
            for stage in stages:
                stage.kill()
            exchange.kill()
    return _compare(folder)


def _kill_in_turn(folder: Path, stages: list[Stage], server: RedisServer, kills: int, random: Random) -> None:
    for number in range(kills):
        before = len(said_by_now(folder))
        _until(lambda before=before: len(said_by_now(folder)) > before + 5, stages)  # type: ignore[misc]
        if number == kills // 2:
            _halt(folder, stages, server)
        select.select([], [], [], random.uniform(0.0, 0.3))
        victims: list[Stage | RedisServer] = [*stages, server]
        victim = victims[number % 3]
        victim.kill()
        victim.start()
        print(f"kill {number + 1} after {before} events", file=sys.stderr)


def _halt(folder: Path, stages: list[Stage], server: RedisServer) -> None:
    """A halt that was answered is in the journal, however soon the process that decides dies; so is its reset."""
    decide = stages[1]
    for verb, kind in (("halt", CommandKind.HALT), ("reset", CommandKind.RESET)):
        _until(lambda verb=verb: _told(verb, server), stages)  # type: ignore[misc]
        decide.kill()
        commands = [event for event in journal_of(folder) if isinstance(event, Command)]
        assert commands[-1].command is kind, f"{verb} was answered and is not in the journal"
        decide.start()


def _told(verb: str, server: RedisServer) -> bool:
    """Tell it; whether it was taken. A process that has just begun may take longer than that is waited for."""
    run = subprocess.run(
        [sys.executable, "-m", "raysignal.cli", "risk", verb, "--bus", server.url, "--pipeline", NAME, "--who", "kim",
         "--reason", f"{verb} in a test"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    said = run.stdout + run.stderr
    assert run.returncode == 0 or "has not taken the command" in said, said
    print(f"{verb}: {said.strip()}", file=sys.stderr)
    return run.returncode == 0


def said_by_now(folder: Path) -> list[PlannedOrder | OrderFill | OrderEnded]:
    """As `said_by`, where the journal may not have begun."""
    with suppress(OSError, EventsLost):
        return said_by(folder)
    return []


def _until(holds: Callable[[], bool], stages: list[Stage]) -> None:
    until_s = time.monotonic() + _PATIENCE_S
    while not holds():
        for stage in stages:
            stage.check()
        told = "\n".join(f"{stage.name}: {stage.said}" for stage in stages)
        assert time.monotonic() < until_s, f"nothing goes on any more; {told}"
        select.select([], [], [], 0.1)


def _settle(folder: Path, stages: list[Stage]) -> None:
    """Kill both at a moment at which no order is under way."""
    decide = stages[1]
    while True:
        _until(lambda: _settled(folder), stages)
        decide.kill()
        if _settled(folder):
            return
        decide.start()


def _settled(folder: Path) -> bool:
    said = said_by_now(folder)
    ordered = {event.client_id for event in said if isinstance(event, PlannedOrder)}
    return ordered == {event.client_id for event in said if isinstance(event, OrderEnded)}


def _compare(folder: Path) -> Counter[str]:
    said = said_by(folder)
    orders = Counter(event.client_id for event in said if isinstance(event, PlannedOrder))
    ends = Counter(event.client_id for event in said if isinstance(event, OrderEnded))
    assert set(orders.values()) == {1}, "an order was planned twice"
    assert orders == ends, "an order has not exactly one end"
    fills = [event for event in said if isinstance(event, OrderFill)]
    database = open_database(f"sqlite:///{folder}/paper.db")
    try:
        store = PaperStore(database, f"pipeline:{NAME}:{VENUE}")
        account, there = store.open(VENUE, "quote", Holdings(Decimal(0))), store.fills(0)
    finally:
        database.close()
    told = sorted(
        (fill.ordinal, fill.client_id, Decimal(fill.price), Decimal(fill.quantity)) for fill in fills
    )
    assert told == [(fill.ordinal, fill.client_id, fill.price, fill.quantity) for fill in there]
    held: Counter[str] = Counter()
    cash = Decimal(10_000)
    for fill in fills:
        cash -= fill.side * Decimal(fill.quantity) * Decimal(fill.price) + Decimal(fill.fee)
        held[f"{fill.symbol}USDT"] += fill.side * Decimal(fill.quantity)  # type: ignore[assignment]
    positions = {
        symbol: each.quantity for symbol, each in account.holdings.positions.items() if each.quantity
    }
    assert {symbol: quantity for symbol, quantity in held.items() if quantity} == positions
    assert cash == account.holdings.cash
    return Counter(orders=len(orders), ends=len(ends), fills=len(fills))


async def _exchange() -> None:
    """A made-up exchange, until standard input ends."""
    made = GeneratedExchange(VENUE, seed=5, start_us=time.time_ns() // 1000, symbols=["BTCUSDT", "ETHUSDT"])
    async with ExchangeServer(made) as server:
        print(
            f'{{"{VENUE}": {{"stream": "{server.hosts.stream}", "rest": "{server.hosts.rest}"}}}}', flush=True
        )
        await asyncio.to_thread(sys.stdin.read)


def main(arguments: list[str] | None = None) -> int:
    """0: nothing was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.pipeline_killing", description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exchange", action="store_true", help="only be the exchange of such a run")
    options = parser.parse_args(arguments)
    if options.exchange:
        asyncio.run(_exchange())
        return 0
    with tempfile.TemporaryDirectory(prefix="raysignal-split-", dir=IN_MEMORY) as folder:
        found = killed(Path(folder), options.kills, Random(options.seed))
    print(
        f"{options.kills} kills: {found['orders']} orders, each ended once; {found['fills']} fills, each booked once"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
