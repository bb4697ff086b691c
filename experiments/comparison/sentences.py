"""What an evaluation says, in plain sentences: the same in the report, in its picture and on a terminal.

The verdict speaks of one thing: whether an arm chose better or worse than chance which signals to overrule. Whether its
account earns is another, so the headline says both.
"""

from raysignal.experiments.comparison.accounts import account_sentence, fee_sentence
from raysignal.experiments.comparison.controls import control_clause, control_meaning, control_meanings
from raysignal.experiments.comparison.earnings import HoldGain
from raysignal.experiments.comparison.evaluation import ArmFigures, Evaluation, is_canary
from raysignal.experiments.comparison.paired import FEWEST, Assessment, Judgment
from raysignal.experiments.formats import (
    NONE,
    bp,
    counted,
    horizon_words,
    interval,
    listed,
    p_equals,
    percent,
)

JUDGED_WORDS = {
    Judgment.HELPS: "chooses better than chance",
    Judgment.HURTS: "chooses worse than chance",
    Judgment.NO_DIFFERENCE: "no difference shown",
}
_MUST_WIN = "looks ahead, and wins, as it must: this experiment can see an effect"
_UNSURE = (
    "looks ahead, and what that is worth comes from so few stretches of time that it is not known whether this "
    "experiment can see an effect"
)
_BLIND = "looks ahead and still does not win: this experiment cannot see an effect where there is one"


def headline(evaluation: Evaluation) -> str:
    """The result: the verdict, and what the accounts made of it."""
    said = (verdict(evaluation), control_clause(evaluation), money(evaluation))
    return " ".join(each for each in said if each)


def verdict(evaluation: Evaluation) -> str:
    """What is shown about the choices of the arms, in one sentence."""
    if not evaluation.judged:
        return f"Nothing can be shown: no signal could be followed {horizon_words(evaluation.horizon)}."
    if evaluation.blind:
        return "This experiment is blind: nothing can be concluded from it."
    if not evaluation.claims:
        return "No arm was there that claims to help."
    judged = counted(evaluation.judged, "judged signal")
    parts = []
    for judgment, how in ((Judgment.HELPS, "better"), (Judgment.HURTS, "worse")):
        found = [one for one in evaluation.claims if one.judgment is judgment]
        if found:
            verb = "choose" if len(found) > 1 else "chooses"
            names = listed([_credited(evaluation, one) for one in found])
            parts.append(f"{names} {verb} {how} than chance which of {judged} to overrule{_at_a_loss(found)}")
    if parts:
        return "; ".join(parts) + "."
    few = [one for one in evaluation.claims if not one.enough]
    if len(few) == len(evaluation.claims):
        overruled = listed([_few_words(one) for one in few])
        return f"No difference shown: of {judged} {overruled}."
    return f"No difference shown: no arm chose better or worse than chance which of {judged} to overrule."


def money(evaluation: Evaluation) -> str:
    """What the accounts came to, and at which fee they would earn."""
    return " ".join(each for each in (account_sentence(evaluation), fee_sentence(evaluation)) if each)


def sentence(evaluation: Evaluation, assessment: Assessment) -> str:
    """What is known about the choice of one arm; see also `where_from`."""
    if is_canary(assessment.arm, assessment.kind):
        says = _MUST_WIN if assessment.judgment is Judgment.HELPS else _BLIND
        if assessment.enough and not assessment.selection.is_known:
            says = _UNSURE
        return f"{assessment.arm} {says} ({_figures(assessment)})."
    if not _overruled(assessment):
        said = f"{assessment.arm} overruled no judged signal, so it is no different from the baseline."
    elif not assessment.enough:
        known = "No difference shown for" if assessment in evaluation.claims else "Nothing can be said of"
        said = f"{known} {assessment.arm}: {_too_few(assessment)}."
    elif assessment in evaluation.claims:
        said = f"{'Not to be relied on: ' if evaluation.blind else ''}{_tested(evaluation, assessment)}"
    else:
        said = _control(evaluation, assessment)
    note = model_note(evaluation.figures(assessment.arm))
    return f"{said} {note}" if note else said


