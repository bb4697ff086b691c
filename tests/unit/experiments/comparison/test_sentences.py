from dataclasses import replace

import pytest

from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.earnings import HoldGain
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.comparison.sentences import (
    headline,
    model_note,
    money,
    not_shown,
    scoring,
    sentence,
    shown,
    verdict,
    where_from,
)
from raysignal.experiments.comparison.uplift import Decomposition
from tests.support.experiment_streams import a_stream, an_arm, some_arms


@pytest.fixture(scope="module")
def evaluation():
    stream = a_stream(300)
    return evaluate(stream, some_arms(stream))


def judged(evaluation, *judgments, blind=False, **changes):
    """The same evaluation with other judgments about its arms, in their order."""
    found = [
        replace(
            one,
            judgment=judgment,
            judged=400,
            selection=replace(one.selection, estimate=1.5, low=0.5, high=2.5),
            detectable_bps=1.4,
            overridden={"flip": 30, "hold": 50},
            p_greater={Judgment.HELPS: 0.01, Judgment.HURTS: 0.99, Judgment.NO_DIFFERENCE: 0.2}[judgment],
            p_less={Judgment.HELPS: 0.99, Judgment.HURTS: 0.01, Judgment.NO_DIFFERENCE: 0.8}[judgment],
            **changes,
        )
        for one, judgment in zip(evaluation.assessments, judgments, strict=True)
    ]
    return replace(evaluation, assessments=tuple(found), blind=blind, judged=400)


def with_model(evaluation, **changes):
    """The same evaluation with other figures of the arm that asks a model."""
    arms = [replace(arm, **changes) if arm.kind == "model" else arm for arm in evaluation.arms]
    return replace(evaluation, arms=tuple(arms))


H, W, N = Judgment.HELPS, Judgment.HURTS, Judgment.NO_DIFFERENCE


# The verdict


@pytest.mark.parametrize(
    ("judgments", "says"),
    [
        (
            (N, N, N, H),
            "No difference shown: no arm chose better or worse than chance which of 400 judged signals to overrule.",
        ),
        ((H, N, N, H), "memory chooses better than chance which of 400 judged signals to overrule."),
        (
            (H, H, N, H),
            "memory and memory + Gemini choose better than chance which of 400 judged signals to overrule.",
        ),
        (
            (H, W, N, H),
            (
                "memory chooses better than chance which of 400 judged signals to overrule; memory + Gemini chooses "
                "worse than chance which of 400 judged signals to overrule."
            ),
        ),
    ],
)
def test_the_verdict_speaks_of_choices_and_of_how_many_signals(evaluation, judgments, says):
    assert verdict(judged(evaluation, *judgments)) == says


def test_the_headline_tells_what_the_accounts_came_to_beside_the_verdict(evaluation):
    found = judged(evaluation, H, N, N, H)
    assert headline(found) == f"{verdict(found)} {money(found)}"
    assert "filled at the next bar, memory" in headline(found)
    assert "baseline" in headline(found)


def test_the_headline_warns_of_a_control_that_luck_does_not_explain(evaluation):
    odd = judged(evaluation, H, N, H, H)
    assert "Careful: random, a control without knowledge, does not look like chance" in headline(odd)
    assert "Careful" not in headline(judged(evaluation, H, N, N, H))


def test_better_choices_that_lose_in_all_are_said_to_lose(evaluation):
    lost = judged(evaluation, H, N, N, H, parts=Decomposition(-2.0, 1.5, -3.0, -0.5))
    assert verdict(lost) == (
        "memory chooses better than chance which of 400 judged signals to overrule, but overruling them changed the "
        "outcome by -2.00 bp per judged signal in all."
    )


def test_too_few_overruled_signals_are_counted_in_the_headline(evaluation):
    few = judged(evaluation, N, N, N, H)
    changed = [
        replace(one, overridden={"flip": 0, "hold": count})
        for one, count in zip(few.assessments, (0, 395, 3, 80), strict=True)
    ]
    assert verdict(replace(few, assessments=tuple(changed))) == (
        "No difference shown: of 400 judged signals memory overruled none and memory + Gemini overruled 395, too many "
        "to tell."
    )


def test_nothing_judged_is_said_instead_of_a_verdict():
    stream = a_stream(24)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory")]
    assert verdict(evaluate(stream, arms)) == (
        "Nothing can be shown: no signal could be followed over 6 bars."
    )


def test_a_blind_experiment_says_so_before_anything_else(evaluation):
    blind = judged(evaluation, H, N, N, N, blind=True)
    assert headline(blind).startswith("This experiment is blind: nothing can be concluded from it.")
    assert sentence(blind, blind.claims[0]).startswith(
        "Not to be relied on: memory chooses better than chance"
    )
    assert shown(blind) == []
    assert "cannot see an effect" in sentence(blind, blind.of("canary"))


# One arm


