"""Where signals were right or wrong more often than expected, and what the arms did there.

A pattern is a cohort that stands out after the correction for how many were looked at (`agents.override.accuracy`).
What an arm gained there is what its overrides changed, costs included: it describes, and proves nothing by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raysignal.agents.override.accuracy import TEXT, Accuracy, Cohort
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import BoolArray
from raysignal.experiments.comparison.cohorts import dimensions_of
from raysignal.experiments.comparison.paired import CLAIMS
from raysignal.experiments.comparison.results import ArmResult, SignalStream
from raysignal.experiments.comparison.uplift import uplift_of

_MARKET, _RANGE = "regime", "range."


@dataclass(frozen=True, slots=True)
class ArmThere:
    """What an arm did with the judged signals of a pattern.

    Attributes:
        overruled: how many of them it flipped or held.
        gained_bps: what that changed, mean bp per overruled signal; None where it overruled none.
    """

    overruled: int
    gained_bps: float | None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A condition under which signals were right or wrong.

    Attributes:
        dimension, name: such as `category.mood` and `panic`.
        n: judged signals.
        accuracy, low, high: how often they were right, with a 95 % interval.
        drift: how often signals that know nothing would have been.
        flag: `good` or `bad`.
        arms: what those that claim to help did there, by name.
    """

    dimension: str
    name: str
    n: int
    accuracy: float
    low: float
    high: float
    drift: float
    flag: Literal["good", "bad"]
    arms: Mapping[str, ArmThere]

    @property
    def condition(self) -> str:
        """In words: `mood is panic`, `a text says "rate cut"`."""
        if self.dimension == TEXT:
            return f'a text says "{self.name}"'
        what = "market" if self.dimension == _MARKET else self.dimension
        what = what.removeprefix("category.").removeprefix(_RANGE)
        return f"{what.replace('_', ' ')} is {self.name}"

    @property
    def weight(self) -> float:
        """How many signals were right or wrong beyond what is expected."""
        return self.n * abs(self.accuracy - self.drift)


def patterns_of(stream: SignalStream, arms: Sequence[ArmResult], found: Accuracy) -> tuple[Pattern, ...]:
    """The patterns of a stream, the surest first.

    Args:
        stream: the signals.
        arms: all of the experiment; those that claim to help are told about.
        found: the accuracy of the same stream.
    """
    claims = [arm for arm in arms if arm.kind in CLAIMS]
    return tuple(_pattern(stream, claims, cohort) for cohort in found.patterns())


def leading(patterns: Sequence[Pattern], most: int) -> list[Pattern]:
    """The weightiest good and the weightiest bad one of each dimension: names of one dimension say much the same.

    Dimensions with both come first, since there it matters which of the two it is, and names before ranges; then the
    weightiest.
    """
    firsts: dict[str, dict[str, Pattern]] = {}
    for one in sorted(patterns, key=lambda one: -one.weight):
        firsts.setdefault(one.dimension, {}).setdefault(one.flag, one)
    order = sorted(firsts, key=lambda dimension: (dimension.startswith(_RANGE), -len(firsts[dimension])))
    return [one for dimension in order for one in firsts[dimension].values()][:most]


def _pattern(stream: SignalStream, claims: Sequence[ArmResult], cohort: Cohort) -> Pattern:
    assert cohort.flag is not None
    rows = stream.judged & _members(stream, cohort)
    return Pattern(
        cohort.dimension, cohort.name, cohort.n, cohort.accuracy, cohort.accuracy_low, cohort.accuracy_high,
        cohort.drift, cohort.flag, {arm.name: _there(stream, arm, rows) for arm in claims},
    )  # fmt: skip


def _members(stream: SignalStream, cohort: Cohort) -> BoolArray:
    if cohort.dimension == "side":
        return np.asarray(stream.action == (1 if cohort.name == "BUY" else -1))
    if cohort.dimension == TEXT:
        has = np.zeros(len(stream), np.bool_)
        has[stream.words[cohort.name]] = True
        return has
    labels = dimensions_of(stream)[cohort.dimension]
    return np.asarray(labels.codes == labels.names.index(cohort.name))


def _there(stream: SignalStream, arm: ArmResult, rows: BoolArray) -> ArmThere:
    overruled = np.flatnonzero(rows & (arm.verdict != Verdict.APPROVE))
    if not len(overruled):
        return ArmThere(0, None)
    gained = uplift_of(arm.verdict[overruled], stream.net_bps[overruled])
    return ArmThere(len(overruled), float(gained.mean()))
