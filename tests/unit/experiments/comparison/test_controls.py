from dataclasses import replace

import pytest

from raysignal.experiments.comparison.controls import (
    control_clause,
    control_meaning,
    control_meanings,
    odd_controls,
    share_with_an_odd_one,
)
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.paired import Judgment
from tests.support.experiment_streams import a_stream, an_arm, some_arms


@pytest.fixture(scope="module")
def evaluation():
    stream = a_stream(300)
    arms = some_arms(stream)
    return evaluate(stream, [*arms, an_arm(stream, "shuffled", "control")])


def with_p(evaluation, *, overridden=100, **p_values):
    """The same evaluation, every arm with 100 of 300 signals overruled, and these (p better, p worse) by arm."""
    found = []
    for one in evaluation.assessments:
        greater, less = p_values.get(one.arm, (0.5, 0.5))
        helps = one.arm in {"memory", "canary"}
        found.append(
            replace(
                one, p_greater=greater, p_less=less, overridden={"flip": 0, "hold": overridden}, judged=300,
                judgment=Judgment.HELPS if helps else Judgment.NO_DIFFERENCE,
                selection=replace(one.selection, estimate=3.91 if helps else 0.88),
            )
        )  # fmt: skip
    return replace(evaluation, assessments=tuple(found), blind=False)


def test_controls_that_look_like_chance_need_no_explanation(evaluation):
    found = with_p(evaluation, random=(0.06, 0.94), shuffled=(0.9, 0.1))
    assert (odd_controls(found), control_meanings(found), control_clause(found)) == ([], [], "")


def test_a_control_that_luck_explains_is_said_to_mean_nothing_and_how_often_that_is(evaluation):
    found = with_p(evaluation, random=(0.039, 0.961))
    # two controls, two sides of 5 % each: 1 - 0.9^2
    assert share_with_an_odd_one(found) == pytest.approx(0.19)
    (odd,) = odd_controls(found)
    assert (odd.better, odd.p, odd.corrected, odd.beyond_luck) == (True, 0.039, pytest.approx(0.156), False)
    assert control_meanings(found) == [
        (
            "random looks better than chance (p 0.039), and that means nothing: of 2 controls without knowledge at "
            "least one looks so much better or worse in 19 of 100 runs by luck."
        )
    ]
    assert control_clause(found) == ""


def test_a_shuffled_memory_that_luck_does_not_explain_is_explained_and_set_against_the_claim(evaluation):
    found = with_p(evaluation, shuffled=(0.0002, 1.0))
    (meaning,) = control_meanings(found)
    assert meaning.startswith(
        "shuffled looks better than chance (p < 0.001), though the outcomes that it remembers"
    )
    assert "luck alone explains that in at most 1 of 100 runs" in meaning
    assert "Run again with other seeds (--seed)" in meaning
    assert meaning.endswith(
        "count only what goes beyond it: +3.91 bp for memory, against +0.88 bp for shuffled."
    )
    assert control_clause(found) == (
        "Careful: shuffled, a control without knowledge, does not look like chance either (explained below)."
    )


def test_overrides_by_lot_that_luck_does_not_explain_put_the_test_itself_in_doubt(evaluation):
    found = with_p(evaluation, random=(1.0, 0.01))
    (meaning,) = control_meanings(found)
    assert meaning.startswith(
        "random looks worse than chance (p 0.010), though its overrides were drawn by lot"
    )
    assert "luck alone explains that in at most 4 of 100 runs" in meaning
    assert meaning.endswith("do not rely on what is shown for memory and memory + Gemini.")


def test_several_controls_are_named_together(evaluation):
    found = with_p(evaluation, random=(0.001, 1.0), shuffled=(0.001, 1.0))
    assert control_clause(found).startswith(
        "Careful: random and shuffled, controls without knowledge, do not look"
    )


def test_a_control_that_overruled_too_few_is_no_control_of_anything(evaluation):
    found = with_p(evaluation, overridden=2, random=(0.001, 1.0), shuffled=(0.001, 1.0))
    assert odd_controls(found) == []
    assert share_with_an_odd_one(found) == 0.0


def test_the_control_that_looks_ahead_is_never_odd_and_no_claim_is(evaluation):
    found = with_p(evaluation, canary=(0.0002, 1.0), memory=(0.0002, 1.0))
    assert odd_controls(found) == []
    assert control_meaning(found, found.of("canary")) == control_meaning(found, found.of("memory")) == ""
