"""Did overruling help? The paired difference between an arm and approving everything, signal by signal.

What the uplift of an arm is made of is in `uplift`. The judgment rests on selection alone: on its interval,
and on its p-value after the correction over the arms that claim to help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np

from raysignal.agents.override.intervals import Interval, by_instant, mean_interval, mean_p_values
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.plain_values import plain_values
from raysignal.experiments.comparison.results import ArmResult, SignalStream, baseline_of, check_arms
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.comparison.uplift import (
    OVERRIDES,
    Decomposition,
    decompose,
    selection_of,
    uplift_of,
)

CLAIMS = ("memory", "model")
"""The kinds of arms that are claimed to help; p-values are corrected over them. Controls claim nothing."""
POWER = 0.8
FEWEST = 10
"""With fewer signals overruled, or fewer left alone, nothing is shown: a mean of so few has no interval."""
_BPS = 10_000.0


class Judgment(StrEnum):
    """What has been shown about an arm."""

    HELPS = "helps"
    HURTS = "hurts"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known about one arm against the baseline.

    Attributes:
        arm, kind: which.
        signals: rows of the stream.
        judged: those with an outcome; all figures in bp are per judged signal.
        overridden: how many judged signals were flipped or held, by the verdict's name.
        parts: where the uplift comes from.
        uplift, selection: with 95 % intervals, bp.
        p_greater, p_less: one-sided p-values of selection after the correction over the claims; a control's are its
            own; 1 where nothing is known.
        judgment: helps or hurts only where the 95 % interval of selection and the corrected p-value agree.
        detectable_bps: the selection that this experiment would have shown with 80 % power, given how often the
            arm overruled and how its outcomes varied: as far below the estimate as the interval at the level of the
            test reaches, and so many standard errors more; None where it did not overrule `enough`, or where nothing
            is known.
        returns_bps: by fill, the paired difference of portfolio returns per signal, bp, with interval.
    """

    arm: str
    kind: str
    signals: int
    judged: int
    overridden: Mapping[str, int]
    parts: Decomposition
    uplift: Interval
    selection: Interval
    p_greater: float
    p_less: float
    judgment: Judgment
    detectable_bps: float | None
    returns_bps: Mapping[str, Interval]

    @property
    def override_rate(self) -> float:
        """Share of the judged signals that were overruled."""
        return sum(self.overridden.values()) / self.judged if self.judged else 0.0

    @property
    def enough(self) -> bool:
        """Whether enough signals were overruled, and enough left alone, for anything to be shown."""
        overruled = sum(self.overridden.values())
        return min(overruled, self.judged - overruled) >= FEWEST

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where there is no number."""
        plain: dict[str, Any] = plain_values(self)
        return plain | {"override_rate": self.override_rate}


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family (Holm, Scandinavian J. of Statistics 6, 1979), in the same order."""
    m = len(p_values)
    adjusted, highest = [0.0] * m, 0.0
    for place, index in enumerate(sorted(range(m), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (m - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def judge(selection: Interval, p_greater: float, p_less: float, *, alpha: float = 0.05) -> Judgment:
    """What an interval and two corrected one-sided p-values show together."""
    if selection.above_zero and p_greater <= alpha:
        return Judgment.HELPS
    if selection.below_zero and p_less <= alpha:
        return Judgment.HURTS
    return Judgment.NO_DIFFERENCE


def one_sided_level(claims: int, *, alpha: float = 0.05) -> float:
    """The level at which the most significant of several claims is tested, one-sided.

    Holm's first step, and never more than the half of alpha that a two-sided interval leaves each side.
    """
    return min(alpha / max(1, claims), alpha / 2)


def detectable(se: float, claims: int, *, alpha: float = 0.05, power: float = POWER) -> float:
    """The effect that a test with standard error `se` shows with the given power, in the unit of `se`."""
    normal = NormalDist()
    return se * (normal.inv_cdf(1.0 - one_sided_level(claims, alpha=alpha)) + normal.inv_cdf(power))


def assess(
    verdict: Int8Array,
    net_bps: Float64Array,
    gross_bps: Float64Array,
    *,
    timestamp_us: Int64Array,
    strata: Int64Array | None = None,
    judged: BoolArray | None = None,
    known_at_us: Int64Array | None = None,
    returns: Mapping[str, Float64Array] | None = None,
    claims: int = 1,
    alpha: float = 0.05,
) -> Assessment:
    """Everything about one arm, from arrays; p-values are corrected as the worst case of `claims` claims
    (Bonferroni). `evaluate` corrects several arms together. It is called `arm`, and of the kind `memory`.

    Args:
        verdict: int8[n].
        net_bps: float64[n, 3] by `Verdict`, after costs.
        gross_bps: the same before costs.
        timestamp_us: int64[n], not falling; rows of one instant count as one, because they share a market.
        strata: int64[n], see `experiments.comparison.strata`; None: all of one.
        judged: bool[n]; None: where `net_bps` is a number.
        known_at_us: int64[n], when an outcome was known; where fewer than `FEWEST` of them follow one another without
            overlap there is no interval, because the file saw the market move over the horizon too seldom. None:
            outcomes do not overlap.
        returns: by fill, float64[n], the arm's portfolio returns less the baseline's, shares.
        claims: size of the family.
        alpha: two-sided level of the intervals and one-sided level of the tests.
    """
    known = np.isfinite(net_bps).all(axis=1) if judged is None else judged
    rows, nan = np.flatnonzero(known), float("nan")
    own, net, at = verdict[rows], net_bps[rows], timestamp_us[rows]

    seldom = known_at_us is not None and not follow_one_another(at, known_at_us[rows])

    def interval(series: Float64Array, instants: Int64Array) -> Interval:
        return mean_interval(by_instant(series, instants), level=1.0 - alpha)

    def of_outcomes(series: Float64Array) -> Interval:
        found = interval(series, at)
        return replace(found, low=nan, high=nan) if seldom else found

    within = np.zeros(len(rows), np.int64) if strata is None else strata[rows]
    selected = selection_of(own, net, within)
    selection = of_outcomes(selected)
    overridden = {kind.name.lower(): int(np.count_nonzero(own == kind)) for kind in OVERRIDES}
    plain = Assessment(
        arm="arm",
        kind="memory",
        signals=len(verdict),
        judged=len(rows),
        overridden=overridden,
        parts=decompose(own, net, gross_bps[rows], within),
        uplift=of_outcomes(uplift_of(own, net)),
        selection=selection,
        p_greater=1.0,
        p_less=1.0,
        judgment=Judgment.NO_DIFFERENCE,
        detectable_bps=None,
        returns_bps={
            fill: interval(difference, timestamp_us).scaled(_BPS)
            for fill, difference in (returns or {}).items()
        },
    )
    greater, less = (1.0, 1.0) if seldom else mean_p_values(by_instant(selected, at))
    return _judged(plain, min(1.0, claims * greater), min(1.0, claims * less), claims=claims, alpha=alpha)


def follow_one_another(decided_at_us: Int64Array, known_at_us: Int64Array) -> bool:
    """Whether `FEWEST` outcomes follow one another, each decided when the one before was known."""
    row = 0
    for _ in range(FEWEST):
        if row >= len(decided_at_us):
            return False
        row = int(np.searchsorted(decided_at_us, known_at_us[row]))
    return True


def assess_arms(stream: SignalStream, arms: Sequence[ArmResult], *, alpha: float = 0.05) -> list[Assessment]:
    """Every arm but the baseline against it, in their order; Holm's correction over the arms that claim to help.

    Raises:
        ValueError: the arms do not belong together, see `check_arms`.
    """
    check_arms(stream, arms)
    base = baseline_of(arms)
    others = [arm for arm in arms if arm is not base]
    claims = sum(arm.kind in CLAIMS for arm in others)
    strata = strata_of(stream.symbol, stream.side)
    plain = [
        replace(
            assess(
                arm.verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us, strata=strata,
                judged=stream.judged, known_at_us=stream.known_at_us, returns=_returns_against(base, arm), alpha=alpha,
            ),
            arm=arm.name,
            kind=arm.kind,
        )
        for arm in others
    ]  # fmt: skip
    return _corrected(plain, claims, alpha)


def _returns_against(base: ArmResult, arm: ArmResult) -> dict[str, Float64Array]:
    return {
        fill: np.asarray(own - base.signal_return[fill], np.float64)
        for fill, own in arm.signal_return.items()
        if fill in base.signal_return
    }


def _corrected(plain: Sequence[Assessment], claims: int, alpha: float) -> list[Assessment]:
    family = [index for index, assessment in enumerate(plain) if assessment.kind in CLAIMS]
    greater = dict(zip(family, holm([plain[index].p_greater for index in family]), strict=True))
    less = dict(zip(family, holm([plain[index].p_less for index in family]), strict=True))
    return [
        _judged(assessment, greater[index], less[index], claims=claims, alpha=alpha)
        if index in greater
        else assessment
        for index, assessment in enumerate(plain)
    ]


def _judged(one: Assessment, p_greater: float, p_less: float, *, claims: int, alpha: float) -> Assessment:
    """With corrected p-values, and what they show."""
    judgment = judge(one.selection, p_greater, p_less, alpha=alpha)
    return replace(
        one,
        p_greater=p_greater,
        p_less=p_less,
        judgment=judgment if one.enough else Judgment.NO_DIFFERENCE,
        detectable_bps=_would_show(one.selection, claims, alpha) if one.enough else None,
    )


def _would_show(selection: Interval, claims: int, alpha: float, *, power: float = POWER) -> float | None:
    """The effect that an interval of this width shows with the given power; None where there is no interval."""
    normal = NormalDist()
    below = selection.estimate - selection.low
    if not np.isfinite(below):
        return None
    corrected = normal.inv_cdf(1.0 - one_sided_level(claims, alpha=alpha)) / normal.inv_cdf(1.0 - alpha / 2)
    return below * corrected + normal.inv_cdf(power) * selection.se
