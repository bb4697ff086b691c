"""Horizons as they are written, and outcomes on paper."""

import numpy as np
import pytest

from raysignal.agents.override.outcomes import MOST_BARS, MOST_TIME_US, Horizon, Outcomes, Settler
from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy

FREE = Policy(fee_bps=0.0, side="long-short")


def settled(price, action, horizon="1b", policy=FREE, *, lag_us=0, stamps=None):
    n = len(price)
    stamps = np.arange(n) * 10 if stamps is None else np.array(stamps)
    return Settler(policy, Horizon.parse(horizon, lag_us=lag_us)).feed(
        np.arange(n), stamps, np.zeros(n, np.int32), np.array(action, np.int8), np.array(price, np.float64)
    )


@pytest.mark.parametrize(
    ("text", "horizon", "written"),
    [
        ("6b", Horizon("bars", 6), "6b"),
        ("10000b", Horizon("bars", 10_000), "10000b"),
        ("90m", Horizon("time", 0, 5_400_000_000), "5400s"),
        ("1d", Horizon("time", 0, 86_400_000_000), "86400s"),
        ("500ms", Horizon("time", 0, 500_000), "500000us"),
        ("close", Horizon("close", 0), "close"),
    ],
)
def test_a_horizon_is_read_and_written_so_that_it_can_be_read_again(text, horizon, written):
    assert Horizon.parse(text) == horizon
    assert str(horizon) == written
    assert Horizon.parse(written) == horizon


@pytest.mark.parametrize("text", ["", "6", "0b", "10001b", "-1b", "b", "0m", "90", "closed", "6 b", "99999w"])
def test_what_is_no_horizon_is_refused_by_name(text):
    with pytest.raises(InvalidField, match="horizon"):
        Horizon.parse(text)


@pytest.mark.parametrize(
    "values",
    [
        {"bars": 0}, {"bars": MOST_BARS + 1}, {"kind": "time"}, {"kind": "time", "time_us": -1},
        {"kind": "time", "time_us": MOST_TIME_US + 1}, {"kind": "month"}, {"lag_us": -1},
        {"lag_us": MOST_TIME_US + 1},
    ],
)  # fmt: skip
def test_a_horizon_that_could_end_before_it_begins_is_refused(values):
    with pytest.raises(InvalidField):
        Horizon(**values)


def test_a_buy_that_rises_is_right_and_a_sell_is_wrong():
    found = settled([100.0, 101.0, 101.0], [1, -1, 0])

    np.testing.assert_allclose(found.move_bps, [100.0, 0.0])
    assert found.right.tolist() == [True, False]  # a move of nothing is nobody's
    np.testing.assert_allclose(found.gross_bps, [[100.0, -100.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-9)


def test_costs_are_paid_twice_and_a_hold_is_worth_nothing():
    policy = Policy(fee_bps=10.0, slippage_bps=5.0, side="long-short")

    found = settled([100.0, 100.0], [1, 0], policy=policy)

    long = 0.9995 * 0.999 / (1.0005 * 1.001) - 1.0
    short = (0.9995 * 0.999 - 1.0005 * 1.001) / (0.9995 * 1.001)
    np.testing.assert_allclose(found.net_bps, [[long * 1e4, short * 1e4, 0.0]])


def test_where_nothing_goes_short_a_sell_is_worth_staying_out():
    found = settled([100.0, 90.0, 99.0], [-1, 1, 0], policy=Policy(fee_bps=0.0, side="long-flat"))

    np.testing.assert_allclose(found.net_bps[0], [0.0, -1000.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(found.net_bps[1], [1000.0, 0.0, 0.0], atol=1e-9)


def test_an_outcome_is_known_a_lag_after_its_end():
    found = settled([100.0, 101.0], [1, 0], lag_us=7)

    assert found.known_at_us.tolist() == [17]


def test_a_time_ends_with_the_first_row_that_is_as_late_however_large_the_gap():
    hour = 3_600_000_000

    found = settled([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], "1h", stamps=[0, hour - 1, hour, 90 * hour])

    assert found.exit.tolist() == [2, 3]
    assert found.known_at_us.tolist() == [hour, 90 * hour]


@pytest.mark.parametrize(
    ("horizon", "fill"), [("3b", "signal"), ("2b", "next"), ("1h", "next"), ("close", "next")]
)
def test_a_horizon_that_is_longer_than_the_stream_settles_nothing(horizon, fill):
    found = settled([1.0, 2.0, 3.0], [1, 1, 1], horizon, Policy(fill=fill))

    assert len(found) == 0
    assert found.net_bps.shape == (0, 3)


@pytest.mark.parametrize("action", [[], [0], [0, 0, 0]])
def test_holds_are_not_scored(action):
    assert len(settled([100.0] * len(action), action)) == 0


def test_outcomes_put_together_keep_their_order():
    one, other = settled([1.0, 2.0], [1, 0]), settled([4.0, 1.0], [-1, 0])

    both = Outcomes.concat([one, other])

    assert both.move_bps.tolist() == [10_000.0, -7_500.0]
    assert both.right.tolist() == [True, True]


def test_worth_reads_what_cannot_be_written():
    side, move = np.array([1, -1], np.int8), np.array([100.0, 100.0])
    side.flags.writeable = move.flags.writeable = False

    gross, net = VerdictPayoff(FREE).verdicts(side, move)

    np.testing.assert_allclose(gross, net)
    np.testing.assert_allclose(net[:, Verdict.APPROVE], [100.0, -100.0])
