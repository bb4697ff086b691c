"""Prices for sweeps and trainings: a random walk, and one whose returns follow from those before."""

import numpy as np

from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.sweeps.market import Market


def market(
    n: int = 2_000, seed: int = 1, *, symbol: str = "BTC", trend: float = 0.0, lag: int = 1, start: int = 0
) -> Market:
    """n bars of an hour; a return follows `trend` times that of `lag` bars before, as momentum does where it is 1."""
    draws = np.random.default_rng(seed).normal(0.0, 0.01, n)
    returns = np.zeros(n + lag)
    for place, draw in enumerate(draws, lag):
        returns[place] = trend * returns[place - lag] + draw
    returns = returns[lag:]
    close = np.round(100.0 * np.exp(np.cumsum(returns)), 2)
    stamps = 1_600_000_000_000_000 + np.arange(n, dtype=np.int64) * 3_600_000_000
    action = np.random.default_rng(seed + 1).choice(np.array([-1, 0, 0, 1], np.int8), n)
    return Market(symbol, Bars.of_closes(stamps, close), action, start)
