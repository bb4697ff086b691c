"""Chunks on Ray: workers that hold the prices, and get one chunk after the other.

The prices lie in the object store once, and every worker of a node reads them there. A worker that dies is started
again and does its chunk anew; nobody else notices.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.util import ActorPool

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.result_files import parquet_bytes
from raysignal.experiments.sweeps.chunks import Marks, run_chunk
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import Axis, ChosenConfigurations, Space

START_S = 60.0
"""How long workers may take to be there; who is not by then is done without."""

_WARM_BARS = 64


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """Configurations `begin` to `end` over the market at place `market`."""

    market: int
    begin: int
    end: int


class SweepWorker:
    """One core of a sweep."""

    def __init__(self, space: Space | ChosenConfigurations, marks: Sequence[Marks], trial: Trial) -> None:
        self._space, self._marks, self._trial = space, marks, trial

    def warm(self) -> bool:
        """Load what is compiled, so that no chunk waits for it."""
        stamps = np.arange(1, _WARM_BARS + 1, dtype=np.int64) * 60_000_000
        market = Market(
            "warm", Bars.of_closes(stamps, np.full(_WARM_BARS, 1.0)), np.zeros(_WARM_BARS, np.int8)
        )
        marks = Marks.ends(_WARM_BARS)
        run_chunk(
            market, Space("sma", (Axis("sma_fast", (2,)), Axis("sma_slow", (3,)))), 0, 1, marks, self._trial
        )
        return True

    def run(self, chunk: Chunk, market: Market) -> tuple[Chunk, bytes | RaysignalError]:
        """The chunk, and what `run_chunk` finds, as Parquet.

        An error of the project is returned, so that Ray does not wrap it.
        """
        try:
            marks = self._marks[chunk.market]
            table = run_chunk(market, self._space, chunk.begin, chunk.end, marks, self._trial)
            return chunk, parquet_bytes(table)
        except RaysignalError as error:
            return chunk, error


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers that are ready."""

    actors: list[Any]
    markets: list[Any]

    def run(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
        """The results of chunks, as Parquet, in the order in which they are done.

        Raises:
            RaysignalError: what a chunk met.
        """
        # Each worker twice: one that is done finds the next chunk waiting.
        pool: Any = ActorPool([*self.actors, *self.actors])
        for chunk, result in pool.map_unordered(
            lambda actor, chunk: actor.run.remote(chunk, self.markets[chunk.market]), chunks
        ):
            if isinstance(result, RaysignalError):
                raise result
            yield chunk, result


@contextmanager
def sweep_workers(
    markets: Sequence[Market], space: Space | ChosenConfigurations, marks: Sequence[Marks], trial: Trial, *, count: int,
) -> Iterator[Workers]:  # fmt: skip
    """Workers on the cluster of this process, a core each; they end with the block."""
    references = [ray.put(market) for market in markets]
    kind: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(SweepWorker)
    actors = [kind.remote(space, list(marks), trial) for _ in range(count)]
    try:
        yield Workers(_ready(actors), references)
    finally:
        for actor in actors:
            ray.kill(actor)


def _ready(actors: list[Any]) -> list[Any]:
    """Those that could be started: cores that others use meanwhile are done without."""
    warming = {actor.warm.remote(): actor for actor in actors}
    ready, _ = ray.wait([*warming], num_returns=len(warming), timeout=START_S)
    if not ready:
        raise RaysignalError(
            f"no worker could be started within {START_S:g} s: the cluster has no core free; end what uses its cores"
        )
    ray.get(ready)
    return [warming[reference] for reference in ready]


def cores() -> int:
    """Cores of this process's cluster that nobody uses."""
    resources: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))
