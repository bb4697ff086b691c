from dataclasses import replace

import numpy as np
import pytest

from raysignal.engine.core.errors import Conflict, InvalidField, NotFound, StoreError
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.experiments.comparison.files import read_arm, write_arm, write_results
from raysignal.experiments.runs import (
    Difference,
    RunState,
    diff_runs,
    differences,
    fingerprint,
    list_runs,
    load_run,
    new_run_id,
    open_run,
)
from tests.support.experiment_streams import START_US, a_stream, some_arms

CONFIG = {"horizon": 24, "gate": {"k": 50}, "seeds": [1, 2]}


@pytest.fixture
def blobs(tmp_path):
    return DiskBlobs(tmp_path)


def finish(blobs, run_id, *, manifest=None, metrics=None):
    stream = a_stream(20)
    write_results(
        blobs, run_id, stream=stream, arms=some_arms(stream), trades={}, metrics=metrics or {"blind": False},
        manifest=manifest or {"run_id": run_id}, report="", picture=b"png",
    )  # fmt: skip


def assert_same(one, other):
    assert (one.name, one.kind, one.model_usd, one.model_calls) == (
        other.name, other.kind, other.model_usd, other.model_calls,
    )  # fmt: skip
    assert (one.model_tokens, one.performance) == (other.model_tokens, other.performance)
    for name in ("verdict", "by", "p_right"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.reasons.texts() == other.reasons.texts()
    for name in ("equity", "signal_return"):
        assert list(getattr(one, name)) == list(getattr(other, name))
        for fill, values in getattr(one, name).items():
            np.testing.assert_array_equal(values, getattr(other, name)[fill])


def test_ids_sort_by_time_and_say_what_was_asked_for():
    first, later = new_run_id(START_US, CONFIG), new_run_id(START_US + 1_000_000, CONFIG)
    assert first == f"20250224T000000Z-{fingerprint(CONFIG)[:8]}"
    assert first < later
    assert new_run_id(START_US, {**CONFIG, "horizon": 12}) != first
    assert fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "a.b", "-a", "a" * 101, "a b"])
def test_an_id_that_cannot_be_one_is_refused(blobs, run_id):
    with pytest.raises(InvalidField, match=r"run_id is .*; expected 1 to 100 letters"):
        open_run(blobs, run_id, CONFIG)


def test_an_arm_that_is_done_is_read_as_it_was_written(blobs):
    arms = some_arms(a_stream(50))
    open_run(blobs, "r1", CONFIG)
    for arm in arms:
        write_arm(blobs, "r1", arm)
        assert_same(read_arm(blobs, "r1", arm.name), arm)


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "é &<b>", "a.parquet", "%2F"])
def test_an_arm_may_have_any_name(blobs, name):
    arm = replace(some_arms(a_stream(20))[1], name=name)
    write_arm(blobs, "r1", arm)
    assert read_arm(blobs, "r1", name).name == name
    assert list_runs(blobs) == [RunState("r1", finished=False, arms=(name,))]


def test_an_arm_without_portfolios_or_reasons_is_kept_too(blobs):
    arm = replace(some_arms(a_stream(20))[1], equity={}, signal_return={}, performance={}, reason=[""] * 20)
    write_arm(blobs, "r1", arm)
    assert_same(read_arm(blobs, "r1", "memory"), arm)


def test_a_run_that_is_started_again_goes_on_with_the_arms_that_are_done(blobs):
    assert open_run(blobs, "r1", CONFIG) == RunState("r1", finished=False, arms=())
    arm = some_arms(a_stream(20))[1]
    write_arm(blobs, "r1", arm)
    assert open_run(blobs, "r1", CONFIG) == RunState("r1", finished=False, arms=("memory",))
    assert read_arm(blobs, "r1", "random") is None
    write_arm(blobs, "r1", arm)
    with pytest.raises(StoreError, match="other content"):
        write_arm(blobs, "r1", replace(arm, model_calls=7))


def test_another_configuration_under_the_same_id_is_refused_and_what_differs_named(blobs):
    open_run(blobs, "r1", CONFIG)
    with pytest.raises(
        Conflict, match=r"horizon was 24 and is 12; seeds\[1\] was 2 and is 3; expected"
    ) as caught:
        open_run(blobs, "r1", {**CONFIG, "horizon": 12, "seeds": [1, 3]})
    assert caught.value.fields["paths"] == ["horizon", "seeds[1]"]
    assert open_run(blobs, "r1", CONFIG).run_id == "r1"


def test_runs_are_listed_oldest_first(blobs):
    open_run(blobs, "b", CONFIG)
    finish(blobs, "a")
    assert list_runs(blobs) == [RunState("a", finished=True, arms=()), RunState("b", finished=False, arms=())]


def test_a_finished_run_is_loaded_and_others_say_why_not(blobs):
    finish(blobs, "r1", manifest={"run_id": "r1", "seeds": [1]})
    assert load_run(blobs, "r1").manifest["seeds"] == [1]
    open_run(blobs, "r2", CONFIG)
    with pytest.raises(NotFound, match="run 'r2' is not finished; 0 arms are done"):
        load_run(blobs, "r2")
    with pytest.raises(NotFound, match="there is no run 'r3'"):
        load_run(blobs, "r3")


def test_two_runs_are_compared_by_what_differs(blobs):
    arm = {"arm": "memory", "p_greater": 0.5}
    finish(blobs, "r1", manifest={"data": {"sample.csv": "aa"}, "seeds": [1]}, metrics={"assessments": [arm]})
    finish(
        blobs, "r2", manifest={"data": {"sample.csv": "bb"}, "seeds": [1]},
        metrics={"assessments": [{"arm": "random"}, {**arm, "p_greater": 0.4}]},
    )  # fmt: skip
    found = diff_runs(load_run(blobs, "r1"), load_run(blobs, "r2"))
    assert found["manifest"] == [Difference("data.sample.csv", "aa", "bb")]
    # Arms are compared by name, whatever their place.
    assert found["metrics"] == [
        Difference("assessments[memory].p_greater", 0.5, 0.4),
        Difference("assessments[random].arm", None, "random"),
    ]


def test_values_are_compared_with_their_paths():
    assert differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3], "c": {}}}) == [
        Difference("a.b[1]", 2, 3),
        Difference("a.c", None, {}),
    ]
    assert differences({"a": None}, {}) == [Difference("a", None, None)]
    assert differences(CONFIG, CONFIG) == []


def test_an_arm_that_was_read_back_lists_its_fills_in_the_order_of_one_that_was_just_made(blobs):
    arm = some_arms(a_stream(30))[0]
    open_run(blobs, "r", CONFIG)
    write_arm(blobs, "r", arm)
    again = read_arm(blobs, "r", arm.name)
    assert again is not None
    for name in ("equity", "signal_return", "performance"):
        assert list(getattr(again, name)) == list(getattr(arm, name)) == ["signal", "next"]
