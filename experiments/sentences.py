"""What an evaluation says, in plain sentences: the same in the report, in its picture and on a terminal."""

from experiments.evaluation import Evaluation, is_canary
from experiments.paired import FEWEST, Assessment, Judgment

_MUST_WIN = "looks ahead, and wins, as it must: this experiment can see an effect."
_BLIND = "looks ahead and still does not win: this experiment cannot see an effect where there is one."


def headline(evaluation: Evaluation) -> str:
    """The result in one sentence."""
    if evaluation.blind:
        return "This experiment is blind: nothing can be concluded from it."
    found = {
        judgment: [one.arm for one in evaluation.claims if one.judgment is judgment] for judgment in Judgment
    }
    parts = [
        f"{_and(found[judgment])} {_verb(found[judgment], verb)} the signals"
        for judgment, verb in ((Judgment.HELPS, "improve"), (Judgment.HURTS, "worsen"))
        if found[judgment]
    ]
    if parts:
        return "; ".join(parts) + "."
    if not evaluation.claims:
        return "No arm was there that claims to help."
    return "No difference shown: no arm chose the signals to overrule better or worse than chance."


def sentence(evaluation: Evaluation, assessment: Assessment) -> str:
    """What is known about one arm, in one sentence; see also `where_from`."""
    if is_canary(assessment.arm, assessment.kind):
        says = _MUST_WIN if assessment.judgment is Judgment.HELPS else _BLIND
        return f"{assessment.arm} ({_worth(assessment)}) {says}"
    if not sum(assessment.overridden.values()):
        return f"{assessment.arm} overruled no judged signal, so it is no different from the baseline."
    if not assessment.enough:
        return f"No difference shown for {assessment.arm}: {_too_few(assessment)}."
    worth = _worth(assessment)
    prefix = "Not to be relied on: " if evaluation.blind else ""
    if assessment.judgment is Judgment.HELPS:
        return (
            f"{prefix}{assessment.arm} helps: its choice of which signals to overrule beats chance, by "
            f"{worth}."
        )
    if assessment.judgment is Judgment.HURTS:
        return (
            f"{prefix}{assessment.arm} hurts: its choice of which signals to overrule is worse than chance, by "
            f"{worth}."
        )
    reach = (
        ""
        if assessment.detectable_bps is None
        else (
            f"; {bp(assessment.detectable_bps, sign=False)} bp would have been shown four times out of five"
        )
    )
    return (
        f"{prefix}No difference shown for {assessment.arm}: its choice of which signals to overrule is worth "
        f"{worth}{reach}."
    )


def where_from(assessment: Assessment) -> str:
    """Where the uplift of an arm comes from, in one sentence."""
    parts = assessment.parts
    return (
        f"Overruling {percent(assessment.override_rate)} of the judged signals changed the outcome by "
        f"{bp(parts.uplift_bps)} bp per signal: {bp(parts.selection_bps)} by choosing which, "
        f"{bp(parts.costs_bps)} by costs that were not paid, {bp(parts.direction_bps)} because the average "
        f"signal {'lost' if parts.direction_bps > 0 else 'won'} before costs."
    )


def shown(evaluation: Evaluation) -> list[str]:
    """What this experiment has shown."""
    if evaluation.blind:
        return []
    sentences = [
        sentence(evaluation, one) for one in evaluation.claims if one.judgment is not Judgment.NO_DIFFERENCE
    ]
    sentences += [sentence(evaluation, one) for one in evaluation.controls if is_canary(one.arm, one.kind)]
    return sentences


def not_shown(evaluation: Evaluation) -> list[str]:
    """What this experiment has not shown, or cannot."""
    sentences = [
        sentence(evaluation, one)
        for one in evaluation.claims
        if evaluation.blind or one.judgment is Judgment.NO_DIFFERENCE
    ]
    if evaluation.blind is None:
        sentences.append(
            "No control that looks ahead was run, so it is not known whether an effect would be seen."
        )
    odd = [
        one.arm
        for one in evaluation.controls
        if not is_canary(one.arm, one.kind) and one.judgment is not Judgment.NO_DIFFERENCE
    ]
    if odd:
        sentences.append(
            f"{_and(odd)} should make no difference and seems to: chance does so in about 1 of 20 controls; "
            "if it persists with other seeds, the experiment leaks."
        )
    sentences.append(
        "An uplift from trading less is no skill: a random choice of as many signals would have had it too."
    )
    sentences.append(
        f"Outcomes are measured over {evaluation.horizon} on this stream alone; other markets and times are "
        "other experiments."
    )
    return sentences


def bp(value: float, *, sign: bool = True) -> str:
    """Basis points with a sign, two decimals below 10, one above."""
    if value != value:  # noqa: PLR0124 - NaN
        return "unknown"
    digits = 1 if abs(value) >= 10.0 else 2
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-0.00", "0.00").replace("+0.00", "0.00")


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return "unknown" if share is None or share != share else f"{100 * share:.{digits}f} %"  # noqa: PLR0124


def between(low: str, high: str) -> str:
    """An interval from its written bounds."""
    return "unknown" if low == "unknown" else f"{low} to {high}"


def p_value(value: float) -> str:
    """A p-value with three decimals."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _too_few(assessment: Assessment) -> str:
    overruled = sum(assessment.overridden.values())
    few, what = min((overruled, "overruled"), (assessment.judged - overruled, "left alone"))
    return (
        f"{few} judged signal{'s were' if few != 1 else ' was'} {what}, and fewer than {FEWEST} show nothing"
    )


def _worth(assessment: Assessment) -> str:
    one = assessment.selection
    return f"{bp(one.estimate)} bp per signal, {100 * one.level:.0f} % interval {between(bp(one.low), bp(one.high))}"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _verb(names: list[str], plural: str) -> str:
    return plural if len(names) > 1 else f"{plural}s"
