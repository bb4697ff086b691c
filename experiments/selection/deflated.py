"""How good a Sharpe ratio is for the best of many trials.

Sharpe ratios here are of single periods, not annual. Probabilistic and deflated Sharpe ratio: Bailey & Lopez de Prado,
The Sharpe Ratio Efficient Frontier (J. of Risk 15, 2012) and The Deflated Sharpe Ratio (J. of Portfolio Management 40,
2014). Trials that are alike are fewer than they are many: the effective number comes from the eigenvalues of their
correlation (the participation ratio, as for effective tests in genetics), which is n where none are correlated and 1
where all are the same.
"""

import math

import numpy as np
from scipy.stats import kurtosis, norm, skew

from engine.account import Floats
from engine.errors import InvalidField

_EULER = 0.5772156649015329


def sharpe(returns: Floats) -> Floats:
    """Of each column of float64[periods, trials]: mean over deviation (n - 1); 0 where nothing varies."""
    deviation = returns.std(axis=0, ddof=1)
    still = deviation <= 1e-14
    ratio: Floats = np.where(still, 0.0, returns.mean(axis=0) / np.where(still, 1.0, deviation))
    return ratio


def probabilistic_sharpe(ratio: float, benchmark: float, periods: int, skewness: float, kurt: float) -> float:
    """The probability that the true ratio is above a benchmark.

    Args:
        ratio: what was measured, a period.
        benchmark: what it is compared with, a period.
        periods: returns that it was measured on; at least 2.
        skewness: of the returns.
        kurt: of the returns; 3 if they are normal.
    """
    if periods < 2:
        raise InvalidField("periods", periods, "at least 2")
    spread = 1.0 - skewness * ratio + (kurt - 1.0) / 4.0 * ratio * ratio
    if spread <= 0.0:
        return 0.0
    return float(norm.cdf((ratio - benchmark) * math.sqrt(periods - 1.0) / math.sqrt(spread)))


def expected_best(trials: float, spread: float) -> float:
    """The ratio that the best of so many trials without skill has on average.

    Args:
        trials: effectively independent ones, at least 1.
        spread: standard deviation of the trials' ratios.
    """
    if trials <= 1.0:
        return 0.0
    return spread * (
        (1.0 - _EULER) * float(norm.ppf(1.0 - 1.0 / trials))
        + _EULER * float(norm.ppf(1.0 - 1.0 / (trials * math.e)))
    )


def effective_trials(returns: Floats) -> float:
    """How many independent trials the columns amount to, from 1 to their number."""
    varying = returns[:, returns.std(axis=0) > 1e-14]
    if varying.shape[1] < 2:
        return 1.0
    # The eigenvalues of the correlation matrix are those of the smaller of its two products.
    scaled = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    periods, trials = scaled.shape
    inner = scaled @ scaled.T / periods if periods < trials else scaled.T @ scaled / periods
    values = np.linalg.eigvalsh(inner)
    return float(np.clip(values.sum() ** 2 / np.sum(values**2), 1.0, trials))


def deflated_sharpe(returns: Floats, best: int, trials: float) -> float:
    """The probability that the best trial's ratio is above what the best of `trials` without skill would have.

    Args:
        returns: float64[periods, sampled trials].
        best: the column of the best.
        trials: how many there effectively were.
    """
    ratios, own = sharpe(returns), returns[:, best]
    if own.std() <= 1e-14:
        return 0.0
    # Without skill, ratios of n periods spread by 1 / sqrt(n); trials that are alike spread less among themselves.
    spread = max(float(ratios.std(ddof=1)) if len(ratios) > 1 else 0.0, 1.0 / math.sqrt(len(own)))
    shape = float(skew(own)), float(kurtosis(own, fisher=False))
    return probabilistic_sharpe(float(ratios[best]), expected_best(trials, spread), len(own), *shape)


def minimum_track_record(
    ratio: float, benchmark: float, skewness: float, kurt: float, level: float = 0.95
) -> float:
    """Periods that are needed to be so sure that the true ratio is above the benchmark; infinite if it is not above."""
    if ratio <= benchmark:
        return math.inf
    spread = 1.0 - skewness * ratio + (kurt - 1.0) / 4.0 * ratio * ratio
    return 1.0 + spread * (float(norm.ppf(level)) / (ratio - benchmark)) ** 2
