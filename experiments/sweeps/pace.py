"""How long a sweep will take, and how it is cut into chunks, by a measurement on some of its own work."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.sweeps.actors import Chunk
from raysignal.experiments.sweeps.chunks import Marks, run_chunk
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import ChosenConfigurations, Space

CHUNK_S = 1.0
"""Seconds of work in a chunk: much more than it costs to hand one out (some ms), and what a dead worker costs."""

ROUNDS = 4  # chunks a worker, at least: so that the last ones end at about the same time
MANY = 200  # workers from which on one chunk has to do: who hands them out has some milliseconds of work with each
_LEAST = 16  # configurations a chunk; they share the lanes of a processor
_MOST = 4096
_TRIED = 256
_TRIED_BARS = 20_000
_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True)
class SweepSpeed:
    """What one core does: seconds a configuration and bar, and seconds a configuration whatever the bars."""

    bar_s: float
    configuration_s: float = 0.0

    def seconds(self, bars: int, configurations: int) -> float:
        """Of one core."""
        return configurations * (self.configuration_s + bars * self.bar_s)


def measure(
    market: Market,
    space: Space | ChosenConfigurations,
    trial: Trial,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> SweepSpeed:
    """Run some configurations over some bars, twice: the first time what is compiled is loaded."""
    bars = market.bars
    stop = min(len(bars), market.start + _TRIED_BARS)
    part = Market(
        market.symbol, bars.slice(0, stop), None if market.action is None else market.action[:stop], market.start,
        None, None if market.said is None else market.said.slice(0, stop),
    )  # fmt: skip
    if market.encoded is not None:
        part = market
    n = len(part.bars) - part.start
    marks = Marks.ends(n)
    count = 1 if market.encoded is not None else min(len(space), _TRIED)
    run_chunk(part, space, 0, 1, marks, trial)
    began = clock()
    run_chunk(part, space, 0, count, marks, trial)
    return SweepSpeed((clock() - began) / (count * len(part.bars)))


def rounds(workers: int) -> int:
    """Chunks a worker that are aimed at, where there are configurations enough."""
    return ROUNDS if workers < MANY else 1


def cut(
    markets: tuple[Market, ...], space: Space | ChosenConfigurations, pace: SweepSpeed, workers: int
) -> list[Chunk]:
    """The chunks, in the order in which they are best handed out."""
    chunks = []
    for place, market in enumerate(markets):
        one_s = max(pace.seconds(len(market.bars), 1), 1e-9)
        even = -(-len(space) * len(markets) // (workers * rounds(workers)))
        size = max(_LEAST, min(int(CHUNK_S / one_s), even, _MOST))
        size = -(-size // _LEAST) * _LEAST
        chunks += [Chunk(place, begin, min(begin + size, len(space))) for begin in range(0, len(space), size)]
    return chunks
