import io
import re
from dataclasses import replace

import numpy as np
import orjson
import pytest
from rich.console import Console

from raysignal.agents.verdicts import Verdict
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.sentences import headline, money, scoring, sentence, verdict
from raysignal.experiments.comparison.summary import summary, summary_dict
from tests.support.experiment_streams import a_stream, an_arm, some_arms


def printed(evaluation, width=160):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(summary(evaluation))
    return console.file.getvalue()


def row(text, arm):
    """The cells of an arm in the first table that has it."""
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{arm}  "))
    return re.split(r"\s{2,}", line.strip())


@pytest.fixture(scope="module")
def evaluation():
    stream = a_stream(300)
    return evaluate(stream, some_arms(stream, seed=2))


def test_a_terminal_shows_every_arm_and_a_sentence_for_each_that_claims_to_help(evaluation):
    text = printed(evaluation, width=900)
    assert verdict(evaluation) in text
    assert money(evaluation) in text
    assert scoring(evaluation) in text
    assert all(sentence(evaluation, one) in text for one in evaluation.claims)
    assert all(arm.name in text for arm in evaluation.arms)


def test_names_are_not_read_as_markup():
    stream = a_stream(60)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "[bold]x[/bold]", "memory")]
    assert "[bold]x[/bold]" in printed(evaluate(stream, arms))


def test_a_terminal_of_80_columns_is_wide_enough_for_both_tables(evaluation):
    text = printed(evaluation, width=80)
    assert max(map(len, text.splitlines())) <= 80
    for word in ("overruled", "selection", "interval", "signal's", "break"):
        assert re.search(rf"(^|\s){word}(\s|,|$)", text)


def test_what_rests_on_too_few_overridden_signals_is_no_figure():
    stream = a_stream(300)
    verdicts = np.zeros(300, np.int8)
    verdicts[[1, 2, 3]] = Verdict.HOLD
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory", verdicts)]
    text = printed(evaluate(stream, arms))
    assert row(text, "memory") == ["memory", "1.2%", "—", "—", "—", "—", "—"]


def test_a_small_p_value_of_a_control_is_marked_and_explained(evaluation):
    found = [
        replace(one, p_greater=0.0004, p_less=1.0) if one.arm == "random" else one
        for one in evaluation.assessments
    ]
    text = printed(replace(evaluation, assessments=tuple(found)))
    assert "< 0.001*" in row(text, "random")
    assert "* random looks better than chance (p < 0.001), though its overrides were drawn by lot" in text
    assert "*" not in printed(evaluation)


def test_holding_stands_below_the_accounts(evaluation):
    held = [
        replace(arm, performance={"next": {"total_return": -0.5, "buy_and_hold": {"total_return": 0.1234}}})
        for arm in evaluation.arms
    ]
    assert row(printed(replace(evaluation, arms=tuple(held))), "holding") == ["holding", "+12.3%"]


def test_a_blind_experiment_says_so():
    stream = a_stream(60)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "canary", "control")]
    assert "blind" in printed(evaluate(stream, arms))


def test_a_program_gets_the_same_as_plain_json(evaluation):
    found = summary_dict(evaluation, {"run_id": "r1"})
    assert orjson.loads(orjson.dumps(found)) == found
    assert found["run_id"] == "r1"
    assert found["headline"] == headline(evaluation)
    assert [arm["arm"] for arm in found["arms"]] == [arm.name for arm in evaluation.arms]
    assert found["arms"][0]["assessment"] is None
    assert set(found["arms"][1]["total_return"]) == {"signal", "next"}
    assert found["arms"][1]["earnings"]["trades"] == evaluation.arms[1].earnings.trades
    assert found["arms"][1]["ruined"] == {"signal": False, "next": False}
    assert found["odd_controls"] == []
    assert found["scoring"] == scoring(evaluation)


def test_an_arm_whose_portfolio_was_ruined_is_marked():
    stream = a_stream(60)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory")]
    figures = {"initial_cash": 10_000.0, "total_return": -2.0, "ruined": True}
    broke = replace(arms[1], performance={"signal": figures, "next": figures})
    found = evaluate(stream, [arms[0], broke])
    text = printed(found, width=400)
    assert "memory is ruined: filled at the next bar, memory ruined" in text
    assert "-200" not in text
    assert summary_dict(found)["arms"][1]["ruined"] == {"signal": True, "next": True}
