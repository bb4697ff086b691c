"""How good a Sharpe ratio is for the best of many trials.

Sharpe ratios here are of single periods, not annual. Probabilistic and deflated Sharpe ratio: Bailey & Lopez de Prado,
The Sharpe Ratio Efficient Frontier (J. of Risk 15, 2012) and The Deflated Sharpe Ratio (J. of Portfolio Management 40,
2014). Trials that are alike are fewer than they are many. Two counts say how many they amount to: the effective rank
of their correlation (Roy & Vetterli, EUSIPCO 2007: the exponential of the entropy of its eigenvalues), and the number
of independent trials whose best is on average as good as the best of trials without skill that are correlated as these.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import kurtosis, norm, skew

from raysignal.engine.core.arrays import BoolArray, Float64Array
from raysignal.engine.core.errors import InvalidField

_EULER = 0.5772156649015329
_DRAWS = 1_000
_NOISE = 1e-12  # of the mean: what rounding leaves where nothing varies


def varies(returns: Float64Array) -> BoolArray:
    """Of each column of float64[periods, trials]: whether it varies by more than rounding."""
    level = np.maximum(np.abs(returns).max(axis=0, initial=0.0), 1e-2)
    varying: BoolArray = returns.std(axis=0) > _NOISE * level
    return varying


def sharpe(returns: Float64Array) -> Float64Array:
    """Of each column of float64[periods, trials]: mean over deviation (n - 1); 0 where nothing varies."""
    varying = varies(returns)
    deviation = returns.std(axis=0, ddof=1)
    ratio: Float64Array = np.where(varying, returns.mean(axis=0) / np.where(varying, deviation, 1.0), 0.0)
    return ratio


def probabilistic_sharpe(
    ratio: float, benchmark: float, periods: float, skewness: float, kurt: float
) -> float:
    """The probability that the true ratio is above a benchmark.

    The variance of the measured ratio is that of the paper, and at least that of normal returns: a few large gains
    (skewness above 0) would lower it, and make a single lucky period look sure.

    Args:
        ratio: what was measured, a period.
        benchmark: what it is compared with, a period.
        periods: returns that it was measured on, or independent ones that they amount to; at least 2.
        skewness: of the returns.
        kurt: of the returns; 3 if they are normal.

    Raises:
        InvalidField: fewer than 2 periods.
    """
    if periods < 2:
        raise InvalidField("periods", periods, "at least 2")
    variance = max(1.0, 1.0 - skewness * ratio + (kurt - 1.0) / 4.0 * ratio * ratio)
    return float(norm.cdf((ratio - benchmark) * math.sqrt((periods - 1.0) / variance)))


def expected_best(trials: float, spread: float) -> float:
    """The ratio that the best of so many trials without skill has on average, never below 0.

    The paper's approximation falls below 0 for fewer than 1.3 trials, where it is not meant.

    Args:
        trials: effectively independent ones, at least 1.
        spread: standard deviation of the trials' ratios.
    """
    if trials <= 1.0:
        return 0.0
    return spread * max(
        0.0,
        (1.0 - _EULER) * float(norm.ppf(1.0 - 1.0 / trials))
        + _EULER * float(norm.ppf(1.0 - 1.0 / (trials * math.e))),
    )


def effective_trials(returns: Float64Array) -> float:
    """The effective rank of the columns' correlation, from 1 (all alike) to their number (none correlated)."""
    scaled = _standardised(returns)
    periods, trials = scaled.shape
    if trials < 2:
        return 1.0
    # The eigenvalues of the correlation matrix are those of the smaller of its two products.
    inner = scaled @ scaled.T if periods < trials else scaled.T @ scaled
    values = np.clip(np.linalg.eigvalsh(inner), 0.0, None)
    shares = values[values > 0.0] / values.sum()
    return float(np.clip(np.exp(-np.sum(shares * np.log(shares))), 1.0, trials))


def trials_by_best(returns: Float64Array, *, seed: int) -> float:
    """How many independent trials have, without skill, a best as good as that of the columns, from 1 to their number.

    The columns' periods, centred, are added up with normal weights (the multiplier bootstrap of Chernozhukov,
    Chetverikov & Kato, Annals of Statistics 41, 2013): draws without skill and with the columns' correlation. The mean
    of their best is what `expected_best` is solved for.

    Args:
        returns: float64[periods, trials].
        seed: of the draws.
    """
    scaled = _standardised(returns)
    periods, trials = scaled.shape
    if trials < 2:
        return 1.0
    weights = np.random.default_rng(seed).standard_normal((_DRAWS, periods)) / math.sqrt(periods)
    best = float((weights @ scaled).max(axis=1).mean())
    if best <= 0.0:
        return 1.0
    if best >= expected_best(trials, 1.0):
        return float(trials)
    return float(brentq(lambda count: expected_best(count, 1.0) - best, 1.0, trials))


def independent_periods(returns: Float64Array) -> float:
    """How many independent returns these amount to, float64[periods]: at most their number, at least 2.

    Returns that repeat themselves say less (Lo, The Statistics of Sharpe Ratios, Financial Analysts J. 58, 2002): by
    the ratio of variance and long-run variance (Newey & West, Econometrica 55, 1987), over the cube root of their
    number. Those that take themselves back are not counted as more.
    """
    periods = len(returns)
    apart = returns - returns.mean()
    lags = np.arange(1, math.ceil(periods ** (1.0 / 3.0)) + 1)
    products = np.array([apart[lag:] @ apart[:-lag] for lag in lags]) / (apart @ apart)
    ratio = 1.0 + 2.0 * float((1.0 - lags / (len(lags) + 1.0)) @ products)
    return max(2.0, periods / max(1.0, ratio))


def deflated_sharpe(returns: Float64Array, trials: float) -> float:
    """The probability that a trial's ratio is above what the best of `trials` without skill would have.

    Args:
        returns: float64[periods] of the trial that was chosen.
        trials: among how many independent ones.
    """
    if not varies(returns):
        return 0.0
    periods = independent_periods(returns)
    # Without skill, ratios of n periods spread by 1 / sqrt(n). That of the trials' measured ratios is not taken: it
    # is larger where some are known to lose, by their fees, and smaller where they are alike.
    benchmark = expected_best(trials, 1.0 / math.sqrt(periods))
    shape = float(skew(returns)), float(kurtosis(returns, fisher=False))
    return probabilistic_sharpe(float(sharpe(returns)), benchmark, periods, *shape)


def _standardised(returns: Float64Array) -> Float64Array:
    """The columns that vary, with mean 0 and deviation 1."""
    varying = returns[:, varies(returns)]
    scaled: Float64Array = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    return scaled
