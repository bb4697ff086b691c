from dataclasses import replace

import pytest

from agents.intervals import Interval
from experiments.evaluation import evaluate
from experiments.paired import Judgment
from experiments.sentences import bp, headline, not_shown, percent, sentence, shown, where_from
from experiments.uplift import Decomposition
from tests.experiment_streams import a_stream, some_arms


@pytest.fixture(scope="module")
def evaluation():
    stream = a_stream(300)
    return evaluate(stream, some_arms(stream))


def judged(evaluation, *judgments, blind=False):
    """The same evaluation with other judgments about its arms, in their order."""
    found = [
        replace(
            one,
            judgment=judgment,
            selection=Interval(1.5, 0.5, 2.5, 0.5, 0.95, 100),
            detectable_bps=1.4,
            overridden={"flip": 30, "hold": 50},
        )
        for one, judgment in zip(evaluation.assessments, judgments, strict=True)
    ]
    return replace(evaluation, assessments=tuple(found), blind=blind)


H, W, N = Judgment.HELPS, Judgment.HURTS, Judgment.NO_DIFFERENCE


@pytest.mark.parametrize(
    ("judgments", "says"),
    [
        (
            (N, N, N, H),
            "No difference shown: no arm chose the signals to overrule better or worse than chance.",
        ),
        ((H, N, N, H), "memory improves the signals."),
        ((H, H, N, H), "memory and memory + Gemini improve the signals."),
        ((H, W, N, H), "memory improves the signals; memory + Gemini worsens the signals."),
    ],
)
def test_the_headline_names_what_was_shown(evaluation, judgments, says):
    assert headline(judged(evaluation, *judgments)) == says


def test_a_blind_experiment_says_so_before_anything_else(evaluation):
    blind = judged(evaluation, H, N, N, N, blind=True)
    assert headline(blind) == "This experiment is blind: nothing can be concluded from it."
    assert sentence(blind, blind.claims[0]).startswith("Not to be relied on: memory helps")
    assert shown(blind) == []
    assert "cannot see an effect" in sentence(blind, blind.of("canary"))


def test_no_difference_comes_with_what_would_have_been_shown(evaluation):
    found = judged(evaluation, N, H, N, H)
    assert sentence(found, found.of("memory")) == (
        "No difference shown for memory: its choice of which signals to overrule is worth +1.50 bp per signal, "
        "95 % interval +0.50 to +2.50; 1.40 bp would have been shown four times out of five."
    )
    assert sentence(found, found.of("memory")) in not_shown(found)
    assert sentence(found, found.of("memory + Gemini")) in shown(found)


def test_an_interval_that_the_data_cannot_carry_is_said_to_be_unknown(evaluation):
    found = judged(evaluation, N, N, N, H)
    nan = float("nan")
    one = replace(found.of("memory"), selection=Interval(1.5, nan, nan, 0.5, 0.95, 40))
    assert "is worth +1.50 bp per signal, 95 % interval unknown;" in sentence(found, one)


def test_an_arm_that_overruled_nothing_is_the_baseline(evaluation):
    one = replace(evaluation.assessments[0], overridden={"flip": 0, "hold": 0})
    assert sentence(evaluation, one) == (
        "memory overruled no judged signal, so it is no different from the baseline."
    )


@pytest.mark.parametrize(
    ("overridden", "says"),
    [
        (1, "No difference shown for memory: 1 judged signal was overruled, and fewer than 10 show nothing."),
        (
            91,
            "No difference shown for memory: 9 judged signals were left alone, and fewer than 10 show nothing.",
        ),
    ],
)
def test_too_few_overrides_are_said_to_show_nothing(evaluation, overridden, says):
    one = replace(evaluation.assessments[0], judged=100, overridden={"flip": 0, "hold": overridden})
    assert sentence(evaluation, one) == says


def test_a_control_that_makes_a_difference_is_pointed_out(evaluation):
    odd = judged(evaluation, N, N, H, H)
    assert any(one.startswith("random should make no difference and seems to") for one in not_shown(odd))
    assert not any(one.startswith("random") for one in not_shown(judged(evaluation, N, N, N, H)))


def test_a_missing_canary_is_pointed_out(evaluation):
    assert any(
        "No control that looks ahead was run" in one for one in not_shown(replace(evaluation, blind=None))
    )


def test_an_uplift_is_told_with_its_parts(evaluation):
    one = replace(
        evaluation.assessments[0],
        judged=80,
        overridden={"flip": 3, "hold": 5},
        parts=Decomposition(2.0, -0.5, 3.0, -0.5),
    )
    assert where_from(one) == (
        "Overruling 10.0 % of the judged signals changed the outcome by +2.00 bp per signal: -0.50 by choosing "
        "which, +3.00 by costs that were not paid, -0.50 because the average signal won before costs."
    )


def test_numbers_are_written_for_people():
    assert [bp(value) for value in (1.234, -12.34, 0.001, -0.004)] == ["+1.23", "-12.3", "0.00", "0.00"]
    assert bp(float("nan")) == "unknown"
    assert bp(3.0, sign=False) == "3.00"
    assert percent(0.1234) == "12.3 %"
    assert percent(None) == percent(float("nan")) == "unknown"
