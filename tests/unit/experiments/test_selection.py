"""Folds keep apart what belongs apart; the statistics are those of their papers; the verdict knows a null."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.selection.deflated import (
    deflated_sharpe,
    effective_trials,
    expected_best,
    independent_periods,
    probabilistic_sharpe,
    sharpe,
    trials_by_best,
)
from raysignal.experiments.selection.folds import Fold, combinatorial, purged_k_fold, walk_forward
from raysignal.experiments.selection.overfitting import overfitting
from raysignal.experiments.selection.reality import reality_check
from raysignal.experiments.selection.verdict import judge, timed
from raysignal.experiments.validation import sweeps


def bars(ranges) -> set[int]:
    return {bar for begin, end in ranges for bar in range(begin, end)}


# Folds


def test_walking_forward_goes_from_training_to_the_next_test() -> None:
    assert walk_forward(10, 4, 2) == [
        Fold(((0, 4),), ((4, 6),)), Fold(((2, 6),), ((6, 8),)), Fold(((4, 8),), ((8, 10),)),
    ]  # fmt: skip
    assert walk_forward(10, 4, 2, anchored=True, purge=1)[-1] == Fold(((0, 7),), ((8, 10),))
    assert [fold.test for fold in walk_forward(10, 4, 2, step=3)] == [((4, 6),), ((7, 9),)]


@given(
    n=st.integers(8, 80),
    k=st.integers(2, 6),
    purge=st.integers(0, 4),
    embargo=st.integers(0, 4),
    held=st.integers(1, 2),
)
def test_no_training_bar_is_near_a_test_and_every_bar_is_looked_at(n, k, purge, embargo, held) -> None:
    if held >= k:
        held = 1
    try:
        folds = combinatorial(n, k, held, purge=purge, embargo=embargo)
    except InvalidField:
        assert purge + embargo > 0
        return
    seen = [bar for fold in folds for bar in bars(fold.test)]
    times = math.comb(k - 1, held - 1)
    assert sorted(seen) == sorted(list(range(n)) * times)
    for fold in folds:
        train, test = bars(fold.train), bars(fold.test)
        assert train
        forbidden = {bar + away for bar in test for away in range(-purge, embargo + 1)}
        assert not train & forbidden
        assert train == set(range(n)) - forbidden


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: walk_forward(10, 0, 2), "train is 0"),
        (lambda: walk_forward(10, 9, 2), "at most the 10 bars"),
        (lambda: walk_forward(10, 4, 2, purge=4), "purge is 4"),
        (lambda: walk_forward(10, 4, 2, embargo=-1), "embargo is -1"),
        (lambda: purged_k_fold(10, 1), "parts is 1"),
        (lambda: purged_k_fold(10, 11), "parts is 11"),
        (lambda: purged_k_fold(10, 2, purge=10), "left to train on"),
        (lambda: combinatorial(10, 4, 4), "held out is 4"),
        (lambda: purged_k_fold(1, 2), "bars is 1"),
    ],
)
def test_folds_that_cannot_be_are_refused(call, said) -> None:
    with pytest.raises(InvalidField, match=said):
        call()


# Deflated Sharpe ratio


def test_the_example_of_the_paper() -> None:
    """Bailey & Lopez de Prado 2014: annual ratio 2.5 over 1250 days, 100 trials whose annual ratios vary by 1/2."""
    best = expected_best(100, math.sqrt(0.5 / 250))
    assert best == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(2.5 / math.sqrt(250), best, 1250, -3.0, 10.0) == pytest.approx(
        0.9004, abs=5e-5
    )


def test_the_expected_best_of_few_trials_is_never_below_nothing() -> None:
    """The approximation of the paper alone is -0.32 deviations for 1.1 trials, and -0.03 for 1.26."""
    assert [expected_best(count, 1.0) for count in (1.0, 1.05, 1.1, 1.2, 1.26)] == [0.0] * 5
    assert expected_best(1.3, 1.0) == pytest.approx(0.0200, abs=5e-4)
    assert expected_best(2.0, 1.0) == pytest.approx(0.5198, abs=5e-4)


@given(fewer=st.floats(1.0, 1e6), more=st.floats(1.0, 1e6))
def test_the_best_of_more_trials_is_no_worse(fewer, more) -> None:
    low, high = sorted((fewer, more))
    assert 0.0 <= expected_best(low, 1.0) <= expected_best(high, 1.0) + 1e-12


@given(
    ratio=st.floats(-5.0, 5.0), benchmark=st.floats(0.0, 5.0), periods=st.integers(2, 5_000),
    skewness=st.floats(-50.0, 50.0), kurt=st.floats(1.0, 3_000.0),
)  # fmt: skip
def test_a_ratio_not_above_its_benchmark_is_never_likely_to_be(
    ratio, benchmark, periods, skewness, kurt
) -> None:
    sure = probabilistic_sharpe(ratio, benchmark, periods, skewness, kurt)
    assert 0.0 <= sure <= 1.0
    assert (sure > 0.5) <= (ratio > benchmark)


def test_a_single_lucky_period_makes_nobody_sure() -> None:
    """One gain in 256 periods: mean over its error is 1, which is 84 %; the paper's formula says 98 %."""
    returns = np.zeros(256)
    returns[100] = 0.5
    assert deflated_sharpe(returns, 1.0) == pytest.approx(0.841, abs=2e-3)
    returns[100] = -0.5
    assert deflated_sharpe(returns, 1.0) < 0.3


