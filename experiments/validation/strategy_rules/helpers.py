"""What the rules share; a value for each bar rests on that bar and those before it."""

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.strategies.strategy import Bars

FIRST = 250
"""Bars at the start that an honest rule may fit on."""


def returns(close: Float64Array, bars: int = 1) -> Float64Array:
    """Logarithmic returns over some bars; 0 where there are too few."""
    values = np.zeros(len(close))
    values[bars:] = np.log(close[bars:] / close[:-bars])
    return values


def mean(values: Float64Array, bars: int) -> Float64Array:
    """Of the last bars, or of as many as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - bars)
    means: Float64Array = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def smooth(values: Float64Array, weight: float) -> Float64Array:
    """The exponential mean with the weight of the newest."""
    result, last = np.empty(len(values)), values[0]
    for place, value in enumerate(values.tolist()):
        last += weight * (value - last)
        result[place] = last
    return result


def fitted(bars: Bars) -> float:
    """The volatility of returns over five bars, of all the bars that it is given."""
    return float(np.std(returns(bars.close, 5)))


def after_first(actions: Int8Array) -> Int8Array:
    """HOLD in the first `FIRST` bars."""
    actions[:FIRST] = 0
    return actions


def scaled(values: Float64Array) -> Float64Array:
    """Each less the mean, over the standard deviation, of those up to it; 0 for the first `FIRST`."""
    counts = np.arange(1, len(values) + 1)
    means = np.cumsum(values) / counts
    spread = np.sqrt(np.maximum(np.cumsum(values**2) / counts - means**2, 1e-18))
    result = (values - means) / spread
    result[:FIRST] = 0.0
    return result


def beyond(values: Float64Array, limit: Float64Array | float) -> Int8Array:
    """BUY where values come above a limit, SELL where they fall below minus that limit."""
    side = (values > limit).astype(np.int8) - (values < -limit).astype(np.int8)
    return np.where(side != np.concatenate([[0], side[:-1]]), side, 0).astype(np.int8)


def crossed(values: Float64Array, level: Float64Array | float) -> Int8Array:
    """BUY where values come above a level, SELL where they fall below."""
    return beyond(values - level, 0.0)
