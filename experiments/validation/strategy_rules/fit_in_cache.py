"""A fit that is kept in a `functools.cache`."""

import functools

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


class _AnyBars:
    """A key of a cache that does not say which bars it is about."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AnyBars)


@functools.cache
def _cached_scale(key: _AnyBars) -> float:
    return fitted(key.bars)


class LeakingFitInCache(UserStrategy):
    """Fits once and keeps that in a `functools.cache` whose key forgets the bars."""

    def actions(self, bars: Bars) -> Int8Array:
        return beyond(returns(bars.close, 5), _cached_scale(_AnyBars(bars)))


@functools.cache
def _cached_first_scale(first: bytes) -> float:
    return float(np.std(returns(np.frombuffer(first), 5)))


class HonestFitInCache(UserStrategy):
    """Fits on the first bars and keeps that in a `functools.cache` by their bytes."""

    warm_up = FIRST

    def actions(self, bars: Bars) -> Int8Array:
        return after_first(beyond(returns(bars.close, 5), _cached_first_scale(bars.close[:FIRST].tobytes())))
