"""Bars of a week."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean

_WEEK_US = 7 * 86_400_000_000


class LeakingWeek(UserStrategy):
    """Knows at every day the close of its week."""

    def actions(self, bars: Bars) -> Int8Array:
        weeks = bars.known_at_us // _WEEK_US
        last = np.searchsorted(weeks, weeks, side="right") - 1
        return crossed(mean(bars.close, 3), bars.close[last])


class HonestWeek(UserStrategy):
    """Knows at every day the close of the last week that had ended."""

    def actions(self, bars: Bars) -> Int8Array:
        weeks = bars.known_at_us // _WEEK_US
        last = np.searchsorted(weeks, weeks, side="left") - 1
        known = np.where(last >= 0, bars.close[np.maximum(last, 0)], bars.close[0])
        return crossed(mean(bars.close, 3), known)
