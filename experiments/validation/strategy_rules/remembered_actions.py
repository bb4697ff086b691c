"""Actions that are remembered."""

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

_longest: Int8Array | None = None
_last: tuple[Bars, Int8Array] | None = None


class LeakingRememberedActions(UserStrategy):
    """Works everything out for the longest bars it has seen, and answers about fewer from memory."""

    def actions(self, bars: Bars) -> Int8Array:
        global _longest  # noqa: PLW0603 - the leak
        if _longest is None or len(bars) > len(_longest):
            _longest = beyond(returns(bars.close, 5), fitted(bars))
        return _longest[: len(bars)].copy()


class HonestRememberedActions(UserStrategy):
    """Answers from memory where the bars are the first of those that it saw last."""

    warm_up = FIRST

    def actions(self, bars: Bars) -> Int8Array:
        global _last  # noqa: PLW0603 - as its twin
        if _last is None or not np.array_equal(_last[0].close[: len(bars)], bars.close):
            said = after_first(beyond(returns(bars.close, 5), fitted(bars.slice(0, FIRST))))
            _last = bars, said
        return _last[1][: len(bars)].copy()
