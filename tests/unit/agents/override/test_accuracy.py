import numpy as np
import pytest

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import accuracy, benjamini_hochberg


def found_in(sides, moves, cost=5.0, symbols=None, **dimensions):
    gross = sides * moves
    symbols = np.zeros(len(sides), np.int32) if symbols is None else np.asarray(symbols, np.int32)
    return accuracy(
        sides.astype(np.int8), gross, gross - cost, np.ones(len(sides), bool), symbols,
        {name: CategoryColumn.of(texts) for name, texts in dimensions.items()},
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


def test_a_small_cohort_depends_as_the_side_whose_moves_do():
    # Rises come one by one, falls in runs of ten; between them nothing moves.
    draws = np.random.default_rng(1)
    falls = np.repeat(draws.random(200) < 0.3, 10)
    moves = np.where(falls, -10.0, np.where(draws.random(2_000) < 0.4, 10.0, 0.0))
    sources = np.where(np.isin(np.arange(2_000), np.arange(500, 540)), "desk", "other")
    desk = next(one for one in found_in(-np.ones(2_000), moves, source=sources).cohorts if one.name == "desk")
    assert desk.n == 40
    assert desk.effective_n < 8.0


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
    labels = {"mood": CategoryColumn(np.array([0, 0, 0, -1], np.int32), ("calm",))}
    found = accuracy(
        sides, np.where(judged, sides * moves, np.nan), sides * moves, judged, np.zeros(4, int), labels
    )
    assert found.n == 2
    assert [(one.name, one.n) for one in found.cohorts if one.dimension == "mood"] == [("calm", 1)]


def test_nothing_judged_is_no_error():
    found = accuracy(
        np.zeros(0, np.int8), np.zeros(0), np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int32),
        {"a": CategoryColumn.of([])},
    )  # fmt: skip
    assert (found.n, found.cohorts) == (0, ())
    assert found.as_dict()["up_share"] is None


def test_a_dimension_of_another_length_is_refused():
    with pytest.raises(ValueError, match="dimension 'source' has 1 rows; expected 4"):
        found_in(np.ones(4), np.ones(4), source=["desk"])


def test_symbols_of_another_length_are_refused():
    with pytest.raises(ValueError, match="symbol has 3 rows; expected 4"):
        found_in(np.ones(4), np.ones(4), symbols=[0, 0, 0])


def test_the_drift_of_a_cohort_is_that_of_its_symbols_worked_by_hand():
    # 100 rows a symbol: the first goes up 80 times and down 20, the second up 10, down 40, and 50 times nowhere.
    first, second = np.repeat([10.0, -10.0], [80, 20]), np.repeat([10.0, -10.0, 0.0], [10, 40, 50])
    sides = np.tile(np.repeat([1.0, -1.0], [75, 25]), 2)
    desk = np.arange(200) % 100 >= 74  # of each symbol a BUY and 25 SELLs
    found = found_in(
        sides, np.concatenate([first, second]), symbols=np.repeat([0, 1], 100),
        source=np.where(desk, "desk", "others"), symbol=np.repeat(["A", "B"], 100),
    )  # fmt: skip
    drift = {one.name: one.drift for one in found.cohorts}
    assert (found.up_share, found.down_share) == (0.45, 0.3)  # over all rows
    assert drift["BUY"] == pytest.approx((0.8 + 0.1) / 2)
    assert drift["SELL"] == pytest.approx((0.2 + 0.4) / 2)
    assert drift["A"] == pytest.approx(0.75 * 0.8 + 0.25 * 0.2)
    assert drift["B"] == pytest.approx(0.75 * 0.1 + 0.25 * 0.4)
    assert drift["desk"] == pytest.approx((0.8 + 25 * 0.2 + 0.1 + 25 * 0.4) / 52)


def test_symbols_of_fewer_than_100_judged_signals_share_one_drift():
    # 100 of the first, all up; 99 of the second, all down; one of the third, up.
    sizes = [100, 99, 1]
    moves, symbols = np.repeat([10.0, -10.0, 10.0], sizes), np.repeat([7, 3, 5], sizes)
    found = found_in(np.ones(200), moves, symbols=symbols, symbol=np.repeat(["A", "B", "C"], sizes))
    drift = [one.drift for one in found.cohorts if one.dimension == "symbol"]
    assert drift == pytest.approx([1.0, 0.01, 0.01])


