"""Were the probabilities right? What an arm believed about its signals, against what happened.

The Brier score is the mean of (p - right)^2 (Brier, Monthly Weather Review 78, 1950). Over bins it is

    reliability - resolution + uncertainty + spread within bins - agreement within bins

(Murphy, J. Applied Meteorology 12, 1973; the last two, which make it exact for forecasts that differ within a
bin, by Stephenson, Coelho and Jolliffe, Weather and Forecasting 23, 2008). Uncertainty is the score of always
saying the base rate; the skill is 1 - Brier / uncertainty.
"""

from dataclasses import dataclass

import numpy as np

from raysignal.agents.override.intervals import dependence, dependence_of_part, share_interval
from raysignal.engine.core.arrays import BoolArray, Float64Array
from raysignal.experiments.comparison.results import ArmResult, SignalStream

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecasts between `low` and `high` (the last bin takes its `high`).

    Attributes:
        n, right: how many, and how many of them were right.
        mean_p: what they said on average.
        share: right / n, with its 95 % Wilson interval at the number of independent rows
        (`agents.override.intervals`); NaN
            where that is not known.
    """

    low: float
    high: float
    n: int
    right: int
    mean_p: float
    share: float
    share_low: float
    share_high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities were calibrated.

    Attributes:
        n: judged signals that had a probability.
        base_rate: share of them that was right.
        brier: score, 0 best; `reliability - resolution + uncertainty + within_variance - within_covariance`.
        skill: 1 - brier / uncertainty; None where all were right, or none.
        bins: those with at least one forecast.
    """

    n: int
    base_rate: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float
    skill: float | None
    bins: tuple[Bin, ...]


def calibrate(p_right: Float64Array, right: BoolArray, *, bins: int = BINS) -> Calibration | None:
    """Compare probabilities with what happened; None without any.

    Args:
        p_right: float64[n] in 0 to 1, in time order; NaN where there was no forecast.
        right: bool[n].
        bins: of equal width.

    Raises:
        ValueError: a probability outside 0 to 1.
    """
    there = ~np.isnan(p_right)
    p, happened = p_right[there], right[there].astype(np.float64)
    n = len(p)
    if not n:
        return None
    if (wrong := np.flatnonzero((p < 0.0) | (p > 1.0))).size:
        raise ValueError(f"p_right is {p[wrong[0]]!r}; expected 0 to 1")
    place = np.minimum((p * bins).astype(np.intp), bins - 1)
    counts = np.bincount(place, minlength=bins)
    used = np.flatnonzero(counts)
    n_k = counts[used].astype(np.float64)
    mean_p = np.bincount(place, weights=p, minlength=bins)[used] / n_k
    hits = np.bincount(place, weights=happened, minlength=bins)[used]
    share = hits / n_k
    base = float(happened.mean())
    weight = n_k / n
    row_of = np.searchsorted(used, place)
    p_off, o_off = p - mean_p[row_of], happened - share[row_of]
    brier = float(((p - happened) ** 2).mean())
    whole = dependence(happened)
    uncertainty = base * (1.0 - base)
    return Calibration(
        n=n,
        base_rate=base,
        brier=brier,
        reliability=float(weight @ (mean_p - share) ** 2),
        resolution=float(weight @ (share - base) ** 2),
        uncertainty=uncertainty,
        within_variance=float((p_off**2).mean()),
        within_covariance=float(2.0 * (p_off * o_off).mean()),
        skill=1.0 - brier / uncertainty if uncertainty > 0.0 else None,
        bins=tuple(
            Bin(
                k / bins,
                (k + 1) / bins,
                int(n_in),
                int(hit),
                mean,
                part,
                *share_interval(part, int(n_in), dependence_of_part(happened[place == k], whole)),
            )
            for k, n_in, hit, mean, part in zip(
                used.tolist(), n_k.tolist(), hits.tolist(), mean_p.tolist(), share.tolist(), strict=True
            )
        ),
    )


def calibration_of(stream: SignalStream, arm: ArmResult, *, bins: int = BINS) -> Calibration | None:
    """The calibration of an arm over the judged signals; None where it had no probabilities."""
    return calibrate(arm.p_right[stream.judged], stream.right[stream.judged], bins=bins)
