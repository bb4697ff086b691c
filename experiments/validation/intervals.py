"""How often do the intervals hold the truth? `python -m raysignal.experiments.validation.intervals` counts it.

A cell is a kind of series at a length. Its line says in how many of the tries there was an interval, how many of
those held the truth, and how wide they were on average beside an oracle that knows the standard deviation of the
mean. From 100 rows on at least 92 % of the intervals of 95 % are to hold it, and a cell fails where its tries rule that
out; the kinds in `LIMITS` show where that ends.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from zlib import crc32

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import accuracy
from raysignal.agents.override.intervals import (
    ENOUGH_ROWS,
    by_instant,
    dependence,
    mean_interval,
    share_interval,
    wilson,
)
from raysignal.engine.core.arrays import Float64Array, Int64Array

LENGTHS = (30, 100, 300, 1_000, 4_000)
TRIES = 1_000
LEVEL = 0.95
LEAST = 0.92
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2.0)

Draws = np.random.Generator
Bounds = tuple[float, float, float]
"""Estimate, low and high."""


@dataclass(frozen=True, slots=True)
class SeriesKind:
    """Series of one kind.

    Attributes:
        truth: the mean of the process.
        draw: tries and rows to float64[tries, rows].
        bounds: what a series gives.
    """

    truth: float
    draw: Callable[[Draws, int, int], Float64Array]
    bounds: Callable[[Float64Array], Bounds]


@dataclass(frozen=True, slots=True)
class CoverageCell:
    """What came out for one kind at one length.

    Attributes:
        kind, rows, tries: which series, and how many of them.
        shown: share of the series that had an interval.
        covered: share of these intervals that held the truth, with its 95 % Wilson interval; NaN where there was none.
        width: mean width over that of an oracle, which is 2 * 1.96 standard deviations of the estimate over the tries.
        promised: whether `LEAST` is promised for it.
    """

    kind: str
    rows: int
    tries: int
    shown: float
    covered: float
    covered_low: float
    covered_high: float
    width: float
    promised: bool

    @property
    def holds(self) -> bool:
        """Whether the promise is kept, as far as so many tries can tell."""
        return not (self.promised and self.covered_high < LEAST)


def normal(draws: Draws, tries: int, rows: int) -> Float64Array:
    """Independent."""
    return draws.standard_normal((tries, rows))


def fat_tails(draws: Draws, tries: int, rows: int) -> Float64Array:
    """Student's t with 3 degrees."""
    return draws.standard_t(3, (tries, rows))


def lognormal(draws: Draws, tries: int, rows: int) -> Float64Array:
    """With a skewness of 6.2."""
    return np.exp(draws.standard_normal((tries, rows)))


def autoregression(draws: Draws, tries: int, rows: int, phi: float) -> Float64Array:
    """AR(1) of variance 1."""
    from scipy.signal import lfilter  # noqa: PLC0415 - slow to import

    shocks = draws.standard_normal((tries, rows))
    shocks[:, 1:] *= np.sqrt(1.0 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], shocks, axis=1), np.float64)


def overlapping(draws: Draws, tries: int, rows: int, window: int) -> Float64Array:
    """Outcomes over a horizon of so many rows: a moving average of variance 1."""
    sums = np.cumsum(draws.standard_normal((tries, rows + window)), axis=1)
    return np.asarray((sums[:, window:] - sums[:, :-window]) / np.sqrt(window), np.float64)


def garch(draws: Draws, tries: int, rows: int) -> Float64Array:
    """GARCH(1, 1) with shocks in t(5)."""
    shocks = draws.standard_t(5, (tries, rows)) / np.sqrt(5.0 / 3.0)
    variance, found = np.ones(tries), np.empty((tries, rows))
    for row in range(rows):
        found[:, row] = np.sqrt(variance) * shocks[:, row]
        variance = 0.05 + 0.1 * found[:, row] ** 2 + 0.85 * variance
    return found


def states(draws: Draws, tries: int, rows: int, rate: float, stay: float) -> Float64Array:
    """0 or 1: 1 in a share `rate` of the rows, in runs of `stay` rows on average."""
    leave = 1.0 / stay
    enter = leave * rate / (1.0 - rate)
    found, on, luck = np.empty((tries, rows)), draws.random(tries) < rate, draws.random((tries, rows))
    for row in range(rows):
        found[:, row] = on
        on = np.where(on, luck[:, row] >= leave, luck[:, row] < enter)
    return found


