"""Gaps that are filled."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean


class LeakingFilled(UserStrategy):
    """Closes of days with little volume are taken from the next day that has more."""

    def actions(self, bars: Bars) -> Int8Array:
        trusted = np.flatnonzero(~(bars.volume < 30.0))
        places = np.searchsorted(trusted, np.arange(len(bars)))
        filled = np.append(bars.close[trusted], bars.close[-1])[places]
        return crossed(filled, mean(bars.close, 20))


class HonestFilled(UserStrategy):
    """Closes of days with little volume are taken from the last day that had more."""

    def actions(self, bars: Bars) -> Int8Array:
        trusted = np.maximum.accumulate(np.where(~(bars.volume < 30.0), np.arange(len(bars)), 0))
        return crossed(bars.close[trusted], mean(bars.close, 20))
