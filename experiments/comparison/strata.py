"""Strata of a stream: signals that are alike before anybody chooses among them.

What an override gains depends on its signal's symbol and side before anything is known about the signal: under
long-flat holding a BUY saves its costs and holding a SELL saves nothing, and a market that rises pays for flipped
SELLs. Preferring one side is therefore no skill. Choices and gains are compared within strata of symbol and side
only.

Nor is it a lack of skill to overrule after overruling has paid. Compared with the mean of all signals, earlier and
later, an arm that learns would seem to choose badly: its choices come after gains that this mean contains. So what
an override gains is compared with the mean of its stratum from that signal on.
"""

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array

FEWEST = 100
"""Signals of one symbol and side below which they share a stratum with those of other such symbols on that side.

The rate of overruling in a stratum knows what an arm that learns does later, so that many small strata would make it
look worse than chance.
"""


def strata_of(symbol: Int32Array, action: Int8Array, *, fewest: int = FEWEST) -> Int64Array:
    """The stratum of each of n signals: int64[n], from 0 on without gaps.

    Args:
        symbol: int32[n].
        action: int8[n].
        fewest: see `FEWEST`.
    """
    pairs = symbol.astype(np.int64) * 3 + (action.astype(np.int64) + 1)
    _, place, count = np.unique(pairs, return_inverse=True, return_counts=True)
    pooled = -1 - (action.astype(np.int64) + 1)
    return np.unique(np.where(count[place] < fewest, pooled, pairs), return_inverse=True)[1].astype(np.int64)


def mean_within(values: Float64Array, strata: Int64Array) -> Float64Array:
    """By row, the mean of its stratum: float64[n, k] of float64[n, k]."""
    found = np.zeros_like(values)
    for rows in rows_by(strata):
        found[rows] = values[rows].mean(axis=0)
    return found


def mean_from_on(values: Float64Array, strata: Int64Array) -> Float64Array:
    """By row, the mean of it and of the rows of its stratum after it: float64[n, k] of float64[n, k]."""
    found = np.zeros_like(values)
    for rows in rows_by(strata):
        sums = np.cumsum(values[rows][::-1], axis=0)[::-1]
        found[rows] = sums / np.arange(len(rows), 0, -1)[:, None]
    return found


def rows_by(strata: Int64Array) -> list[Int64Array]:
    """The rows of each stratum, in their order."""
    if not len(strata):
        return []
    order = np.argsort(strata, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(strata[order])) + 1)