def test_an_arm_is_told_with_its_counts_its_interval_and_its_p_value(evaluation):
    found = judged(evaluation, H, N, N, H)
    assert sentence(found, found.of("memory")) == (
        "memory chooses better than chance: overruling these 80 of 400 judged signals, and not others of the same "
        "symbol and side, brought +1.50 bp per judged signal, 95% interval +0.50 to +2.50, p 0.010."
    )
    assert sentence(found, found.of("memory")) in shown(found)


def test_no_difference_comes_with_what_would_have_been_shown_and_what_did_not_agree(evaluation):
    found = judged(evaluation, N, H, N, H)
    assert sentence(found, found.of("memory")) == (
        "No difference shown for memory: overruling these 80 of 400 judged signals, and not others of the same symbol "
        "and side, brought +1.50 bp per judged signal, 95% interval +0.50 to +2.50, p 0.200. The interval is clear of "
        "0, but p is corrected for all arms that claim to help; both are asked for. Four of five such runs "
        "would have shown 1.40 bp."
    )
    assert sentence(found, found.of("memory")) in not_shown(found)
    assert sentence(found, found.of("memory + Gemini")) in shown(found)


def test_a_small_p_value_whose_interval_holds_zero_is_said_to_be_one_of_two(evaluation):
    one = judged(evaluation, N, N, N, H).of("memory")
    one = replace(one, p_greater=0.01, selection=replace(one.selection, low=-0.1))
    found = replace(evaluation, assessments=(one, *evaluation.assessments[1:]), blind=False)
    assert (
        "p is small on one side, but the interval, which has two, holds 0; both are asked for."
        in sentence(found, one)
    )


def test_an_interval_that_the_signals_cannot_carry_is_said_to_be_none(evaluation):
    nan = float("nan")
    one = judged(evaluation, N, N, N, H).of("memory")
    one = replace(one, selection=replace(one.selection, low=nan, high=nan), detectable_bps=nan)
    found = replace(evaluation, assessments=(one, *evaluation.assessments[1:]), blind=False)
    assert sentence(found, one).endswith(
        "brought +1.50 bp per judged signal, no 95% interval, since they come from too few stretches of time."
    )
    control = evaluation.of("random")
    control = replace(control, selection=replace(control.selection, low=nan, high=nan))
    assert sentence(evaluation, control).startswith("Nothing can be said of random: ")
    assert sentence(evaluation, control).endswith("since they come from too few stretches of time.")


def test_an_arm_that_overruled_nothing_is_the_baseline(evaluation):
    one = replace(evaluation.assessments[0], overridden={"flip": 0, "hold": 0})
    assert sentence(evaluation, one) == (
        "memory overruled no judged signal, so it is no different from the baseline."
    )


@pytest.mark.parametrize(
    ("overridden", "says"),
    [
        (1, "1 of 100 judged signals was overruled, and fewer than 10 show nothing."),
        (91, "9 of 100 judged signals were left alone, and fewer than 10 show nothing."),
    ],
)
def test_too_few_overrides_are_said_to_show_nothing(evaluation, overridden, says):
    memory, _, random, _ = (
        replace(one, judged=100, overridden={"flip": 0, "hold": overridden}) for one in evaluation.assessments
    )
    found = replace(evaluation, assessments=(memory, random))
    assert sentence(found, memory) == f"No difference shown for memory: {says}"
    assert sentence(found, random) == f"Nothing can be said of random: {says}"


def test_no_sentence_shows_a_number_that_is_not_there():
    stream = a_stream(26)
    found = evaluate(stream, some_arms(stream))
    texts = [headline(found), scoring(found), *(sentence(found, one) for one in found.assessments)]
    assert not [text for text in texts if "nan" in text.lower() or "unknown" in text or "— to" in text]


# Controls


def test_a_control_that_makes_no_difference_does_as_it_should(evaluation):
    found = judged(evaluation, N, N, N, H)
    assert sentence(found, found.of("random")) == (
        "random makes no difference, as it should: +1.50 bp per judged signal, 95% interval +0.50 to +2.50, p 0.200."
    )


def test_a_control_that_makes_a_difference_is_explained_wherever_it_is_shown(evaluation):
    odd = judged(evaluation, N, N, H, H)
    assert sentence(odd, odd.of("random")).startswith("random: +1.50 bp per judged signal, 95% interval")
    assert "drawn by lot" in sentence(odd, odd.of("random"))
    assert any(one.startswith("random looks better than chance (p 0.010)") for one in not_shown(odd))
    assert not any(one.startswith("random") for one in not_shown(judged(evaluation, N, N, N, H)))


def test_a_missing_canary_is_pointed_out(evaluation):
    assert any(
        "No control that looks ahead tells" in one for one in not_shown(replace(evaluation, blind=None))
    )


