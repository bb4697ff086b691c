"""Regimes that follow each other as a Markov chain, each with normal returns of its own.

Model: Hamilton, Econometrica 57 (1989). Fitted by maximum likelihood with the algorithm of Baum, Petrie, Soules and
Weiss (Annals of Mathematical Statistics 41, 1970); how many regimes there are is what the Bayesian information
criterion (Schwarz, Annals of Statistics 6, 1978) prefers. Fat tails come from regimes that are rare and wild,
clustering from their persistence, skewness from their different means.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.compiled import compiled

MOST_REGIMES = 7
_ROUNDS = 500  # of the fit, at most
_STEP = 1e-5  # a bar: the fit is done when a round adds less to the log-likelihood
_NARROWEST = 0.02  # deviation of a regime over that of all: equal returns are no infinite likelihood
_LOG_ROOT_TAU = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class Regimes:
    """K regimes.

    Attributes:
        means: of the log return of a bar, in each.
        deviations: likewise.
        chances: of being in each at the next bar, a row for each regime of this bar; a row adds up to 1.
    """

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    chances: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        rows = np.array(self.chances)
        square = rows.shape == (len(self.means), len(self.means)) and len(self.deviations) == len(self.means)
        if not square or (rows < 0.0).any() or not np.allclose(rows.sum(axis=1), 1.0):
            raise InvalidField("chances", self.chances, "a row a regime, of chances that add up to 1")

    @property
    def shares(self) -> Float64Array:
        """Of all bars, in each regime: the chain's stationary distribution, float64[K]."""
        count = len(self.means)
        balance = np.vstack([np.array(self.chances).T - np.eye(count), np.ones(count)])
        found = np.maximum(np.linalg.lstsq(balance, np.append(np.zeros(count), 1.0))[0], 0.0)
        return np.asarray(found / found.sum(), np.float64)

    def returns(self, n: int, draws: np.random.Generator) -> Float64Array:
        """See `MarketModel`; begins in any regime, by their shares."""
        first = int(draws.choice(len(self.means), p=self.shares))
        regimes = _chain(np.cumsum(self.chances, axis=1), first, draws.random(n))
        means, deviations = np.array(self.means), np.array(self.deviations)
        found: Float64Array = means[regimes] + deviations[regimes] * draws.standard_normal(n)
        return found

    def described(self) -> str:
        """See `MarketModel`."""
        if len(self.means) == 1:
            return "One regime is all that the returns support: independent normal returns, as of gbm"
        each = [
            f"{deviation:.2%} a bar ({share:.0%} of the bars, {1.0 / max(1.0 - chances[place], 1e-9):,.3g} at a time)"
            for place, (deviation, share, chances) in enumerate(
                zip(self.deviations, self.shares, self.chances, strict=True)
            )
        ]
        return f"{len(each)} regimes, with deviations of {', '.join(each)}"

    @classmethod
    def fitted(cls, returns: Float64Array) -> "Regimes":
        """To returns: one regime more at a time, for as long as the criterion is the better for it.

        The fit of each number begins at that of one less, and a regime beside it three times as wild as its wildest:
        begun elsewhere, the likelihood often has a lesser peak, at which rare and wild bars have no regime.
        """
        n = len(returns)
        alone = cls((float(returns.mean()),), (float(returns.std()),), ((1.0,),))
        best, lowest = alone, -2.0 * alone.likelihood(returns) + 2.0 * math.log(n)
        for count in range(2, MOST_REGIMES + 1):
            found = _climbed(_with_a_wilder(best), returns)
            criterion = -2.0 * found.likelihood(returns) + count * (count + 1) * math.log(n)
            if not criterion < lowest:
                break
            best, lowest = found, criterion
        return best

    def likelihood(self, returns: Float64Array) -> float:
        """The logarithm of the density of these returns, which begin in any regime by their shares."""
        return float(_expected(returns, *_arrays(self), self.shares)[2])


def _arrays(model: Regimes) -> tuple[Float64Array, Float64Array, Float64Array]:
    return np.array(model.means), np.array(model.deviations), np.array(model.chances)


