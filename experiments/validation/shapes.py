"""Streams of signals in other shapes than the generator's: other volatility, tails, sides and stamps.

The prices know nothing of the signals. Each stream has four features: two that say nothing (one of them
persistent), the volatility of late, and a score. Without an effect the score is noise; with one it is higher where
the signal will be right (`PLANTED` standard deviations apart), so that any shape of signals can carry the same
effect.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.random import Generator

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.intake import Reading, read_batch

HORIZON = 6
PLANTED = 0.6
_START = pd.Timestamp("2023-01-02T00:00:00Z")

Actions = np.ndarray[tuple[int], np.dtype[np.int64]]
Made = tuple[Float64Array, Actions]
"""Log returns and actions, n of each."""


def _volatility(draws: Generator, n: int, persistence: float, spread: float) -> Float64Array:
    """Exp of an autoregression: stochastic volatility around 1."""
    return np.exp(_autoregression(draws, n, persistence) * spread)


def _autoregression(draws: Generator, n: int, persistence: float) -> Float64Array:
    """Of variance 1."""
    noise, level = draws.standard_normal(n), np.empty(n)
    level[0] = noise[0]
    for t in range(1, n):
        level[t] = persistence * level[t - 1] + np.sqrt(1.0 - persistence**2) * noise[t]
    return level


def _coin(draws: Generator, n: int, share: float = 0.5) -> Actions:
    return np.where(draws.random(n) < share, 1, -1)


def _sticky(draws: Generator, n: int, stay: float) -> Actions:
    """Sides that follow each other in runs of 1 / (1 - stay)."""
    return np.where(np.cumsum(draws.random(n) > stay) % 2, 1, -1)


def stochastic_volatility(draws: Generator, n: int) -> Made:
    """Volatility that wanders, tails of t(3), a coin for a signal."""
    returns = 0.002 * _volatility(draws, n, 0.98, 0.6) * draws.standard_t(3.0, n)
    return returns, _coin(draws, n)


def sticky_signals(draws: Generator, n: int) -> Made:
    """Normal returns, signals in runs of thirty."""
    return 0.003 * draws.standard_normal(n), _sticky(draws, n, 0.97)


def momentum_signals(draws: Generator, n: int) -> Made:
    """Signals that follow the last ten returns, which say nothing of the next."""
    returns = 0.003 * _volatility(draws, n, 0.95, 0.4) * draws.standard_normal(n)
    before = np.concatenate([[0.0], np.cumsum(returns)[:-1]])
    trend = before - np.concatenate([np.zeros(10), before[:-10]])
    return returns, np.where(trend >= 0.0, 1, -1)


def mostly_buys_in_a_rising_market(draws: Generator, n: int) -> Made:
    """Seventeen BUY of twenty, and a drift of a seventh of the deviation a bar."""
    return 0.0006 + 0.004 * draws.standard_normal(n), _coin(draws, n, 0.85)


def mostly_holds_with_jumps(draws: Generator, n: int) -> Made:
    """Half of the rows HOLD; a jump now and then."""
    jumps = np.where(draws.random(n) < 0.01, draws.normal(0.0, 0.03, n), 0.0)
    signals = np.where(draws.random(n) < 0.5, 0, _coin(draws, n))
    return 0.002 * draws.standard_normal(n) + jumps, signals


def alternating_signals(draws: Generator, n: int) -> Made:
    """BUY and SELL in turns, each of which trades; calm and wild times of two hundred bars."""
    wild = np.cumsum(draws.random(n) > 0.995) % 2
    return np.where(wild, 0.006, 0.0015) * draws.standard_normal(n), np.where(np.arange(n) % 2, 1, -1)


def signals_with_a_constant_edge(draws: Generator, n: int) -> Made:
    """Right 55 % of the time, whatever anything says: nothing to choose among them."""
    returns = 0.002 * _volatility(draws, n, 0.97, 0.5) * draws.standard_t(4.0, n)
    right = draws.random(n) < 0.55
    return returns, np.where(right == (_moves(returns) > 0.0), 1, -1)


def irregular_fat_tails(draws: Generator, n: int) -> Made:
    """t(2.5), with runs of ten."""
    return np.clip(0.0015 * draws.standard_t(2.5, n), -0.2, 0.2), _sticky(draws, n, 0.9)


SHAPES: dict[str, Callable[[Generator, int], Made]] = {
    made.__name__.replace("_", " "): made
    for made in (
        stochastic_volatility, sticky_signals, momentum_signals, mostly_buys_in_a_rising_market,
        mostly_holds_with_jumps, alternating_signals, signals_with_a_constant_edge, irregular_fat_tails,
    )
}  # fmt: skip
_THREE_SYMBOLS = frozenset({"sticky signals", "irregular fat tails"})
"""Shapes that are tried on three symbols whose returns share a common part."""


def shaped(shape: str, seed: int, rows: int, effect: bool) -> SignalBatch:
    """A stream of one of `SHAPES`."""
    draws = np.random.default_rng([seed, [*SHAPES].index(shape)])
    names = ("AAA", "BBB", "CCC") if shape in _THREE_SYMBOLS else ("AAA",)
    n = rows // len(names)
    irregular = "irregular" in shape
    minutes = np.cumsum(1 + draws.geometric(0.1, n)) if irregular else 15 * np.arange(1, n + 1)
    common, frames = SHAPES[shape](draws, n)[0], []
    for name in names:
        own, action = SHAPES[shape](draws, n)
        returns = own if len(names) == 1 else 0.7 * common + 0.7 * own
        frames.append(
            pd.DataFrame({
                "timestamp": (_START + pd.to_timedelta(minutes, unit="min")).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "price": np.round(1_000.0 * np.exp(np.cumsum(returns)), 6),
                "signal": action,
                "symbol": name,
                **_features(draws, returns, action, PLANTED if effect else 0.0),
            })
        )  # fmt: skip
    text = pd.concat(frames).to_csv(index=False).encode()
    return read_batch(text, "text/csv", Reading()).batch.in_time()


def _features(
    draws: Generator, returns: Float64Array, action: Actions, planted: float
) -> dict[str, Float64Array]:
    n = len(returns)
    late = pd.Series(np.abs(returns)).ewm(span=20).mean().to_numpy()
    right = np.sign(action * _moves(returns))
    return {
        "noise": draws.standard_normal(n),
        "slow_noise": _autoregression(draws, n, 0.99),
        "late_volatility": late,
        "score": draws.standard_normal(n) + planted / 2.0 * right,
    }


def _moves(returns: Float64Array) -> Float64Array:
    """Of the next `HORIZON` returns, their sum; 0 where there are fewer."""
    level = np.concatenate([[0.0], np.cumsum(returns)])
    moves = np.zeros(len(returns))
    moves[: -HORIZON or None] = level[HORIZON + 1 :] - level[1:-HORIZON]
    return moves
