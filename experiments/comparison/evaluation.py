"""Everything that is known about an experiment once its arms are done: what `metrics.json` holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from raysignal.agents.override.accuracy import Accuracy
from raysignal.agents.verdicts import DecidedBy, Verdict
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.plain_values import from_plain, plain_values
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.calibration import Calibration, calibration_of
from raysignal.experiments.comparison.cohorts import accuracy_of
from raysignal.experiments.comparison.earnings import Earnings, HoldGain, earnings_of, hold_gains
from raysignal.experiments.comparison.paired import CLAIMS, Assessment, Judgment, assess_arms
from raysignal.experiments.comparison.power_plan import PowerPlan, plan
from raysignal.experiments.comparison.results import Approximation, ArmResult, SignalStream, check_arms
from raysignal.experiments.comparison.strata import strata_of

CANARY = "canary"
"""The control whose name holds this word looks ahead, and must win."""


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """What one arm did, in counts over all signals, and what it cost.

    Attributes:
        verdicts: signals by verdict, HOLD signals left out.
        deciders: the same signals by who decided.
        reasons: all signals by reason.
        overruled_by: judged signals that were flipped or held, by who decided.
        overruled_side: the same by their side, `buy` and `sell`.
        earnings: of the decisions, trade by trade and in the account.
        model_usd: None where it is not known, or no model was asked.
        performance: by fill.
        approximation: see `ArmResult`.
    """

    name: str
    kind: str
    verdicts: Mapping[str, int]
    deciders: Mapping[str, int]
    reasons: Mapping[str, int]
    overruled_by: Mapping[str, int]
    overruled_side: Mapping[str, int]
    earnings: Earnings
    model_usd: float | None
    model_calls: int
    model_tokens: tuple[int, int]
    performance: Mapping[str, Mapping[str, Any]]
    approximation: Approximation | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of an experiment.

    Attributes:
        horizon: over which outcomes were measured, such as `6b`, `5400s` or `close`.
        policy: of every portfolio; outcomes are scored under its side and costs.
        hold_gains: what holding a signal would have gained on average, of BUYs and of SELLs.
        signals, judged: rows of the stream, and those with an outcome.
        arms: figures of every arm, in their order.
        assessments: of every arm but the baseline, in their order.
        plan: what this stream could show.
        accuracy: of the signals as they came.
        calibration: by arm, of those that had probabilities.
        blind: the control that looks ahead did not win, so that nothing can be concluded; None where there
            was none, or what it is worth is not known.
        alpha: 1 - coverage of the intervals.
    """

    horizon: str
    policy: Policy
    hold_gains: tuple[HoldGain, ...]
    signals: int
    judged: int
    arms: tuple[ArmFigures, ...]
    assessments: tuple[Assessment, ...]
    plan: PowerPlan
    accuracy: Accuracy
    calibration: Mapping[str, Calibration]
    blind: bool | None
    alpha: float

    def figures(self, arm: str) -> ArmFigures:
        """The figures of one arm; `KeyError` if there is no such arm."""
        for figures in self.arms:
            if figures.name == arm:
                return figures
        raise KeyError(arm)

    def of(self, arm: str) -> Assessment:
        """The assessment of one arm; `KeyError` if it has none."""
        for assessment in self.assessments:
            if assessment.arm == arm:
                return assessment
        raise KeyError(arm)

    @property
    def claims(self) -> tuple[Assessment, ...]:
        """The arms that claim to help."""
        return tuple(assessment for assessment in self.assessments if assessment.kind in CLAIMS)

    @property
    def controls(self) -> tuple[Assessment, ...]:
        """The arms that show whether the experiment can see."""
        return tuple(assessment for assessment in self.assessments if assessment.kind not in CLAIMS)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where there is no number."""
        return {
            **plain_values(self),
            "policy": self.policy.as_dict(),
            "assessments": [assessment.as_dict() for assessment in self.assessments],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what `as_dict` gave, such as `metrics.json` of a run.

        Raises:
            RaysignalError: an earlier version wrote it.
        """
        if "hold_gains" not in values:
            raise RaysignalError(
                "metrics.json of this run lacks hold_gains; expected what this version writes: compare the file again"
            )
        found: Self = from_plain(cls, values)
        return found


def evaluate(
    stream: SignalStream,
    arms: Sequence[ArmResult],
    *,
    alpha: float = 0.05,
) -> Evaluation:
    """Evaluate the arms of an experiment against its baseline. The same arguments give the same evaluation.

    Args:
        stream: what every arm saw.
        arms: exactly one of them the baseline.
        alpha: 1 - coverage of the intervals, and the one-sided level of the tests.

    Raises:
        ValueError: the arms do not belong together, see `check_arms`.
    """
    check_arms(stream, arms)
    assessments = assess_arms(stream, arms, alpha=alpha)
    found = {arm.name: calibration_of(stream, arm) for arm in arms}
    return Evaluation(
        horizon=stream.horizon,
        policy=stream.policy,
        hold_gains=hold_gains(stream),
        signals=len(stream),
        judged=int(np.count_nonzero(stream.judged)),
        arms=tuple(_figures(stream, arm) for arm in arms),
        assessments=tuple(assessments),
        plan=plan(
            stream.net_bps,
            timestamp_us=stream.timestamp_us,
            claims=max(1, sum(arm.kind in CLAIMS for arm in arms)),
            strata=strata_of(stream.symbol, stream.side),
            judged=stream.judged,
            known_at_us=stream.known_at_us,
            alpha=alpha,
        ),
        accuracy=accuracy_of(stream),
        calibration={name: calibration for name, calibration in found.items() if calibration is not None},
        blind=_blind(assessments),
        alpha=alpha,
    )


def is_canary(arm: str, kind: str) -> bool:
    """Whether the arm of this name is the control that looks ahead."""
    return kind == "control" and CANARY in arm.lower()


def _blind(assessments: Sequence[Assessment]) -> bool | None:
    canaries = [
        one
        for one in assessments
        if is_canary(one.arm, one.kind) and (one.selection.is_known or not one.enough)
    ]
    if not canaries:
        return None
    return any(canary.judgment is not Judgment.HELPS for canary in canaries)


def _figures(stream: SignalStream, arm: ArmResult) -> ArmFigures:
    traded = stream.side != 0
    overruled = stream.judged & (arm.verdict != Verdict.APPROVE)
    return ArmFigures(
        name=arm.name,
        kind=arm.kind,
        verdicts=_counts(arm.verdict[traded], Verdict),
        deciders=_counts(arm.by[traded], DecidedBy),
        reasons=arm.reasons.counts(),
        overruled_by=_counts(arm.by[overruled], DecidedBy),
        overruled_side={
            name: int(np.count_nonzero(stream.action[overruled] == side))
            for name, side in (("buy", 1), ("sell", -1))
        },
        earnings=earnings_of(stream, arm.verdict),
        model_usd=arm.model_usd,
        model_calls=arm.model_calls,
        model_tokens=arm.model_tokens,
        performance={fill: dict(figures) for fill, figures in arm.performance.items()},
        approximation=arm.approximation,
    )


def _counts(codes: Any, words: Any) -> dict[str, int]:
    counted = np.bincount(codes, minlength=len(words)).tolist()
    return {word.name.lower(): counted[word] for word in words}