def test_returns_that_repeat_themselves_are_fewer() -> None:
    draws = np.random.default_rng(3).normal(size=4_000)
    assert independent_periods(draws) == pytest.approx(4_000.0, rel=0.1)
    assert independent_periods(np.repeat(draws[:1_000], 4)) == pytest.approx(1_000.0, rel=0.3)
    assert independent_periods(draws[1:] - draws[:-1]) == 3_999.0
    once = np.repeat(np.random.default_rng(4).normal(0.004, 0.05, 100), 3)
    assert deflated_sharpe(once, 2.0) < deflated_sharpe(once[::3], 2.0) + 0.05


def test_trials_that_are_alike_are_one() -> None:
    draws = np.random.default_rng(1)
    apart = draws.normal(size=(4_000, 8))
    assert effective_trials(apart) == pytest.approx(8.0, rel=0.05)
    assert effective_trials(np.repeat(apart[:, :1], 9, axis=1)) == pytest.approx(1.0)
    assert effective_trials(np.zeros((50, 3))) == 1.0
    wide = draws.normal(size=(20, 300))
    values = np.linalg.eigvalsh(np.corrcoef(wide.T))
    shares = values[values > 1e-9] / 300.0
    assert effective_trials(wide) == pytest.approx(math.exp(-np.sum(shares * np.log(shares))), rel=1e-6)


def test_the_count_by_the_best_is_that_of_independent_trials_and_one_of_equal_ones() -> None:
    draws = np.random.default_rng(1)
    apart = draws.normal(size=(4_000, 20))
    assert trials_by_best(apart, seed=0) == pytest.approx(20.0, rel=0.1)
    assert trials_by_best(np.repeat(apart, 5, axis=1), seed=0) == pytest.approx(20.0, rel=0.1)
    assert trials_by_best(np.repeat(apart[:, :1], 9, axis=1), seed=0) < 1.5
    assert trials_by_best(np.zeros((50, 3)), seed=0) == 1.0


def test_ninety_trials_with_a_common_part_are_worth_more_than_the_two_of_the_participation_ratio() -> None:
    """Correlated by 0.7: their best is on average sqrt(0.3) of the best of 90, 1.35, which is that of 7 trials."""
    draws = np.random.default_rng(1)
    returns = math.sqrt(0.7) * draws.normal(size=(2_000, 1)) + math.sqrt(0.3) * draws.normal(size=(2_000, 90))
    squares = np.sum(np.corrcoef(returns.T) ** 2)
    assert 90.0**2 / squares == pytest.approx(2.0, abs=0.1)
    assert effective_trials(returns) > 6.0
    assert trials_by_best(returns, seed=0) == pytest.approx(7.0, abs=1.0)


