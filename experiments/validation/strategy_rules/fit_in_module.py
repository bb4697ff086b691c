"""A fit that is kept in a global of the module."""

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

_scale: float | None = None
_scales: dict[bytes, float] = {}


class LeakingFitInModule(UserStrategy):
    """Fits once and keeps that in a global of its module."""

    def actions(self, bars: Bars) -> Int8Array:
        global _scale  # noqa: PLW0603 - the leak
        if _scale is None:
            _scale = fitted(bars)
        return beyond(returns(bars.close, 5), _scale)


class HonestFitInModule(UserStrategy):
    """Fits on the first bars and keeps that in a global of its module, by their bytes."""

    warm_up = FIRST

    def actions(self, bars: Bars) -> Int8Array:
        key = bars.close[:FIRST].tobytes()
        if key not in _scales:
            _scales[key] = fitted(bars.slice(0, FIRST))
        return after_first(beyond(returns(bars.close, 5), _scales[key]))
