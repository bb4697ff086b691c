import numpy as np
import pytest

from agents.accuracy import accuracy, benjamini_hochberg
from agents.labels import Labels


def found_in(sides, moves, cost=5.0, **dimensions):
    gross = sides * moves
    return accuracy(
        sides.astype(np.int8), gross, gross - cost, np.ones(len(sides), bool),
        {name: Labels.of(texts) for name, texts in dimensions.items()},
    )  # fmt: skip


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
    down = np.isin(np.arange(400), np.random.default_rng(1).choice(400, 19, replace=False))
    moves = np.where(down, -10.0, 10.0)
    found = found_in(sides, moves, source=["unlucky" if one else "other" for one in down])
    unlucky = next(one for one in found.cohorts if one.name == "unlucky")
    assert unlucky.p_value < 1e-6
    assert (unlucky.q_value, unlucky.flag) == (1.0, None)


def test_repeated_outcomes_count_once():
    draws = np.random.default_rng(1)
    moves = np.repeat(np.where(draws.random(100) < 0.5, 10.0, -10.0), 10)
    found = found_in(np.ones(1_000), moves, source=["desk"] * 1_000)
    desk = found.cohorts[-1]
    assert desk.effective_n == pytest.approx(100, rel=0.5)


def test_a_small_cohort_of_overlapping_outcomes_is_worth_few_signals():
    draws = np.random.default_rng(1)
    moves = np.convolve(draws.standard_normal(1_005), np.ones(6), "valid")
    sources = np.where(np.isin(np.arange(1_000), np.arange(500, 512)), "fool", "other")
    sides = np.where(sources == "fool", -np.sign(moves), 1.0)
    fool = next(one for one in found_in(sides, moves, source=sources).cohorts if one.name == "fool")
    assert (fool.n, fool.right) == (12, 0)
    assert 1.0 <= fool.effective_n <= 4.0  # twelve outcomes over six bars, one after the other
    assert fool.accuracy_low == 0.0
    assert fool.accuracy_high > 0.45  # Wilson's for 0 of 12 independent ones is 0.24
    assert fool.p_value > 0.05


def test_twelve_independent_outcomes_are_worth_twelve():
    draws = np.random.default_rng(1)
    moves = draws.standard_normal(1_000)
    sources = np.where(np.isin(np.arange(1_000), np.arange(500, 512)), "fool", "other")
    sides = np.where(sources == "fool", -np.sign(moves), 1.0)
    fool = next(one for one in found_in(sides, moves, source=sources).cohorts if one.name == "fool")
    assert fool.effective_n > 8.0
    assert fool.accuracy_high == pytest.approx(0.25, abs=0.08)


def test_a_market_that_went_one_way_all_along_does_not_say_how_sure_a_share_is():
    found = found_in(np.ones(50), np.full(50, 10.0), source=["bull"] * 50)
    bull = found.cohorts[-1]
    assert bull.accuracy == 1.0
    assert np.isnan(bull.accuracy_low)
    assert bull.as_dict()["accuracy_high"] is None
    assert (bull.p_value, bull.flag) == (1.0, None)


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