def sparse(draws: Draws, tries: int, rows: int, rate: float, mean: float) -> Float64Array:
    """Zeros but for a share `rate` in t(3) around a mean."""
    return np.where(draws.random((tries, rows)) < rate, fat_tails(draws, tries, rows) + mean, 0.0)


def sparse_gains(draws: Draws, tries: int, rows: int) -> Float64Array:
    """Zeros but for 3 % of gains, exponential with mean 1."""
    return np.where(draws.random((tries, rows)) < 0.03, draws.exponential(1.0, (tries, rows)), 0.0)


def bursts(draws: Draws, tries: int, rows: int, mean: float) -> Float64Array:
    """Zeros but for 3 % of the rows in bursts of 12, in t(3) around a mean."""
    return states(draws, tries, rows, 0.03, 12.0) * (fat_tails(draws, tries, rows) + mean)


def one_sided_bursts(draws: Draws, tries: int, rows: int) -> Float64Array:
    """The same with one sign a burst, which is as often + as -."""
    on = states(draws, tries, rows, 0.03, 12.0)
    burst = np.cumsum(np.diff(on, axis=1, prepend=0.0) > 0.0, axis=1, dtype=np.int64)
    sign = np.take_along_axis(draws.choice([-1.0, 1.0], (tries, rows + 1)), burst, axis=1)
    return np.asarray(on * sign * np.abs(fat_tails(draws, tries, rows)), np.float64)


def selection(
    draws: Draws,
    tries: int,
    rows: int,
    rate: float,
    stay: float,
    gains: Callable[[Draws, int, int], Float64Array],
) -> Float64Array:
    """Choices that keep for a while times gains, both centred, as `selection_of` has them."""
    chosen, gained = states(draws, tries, rows, rate, stay), gains(draws, tries, rows)
    return np.asarray(
        (chosen - chosen.mean(axis=1, keepdims=True)) * (gained - gained.mean(axis=1, keepdims=True)),
        np.float64,
    )


def under_noise(draws: Draws, tries: int, rows: int) -> Float64Array:
    """An AR(1) of 0.95 that has a tenth of the variance: no lag shows it, their sum is half of the mean's variance."""
    slow = autoregression(draws, tries, rows, 0.95)
    return np.asarray(np.sqrt(0.9) * normal(draws, tries, rows) + np.sqrt(0.1) * slow, np.float64)


def several_an_instant(draws: Draws, tries: int, rows: int) -> Float64Array:
    """Rows, four an instant on average, that share the market of their instant, an AR(1) of 0.3."""
    instant = _instants(rows)
    market = autoregression(draws, tries, int(instant[-1]) + 1, 0.3)[:, instant]
    return np.asarray(0.7 * market + 0.7 * normal(draws, tries, rows), np.float64)


def hits(draws: Draws, tries: int, rows: int, rate: float, window: int, stay: float) -> Float64Array:
    """1 where a signal was right, a share `rate` of them; sides keep for `stay` signals, outcomes overlap."""
    side = 2.0 * states(draws, tries, rows, 0.5, stay) - 1.0
    moves = overlapping(draws, tries, rows, window)
    return np.asarray(side * moves > NormalDist().inv_cdf(1.0 - rate), np.float64)


def moves_of_stream(draws: Draws, tries: int, rows: int, window: int, stay: float) -> Float64Array:
    """1 000 signals with the side as sign, and after them `rows` as the cohort's length, see `cohort_bounds`."""
    side = 2.0 * states(draws, tries, 1_000, 0.5, stay) - 1.0
    move = overlapping(draws, tries, 1_000, window)
    return np.concatenate([side, move, np.full((tries, 1), float(rows))], axis=1)


def mean_bounds(series: Float64Array) -> Bounds:
    """`mean_interval`."""
    found = mean_interval(series, level=LEVEL)
    return found.estimate, found.low, found.high


def instant_bounds(series: Float64Array) -> Bounds:
    """`mean_interval` of the instants."""
    return mean_bounds(by_instant(series, _instants(len(series))))


