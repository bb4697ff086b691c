"""Would the same verdicts have done as well at any other place? The permutation test over cyclic shifts.

Under the hypothesis that the verdicts know nothing of the outcomes, the verdict series shifted against the
outcome series is as good as the one that was made. A cyclic shift keeps what both series are like in time
(clusters of overrides, a warm-up without any, autocorrelated outcomes), which a free shuffle would destroy; all
shifts together are the test, so that nothing is drawn and the p-value is exact in its own terms.

Each shift's statistic is studentised with a long-run variance of its own (Newey and West, Econometrica 55,
1987). Without that, overrides that gather where outcomes are wild look better or worse than they are: see
DiCiccio and Romano, JASA 112, 2017, and Romano and Tirlea, J. Time Series Analysis 43, 2022.

All symbols are shifted by the same share of their length, so that what they have in common stays in common.
Sums over shifts are circular correlations, computed for all shifts at once by FFT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.results import Floats

_TIE = 1e-9  # statistics closer than this are equal: FFT rounds


@dataclass(frozen=True, slots=True)
class ShiftTest:
    """The outcome of the test.

    Attributes:
        statistic: the studentised selection as it was.
        shifts: how many others it was compared with.
        greater: p-value for "selects well": (1 + shifts at least as high) / (1 + shifts).
        less: p-value for "selects badly".
        two_sided: by the absolute value.
    """

    statistic: float
    shifts: int
    greater: float
    less: float
    two_sided: float


def shift_test(
    chosen: Floats, gains: Floats, symbol: npt.NDArray[np.integer] | None = None, *, lags: int | None = None
) -> ShiftTest:
    """Test whether choices and gains go together, against all cyclic shifts of the choices.

    The statistic is the sum over kinds and rows of (chosen - its mean) * (gain - its mean).

    Args:
        chosen: float64[n, k], 1 where kind k was chosen.
        gains: float64[n, k], what kind k gains over not choosing it, in time order.
        symbol: int[n]; None: all of one.
        lags: of the long-run variance; None: 4 * (n / 100)^(2/9) of the longest symbol, rounded down.
    """
    if not len(chosen):
        return ShiftTest(0.0, 0, 1.0, 1.0, 1.0)
    chosen = chosen - chosen.mean(axis=0)
    gains = gains - gains.mean(axis=0)
    parts = [np.arange(len(chosen))] if symbol is None else _rows_by(symbol)
    longest = max(len(part) for part in parts)
    used = np.ptp(chosen, axis=0) > 0.0
    if not used.any() or not np.ptp(gains[:, used], axis=0).any():
        return ShiftTest(0.0, longest - 1, 1.0, 1.0, 1.0)
    sums, variances = np.zeros(longest), np.zeros(longest)
    for part in parts:
        own_sums, own_variances = _all_shifts(
            chosen[np.ix_(part, used)], gains[np.ix_(part, used)], _lags(longest) if lags is None else lags
        )
        at = (np.arange(longest) * len(part)) // longest  # the same share of the length, rounded down
        sums += own_sums[at]
        variances += own_variances[at]
    floor = 1e-6 * float(variances.mean())
    values = sums / np.sqrt(np.maximum(variances, floor)) if floor > 0.0 else np.zeros(longest)
    own, others = float(values[0]), values[1:]
    tie = _TIE * max(1.0, abs(own))
    count = len(others)

    def p_value(at_least: npt.NDArray[np.bool_]) -> float:
        return (1 + int(np.count_nonzero(at_least))) / (1 + count)

    return ShiftTest(
        statistic=own,
        shifts=count,
        greater=p_value(others >= own - tie),
        less=p_value(others <= own + tie),
        two_sided=p_value(np.abs(others) >= abs(own) - tie),
    )


def _all_shifts(chosen: Floats, gains: Floats, lags: int) -> tuple[Floats, Floats]:
    """By shift j, float64[n] each: the sum over t of x_t = sum_k chosen[t + j, k] * gains[t, k], and n times its
    long-run variance, with Bartlett weights over `lags` circular lags.
    """
    n, _ = chosen.shape
    spectrum = _spectrum(chosen.T)
    sums = _back((np.conj(_spectrum(gains.T)) * spectrum).sum(axis=0), n)
    lags = min(lags, (n - 1) // 2)
    power = np.zeros(n // 2 + 1, np.complex128)
    for weight, lag in _weights(lags):
        early, late = chosen, np.roll(chosen, -lag, axis=0)
        products = _products(early, late)
        others = _products(gains, np.roll(gains, -lag, axis=0))
        power += weight * (np.conj(_spectrum(others)) * _spectrum(products)).sum(axis=0)
    total = 1.0 + 2.0 * sum(1.0 - lag / (lags + 1) for lag in range(1, lags + 1))
    return sums, np.asarray(_back(power, n) - total * sums**2 / n)


def _weights(lags: int) -> Iterator[tuple[float, int]]:
    yield 1.0, 0
    for lag in range(1, lags + 1):
        yield 2.0 * (1.0 - lag / (lags + 1)), lag


def _products(early: Floats, late: Floats) -> Floats:
    """All products of a kind now and a kind later, float64[k * k, n]."""
    n, kinds = early.shape
    return np.asarray((early.T[:, None, :] * late.T[None, :, :]).reshape(kinds * kinds, n))


def _spectrum(rows: Floats) -> npt.NDArray[np.complex128]:
    from scipy.fft import rfft  # noqa: PLC0415 - slow to import

    return np.asarray(rfft(rows, axis=-1), np.complex128)


def _back(spectrum: npt.NDArray[np.complex128], n: int) -> Floats:
    from scipy.fft import irfft  # noqa: PLC0415 - slow to import

    return np.asarray(irfft(spectrum, n), np.float64)


def _lags(n: int) -> int:
    return int(4.0 * (n / 100.0) ** (2.0 / 9.0))


def _rows_by(symbol: npt.NDArray[np.integer]) -> list[npt.NDArray[np.intp]]:
    """The rows of each symbol, in their order."""
    order = np.argsort(symbol, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(symbol[order])) + 1)
