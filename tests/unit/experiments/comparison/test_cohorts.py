from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.accuracy import FEWEST
from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action
from raysignal.experiments.comparison.cohorts import FEWEST_IN_TIME, accuracy_of, accuracy_over_time
from tests.support.experiment_streams import a_stream


def scored(side):
    """Three BUYs that are followed by +10, +20 and -30 bp, and two SELLs by -10 and +40 bp."""
    action, move = np.array([1, 1, 1, -1, -1], np.int8), np.array([10.0, 20.0, -30.0, -10.0, 40.0])
    policy = Policy(side=side)
    gross, net = VerdictPayoff(policy).verdicts(action, move)
    return replace(
        a_stream(5, symbols=("BTC",)), action=action, gross_bps=gross, net_bps=net, judged=np.ones(5, np.bool_),
        right=action * move > 0.0, policy=policy,
    )  # fmt: skip


@pytest.mark.parametrize("side", ["long-flat", "long-short"])
def test_a_signal_is_right_where_the_market_followed_it_whether_or_not_it_opened_a_trade(side):
    found = accuracy_of(scored(side))
    assert (found.n, found.right) == (5, 3)
    assert (found.up_share, found.down_share) == (0.6, 0.4)
    assert {one.name: (one.right, one.n) for one in found.cohorts if one.dimension == "side"} == {
        "BUY": (2, 3),
        "SELL": (1, 2),
    }


def test_the_drift_of_a_symbol_is_its_own():
    stream = a_stream(600)
    found = accuracy_of(stream)
    for code, name in enumerate(stream.symbols):
        own = stream.judged & (stream.symbol == code)
        side, right = stream.action[own], stream.right[own]
        assert len(right) >= FEWEST
        up = np.where(side > 0, right, ~right).mean()  # no move is 0
        (cohort,) = (one for one in found.cohorts if one.name == name)
        assert cohort.drift == pytest.approx(np.where(side > 0, up, 1.0 - up).mean())
    assert len({one.drift for one in found.cohorts if one.dimension == "symbol"}) == 2


def test_what_a_sell_of_long_flat_brings_is_nothing_however_right_it_was():
    (sell,) = (one for one in accuracy_of(scored("long-flat")).cohorts if one.name == "SELL")
    assert sell.net_bps == 0.0


def test_accuracy_over_time_is_that_of_the_latest_judged_signals_with_the_drift_beside_it():
    stream = a_stream(600, symbols=("BTC",))
    found = accuracy_over_time(stream)
    assert found is not None
    rows = np.flatnonzero(stream.judged)
    assert found.window == len(rows) // 6
    for place, last in ((0, found.window), (-1, len(rows))):
        latest = rows[last - found.window : last]
        assert found.timestamp_us[place] == stream.timestamp_us[latest[-1]]
        assert found.share[place] == stream.right[latest].mean()
        up = (stream.action * stream.gross_bps[:, 0])[rows] > 0.0
        assert found.drift[place] == pytest.approx(
            np.where(stream.action[latest] > 0, up.mean(), 1.0 - up.mean()).mean()
        )
    assert (found.low < found.share).all()
    assert (found.share < found.high).all()


def test_a_close_takes_no_side_in_accuracy_and_its_course():
    stream = a_stream(600, symbols=("BTC",))
    closes = np.zeros(600, np.bool_)
    closes[np.flatnonzero(stream.judged)[::3]] = True
    action = np.where(closes, int(Action.CLOSE), stream.action).astype(np.int8)
    held = replace(stream, action=np.where(closes, 0, stream.action).astype(np.int8))
    with_closes = replace(stream, action=action)
    one, other = accuracy_of(with_closes), accuracy_of(held)
    assert (one.n, one.right) == (other.n, other.right)
    assert one.n == int((stream.judged & ~closes).sum())
    course, other_course = accuracy_over_time(with_closes), accuracy_over_time(held)
    assert course is not None
    assert other_course is not None
    assert course.window == other_course.window
    for name in ("timestamp_us", "share", "low", "high", "drift"):
        np.testing.assert_array_equal(getattr(course, name), getattr(other_course, name))


def test_accuracy_over_time_needs_enough_judged_signals():
    few, enough = (replace(a_stream(600), judged=judged) for judged in first_judged(FEWEST_IN_TIME))
    assert accuracy_over_time(few) is None
    assert accuracy_over_time(enough) is not None


def first_judged(n):
    rows = np.flatnonzero(a_stream(600).judged)
    return [np.isin(np.arange(600), rows[:most]) for most in (n - 1, n)]
