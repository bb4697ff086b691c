"""How often the verdict of a sweep errs: `python -m experiments.selection.calibration [SEEDS]`.

A thousand crossovers of moving averages over markets whose truth is known: random walks without an edge, with drift,
with changing volatility; and markets whose returns follow the one before, so that following a trend pays. The best of
each sweep is judged as `raysignal sweep` does it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine import account as at
from engine.account import Floats
from engine.policy import Policy
from engine.strategies.sma import SmaCrossover
from engine.strategies.strategy import Bars
from engine.sweeping import Sweep
from experiments.selection.verdict import Verdict, judge

BARS, PERIODS = 8_192, 256
COSTS = Policy(fee_bps=1.0, side="long-short")
STRATEGIES = [SmaCrossover(fast, fast + more) for fast in range(2, 42) for more in range(3, 128, 5)]


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one kind of market.

    Attributes:
        kind: in words.
        edge: whether there is something to be found.
        significant: how many verdicts said that the best is more than luck.
        seeds: of so many.
    """

    kind: str
    edge: bool
    significant: int
    seeds: int


def random_walk(seed: int) -> Floats:
    """Log returns without an edge."""
    return np.random.default_rng(seed).normal(0.0, 0.01, BARS)


def drifting(seed: int) -> Floats:
    """The same in a market that goes up."""
    return random_walk(seed) + 0.0005


def clustered(seed: int) -> Floats:
    """GARCH(1, 1): calm and wild times, fat tails, no edge."""
    draws = np.random.default_rng(seed).standard_normal(BARS)
    returns, variance = np.empty(BARS), 1e-4
    for place, draw in enumerate(draws):
        returns[place] = np.sqrt(variance) * draw
        variance = 1e-4 * 0.05 + 0.10 * returns[place] ** 2 + 0.85 * variance
    return returns


def trending(seed: int) -> Floats:
    """An edge: each return repeats a part of the one before."""
    returns, before = np.empty(BARS), 0.0
    for place, draw in enumerate(random_walk(seed)):
        before = returns[place] = 0.15 * before + draw
    return returns


NULLS: dict[str, Callable[[int], Floats]] = {
    "random walk": random_walk, "random walk with drift": drifting, "changing volatility": clustered,
}  # fmt: skip
EDGES: dict[str, Callable[[int], Floats]] = {"momentum": trending}


def verdict_on(returns: Floats, seed: int, *, resamples: int = 500) -> Verdict:
    """Of the best of `STRATEGIES`, by its Sharpe ratio over the periods."""
    close = 100.0 * np.exp(np.cumsum(returns))
    bars = Bars.of_closes(np.arange(1, len(close) + 1, dtype=np.int64) * 3_600_000_000, close)
    sweep = Sweep(STRATEGIES, [COSTS] * len(STRATEGIES))
    edges = np.linspace(0, len(close), PERIODS + 1).astype(np.int64)
    equity = [np.full(len(STRATEGIES), COSTS.initial_cash)]
    for begin, end in pairwise(edges.tolist()):
        sweep.advance(bars.slice(begin, end))
        equity.append(sweep.accounts()[:, at.EQUITY])
    grown, last = np.array(equity), close[edges[1:] - 1]
    own = grown[1:] / grown[:-1] - 1.0
    market = last / np.concatenate([close[:1], last[:-1]]) - 1.0
    best = int(np.argmax(own.mean(axis=0) / own.std(axis=0)))
    return judge(own, market, best=best, trials=len(STRATEGIES), seed=seed, resamples=resamples)


def calibrate(seeds: int, told: Callable[[Found], None] = lambda _: None) -> list[Found]:
    """The verdicts on every kind of market."""
    found = []
    for kind, make in {**NULLS, **EDGES}.items():
        verdicts = [verdict_on(make(1_000 + seed), seed) for seed in range(seeds)]
        found.append(Found(kind, kind in EDGES, sum(one.significant for one in verdicts), seeds))
        told(found[-1])
    return found


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{len(STRATEGIES):,d} configurations over {BARS:,d} bars, {seeds} seeds each")
    calibrate(
        seeds,
        lambda one: print(
            f"{'edge' if one.edge else 'null':<6}{one.kind:<26}{one.significant:>4d} of {one.seeds} called significant"
        ),
    )


if __name__ == "__main__":
    main()
