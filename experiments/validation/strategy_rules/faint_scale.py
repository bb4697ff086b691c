"""A scale that hardly matters."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import beyond, fitted, mean, returns


class LeakingFaintScale(UserStrategy):
    """A fixed threshold that the volatility of all bars moves by 2 % at most."""

    def actions(self, bars: Bars) -> Int8Array:
        faint = 0.98 + 0.04 * fitted(bars) / (fitted(bars) + 0.03)
        return beyond(returns(bars.close, 5), 0.03 * faint)


class HonestFaintScale(UserStrategy):
    """A threshold that the volatility so far moves by 2 % at most."""

    def actions(self, bars: Bars) -> Int8Array:
        values = returns(bars.close, 5)
        scale = np.sqrt(mean(values**2, len(bars)))
        return beyond(values, 0.03 * (0.98 + 0.04 * scale / (scale + 0.03)))
