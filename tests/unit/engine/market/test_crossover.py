"""The crossover, rule by rule."""

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.signals import Action
from raysignal.engine.market.crossover import Crossing, Crossover, CrossoverState, Gap
from tests.support.market_bars import SECOND, START_US, bar


def crossings(closes, fast=1, slow=2):
    crossover = Crossover(DAY_US, fast, slow)
    steps = [crossover.take(bar(number, close)) for number, close in enumerate(closes)]
    assert not any(isinstance(step, Gap) for step in steps)
    return [(number, step.action) for number, step in enumerate(steps) if isinstance(step, Crossing)]


@pytest.mark.parametrize(("fast", "slow"), [(0, 1), (2, 2), (3, 2), (-1, 5), (1, 100_001)])
def test_windows_that_make_no_sense_are_refused(fast, slow):
    with pytest.raises(InvalidField):
        Crossover(DAY_US, fast, slow)


def test_a_bar_of_another_length_is_refused():
    with pytest.raises(InvalidField, match="interval_us"):
        Crossover(DAY_US).take(bar(0, 1, SECOND))


def test_a_change_of_sides_is_a_crossing_and_the_first_side_is_none():
    assert crossings([10, 11, 12, 9, 8, 10]) == [(3, Action.SELL), (5, Action.BUY)]


def test_equal_means_are_on_no_side():
    assert crossings([10, 11, 11, 11, 12]) == []  # touched, and turned back
    assert crossings([10, 11, 11, 11, 9]) == [(4, Action.SELL)]  # passed through
    assert crossings([10, 10, 10, 11]) == []  # the first side


def test_there_is_no_sign_before_the_slow_window_is_full():
    crossover = Crossover(DAY_US, 2, 4)
    for number, close in enumerate([9, 1, 9, 1]):
        assert crossover.missing == 4 - number
        assert crossover.take(bar(number, close)) is None
    assert crossover.missing == 0
    assert crossover.progress == CrossoverState(START_US, START_US + 3 * DAY_US, 0)


def test_a_crossing_says_the_means_rounded_once():
    crossover = Crossover(DAY_US, 1, 3)
    for number, close in enumerate([100, 100, 101]):
        crossover.take(bar(number, close))
    crossing = crossover.take(bar(3, 1))
    assert (crossing.fast, crossing.slow) == (0.01, 202 / 300)


def test_a_bar_that_was_taken_before_changes_nothing():
    crossover = Crossover(DAY_US, 1, 2)
    for number, close in enumerate([10, 11, 9]):
        crossover.take(bar(number, close))
    before = crossover.progress
    assert crossover.take(bar(2, 999)) is None
    assert crossover.take(bar(0, 999)) is None
    assert (crossover.repeated, crossover.progress) == (2, before)


def test_missing_bars_are_named_and_nothing_is_taken_until_they_are_there():
    crossover = Crossover(DAY_US, 1, 2)
    crossover.take(bar(0, 10))
    crossover.take(bar(1, 11))
    gap = Gap(START_US + 2 * DAY_US, START_US + 4 * DAY_US)
    assert crossover.take(bar(4, 9)) == gap
    assert crossover.take(bar(4, 9)) == gap
    assert crossover.take(bar(2, 12)) is None
    assert crossover.take(bar(3, 13)) is None
    assert isinstance(crossover.take(bar(4, 9)), Crossing)


def test_a_bar_whose_close_is_not_known_is_missing_itself():
    crossover = Crossover(DAY_US, 1, 2)
    guess = bar(0, 1, complete=False, close_known=False)
    assert crossover.take(guess) == Gap(START_US, START_US + DAY_US)
    assert crossover.progress is None
    assert crossover.take(bar(0, 10, complete=False)) is None
    assert crossover.take(bar(1, 1, complete=False, close_known=False)) == Gap(
        START_US + DAY_US, START_US + 2 * DAY_US
    )
    later = bar(2, 1, complete=False, close_known=False)
    assert crossover.take(later) == Gap(START_US + DAY_US, START_US + 3 * DAY_US)


def test_after_a_restart_the_warm_up_is_anew_and_the_old_side_forgotten():
    crossover = Crossover(DAY_US, 1, 2)
    for number, close in enumerate([10, 11]):
        crossover.take(bar(number, close))
    crossover.restart()
    assert crossover.take(bar(9, 10)) is None
    assert crossover.take(bar(10, 5)) is None
    assert isinstance(crossover.take(bar(11, 9)), Crossing)


def test_it_resumes_with_the_stored_bars_and_with_no_others():
    crossover = Crossover(DAY_US, 1, 3)
    bars = [bar(number, close) for number, close in enumerate([9, 8, 9, 9, 9, 9])]
    for item in bars:
        crossover.take(item)
    progress = crossover.progress
    assert progress == CrossoverState(START_US + 3 * DAY_US, START_US + 5 * DAY_US, 1)
    resumed = Crossover(DAY_US, 1, 3)
    # The side is older than these bars, which are all alike.
    resumed.resume(progress, bars[3:])
    assert resumed.progress == progress
    assert isinstance(resumed.take(bar(6, 5)), Crossing)
    for wrong in ([], bars[2:], bars[4:], bars[3:5], [bars[3], bars[5]]):
        with pytest.raises(InvalidField, match="bars is"):
            resumed.resume(progress, wrong)
        assert resumed.progress is None


def test_closes_with_other_decimals_are_the_same_closes():
    from msgspec.structs import replace

    crossover = Crossover(DAY_US, 1, 2)
    crossover.take(bar(0, 1000))
    finer = bar(1, 10_000)
    crossover.take(replace(finer, instrument=replace(finer.instrument, price_decimals=3)))
    assert crossover.progress == CrossoverState(START_US, START_US + DAY_US, 0)
