import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap

from experiments.bootstrap import block_length, by_instant, mean_interval, mean_replicates
from tests.experiment_streams import outcomes


@pytest.mark.parametrize("block", [1.0, 2.5, 20.0])
def test_the_replicates_are_distributed_as_those_of_arch(block):
    series = outcomes(np.random.default_rng(1), 400, phi=0.4)
    own = mean_replicates(series, block, replicates=6_000, seed=1)
    theirs = StationaryBootstrap(block, series, seed=1).apply(lambda values: values.mean(), 6_000)[:, 0]
    # The standard error of a quantile of 6 000 draws is at most 3 % of their deviation at 2.5 %.
    for quantile in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert abs(np.quantile(own, quantile) - np.quantile(theirs, quantile)) < 0.17 * theirs.std()
    assert own.std() == pytest.approx(theirs.std(), rel=0.06)


def test_the_same_seed_gives_the_same_replicates_and_fewer_are_a_prefix_of_more():
    series = outcomes(np.random.default_rng(1), 50)
    many = mean_replicates(series, 3.0, replicates=600, seed=7)
    assert (mean_replicates(series, 3.0, replicates=600, seed=7) == many).all()
    assert (mean_replicates(series, 3.0, replicates=300, seed=7) == many[:300]).all()
    assert (mean_replicates(series, 3.0, replicates=600, seed=8) != many).any()


def test_a_block_longer_than_the_series_repeats_it_whole():
    series = outcomes(np.random.default_rng(1), 20)
    assert mean_replicates(series, 1e9, replicates=50, seed=1) == pytest.approx(np.full(50, series.mean()))


@pytest.mark.parametrize("series", [np.zeros(50), np.full(50, 3.7), np.full(3, 1e300 / 1e290)])
def test_a_constant_series_is_certain(series):
    interval = mean_interval(series, seed=1)
    assert interval.low == interval.high == interval.estimate == pytest.approx(series[0])
    assert interval.se == 0.0
    assert block_length(series) == 1.0


def test_fewer_than_two_values_have_no_interval():
    assert np.isnan(mean_interval(np.array([]), seed=1).estimate)
    one = mean_interval(np.array([2.0]), seed=1)
    assert one.estimate == 2.0
    assert np.isnan(one.low)
    assert not one.above_zero
    assert not one.below_zero
    assert one.as_dict()["low"] is None


@pytest.mark.parametrize("n", [2, 3, 8, 11, 12, 13, 40])
def test_short_series_have_a_block_length_and_an_interval(n):
    series = outcomes(np.random.default_rng(n), n)
    assert 1.0 <= block_length(series) <= n
    interval = mean_interval(series, seed=1)
    assert interval.low < interval.estimate < interval.high


def test_few_blocks_make_a_wider_interval():
    series = outcomes(np.random.default_rng(1), 60, phi=0.0)
    replicates = mean_replicates(series, 20.0, replicates=1_999, seed=1)
    interval = mean_interval(series, seed=1, block=20.0)
    assert interval.low < np.quantile(replicates, 0.025)
    assert interval.high > np.quantile(replicates, 0.975)


def test_another_unit_scales_the_whole_interval():
    interval = mean_interval(outcomes(np.random.default_rng(1), 60), seed=1)
    scaled = interval.scaled(10.0)
    assert (scaled.low, scaled.high, scaled.se) == (10 * interval.low, 10 * interval.high, 10 * interval.se)
    assert scaled.block == interval.block


def test_rows_of_one_instant_are_one_draw():
    values, at = np.array([1.0, 3.0, 5.0, 11.0]), np.array([10, 10, 20, 30])
    merged = by_instant(values, at)
    assert len(merged) == 3
    assert merged.mean() == pytest.approx(values.mean())
    assert by_instant(values, np.arange(4)) is values
    # Every row written twice at its instant tells nothing new: the interval stays as wide as it was.
    series = outcomes(np.random.default_rng(1), 300)
    twice = by_instant(np.repeat(series, 2), np.repeat(np.arange(300), 2))
    assert twice == pytest.approx(series)
