"""Indicators that are given their bars in pieces: however they are cut, the same bytes.

Each is made with its parameters and then `advance`d; all bars at once are one piece. NaN until there are enough bars.
Definitions are those of TA-Lib, which is the oracle in the tests: an exponential mean begins with the plain mean of its
first window, Wilder's means likewise, standard deviations of Bollinger's bands are of the population. Not in TA-Lib:
realised volatility, the standard deviation (n - 1) of log returns over a window, realised variance, and the mean price
by volume.
"""

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.compiled import compiled

MOST_BARS = 100_000


def check_window(name: str, value: object, least: int = 1) -> int:
    """The value itself, if it is a number of bars; else `InvalidField`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_BARS:
        raise InvalidField(name, value, f"a whole number of bars from {least} to {MOST_BARS:,d}")
    return value


def check_number(name: str, value: object, low: float, high: float) -> float:
    """The value itself, if it is a number between the two; else `InvalidField`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low < value < high:
        raise InvalidField(name, value, f"a number above {low:g} and below {high:g}")
    return value


class TrailingWindow:
    """The last values before those that come: what a window needs of them.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._values = np.full(count, np.nan)

    def before(self, values: Float64Array) -> Float64Array:
        """Float64[count + n]: what was before, NaN where nothing was, and then the values."""
        joined = np.concatenate([self._values, values])
        self._values = joined[len(joined) - len(self._values) :].copy()
        return joined


class Ema:
    """Exponential mean, `alpha = 2 / (window + 1)`, from the mean of the first window on.

    Args:
        skip: values at the start that are left out.
    """

    def __init__(self, window: int, skip: int = 0) -> None:
        self._window = check_window("window", window)
        self._state = np.array([-float(skip), 0.0, 2.0 / (window + 1.0)])

    def advance(self, values: Float64Array) -> Float64Array:
        """Of the next values; those before the first that is not NaN do not count."""
        out = np.empty(len(values))
        _smooth(values, self._window, self._state, out)
        return out


class Wilder:
    """Wilder's mean, `alpha = 1 / window`, from the mean of the first window on."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window)
        self._state = np.array([0.0, 0.0, 1.0 / window])

    def advance(self, values: Float64Array) -> Float64Array:
        """Of the next values; those before the first that is not NaN do not count."""
        out = np.empty(len(values))
        _wilder(values, self._window, self._state, out)
        return out


class RsiIndicator:
    """Wilder's relative strength index, 0 to 100; 0 where nothing has moved."""

    def __init__(self, window: int) -> None:
        check_window("window", window, 2)
        self._past = TrailingWindow(1)
        self._up, self._down = Wilder(window), Wilder(window)

    def advance(self, close: Float64Array) -> Float64Array:
        """Of the next closes."""
        joined = self._past.before(close)
        change = joined[1:] - joined[:-1]
        up = self._up.advance(np.where(np.isnan(change), np.nan, np.maximum(change, 0.0)))
        down = self._down.advance(np.where(np.isnan(change), np.nan, np.maximum(-change, 0.0)))
        return _shares(100.0 * up, up + down, 0.0)