def test_more_trials_deflate_more_and_nothing_that_stands_still_is_good() -> None:
    returns = np.random.default_rng(2).normal(0.002, 0.01, 300)
    assert deflated_sharpe(returns, 2.0) > deflated_sharpe(returns, 20.0) > 0.0
    for still in (0.0, 0.001, -3.0, 1e6):
        assert deflated_sharpe(np.full(300, still), 5.0) == 0.0
        assert sharpe(np.full((300, 2), still)).tolist() == [0.0, 0.0]


# Overfitting


def test_overfitting_is_counted_as_the_paper_counts_it() -> None:
    returns = np.random.default_rng(3).normal(0.0, 0.01, (48, 7))
    found = overfitting(returns, groups=6)
    parts = np.split(returns, 6)
    logits = []
    for chosen in combinations(range(6), 3):
        inside = np.concatenate([parts[place] for place in chosen])
        outside = np.concatenate([parts[place] for place in range(6) if place not in chosen])
        ratio, other = (half.mean(axis=0) / half.std(axis=0, ddof=1) for half in (inside, outside))
        rank = (np.sum(other < other[np.argmax(ratio)]) + 1.0) / 8.0
        logits.append(math.log(rank / (1.0 - rank)))
    assert found.logits == pytest.approx(logits)
    assert found.probability == np.mean(np.array(logits) < 0.0) + np.mean(np.array(logits) == 0.0) / 2.0


def test_noise_is_overfitted_half_of_the_time_and_skill_is_not() -> None:
    draws = np.random.default_rng(4)
    noise = [overfitting(draws.normal(0.0, 0.01, (240, 30))).probability for _ in range(20)]
    assert 0.35 < np.mean(noise) < 0.65
    skilled = draws.normal(0.0, 0.01, (240, 30))
    skilled[:, 3] += 0.004
    assert overfitting(skilled).probability < 0.01
    for shape, groups, said in (((240, 1), 12, "trials"), ((240, 5), 3, "groups"), ((10, 5), 12, "periods")):
        with pytest.raises(InvalidField, match=said):
            overfitting(np.zeros(shape), groups)


# Reality check and verdict


def test_the_reality_check_takes_what_was_chosen_into_account() -> None:
    returns = np.random.default_rng(5).normal(0.0, 0.01, (256, 40))
    best = int(np.argmax(returns.mean(axis=0)))
    alone = reality_check(returns[:, [best]], np.zeros(256), seed=1)
    among = reality_check(returns, np.zeros(256), seed=1)
    assert alone.spa < 0.05 < among.spa
    assert among == reality_check(returns, np.zeros(256), seed=1)
    still = np.zeros((256, 3))
    assert reality_check(still, np.zeros(256), seed=1).spa == 1.0
    with pytest.raises(InvalidField, match="periods"):
        reality_check(returns[:5], np.zeros(5), seed=1)
    with pytest.raises(InvalidField, match="benchmark"):
        reality_check(returns, np.zeros(5), seed=1)


def test_being_in_a_market_that_goes_up_is_no_timing() -> None:
    market = np.random.default_rng(6).normal(0.01, 0.02, 256)
    assert np.abs(timed(np.column_stack([market, 0.5 * market, 0.0 * market]), market)).max() < 1e-12
    verdict = judge(np.column_stack([market, 0.5 * market]), market, best=0, trials=2, seed=0)
    assert not verdict.significant
    assert "may be luck" in verdict.sentence


