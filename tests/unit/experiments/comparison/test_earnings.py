from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.earnings import (
    MOST_FEE_BPS,
    account_break_even_fee_bps,
    earnings_of,
    hold_gains,
    trades_break_even_fee_bps,
)
from tests.support.experiment_streams import a_stream

NONE = np.zeros(0)


def a_market(prices, actions, **policy):
    """A stream of one symbol with these prices and actions; only what an account needs."""
    n = len(prices)
    return replace(
        a_stream(n, symbols=("BTC",)), price=np.array(prices, float), action=np.array(actions, np.int8),
        net_bps=np.zeros((n, 3)), gross_bps=np.zeros((n, 3)), judged=np.zeros(n, np.bool_), policy=Policy(**policy),
    )  # fmt: skip


def scored(action, moves_bps, **policy):
    """A stream of signals with these actions, whose prices then move so far."""
    worth, side = Policy(**policy), np.array(action, np.int8)
    gross, net = VerdictPayoff(worth).verdicts(side, np.array(moves_bps, float))
    stream = a_market([100.0] * len(side), side, **policy)
    return replace(stream, gross_bps=gross, net_bps=net, judged=np.ones(len(side), np.bool_))


# Trades


def test_one_long_trade_breaks_even_at_the_fee_that_eats_its_gain():
    # 1.01 * (1 - f) / (1 + f) = 1
    assert trades_break_even_fee_bps(np.array([100.0]), NONE, slippage_bps=0.0) == pytest.approx(
        1e4 * 0.01 / 2.01
    )


def test_one_short_trade_breaks_even_at_the_fee_that_eats_its_gain():
    # (1 - f) - 0.99 * (1 + f) = 0
    assert trades_break_even_fee_bps(NONE, np.array([100.0]), slippage_bps=0.0) == pytest.approx(
        1e4 * 0.01 / 1.99
    )


def test_slippage_is_paid_before_the_fee_breaks_even():
    # 1.01 * 0.999 / 1.001 * (1 - f) / (1 + f) = 1
    left = 1.01 * 0.999 / 1.001
    assert trades_break_even_fee_bps(np.array([100.0]), NONE, slippage_bps=10.0) == pytest.approx(
        1e4 * (left - 1) / (left + 1)
    )


@pytest.mark.parametrize("long_bps", [[], [0.0], [-100.0], [300.0, -301.0]])
def test_trades_that_earn_nothing_before_costs_break_even_at_no_fee(long_bps):
    assert trades_break_even_fee_bps(np.array(long_bps), NONE, slippage_bps=0.0) is None


@given(
    moves=st.lists(st.floats(-900.0, 900.0), min_size=1, max_size=20),
    sides=st.lists(st.sampled_from([1, -1]), min_size=20, max_size=20),
    slippage=st.floats(0.0, 30.0),
)
def test_at_the_break_even_fee_trades_earn_nothing_on_average(moves, sides, slippage):
    side, moves = np.array(sides[: len(moves)], np.int8), np.array(moves)
    gross = side * moves
    fee = trades_break_even_fee_bps(gross[side > 0], gross[side < 0], slippage_bps=slippage)
    if fee is not None and fee <= MOST_FEE_BPS:
        policy = Policy(fee_bps=fee, slippage_bps=slippage, side="long-short")
        _, net = VerdictPayoff(policy).verdicts(side, moves)
        assert net[:, Verdict.APPROVE].mean() == pytest.approx(0.0, abs=1e-6)


def test_earnings_are_means_over_the_trades_that_the_decisions_open():
    stream = scored([1, 1, -1], [100.0, -40.0, 500.0], fee_bps=10.0)
    found = earnings_of(stream, np.zeros(3, np.int8))
    assert (found.trades, found.gross_bps) == (2, pytest.approx(30.0))  # a SELL of long-flat opens nothing
    # longs pay (1 - f) / (1 + f): 1.01 and 0.996 become 1.007982 and 0.99401
    assert found.net_bps == pytest.approx(1e4 * ((1.01 + 0.996) / 2 * 0.999 / 1.001 - 1))
    assert found.break_even_fee_bps == pytest.approx(1e4 * (2.006 - 2) / (2.006 + 2))


def test_held_signals_open_no_trade_and_flipped_ones_the_other():
    stream = scored([1, -1, 1], [100.0, 50.0, 70.0])
    found = earnings_of(stream, np.array([Verdict.HOLD, Verdict.FLIP, Verdict.FLIP], np.int8))
    assert (found.trades, found.gross_bps) == (1, pytest.approx(50.0))
    short = earnings_of(replace(stream, policy=Policy(side="long-short")), np.zeros(3, np.int8))
    assert short.trades == 3


def test_an_arm_that_holds_everything_has_no_earnings():
    stream = scored([1, -1], [100.0, 50.0])
    found = earnings_of(stream, np.full(2, Verdict.HOLD, np.int8))
    assert (found.trades, found.gross_bps, found.net_bps, found.break_even_fee_bps) == (0, None, None, None)
    assert found.account_break_even_fee_bps is None


# The account


def test_an_account_breaks_even_where_its_fills_at_the_next_bar_do():
    # bought at 110, sold at 121: 1.1 * (1 - f) / (1 + f) = 1
    stream = a_market([100.0, 110.0, 115.0, 121.0], [1, 0, -1, 0])
    assert account_break_even_fee_bps(stream, stream.action) == pytest.approx(1e4 * 0.1 / 2.1, abs=1e-3)


def test_an_account_breaks_even_elsewhere_than_its_trades_over_the_horizon():
    # three BUYs in a row are three trades, and one purchase
    stream = scored([1, 1, 1, -1], [100.0, 100.0, 100.0, 0.0])
    stream = replace(stream, price=np.array([100.0, 100.0, 99.0, 98.0]))
    found = earnings_of(stream, np.zeros(4, np.int8))
    assert found.break_even_fee_bps == pytest.approx(1e4 * 0.01 / 2.01)
    assert found.account_break_even_fee_bps is None


@pytest.mark.parametrize(
    ("prices", "actions"),
    [([100.0, 100.0, 90.0, 90.0], [1, 0, -1, 0]), ([100.0, 110.0], [0, 0]), ([100.0], [1])],
)
def test_an_account_that_earns_at_no_fee_has_no_break_even(prices, actions):
    stream = a_market(prices, actions)
    assert account_break_even_fee_bps(stream, stream.action) is None


def test_a_break_even_beyond_the_highest_fee_is_that_fee():
    stream = a_market([100.0, 100.0, 900.0], [1, 0, 0])
    assert account_break_even_fee_bps(stream, stream.action) == MOST_FEE_BPS


# Holding


def test_what_holding_gains_is_what_following_lost_and_says_how_much_of_it_is_costs():
    stream = scored([1, 1, -1], [100.0, -40.0, 500.0], fee_bps=10.0)
    buy, sell = hold_gains(stream)
    net = 1e4 * ((1.01 + 0.996) / 2 * 0.999 / 1.001 - 1)
    assert (buy.side, buy.judged, buy.gain_bps) == ("BUY", 2, pytest.approx(-net))
    assert buy.costs_bps == pytest.approx(30.0 - net)
    assert (sell.side, sell.judged, sell.gain_bps, sell.costs_bps) == ("SELL", 1, 0.0, 0.0)


def test_a_side_that_no_signal_has_gains_nothing_that_is_known():
    assert hold_gains(scored([1], [100.0]))[1].gain_bps is None
