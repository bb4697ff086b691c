"""What a validation found: what was best in training, and what became of it in the test.

Sharpe ratios and returns of a stretch of bars come from the sums that every configuration kept there (`SUMS`): its
position is carried from one stretch to the next, as the one run over all bars has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.account import Floats
from experiments.selection.folds import Fold
from experiments.sweeps.chunks import SUMS
from experiments.sweeps.market import Market
from experiments.sweeps.sweep import fold_edges

_INSTANT = pa.timestamp("us", "UTC")
YEAR_US = 365 * 24 * 3600 * 1_000_000
_NOISE = 1e-14


@dataclass(frozen=True, slots=True)
class Choice:
    """One fold.

    Attributes:
        configuration: the best in training.
        train, test: its value of what was chosen by, on either side; NaN where not defined.
        test_return: what it earned in the test, a share.
        beaten: share of the configurations that did worse than it in the test, ties as half.
        best_test: the best value of any configuration in the test.
    """

    configuration: int
    train: float
    test: float
    test_return: float
    beaten: float
    best_test: float


def choices(market: Market, table: pa.Table, folds: Sequence[Fold], *, by_return: bool) -> list[Choice]:
    """Of each fold; chosen by total return, else by Sharpe ratio (annual)."""
    edges = fold_edges(list(folds))
    lists = table[SUMS].combine_chunks()
    sums = lists.flatten().to_numpy().reshape(len(table), len(edges) - 1, 3)
    spacing_us = float(np.mean(np.diff(market.bars.known_at_us[market.start :])))
    found = []
    for fold in folds:
        train = _values(sums, edges, fold.train, spacing_us, by_return=by_return)
        test = _values(sums, edges, fold.test, spacing_us, by_return=by_return)
        ranked = np.where(np.isnan(train), -np.inf, train)
        best = int(np.argmax(ranked))
        known = np.where(np.isnan(test), -np.inf, test)
        worse = float(np.mean(known < known[best]) + np.mean(known == known[best]) / 2)
        earned = _values(sums[best : best + 1], edges, fold.test, spacing_us, by_return=True)
        found.append(
            Choice(
                best, float(train[best]), float(test[best]), float(earned[0]), worse,
                float(np.nanmax(test)) if np.isfinite(test).any() else float("nan"),
            )
        )  # fmt: skip
    return found


def folds_table(market: Market, folds: Sequence[Fold], chosen: Sequence[Choice]) -> pa.Table:
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


def _values(
    sums: Floats,
    edges: NDArray[np.int64],
    parts: Sequence[tuple[int, int]],
    spacing_us: float,
    *,
    by_return: bool,
) -> Floats:
    """Of every configuration over some stretches: total return, or Sharpe ratio (annual), NaN where not defined."""
    chosen = np.zeros(len(edges) - 1, np.bool_)
    bars = 0
    for start, stop in parts:
        chosen[np.searchsorted(edges, start) : np.searchsorted(edges, stop)] = True
        bars += stop - start
    own = sums[:, chosen]
    if by_return:
        growth: Floats = np.prod(own[:, :, 0], axis=1) - 1.0
        return growth
    total, squares = own[:, :, 1].sum(axis=1), own[:, :, 2].sum(axis=1)
    if bars < 2:
        return np.full(len(sums), np.nan)
    mean = total / bars
    apart = np.maximum(squares - total * mean, 0.0)
    deviation = np.sqrt(apart / (bars - 1))
    ratio = np.full(len(sums), np.nan)
    np.divide(mean * np.sqrt(YEAR_US / spacing_us), deviation, out=ratio, where=deviation > _NOISE)
    return ratio


def _known(values: list[float]) -> pa.Array:
    column = np.array(values)
    return pa.array(column, mask=np.isnan(column))