class MacdIndicator:
    """Fast less slow exponential mean, and its signal, an exponential mean of the difference."""

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        check_window("fast", fast)
        check_window("slow", slow)
        check_window("signal", signal)
        if fast >= slow:
            raise InvalidField("fast", fast, f"fewer bars than slow, {slow}")
        # Both begin with the bar at which the slow one can.
        self._fast, self._slow, self._signal = Ema(fast, slow - fast), Ema(slow), Ema(signal)

    def advance(self, close: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Difference and signal of the next closes; both NaN until there is a signal."""
        difference = self._fast.advance(close) - self._slow.advance(close)
        signal = self._signal.advance(difference)
        return np.where(np.isnan(signal), np.nan, difference), signal


class MeanAndDeviation:
    """Of the last `window` values, the deviation of the population."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window, 2)
        self._past = TrailingWindow(window - 1)

    def advance(self, values: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Mean and standard deviation at the next values."""
        joined = self._past.before(values)
        mean = _means(joined, self._window)
        return mean, np.sqrt(_squares(joined, self._window, mean) / self._window)


class Bands:
    """Bollinger's bands: mean, and `width` standard deviations below and above it."""

    def __init__(self, window: int, width: float) -> None:
        self._width = check_number("width", width, 0.0, 100.0)
        self._values = MeanAndDeviation(window)

    def advance(self, close: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Lower band, mean, upper band of the next closes."""
        mean, deviation = self._values.advance(close)
        away = self._width * deviation
        return mean - away, mean, mean + away


class ZScore:
    """How many standard deviations a value is from the mean of the last `window`, its own among them."""

    def __init__(self, window: int) -> None:
        self._values = MeanAndDeviation(window)

    def advance(self, close: Float64Array) -> Float64Array:
        """Of the next closes; 0 where all of a window are the same."""
        mean, deviation = self._values.advance(close)
        return _shares(close - mean, deviation, 0.0)


class Highest:
    """The highest of the last `window` values; of their negatives, the lowest."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window)
        self._past = TrailingWindow(window - 1)

    def advance(self, values: Float64Array) -> Float64Array:
        """Of the next values."""
        joined = self._past.before(values)
        if not len(values) or self._window == 1:
            return joined[self._window - 1 :].copy()
        highest: Float64Array = np.lib.stride_tricks.sliding_window_view(joined, self._window).max(axis=1)
        return highest


class Atr:
    """Wilder's average true range, from the second bar on."""

    def __init__(self, window: int) -> None:
        self._past = TrailingWindow(1)
        self._mean = Wilder(window)

    def advance(self, high: Float64Array, low: Float64Array, close: Float64Array) -> Float64Array:
        """Of the next bars."""
        before = self._past.before(close)[:-1]
        ranges = np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))
        return self._mean.advance(ranges)


class PriceRatio:
    """A close over the one `window` bars before."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window)
        self._past = TrailingWindow(window)

    def advance(self, close: Float64Array) -> Float64Array:
        """Of the next closes."""
        joined = self._past.before(close)
        return joined[self._window :] / joined[: -self._window]


class Volatility:
    """Standard deviation of the log returns of the last `window` bars, per bar."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window, 2)
        self._ratio, self._past = PriceRatio(1), TrailingWindow(window - 1)

    def advance(self, close: Float64Array) -> Float64Array:
        """Of the next closes."""
        returns = self._past.before(np.log(self._ratio.advance(close)))
        squares = _squares(returns, self._window, _means(returns, self._window))
        deviation: Float64Array = np.sqrt(squares / (self._window - 1))
        return deviation


class RealisedVariance:
    """The squares of the log returns of the last `window` bars, added up."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window)
        self._ratio, self._past = PriceRatio(1), TrailingWindow(window - 1)

    def advance(self, close: Float64Array) -> Float64Array:
        """Of the next closes."""
        returns = self._past.before(np.log(self._ratio.advance(close)))
        return _squares(returns, self._window, np.zeros(len(close)))


class Vwap:
    """Mean of the typical prices, (high + low + close) / 3, of the last `window` bars, by their volume."""

    def __init__(self, window: int) -> None:
        self._window = check_window("window", window)
        self._values, self._volumes = TrailingWindow(window - 1), TrailingWindow(window - 1)

    def advance(
        self, high: Float64Array, low: Float64Array, close: Float64Array, volume: Float64Array
    ) -> Float64Array:
        """Of the next bars; NaN where a volume is not known, or all of a window are 0."""
        values = self._values.before((high + low + close) / 3.0 * volume)
        volumes = self._volumes.before(volume)
        return _shares(_means(values, self._window), _means(volumes, self._window), np.nan)


def _shares(values: Float64Array, of: Float64Array, nothing: float) -> Float64Array:
    """One over the other; `nothing` where the other is 0, NaN where it is NaN."""
    shares = np.divide(values, of, out=np.full(len(values), nothing), where=of > 0.0)
    return np.where(np.isnan(of), np.nan, shares)


@compiled
def _means(values: Float64Array, window: int) -> Float64Array:
    """Of every window of `values`; NaN where one holds NaN."""
    out = np.empty(len(values) - window + 1)
    for place in range(len(out)):
        total = 0.0
        for at in range(place, place + window):
            total += values[at]
        out[place] = total / window
    return out


@compiled
def _squares(values: Float64Array, window: int, means: Float64Array) -> Float64Array:
    """Squared distances from the mean of every window, added up."""
    out = np.empty(len(means))
    for place in range(len(out)):
        total = 0.0
        for at in range(place, place + window):
            away = values[at] - means[place]
            total += away * away
        out[place] = total
    return out


@compiled
def _smooth(values: Float64Array, window: int, state: Float64Array, out: Float64Array) -> None:
    """State: values that counted (below 0: to be left out), sum or mean, alpha."""
    for place in range(len(values)):
        value = values[place]
        if np.isnan(value) and state[0] <= 0.0:
            out[place] = np.nan
            continue
        state[0] += 1.0
        if state[0] <= 0.0:
            out[place] = np.nan
        elif state[0] < window:
            state[1] += value
            out[place] = np.nan
        elif state[0] == window:
            state[1] = (state[1] + value) / window
            out[place] = state[1]
        else:
            state[1] += state[2] * (value - state[1])
            out[place] = state[1]


@compiled
def _wilder(values: Float64Array, window: int, state: Float64Array, out: Float64Array) -> None:
    """State: values that counted, sum or mean, alpha."""
    for place in range(len(values)):
        value = values[place]
        if np.isnan(value) and state[0] == 0.0:
            out[place] = np.nan
            continue
        state[0] += 1.0
        if state[0] < window:
            state[1] += value
            out[place] = np.nan
        elif state[0] == window:
            state[1] = (state[1] + value) / window
            out[place] = state[1]
        else:
            state[1] = (state[1] * (window - 1) + value) / window
            out[place] = state[1]
