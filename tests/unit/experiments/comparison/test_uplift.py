from itertools import product

import numpy as np
import pytest

from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.strata import mean_from_on, strata_of
from raysignal.experiments.comparison.uplift import decompose, gains, selection_of, uplift_of
from tests.support.experiment_streams import net_of, outcomes


def one_stratum(n):
    return np.zeros(n, np.int64)


def test_an_uplift_worked_by_hand():
    # Signals make +10, -10, +20, -20 bp before costs of 5.
    gross, net = net_of(np.ones(4), np.array([10.0, -10.0, 20.0, -20.0]), cost_bps=5.0)
    verdict = np.array([Verdict.APPROVE, Verdict.HOLD, Verdict.APPROVE, Verdict.FLIP], np.int8)
    assert uplift_of(verdict, net) == pytest.approx([0.0, 15.0, 0.0, 40.0])
    # One of four was held, and one flipped. Holding gains -5, 15, -15, 25, on average 5, 25 / 3, 5, 25 from each on;
    # flipping -20, 20, -40, 40, on average 0, 20 / 3, 0, 40.
    held = [-0.25 * (-5 - 5), 0.75 * (15 - 25 / 3), -0.25 * (-15 - 5), 0.0]
    flipped = [-0.25 * (-20 - 0), -0.25 * (20 - 20 / 3), -0.25 * (-40 - 0), 0.0]
    selection = np.add(held, flipped)
    assert selection_of(verdict, net, one_stratum(4)) == pytest.approx(selection)
    parts = decompose(verdict, net, gross, one_stratum(4))
    assert parts.uplift_bps == pytest.approx(13.75)
    assert parts.selection_bps == pytest.approx(selection.mean())
    # One of four was held, and saved its cost of 5; a flip costs the same.
    assert parts.costs_bps == pytest.approx(5.0 / 4)
    assert parts.direction_bps == pytest.approx(12.5 - selection.mean())


def test_overruling_everything_is_no_selection():
    gross, net = net_of(np.ones(50), outcomes(np.random.default_rng(1), 50) - 20.0)
    parts = decompose(np.full(50, Verdict.HOLD, np.int8), net, gross, one_stratum(50))
    assert parts.selection_bps == pytest.approx(0.0, abs=1e-9)
    assert parts.costs_bps == pytest.approx(6.0)
    assert parts.direction_bps == pytest.approx(-gross[:, Verdict.APPROVE].mean())


def test_holding_buys_alone_saves_costs_under_long_flat_and_is_no_selection():
    n = 400
    side = np.tile([1, -1], n // 2).astype(np.int8)
    moves = np.tile([30.0, 30.0, -30.0, -30.0], n // 4)  # of BUYs and of SELLs alike
    gross, net = VerdictPayoff(Policy(side="long-flat", fee_bps=10.0)).verdicts(side, moves)
    held = (side == 1) & (np.arange(n) % 8 < 4)  # as many after which the price rose as fell
    verdict = np.where(held, Verdict.HOLD, Verdict.APPROVE).astype(np.int8)
    parts = decompose(verdict, net, gross, strata_of(np.zeros(n, np.int32), side))
    assert parts.uplift_bps == pytest.approx(20.0 / 4.0, abs=0.1)  # a quarter of all saved their costs of 20
    assert parts.costs_bps == pytest.approx(parts.uplift_bps, abs=0.15)
    assert abs(parts.selection_bps) < 0.15
    # Within one stratum for both sides the preference for BUYs is taken for skill.
    assert decompose(verdict, net, gross, one_stratum(n)).selection_bps > 2.0


def test_verdicts_that_follow_outcomes_are_not_taken_for_bad_choices():
    # Over all sequences of equally likely outcomes, holding after a loss gains what any hold gains: nothing.
    n, raw, found, in_sample = 8, [], [], []
    for moves in product([-10.0, 10.0], repeat=n):
        _, net = net_of(np.ones(n), np.array(moves), cost_bps=0.0)
        held = np.concatenate([[0.0], moves[:-1]]) < 0.0
        gained = gains(net)[:, [1]]
        raw.append((held * (gained - mean_from_on(gained, one_stratum(n)))[:, 0]).mean())
        verdict = np.where(held, Verdict.HOLD, Verdict.APPROVE).astype(np.int8)
        found.append(selection_of(verdict, net, one_stratum(n)).mean())
        in_sample.append((held * (gained - gained.mean())[:, 0]).mean())
    assert np.mean(raw) == pytest.approx(0.0, abs=1e-12)
    assert np.mean(in_sample) < 0.6 * np.mean(in_sample) < np.mean(found) < 0.0
