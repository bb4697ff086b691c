"""How often the verdict of a sweep errs, part by part: `python -m raysignal.experiments.validation.sweeps`.

Sweeps over markets whose truth is known, and the best of each judged as `raysignal sweep` does it. Grids: a thousand
crossovers of moving averages; 2 to 10 of them; 25 that are nearly equal; one under 21 fees; and rules that trade
against the last moves (RSI) under three fees. Markets without an edge: random walks, with drift, with changing
volatility, with fat tails; and with one: returns that repeat a part of the one before. Each grid but the thousand meets
every market, both sides and few and many periods, in pairs.

On a market without an edge the printed deflated Sharpe ratio may be above 95 %, and the verdict be that the best is
more than luck, on at most 7 % of the seeds, in every cell; Hansen's test may reject at 5 % on at most 7 % over all
cells together. Its level is 5 %, so single cells lie on both sides of it; where rules that trade against the last moves
meet a strong drift, it rejects more often (see decision 0016).
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from typing import Literal, Protocol

import numpy as np
from scipy.stats import binomtest

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.sweep import Sweep
from raysignal.engine.strategies.rules import Rsi
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Bars, Strategy
from raysignal.experiments.selection.deflated import sharpe
from raysignal.experiments.selection.verdict import CONFIDENCE, LEVEL, SelectionVerdict, judge

MOST_ON_NULL = 0.07
LEAST_FOUND = 0.80
FEW_PERIODS, MANY_PERIODS = 64, 256
BARS_A_PERIOD = 32
RESAMPLES = 200
SEEDS_A_TASK = 10
_FIRST_SEED = 1_000

Side = Literal["long-flat", "long-short"]


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One kind of sweep.

    Attributes:
        grid: one of `GRIDS`.
        market: one of `MARKETS`.
        side: of the policy.
        periods: returns that the verdict looks at, of 32 bars each.
        least: the share of verdicts "more than luck" that is asked for where there is an edge; None: printed only.
    """

    grid: str
    market: str
    side: Side
    periods: int
    least: float | None = None

    @property
    def edge(self) -> bool:
        """Whether there is something to be found."""
        return self.market == "momentum"

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.grid}, {self.market}, {self.side}, {self.periods} periods"


