"""What the gate would do on a stream: what the plan says is what the arm does."""

from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison import arms, gate_plan
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.gate_plan import plan_gate
from tests.support.enhanced_world import stream

TRIAL = Trial(policy=Policy(side="long-short"), rules=AgentRules(horizon=Horizon.parse("2b")), breaker=None)


@pytest.fixture(scope="module")
def batch() -> SignalBatch:
    return stream(400)


def test_the_plan_counts_what_the_arm_overrules_and_what_it_leaves_grey(batch):
    found = plan_gate(batch, TRIAL)
    ruling = Override(TRIAL.policy, TRIAL.rules).take(batch).ruling

    assert found.overruled == np.count_nonzero(arms.gated(batch, TRIAL).verdict) > 0
    assert found.signals == np.count_nonzero(batch.action)
    assert found.grey[0.75] == np.count_nonzero(ruling.grey)
    assert sorted(found.grey) == [0.6, 0.69, 0.75]
    assert found.grey[0.6] >= found.grey[0.69] >= found.grey[0.75]


def test_the_dial_that_is_set_is_among_those_that_are_tried(batch):
    trial = replace(TRIAL, rules=replace(TRIAL.rules, gate=GateRules(grey=0.65, against=0.7)))

    found = plan_gate(batch, trial)

    assert (found.dial, sorted(found.grey)) == (0.65, [0.6, 0.65, 0.69])


def test_without_overlap_the_gate_may_speak_from_the_26th_signal_on(batch):
    sided = batch.take(np.flatnonzero(batch.action))
    trial = replace(TRIAL, rules=AgentRules(horizon=Horizon.parse("1b")))

    found = plan_gate(sided, trial)

    # The 26th has 25 outcomes behind it.
    assert (found.speaks_from, found.speaks_about) == (26, len(sided) - 25)
    assert found.shortest_from is None
    assert plan_gate(sided, TRIAL).shortest_from == 26


def test_a_stream_that_is_too_short_says_after_how_many_more(batch):
    found = plan_gate(batch.take(np.arange(12)), TRIAL)

    assert (found.speaks_about, found.speaks_from, found.shortest_from) == (0, None, None)
    assert found.readiness.speaks_after is not None
    assert found.as_dict()["readiness"]["speaks_after"] == found.readiness.speaks_after > 0


def test_a_stream_without_signals_is_no_error(batch):
    holds = replace(batch, action=np.zeros(len(batch), np.int8))

    assert plan_gate(holds, TRIAL).signals == 0
    assert plan_gate(batch.take(np.arange(0)), TRIAL).signals == 0


def test_only_the_first_signals_of_a_long_stream_are_looked_at(batch, monkeypatch):
    monkeypatch.setattr(gate_plan, "MOST", 50)
    trial = replace(TRIAL, rules=replace(TRIAL.rules, recall=RecallOptions(neighbours=10, least=10)))

    found, short = plan_gate(batch, trial), plan_gate(batch.take(np.arange(50)), trial)

    assert (found.whole, short.whole) == (False, True)
    assert (found.signals, found.grey, found.readiness) == (short.signals, short.grey, short.readiness)
