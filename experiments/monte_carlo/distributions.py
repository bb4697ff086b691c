"""What a path came to, and how that is spread over many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Float64Array

FIGURES = ("total_return", "max_drawdown", "under_water", "ruined")
"""Of a path: shares, the longest time below a former high as a share of the path, and 1 if it was ruined."""

COLUMNS = (*FIGURES, "halted")
"""What is kept of a path: its figures, and 1 if its market was halted."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def path_figures(growth: Float64Array, ruin: float) -> tuple[float, float, float, float]:
    """`FIGURES` of one path.

    Args:
        growth: float64[n], equity over its beginning, after each step.
        ruin: a path is ruined once its equity is at or below this share of its beginning.
    """
    level = np.concatenate([[1.0], growth])
    peak = np.maximum.accumulate(level)
    below = level < peak
    places = np.arange(len(level))
    since = places - np.maximum.accumulate(np.where(below, 0, places))
    worst = float(np.max(1.0 - level / peak))
    return float(level[-1] - 1.0), worst, float(since.max() / max(1, len(growth))), float(level.min() <= ruin)


@dataclass(frozen=True, slots=True)
class FigureDistribution:
    """One figure over all paths.

    Attributes:
        mean, error: the mean and its standard error.
        quantiles: by `QUANTILES`, and the standard error of each (from the order statistics around it).
    """

    mean: float
    error: float
    quantiles: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, values: Float64Array) -> "FigureDistribution":
        """Of float64[paths]."""
        n, ordered = len(values), np.sort(values)
        found = {}
        for share in QUANTILES:
            reach = np.sqrt(n * share * (1.0 - share))
            low, high = (
                ordered[int(np.clip(round(n * share + side * reach), 0, n - 1))] for side in (-1.0, 1.0)
            )
            found[f"q{share:g}"] = float(np.quantile(ordered, share)), float(high - low) / 2.0
        error = 0.0 if ordered[0] == ordered[-1] else float(values.std(ddof=1) / np.sqrt(n))
        return cls(float(values.mean()), error, found)


ROUNDING = 1e-9
"""Relative to the larger of two figures: what is nearer than this is the same."""


def shares_beside(values: Float64Array, own: float) -> tuple[float, float]:
    """The share of values above `own`, and of those that are the same but for rounding."""
    same = np.isclose(values, own, rtol=ROUNDING, atol=ROUNDING)
    return float(np.mean((values > own) & ~same)), float(np.mean(same))


def spreads(figures: Float64Array, names: Sequence[str] = FIGURES) -> dict[str, FigureDistribution]:
    """Of float64[paths, figures], a figure each."""
    return {name: FigureDistribution.of(figures[:, place]) for place, name in enumerate(names)}
