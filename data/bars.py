"""Bars of a market that never was, by seed, to try a strategy on."""

from dataclasses import replace

import numpy as np

from raysignal.engine.core.instants import DAY_US
from raysignal.engine.strategies.strategy import Bars

COUNT = 2_000
_START_US = 1_577_836_800_000_000  # 2020-01-01
_TREND = 50  # bars


def random_walk(seed: int, count: int = COUNT, interval_us: int = DAY_US) -> Bars:
    """A random walk of `count` bars, with trends in it, so that most rules have something to say.

    A day moves as far as it does whatever the bars' length.
    """
    scale = (interval_us / DAY_US) ** 0.5
    draws = np.random.default_rng(seed)
    drift = np.repeat(draws.normal(0.0, 0.004 * scale, count // _TREND + 1), _TREND)[:count]
    close = np.round(100.0 * np.exp(np.cumsum(draws.normal(0.0, 0.015 * scale, count) + drift)), 2) + 0.01
    spread = np.abs(draws.normal(0.0, 0.004 * scale, (2, count)))
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) * (1.0 + spread[0]), np.minimum(opened, close) * (1.0 - spread[1])
    stamps = _START_US + np.arange(1, count + 1, dtype=np.int64) * interval_us
    return Bars(stamps, opened, high, low, close, draws.uniform(1.0, 100.0, count))


def with_books(bars: Bars, seed: int, *, unknown: float = 0.0) -> Bars:
    """The same bars, with a made-up best bid and ask around each close; of a share of bars the book is not known."""
    draws, n = np.random.default_rng((seed, 1)), len(bars)
    half = bars.close * draws.uniform(1e-5, 1e-3, n)
    sizes = draws.uniform(0.1, 10.0, (2, n))
    book = np.stack([bars.close - half, sizes[0], bars.close + half, sizes[1]], axis=1)
    book[draws.random(n) < unknown] = np.nan
    return replace(bars, book=book)


def with_contracts(bars: Bars, seed: int, *, unknown: float = 0.0) -> Bars:
    """The same bars as those of a made-up perpetual; of a share of them its state is not known."""
    draws, n = np.random.default_rng((seed, 2)), len(bars)
    index = bars.close * (1.0 + draws.normal(0.0, 1e-4, n))
    mark = index * (1.0 + draws.normal(0.0, 3e-4, n))
    interest = 1e4 * np.exp(np.cumsum(draws.normal(0.0, 0.01, n)))
    liquidated = np.where(draws.random((2, n)) < 0.3, draws.uniform(0.0, 5.0, (2, n)), 0.0)
    contract = np.stack([draws.normal(1e-4, 5e-5, n), mark, index, interest, *liquidated], axis=1)
    contract[draws.random(n) < unknown] = np.nan
    return replace(bars, contract=contract)
