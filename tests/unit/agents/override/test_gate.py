"""The gate's table, row by row, and that nothing ever leaves it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from raysignal.agents.override.evidence import Evidence
from raysignal.agents.override.gate import REASONS, GateRules, rule
from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.agents.override.reviewer import Reviewer
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from tests.support.effort import examples
from tests.support.override_streams import POLICIES

RULES = GateRules(least=25.0, against=0.9, grey=0.75, sure=1.645)
COSTLY = Policy(fee_bps=10.0, side="long-short")


def evidence(p_worse, edge_bps=0.0, *, effective=40.0, error_bps=5.0, share=0.5):
    """Evidence whose posterior has this probability of being worse than drift."""
    weight = effective + 20.0
    low, high = 1e-6, 1.0 - 1e-6
    for _ in range(80):
        middle = (low + high) / 2.0
        worse = beta(weight * middle, weight * (1.0 - middle)).cdf(share)
        low, high = (middle, high) if worse > p_worse else (low, middle)
    one = np.ones(1)
    return Evidence(
        known=np.array([1000]), used=np.array([100]), effective=one * effective, share=one * share,
        alpha=one * weight * low, beta=one * weight * (1.0 - low), edge_bps=one * edge_bps,
        edge_error_bps=one * error_bps, radius=one, neighbours=np.zeros((1, 1), np.int64),
    )  # fmt: skip


A, F, H = Verdict.APPROVE, Verdict.FLIP, Verdict.HOLD
S, G = DecidedBy.SIGNAL, DecidedBy.GATE


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("p_worse", "edge_bps", "effective", "verdict", "by", "reason", "grey", "other"),
    [
        # fewer independent precedents than `least`
        (0.99, -99.0, 24.9, A, S, Reason.TOO_LITTLE_EVIDENCE, False, H),
        (0.01, 99.0, 24.9, A, S, Reason.TOO_LITTLE_EVIDENCE, False, H),
        # worse than drift for sure, and another verdict pays more
        (0.95, -5.0, 40.0, H, G, Reason.EVIDENCE_AGAINST, False, H),
        (0.95, 15.0, 40.0, H, G, Reason.EVIDENCE_AGAINST, False, H),
        (0.95, -99.0, 40.0, F, G, Reason.EVIDENCE_AGAINST, False, F),
        # probably worse
        (0.80, -5.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, True, H),
        (0.80, -99.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, True, F),
        # worse than drift, but the drift pays for it
        (0.95, 30.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, False, H),
        (0.80, 30.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, False, H),
        # better than drift
        (0.20, 30.0, 40.0, A, G, Reason.EVIDENCE_FOR, False, H),
        (0.20, -99.0, 40.0, A, G, Reason.EVIDENCE_FOR, False, F),
        # between
        (0.50, -99.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, False, F),
        (0.74, -5.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, False, H),
        (0.26, -5.0, 40.0, A, S, Reason.EVIDENCE_UNCLEAR, False, H),
    ],
)
def test_every_row_of_the_table(side, p_worse, edge_bps, effective, verdict, by, reason, grey, other):
    given_evidence = evidence(p_worse, edge_bps, effective=effective)

    found = rule(given_evidence, np.array([side], np.int8), VerdictPayoff(COSTLY), RULES)

    assert found.verdict[0] == verdict
    assert found.by[0] == by
    assert REASONS[found.reason[0]] == reason
    assert found.grey[0] == grey
    assert found.other[0] == other
    if effective < RULES.least:
        assert np.isnan(found.p_worse[0])
        assert np.isnan(found.expected_bps).all()
    else:
        assert found.p_worse[0] == pytest.approx(p_worse, abs=1e-6)


@pytest.mark.parametrize("p_worse", [0.01, 0.5, 0.99])
def test_a_hold_is_never_ruled_on(p_worse):
    found = rule(evidence(p_worse, -99.0), np.zeros(1, np.int8), VerdictPayoff(COSTLY), RULES)

    assert (found.verdict[0], found.by[0], REASONS[found.reason[0]]) == (A, S, Reason.HOLD_SIGNAL)
    assert not found.grey[0]
    assert np.isnan(found.p_worse[0])


@pytest.mark.parametrize("side", [1, -1])
def test_a_flip_needs_an_edge_that_is_sure_and_pays_its_costs(side):
    action, payoff = np.array([side], np.int8), VerdictPayoff(COSTLY)

    def other(edge_bps, error_bps):
        return rule(evidence(0.95, edge_bps, error_bps=error_bps), action, payoff, RULES).other[0]

    # A round trip costs 20 bp; the edge must beat that by 1.645 errors.
    assert other(-40.0, 5.0) == F
    assert other(-40.0, 13.0) == H
    assert other(-19.0, 0.0) == H
    assert other(-40.0, np.inf) == H


def test_where_nothing_goes_short_only_a_sell_can_be_flipped():
    payoff = VerdictPayoff(Policy(fee_bps=10.0, side="long-flat"))
    strong = evidence(0.95, -99.0)

    buy, sell = (rule(strong, np.array([side], np.int8), payoff, RULES) for side in (1, -1))

    assert buy.verdict[0] == H
    assert sell.verdict[0] == F
    assert buy.expected_bps[0, F] == buy.expected_bps[0, H] == 0.0
    assert sell.expected_bps[0, A] == 0.0


def test_what_a_model_may_answer_is_approve_hold_and_the_flip_only_where_it_is_sure():
    action = np.array([1], np.int8)

    def allowed(edge_bps):
        found = evidence(0.8, edge_bps)
        ruling = rule(found, action, VerdictPayoff(COSTLY), RULES)
        return Reviewer(None).questions(action, found, ruling).allowed(0)

    assert allowed(-5.0) == (A, H)
    assert allowed(-99.0) == (A, H, F)


@settings(max_examples=examples(300))
@given(
    st.lists(
        st.tuples(
            st.sampled_from([-1, 0, 1]), st.floats(0.0, 500.0), st.floats(0.001, 0.999),
            st.floats(1e-3, 500.0), st.floats(1e-3, 500.0), st.floats(-9000.0, 9000.0),
            st.floats(0.0, 1e6) | st.just(np.inf),
        ),
        max_size=20,
    ),
    POLICIES,
    st.builds(
        GateRules, least=st.floats(0.1, 100.0), against=st.floats(0.8, 0.999), grey=st.floats(0.5, 0.8),
        sure=st.floats(0.0, 5.0),
    ),
)  # fmt: skip
def test_whatever_the_evidence_a_verdict_never_leaves_the_table(rows, policy, rules):
    columns = np.array(rows, np.float64).reshape(-1, 7).T
    action, n = columns[0].astype(np.int8), len(rows)
    _, effective, share, alpha, beta_, edge, error = columns
    told = Evidence(
        known=np.full(n, 9), used=np.full(n, 9), effective=effective, share=share, alpha=alpha, beta=beta_,
        edge_bps=edge, edge_error_bps=error, radius=np.zeros(n), neighbours=np.zeros((n, 0), np.int64),
    )  # fmt: skip
    action.flags.writeable = False

    found = rule(told, action, VerdictPayoff(policy), rules)

    with np.errstate(invalid="ignore"):
        lower = VerdictPayoff(policy).verdicts(action, action * (edge + rules.sure * error))[1]
    for row in range(n):
        verdict, by, reason = (
            Verdict(found.verdict[row]),
            DecidedBy(found.by[row]),
            REASONS[found.reason[row]],
        )
        expected, p_worse = found.expected_bps[row], found.p_worse[row]
        spoke = action[row] != 0 and effective[row] >= rules.least
        assert np.isnan(p_worse) != spoke
        assert by in {S, G}
        if verdict != A:
            assert spoke
            assert by == G
            assert reason is Reason.EVIDENCE_AGAINST
            assert p_worse >= rules.against
            assert verdict == found.other[row]
            assert expected[verdict] > expected[A]
        if found.other[row] == F:
            assert spoke
            assert lower[row, F] > max(expected[A], 0.0)
        if found.grey[row]:
            assert (verdict, by, reason) == (A, S, Reason.EVIDENCE_UNCLEAR)
            assert rules.grey <= p_worse < rules.against
            assert expected[found.other[row]] > expected[A]
        assert (by == G) == (reason in {Reason.EVIDENCE_FOR, Reason.EVIDENCE_AGAINST})
        assert (reason is Reason.HOLD_SIGNAL) == (action[row] == 0)
        assert (reason is Reason.TOO_LITTLE_EVIDENCE) == (action[row] != 0 and not spoke)


@pytest.mark.parametrize(
    "values",
    [
        {"least": 0.0}, {"least": float("nan")}, {"against": 0.49}, {"against": 1.0}, {"grey": 0.4},
        {"grey": 0.95}, {"sure": -1.0}, {"sure": float("nan")},
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(values):
    with pytest.raises(InvalidField, match=next(iter(values))):
        GateRules(**values)
