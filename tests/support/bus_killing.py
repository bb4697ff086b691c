"""Stages, their source and Redis, killed at random under load: is what the stages said that of an undisturbed run?

    python -m tests.support.bus_killing redis 200

Two stages follow each other, each a process with a journal; the source publishes a few events again whenever it starts.
On the bus in memory all three are one process. Whoever is killed is started again at once.
"""

import argparse
import os
import select
import signal as signals_of_unix
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random

from raysignal.engine.core.errors import StreamFull
from raysignal.engine.pipeline.bus import MemoryBus
from raysignal.engine.pipeline.durable_stage import StageLimits
from raysignal.engine.pipeline.redis_bus import RedisBus
from tests.support.bus_stages import open_chain, said, signals, undisturbed
from tests.support.redis_server import IN_MEMORY, RedisServer, redis_server

NAMES = ("first", "second")
BOUND = 256
_CHUNK, _AGAIN = 10, 15  # events at once, and how many of them are published again
_AT_ONCE = 20
_PATIENCE_S = 60.0

Progress = Callable[[int], None]
Kill = Callable[[int], None]


class Worker:
    """A process of ours that is forked, so that what it imports is imported once."""

    def __init__(self, run: Callable[[Progress], None]) -> None:
        self._run = run
        self._reader = self._pid = 0
        self.start()

    def start(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid:
            os.close(writer)
            return

        def progress(number: int) -> None:
            assert os.getppid() == parent, "nobody waits for this process any more"
            with suppress(BlockingIOError):
                os.write(writer, number.to_bytes(8, "little"))

        code = 1
        try:
            os.close(self._reader)
            self._run(progress)
            code = 0
        except BaseException:  # noqa: BLE001 - it is shown, and the end of the process tells of it
            traceback.print_exc()
        finally:
            os._exit(code)

    def numbers(self) -> Iterator[int]:
        """What it says about its progress, as it says it, until it ends."""
        while True:
            assert select.select([self._reader], [], [], _PATIENCE_S)[0], "a process makes no progress"
            told = os.read(self._reader, 8)
            if not told:
                return
            yield int.from_bytes(told, "little")

    def wait(self, steps: int) -> None:
        """Until it has gone so many steps further from now on."""
        while select.select([self._reader], [], [], 0)[0]:
            if not os.read(self._reader, 65_536):
                break
        told = self.numbers()
        for _ in range(steps):
            assert next(told, None) is not None, "a process ended that nobody killed"

    def kill(self) -> None:
        os.kill(self._pid, signals_of_unix.SIGKILL)
        self.end()

    def end(self) -> int:
        """Wait for its end; its exit code, below 0 for a signal."""
        for _ in self.numbers():
            pass
        os.close(self._reader)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def publish_endlessly(url: str, folder: Path, progress: Progress) -> None:
    """The source: until there is a file `stop`, once more where it was killed; `published` grows with each chunk."""
    bus = RedisBus(url, bound=BOUND)
    with (folder / "published").open("ab", buffering=0) as file:
        at = file.tell() * _CHUNK
        # What was published and is not in the file is among the next chunk.
        events = signals(max(at - _AGAIN, 0), at)
        while events or not (folder / "stop").exists():
            events += signals(at, at + _CHUNK)
            with suppress(StreamFull):
                bus.publish("in", events)
                events, at = [], at + _CHUNK
                file.write(b".")
            progress(at)


def run_stage(url: str, folder: Path, name: str, source: str, target: str | None, progress: Progress) -> None:
    """A stage, until it is killed."""
    chain = open_chain(RedisBus(url, bound=BOUND), folder, name, source, target, limits=StageLimits(200))
    while True:
        with suppress(StreamFull):
            chain.step(most=_AT_ONCE, wait_s=0.2)
        progress(chain.taken)


def killed_on_redis(folder: Path, kills: int, random: Random) -> None:
    """Kill source, stages and Redis in turn, each at a moment of its own."""
    with redis_server() as server:
        source, first, second = workers = [
            Worker(partial(publish_endlessly, server.url, folder)),
            Worker(partial(run_stage, server.url, folder, "first", "in", "between")),
            Worker(partial(run_stage, server.url, folder, "second", "between", None)),
        ]
        for victim in _victims([*workers, server], kills, random):
            (first if isinstance(victim, RedisServer) else victim).wait(random.randint(1, 4))
            _within_a_step(random)
            victim.kill()
            victim.start()
        (folder / "stop").touch()
        assert source.end() == 0, "the source failed"
        total = (folder / "published").stat().st_size * _CHUNK
        until_s = time.monotonic() + _PATIENCE_S
        next(number for number in second.numbers() if number == total or time.monotonic() > until_s)
        first.kill()
        second.kill()


def killed_in_memory(folder: Path, kills: int, random: Random) -> None:
    """Kill the one process that holds source, bus and stages."""
    stop = folder / "stop"

    def run(progress: Progress) -> None:
        bus = MemoryBus(bound=BOUND)
        # Nobody makes room while this one waits.
        first = open_chain(bus, folder, "first", "in", "between", limits=StageLimits(200, 0.0))
        second = open_chain(bus, folder, "second", "between", None, limits=StageLimits(200))
        at = max(first.taken - _AGAIN, 0)
        while not (stop.exists() and at >= first.taken == second.taken):
            if not stop.exists() or at < first.taken:
                with suppress(StreamFull):
                    bus.publish("in", signals(at, at + _CHUNK), wait_s=0.0)
                    at += _CHUNK
            for stage in (first, second):
                with suppress(StreamFull):
                    stage.step(most=_AT_ONCE, wait_s=0.0)
                progress(stage.taken)

    worker = Worker(run)
    for _ in range(kills):
        worker.wait(random.randint(1, 8))
        _within_a_step(random)
        worker.kill()
        worker.start()
    stop.touch()
    until_s = time.monotonic() + _PATIENCE_S
    if next((True for _ in worker.numbers() if time.monotonic() > until_s), False):
        worker.kill()  # what is missing does not come any more
    else:
        assert worker.end() == 0, "the process failed"


def _victims(
    all_of_them: list[Worker | RedisServer], kills: int, random: Random
) -> Iterator[Worker | RedisServer]:
    """Each in its turn, the turns in random order."""
    for number in range(kills):
        if number % len(all_of_them) == 0:
            random.shuffle(all_of_them)
        yield all_of_them[number % len(all_of_them)]


def _within_a_step(random: Random) -> None:
    select.select([], [], [], random.uniform(0.0, 0.005))


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="raysignal-bus-", dir=IN_MEMORY) as folder:
        yield Path(folder)


def main(arguments: list[str] | None = None) -> int:
    """0 if every effect is there once, in order; says which is the first that is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.bus_killing", description=__doc__)
    parser.add_argument("bus", choices=["redis", "memory"])
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with _scratch() as folder:
        run = killed_on_redis if options.bus == "redis" else killed_in_memory
        run(folder, options.kills, Random(options.seed))
        found = {name: said(folder, name) for name in NAMES}
    events = len(found["first"])
    expected = undisturbed(NAMES, signals(0, events))
    print(f"{options.bus}: {options.kills} kills, {events} events through 2 stages")
    for name in NAMES:
        if found[name] != expected[name]:
            pairs = zip(found[name], expected[name], strict=False)
            place = next((n for n, (one, other) in enumerate(pairs) if one != other), "the end")
            print(
                f"{name}: said {len(found[name])} words, expected {len(expected[name])}; the first difference: {place}"
            )
            return 1
    print("every effect is there once, in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
