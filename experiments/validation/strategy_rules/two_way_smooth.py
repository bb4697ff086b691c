"""A line that is smoothed twice."""

from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, smooth


class LeakingTwoWaySmooth(UserStrategy):
    """Smoothed forwards, and then backwards so that it does not lag."""

    def actions(self, bars: Bars) -> Int8Array:
        line: Float64Array = smooth(smooth(bars.close, 0.2)[::-1], 0.2)[::-1]
        return crossed(bars.close, line)


class HonestTwoWaySmooth(UserStrategy):
    """Smoothed forwards, twice."""

    def actions(self, bars: Bars) -> Int8Array:
        return crossed(bars.close, smooth(smooth(bars.close, 0.2), 0.2))
