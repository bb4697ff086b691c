"""What holds for every series: units and signs do not matter, and a share lies between 0 and 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raysignal.agents.override.intervals import by_instant, dependence, mean_interval, share_interval

rows = st.integers(0, 80)
series = rows.flatmap(lambda n: arrays.arrays(np.float64, n, elements=st.integers(-1_000, 1_000).map(float)))
flags = st.integers(1, 80).flatmap(lambda n: arrays.arrays(np.bool_, n))


@given(series)
def test_an_interval_holds_its_estimate_or_is_not_there(values):
    found = mean_interval(values)
    assert (found.low < found.estimate < found.high) or (np.isnan(found.low) and np.isnan(found.high))
    assert not (found.above_zero and found.below_zero)


@given(series, st.integers(-12, 12))
def test_another_unit_gives_the_same_interval_in_it(values, power):
    # A power of two: nothing is rounded.
    factor = 2.0**power
    found, scaled = mean_interval(values), mean_interval(values * factor)
    assert scaled.as_dict() == pytest.approx(found.scaled(factor).as_dict())


@given(series)
def test_the_mirrored_series_has_the_mirrored_interval(values):
    found, mirrored = mean_interval(values), mean_interval(-values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), nan_ok=True)


@given(series, st.sampled_from([0.5, 0.8, 0.9, 0.99]))
def test_a_surer_interval_holds_a_less_sure_one(values, level):
    wide, narrow = mean_interval(values, level=0.995), mean_interval(values, level=level)
    assert (wide.low <= narrow.low and narrow.high <= wide.high) or np.isnan(wide.low)


@given(flags)
def test_the_interval_of_a_share_lies_between_0_and_1_and_holds_it(right):
    found = dependence(right.astype(float))
    assert 1.0 <= found.ratio <= max(1.0, len(right))
    low, high = share_interval(float(right.mean()), len(right), found)
    assert np.isnan(low) or 0.0 <= low <= right.mean() <= high <= 1.0


@given(
    arrays.arrays(np.float64, 40, elements=st.floats(-1e3, 1e3)),
    st.lists(st.integers(0, 9), min_size=40, max_size=40),
)
def test_the_mean_of_instants_is_the_mean_of_rows(values, at):
    merged = by_instant(values, np.sort(np.array(at)))
    assert len(merged) == len(set(at))
    assert merged.mean() == pytest.approx(values.mean(), abs=1e-9)
