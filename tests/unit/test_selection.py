"""Folds keep apart what belongs apart; the statistics are those of their papers; the verdict knows a null."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidField
from experiments.selection import calibration
from experiments.selection.deflated import (
    deflated_sharpe,
    effective_trials,
    expected_best,
    minimum_track_record,
    probabilistic_sharpe,
    sharpe,
)
from experiments.selection.folds import Fold, combinatorial, purged_k_fold, walk_forward
from experiments.selection.overfitting import overfitting
from experiments.selection.reality import reality_check
from experiments.selection.verdict import judge, timed


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


def test_a_track_record_as_long_as_needed_is_just_sure_enough() -> None:
    needed = minimum_track_record(0.1, 0.02, -0.5, 5.0, 0.95)
    assert probabilistic_sharpe(0.1, 0.02, round(needed), -0.5, 5.0) == pytest.approx(0.95, abs=2e-3)
    assert minimum_track_record(0.02, 0.1, 0.0, 3.0) == math.inf


def test_trials_that_are_alike_are_one() -> None:
    draws = np.random.default_rng(1)
    apart = draws.normal(size=(4_000, 8))
    assert effective_trials(apart) == pytest.approx(8.0, rel=0.05)
    assert effective_trials(np.repeat(apart[:, :1], 9, axis=1)) == pytest.approx(1.0)
    assert effective_trials(np.zeros((50, 3))) == 1.0
    wide = draws.normal(size=(20, 300))
    full = np.corrcoef(wide.T)
    assert effective_trials(wide) == pytest.approx(300.0**2 / np.sum(full**2), rel=1e-9)


def test_more_trials_deflate_more_and_nothing_that_stands_still_is_good() -> None:
    returns = np.random.default_rng(2).normal(0.0, 0.01, (300, 20)) + np.linspace(0.0, 0.002, 20)
    assert deflated_sharpe(returns, 19, 2.0) > deflated_sharpe(returns, 19, 20.0) > 0.0
    assert deflated_sharpe(np.zeros((300, 20)), 0, 5.0) == 0.0
    assert sharpe(np.zeros((300, 2))).tolist() == [0.0, 0.0]


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


@pytest.mark.parametrize(
    ("returns", "market", "best", "trials", "said"),
    [
        (np.zeros((10, 3)), np.zeros(10), 0, 3, "periods is 10"),
        (np.zeros((64, 3)), np.zeros(64), 3, 3, "best is 3"),
        (np.zeros((64, 3)), np.zeros(9), 0, 3, "market is 9"),
        (np.zeros((64, 3)), np.zeros(64), 0, 0, "trials is 0"),
        (np.full((64, 3), np.nan), np.zeros(64), 0, 3, "not finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(returns, market, best, trials, said) -> None:
    with pytest.raises(InvalidField, match=said):
        judge(returns, market, best=best, trials=trials, seed=0)


@pytest.mark.slow
def test_the_calibration_judges_real_sweeps() -> None:
    """One seed of each; `python -m experiments.selection.calibration` has a hundred."""
    assert not calibration.verdict_on(calibration.random_walk(1_000), 0, resamples=200).significant
    strong = calibration.trending(1_000)
    assert calibration.verdict_on(strong, 0, resamples=200).significant
