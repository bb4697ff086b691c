from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.accuracy import FEWEST
from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.cohorts import accuracy_of
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
