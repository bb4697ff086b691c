"""The cohorts of an experiment: how often the stream's own signals were right, by every dimension it has."""

from dataclasses import dataclass

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import Accuracy, accuracy, shares_by_symbol
from raysignal.agents.override.intervals import dependence, dependence_of_part, share_interval
from raysignal.agents.override.ranges import hours_of
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.experiments.comparison.results import SignalStream

FEWEST_IN_TIME = 100
"""Judged signals below which accuracy has no course over time."""
_WINDOWS, _POINTS = 6, 120  # as many windows side by side, and so many of them that overlap


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyOverTime:
    """How often the latest judged signals were right, at k instants.

    Attributes:
        window: judged signals that each share is of.
        timestamp_us: int64[k], of the last of them.
        share, low, high: float64[k], with a 95 % interval each; NaN where the dependence is not known.
        drift: float64[k], the same of signals about the same symbols with the same sides that know nothing.
    """

    window: int
    timestamp_us: Int64Array
    share: Float64Array
    low: Float64Array
    high: Float64Array
    drift: Float64Array


def accuracy_of(stream: SignalStream) -> Accuracy:
    """The accuracy of the signals as they came, by side, source, symbol, regime, hour, category, range and word.

    Right is where the market followed, whether or not the policy opens a trade there: a SELL of long-flat earns nothing
    and can be right.
    """
    dimensions = dimensions_of(stream)
    return accuracy(
        stream.side,
        np.asarray(stream.side * move_bps(stream), np.float64),
        stream.net_bps[:, Verdict.APPROVE],
        stream.judged,
        dimensions["symbol"].codes,
        dimensions,
        stream.words,
    )


def accuracy_over_time(stream: SignalStream) -> AccuracyOverTime | None:
    """The rolling accuracy of the signals as they came; None for fewer than `FEWEST_IN_TIME` judged ones."""
    rows = np.flatnonzero(stream.judged & (stream.side != 0))
    n = len(rows)
    if n < FEWEST_IN_TIME:
        return None
    side, move = stream.side[rows], move_bps(stream)[rows]
    right = side * move > 0.0
    up, down = shares_by_symbol(stream.symbol[rows], move > 0.0, move < 0.0)
    drift = np.where(side > 0, up, down)
    beyond: Float64Array = right - drift
    whole, window = dependence(beyond), n // _WINDOWS
    ends = np.unique(np.linspace(window, n, _POINTS).astype(np.int64))
    shares = [float(right[end - window : end].mean()) for end in ends]
    bounds = [
        share_interval(share, window, dependence_of_part(beyond[end - window : end], whole))
        for share, end in zip(shares, ends, strict=True)
    ]
    low, high = np.array(bounds).T
    drifts = np.array([drift[end - window : end].mean() for end in ends])
    return AccuracyOverTime(window, stream.timestamp_us[rows[ends - 1]], np.array(shares), low, high, drifts)


def move_bps(stream: SignalStream) -> Float64Array:
    """How far the price went over each signal's horizon, bp, float64[n]; NaN where it is not judged.

    It is what the verdict that buys earns before costs, a flip where the signal is a SELL.
    """
    return np.where(
        stream.action > 0, stream.gross_bps[:, Verdict.APPROVE], stream.gross_bps[:, Verdict.FLIP]
    )


def dimensions_of(stream: SignalStream) -> dict[str, CategoryColumn]:
    """What cohorts are told apart by beside side and words: a name a row and dimension."""
    return {
        "source": CategoryColumn(stream.source.astype(np.int32, copy=False), tuple(stream.sources)),
        "symbol": CategoryColumn(stream.symbol.astype(np.int32, copy=False), tuple(stream.symbols)),
        "regime": stream.regimes,
        "hour": hours_of(stream.timestamp_us),
        **{f"category.{name}": labels for name, labels in sorted(stream.category.items())},
        **{f"range.{name}": labels for name, labels in sorted(stream.ranges.items())},
    }
