"""What a death costs: parts of a service are killed under load, `python -m benchmarks.outage`.

Callers send signals one after another, each with its identity, and send again what was not acknowledged. The
outage is the longest time without a successful answer from the kill on; what was acknowledged is looked up in
the journal when all is over.
"""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import Figure
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import format_instant
from raysignal.engine.journal.journal import Journal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.records import IntakeRecord, read_record
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings

CLIENTS = 20
RATE = 200.0
STEADY_S = 4.0
_START_US = 1_740_355_200_000_000
_MINUTE_US = 60_000_000
_AGAIN_S = 0.05
_OK = 200


def measure() -> list[Figure]:
    """Outages, failed requests, and what was lost or doubled."""
    with tempfile.TemporaryDirectory() as folder:
        service = _Service((Path(folder) / "store").as_uri(), free_port(), Path(folder) / "log")
        service.start()
        try:
            figures, acknowledged = asyncio.run(_outages(service))
        finally:
            service.stop()
        counted = _journalled(service.store)
    lost = sum(1 for name in acknowledged if not counted[name])
    doubled = sum(1 for count in counted.values() if count > 1)
    figures += [
        _figure("signals acknowledged meanwhile", len(acknowledged), "signals"),
        _figure("acknowledged signals lost", lost, "signals", 0.0),
        _figure("acknowledged signals doubled", doubled, "signals", 0.0),
    ]
    return figures


class _Service:
    """A service in a process of its own, and everything below it."""

    def __init__(self, store: str, port: int, log: Path) -> None:
        self.store = store
        self.port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it is ready."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.outage", self.store, str(self.port)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 120.0)
        if not (ready and self._process.stdout.readline()):
            self.kill()
            raise RuntimeError(f"the service did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it as its users do."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(60.0)
            self.kill()

    def kill(self) -> None:
        """End the process and of all below it, at once."""
        process, self._process = self._process, None
        assert process is not None
        everyone = [process.pid, *_below(process.pid)]
        folders = {title.partition("--temp_dir=")[2].partition(" ")[0] for title in map(_title, everyone)}
        for pid in everyone:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        for folder in folders - {""}:
            shutil.rmtree(folder, ignore_errors=True)

    def kill_one(self, beginning: str) -> None:
        """End one process below it, by how its title begins, at once."""
        assert self._process is not None
        victim = next(pid for pid in _below(self._process.pid) if _title(pid).startswith(beginning))
        os.kill(victim, signal.SIGKILL)


class _Callers:
    """The load: `CLIENTS` callers, `RATE` signals a second together, each with a symbol of its own."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/signal"
        self.acknowledged: set[str] = set()
        self.answered: list[float] = []
        self.failed: Counter[str] = Counter()
        self.stopping = False

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=40.0, limits=httpx.Limits(max_connections=CLIENTS)) as http:
            await asyncio.gather(*(self._call(http, number) for number in range(CLIENTS)))

    async def _call(self, http: httpx.AsyncClient, number: int) -> None:
        minute = 0
        while not self.stopping:
            due = time.perf_counter() + CLIENTS / RATE
            minute += 1
            name = f"S{number}-{minute}"
            body = {
                "symbol": f"S{number}",
                "timestamp": format_instant(_START_US + minute * _MINUTE_US),
                "signal": minute % 3 - 1,
                "price": 100.0 + minute % 37,
                "signal_id": name,
            }
            while not await self._post(http, body):  # noqa: ASYNC110 - the service is asked, there is no event
                await asyncio.sleep(_AGAIN_S)
            self.acknowledged.add(name)
            await asyncio.sleep(due - time.perf_counter())

    async def _post(self, http: httpx.AsyncClient, body: dict[str, Any]) -> bool:
        try:
            answer = await http.post(self._url, json=body)
        except httpx.TransportError as error:
            self.failed[type(error).__name__] += 1
            return False
        if answer.status_code != _OK:
            self.failed[str(answer.status_code)] += 1
            return False
        self.answered.append(time.perf_counter())
        return True


async def _outages(service: _Service) -> tuple[list[Figure], set[str]]:
    async def everything() -> None:
        service.kill()
        await asyncio.to_thread(service.start)

    async def one(beginning: str) -> None:
        service.kill_one(beginning)

    deaths: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("the portfolio actor", lambda: one("ray::PortfolioActor")),
        ("one of two ingress replicas", lambda: one("ray::ServeReplica:raysignal:Edge")),
        ("the whole cluster, started again at once", everything),
    ]
    callers = _Callers(service.port)
    running = asyncio.create_task(callers.run())
    figures = []
    await _steady(callers, running)
    for what, kill in deaths:
        failed, began = callers.failed.total(), time.perf_counter()
        await kill()
        await _steady(callers, running)
        times = [began, *(at for at in callers.answered if at > began)]
        gap = max(after - before for before, after in pairwise(times))
        figures += [
            _figure(f"without an answer: kill -9 of {what}", gap, "s"),
            _figure(f"requests failed: kill -9 of {what}", callers.failed.total() - failed, "requests"),
        ]
    callers.stopping = True
    await running
    return figures, callers.acknowledged


async def _steady(callers: _Callers, running: "asyncio.Task[None]") -> None:
    """Wait until answers have come at the full rate for a while."""
    goal = 0.9 * RATE * STEADY_S
    began = time.perf_counter()
    while sum(at > max(began, time.perf_counter() - STEADY_S) for at in callers.answered) < goal:
        if running.done():
            running.result()
        if time.perf_counter() - began > 180.0:
            raise RuntimeError(f"no steady answers within 180 s: {dict(callers.failed)}")
        await asyncio.sleep(0.1)


def _journalled(store: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for record in Journal.read(open_stores(store).journal_store("shard=0000")):
        content = read_record(record.payload)
        # The portfolio that follows has taken in the same signals: once more, not twice.
        if isinstance(content, IntakeRecord) and content.portfolio == Settings(store=store).primary:
            counted.update(SignalBatch.decode(content.encoded).signal_id.to_list())
    return counted


def _below(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _figure(what: str, value: float, unit: str, target: float | None = None) -> Figure:
    return Figure("outage", what, value, unit, target, "less")


def _host(store: str, port: int) -> None:
    from raysignal.serve.service import local_service  # noqa: PLC0415 - the one who measures needs no Ray

    with local_service(Settings(store=store, port=port), log_path=os.devnull) as service:
        sys.stdout.write(service.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _host(sys.argv[1], int(sys.argv[2]))
    else:
        for figure in measure():
            print(f"{figure.what:66} {figure.shown:>16} {figure.asked}")
