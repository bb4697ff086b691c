"""How often signals were right, by what they have in common: source, symbol, side, regime, category, word.

A cohort is measured against the drift and not against 50 %: in a market where two moves of three go up, a BUY that
is right two times of three knows nothing. The drift of a signal is how often its own symbol moved to its side, over
all judged signals about that symbol; a move of 0 is to neither side. Shares over all symbols would call a cohort good
for being about a symbol that rises, or bad for one that often stands still. The drift of a cohort is the mean over its
signals.

A share of few rows is mostly those rows themselves: a signal that is alone with its symbol would be as right as
expected, always. So symbols of fewer than `FEWEST` judged signals have one share together. What is left of this makes
a cohort that is most of its symbol differ less from the drift than it should. And the share knows the whole file: sides
that lean against what their symbol has done so far seem a little better than they are, sides that follow it a little
worse, by half a standard error where they do nothing else.

Many cohorts are looked at, so some look good by luck. A cohort is called good or bad only if it stays so after
the correction of Benjamini and Hochberg (J. Royal Statistical Society B 57, 1995). Outcomes whose horizons
overlap repeat each other; counts are cut down by how much they do before anything is tested
(`agents.override.intervals`). What is tested is how much more often signals were right than expected, row by row, and
so it is the dependence of that which counts. A cohort too small to show it is taken to be as dependent as signals
about every row would be that are all on one side, the more dependent of the two.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.intervals import (
    Dependence,
    dependence,
    dependence_of_part,
    effective_n,
    mean_interval,
    share_interval,
)
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.plain_values import plain_values

FLAG_FROM = 20
"""Cohorts of fewer judged signals are shown and never called good or bad."""
FALSE_DISCOVERIES = 0.05
TEXT = "text"
"""The dimension of cohorts whose texts have a word, or two of them beside each other (`agents.override.words`)."""
FEWEST = 100
"""Judged signals of one symbol below which it shares its drift with the other such symbols."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The judged signals of one name in one dimension.

    Attributes:
        dimension: such as `source` or `category.mood`.
        name: such as `desk`.
        n, right: judged signals, and those that the market followed.
        accuracy: right / n, with its 95 % Wilson interval at `effective_n`; NaN where the dependence is not known,
            as in a market that went one way all along.
        drift: the accuracy expected of signals about the same symbols with the same sides that know nothing.
        effective_n: independent signals that n dependent ones are worth.
        net_bps: mean outcome of following the signals, bp after costs, with its 95 % interval (`mean_interval`).
        p_value: two-sided, of accuracy against drift (score test); 1 where the dependence is not known.
        q_value: the same after correction over all cohorts that were tested; 1 for those below `FLAG_FROM`.
        flag: `good`, `bad` or None.
    """

    dimension: str
    name: str
    n: int
    right: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    drift: float
    effective_n: float
    net_bps: float
    net_bps_low: float
    net_bps_high: float
    p_value: float
    q_value: float
    flag: Literal["good", "bad"] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where there is no number."""
        plain: dict[str, Any] = plain_values(self)
        return plain


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All cohorts of a set of judged signals.

    Attributes:
        n, right: of all of them.
        up_share, down_share: share of moves that went up, and down, over all symbols.
        cohorts: by dimension as asked for, then by size.
    """

    n: int
    right: int
    up_share: float
    down_share: float
    cohorts: tuple[Cohort, ...]

    def patterns(self) -> tuple[Cohort, ...]:
        """The cohorts called good or bad, the surest first."""
        flagged = [cohort for cohort in self.cohorts if cohort.flag]
        return tuple(sorted(flagged, key=lambda cohort: (cohort.q_value, cohort.dimension, cohort.name)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where there is no number."""
        plain: dict[str, Any] = plain_values(self)
        return plain


