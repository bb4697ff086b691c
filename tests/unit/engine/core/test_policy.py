"""A policy: what its members may be."""

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import MAX_CASH, MIN_CASH, Policy
from raysignal.serve.schemas.portfolios import PolicyBody


@pytest.mark.parametrize(
    "cash", [5e-324, 1e-300, 9e-10, 0.0, -1.0, 1.1e15, float("inf"), float("nan"), True, "1"]
)
def test_cash_with_which_nothing_can_be_computed_is_refused(cash):
    with pytest.raises(InvalidField, match="initial_cash is"):
        Policy(initial_cash=cash)


@pytest.mark.parametrize("cash", [MIN_CASH, 1.0, MAX_CASH])
def test_cash_within_the_bounds_is_taken_and_loses_no_digits(cash):
    assert Policy(initial_cash=cash).initial_cash == cash
    quantity = cash / 1e15  # of the most expensive thing there is
    assert quantity * 1e15 == pytest.approx(cash, rel=1e-15)


@pytest.mark.parametrize(
    ("cash", "good"), [(5e-324, False), (MIN_CASH, True), (MAX_CASH, True), (2e15, False)]
)
def test_the_schema_promises_what_the_policy_takes(cash, good):
    bounds = PolicyBody.model_json_schema()["properties"]["initial_cash"]
    assert (bounds["minimum"] <= cash <= bounds["maximum"]) is good


@pytest.mark.parametrize("number", [0.0, -252.0, 1.1e9, float("nan"), "252", True])
def test_a_year_that_is_no_number_of_periods_is_refused(number):
    with pytest.raises(InvalidField, match="periods_per_year is"):
        Policy(periods_per_year=number)


def test_a_calendar_is_one_of_three_and_a_number_is_taken_whatever_it_is():
    with pytest.raises(InvalidField, match="observed or 365x24 or 252-sessions"):
        Policy(calendar="lunar")
    policy = Policy(calendar="365x24", periods_per_year=252)
    assert Policy.from_dict(policy.as_dict()) == policy
    assert PolicyBody(**policy.as_dict()).periods_per_year == 252.0