def share_bounds(right: Float64Array) -> Bounds:
    """`share_interval`, as calibration and large cohorts have it."""
    share = float(right.mean())
    return (share, *share_interval(share, len(right), dependence(right), level=LEVEL))


def cohort_bounds(stream: Float64Array) -> Bounds:
    """The accuracy of a small cohort of neighbouring BUYs in a stream of 1 000 signals."""
    side, move, size = stream[:1_000], stream[1_000:2_000], int(stream[2_000])
    of_cohort = np.zeros(1_000, np.int32)
    of_cohort[np.flatnonzero(side > 0.0)[50 : 50 + size]] = 1
    found = accuracy(
        side.astype(np.int8), side * move, side * move, np.ones(1_000, np.bool_),
        np.zeros(1_000, np.int32), {"source": CategoryColumn(of_cohort, ("others", "cohort"))},
    )  # fmt: skip
    one = next(one for one in found.cohorts if one.name == "cohort")
    return one.accuracy, one.accuracy_low, one.accuracy_high


def _means(
    truth: float,
    draw: Callable[..., Float64Array],
    *,
    bounds: Callable[[Float64Array], Bounds] = mean_bounds,
    **how: object,
) -> SeriesKind:
    return SeriesKind(truth, partial(draw, **how), bounds)


KINDS: Mapping[str, SeriesKind] = {
    "normal": _means(0.0, normal),
    "t(3)": _means(0.0, fat_tails),
    "lognormal": _means(float(np.exp(0.5)), lognormal),
    "AR(1) 0.3": _means(0.0, autoregression, phi=0.3),
    "AR(1) 0.6": _means(0.0, autoregression, phi=0.6),
    "AR(1) 0.9": _means(0.0, autoregression, phi=0.9),
    "outcomes over 6 rows": _means(0.0, overlapping, window=6),
    "outcomes over 24 rows": _means(0.0, overlapping, window=24),
    "GARCH with t(5)": _means(0.0, garch),
    "3 % not zero": _means(0.0, sparse, rate=0.03, mean=0.0),
    "3 % not zero, mean 1": _means(0.03, sparse, rate=0.03, mean=1.0),
    "1 % not zero": _means(0.0, sparse, rate=0.01, mean=0.0),
    "1 % not zero, mean 1": _means(0.01, sparse, rate=0.01, mean=1.0),
    "3 % gains": _means(0.03, sparse_gains),
    "bursts of 12": _means(0.0, bursts, mean=0.0),
    "bursts of 12, mean 1": _means(0.03, bursts, mean=1.0),
    "bursts of one sign": _means(0.0, one_sided_bursts),
    "20 % chosen, AR(1) 0.6": _means(
        0.0, selection, rate=0.2, stay=10.0, gains=partial(autoregression, phi=0.6)
    ),
    "20 % chosen, over 6": _means(0.0, selection, rate=0.2, stay=30.0, gains=partial(overlapping, window=6)),
    "50 % chosen, over 24": _means(
        0.0, selection, rate=0.5, stay=50.0, gains=partial(overlapping, window=24)
    ),
    "5 % chosen, GARCH": _means(0.0, selection, rate=0.05, stay=10.0, gains=garch),
    "four rows an instant": _means(0.0, several_an_instant, bounds=instant_bounds),
    "50 % right": _means(0.5, hits, bounds=share_bounds, rate=0.5, window=1, stay=1.0),
    "50 % right, over 6": _means(0.5, hits, bounds=share_bounds, rate=0.5, window=6, stay=10.0),
    "60 % right, over 24": _means(0.6, hits, bounds=share_bounds, rate=0.6, window=24, stay=30.0),
    "90 % right, over 6": _means(0.9, hits, bounds=share_bounds, rate=0.9, window=6, stay=10.0),
}
COHORTS: Mapping[str, SeriesKind] = {
    f"BUYs of 1 000, over {window}": _means(
        0.5, moves_of_stream, bounds=cohort_bounds, window=window, stay=stay
    )
    for window, stay in ((1, 2.0), (6, 10.0), (24, 30.0))
}
COHORT_SIZES = (12, 40)
LIMITS: Mapping[str, SeriesKind] = {
    "AR(1) 0.95": _means(0.0, autoregression, phi=0.95),
    "slow AR(1) under noise": _means(0.0, under_noise),
}
"""Beyond what is promised: dependence that a short series does not show."""