@pytest.mark.slow
def test_an_edge_is_found_and_a_null_is_not() -> None:
    draws = np.random.default_rng(7)
    market = draws.normal(0.0, 0.02, 256)
    returns = draws.normal(0.0, 0.01, (256, 200))
    best = int(np.argmax(sharpe(returns)))
    null = judge(returns, market, best=best, trials=200, seed=0)
    assert not null.significant
    returns[:, 17] += 0.005
    found = judge(returns, market, best=17, trials=200, seed=0)
    assert found.significant
    assert "more than luck" in found.sentence
    assert (found.trials, found.periods) == (200, 256)
    assert found == judge(returns, market, best=17, trials=200, seed=0)


def test_a_choice_counts_as_one_of_two_and_its_range_is_told() -> None:
    draws = np.random.default_rng(8)
    market = draws.normal(0.0, 0.02, 256)
    own = draws.normal(0.0, 0.01, (256, 1)) + 0.0011
    alone = judge(own, market, best=0, trials=1, seed=0)
    same = judge(own - np.linspace(0.0, 0.001, 21), market, best=0, trials=21, seed=0)
    assert (alone.effective_trials, alone.most_trials) == (1.0, 1.0)
    assert (same.effective_trials, same.most_trials) == (2.0, 2.0)
    assert same.deflated_sharpe < alone.deflated_sharpe
    apart = judge(draws.normal(0.0, 0.01, (256, 40)), market, best=0, trials=4_000, seed=0)
    assert 40.0 < apart.effective_trials < apart.most_trials <= 4_000.0
    assert apart.deflated_sharpe_at_most_trials <= apart.deflated_sharpe
    assert f"{apart.deflated_sharpe_at_most_trials:.1%} if worth {apart.most_trials:,.0f}" in apart.sentence


def test_a_grid_of_fees_has_no_probability_of_overfitting() -> None:
    """The cheapest is the best in every part of the time, whatever it earns: 0 % would say nothing of luck."""
    draws = np.random.default_rng(9)
    own = draws.normal(0.0, 0.01, (256, 1)) - np.linspace(0.0, 0.002, 21)
    assert overfitting(own).probability == 0.0
    verdict = judge(own, draws.normal(0.0, 0.02, 256), best=0, trials=21, seed=0)
    assert (verdict.pbo, verdict.loss) == (None, None)
    assert "all but the same, so that choosing among them shows nothing" in verdict.sentence


def test_equal_trials_are_ties_even_where_rounding_tells_them_apart() -> None:
    own = np.random.default_rng(10).normal(0.0, 0.01, (240, 1))
    equal = own * (1.0 + np.arange(9) * 1e-15)
    found = overfitting(equal)
    assert found.probability == 0.5
    assert np.all(found.logits == 0.0)


def test_a_ruined_trial_is_never_more_than_luck_and_does_not_lift_others() -> None:
    """It owes after the tenth period, and what its debt does from then on looks like the best of all."""
    draws = np.random.default_rng(11)
    market = draws.normal(0.0, 0.02, 256)
    returns = draws.normal(0.0, 0.01, (256, 5))
    ruined = draws.normal(0.5, 0.01, 256)
    ruined[10] = -2.0
    together = np.column_stack([ruined, returns])
    lost = judge(together, market, best=0, trials=6, seed=0)
    assert not lost.significant
    assert (lost.deflated_sharpe, lost.p_value) == (0.0, 1.0)
    assert "lost all" in lost.sentence
    best = int(np.argmax(sharpe(returns)))
    beside = judge(together, market, best=best + 1, trials=6, seed=0)
    assert beside.p_value == judge(returns, market, best=best, trials=5, seed=0).p_value


