import numpy as np
import pytest

from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.paired import Judgment, assess
from raysignal.experiments.comparison.power_plan import plan
from raysignal.experiments.comparison.strata import strata_of
from tests.support.experiment_streams import net_of, outcomes


def a_plan(moves, **changes):
    _, net = net_of(np.ones(len(moves)), moves)
    return plan(net, **{"timestamp_us": np.arange(len(moves)), "claims": 1, **changes})


def test_independent_outcomes_are_planned_as_in_the_textbook():
    moves = 40.0 * np.random.default_rng(1).standard_normal(4_000)
    (reach,) = [row for row in a_plan(moves, rates=(0.2,), effects_bps=(10.0,)).reach if row.kind == "hold"]
    se = np.sqrt(0.2 * 0.8 / 4_000) * 40.0
    # The long-run variance is estimated: it may come out a fifth too large.
    assert reach.per_signal_bps == pytest.approx(2.8016 * se, rel=0.12)
    assert reach.per_override_bps == pytest.approx(reach.per_signal_bps / 0.16)
    assert reach.signals_for[10.0] == pytest.approx(4_000 * (reach.per_override_bps / 10.0) ** 2, abs=1)


def test_a_flip_moves_twice_what_a_hold_does():
    rows = a_plan(outcomes(np.random.default_rng(1), 500), rates=(0.1,)).reach
    assert [row.kind for row in rows] == ["flip", "hold"]
    assert rows[0].per_signal_bps == pytest.approx(2.0 * rows[1].per_signal_bps)


def test_dependent_outcomes_and_more_claims_reach_less_far():
    draws = np.random.default_rng(1)
    calm = a_plan(outcomes(draws, 4_000, phi=0.0))
    bound = a_plan(np.repeat(outcomes(draws, 400, phi=0.0), 10))
    assert bound.dependence > 5.0 > calm.dependence >= 1.0
    moves = outcomes(draws, 500)
    assert a_plan(moves, claims=6).reach[0].per_signal_bps > a_plan(moves, claims=2).reach[0].per_signal_bps


def test_rows_of_one_instant_are_not_taken_for_independent():
    moves = np.repeat(outcomes(np.random.default_rng(1), 500, phi=0.0), 4)
    together = a_plan(moves, timestamp_us=np.repeat(np.arange(500), 4))
    assert together.dependence == pytest.approx(4.0, rel=0.25)


def test_under_long_flat_only_buys_can_be_held_with_effect_and_it_takes_twice_the_signals():
    n = 4_000
    moves, side = 40.0 * np.random.default_rng(1).standard_normal(n), np.tile([1, -1], n // 2).astype(np.int8)
    strata = strata_of(np.zeros(n, np.int32), side)

    def held(policy_side):
        _, net = VerdictPayoff(Policy(side=policy_side, fee_bps=10.0)).verdicts(side, moves)
        found = plan(
            net, timestamp_us=np.arange(n), claims=1, strata=strata, rates=(0.2,), effects_bps=(10.0,)
        )
        return next(row for row in found.reach if row.kind == "hold")

    both, buys = held("long-short"), held("long-flat")
    assert (both.share, buys.share) == (1.0, 0.5)
    assert buys.signals_for[10.0] == pytest.approx(2 * both.signals_for[10.0], rel=0.15)


def test_an_override_that_changes_nothing_has_no_reach():
    n = 100
    side = np.full(n, -1, np.int8)
    _, net = VerdictPayoff(Policy(side="long-flat")).verdicts(
        side, 40.0 * np.random.default_rng(1).standard_normal(n)
    )
    found = plan(net, timestamp_us=np.arange(n), claims=1)
    assert {row.kind for row in found.reach} == {"flip"}


def test_fewer_than_two_judged_signals_reach_nowhere():
    found = a_plan(outcomes(np.random.default_rng(1), 10), judged=np.arange(10) == 3)
    assert (found.judged, found.reach) == (1, ())
    assert found.as_dict()["reach"] == []


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5])
def test_an_override_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(ValueError, match=r"an assumed override rate is .*; expected between 0 and 1"):
        a_plan(np.arange(10.0), rates=(rate,))


def test_an_effect_of_the_planned_size_is_shown_about_as_often_as_planned():
    shown, repetitions, n, rate = 0, 100, 800, 0.2
    for seed in range(repetitions):
        draws = np.random.default_rng([seed, 5])
        gross, net = net_of(np.ones(n), 40.0 * draws.standard_normal(n))
        held = draws.random(n) < rate
        reach = plan(net, timestamp_us=np.arange(n), claims=1, rates=(rate,)).reach[1]
        net[held, Verdict.APPROVE] -= reach.per_override_bps
        found = assess(
            np.where(held, Verdict.HOLD, Verdict.APPROVE).astype(np.int8),
            net,
            gross,
            timestamp_us=np.arange(n),
        )
        shown += found.judgment is Judgment.HELPS
    # With a power between 0.75 and 0.93 a count outside has a probability below 1e-4.
    assert 57 <= shown <= 99


def test_outcomes_that_never_differ_have_no_reach():
    bought = np.arange(600) % 3 > 0
    _, net = VerdictPayoff(Policy(fee_bps=10.0)).verdicts(
        np.where(bought, 1, -1).astype(np.int8), np.zeros(600)
    )
    assert plan(net, timestamp_us=np.arange(600), claims=1, strata=bought.astype(np.int64)).reach == ()


def test_a_plan_promises_nothing_that_no_verdict_will_say():
    moves = outcomes(np.random.default_rng(1), 180)
    # A twentieth of 180 is 9, and fewer than 10 overruled signals show nothing.
    assert {row.rate for row in a_plan(moves).reach} == {0.1, 0.2, 0.4}
    at = np.arange(180)
    assert not a_plan(moves, timestamp_us=at, known_at_us=at + 19).seldom
    seldom = a_plan(moves, timestamp_us=at, known_at_us=at + 20)
    assert (seldom.seldom, seldom.reach) == (True, ())
