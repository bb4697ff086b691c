"""A quantile as a threshold."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import FIRST, after_first, beyond, returns


class LeakingQuantile(UserStrategy):
    """Acts where volume is in the upper fifth of all bars."""

    def actions(self, bars: Bars) -> Int8Array:
        much = bars.volume > np.nan_to_num(np.quantile(bars.volume, 0.8))
        return np.where(much, beyond(returns(bars.close), 0.0), 0).astype(np.int8)


class HonestQuantile(UserStrategy):
    """Acts where volume is in the upper fifth of the first bars."""

    warm_up = FIRST

    def actions(self, bars: Bars) -> Int8Array:
        much = bars.volume > np.nan_to_num(np.quantile(bars.volume[:FIRST], 0.8))
        return after_first(np.where(much, beyond(returns(bars.close), 0.0), 0).astype(np.int8))
