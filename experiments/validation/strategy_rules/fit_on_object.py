"""A fit that is kept on the object."""

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import (
    FIRST,
    after_first,
    beyond,
    fitted,
    returns,
)


class LeakingFitOnObject(UserStrategy):
    """Fits once, on all it is shown, and keeps that on itself."""

    def __init__(self) -> None:
        self._scale: float | None = None

    def actions(self, bars: Bars) -> Int8Array:
        if self._scale is None:
            self._scale = fitted(bars)
        return beyond(returns(bars.close, 5), self._scale)


class HonestFitOnObject(UserStrategy):
    """Fits once, on the first bars, is silent in them, and keeps that on itself."""

    warm_up = FIRST

    def __init__(self) -> None:
        self._scale: float | None = None

    def actions(self, bars: Bars) -> Int8Array:
        if len(bars) < FIRST:
            return np.zeros(len(bars), np.int8)
        if self._scale is None:
            self._scale = fitted(bars.slice(0, FIRST))
        return after_first(beyond(returns(bars.close, 5), self._scale))
