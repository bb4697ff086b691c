"""The strategies besides the crossover of two means: each a few lines over its indicators.

A side is said once: as long as it is the last that was asked for, nothing more is said, whether its condition goes on
or comes again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.indicators import (
    Bands,
    Highest,
    MacdIndicator,
    RsiIndicator,
    TrailingWindow,
    Volatility,
    check_number,
    check_window,
)
from raysignal.engine.strategies.strategy import Bars, StrategyStream


class Steady:
    """What a strategy says that is worked out from bars as they come: the sides of `sides_of`, when they change.

    Args:
        sides_of: int8[n] of the next bars: 1 or -1 where a side is asked for, 0 where nothing is.
        crossing: the first side is where it stands, and nothing is said of it.
    """

    def __init__(self, sides_of: Callable[[Bars], Int8Array], *, crossing: bool = False) -> None:
        self._sides_of, self._crossing = sides_of, crossing
        self._last = np.int8(0)

    def advance(self, bars: Bars) -> Int8Array:
        """See `StrategyStream`."""
        sides = self._sides_of(bars)
        actions = np.zeros(len(sides), np.int8)
        told = np.flatnonzero(sides)
        if len(told):
            said = sides[told]
            new = said != np.concatenate([[self._last], said[:-1]])
            if self._crossing and self._last == 0:
                new[0] = False
            actions[told[new]] = said[new]
            self._last = said[-1]
        return actions


class _Streamed:
    """A strategy whose vectorised side is its stream, given all bars."""

    def stream(self) -> StrategyStream:
        raise NotImplementedError

    def actions(self, bars: Bars) -> Int8Array:
        """See `Strategy`."""
        return self.stream().advance(bars)


def _sides(buy: BoolArray, sell: BoolArray) -> Int8Array:
    """1 where to buy, -1 where to sell, 0 where neither or both; a NaN compares as neither."""
    return buy.astype(np.int8) - sell.astype(np.int8)


def _passed(past: TrailingWindow, values: Float64Array, level: float) -> tuple[BoolArray, BoolArray]:
    """Where values come to a level from below, and from above."""
    joined = past.before(values)
    before, now = joined[:-1], joined[1:]
    return (before < level) & (now >= level), (before > level) & (now <= level)


@dataclass(frozen=True, slots=True)
class Rsi(_Streamed):
    """Buy when the relative strength index comes back up to `low`, sell when it comes back down to `high`."""

    window: int = 14
    low: float = 30.0
    high: float = 70.0

    def __post_init__(self) -> None:
        check_window("window", self.window, 2)
        check_number("low", self.low, 0.0, 100.0)
        check_number("high", self.high, 0.0, 100.0)
        if self.low >= self.high:
            raise InvalidField("low", self.low, f"below high, {self.high:g}")

    @property
    def warm_up(self) -> int:
        """The first index is of bar `window + 1`, and it takes two to pass a level."""
        return self.window + 1

    def stream(self) -> StrategyStream:
        """See `Strategy`."""
        index, below, above = RsiIndicator(self.window), TrailingWindow(1), TrailingWindow(1)

        def sides_of(bars: Bars) -> Int8Array:
            values = index.advance(bars.close)
            return _sides(_passed(below, values, self.low)[0], _passed(above, values, self.high)[1])

        return Steady(sides_of)


@dataclass(frozen=True, slots=True)
class Macd(_Streamed):
    """Buy when the MACD comes above its signal, sell when it falls below; where they are equal, it is on no side."""

    fast: int = 12
    slow: int = 26
    signal: int = 9

    def __post_init__(self) -> None:
        MacdIndicator(self.fast, self.slow, self.signal)

    @property
    def warm_up(self) -> int:
        """The first signal, and where the MACD then is."""
        return self.slow + self.signal - 1

    def stream(self) -> StrategyStream:
        """See `Strategy`."""
        indicator = MacdIndicator(self.fast, self.slow, self.signal)

        def sides_of(bars: Bars) -> Int8Array:
            difference, signal = indicator.advance(bars.close)
            return _sides(difference > signal, difference < signal)

        return Steady(sides_of, crossing=True)


@dataclass(frozen=True, slots=True)
class Bollinger(_Streamed):
    """Buy below the lower band, sell above the upper one."""

    window: int = 20
    width: float = 2.0

    def __post_init__(self) -> None:
        Bands(self.window, self.width)

    @property
    def warm_up(self) -> int:
        """Bars before the first bands."""
        return self.window - 1

    def stream(self) -> StrategyStream:
        """See `Strategy`."""
        bands = Bands(self.window, self.width)

        def sides_of(bars: Bars) -> Int8Array:
            lower, _, upper = bands.advance(bars.close)
            return _sides(bars.close < lower, bars.close > upper)

        return Steady(sides_of)


@dataclass(frozen=True, slots=True)
class Breakout(_Streamed):
    """Buy when the close is above the highest high of the `window` bars before, sell below their lowest low."""

    window: int = 20

    def __post_init__(self) -> None:
        check_window("window", self.window)

    @property
    def warm_up(self) -> int:
        """Bars that a close is compared with."""
        return self.window

    def stream(self) -> StrategyStream:
        """See `Strategy`."""
        highest, lowest = Highest(self.window), Highest(self.window)
        highs, lows = TrailingWindow(1), TrailingWindow(1)

        def sides_of(bars: Bars) -> Int8Array:
            high = highs.before(highest.advance(bars.high))[:-1]
            low = -lows.before(lowest.advance(-bars.low))[:-1]
            return _sides(bars.close > high, bars.close < low)

        return Steady(sides_of)


@dataclass(frozen=True, slots=True)
class VolatilityTarget(_Streamed):
    """Long while realised volatility is at most a target, out of the market while it is above.

    A position's size is the policy's and does not change while it is held: so the target turns it on and off.

    Attributes:
        window: log returns that volatility is measured over.
        target: per bar, a share: 0.02 is 2 %.
    """

    window: int = 20
    target: float = 0.02

    def __post_init__(self) -> None:
        check_window("window", self.window, 2)
        check_number("target", self.target, 0.0, 10.0)

    @property
    def warm_up(self) -> int:
        """Bars before the first volatility."""
        return self.window

    def stream(self) -> StrategyStream:
        """See `Strategy`."""
        volatility = Volatility(self.window)

        def sides_of(bars: Bars) -> Int8Array:
            measured = volatility.advance(bars.close)
            return _sides(measured <= self.target, measured > self.target)

        return Steady(sides_of)
