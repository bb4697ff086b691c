import numpy as np
import pytest

from experiments.shifts import shift_test
from tests.experiment_streams import gathered, outcomes


def slow_statistics(chosen, gains, lags):
    """The studentised statistic of every shift, written out."""
    n = len(chosen)
    chosen, gains = chosen - chosen.mean(axis=0), gains - gains.mean(axis=0)
    sums, variances = [], []
    for shift in range(n):
        products = (np.roll(chosen, -shift, axis=0) * gains).sum(axis=1)
        deviation = products - products.mean()
        variance = deviation @ deviation
        for lag in range(1, lags + 1):
            variance += 2 * (1 - lag / (lags + 1)) * (deviation @ np.roll(deviation, -lag))
        sums.append(products.sum())
        variances.append(variance)
    return np.array(sums) / np.sqrt(np.maximum(variances, 1e-6 * np.mean(variances)))


@pytest.mark.parametrize("n", [7, 64, 101])
@pytest.mark.parametrize("lags", [0, 3])
def test_every_shift_is_what_it_is_when_written_out(n, lags):
    draws = np.random.default_rng(n)
    flip = gathered(draws, n, rate=0.3)
    hold = ~flip & (draws.random(n) < 0.4)
    chosen = np.stack([flip, hold], axis=1).astype(float)
    gains = np.stack([2.0 * outcomes(draws, n), outcomes(draws, n)], axis=1)
    values = slow_statistics(chosen, gains, lags)
    found = shift_test(chosen, gains, lags=lags)
    assert found.statistic == pytest.approx(values[0])
    assert found.shifts == n - 1
    assert found.greater == (1 + (values[1:] >= values[0] - 1e-9).sum()) / n
    assert found.less == (1 + (values[1:] <= values[0] + 1e-9).sum()) / n
    assert found.two_sided == (1 + (abs(values[1:]) >= abs(values[0]) - 1e-9).sum()) / n


def test_symbols_are_shifted_by_the_same_share_of_their_length():
    draws = np.random.default_rng(3)
    chosen, gains = draws.integers(0, 2, (20, 1)).astype(float), draws.standard_normal((20, 1))
    alone = shift_test(chosen, gains, lags=0)
    # A second symbol that does what the first does doubles sums and variances alike.
    both = shift_test(np.repeat(chosen, 2, axis=0), np.repeat(gains, 2, axis=0), np.tile([0, 1], 20), lags=0)
    assert both.statistic == pytest.approx(np.sqrt(2) * alone.statistic)
    assert (both.shifts, both.greater, both.less) == (alone.shifts, alone.greater, alone.less)


def test_symbols_of_different_length_are_compared_at_as_many_shifts_as_the_longest_has():
    draws = np.random.default_rng(3)
    found = shift_test(
        draws.integers(0, 2, (30, 1)).astype(float),
        draws.standard_normal((30, 1)),
        np.repeat([4, 9], [10, 20]),
    )
    assert found.shifts == 19


def test_choices_that_see_the_outcome_beat_every_shift():
    gains = outcomes(np.random.default_rng(1), 200)[:, None]
    found = shift_test((gains > 0).astype(float), gains)
    assert found.greater == 1 / 200
    assert found.less == 1.0
    worse = shift_test((gains < 0).astype(float), gains)
    assert worse.less == 1 / 200


@pytest.mark.parametrize(
    ("chosen", "gains"),
    [
        (np.zeros((50, 2)), np.ones((50, 2)) * np.arange(50)[:, None]),
        (np.ones((50, 2)), np.ones((50, 2)) * np.arange(50)[:, None]),
        (np.eye(50, 2), np.zeros((50, 2))),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.ones((1, 2)), np.ones((1, 2))),
    ],
    ids=["nothing chosen", "all chosen", "nothing gained", "no rows", "one row"],
)
def test_where_there_is_nothing_to_compare_nothing_is_shown(chosen, gains):
    found = shift_test(chosen, gains)
    assert (found.statistic, found.greater, found.less, found.two_sided) == (0.0, 1.0, 1.0, 1.0)


def test_all_shifts_being_equal_is_no_evidence():
    chosen = np.tile([1.0, 0.0], 30)[:, None]
    gains = np.tile([0.0, 1.0, 0.0], 20)[:, None]
    assert shift_test(chosen, gains, lags=0).greater == 1.0
