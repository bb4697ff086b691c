"""Running schedules: one, or many on several cores, and what to say about them."""

import contextlib
import multiprocessing
import os
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

from raysignal.engine.journal import dedup
from tests.simulation.faults import KINDS
from tests.simulation.settling import settle
from tests.simulation.world import World

STORES = ("local", "s3")
_SCRATCH = "raysignal-sim-"
ENOUGH = 500
"""From so many schedules of a store on, every kind of fault must have happened."""


@dataclass(slots=True)
class Failure:
    """A schedule that broke a promise."""

    seed: int
    store: str
    what: str

    def __str__(self) -> str:
        return (
            f"{self.what}\n  python -m tests.simulation --seed {self.seed} --schedules 1 --store {self.store}"
        )


@dataclass(slots=True)
class Outcome:
    """What some schedules came to."""

    schedules: Counter[str] = field(default_factory=Counter)
    injected: dict[str, Counter[str]] = field(default_factory=lambda: {store: Counter() for store in STORES})
    steps: int = 0
    acknowledged: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Take the outcome of others in."""
        self.schedules += other.schedules
        for store, counts in other.injected.items():
            self.injected[store] += counts
        self.steps += other.steps
        self.acknowledged += other.acknowledged
        self.failures += other.failures

    def never_injected(self) -> list[str]:
        """Kinds that were planned and never happened, though there was room for them."""
        return [
            f"{store}: {kind}"
            for store, counts in self.injected.items()
            if self.schedules[store] >= ENOUGH
            for kind in KINDS[store]
            if not counts[kind]
        ]


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Sizes at which merges happen within a few dozen signals."""
    with patch.object(dedup, "FAN_OUT", 3):
        yield


def run_one(seed: int, store: str, *, trace: list[str] | None = None, within: str | None = None) -> Outcome:
    """One schedule; what it says of itself goes into `trace`. Its scratch folder is made in `within`."""
    outcome = Outcome(Counter({store: 1}))
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=within or _memory()))
    say = (lambda _line: None) if trace is None else trace.append
    world = World(seed, store, scratch, say)
    try:
        with small():
            world.run()
            settle(world)
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed that shows it is what counts
        at = traceback.extract_tb(error.__traceback__)[-1]
        say(traceback.format_exc())
        what = f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"
        outcome.failures.append(Failure(seed, store, what))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    outcome.steps = world.steps
    outcome.injected[store] = world.faults.injected
    outcome.acknowledged = sum(len(signals) for signals in world.acknowledged.signals.values())
    return outcome


def run_many(jobs: Sequence[tuple[int, str]], processes: int, *, stop_after: int = 1) -> Iterator[Outcome]:
    """The outcomes of many schedules, as they come, until some have failed."""
    failed = 0
    for outcome in _outcomes(jobs, processes):
        yield outcome
        failed += len(outcome.failures)
        if failed >= stop_after:
            return


def _outcomes(jobs: Sequence[tuple[int, str]], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from (run_one(*job) for job in jobs)
        return
    # A pool that is left early ends its workers where they stand: their folders go with the one around them.
    with (
        tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=_memory()) as within,
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        yield from pool.imap(partial(_run_job, within=within), jobs, chunksize=8)


def _run_job(job: tuple[int, str], within: str) -> Outcome:
    return run_one(*job, within=within)


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
