"""A moving mean."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed


class LeakingCentredMean(UserStrategy):
    """A smooth line whose window reaches two bars into the future."""

    def actions(self, bars: Bars) -> Int8Array:
        padded = np.concatenate([np.full(2, bars.close[0]), bars.close, np.full(2, bars.close[-1])])
        return crossed(bars.close, np.convolve(padded, np.full(5, 0.2), mode="valid"))


class HonestCentredMean(UserStrategy):
    """A smooth line whose window ends with the bar."""

    def actions(self, bars: Bars) -> Int8Array:
        padded = np.concatenate([np.full(4, bars.close[0]), bars.close])
        return crossed(bars.close, np.convolve(padded, np.full(5, 0.2), mode="valid"))
