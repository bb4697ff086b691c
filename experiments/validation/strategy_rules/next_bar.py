"""The move of one bar."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars


class LeakingNextBar(UserStrategy):
    """The next bar's move: `shift(-1)`."""

    def actions(self, bars: Bars) -> Int8Array:
        return np.sign(np.diff(bars.close, append=bars.close[-1:])).astype(np.int8)


class HonestNextBar(UserStrategy):
    """The last bar's move: `shift(1)`."""

    def actions(self, bars: Bars) -> Int8Array:
        return np.sign(np.diff(bars.close, prepend=bars.close[:1])).astype(np.int8)
