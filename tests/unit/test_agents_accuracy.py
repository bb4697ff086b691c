import numpy as np
import pytest

from agents.accuracy import accuracy, benjamini_hochberg, dependence, wilson
from agents.labels import Labels


def found_in(sides, moves, cost=5.0, **dimensions):
    gross = sides * moves
    return accuracy(
        sides.astype(np.int8), gross, gross - cost, np.ones(len(sides), bool),
        {name: Labels.of(texts) for name, texts in dimensions.items()},
    )  # fmt: skip


def test_wilson_as_published():
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_benjamini_and_hochberg_worked_by_hand():
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert benjamini_hochberg([]) == []


def test_a_cohort_worked_by_hand():
    sides, moves = np.array([1, 1, 1, -1]), np.array([10.0, 20.0, -10.0, 30.0])
    found = found_in(sides, moves, source=["desk", "desk", "model", "model"])
    assert (found.n, found.right, found.up_share, found.down_share) == (4, 2, 0.75, 0.25)
    desk, model = [one for one in found.cohorts if one.dimension == "source"]
    assert (desk.name, desk.n, desk.right, desk.accuracy, desk.drift) == ("desk", 2, 2, 1.0, 0.75)
    assert desk.net_bps == pytest.approx(10.0)
    assert (model.right, model.drift) == (0, 0.5)  # one BUY and one SELL
    assert [one.name for one in found.cohorts if one.dimension == "side"] == ["BUY", "SELL"]
    assert desk.flag is None


def test_being_right_with_the_drift_is_no_merit():
    draws = np.random.default_rng(1)
    moves = np.where(draws.random(2_000) < 0.7, 10.0, -10.0)
    found = found_in(np.ones(2_000), moves, source=["bull"] * 2_000)
    bull = found.cohorts[-1]
    assert bull.accuracy == bull.drift == pytest.approx(0.7, abs=0.05)
    assert bull.flag is None


def test_a_source_that_knows_is_called_good_and_one_that_errs_bad():
    draws = np.random.default_rng(1)
    moves = np.where(draws.random(900) < 0.5, 10.0, -10.0)
    sources = draws.integers(0, 3, 900)
    knows = draws.random(900) < np.array([0.5, 0.75, 0.25])[sources]
    sides = np.where(knows, np.sign(moves), -np.sign(moves))
    found = found_in(sides, moves, source=[("plain", "wise", "fool")[code] for code in sources])
    flags = {one.name: one.flag for one in found.cohorts if one.dimension == "source"}
    assert flags == {"plain": None, "wise": "good", "fool": "bad"}
    assert {one.name for one in found.patterns()} == {"wise", "fool"}
    assert found.as_dict()["cohorts"][0]["dimension"] == "side"


def test_many_cohorts_without_merit_stay_unflagged():
    false_alarms = 0
    for seed in range(40):
        draws = np.random.default_rng(seed)
        n = 2_000
        names = [f"source {code}" for code in draws.integers(0, 40, n)]
        found = found_in(
            np.where(draws.random(n) < 0.5, 1, -1), np.where(draws.random(n) < 0.5, 10.0, -10.0), source=names
        )
        false_alarms += bool(found.patterns())
    # Expected 2 of 40; more than 11 has a probability below 1e-5.
    assert false_alarms <= 11


def test_small_cohorts_are_shown_and_never_flagged():
    sides = np.ones(400)
    moves = np.where(np.arange(400) < 19, -10.0, 10.0)
    found = found_in(sides, moves, source=["unlucky" if row < 19 else "other" for row in range(400)])
    unlucky = next(one for one in found.cohorts if one.name == "unlucky")
    assert unlucky.p_value < 1e-6
    assert (unlucky.q_value, unlucky.flag) == (1.0, None)


def test_repeated_outcomes_count_once():
    draws = np.random.default_rng(1)
    moves = np.repeat(np.where(draws.random(100) < 0.5, 10.0, -10.0), 10)
    found = found_in(np.ones(1_000), moves, source=["desk"] * 1_000)
    desk = found.cohorts[-1]
    assert desk.effective_n == pytest.approx(100, rel=0.5)
    assert dependence(np.zeros(10)) == dependence(np.zeros(0)) == 1.0


def test_holds_and_unjudged_signals_and_rows_without_a_name_are_left_out():
    sides = np.array([1, 0, 1, -1], np.int8)
    moves = np.full(4, 10.0)
    judged = np.array([True, True, False, True])
    labels = {"mood": Labels(np.array([0, 0, 0, -1], np.int32), ("calm",))}
    found = accuracy(sides, np.where(judged, sides * moves, np.nan), sides * moves, judged, labels)
    assert found.n == 2
    assert [(one.name, one.n) for one in found.cohorts if one.dimension == "mood"] == [("calm", 1)]


def test_nothing_judged_is_no_error():
    found = accuracy(np.zeros(0, np.int8), np.zeros(0), np.zeros(0), np.zeros(0, bool), {"a": Labels.of([])})
    assert (found.n, found.cohorts) == (0, ())
    assert found.as_dict()["up_share"] is None


def test_a_dimension_of_another_length_is_refused():
    with pytest.raises(ValueError, match="dimension 'source' has 1 rows; expected 4"):
        found_in(np.ones(4), np.ones(4), source=["desk"])
