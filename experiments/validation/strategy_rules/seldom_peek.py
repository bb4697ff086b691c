"""A look ahead at few actions."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean


class LeakingSeldomPeek(UserStrategy):
    """A crossover that takes the next bar's move for its side, where a bar is wider than most before it."""

    def actions(self, bars: Bars) -> Int8Array:
        said = crossed(mean(bars.close, 3), mean(bars.close, 12))
        wide = (bars.high - bars.low) / bars.close
        peeks = wide > 1.6 * mean(wide, 100)
        following = np.sign(np.diff(bars.close, append=bars.close[-1:]))
        return np.where((said != 0) & peeks & (following != 0), following, said).astype(np.int8)


class HonestSeldomPeek(UserStrategy):
    """A crossover that takes the bar's own move for its side, where a bar is wider than most before it."""

    def actions(self, bars: Bars) -> Int8Array:
        said = crossed(mean(bars.close, 3), mean(bars.close, 12))
        wide = (bars.high - bars.low) / bars.close
        own = np.sign(np.diff(bars.close, prepend=bars.close[:1]))
        return np.where((said != 0) & (wide > 1.6 * mean(wide, 100)), own, said).astype(np.int8)
