"""How often signals were right, by where they came from: source, symbol, side, regime, category.

A cohort is measured against the drift and not against 50 %: in a market where two moves of three go up, a BUY that
is right two times of three knows nothing. The expected share of a cohort is the mean, over its signals, of
how often the market moved to their side over all judged signals.

Many cohorts are looked at, so some look good by luck. A cohort is called good or bad only if it stays so after
the correction of Benjamini and Hochberg (J. Royal Statistical Society B 57, 1995). Outcomes whose horizons
overlap repeat each other; counts are cut down by how much they do before anything is tested.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import erfc, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agents.labels import Labels

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Z_95 = 1.959963984540054
FLAG_FROM = 20
"""Cohorts of fewer judged signals are shown and never called good or bad."""
FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True, slots=True)
class Cohort:
    """The judged signals of one name in one dimension.

    Attributes:
        dimension: such as `source` or `category.mood`.
        name: such as `desk`.
        n, right: judged signals, and those that the market followed.
        accuracy: right / n, with its 95 % Wilson interval at `effective_n`.
        drift: the accuracy expected of signals with the same sides that know nothing.
        effective_n: independent signals that n dependent ones are worth.
        net_bps: mean outcome of following the signals, bp after costs, with its 95 % interval (NaN for fewer
            than 2).
        p_value: two-sided, of accuracy against drift (score test).
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
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All cohorts of a set of judged signals.

    Attributes:
        n, right: of all of them.
        up_share: share of moves that went up: the drift of a BUY; that of a SELL is `down_share`.
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
        """Plain values for JSON."""
        return {
            "n": self.n,
            "right": self.right,
            "up_share": self.up_share if self.n else None,
            "down_share": self.down_share if self.n else None,
            "cohorts": [cohort.as_dict() for cohort in self.cohorts],
        }


def accuracy(
    action: npt.NDArray[np.int8],
    gross_bps: Floats,
    net_bps: Floats,
    judged: Flags,
    dimensions: Mapping[str, Labels],
) -> Accuracy:
    """The accuracy of signals, in time order, by every dimension and by side.

    Args:
        action: int8[n], 1 buy, -1 sell; rows with 0 are left out.
        gross_bps: float64[n], what following the signal brought before costs: action times the move.
        net_bps: float64[n], after costs.
        judged: bool[n]; where False, the other figures are not read.
        dimensions: n labels each, by name; a row without a label is in no cohort of that dimension.

    Raises:
        ValueError: a dimension with another number of rows.
    """
    for name, labels in dimensions.items():
        if len(labels) != len(action):
            raise ValueError(f"dimension {name!r} has {len(labels)} rows; expected {len(action)}")
    rows = np.flatnonzero(judged & (action != 0))
    side, gross, net = action[rows], gross_bps[rows], net_bps[rows]
    move = side * gross
    up, down = _share(move > 0.0), _share(move < 0.0)
    right = gross > 0.0
    drift = np.where(side > 0, up, down)
    labelled = {"side": Labels((side < 0).astype(np.int32), ("BUY", "SELL"))}
    labelled |= {name: Labels(labels.codes[rows], labels.names) for name, labels in dimensions.items()}
    cohorts = [
        _cohort(dimension, labels.names[code], right[own], drift[own], net[own])
        for dimension, labels in labelled.items()
        for code, own in _members(labels)
    ]
    return Accuracy(len(rows), int(right.sum()), up, down, tuple(_flagged(cohorts)))


def wilson(right: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """The interval of a share (Wilson, JASA 22, 1927); 0 to 1 where n is 0."""
    if n <= 0.0:
        return 0.0, 1.0
    share = right / n
    centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the share of false discoveries, in the same order."""
    m, lowest = len(p_values), 1.0
    adjusted = [1.0] * m
    for place, index in reversed(list(enumerate(sorted(range(m), key=lambda index: p_values[index])))):
        lowest = min(lowest, p_values[index] * m / (place + 1))
        adjusted[index] = lowest
    return adjusted


def dependence(series: Floats) -> float:
    """How many dependent values count as one: long-run over plain variance, from 1 to n."""
    plain = float(series.var()) if len(series) else 0.0
    if plain <= 0.0:
        return 1.0
    return min(float(len(series)), max(1.0, long_run_variance(series) / plain))


def long_run_variance(series: Floats) -> float:
    """What n times the variance of the mean of a dependent series comes to; at least 0.

    Newey and West, Econometrica 55, 1987, with Bartlett weights over 1.3 * sqrt(n) lags (Lazarus and others,
    J. Business & Economic Statistics 36, 2018).
    """
    n = len(series)
    if n < 2:
        return 0.0
    deviation = series - series.mean()
    lags = min(n - 1, int(1.3 * sqrt(n)))
    total = float(deviation @ deviation)
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1)) * float(deviation[lag:] @ deviation[:-lag])
    return max(0.0, total / n)


def _members(labels: Labels) -> Iterable[tuple[int, npt.NDArray[np.intp]]]:
    """Codes that occur with their rows, the largest first, then by name."""
    order = np.argsort(labels.codes, kind="stable")
    codes, starts = np.unique(labels.codes[order], return_index=True)
    groups = zip(codes.tolist(), np.split(order, starts[1:]), strict=True) if len(codes) else ()
    named = [(code, own) for code, own in groups if code >= 0]
    return sorted(named, key=lambda group: (-len(group[1]), labels.names[group[0]]))


def _cohort(dimension: str, name: str, right: Flags, drift: Floats, net: Floats) -> Cohort:
    n, hits = len(right), int(right.sum())
    expected, share = float(drift.mean()), hits / n
    worth = n / dependence(right - drift)
    low, high = wilson(share * worth, worth)
    mean = float(net.mean())
    half = Z_95 * sqrt(float(net.var(ddof=1)) * dependence(net) / n) if n > 1 else float("nan")
    spread = sqrt(expected * (1.0 - expected) / worth)
    p_value = erfc(abs(share - expected) / spread / sqrt(2.0)) if spread > 0.0 else 1.0
    return Cohort(
        dimension, name, n, hits, share, low, high, expected, worth, mean, mean - half, mean + half,
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


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
