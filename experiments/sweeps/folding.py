"""What a validation found: what was best in training, and what became of it in the test.

Sharpe ratios and returns of a stretch of bars come from the sums that every configuration kept there (`SUMS`): its
position is carried from one stretch to the next, as the one run over all bars has it. What it costs to change from one
fold's choice to the next is not in them.

The folds together are one account: the tests' returns one after the other, each of what its fold had chosen. Its Sharpe
ratio is worked out from all these returns; a mean of the folds' ratios would weigh a calm fold as a wild one, and
could be below 0 where the account gained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int64Array
from raysignal.engine.portfolio.performance import FEWEST_RETURNS, WEEK_US
from raysignal.experiments.selection.folds import Fold
from raysignal.experiments.sweeps.chunks import SUMS
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.sweep import fold_edges

_INSTANT = pa.timestamp("us", "UTC")
# Sums of a stretch are differences of running ones: of so small a share of all squares nothing is known but rounding.
_ROUNDING = 1e-12
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class FoldChoice:
    """One fold.

    Attributes:
        configuration: the best in training.
        train, test: its value of what was chosen by, on either side; NaN where not defined.
        test_return: what it earned in the test, a share; -1 where it was ruined by then.
        test_sums: bars of the test, sum of its returns there and of their squares.
        beaten: share of the configurations that did worse than it in the test, ties as half.
        best_test: the best value of any configuration in the test.
    """

    configuration: int
    train: float
    test: float
    test_return: float
    test_sums: tuple[float, float, float]
    beaten: float
    best_test: float


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """The tests of all folds as one account.

    Attributes:
        folds: how many.
        bars: of all tests.
        total_return: of the returns one after the other, a share; -1 where a fold's choice was ruined.
        sharpe: of all these returns, annual; None where not defined, as for fewer than 30 or less than a week.
        sharpe_per_bar: the same, not annual.
        train, test: lowest, median and highest of what the choices were chosen by, total return or Sharpe ratio a bar,
            fold by fold; None where no fold has it.
        beaten: the mean share of the configurations that did worse in a fold's test.
        below_median: share of the folds whose choice was below the median of its test.
        sentence: for people.
    """

    folds: int
    bars: int
    total_return: float
    sharpe: float | None
    sharpe_per_bar: float | None
    train: tuple[float, float, float] | None
    test: tuple[float, float, float] | None
    beaten: float
    below_median: float
    sentence: str


def out_of_sample(
    market: Market, chosen: Sequence[FoldChoice], *, periods_per_year: float, by_return: bool
) -> OutOfSample:
    """The folds together: tests that do not overlap, in time; chosen by total return, else by Sharpe ratio."""
    bars, total, squares = (float(sum(part)) for part in zip(*(one.test_sums for one in chosen), strict=True))
    growth = float(np.prod([1.0 + one.test_return for one in chosen]))
    ratio = float(_sharpe(np.array([total]), np.array([squares]), int(bars))[0])
    per_bar = None if growth <= 0.0 or np.isnan(ratio) else ratio
    spacing_us = float(np.mean(np.diff(market.bars.known_at_us[market.start :])))
    is_long = bars >= FEWEST_RETURNS and bars * spacing_us >= WEEK_US
    together = OutOfSample(
        folds=len(chosen),
        bars=int(bars),
        total_return=growth - 1.0,
        sharpe=per_bar * float(np.sqrt(periods_per_year)) if is_long and per_bar is not None else None,
        sharpe_per_bar=per_bar,
        train=_spread([one.train for one in chosen]),
        test=_spread([one.test for one in chosen]),
        beaten=float(np.mean([one.beaten for one in chosen])),
        below_median=float(np.mean([one.beaten < 0.5 for one in chosen])),
        sentence="",
    )
    return replace(together, sentence=_sentence(together, "total return" if by_return else "Sharpe a bar"))


def _sentence(one: OutOfSample, chosen_by: str) -> str:
    def said(spread: tuple[float, float, float] | None) -> str:
        return "not defined" if spread is None else "median {1:.3g}, from {0:.3g} to {2:.3g}".format(*spread)

    ratio = "not defined"
    if one.sharpe is not None:
        ratio = f"{one.sharpe:.3g}"
    elif one.sharpe_per_bar is not None:
        ratio = f"{one.sharpe_per_bar:.3g} a bar (too short for a year)"
    return (
        f"what was chosen earned {one.total_return:+.2%} in the tests of {one.folds:,d} folds together, Sharpe {ratio};"
        f" fold by fold {chosen_by} was {said(one.test)} (in training {said(one.train)}), and it beat {one.beaten:.0%} "
        "of the configurations on average"
    )


def _spread(values: Sequence[float]) -> tuple[float, float, float] | None:
    known = np.array(values)[~np.isnan(values)]
    return (float(known.min()), float(np.median(known)), float(known.max())) if len(known) else None


def choices(table: pa.Table, folds: Sequence[Fold], *, by_return: bool) -> list[FoldChoice]:
    """Of each fold; chosen by total return, else by Sharpe ratio (a bar)."""
    edges = fold_edges(list(folds))
    lists = table[SUMS].combine_chunks()
    sums = lists.flatten().to_numpy().reshape(len(table), len(edges) - 1, 3)
    found = []
    for fold in folds:
        train = _values(sums, edges, fold.train, by_return=by_return)
        test = _values(sums, edges, fold.test, by_return=by_return)
        ranked = np.where(np.isnan(train), -np.inf, train)
        best = int(np.argmax(_equal(ranked, ranked.max())))
        known = np.where(np.isnan(test), -np.inf, test)
        ties = _equal(known, known[best])
        worse = float(np.mean((known < known[best]) & ~ties) + np.mean(ties) / 2)
        own = _Stretch.of(sums[best : best + 1], edges, fold.test)
        found.append(
            FoldChoice(
                best, float(train[best]), float(test[best]), float(own.growth[0] - 1.0),
                (float(own.bars), float(own.total[0]), float(own.squares[0])), worse,
                float(np.nanmax(test)) if np.isfinite(test).any() else float("nan"),
            )
        )  # fmt: skip
    return found


def folds_table(market: Market, folds: Sequence[Fold], chosen: Sequence[FoldChoice]) -> pa.Table:
    """One row a fold; instants are those of the first and the last bar."""
    stamps = market.bars.known_at_us[market.start :]

    def instants(values: list[int]) -> pa.Array:
        return pa.array(np.array(values, np.int64)).view(_INSTANT)

    n = len(folds)
    return pa.table(
        {
            "symbol": pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(n, np.int32)), pa.array([market.symbol])
            ),
            "fold": pa.array(np.arange(n)),
            "train_from": instants([int(stamps[fold.train[0][0]]) for fold in folds]),
            "train_to": instants([int(stamps[fold.train[-1][1] - 1]) for fold in folds]),
            "train_bars": pa.array([sum(stop - start for start, stop in fold.train) for fold in folds]),
            "test_from": instants([int(stamps[fold.test[0][0]]) for fold in folds]),
            "test_to": instants([int(stamps[fold.test[-1][1] - 1]) for fold in folds]),
            "test_bars": pa.array([sum(stop - start for start, stop in fold.test) for fold in folds]),
            "configuration": pa.array([choice.configuration for choice in chosen]),
            "train": _known([choice.train for choice in chosen]),
            "test": _known([choice.test for choice in chosen]),
            "test_return": _known([choice.test_return for choice in chosen]),
            "beaten": _known([choice.beaten for choice in chosen]),
            "best_test": _known([choice.best_test for choice in chosen]),
        }
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Some stretches of bars together: their number, and each configuration's growth and sums of returns there."""

    bars: int
    growth: Float64Array
    total: Float64Array
    squares: Float64Array

    @classmethod
    def of(cls, sums: Float64Array, edges: Int64Array, parts: Sequence[tuple[int, int]]) -> "_Stretch":
        chosen = np.zeros(len(edges) - 1, np.bool_)
        for start, stop in parts:
            chosen[np.searchsorted(edges, start) : np.searchsorted(edges, stop)] = True
        own = sums[:, chosen]
        # Equity that fell to 0 or below stays there: what comes after a ruin, or makes good for it, is nobody's.
        ruined = np.logical_or.accumulate(sums[:, :, 0] <= 0.0, axis=1)[:, chosen].any(axis=1)
        growth = np.where(ruined, 0.0, np.prod(own[:, :, 0], axis=1))
        bars = sum(stop - start for start, stop in parts)
        squares = own[:, :, 2].sum(axis=1)
        flat = squares <= _ROUNDING * sums[:, :, 2].sum(axis=1)
        return cls(bars, growth, np.where(flat, 0.0, own[:, :, 1].sum(axis=1)), np.where(flat, 0.0, squares))


