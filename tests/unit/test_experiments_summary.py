import io
from dataclasses import replace

import orjson
import pytest
from rich.console import Console

from experiments.evaluation import evaluate
from experiments.sentences import headline, sentence
from experiments.summary import plan_table, print_summary, summary_dict
from tests.experiment_streams import a_stream, an_arm, some_arms


def printed(value, width=160):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    if hasattr(value, "assessments"):
        print_summary(console, value)
    else:
        console.print(value)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def evaluation():
    stream = a_stream(300)
    return evaluate(stream, some_arms(stream))


def test_a_terminal_shows_every_arm_and_a_sentence_for_each_that_claims_to_help(evaluation):
    text = printed(evaluation, width=400)
    assert headline(evaluation) in text
    assert all(sentence(evaluation, one) in text for one in evaluation.claims)
    assert all(arm.name in text for arm in evaluation.arms)


def test_names_are_not_read_as_markup():
    stream = a_stream(60)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "[bold]x[/bold]", "memory")]
    assert "[bold]x[/bold]" in printed(evaluate(stream, arms))


def test_the_plan_is_a_table_of_what_can_be_shown(evaluation):
    text = printed(plan_table(evaluation))
    assert "flip" in text
    assert "40 %" in text


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


def test_an_arm_whose_portfolio_was_ruined_is_marked():
    stream = a_stream(60)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory")]
    figures = {"initial_cash": 10_000.0, "total_return": -2.0, "ruined": True}
    broke = replace(arms[1], performance={"signal": figures, "next": figures})
    found = evaluate(stream, [arms[0], broke])
    assert printed(found, width=400).count("-200.0 %, ruined") == 1
    assert summary_dict(found)["arms"][1]["ruined"] == {"signal": True, "next": True}
