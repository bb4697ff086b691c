import numpy as np
import pytest

from raysignal.agents.override.intervals import (
    by_instant,
    dependence,
    dependence_of_part,
    effective_n,
    mean_interval,
    mean_p_values,
    share_interval,
    wilson,
)
from raysignal.experiments.validation import intervals
from tests.support.experiment_streams import outcomes


def test_the_standard_error_of_independent_rows_is_that_of_the_textbook():
    series = np.random.default_rng(1).standard_normal(4_000)
    found = mean_interval(series)
    assert found.estimate == pytest.approx(series.mean())
    assert found.se == pytest.approx(series.std() / np.sqrt(4_000), rel=0.15)
    assert found.high - found.estimate == pytest.approx(found.estimate - found.low, rel=0.05)


def test_the_long_run_variance_of_an_autoregression_is_found():
    # (1 + phi) / (1 - phi) times the plain one: 4 for 0.6. With 68 degrees the estimate is off by a sixth.
    series = intervals.autoregression(np.random.default_rng(1), 40, 4_000, 0.6)
    found = [dependence(one) for one in series]
    assert np.mean([one.variance for one in found]) == pytest.approx(4.0, rel=0.1)
    assert np.mean([one.degrees for one in found]) == pytest.approx(68, rel=0.1)
    assert np.mean([one.ratio for one in found]) == pytest.approx(4.0, rel=0.15)


def test_strong_dependence_in_a_short_series_leaves_few_degrees_and_a_wide_interval():
    series = intervals.autoregression(np.random.default_rng(1), 200, 100, 0.9)
    found = [dependence(one) for one in series]
    assert np.median([one.degrees for one in found]) <= 2
    # An oracle's is 2 * 1.96 * sqrt(19 / 100) = 1.7 wide.
    widths = [one.high - one.low for one in map(mean_interval, series)]
    assert np.nanmedian(widths) > 2.0


def test_an_interval_is_longer_on_the_side_of_the_longer_tail():
    found = mean_interval(np.random.default_rng(1).exponential(1.0, 200))
    assert found.high - found.estimate > 1.05 * (found.estimate - found.low)
    mirrored = mean_interval(-np.random.default_rng(1).exponential(1.0, 200))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("series", [np.zeros(50), np.full(50, 3.7), np.full(30, 1e10)])
def test_a_series_that_never_varies_has_no_interval(series):
    found = mean_interval(series)
    assert found.estimate == pytest.approx(series[0])
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert found.se == 0.0
    assert not found.above_zero
    assert not found.below_zero


@pytest.mark.parametrize("carried_by", [1, 12])
def test_one_row_or_one_burst_that_is_not_zero_carries_no_interval(carried_by):
    series = np.zeros(1_000)
    series[300 : 300 + carried_by] = 5.0
    assert np.isnan(mean_interval(series).low)
    series[::50] = 5.0
    assert np.isfinite(mean_interval(series).low)


def test_values_that_alternate_have_a_narrow_interval_and_not_none():
    found = mean_interval(np.tile([-10.0, 10.0], 50) + 9.0)
    assert found.above_zero
    assert found.high - found.low < 2.0


@pytest.mark.parametrize("n", range(10))
def test_fewer_than_ten_rows_have_no_interval(n):
    series = np.random.default_rng(n).standard_normal(n)
    found = mean_interval(series)
    assert np.isnan(found.low)
    assert np.isnan(found.se)
    assert found.estimate == pytest.approx(series.mean()) if n else np.isnan(found.estimate)
    assert found.as_dict()["low"] is None
    assert found.as_dict()["n"] == n


def test_another_unit_scales_the_whole_interval():
    found = mean_interval(outcomes(np.random.default_rng(1), 60))
    scaled = found.scaled(10.0)
    assert (scaled.low, scaled.high, scaled.se) == (10 * found.low, 10 * found.high, 10 * found.se)


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


def test_wilson_as_published():
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, and 0 of 20.
    z = 1.959963984540054
    assert wilson(81, 263, z) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20, z) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0, z) == (0.0, 1.0)


def test_repeated_rows_count_once_in_a_share():
    right = (np.random.default_rng(1).random(200) < 0.5).astype(float)
    once, tenfold = dependence(right), dependence(np.repeat(right, 10))
    assert effective_n(2_000, tenfold) < 260
    low, high = share_interval(right.mean(), 2_000, tenfold)
    alone = share_interval(right.mean(), 200, once)
    assert high - low > 0.9 * (alone[1] - alone[0])


def test_a_small_part_depends_as_the_whole_does():
    whole = dependence(np.repeat(np.random.default_rng(1).standard_normal(100), 10))
    assert whole.ratio > 5.0
    assert dependence_of_part(np.zeros(12), whole) is whole
    assert dependence_of_part(np.ones(500), whole) is whole  # 500 of 500 right do not say how they depend
    large = np.random.default_rng(2).standard_normal(500)
    assert dependence_of_part(large, whole) == dependence(large)


def test_what_is_not_known_of_a_share_is_not_shown():
    constant = dependence(np.ones(30))
    assert not constant.known
    assert np.isnan(share_interval(1.0, 30, constant)).all()


@pytest.mark.parametrize("shift", [-0.2, -0.05, 0.05, 0.2])
def test_a_p_value_is_the_level_at_which_the_interval_ends_at_zero(shift):
    series = np.random.default_rng(7).exponential(1.0, 400) - 1.0 + shift
    greater, less = mean_p_values(series)
    p, bound = (greater, "low") if greater < 0.5 else (less, "high")
    assert getattr(mean_interval(series, level=1.0 - 2.0 * p), bound) == pytest.approx(0.0, abs=1e-6)
    assert max(greater, less) >= 0.5


def test_without_an_interval_there_is_no_p_value():
    assert (
        mean_p_values(np.zeros(50))
        == mean_p_values(np.ones(5))
        == mean_p_values(np.eye(1, 90)[0])
        == (1.0, 1.0)
    )
