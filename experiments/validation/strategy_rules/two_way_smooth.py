"""A line that is smoothed twice."""

from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Actions, Bars
from raysignal.experiments.validation.strategy_rules.helpers import Floats, crossed, smooth


class Leaking(UserStrategy):
    """Smoothed forwards, and then backwards so that it does not lag."""

    def actions(self, bars: Bars) -> Actions:
        line: Floats = smooth(smooth(bars.close, 0.2)[::-1], 0.2)[::-1]
        return crossed(bars.close, line)


class Honest(UserStrategy):
    """Smoothed forwards, twice."""

    def actions(self, bars: Bars) -> Actions:
        return crossed(bars.close, smooth(smooth(bars.close, 0.2), 0.2))
