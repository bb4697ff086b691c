"""The probability of backtest overfitting, by combinatorially symmetric cross-validation.

Bailey, Borwein, Lopez de Prado & Zhu, The Probability of Backtest Overfitting (J. of Computational Finance 20, 2016):
the periods are cut into groups; for each choice of half of them, the best there is looked at in the other half. How
often it is below the median there is the probability that choosing the best was choosing noise.
"""

import math
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField

GROUPS = 12
_AT_ONCE = 64  # choices that are worked on together
_EQUAL = 1e-9  # ratios that differ by less are ties: what is the same strategy twice may differ by rounding


@dataclass(frozen=True, slots=True)
class Overfitting:
    """What came out.

    Attributes:
        probability: share of the choices whose best was below the median in the other half, ties as half.
        logits: of its relative rank there, one a choice; below 0 is below the median.
        slope: of the ratio in the other half on the ratio in the chosen half, over the choices' best.
        loss: share of the choices whose best lost money in the other half.
    """

    probability: float
    logits: Float64Array
    slope: float
    loss: float


def overfitting(returns: Float64Array, groups: int = GROUPS) -> Overfitting:
    """Of float64[periods, trials].

    Raises:
        InvalidField: fewer than 2 trials, an odd number of groups, or more groups than periods.
    """
    periods, trials = returns.shape
    if trials < 2:
        raise InvalidField("trials", trials, "at least 2")
    if groups < 2 or groups % 2:
        raise InvalidField("groups", groups, "an even number from 2 on")
    if groups > periods // 2:
        raise InvalidField("periods", periods, f"at least 2 for each of {groups} groups")
    edges = [periods * place // groups for place in range(groups + 1)]
    parts = [returns[begin:end] for begin, end in pairwise(edges)]
    counts = np.array([len(part) for part in parts], np.float64)
    sums = np.stack([part.sum(axis=0) for part in parts])
    squares = np.stack([(part * part).sum(axis=0) for part in parts])
    choices = np.zeros((math.comb(groups, groups // 2), groups))
    for row, chosen in enumerate(combinations(range(groups), groups // 2)):
        choices[row, list(chosen)] = 1.0
    logits, inside, outside, lost = [], [], [], []
    for begin in range(0, len(choices), _AT_ONCE):
        own = choices[begin : begin + _AT_ONCE]
        there = 1.0 - own
        chosen_ratio, other_ratio = (
            _ratios(half @ counts, half @ sums, half @ squares) for half in (own, there)
        )
        best = np.argmax(chosen_ratio >= chosen_ratio.max(axis=1, keepdims=True) - _EQUAL, axis=1)
        rows = np.arange(len(best))
        value = other_ratio[rows, best]
        below = np.sum(other_ratio < value[:, None] - _EQUAL, axis=1)
        ties = np.sum(np.abs(other_ratio - value[:, None]) <= _EQUAL, axis=1) - 1
        rank = (below + ties / 2.0 + 1.0) / (trials + 1.0)
        logits.append(np.log(rank / (1.0 - rank)))
        inside.append(chosen_ratio[rows, best])
        outside.append(value)
        lost.append((there @ sums)[rows, best] < 0.0)
    logit, x, y = np.concatenate(logits), np.concatenate(inside), np.concatenate(outside)
    apart = float(np.sum((x - x.mean()) ** 2))
    slope = float(np.sum((x - x.mean()) * (y - y.mean())) / apart) if apart > 1e-18 else 0.0
    probability = float(np.mean(logit < 0.0) + np.mean(logit == 0.0) / 2.0)
    return Overfitting(probability, logit, slope, float(np.mean(np.concatenate(lost))))


def _ratios(counts: Float64Array, sums: Float64Array, squares: Float64Array) -> Float64Array:
    mean = sums / counts[:, None]
    apart = np.maximum(squares - sums * mean, 0.0)
    deviation = np.sqrt(apart / (counts[:, None] - 1.0))
    # A deviation that rounding may have made is none: of what stands still, or is the same in every period.
    varying = (deviation > 1e-14) & (apart > 1e-12 * squares)
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=varying)
