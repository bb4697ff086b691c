"""Intervals for the mean of a series whose values depend on their neighbours.

The stationary block bootstrap of Politis and Romano (JASA 89, 1994): blocks of geometric length, drawn with
wrap-around, so that the resampled series is stationary. The mean block length is that of Politis and White
(Econometric Reviews 23, 2004) with the correction of Patton, Politis and White (Econometric Reviews 28, 2009), as
`arch.bootstrap.optimal_block_length` computes it.

`arch.bootstrap.StationaryBootstrap` resamples any statistic by indexing; here the statistic is a mean, so that a
block costs one difference of prefix sums. The tests compare the two.
"""

from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from experiments.results import Floats, Ints

REPLICATES = 1_999
_CHUNK = 256  # replicates drawn at once; fixed, because the draws depend on it
_WIDTH = 8_192  # blocks drawn at once for each of them; the same
_MOST_BLOCKS = 8_192
_SHORTEST = 12  # too few values for a block length to be estimated


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval, in the unit of the series.

    Attributes:
        estimate: the mean of the series.
        low, high: of the interval; NaN where there are fewer than two values.
        se: the standard error, from the replicates.
        level: coverage, such as 0.95.
        block: mean block length, in rows of the series.
        n: rows.
    """

    estimate: float
    low: float
    high: float
    se: float
    level: float
    block: float
    n: int

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
        return {key: _plain(value) for key, value in asdict(self).items()}


def block_length(series: Floats) -> float:
    """The mean block length for a series, in rows, at least 1.

    Where none can be estimated: 1 for a constant series or one of up to 2 values, n^(1/3) for up to
    11 values.
    """
    n = len(series)
    if n <= 2 or _is_constant(series):
        return 1.0
    if n < _SHORTEST:
        return float(n ** (1 / 3))
    from arch.bootstrap import optimal_block_length  # noqa: PLC0415 - slow to import

    with np.errstate(all="ignore"):
        length = float(optimal_block_length(series)["stationary"].iloc[0])
    return max(1.0, length) if np.isfinite(length) else float(n ** (1 / 3))


def mean_replicates(series: Floats, block: float, *, replicates: int, seed: int | Ints) -> Floats:
    """Means of `replicates` stationary bootstrap samples of a series, float64[replicates].

    Args:
        series: float64[n], n at least 1.
        block: mean block length, at least 1.
        replicates: how many.
        seed: of a PCG64; the same seed gives the same means.
    """
    n = len(series)
    draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.atleast_1d(seed).tolist())))
    centre = float(series.mean())
    sums = np.concatenate([[0.0], np.cumsum(np.tile(series - centre, 2))])
    means = np.empty(replicates)
    for first in range(0, replicates, _CHUNK):
        rows = min(_CHUNK, replicates - first)
        # All rows of a chunk are drawn, wanted or not: fewer replicates are a prefix of more.
        means[first : first + rows] = _block_sums(sums, n, block, draws)[:rows]
    return np.asarray(centre + means / n, np.float64)


def mean_interval(
    series: Floats,
    *,
    seed: int | Ints,
    level: float = 0.95,
    replicates: int = REPLICATES,
    block: float | None = None,
) -> Interval:
    """The mean of a series with its two-sided interval.

    The percentiles of the replicates, drawn apart by the ratio of Student's t to the normal, with as many
    degrees of freedom as the series has room for blocks, less one: with few blocks a percentile interval is
    too narrow, because the replicates do not know that their variance is estimated.

    Args:
        series: float64[n], in time order, without NaN.
        seed: of the bootstrap.
        level: two-sided coverage; `1 - 2 * alpha` gives the bounds of two one-sided tests at alpha.
        replicates: bootstrap samples.
        block: mean block length; None estimates it, see `block_length`, and takes n // 8192 where that is more.
    """
    n = len(series)
    if n < 2:
        estimate = float(series[0]) if n else float("nan")
        return Interval(estimate, float("nan"), float("nan"), float("nan"), level, 1.0, n)
    if block is None:
        # Longer blocks than needed cost little where there are thousands of them, shorter ones much time.
        block = max(block_length(series), n // _MOST_BLOCKS)
    estimate = float(series.mean())
    if _is_constant(series):
        return Interval(estimate, estimate, estimate, 0.0, level, block, n)
    means = mean_replicates(series, block, replicates=replicates, seed=seed)
    tail = 0.5 + level / 2
    wider = t_quantile(tail, max(1.0, n / block - 1.0)) / NormalDist().inv_cdf(tail)
    low, high = (estimate + wider * (np.quantile(means, [1.0 - tail, tail]) - estimate)).tolist()
    return Interval(estimate, low, high, float(means.std(ddof=1)), level, block, n)


def t_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    return float(stdtrit(degrees, probability))


def by_instant(series: Floats, timestamp_us: Ints) -> Floats:
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


def _block_sums(sums: Floats, n: int, block: float, draws: np.random.Generator) -> Floats:
    """Sums of `_CHUNK` resampled series, from the prefix sums of the series written twice."""
    total = np.zeros(_CHUNK)
    if block <= 1.0:
        values = np.diff(sums[: n + 1])
        for first in range(0, n, _WIDTH):
            taken = draws.integers(0, n, (_CHUNK, min(_WIDTH, n - first)), np.int32)
            total += values[taken].sum(axis=1)
        return total
    left = np.full(_CHUNK, n, np.int64)
    decay = -np.log1p(-1.0 / block)
    while (most := int(left.max()) / block) > 0.0:
        width = min(_WIDTH, int(most + 4.0 * np.sqrt(most)) + 4)
        starts = draws.integers(0, n, (_CHUNK, width), np.int32)
        waits = draws.standard_exponential((_CHUNK, width), np.float32) / decay
        lengths = np.minimum(waits, n - 1).astype(np.int32) + 1  # an exponential rounded up is geometric
        ends = np.minimum(np.cumsum(lengths, axis=1), left[:, None])
        taken = np.diff(ends, axis=1, prepend=0)
        total += (sums[starts + taken] - sums[starts]).sum(axis=1)
        left -= ends[:, -1]
    return total


def _is_constant(series: Floats) -> bool:
    spread = float(np.ptp(series))
    return spread <= 1e-12 * max(1.0, float(np.abs(series).max()))


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