def _with_a_wilder(model: Regimes) -> Regimes:
    count, wildest = len(model.means), int(np.argmax(model.deviations))
    rows = [(*(0.98 * chance for chance in row), 0.02) for row in model.chances]
    return Regimes(
        (*model.means, model.means[wildest]),
        (*model.deviations, 3.0 * model.deviations[wildest]),
        (*rows, (*[0.5 / count] * count, 0.5)),
    )


def _climbed(model: Regimes, returns: Float64Array) -> Regimes:
    """As many regimes at the nearest peak of the likelihood, the calmest first."""
    n, least = len(returns), _NARROWEST * float(returns.std())
    means, deviations, chances = _arrays(model)
    start, likelihood = model.shares, -math.inf
    for _ in range(_ROUNDS):
        before = likelihood
        weights, moves, likelihood = _expected(returns, means, deviations, chances, start)
        # The last bar is followed by the first, so that a regime that was left for good is not lost to the model; a
        # regime without any bar goes anywhere.
        moves += np.outer(weights[-1], weights[0]) + 1e-12
        chances = moves / moves.sum(axis=1, keepdims=True)
        start, total = weights[0], np.maximum(weights.sum(axis=0), 1e-12)
        means = weights.T @ returns / total
        spread = (weights * (returns[:, None] - means) ** 2).sum(axis=0) / total
        deviations = np.maximum(np.sqrt(spread), least)
        if likelihood - before < _STEP * n:
            break
    order = np.argsort(deviations)
    rows = chances[np.ix_(order, order)].tolist()
    return Regimes(
        tuple(means[order].tolist()), tuple(deviations[order].tolist()), tuple(tuple(row) for row in rows)
    )


@compiled
def _chain(cumulated: Float64Array, first: int, draws: Float64Array) -> Int64Array:
    """The regime of each bar, int64[n], by one draw from 0 to 1 a bar."""
    found = np.empty(len(draws), np.int64)
    regime, last = first, cumulated.shape[0] - 1
    for bar in range(len(draws)):
        found[bar] = regime
        following = 0
        while following < last and draws[bar] > cumulated[regime, following]:
            following += 1
        regime = following
    return found


@compiled
def _expected(  # noqa: C901 - forward and backward, as one compiled pass
    returns: Float64Array,
    means: Float64Array,
    deviations: Float64Array,
    chances: Float64Array,
    start: Float64Array,
) -> tuple[Any, Any, float]:
    """How likely each regime was at each bar, float64[n, K]; expected moves, float64[K, K]; the log-likelihood.

    Forward and backward, scaled at each bar (Rabiner, Proceedings of the IEEE 77, 1989).
    """
    n, count = len(returns), len(means)
    density, forward, scale = np.empty((n, count)), np.empty((n, count)), np.empty(n)
    likelihood = 0.0
    for bar in range(n):
        highest = -np.inf
        for place in range(count):
            away = (returns[bar] - means[place]) / deviations[place]
            density[bar, place] = -0.5 * away * away - math.log(deviations[place]) - _LOG_ROOT_TAU
            highest = max(highest, density[bar, place])
        total = 0.0
        for place in range(count):
            density[bar, place] = math.exp(density[bar, place] - highest)
            prior = start[place]
            if bar > 0:
                prior = 0.0
                for other in range(count):
                    prior += forward[bar - 1, other] * chances[other, place]
            forward[bar, place] = prior * density[bar, place]
            total += forward[bar, place]
        total = max(total, 1e-300)
        for place in range(count):
            forward[bar, place] /= total
        scale[bar] = total
        likelihood += highest + math.log(total)
    moves, weights = np.zeros((count, count)), np.empty((n, count))
    backward, earlier = np.ones(count), np.empty(count)
    weights[n - 1] = forward[n - 1]
    for bar in range(n - 2, -1, -1):
        for place in range(count):
            summed = 0.0
            for other in range(count):
                step = chances[place, other] * density[bar + 1, other] * backward[other] / scale[bar + 1]
                moves[place, other] += forward[bar, place] * step
                summed += step
            earlier[place] = summed
        for place in range(count):
            backward[place] = earlier[place]
            weights[bar, place] = forward[bar, place] * earlier[place]
    return weights, moves, likelihood
