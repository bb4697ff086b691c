"""Cohorts by hour and by range."""

import numpy as np
import pytest

from raysignal.agents.override.ranges import (
    FEWEST_VALUES,
    MOST_NUMBERS,
    hours_of,
    numbers_by_third,
    thirds_of,
)
from raysignal.engine.core.instants import parse_instant


@pytest.mark.parametrize(
    ("instant", "part"),
    [
        ("2025-02-24T00:00:00Z", "00:00 to 04:00 UTC"),
        ("2025-02-24T03:59:59.999999Z", "00:00 to 04:00 UTC"),
        ("2025-02-24T04:00:00Z", "04:00 to 08:00 UTC"),
        ("2025-02-24T23:00:00+01:00", "20:00 to 24:00 UTC"),
    ],
)
def test_an_instant_lies_in_one_of_six_parts_of_its_utc_day(instant, part):
    assert hours_of(np.array([parse_instant(instant)])).texts() == [part]


def test_values_lie_in_the_thirds_of_their_range_and_missing_ones_in_none():
    values = np.array([*range(90, 0, -1), np.nan, np.inf], float)
    found = thirds_of(values)
    assert found is not None
    assert found.counts() == {"at most 30.67": 30, "above 30.67 to 60.33": 30, "above 60.33": 30}
    assert found.texts()[-2:] == ["", ""]
    assert found.texts()[:30] == ["above 60.33"] * 30


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (42_103.5, 42_119.2, "above 42,104 to 42,119"),
        (42_103.51, 42_103.74, "above 42,103.51 to 42,103.74"),
        (-1_500_000.0, 2_250_000.0, "above -1,500,000 to 2,250,000"),
        (1.0, 2.0, "above 1 to 2"),
        (0.000_123_4, 0.000_123_9, "above 0.0001234 to 0.0001239"),
        (1.234e-9, 5.678e-9, "above 1.234e-09 to 5.678e-09"),
        (1.5e20, 1.6e20, "above 1.5e+20 to 1.6e+20"),
        (-0.5, 0.0, "above -0.5 to 0"),
    ],
)
def test_a_range_is_named_by_ends_that_are_told_apart(low, high, names):
    found = thirds_of(np.repeat([low, high, high + (high - low)], [62, 60, 58]))
    assert found is not None
    assert found.names[1] == names


@pytest.mark.parametrize(
    "values",
    [
        np.arange(FEWEST_VALUES, 0.0, -1.0)[1:],  # too few
        np.arange(1_000.0),  # a row number
        np.full(1_000, 5.0),
        np.where(np.arange(1_000) % 10, 0.0, 1.0),  # mostly one value
        np.full(1_000, np.nan),
    ],
)
def test_what_has_no_three_parts_is_no_cohort(values):
    assert thirds_of(values) is None


def test_numbers_have_a_cohort_each_up_to_a_most():
    many = {f"n{place:02d}": np.arange(90.0)[::-1] for place in range(MOST_NUMBERS + 5)}
    found = numbers_by_third(many | {"a": np.full(90, 1.0)})
    assert list(found) == sorted(many)[:MOST_NUMBERS]
