from dataclasses import replace

import numpy as np
import orjson
import pytest

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.plain_values import from_plain, plain_values
from raysignal.experiments.comparison.cohorts import accuracy_of
from raysignal.experiments.comparison.patterns import ArmThere, Pattern, leading, patterns_of
from tests.support.experiment_streams import a_stream, an_arm


def a_stream_with_a_bad_mood():
    """Signals that are right in one mood and wrong in the other, in turns of 20 rows."""
    stream = a_stream(600, symbols=("BTC",))
    bad = (np.arange(600) // 20) % 2 == 1
    side = stream.action * np.where((stream.gross_bps[:, 0] > 0.0) == ~bad, 1, -1)
    action = np.where(stream.judged, side, stream.action).astype(np.int8)
    changed = (action != stream.action)[:, None]
    order = [Verdict.FLIP, Verdict.APPROVE, Verdict.HOLD]
    gross = np.where(changed, stream.gross_bps[:, order], stream.gross_bps)
    net = np.where(changed, stream.net_bps[:, order], stream.net_bps)
    mood = CategoryColumn(bad.astype(np.int32), ("calm", "panic"))
    right = stream.judged & (gross[:, Verdict.APPROVE] > 0.0)
    return replace(stream, action=action, gross_bps=gross, net_bps=net, right=right, category={"mood": mood})


def found_in(stream, *arms):
    return {one.condition: one for one in patterns_of(stream, arms, accuracy_of(stream))}


def test_a_condition_under_which_signals_are_wrong_is_a_pattern_with_what_the_arms_did_there():
    stream = a_stream_with_a_bad_mood()
    panic = stream.category["mood"].codes == 1
    verdict = np.where(panic, Verdict.HOLD, Verdict.APPROVE)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory", verdict)]
    found = found_in(stream, *arms)
    bad, good = found["mood is panic"], found["mood is calm"]
    assert (bad.flag, good.flag) == ("bad", "good")
    assert (bad.accuracy, good.accuracy) == (0.0, 1.0)
    assert list(bad.arms) == ["memory"]
    rows = stream.judged & panic
    assert bad.arms["memory"].overruled == bad.n == rows.sum()
    assert bad.arms["memory"].gained_bps == pytest.approx(-stream.net_bps[rows, Verdict.APPROVE].mean())
    assert good.arms["memory"] == ArmThere(0, None)


def test_a_word_under_which_signals_are_wrong_is_a_pattern_with_what_the_arms_did_there():
    stream = a_stream_with_a_bad_mood()
    told = stream.category["mood"].codes == 1
    stream = replace(
        stream, category={}, words={"rate cut": np.flatnonzero(told), "up": np.arange(0, 600, 3)}
    )
    verdict = np.where(told, Verdict.FLIP, Verdict.APPROVE)
    found = found_in(stream, an_arm(stream, "memory", "memory", verdict))
    assert set(found) == {'a text says "rate cut"'}
    bad = found['a text says "rate cut"']
    assert (bad.dimension, bad.flag, bad.accuracy) == ("text", "bad", 0.0)
    assert bad.arms["memory"].overruled == bad.n == (stream.judged & told).sum()


def test_signals_that_are_right_by_chance_have_no_pattern():
    stream = a_stream(600)
    assert found_in(stream, an_arm(stream, "memory", "memory")) == {}


def test_patterns_are_read_back_from_json():
    stream = a_stream_with_a_bad_mood()
    for one in found_in(stream, an_arm(stream, "memory", "memory")).values():
        assert from_plain(Pattern, orjson.loads(orjson.dumps(plain_values(one)))) == one


def pattern(dimension, name, flag, n):
    return Pattern(dimension, name, n, 0.7 if flag == "good" else 0.3, 0.2, 0.8, 0.5, flag, {})


def test_the_weightiest_of_each_dimension_lead_and_those_with_both_flags_come_first():
    patterns = [
        pattern("side", "BUY", "good", 900), pattern("category.mood", "calm", "good", 300),
        pattern("category.mood", "panic", "bad", 100), pattern("category.mood", "fear", "bad", 200),
    ]  # fmt: skip
    assert [one.name for one in leading(patterns, 3)] == ["calm", "fear", "BUY"]
    assert [one.name for one in leading(patterns, 1)] == ["calm"]
    assert leading([], 3) == []


def test_the_regime_is_called_the_market():
    assert pattern("regime", "wild", "bad", 30).condition == "market is wild"
    assert pattern("category.dominant_mood", "panic", "bad", 30).condition == "dominant mood is panic"
