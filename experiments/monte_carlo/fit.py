"""Whether a model's markets are like the one it was fitted to: their moments, and how their volatility clusters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.experiments.monte_carlo.markets import MarketModel, generator
from raysignal.experiments.monte_carlo.resampling import block_length, stationary_places

STATISTICS: Mapping[str, str] = {
    "deviation": "standard deviation a bar",
    "skewness": "skewness",
    "kurtosis": "kurtosis (normal: 3)",
    "squares_lag_1": "autocorrelation of squares, 1 bar apart",
    "squares_lags_1_to_10": "the same, mean of 1 to 10 bars",
    "squares_lags_1_to_20": "the same, mean of 1 to 20 bars",
}
"""Of log returns, by their names in metrics.json, with their names for people."""

_LAGS = 20
_RESAMPLED = 400
_PATHS, _FEWEST_PATHS, _BARS = 200, 20, 2_000_000  # paths of a model, fewer where they are long
_WITHIN = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class StatisticFit:
    """A statistic of the source and of a model's paths of its length; None where it cannot be told.

    Attributes:
        source: of the returns that the model was fitted to.
        low, high: its 95 % interval, by the stationary bootstrap.
        model: of the middle one of the model's paths.
        model_low, model_high: between which 95 % of the paths lie.
        met: whether `model` lies between `low` and `high`, or `source` between `model_low` and `model_high`: of a
            heavy tail one path shows too little for either interval to be enough alone.
    """

    source: float | None
    low: float | None
    high: float | None
    model: float | None
    model_low: float | None
    model_high: float | None
    met: bool


ModelFit = Mapping[str, StatisticFit]
"""By the names of `STATISTICS`."""


def fit_of(model: MarketModel, returns: Float64Array, seed: int) -> ModelFit:
    """Each of `STATISTICS`, of the returns and of the first paths of the model with that seed."""
    n = len(returns)
    paths = min(_PATHS, max(_FEWEST_PATHS, _BARS // n))
    made = np.array([statistics(model.returns(n, generator(seed, index))) for index in range(paths)])
    low, high = np.quantile(_resampled(returns, seed), _WITHIN, axis=0)
    model_low, model_high = np.quantile(made, _WITHIN, axis=0)
    columns = (statistics(returns), low, high, np.median(made, axis=0), model_low, model_high)
    found = {}
    for name, values in zip(STATISTICS, np.column_stack(columns).tolist(), strict=True):
        own, low_own, high_own, middle, low_made, high_made = values
        met = low_own <= middle <= high_own or low_made <= own <= high_made
        known = [value if np.isfinite(value) else None for value in values]
        found[name] = StatisticFit(known[0], known[1], known[2], known[3], known[4], known[5], met)
    return found


def statistics(returns: Float64Array) -> Float64Array:
    """`STATISTICS` of log returns, float64[6]; NaN where returns or their squares are all alike."""
    return _of_means(_terms(returns).mean(axis=0))


def _resampled(returns: Float64Array, seed: int) -> Float64Array:
    """`STATISTICS` of the source resampled, float64[resampled, 6].

    What is resampled are the terms of the sums, each with its own later bars, so that the ends of blocks break no
    pair: blocks of blocks (Künsch, Annals of Statistics 17, 1989; Politis & Romano, 1992).
    """
    n, terms = len(returns), _terms(returns)
    block = max(block_length((returns - returns.mean()) ** 2), min(float(_LAGS), n / 10.0))
    found = np.empty((_RESAMPLED, len(STATISTICS)))
    for index in range(_RESAMPLED):
        places = stationary_places(n, block, np.random.default_rng((seed, index)))
        found[index] = _of_means(np.bincount(places, minlength=n) @ terms / n)
    return found


def _terms(returns: Float64Array) -> Float64Array:
    """What the statistics are made of by means over the bars, float64[n, 10]; the last column is the scale."""
    scale = float(returns.std())
    away = (returns - returns.mean()) / (scale or 1.0)
    square = away * away - 1.0
    # Mean products of a square with those after it, by sums that run: later[k] is that of the k bars after.
    summed = np.concatenate([[0.0], np.cumsum(square), np.full(_LAGS, square.sum())])
    n = len(returns)
    later = [square * (summed[lags + 1 : lags + 1 + n] - summed[1 : n + 1]) / lags for lags in (1, 10, _LAGS)]
    powers = [away, away**2, away**3, away**4]
    return np.column_stack([*powers, square, square * square, *later, np.full(n, scale)])


def _of_means(means: Float64Array) -> Float64Array:
    one, two, three, four, square, squares, *later, scale = means.tolist()
    variance, spread = two - one * one, squares - square * square
    if variance <= 1e-12:
        return np.array([0.0, *[np.nan] * 5])
    third = three - 3.0 * one * two + 2.0 * one**3
    fourth = four - 4.0 * one * three + 6.0 * one * one * two - 3.0 * one**4
    clustering = [(each - square * square) / spread if spread > 1e-9 else np.nan for each in later]
    return np.array([scale * variance**0.5, third / variance**1.5, fourth / variance**2, *clustering])
