"""How venues write their steps."""

import pytest

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.market.venues.numbers import decimals_of


@pytest.mark.parametrize(
    ("step", "decimals"),
    [("0.01", 2), ("0.01000000", 2), ("1", 0), ("1.00", 0), ("100", 0), ("0.000000000000000001", 18)],
)
def test_decimals_of_a_step_are_those_that_it_needs(step, decimals):
    assert decimals_of(step) == decimals


@pytest.mark.parametrize("step", ["0", "0.00", "", "x", "-0.1", "1e-3", None, 0.1, "0.0000000000000000001"])
def test_what_is_no_step_is_refused(step):
    with pytest.raises(UnreadableInput):
        decimals_of(step)
