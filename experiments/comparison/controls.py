"""What a control that stands out means: `random` and `shuffled` know nothing, and should look like chance.

A p-value of a control is not corrected, and each control has two of them, for better and for worse. Of m controls that
know nothing at least one has a p-value of alpha or less, on either side, in about 1 - (1 - 2 alpha)^m of all runs: with
two controls and 5 % in 19 of 100. So that alone says nothing. Where the smallest p-value times 2 m (Bonferroni) is
still at most alpha, luck is no explanation any more, and the reader has to know what is:

- `random` draws its overrides by lot. There is nothing that it could know; the test calls too much significant here.
- `shuffled` has the gate's rules and a memory of moves dealt at random. It knows nothing of outcomes either, but what
  it overrules still goes by the signal's situation; where situations differ in what they are worth, to overrule some
  of them for no reason is right or wrong by accident, and with another seed the other way round.
"""

from dataclasses import dataclass

from raysignal.experiments.comparison.evaluation import Evaluation, is_canary
from raysignal.experiments.comparison.paired import Assessment, Judgment
from raysignal.experiments.formats import bp, counted, listed, p_equals

DRAWN = "random"
"""The control whose name holds this word draws its overrides by lot."""


@dataclass(frozen=True, slots=True)
class OddControl:
    """A control that knows nothing and has a small p-value.

    Attributes:
        assessment: of the control.
        better: it looks better than chance; else worse.
        p: the p-value of that side.
        corrected: p after correction for both sides of all such controls.
        beyond_luck: `corrected` is still at most the level.
    """

    assessment: Assessment
    better: bool
    p: float
    corrected: float
    beyond_luck: bool


def null_controls(evaluation: Evaluation) -> list[Assessment]:
    """The controls that know nothing and overruled enough signals to be tested."""
    return [one for one in evaluation.controls if not is_canary(one.arm, one.kind) and one.enough]


def odd_controls(evaluation: Evaluation) -> list[OddControl]:
    """Those of them with a p-value at or below the level of the tests, in the order of the arms."""
    controls = null_controls(evaluation)
    odd = []
    for one in controls:
        better = one.p_greater <= one.p_less
        p = one.p_greater if better else one.p_less
        corrected = min(1.0, 2.0 * len(controls) * p)
        if p <= evaluation.alpha:
            odd.append(OddControl(one, better, p, corrected, corrected <= evaluation.alpha))
    return odd


def share_with_an_odd_one(evaluation: Evaluation) -> float:
    """In what share of runs at least one of the controls is odd by luck alone."""
    return 1.0 - (1.0 - 2.0 * evaluation.alpha) ** len(null_controls(evaluation))


def control_meanings(evaluation: Evaluation) -> list[str]:
    """What every odd control means, a text each; none where there is none."""
    return [_meaning(evaluation, one) for one in odd_controls(evaluation)]


def control_meaning(evaluation: Evaluation, assessment: Assessment) -> str:
    """What one control means; empty where it is not odd."""
    odd = [one for one in odd_controls(evaluation) if one.assessment is assessment]
    return _meaning(evaluation, odd[0]) if odd else ""


def control_clause(evaluation: Evaluation) -> str:
    """For the headline: which controls luck does not explain; empty where there are none."""
    beyond = [one for one in odd_controls(evaluation) if one.beyond_luck]
    if not beyond:
        return ""
    names = listed([one.assessment.arm for one in beyond])
    verb, noun = ("do", "controls") if len(beyond) > 1 else ("does", "a control")
    return (
        f"Careful: {names}, {noun} without knowledge, {verb} not look like chance either (explained below)."
    )


def _meaning(evaluation: Evaluation, odd: OddControl) -> str:
    one = odd.assessment
    looks = f"{one.arm} looks {'better' if odd.better else 'worse'} than chance ({p_equals(odd.p)})"
    controls = len(null_controls(evaluation))
    if not odd.beyond_luck:
        return (
            f"{looks}, and that means nothing: of {counted(controls, 'control')} without knowledge at least one looks "
            f"so much better or worse in {100 * share_with_an_odd_one(evaluation):.0f} of 100 runs by luck."
        )
    luck = f"luck alone explains that in at most {_in_hundred(odd.corrected)} of 100 runs"
    if DRAWN in one.arm.lower():
        return (
            f"{looks}, though its overrides were drawn by lot; {luck}. Run again with other seeds (--seed): if it "
            f"stays so, the test finds too much on this file: do not rely on what is shown for {_claims(evaluation)}."
        )
    return (
        f"{looks}, though the outcomes that it remembers were dealt at random; {luck}. It overrules by a signal's "
        "situation all the same, and where some situations are worth more than others, to overrule some of them for no "
        "reason is right or wrong by accident. Run again with other seeds (--seed): an accident changes its sign from "
        "seed to seed. If the sign stays, what is gained or lost needs no memory of outcomes, only the times and kinds "
        f"of signals that are overruled.{_beside(evaluation, one)}"
    )


def _beside(evaluation: Evaluation, control: Assessment) -> str:
    """How the claims that are shown stand beside such a control."""
    shown = [one for one in evaluation.claims if one.judgment is not Judgment.NO_DIFFERENCE]
    if not shown:
        return ""
    figures = listed([f"{bp(one.selection.estimate)} bp for {one.arm}" for one in shown])
    return (
        f" Until that is known, count only what goes beyond it: {figures}, against {bp(control.selection.estimate)} bp "
        f"for {control.arm}."
    )


def _claims(evaluation: Evaluation) -> str:
    return listed([one.arm for one in evaluation.claims]) if evaluation.claims else "any arm"


def _in_hundred(corrected: float) -> str:
    """A bound on `corrected`, a count of a hundred runs that is not below it."""
    return "1" if corrected <= 0.01 else f"{int(-(-100 * corrected // 1))}"