@dataclass(frozen=True, slots=True)
class SeedCounts:
    """What became of some seeds of a cell.

    Attributes:
        seeds: how many.
        deflated: how many had a deflated Sharpe ratio above 95 %.
        at_most_trials: how many had it with the larger count of trials, too.
        reality: how many had p below 5 % by Hansen's test.
        significant: how many verdicts were "more than luck".
    """

    seeds: int = 0
    deflated: int = 0
    at_most_trials: int = 0
    reality: int = 0
    significant: int = 0

    def __add__(self, other: "SeedCounts") -> "SeedCounts":
        return SeedCounts(
            self.seeds + other.seeds, self.deflated + other.deflated, self.at_most_trials + other.at_most_trials,
            self.reality + other.reality, self.significant + other.significant,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """One line of the calibration.

    Attributes:
        name: of the cell, in words.
        edge: whether there is something to be found.
        tally: the counts.
        bound: the share that must not be passed on a null, or must be reached on an edge; None: printed only.
        reality_bound: the same for Hansen's test; None: printed only.
    """

    name: str
    edge: bool
    tally: SeedCounts
    bound: float | None
    reality_bound: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the bounds are kept; with few seeds, a single one on a null passes no bound."""
        if self.edge:
            return self.bound is None or self.tally.significant >= self.bound * self.tally.seeds
        counts = (
            (self.tally.deflated, self.bound),
            (self.tally.significant, self.bound),
            (self.tally.reality, self.reality_bound),
        )
        return all(bound is None or count <= max(1.0, bound * self.tally.seeds) for count, bound in counts)

    @property
    def shown(self) -> str:
        """As a line under `HEAD`: shares with their 95 % intervals (Clopper & Pearson)."""
        tally = self.tally
        shares = (tally.deflated, tally.at_most_trials, tally.reality, tally.significant)
        asked = "" if self.bound is None else f"{'>=' if self.edge else '<='} {self.bound:.0%}"
        judged = "" if self.bound is None else ("holds" if self.holds else "FAILS")
        return (
            f"{'edge' if self.edge else 'null':<6}{self.name:<66}"
            + "".join(f"{_share(count, tally.seeds):>16}" for count in shares)
            + f"  {asked:<8}{judged}"
        ).rstrip()


HEAD = (
    f"{'data':<6}{'grid, market, side, periods':<66}{'deflated > 95 %':>16}{'at most trials':>16}"
    f"{'Hansen < 5 %':>16}{'not luck':>16}"
)

Task = tuple[SweepCell, int, int]


class TaskMap(Protocol):
    """Applies a function to many tasks, in their order: `map`, or that of an executor or a pool."""

    def __call__(
        self, function: Callable[[Task], SeedCounts], tasks: Sequence[Task], /
    ) -> Iterable[SeedCounts]:
        """The results, in the order of the tasks."""
        ...


def calibrate(
    seeds: int,
    *,
    cells: Sequence[SweepCell] | None = None,
    spread: TaskMap = map,
    told: Callable[[CalibrationLine], None] = lambda _: None,
) -> list[CalibrationLine]:
    """The verdicts on every kind of sweep: a line a cell, and the last one over all nulls.

    The same whatever spreads the work: every seed stands for itself.

    Args:
        seeds: of each cell.
        cells: which; None: all of `CELLS`.
        spread: where the tasks run: in this process (`map`), or on others. A task is picklable and takes some
            seconds of one core; with Ray: `lambda f, tasks: ray.get([ray.remote(f).remote(task) for task in tasks])`.
        told: called with each line once it is there.
    """
    wanted = CELLS if cells is None else tuple(cells)
    tasks = [
        (cell, first, min(first + SEEDS_A_TASK, seeds))
        for cell in wanted
        for first in range(0, seeds, SEEDS_A_TASK)
    ]
    lines: list[CalibrationLine] = []
    tally, nulls = SeedCounts(), SeedCounts()
    for (cell, _, end), part in zip(tasks, spread(try_seeds, tasks), strict=True):
        tally += part
        if end == seeds:
            nulls += SeedCounts() if cell.edge else tally
            lines.append(
                CalibrationLine(cell.name, cell.edge, tally, cell.least if cell.edge else MOST_ON_NULL)
            )
            told(lines[-1])
            tally = SeedCounts()
    if nulls.seeds:
        lines.append(CalibrationLine("all of these", False, nulls, MOST_ON_NULL, MOST_ON_NULL))
        told(lines[-1])
    return lines


def try_seeds(task: Task) -> SeedCounts:
    """The verdicts on the seeds from one on and before another, of one cell."""
    cell, begin, end = task
    tally = SeedCounts()
    for seed in range(begin, end):
        one = verdict_on(cell, seed)
        tally += SeedCounts(
            seeds=1,
            deflated=one.deflated_sharpe > CONFIDENCE,
            at_most_trials=one.deflated_sharpe_at_most_trials > CONFIDENCE,
            reality=one.p_value < LEVEL,
            significant=one.significant,
        )
    return tally


def verdict_on(cell: SweepCell, seed: int) -> SelectionVerdict:
    """Of the best of a cell's grid, by its Sharpe ratio over the periods."""
    bars = cell.periods * BARS_A_PERIOD
    close = 100.0 * np.exp(np.cumsum(MARKETS[cell.market](_FIRST_SEED + seed, bars)))
    strategies, policies = GRIDS[cell.grid](cell.side, seed)
    sweep = Sweep(strategies, policies)
    prices = Bars.of_closes(np.arange(1, bars + 1, dtype=np.int64) * 3_600_000_000, close)
    edges = np.arange(0, bars + 1, BARS_A_PERIOD)
    equity = [np.array([one.initial_cash for one in policies])]
    for begin, end in pairwise(edges.tolist()):
        sweep.advance(prices.slice(begin, end))
        equity.append(sweep.accounts()[:, at.EQUITY])
    grown, last = np.array(equity), close[edges[1:] - 1]
    own = grown[1:] / grown[:-1] - 1.0
    market = last / np.concatenate([close[:1], last[:-1]]) - 1.0
    best = int(np.argmax(sharpe(own)))
    return judge(own, market, best=best, trials=len(policies), seed=seed, resamples=RESAMPLES)


# Markets: log returns of so many bars.


def random_walk(seed: int, bars: int) -> Float64Array:
    """Without an edge."""
    return np.random.default_rng(seed).normal(0.0, 0.01, bars)


def drifting(seed: int, bars: int) -> Float64Array:
    """The same in a market that goes up with even seeds, and down with odd ones."""
    return random_walk(seed, bars) + (0.0005 if seed % 2 == 0 else -0.0005)


def clustered(seed: int, bars: int) -> Float64Array:
    """GARCH(1, 1): calm and wild times, no edge."""
    draws = np.random.default_rng(seed).standard_normal(bars)
    returns, variance = np.empty(bars), 1e-4
    for place, draw in enumerate(draws):
        returns[place] = np.sqrt(variance) * draw
        variance = 1e-4 * 0.05 + 0.10 * returns[place] ** 2 + 0.85 * variance
    return returns


def fat_tailed(seed: int, bars: int) -> Float64Array:
    """Student's t with 3 degrees of freedom, as volatile as the others, no edge."""
    returns: Float64Array = np.random.default_rng(seed).standard_t(3, bars) * (0.01 / np.sqrt(3.0))
    return returns


def trending(seed: int, bars: int) -> Float64Array:
    """An edge: each return repeats a part of the one before."""
    returns, before = np.empty(bars), 0.0
    for place, draw in enumerate(random_walk(seed, bars)):
        before = returns[place] = 0.15 * before + draw
    return returns


MARKETS: dict[str, Callable[[int, int], Float64Array]] = {
    "random walk": random_walk, "drift": drifting, "changing volatility": clustered, "fat tails": fat_tailed,
    "momentum": trending,
}  # fmt: skip

# Grids: strategies and policies, one each a configuration.

Grid = tuple[Sequence[Strategy], list[Policy]]

_FEW = ((5, 20), (20, 60), (2, 10), (40, 160), (10, 30), (3, 50), (30, 90), (8, 120), (15, 25), (60, 200))


def crossovers(side: Side, _seed: int) -> Grid:
    """A thousand."""
    return _at_one_fee([(fast, fast + more) for fast in range(2, 42) for more in range(3, 128, 5)], side, 1.0)


def few(side: Side, seed: int) -> Grid:
    """2 to 10 that have little in common."""
    return _at_one_fee(_FEW[: 2 + seed % 9], side, 0.0)


def near_equal(side: Side, _seed: int) -> Grid:
    """25 that trade nearly as one."""
    return _at_one_fee([(fast, slow) for fast in range(18, 23) for slow in range(96, 105, 2)], side, 0.0)


def fees(side: Side, _seed: int) -> Grid:
    """One that trades often, at fees from 0 to 20 bp: the best is the cheapest."""
    return [SmaCrossover(3, 12)] * 21, [Policy(fee_bps=float(fee), side=side) for fee in range(21)]


def reverting(side: Side, _seed: int) -> Grid:
    """18 that buy after falls and sell after rises, at three fees."""
    kinds = [(Rsi(window, 30.0, 70.0), fee) for window in (5, 8, 10, 14, 20, 28) for fee in (0.0, 2.0, 5.0)]
    return [rule for rule, _ in kinds], [Policy(fee_bps=fee, side=side) for _, fee in kinds]


def _at_one_fee(windows: Sequence[tuple[int, int]], side: Side, fee_bps: float) -> Grid:
    return [SmaCrossover(*pair) for pair in windows], [Policy(fee_bps=fee_bps, side=side)] * len(windows)


GRIDS: dict[str, Callable[[Side, int], Grid]] = {
    "1,000 crossovers": crossovers, "2 to 10 crossovers": few, "25 near-equal": near_equal, "21 fees": fees,
    "18 RSI under fees": reverting,
}  # fmt: skip

_PAIRS: tuple[tuple[str, Side, int], ...] = (
    ("random walk", "long-flat", FEW_PERIODS), ("random walk", "long-short", MANY_PERIODS),
    ("drift", "long-flat", MANY_PERIODS), ("drift", "long-short", FEW_PERIODS),
    ("changing volatility", "long-flat", FEW_PERIODS), ("changing volatility", "long-short", MANY_PERIODS),
    ("fat tails", "long-flat", MANY_PERIODS), ("fat tails", "long-short", FEW_PERIODS),
)  # fmt: skip
CELLS = (
    *(
        SweepCell(grid, *pair)
        for grid in ("21 fees", "2 to 10 crossovers", "25 near-equal", "18 RSI under fees")
        for pair in _PAIRS
    ),
    SweepCell("1,000 crossovers", "random walk", "long-short", MANY_PERIODS),
    SweepCell("1,000 crossovers", "drift", "long-flat", MANY_PERIODS),
    SweepCell("1,000 crossovers", "changing volatility", "long-short", MANY_PERIODS),
    SweepCell("1,000 crossovers", "fat tails", "long-flat", FEW_PERIODS),
    SweepCell("1,000 crossovers", "momentum", "long-short", MANY_PERIODS, LEAST_FOUND),
    SweepCell("1,000 crossovers", "momentum", "long-flat", MANY_PERIODS),
    SweepCell("2 to 10 crossovers", "momentum", "long-short", MANY_PERIODS),
)
"""Each pair of grid, market, side and periods that a null is asked of, and the edges."""


def _share(count: int, seeds: int) -> str:
    interval = binomtest(count, seeds).proportion_ci()
    return f"{count / seeds:.1%} ({100 * interval.low:.0f}-{100 * interval.high:.0f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a line fails."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validation.sweeps", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=100, help="of each cell")
    seeds = parser.parse_args(arguments).seeds
    print(f"{seeds} seeds a cell; shares in %, with their 95 % intervals\n{HEAD}", flush=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        lines = calibrate(seeds, spread=pool.map, told=lambda line: print(line.shown, flush=True))
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
