"""The last stamp of the data."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean

_WEEK_US = 7 * 86_400_000_000


class LeakingLastStamp(UserStrategy):
    """Trades faster in the last year before the end."""

    def actions(self, bars: Bars) -> Int8Array:
        near_us = bars.known_at_us[-1] - bars.known_at_us < 52 * _WEEK_US
        return crossed(bars.close, np.where(near_us, mean(bars.close, 10), mean(bars.close, 40)))


class HonestLastStamp(UserStrategy):
    """Trades faster in the first year after the start."""

    def actions(self, bars: Bars) -> Int8Array:
        near_us = bars.known_at_us - bars.known_at_us[0] < 52 * _WEEK_US
        return crossed(bars.close, np.where(near_us, mean(bars.close, 10), mean(bars.close, 40)))