def where_from(assessment: Assessment) -> str:
    """Where the uplift of an arm comes from, in one sentence."""
    parts = assessment.parts
    paid = "not paid" if parts.costs_bps >= 0.0 else "paid in addition"
    average = "lost" if parts.direction_bps > 0.0 else "won"
    return (
        f"Overruling {percent(assessment.override_rate)} of them changed the outcome by {bp(parts.uplift_bps)} bp per "
        f"judged signal ({_interval(assessment.uplift.level, assessment.uplift.low, assessment.uplift.high)}): "
        f"{bp(parts.selection_bps)} by choosing which of a symbol and side, {bp(parts.costs_bps)} by costs that were "
        f"{paid}, {bp(parts.direction_bps)} because the average signal of these symbols and sides {average} before "
        "costs."
    )


def scoring(evaluation: Evaluation) -> str:
    """How verdicts are scored, and what of it is no skill, with the figures of this run."""
    horizon = horizon_words(evaluation.horizon)
    said = f"What a verdict is worth is scored from flat, {horizon}, whatever the portfolio holds."
    gains = [each for each in evaluation.hold_gains if each.gain_bps is not None]
    if evaluation.policy.side == "long-flat":
        said += (
            " Under long-flat a SELL opens nothing: a HOLD of a SELL is worth 0 always, so that only BUYs can be held "
            f"with effect (to flip a BUY is to hold it, to flip a SELL buys).{_sides(evaluation)}"
        )
        gains = [each for each in gains if each.side == "BUY"]
    if gains:
        said += (
            f" Holding {', '.join(_hold_words(each) for each in gains)}. Costs that are saved that way are no skill: "
            "only the choice of signals within a symbol and side counts."
        )
    return said


def model_note(arm: ArmFigures) -> str:
    """How much of an arm that asks a model is the model's, and what kept it from more; empty for other arms."""
    if arm.kind != "model":
        return ""
    said = [_calls(arm), _model_share(arm)]
    if enough := arm.reasons.get("overruled_enough", 0):
        said.append(
            f"About {counted(enough, 'signal')} it was not asked: --overruled-share was used up. The gate's own "
            "overrides count towards that share and are not capped themselves."
        )
    if cut_off := arm.reasons.get("model_truncated", 0):
        said.append(
            f"Cut off: {counted(cut_off, 'answer')}; expected more --max-output-tokens, which thinking takes from, "
            "too, or a lower --thinking-level."
        )
    return " ".join(each for each in said if each)


def _calls(arm: ArmFigures) -> str:
    """How often the model was asked, and what that cost; empty where it was not."""
    if not arm.model_calls:
        return ""
    cost = (
        "at a cost that is not known"
        if arm.model_usd is None
        else f"for {arm.model_usd:,.2f} USD at list prices"
    )
    of = sum(arm.verdicts.values())
    return f"The model was asked about {arm.model_calls:,d} of {of:,d} BUYs and SELLs {cost}."


