"""The length of the data."""

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean


class LeakingLength(UserStrategy):
    """Its window is a share of all bars there are."""

    def actions(self, bars: Bars) -> Int8Array:
        return crossed(bars.close, mean(bars.close, max(2, len(bars) // 50)))


class HonestLength(UserStrategy):
    """Its window is a number of bars."""

    def actions(self, bars: Bars) -> Int8Array:
        return crossed(bars.close, mean(bars.close, 40))
