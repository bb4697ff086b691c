"""A fit that is kept on the class."""

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


class LeakingFitOnClass(UserStrategy):
    """Fits once and keeps that on its class."""

    scale: float | None = None

    def actions(self, bars: Bars) -> Int8Array:
        kind = type(self)
        if kind.scale is None:
            kind.scale = fitted(bars)
        return beyond(returns(bars.close, 5), kind.scale)


class HonestFitOnClass(UserStrategy):
    """Fits on the first bars and keeps the last fit, and what it was of, on its class."""

    warm_up = FIRST
    fit: tuple[bytes, float] = (b"", 0.0)

    def actions(self, bars: Bars) -> Int8Array:
        kind, key = type(self), bars.close[:FIRST].tobytes()
        if kind.fit[0] != key:
            kind.fit = key, fitted(bars.slice(0, FIRST))
        return after_first(beyond(returns(bars.close, 5), kind.fit[1]))
