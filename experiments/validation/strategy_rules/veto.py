"""Actions that are left out when the move contradicts them."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import crossed, mean


class LeakingVeto(UserStrategy):
    """A crossover that leaves out what the next bar will contradict."""

    def actions(self, bars: Bars) -> Int8Array:
        said = crossed(bars.close, mean(bars.close, 20))
        following = np.sign(np.diff(bars.close, append=bars.close[-1:]))
        return np.where(following == -said, 0, said).astype(np.int8)


class HonestVeto(UserStrategy):
    """A crossover that leaves out what its own bar contradicts from open to close."""

    def actions(self, bars: Bars) -> Int8Array:
        said = crossed(bars.close, mean(bars.close, 20))
        return np.where(np.sign(bars.close - mean(bars.close, 5)) == -said, 0, said).astype(np.int8)
