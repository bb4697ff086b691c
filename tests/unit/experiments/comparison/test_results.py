from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.labels import CategoryColumn
from raysignal.experiments.comparison.results import baseline_of, check_arms, drawdowns
from tests.support.experiment_streams import a_stream, an_arm, some_arms


def test_labels_remember_the_order_in_which_names_occur():
    labels = CategoryColumn.of(["b", "a", "", "b"])
    assert labels.names == ("b", "a")
    assert labels.codes.tolist() == [0, 1, -1, 0]
    assert labels.texts() == ["b", "a", "", "b"]
    assert labels.counts() == {"b": 2, "a": 1}


def test_labels_refuse_a_code_without_a_name():
    with pytest.raises(ValueError, match="codes from 0 to 2 with 2 names"):
        CategoryColumn(np.array([0, 2], np.int32), ("a", "b"))


def test_an_arms_reasons_may_come_as_texts_or_as_codes():
    stream = a_stream(30)
    arm = an_arm(stream, "memory", "memory")
    assert replace(arm, reason=CategoryColumn.of(arm.reason)).reasons.texts() == arm.reasons.texts()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"horizon": "1 bar", "price": np.ones(3)}, "price of the stream has 3 rows; expected 30"),
        ({"net_bps": np.zeros((30, 2))}, r"net_bps of the stream is \(30, 2\); expected \(30, 3\)"),
        ({"net_bps": np.full((30, 3), np.nan)}, "row 1: net_bps is .* expected numbers for a judged signal"),
        ({"category": {"mood": CategoryColumn.of(["x"])}}, r"category\['mood'\] of the stream has 1 rows"),
        ({"timestamp_us": -np.arange(30)}, "row 1: timestamp_us falls"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(changes, says):
    stream = replace(a_stream(60))
    stream = replace(
        stream,
        **{
            name: getattr(stream, name)[:30]
            for name in (
                "signal_id",
                "timestamp_us",
                "symbol",
                "source",
                "action",
                "price",
                "right",
                "judged",
            )
        },
        known_at_us=stream.known_at_us[:30],
        net_bps=stream.net_bps[:30],
        gross_bps=stream.gross_bps[:30],
        regime=CategoryColumn.same("trend", 30),
        category={},
    )
    with pytest.raises(ValueError, match=says):
        replace(stream, **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "name of an arm is ''"),
        (
            {"kind": "robot"},
            "kind of arm 'memory' is 'robot'; expected one of baseline, memory, model, control",
        ),
        ({"by": np.zeros(2, np.int8)}, "by of arm 'memory' has 2 rows; expected 30"),
        ({"equity": {"next": np.ones(1)}}, r"equity\['next'\] of arm 'memory' has 1 rows; expected 30"),
        ({"verdict": np.full(30, 3, np.int8)}, "verdict of arm 'memory' is from 3 to 3; expected 0 to 2"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(an_arm(a_stream(30), "memory", "memory"), **changes)


def test_arms_need_one_baseline_and_names_of_their_own():
    stream = a_stream(30)
    arms = some_arms(stream)
    check_arms(stream, arms)
    assert baseline_of(arms).name == "baseline"
    with pytest.raises(ValueError, match="arms of kind baseline: none; expected exactly one"):
        check_arms(stream, arms[1:])
    with pytest.raises(ValueError, match="names of arms occur twice: memory"):
        check_arms(stream, [*arms, arms[1]])
    with pytest.raises(ValueError, match="arm 'baseline' has 30 rows; expected the 40 of the stream"):
        check_arms(a_stream(40), arms)


def test_drawdown_begins_at_the_initial_cash():
    assert drawdowns(np.array([90.0, 110.0, 99.0]), 100.0) == pytest.approx([0.1, 0.0, 0.1])
    assert len(drawdowns(np.array([]), 100.0)) == 0


def test_a_drawdown_is_at_most_all_that_there_was():
    found = drawdowns(np.array([110.0, 55.0, -200.0, 44.0]), 100.0)
    assert found.tolist() == [0.0, 0.5, 1.0, 0.6]