@pytest.mark.parametrize("kind", ["one gain", "still", "one column moves", "wild"])
def test_strange_returns_are_judged_without_nonsense(kind) -> None:
    draws = np.random.default_rng(12)
    returns = np.zeros((64, 4))
    if kind == "one gain":
        returns[30, :] = [0.5, 0.4, -0.2, 0.1]
    elif kind == "one column moves":
        returns[:, 2] = draws.normal(0.0, 0.01, 64)
    elif kind == "wild":
        returns = np.maximum(draws.standard_cauchy((64, 4)) * 0.1, -0.99)
    verdict = judge(returns, draws.normal(0.0, 0.02, 64), best=0, trials=4, seed=0, resamples=100)
    assert not verdict.significant
    for share in (
        verdict.deflated_sharpe,
        verdict.deflated_sharpe_at_most_trials,
        verdict.p_value,
        verdict.white,
    ):
        assert 0.0 <= share <= 1.0
    assert 1.0 <= verdict.effective_trials <= verdict.most_trials <= 4.0


@pytest.mark.parametrize(
    ("returns", "market", "best", "trials", "said"),
    [
        (np.zeros((10, 3)), np.zeros(10), 0, 3, "periods is 10"),
        (np.zeros((64, 3)), np.zeros(64), 3, 3, "best is 3"),
        (np.zeros((64, 3)), np.zeros(9), 0, 3, "market is 9"),
        (np.zeros((64, 3)), np.zeros(64), 0, 0, "trials is 0"),
        (np.zeros((64, 3)), np.zeros(64), 0, 2, "trials is 2; expected at least 3"),
        (np.full((64, 3), np.nan), np.zeros(64), 0, 3, "returns is 'nan in period 0 of trial 0'"),
        (np.zeros((64, 3)), np.full(64, np.inf), 0, 3, "market is 'inf in period 0'"),
    ],
)
def test_what_cannot_be_judged_is_refused(returns, market, best, trials, said) -> None:
    with pytest.raises(InvalidField, match=said):
        judge(returns, market, best=best, trials=trials, seed=0)


# Calibration


def test_the_calibration_pairs_every_grid_market_side_and_length() -> None:
    nulls = [cell for cell in sweeps.CELLS if not cell.edge and cell.grid != "1,000 crossovers"]
    for one, other in combinations(("grid", "market", "side", "periods"), 2):
        met = {(getattr(cell, one), getattr(cell, other)) for cell in nulls}
        every = {getattr(cell, one) for cell in nulls}, {getattr(cell, other) for cell in nulls}
        assert met == set(product(*every))
    assert {cell.grid for cell in sweeps.CELLS} == set(sweeps.GRIDS)
    assert {cell.market for cell in sweeps.CELLS} == set(sweeps.MARKETS)


def test_a_line_fails_where_a_part_passes_its_bound() -> None:
    def line(edge=False, bound=0.07, most=None, **counts):
        return sweeps.CalibrationLine("x", edge, sweeps.SeedCounts(seeds=100, **counts), bound, most)

    assert line(deflated=7, significant=7, reality=30).holds
    assert not line(deflated=8).holds
    assert not line(significant=8).holds
    assert not line(reality=8, most=0.07).holds
    assert "FAILS" in line(deflated=8).shown
    assert "8.0% (4-15)" in line(deflated=8).shown
    assert line(edge=True, bound=0.8, significant=80).holds
    assert not line(edge=True, bound=0.8, significant=79).holds
    assert line(edge=True, bound=None).holds


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_part_of_the_verdict_finds_an_edge_where_there_is_none() -> None:
    """Few seeds of every kind; `python -m raysignal.experiments.validation.sweeps` has a hundred."""
    cells = [cell for cell in sweeps.CELLS if not cell.edge]
    *lines, whole = sweeps.calibrate(2, cells=cells)
    assert [line.name for line in lines] == [cell.name for cell in cells]
    assert all(line.holds for line in lines), [line.shown for line in lines if not line.holds]
    assert whole.tally.seeds == 2 * len(cells)
    assert whole.holds, whole.shown


@pytest.mark.slow
def test_an_edge_is_found_in_a_sweep() -> None:
    (cell,) = (cell for cell in sweeps.CELLS if cell.least is not None)
    assert [sweeps.verdict_on(cell, seed).significant for seed in (0, 3, 4)] == [True] * 3