def _model_share(arm: ArmFigures) -> str:
    if not arm.deciders["model"]:
        refused = {
            name.removeprefix("model_").replace("_", " "): count
            for name, count in arm.reasons.items()
            if name.startswith("model_") and count
        }
        if not arm.model_calls and not refused:
            return f"No model was asked: every decision of {arm.name} is its gate's."
        why = ", ".join(f"{count:,d} {name}" for name, count in refused.items())
        return (
            f"No answer of the model could be used ({why or 'of ' + counted(arm.model_calls, 'question')}): every "
            f"decision of {arm.name} is its gate's."
        )
    if not arm.overruled_by["model"]:
        return f"The model overruled no judged signal: what {arm.name} overruled was its gate's choice."
    return (
        f"Of these overrides {arm.overruled_by['gate']:,d} are the gate's and {arm.overruled_by['model']:,d} the "
        "model's; what the model adds to the gate is not tested."
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
        sentences.append("No control that looks ahead tells whether an effect would be seen.")
    sentences += control_meanings(evaluation)
    sentences.append(
        "Whether an account earns: better choices than chance can lose money, and a gain from trading less is no "
        "skill, since a random choice of as many signals of the same symbols and sides would have had it too."
    )
    sentences.append(
        f"Outcomes are measured {horizon_words(evaluation.horizon)} on this stream alone; other markets and times are "
        "other experiments."
    )
    return sentences


def _control(evaluation: Evaluation, one: Assessment) -> str:
    if not one.selection.is_known:
        return f"Nothing can be said of {one.arm}: {_figures(one)}."
    meaning = control_meaning(evaluation, one)
    if meaning:
        return f"{one.arm}: {_figures(one)}. {meaning}"
    return f"{one.arm} makes no difference, as it should: {_figures(one)}."


def _tested(evaluation: Evaluation, one: Assessment) -> str:
    name = _credited(evaluation, one)
    overruled = f"overruling these {_overruled(one):,d} of {one.judged:,d} judged signals"
    what = f"{overruled}, and not others of the same symbol and side, brought {_figures(one)}"
    if one.judgment is not Judgment.NO_DIFFERENCE:
        return f"{name} {JUDGED_WORDS[one.judgment]}: {what}."
    reach = ""
    if bp(one.detectable_bps) != NONE:
        reach = f" Four of five such runs would have shown {bp(one.detectable_bps, sign=False)} bp."
    return f"No difference shown for {name}: {what}.{_disagreement(one)}{reach}"


def _disagreement(one: Assessment) -> str:
    """Where the interval alone, or the p-value alone, would have shown something."""
    clear = one.selection.above_zero or one.selection.below_zero
    significant = min(one.p_greater, one.p_less) <= 1.0 - one.selection.level
    if clear and not significant:
        return " The interval is clear of 0, but p is corrected for all arms that claim to help; both are asked for."
    if significant and not clear:
        return " p is small on one side, but the interval, which has two, holds 0; both are asked for."
    return ""


def _figures(one: Assessment) -> str:
    figures = f"{bp(one.selection.estimate)} bp per judged signal"
    if not one.enough:
        return figures
    figures += f", {_interval(one.selection.level, one.selection.low, one.selection.high)}"
    return f"{figures}, {p_equals(min(one.p_greater, one.p_less))}" if one.selection.is_known else figures


def _interval(level: float, low: float, high: float) -> str:
    written = interval(low, high)
    if written == NONE:
        return f"no {100 * level:.0f}% interval, since they come from too few stretches of time"
    return f"{100 * level:.0f}% interval {written}"


def _overruled(one: Assessment) -> int:
    return sum(one.overridden.values())


def _too_few(assessment: Assessment) -> str:
    overruled = _overruled(assessment)
    few, what = min((overruled, "overruled"), (assessment.judged - overruled, "left alone"))
    return (
        f"{few} of {counted(assessment.judged, 'judged signal')} {'was' if few == 1 else 'were'} {what}, and fewer "
        f"than {FEWEST} show nothing"
    )


def _credited(evaluation: Evaluation, one: Assessment) -> str:
    """The arm's name; one whose model overruled nothing is named for its gate."""
    arm = evaluation.figures(one.arm)
    return f"the gate of {one.arm}" if arm.kind == "model" and not arm.overruled_by["model"] else one.arm


def _few_words(one: Assessment) -> str:
    overruled = _overruled(one)
    if not overruled:
        return f"{one.arm} overruled none"
    return f"{one.arm} overruled {overruled:,d}, too {'few' if overruled < FEWEST else 'many'} to tell"


def _at_a_loss(found: list[Assessment]) -> str:
    """Better choices that lost all the same: flips pay costs, and sides drift."""
    lost = [one for one in found if one.judgment is Judgment.HELPS and one.parts.uplift_bps < 0.0]
    if not lost:
        return ""
    figures = listed([f"{bp(one.parts.uplift_bps)} bp" for one in lost])
    return f", but overruling them changed the outcome by {figures} per judged signal in all"


def _sides(evaluation: Evaluation) -> str:
    overruled = [
        f"{one.arm} overruled {counted(figures.overruled_side['buy'], 'BUY')} and "
        f"{counted(figures.overruled_side['sell'], 'SELL')}"
        for one in evaluation.claims
        if sum((figures := evaluation.figures(one.arm)).overruled_side.values())
    ]
    return f" Here {'; '.join(overruled)}." if overruled else ""


def _hold_words(gain: HoldGain) -> str:
    return f"a {gain.side} gained {bp(gain.gain_bps)} bp on average, of which costs {bp(gain.costs_bps)}"


def approximation_notes(evaluation: Evaluation) -> list[str]:
    """A sentence for each arm whose neighbours were searched approximately."""
    notes = []
    for arm in evaluation.arms:
        if (found := arm.approximation) is None:
            continue
        of_memory, of_vectors = (
            NONE if share is None else percent(share) for share in (found.of_memory, found.of_vectors)
        )
        notes.append(
            f"{arm.name} found {of_memory} of the neighbours that the memory ranks first, and {of_vectors} of those "
            f"that are nearest by the vectors that Chroma holds; {found.differ:,d} of its {found.decisions:,d} "
            "decisions are not those of the memory."
        )
    return notes
