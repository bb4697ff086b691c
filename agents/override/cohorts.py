"""What the cohorts of a signal say: its source, symbol, side and regime, each shrunk towards the whole.

How much more often than its drift a signal is right is the sum of effects: of the whole stream, of its regime, side,
source and symbol, and of what no other has. Before anything is known each is about nothing, with its share of the
prior's variance; what becomes known moves them all at once, as far as outcomes tell them apart (best linear unbiased
prediction; Henderson, Biometrics, 1975; outcome by outcome, as a Kalman filter does). A cohort of few outcomes hardly
moves, one of many as far as it is apart from the whole, and what all have in common is nobody's own.

    variance(0)     prior variance 1 / prior, in units of one outcome's
    gain            covariance x / (crowding + x' covariance x)
    effects         + gain (told - x' effects)
    covariance      - gain x' covariance

x is 1 at a signal's own effects. `crowding` says how many outcomes that overlap are worth one. 1 / variance is a number
of independent signals.
"""

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Float64Array, Int64Array

OWN_EFFECTS = 5
"""Of a signal: the whole, and its regime, side, source and symbol."""
SHARES = (0.06, 0.24, 0.06, 0.07, 0.07)
"""Of the prior's variance, in that order; the rest, half of it, is what only signals that are alike have."""

_BITS = 64  # sources and symbols beyond share an effect with others
_REGIME = 1
_SIDE = _REGIME + 4
_SOURCE = _SIDE + 2
_SYMBOL = _SOURCE + _BITS
_EFFECTS = _SYMBOL + _BITS


class CohortEffects:
    """The effects, as told by the outcomes so far.

    Args:
        prior: what the prior weighs, in signals.

    Attributes:
        effects: float64[2, effects], on being right, and on how far the price goes the signal's way, in basis points.
        covariance: float64[effects, effects], of their errors, in units of one outcome's variance.
        alone: the variance of what no other signal has.
    """

    __slots__ = ("alone", "covariance", "effects")

    def __init__(self, prior: float) -> None:
        share = np.empty(_EFFECTS)
        starts = (0, _REGIME, _SIDE, _SOURCE, _SYMBOL, _EFFECTS)
        for each, start, stop in zip(SHARES, starts, starts[1:], strict=False):
            share[start:stop] = each
        self.effects = np.zeros((2, _EFFECTS))
        self.covariance = np.diag(share / prior)
        self.alone = (1.0 - sum(SHARES)) / prior


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def find_effects(regime: int, side: int, source: np.uint64, symbol: int, own: Int64Array) -> None:
    """The places of a signal's own effects; `source` is the bit of its label."""
    bit = 0
    while source > np.uint64(1):
        source >>= np.uint64(1)
        bit += 1
    own[0] = 0
    own[1] = _REGIME + regime
    own[2] = _SIDE + (side > 0)
    own[3] = _SOURCE + bit
    own[4] = _SYMBOL + symbol % _BITS


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def learn_effects(
    own: Int64Array, hit: float, edge: float, crowding: float, effects: Float64Array, covariance: Float64Array
) -> None:
    """Take in the centred hit and the edge of an outcome."""
    towards = np.zeros(_EFFECTS)
    for place in own:
        towards += covariance[place]
    total = crowding
    for place in own:
        total += towards[place]
        hit -= effects[0, place]
        edge -= effects[1, place]
    touched = np.flatnonzero(towards)
    for one in touched:
        gain = towards[one] / total
        effects[0, one] += gain * hit
        effects[1, one] += gain * edge
        for other in touched:
            covariance[one, other] -= gain * towards[other]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sum_effects(
    own: Int64Array, effects: Float64Array, covariance: Float64Array
) -> tuple[float, float, float]:
    """What a signal's cohorts say of its hits and of its edge, and the variance of that."""
    hit = edge = variance = 0.0
    for place in own:
        hit += effects[0, place]
        edge += effects[1, place]
        for other in own:
            variance += covariance[place, other]
    return hit, edge, max(variance, 0.0)
