"""Intervals for the mean, or the share, of values that depend on those before them.

The variance of a mean comes from the spectrum of the series near frequency 0: the average of its first cosine
coefficients squared, which leaves Student's t with as many degrees of freedom as there were coefficients (the
equal-weighted cosine estimator of Lazarus, Lewis, Stock and Watson, J. Business & Economic Statistics 36, 2018).
There are 0.7 (n / ratio)^(2/3) coefficients for a series of n rows of which `ratio` count as one, so that strong
dependence gets few of them and a wide interval. A bound on the side of the longer tail is moved
out by Hall's transformation (J. Royal Statistical Society B 54, 1992), as in Skart (Tafazzoli and Wilson, INFORMS
J. on Computing 23, 2011).

`python -m raysignal.experiments.validation.intervals` prints how often the intervals hold the truth. What no sample
shows they cannot know: slow dependence under much noise, and shocks so rare that none has come yet, are in nobody's
interval.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.plain_values import plain_values

FEWEST_ROWS = 10
"""Shorter series have no interval."""
FEWEST_BLOCKS = 2.0
"""Nor have those whose variation comes from fewer blocks than this: one burst, or one row that is not zero."""
ENOUGH_ROWS = 100
"""From so many rows on, the intervals of `experiments.validation.intervals` hold the truth as often as promised."""
_COEFFICIENTS = 0.7  # times (n / ratio)^(2/3): the most that cover at 100 rows


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its two-sided interval, in the unit of the series.

    Attributes:
        estimate: the mean of the series.
        low, high: of the interval; NaN where the series cannot carry one, see `mean_interval`.
        se: the standard error; NaN for fewer than 10 rows.
        level: coverage, such as 0.95.
        n: rows.
    """

    estimate: float
    low: float
    high: float
    se: float
    level: float
    n: int

    @property
    def is_known(self) -> bool:
        """Whether there are bounds."""
        return bool(np.isfinite(self.low))

    @property
    def above_zero(self) -> bool:
        return self.low > 0.0

    @property
    def below_zero(self) -> bool:
        return self.high < 0.0

    def scaled(self, factor: float) -> "Interval":
        """In another unit; the factor is positive."""
        return replace(
            self,
            estimate=self.estimate * factor,
            low=self.low * factor,
            high=self.high * factor,
            se=self.se * factor,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where there is no number."""
        plain: dict[str, Any] = plain_values(self)
        return plain


@dataclass(frozen=True, slots=True)
class Dependence:
    """What the dependence of a series means for the variance of its mean.

    Attributes:
        ratio: how many rows count as one, from 1 to n: the long-run variance over the plain one, and not less than
            that of an autoregression of order 1.
        variance: the long-run variance, n times the variance of the mean.
        degrees: of freedom of its estimate, for Student's t.
        skewness: of the mean, estimated from the means of blocks of `ratio` rows.
        blocks: how many of these blocks the variation comes from: (sum d^2)^2 / sum d^4, 1 where one has it all.
    """

    ratio: float
    variance: float
    degrees: int
    skewness: float
    blocks: float

    @property
    def known(self) -> bool:
        """Whether the series showed enough of it for an interval."""
        return self.blocks >= FEWEST_BLOCKS

    def t_quantile(self, level: float) -> float:
        """The half width of a two-sided interval of Student's t, in standard errors."""
        from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

        return float(stdtrit(self.degrees, 0.5 + level / 2.0))

    def p_value(self, t: float) -> float:
        """Two-sided, of a value of Student's t."""
        from scipy.special import stdtr  # noqa: PLC0415 - slow to import

        return float(2.0 * stdtr(self.degrees, -abs(t)))

    def p_value_above(self, t: float, skewness: float) -> float:
        """One-sided, of a value of Student's t for a mean of that skewness: where an interval's lower bound is 0."""
        from scipy.optimize import brentq  # noqa: PLC0415 - slow to import
        from scipy.special import stdtr, stdtrit  # noqa: PLC0415 - slow to import

        plain = float(stdtr(self.degrees, -t))

        def beyond(p: float) -> float:
            z = NormalDist().inv_cdf(1.0 - p)
            return float(stdtrit(self.degrees, 1.0 - p)) + max(0.0, _skewed(z, skewness) - z) - t

        least = 1e-12
        if plain >= 0.5 or beyond(0.5) >= 0.0:
            return max(plain, 0.5)
        return least if beyond(least) <= 0.0 else float(brentq(beyond, least, 0.5))


_UNKNOWN = Dependence(1.0, 0.0, 1, 0.0, 0.0)


def mean_interval(series: Float64Array, *, level: float = 0.95) -> Interval:
    """The mean of a series with its two-sided interval.

    There is none (its bounds are NaN) for fewer than 10 rows, for a series that does not vary, and where fewer
    than two blocks carry the variation.

    Args:
        series: float64[n], in time order, without NaN.
        level: two-sided coverage; `1 - 2 * alpha` gives the bounds of two one-sided tests at alpha.
    """
    n, nan = len(series), float("nan")
    if n < FEWEST_ROWS:
        return Interval(float(series.mean()) if n else nan, nan, nan, nan, level, n)
    estimate, found = float(series.mean()), dependence(series)
    se = sqrt(found.variance / n)
    if not found.known:
        return Interval(estimate, nan, nan, se, level, n)
    t, z = found.t_quantile(level), NormalDist().inv_cdf(0.5 + level / 2.0)
    below = max(0.0, _skewed(z, found.skewness) - z)
    above = max(0.0, -_skewed(-z, found.skewness) - z)
    return Interval(estimate, estimate - (t + below) * se, estimate + (t + above) * se, se, level, n)


def mean_p_values(series: Float64Array) -> tuple[float, float]:
    """One-sided p-values of a mean: that it is not above 0, and that it is not below.

    They go with `mean_interval`: the interval at level 1 - 2 p ends at 0. Both are 1 where there is no interval.
    """
    found = dependence(series)
    if len(series) < FEWEST_ROWS or not found.known:
        return 1.0, 1.0
    t = float(series.mean()) / sqrt(found.variance / len(series))
    return found.p_value_above(t, found.skewness), found.p_value_above(-t, -found.skewness)


def share_interval(share: float, n: int, found: Dependence, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of n dependent rows: Wilson's at as many independent ones; NaN where it is not known."""
    if not found.known:
        return float("nan"), float("nan")
    worth = effective_n(n, found)
    return wilson(share * worth, worth, found.t_quantile(level))


def wilson(right: float, n: float, z: float) -> tuple[float, float]:
    """The interval of a share of n independent rows (Wilson, JASA 22, 1927); 0 to 1 where n is 0."""
    if n <= 0.0:
        return 0.0, 1.0
    share = right / n
    centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def effective_n(n: int, found: Dependence) -> float:
    """How many independent rows n dependent ones are worth, from 1 to n."""
    return max(1.0, n / found.ratio)


def dependence(series: Float64Array) -> Dependence:
    """How a series, float64[n] in time order, depends on its past; not `known` for fewer than 10 rows."""
    n = len(series)
    if n < FEWEST_ROWS or float(np.ptp(series)) <= 1e-12 * float(np.abs(series).max()):
        return _UNKNOWN
    from scipy.fft import dct  # noqa: PLC0415 - slow to import

    deviation = series - series.mean()
    spectrum = dct(deviation, norm="ortho")[1:] ** 2
    plain = float(spectrum.mean())
    # An autoregression knows of strong dependence when n is small; its coefficient is biased by -(1 + 3 phi) / n
    # (Kendall, Biometrika 41, 1954).
    phi = float((deviation[1:] * deviation[:-1]).sum() / (deviation**2).sum())
    phi = min(max(phi + (1.0 + 3.0 * phi) / n, 0.0), 1.0 - 1.0 / n)
    floor = (1.0 + phi) / (1.0 - phi)
    ratio, degrees = floor, _degrees(n / floor)
    while True:
        ratio = max(floor, float(spectrum[:degrees].mean()) / plain)
        fewer = _degrees(n / ratio)
        if fewer >= degrees:
            break
        degrees = fewer
    ratio = min(ratio, float(n))
    skewness, blocks = _of_blocks(series, min(ceil(ratio), n // FEWEST_ROWS))
    # One coefficient alone can be near 0, which would look like certainty.
    variance = ratio * plain if degrees == 1 else float(spectrum[:degrees].mean())
    return Dependence(ratio, variance, degrees, skewness, blocks)


def dependence_of_part(part: Float64Array, whole: Dependence) -> Dependence:
    """That of some rows of a series: their own where they are many enough to show it, else that of the whole."""
    own = dependence(part) if len(part) >= ENOUGH_ROWS else _UNKNOWN
    return own if own.known else whole


def by_instant(series: Float64Array, timestamp_us: Int64Array) -> Float64Array:
    """One value an instant, with the mean of the series: rows of one instant are one draw, because they share a market.

    With c instants of n rows, instant i with n_i rows and sum s_i: mean + (s_i - n_i * mean) * c / n, the
    influence of the instant on the mean over rows.
    """
    n = len(series)
    starts = np.flatnonzero(np.diff(timestamp_us, prepend=timestamp_us[:1] - 1))
    if len(starts) == n:
        return series
    mean = series.mean()
    sums = np.add.reduceat(series, starts)
    counts = np.diff(starts, append=n)
    return np.asarray(mean + (sums - counts * mean) * (len(starts) / n), np.float64)


def _degrees(independent_rows: float) -> int:
    return max(1, int(_COEFFICIENTS * independent_rows ** (2.0 / 3.0)))


def _of_blocks(series: Float64Array, length: int) -> tuple[float, float]:
    """The skewness of the mean of m blocks, and how many of them the variation comes from."""
    m = len(series) // length
    means = series[: m * length].reshape(m, length).mean(axis=1)
    squares = (means - means.mean()) ** 2
    second = float(squares.mean())
    if second <= 0.0:
        return 0.0, 0.0
    third = float((squares * (means - means.mean())).mean())
    return third / second**1.5 / sqrt(m), m * second**2 / float((squares**2).mean())


def _skewed(z: float, skewness: float) -> float:
    """The quantile of a mean of that skewness in place of a normal one (Hall 1992, section 3)."""
    if abs(skewness) < 1e-6:
        return z
    return float(np.cbrt(1.0 + skewness * (z - skewness / 6.0)) - 1.0) * 3.0 / skewness
