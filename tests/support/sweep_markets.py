"""Prices for sweeps: a random walk, and one with an edge for those who follow a trend."""

import numpy as np

from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.sweeps.market import Market


def market(
    n: int = 2_000, seed: int = 1, *, symbol: str = "BTC", trend: float = 0.0, start: int = 0
) -> Market:
    """n bars of an hour; `trend` is the autocorrelation of returns, as momentum is."""
    draws = np.random.default_rng(seed).normal(0.0, 0.01, n)
    returns = np.empty(n)
    before = 0.0
    for place, draw in enumerate(draws):
        before = returns[place] = trend * before + draw
    close = np.round(100.0 * np.exp(np.cumsum(returns)), 2)
    stamps = 1_600_000_000_000_000 + np.arange(n, dtype=np.int64) * 3_600_000_000
    action = np.random.default_rng(seed + 1).choice(np.array([-1, 0, 0, 1], np.int8), n)
    return Market(symbol, Bars.of_closes(stamps, close), action, start)