def accuracy(
    action: Int8Array,
    gross_bps: Float64Array,
    net_bps: Float64Array,
    judged: BoolArray,
    symbol: Int32Array,
    dimensions: Mapping[str, CategoryColumn],
    words: Mapping[str, Int64Array] | None = None,
) -> Accuracy:
    """The accuracy of signals, in time order, by every dimension, by side and by word.

    Args:
        action: int8[n], 1 buy, -1 sell; rows with 0 are left out.
        gross_bps: float64[n], what following the signal brought before costs: action times the move.
        net_bps: float64[n], after costs.
        judged: bool[n]; where False, the other figures are not read.
        symbol: int32[n], a code a symbol.
        dimensions: n labels each, by name; a row without a label is in no cohort of that dimension.
        words: int64[m] each, the rows whose texts have it: cohorts that overlap, of the dimension `TEXT`.

    Raises:
        ValueError: a dimension, or the symbols, with another number of rows, or a word with a row beyond them.
    """
    if len(symbol) != len(action):
        raise ValueError(f"symbol has {len(symbol)} rows; expected {len(action)}")
    for name, labels in dimensions.items():
        if len(labels) != len(action):
            raise ValueError(f"dimension {name!r} has {len(labels)} rows; expected {len(action)}")
    words = {} if words is None else words
    for name, has in words.items():
        if int(has.max(initial=-1)) >= len(action):
            raise ValueError(f"word {name!r} is in row {has.max()}; expected rows up to {len(action) - 1}")
    rows = np.flatnonzero(judged & (action != 0))
    side, gross, net = action[rows], gross_bps[rows], net_bps[rows]
    move = side * gross
    up, down, right = move > 0.0, move < 0.0, gross > 0.0
    own_up, own_down = shares_by_symbol(symbol[rows], up, down)
    drift = np.where(side > 0, own_up, own_down)
    labelled = {"side": CategoryColumn((side < 0).astype(np.int32), ("BUY", "SELL"))}
    labelled |= {
        name: CategoryColumn(labels.codes[rows], labels.names) for name, labels in dimensions.items()
    }
    one_sided = dependence(up - own_up), dependence(down - own_down)
    market = max(one_sided, key=lambda found: (found.known, found.ratio))
    members = [
        (dimension, labels.names[code], own)
        for dimension, labels in labelled.items()
        for code, own in _members(labels)
    ]
    place = np.full(len(action), -1)
    place[rows] = np.arange(len(rows))
    members += [(TEXT, word, own) for word, has in words.items() if len(own := place[has][place[has] >= 0])]
    cohorts = [
        _cohort(dimension, name, right[own], drift[own], net[own], market) for dimension, name, own in members
    ]
    return Accuracy(len(rows), int(right.sum()), _share(up), _share(down), tuple(_flagged(cohorts)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the share of false discoveries, in the same order."""
    m, lowest = len(p_values), 1.0
    adjusted = [1.0] * m
    for place, index in reversed(list(enumerate(sorted(range(m), key=lambda index: p_values[index])))):
        lowest = min(lowest, p_values[index] * m / (place + 1))
        adjusted[index] = lowest
    return adjusted


def _members(labels: CategoryColumn) -> Iterable[tuple[int, npt.NDArray[np.intp]]]:
    """Codes that occur with their rows, the largest first, then by name."""
    order = np.argsort(labels.codes, kind="stable")
    codes, starts = np.unique(labels.codes[order], return_index=True)
    groups = zip(codes.tolist(), np.split(order, starts[1:]), strict=True) if len(codes) else ()
    named = [(code, own) for code, own in groups if code >= 0]
    return sorted(named, key=lambda group: (-len(group[1]), labels.names[group[0]]))


def _cohort(
    dimension: str, name: str, right: BoolArray, drift: Float64Array, net: Float64Array, market: Dependence
) -> Cohort:
    n, hits = len(right), int(right.sum())
    expected, share = float(drift.mean()), hits / n
    found = dependence_of_part(right - drift, market)
    worth = effective_n(n, found)
    low, high = share_interval(share, n, found)
    spread = sqrt(float((drift * (1.0 - drift)).mean()) / worth)
    p_value = found.p_value((share - expected) / spread) if spread > 0.0 and found.known else 1.0
    mean = mean_interval(net)
    return Cohort(
        dimension, name, n, hits, share, low, high, expected, worth, mean.estimate, mean.low, mean.high,
        p_value, 1.0, None,
    )  # fmt: skip


def _flagged(cohorts: Sequence[Cohort]) -> list[Cohort]:
    tested = [index for index, cohort in enumerate(cohorts) if cohort.n >= FLAG_FROM]
    q_values = dict(
        zip(tested, benjamini_hochberg([cohorts[index].p_value for index in tested]), strict=True)
    )
    return [_with_q(cohort, q_values.get(index, 1.0)) for index, cohort in enumerate(cohorts)]


def _with_q(cohort: Cohort, q_value: float) -> Cohort:
    flag: Literal["good", "bad"] | None = None
    if q_value <= FALSE_DISCOVERIES:
        flag = "good" if cohort.accuracy > cohort.drift else "bad"
    return replace(cohort, q_value=q_value, flag=flag)


def shares_by_symbol(symbol: Int32Array, up: BoolArray, down: BoolArray) -> tuple[Float64Array, Float64Array]:
    """By row, how often its symbol went up and how often down: float64[n] both."""
    _, place, count = np.unique(symbol, return_inverse=True, return_counts=True)
    place = np.where(count[place] < FEWEST, len(count), place)  # the last one is that of the small together
    signals = np.maximum(np.bincount(place), 1)
    return (
        (np.bincount(place, weights=up, minlength=len(signals)) / signals)[place],
        (np.bincount(place, weights=down, minlength=len(signals)) / signals)[place],
    )


def _share(flags: BoolArray) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
