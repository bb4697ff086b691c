"""A z-score."""

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation.strategy_rules.helpers import beyond, returns, scaled


class LeakingZScore(UserStrategy):
    """Against mean and standard deviation of all bars."""

    def actions(self, bars: Bars) -> Int8Array:
        values = returns(bars.close, 5)
        return beyond((values - values.mean()) / max(float(values.std()), 1e-9), 1.0)


class HonestZScore(UserStrategy):
    """Against mean and standard deviation of the bars so far."""

    def actions(self, bars: Bars) -> Int8Array:
        return beyond(scaled(returns(bars.close, 5)), 1.0)