def _values(
    sums: Float64Array,
    edges: Int64Array,
    parts: Sequence[tuple[int, int]],
    *,
    by_return: bool,
) -> Float64Array:
    """Of every configuration over some stretches: total return, or Sharpe ratio (a bar), NaN where not defined."""
    own = _Stretch.of(sums, edges, parts)
    if by_return:
        return own.growth - 1.0
    ratio = _sharpe(own.total, own.squares, own.bars)
    return np.where(own.growth > 0.0, ratio, np.nan)


def _sharpe(total: Float64Array, squares: Float64Array, bars: int) -> Float64Array:
    """A bar, from sums of the returns and of their squares; NaN where nothing varies."""
    ratio = np.full(len(total), np.nan)
    if bars < 2:
        return ratio
    mean = total / bars
    deviation = np.sqrt(np.maximum(squares - total * mean, 0.0) / (bars - 1))
    np.divide(mean, deviation, out=ratio, where=deviation > _EQUAL * np.abs(mean))
    return ratio


def _equal(values: Float64Array, value: float) -> BoolArray:
    """Which values are the same but for rounding."""
    return np.isclose(values, value, rtol=_EQUAL, atol=_ROUNDING)


def _known(values: list[float]) -> pa.Array:
    column = np.array(values)
    return pa.array(column, mask=np.isnan(column))