def coverage(
    *,
    tries: int = TRIES,
    lengths: Sequence[int] = LENGTHS,
    kinds: Sequence[str] | None = None,
    seed: int = 1,
    workers: int = 1,
) -> list[CoverageCell]:
    """Every kind at every length, cohorts at their own sizes.

    Args:
        tries: series a cell.
        lengths: rows of a series.
        kinds: names in `KINDS`, `COHORTS` and `LIMITS`; None: all.
        seed: a cell depends on it, on its kind and on its length alone.
        workers: processes.
    """
    wanted = [*KINDS, *COHORTS, *LIMITS] if kinds is None else kinds
    cells = [(kind, rows) for kind in wanted for rows in (COHORT_SIZES if kind in COHORTS else lengths)]
    count = partial(_cell, tries=tries, seed=seed)
    if workers == 1:
        return [count(cell) for cell in cells]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(count, cells))


def table(cells: Sequence[CoverageCell]) -> str:
    """A line a kind; at each length coverage with its 95 % half width, the width, and how many had an interval."""
    parts = [
        _lines([cell for cell in cells if cell.kind in group], title)
        for group, title in (
            (KINDS, "held, width, shown"),
            (COHORTS, "cohorts"),
            (LIMITS, "not promised"),
        )
    ]
    failed = [
        f"FAILS: {cell.kind} at {cell.rows} rows holds {cell.covered:.1%}; at least {LEAST:.0%} is promised"
        for cell in cells
        if not cell.holds
    ]
    return "\n\n".join(part for part in (*parts, "\n".join(failed)) if part)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validation.intervals", description=__doc__
    )
    parser.add_argument("--tries", type=int, default=TRIES)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    cells = coverage(tries=options.tries, workers=options.workers)
    print(table(cells))
    return 0 if all(cell.holds for cell in cells) else 1


def _cell(which: tuple[str, int], *, tries: int, seed: int) -> CoverageCell:
    name, rows = which
    kind = {**KINDS, **COHORTS, **LIMITS}[name]
    draws = np.random.default_rng([seed, crc32(name.encode()), rows])
    found = np.array([kind.bounds(series) for series in kind.draw(draws, tries, rows)])
    estimate, low, high = found.T
    shown = np.isfinite(low)
    held = (low <= kind.truth) & (kind.truth <= high)
    n, hit = int(shown.sum()), int(held.sum())
    oracle = 2.0 * _Z * float(estimate.std())
    return CoverageCell(
        kind=name,
        rows=rows,
        tries=tries,
        shown=n / tries,
        covered=hit / n if n else float("nan"),
        covered_low=wilson(hit, n, _Z)[0],
        covered_high=wilson(hit, n, _Z)[1],
        width=float((high - low)[shown].mean()) / oracle if n and oracle > 0.0 else float("nan"),
        promised=name in COHORTS or (name in KINDS and rows >= ENOUGH_ROWS),
    )


def _lines(cells: Sequence[CoverageCell], title: str) -> str:
    if not cells:
        return ""
    lengths = sorted({cell.rows for cell in cells})
    found = {(cell.kind, cell.rows): cell for cell in cells}
    heads = [f"{title:<26}" + "".join(f"{f'n = {rows}':>24}" for rows in lengths)]
    return "\n".join(
        heads
        + [
            f"{kind:<26}" + "".join(f"{_written(found.get((kind, rows))):>24}" for rows in lengths)
            for kind in dict.fromkeys(cell.kind for cell in cells)
        ]
    )


def _written(cell: CoverageCell | None) -> str:
    if cell is None:
        return ""
    if not cell.shown:
        return "none shown"
    half = (cell.covered_high - cell.covered_low) / 2.0
    return f"{cell.covered:.1%} ±{100 * half:.1f} {cell.width:5.2f} {cell.shown:5.0%}"


def _instants(rows: int) -> Int64Array:
    """int64[rows], instants of 1, 3, 4 and 8 rows in turns."""
    sizes = np.tile([1, 3, 4, 8], rows // 16 + 1)
    return np.repeat(np.arange(len(sizes)), sizes)[:rows].astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
