from dataclasses import replace

import numpy as np
import orjson
import pytest

from raysignal.agents.verdicts import Verdict
from raysignal.experiments.comparison.evaluation import Evaluation, evaluate
from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.result_files import json_bytes
from tests.support.experiment_streams import a_stream, an_arm, some_arms


def test_an_experiment_is_evaluated_whole():
    stream = a_stream(600)
    found = evaluate(stream, some_arms(stream))
    assert [one.arm for one in found.assessments] == ["memory", "memory + Gemini", "random", "canary"]
    assert [one.arm for one in found.claims] == ["memory", "memory + Gemini"]
    assert found.of("canary").judgment is Judgment.HELPS
    assert found.blind is False
    assert found.plan.claims == 2
    assert set(found.calibration) == {"memory", "memory + Gemini", "random", "canary"}
    assert {one.dimension for one in found.accuracy.cohorts} == {
        "side", "source", "symbol", "regime", "hour", "category.mood",
    }  # fmt: skip
    figures = found.arms[2]
    assert sum(figures.verdicts.values()) == sum(figures.deciders.values()) == int((stream.action != 0).sum())
    assert sum(figures.reasons.values()) == 600


def test_the_same_arguments_give_the_same_evaluation():
    stream = a_stream(300)
    arms = some_arms(stream)
    assert evaluate(stream, arms) == evaluate(stream, arms)


def test_an_experiment_whose_canary_does_not_win_is_blind():
    stream = a_stream(300)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "leak canary", "control")]
    assert evaluate(stream, arms).blind is True


def test_without_a_canary_it_is_not_known_whether_it_is_blind():
    stream = a_stream(300)
    assert evaluate(stream, some_arms(stream)[:2]).blind is None


def test_all_of_it_is_plain_json():
    stream = a_stream(60)
    found = evaluate(stream, some_arms(stream)).as_dict()
    assert orjson.loads(orjson.dumps(found)) == found


def test_a_stream_without_a_judged_signal_shows_nothing():
    stream = a_stream(24)
    found = evaluate(stream, some_arms(stream))
    assert found.judged == 0
    assert {one.judgment for one in found.assessments} == {Judgment.NO_DIFFERENCE}
    assert found.blind is True
    assert found.calibration == {}


def test_a_canary_whose_worth_is_not_known_makes_no_experiment_blind():
    """The selection of a choice that looks ahead, nearly all of it on one signal of 400."""
    stream = a_stream(400, symbols=("BTC",))
    row = int(np.flatnonzero(np.nan_to_num(stream.net_bps[:, Verdict.APPROVE]) < -10.0)[20])
    net = stream.net_bps * np.where(np.arange(400) == row, 200.0, 1e-3)[:, None]
    stream = replace(stream, net_bps=net)
    ahead = np.where(np.nan_to_num(net[:, Verdict.APPROVE]) < 0.0, Verdict.FLIP, Verdict.APPROVE)
    found = evaluate(
        stream, [an_arm(stream, "baseline", "baseline"), an_arm(stream, "canary", "control", ahead)]
    )
    assert found.of("canary").enough
    assert not found.of("canary").selection.is_known
    assert found.blind is None


@pytest.mark.parametrize("n", [1, 30, 300])
def test_what_was_written_is_read_back_in_every_figure(n):
    stream = a_stream(n)
    evaluation = evaluate(stream, some_arms(stream) if n > 1 else [an_arm(stream, "baseline", "baseline")])
    written = json_bytes(evaluation.as_dict())
    read = Evaluation.from_dict(orjson.loads(written))
    assert json_bytes(read.as_dict()) == written
    assert read.blind == evaluation.blind
    assert [one.judgment for one in read.assessments] == [one.judgment for one in evaluation.assessments]
    assert [row.signals_for for row in read.plan.reach] == [row.signals_for for row in evaluation.plan.reach]