# The model


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"deciders": {"signal": 90, "gate": 10, "model": 0}, "model_calls": 12,
             "reasons": {"evidence_for": 5, "model_timeout": 9, "model_unreadable": 3}, "model_usd": None},
            ("The model was asked about 12 of 270 BUYs and SELLs at a cost that is not known. "
            "No answer of the model could be used (9 timeout, 3 unreadable): every decision of memory + Gemini is its "
            "gate's."),
        ),
        (
            {"deciders": {"signal": 90, "gate": 10, "model": 0}, "model_calls": 12, "reasons": {"model_truncated": 12}},
            ("The model was asked about 12 of 270 BUYs and SELLs for 0.04 USD at list prices. "
            "No answer of the model could be used (12 truncated): every decision of memory + Gemini is its gate's. "
            "Cut off: 12 answers; expected more --max-output-tokens, which thinking takes from, too, or a lower "
            "--thinking-level."),
        ),
        (
            {"deciders": {"signal": 90, "gate": 10, "model": 0}, "model_calls": 0, "reasons": {"evidence_for": 5}},
            "No model was asked: every decision of memory + Gemini is its gate's.",
        ),
        (
            {"deciders": {"signal": 90, "gate": 10, "model": 5}, "model_calls": 5,
             "overruled_by": {"signal": 0, "gate": 7, "model": 0}, "model_usd": 1.5},
            ("The model was asked about 5 of 270 BUYs and SELLs for 1.50 USD at list prices. "
            "The model overruled no judged signal: what memory + Gemini overruled was its gate's choice."),
        ),
        (
            {"deciders": {"signal": 90, "gate": 10, "model": 5}, "model_calls": 5,
             "overruled_by": {"signal": 0, "gate": 1_007, "model": 3}, "model_usd": 0.004,
             "reasons": {"overruled_enough": 2}},
            ("The model was asked about 5 of 270 BUYs and SELLs for 0.00 USD at list prices. "
            "Of these overrides 1,007 are the gate's and 3 the model's; what the model adds to the gate is not tested. "
            "About 2 signals it was not asked: --overruled-share was used up. The gate's own overrides count towards "
            "that share and are not capped themselves."),
        ),
    ],
)  # fmt: skip
def test_a_model_is_credited_with_what_it_decided_alone(evaluation, changes, says):
    found = with_model(judged(evaluation, N, H, N, H), **changes)
    assert model_note(found.figures("memory + Gemini")) == says
    assert sentence(found, found.of("memory + Gemini")).endswith(says)
    assert model_note(found.figures("memory")) == ""


def test_a_model_that_overruled_nothing_is_not_credited_in_the_headline(evaluation):
    found = with_model(judged(evaluation, N, H, N, H), overruled_by={"signal": 0, "gate": 80, "model": 0})
    assert sentence(found, found.of("memory + Gemini")).startswith(
        "the gate of memory + Gemini chooses better"
    )
    assert verdict(found) == (
        "the gate of memory + Gemini chooses better than chance which of 400 judged signals to overrule."
    )


# Where an uplift comes from


def test_an_uplift_is_told_with_its_parts(evaluation):
    one = replace(
        evaluation.assessments[0],
        judged=200,
        overridden={"flip": 5, "hold": 15},
        parts=Decomposition(2.0, -0.5, 3.0, -0.5),
        uplift=replace(evaluation.assessments[0].uplift, estimate=2.0, low=1.0, high=3.0),
    )
    assert where_from(one) == (
        "Overruling 10.0% of them changed the outcome by +2.00 bp per judged signal (95% interval +1.00 to +3.00): "
        "-0.50 by choosing which of a symbol and side, +3.00 by costs that were not paid, -0.50 because the average "
        "signal of these symbols and sides won before costs."
    )
    more = replace(one, parts=Decomposition(-2.0, 0.5, -3.0, 0.5))
    assert "-3.00 by costs that were paid in addition, +0.50 because the average signal" in where_from(more)
    assert where_from(more).endswith("lost before costs.")


# How verdicts are scored


def test_long_flat_says_that_holding_a_sell_is_worth_nothing_and_what_holding_a_buy_saves(evaluation):
    gains = HoldGain("BUY", 150, 24.1, 20.0), HoldGain("SELL", 150, 0.0, 0.0)
    found = replace(evaluation, policy=Policy(), hold_gains=gains, horizon="6b")
    arms = [replace(arm, overruled_side={"buy": 802, "sell": 0}) if arm.name == "memory" else
            replace(arm, overruled_side={"buy": 0, "sell": 0}) for arm in found.arms]  # fmt: skip
    assert scoring(replace(found, arms=tuple(arms))) == (
        "What a verdict is worth is scored from flat, over 6 bars, whatever the portfolio holds. Under long-flat a "
        "SELL opens nothing: a HOLD of a SELL is worth 0 always, so that only BUYs can be held with effect (to flip a "
        "BUY is to hold it, to flip a SELL buys). Here memory overruled 802 BUYs and 0 SELLs. Holding a BUY gained "
        "+24.1 bp on average, of which costs +20.0. Costs that are saved that way are no skill: only the choice of "
        "signals within a symbol and side counts."
    )


def test_long_short_says_what_holding_saves_on_both_sides(evaluation):
    gains = HoldGain("BUY", 150, 24.1, 20.0), HoldGain("SELL", 150, 24.7, 20.0)
    said = scoring(replace(evaluation, hold_gains=gains))
    assert (
        "Holding a BUY gained +24.1 bp on average, of which costs +20.0, a SELL gained +24.7 bp on average"
        in said
    )
    assert "long-flat" not in said
