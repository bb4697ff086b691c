"""A price that all others are compared with."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean


class LeakingLastPrice(UserStrategy):
    """Buys below the last price there is, and sells above it."""

    def actions(self, bars: Bars) -> Int8Array:
        return crossed(np.full(len(bars), bars.close[-1]), mean(bars.close, 5))


class HonestLastPrice(UserStrategy):
    """Buys below the first price there is, and sells above it."""

    def actions(self, bars: Bars) -> Int8Array:
        return crossed(np.full(len(bars), bars.close[0]), mean(bars.close, 5))