def test_signals_that_are_not_judged_do_not_make_a_symbol_large():
    judged = np.arange(300) % 2 == 0  # 75 of each symbol; the first goes up, the second down
    sides, moves = np.ones(300, np.int8), np.repeat([10.0, -10.0], 150)
    labels = {"symbol": CategoryColumn(np.repeat([0, 1], 150).astype(np.int32), ("A", "B"))}
    found = accuracy(sides, moves, moves, judged, labels["symbol"].codes, labels)
    assert [one.drift for one in found.cohorts if one.dimension == "symbol"] == [0.5, 0.5]


def over_six(draws, n, drift=0.0):
    """Moves over six steps of a random walk of deviation 1."""
    return np.convolve(draws.standard_normal(n + 5) + drift, np.ones(6), "valid")


def two_symbols(draws, moves, share_of_buy):
    """Random sides on two symbols in turns, with four sources of no merit."""
    n = len(moves[0])
    symbols = np.tile([0, 1], n)
    sides = np.where(draws.random(2 * n) < np.asarray(share_of_buy)[symbols], 1.0, -1.0)
    return found_in(
        sides, np.stack(moves, axis=1).ravel(), symbols=symbols, symbol=np.array(["A", "B"])[symbols],
        source=np.array(["p", "q", "r", "s"])[draws.integers(0, 4, 2 * n)],
        mixed=np.where(draws.random(2 * n) < np.where(symbols == 0, 0.9, 0.2), "mostly A", "mostly B"),
    )  # fmt: skip


def flagged_streams(moves_of, share_of_buy):
    """Of 20 seeds, how many have a cohort that is called good or bad."""
    return sum(
        bool(two_symbols(draws, moves_of(draws), share_of_buy).patterns())
        for draws in map(np.random.default_rng, range(20))
    )


def test_a_symbol_that_often_stands_still_makes_nobody_bad():
    def moves_of(draws):
        coarse = over_six(draws, 2_000)
        return np.where(np.abs(coarse) < 0.6745 * 6**0.5, 0.0, coarse), over_six(
            draws, 2_000
        )  # half of them 0

    # Expected at most 1 of 20; more than 4 has a probability below 0.003.
    assert flagged_streams(moves_of, (0.5, 0.5)) <= 4


def test_a_symbol_that_rises_and_is_bought_makes_nobody_good():
    def moves_of(draws):
        return over_six(draws, 2_000, 0.3), over_six(draws, 2_000, -0.3)

    assert flagged_streams(moves_of, (0.9, 0.1)) == 0


def test_small_cohorts_of_symbols_that_drift_apart_stay_unflagged():
    def flagged(draws):
        symbols = np.tile([0, 1], 1_000)
        moves = np.where(draws.random(2_000) < np.array([0.8, 0.2])[symbols], 10.0, -10.0)
        sides = np.where(draws.random(2_000) < np.array([0.9, 0.1])[symbols], 1.0, -1.0)
        return bool(
            found_in(
                sides, moves, symbols=symbols, source=draws.integers(0, 40, 2_000).astype(str)
            ).patterns()
        )

    assert sum(flagged(draws) for draws in map(np.random.default_rng, range(20))) <= 4


def test_who_knows_is_called_good_where_symbols_drift_apart_or_stand_still():
    draws = np.random.default_rng(1)
    symbols = np.tile([0, 1], 1_500)
    moves = np.where(draws.random(3_000) < np.array([0.7, 0.3])[symbols], 10.0, -10.0)
    moves[(symbols == 1) & (draws.random(3_000) < 0.5)] = 0.0
    wise = draws.random(3_000) < 0.3
    guess = np.where(draws.random(3_000) < np.array([0.9, 0.1])[symbols], 1.0, -1.0)
    sides = np.where(wise & (draws.random(3_000) < 0.5) & (moves != 0.0), np.sign(moves), guess)
    found = found_in(sides, moves, symbols=symbols, source=np.where(wise, "wise", "plain"))
    assert {one.name: one.flag for one in found.cohorts if one.dimension == "source"}["wise"] == "good"
