"""The intervals of `agents.intervals` as the paired statistics ask for them; nothing is drawn."""

from agents.intervals import Floats, Interval, Ints, by_instant
from agents.intervals import mean_interval as _mean_interval

__all__ = ["REPLICATES", "Interval", "by_instant", "mean_interval"]

REPLICATES = 1_999


def mean_interval(
    series: Floats,
    *,
    seed: int | Ints = 0,  # noqa: ARG001
    level: float = 0.95,
    replicates: int = REPLICATES,  # noqa: ARG001
) -> Interval:
    """The mean of a series with its interval; seed and replicates change nothing."""
    return _mean_interval(series, level=level)
