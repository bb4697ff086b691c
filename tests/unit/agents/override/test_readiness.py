"""When the gate begins to speak: by hand for horizons that overlap and such that do not, and against the memory."""

import numpy as np
import pytest

from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.readiness import not_looked_up, outcomes_needed, readiness_of
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from tests.support.override_streams import MINUTE_US

MOST = 250_000


def stream(n: int, *, seed: int = 1) -> SignalBatch:
    """A random walk, and signals that keep their side for thirty rows."""
    draws = np.random.default_rng(seed)
    return SignalBatch.of(
        timestamp_us=MINUTE_US * np.arange(1, n + 1),
        action=np.where(np.cumsum(draws.random(n) > 0.97) % 2, 1, -1).astype(np.int8),
        price=100.0 * np.exp(np.cumsum(0.01 * draws.standard_normal(n))),
        symbol=np.zeros(n, np.int32), symbols=["S"], source=np.zeros(n, np.int32), sources=["desk"],
        numbers={"noise": draws.standard_normal(n)},
    )  # fmt: skip


def first_that_may_be_spoken_about(batch: SignalBatch, rules: AgentRules) -> int:
    evidence = Override(Policy(), rules).take(batch).evidence
    return int(np.argmax(evidence.effective >= rules.gate.least))


def test_without_overlap_each_outcome_counts():
    assert outcomes_needed(RecallOptions(), 25.0, 0.0, most=MOST) == 25
    alone = RecallOptions(neighbours=400, least=50, shrinkage=False)
    assert outcomes_needed(alone, 60.0, 0.0, most=MOST) == 400


def test_with_an_overlap_of_six_it_takes_six_times_as_many_or_more():
    everything = RecallOptions(neighbours=10_000, part=1.0)
    assert outcomes_needed(everything, 25.0, 5.0, most=MOST) == 150
    # 50 neighbours among n outcomes tell as much as 50 / (1 + 5 * 50 / n), 25 from 250 on; cohorts tell the rest.
    assert outcomes_needed(RecallOptions(shrinkage=False), 25.0, 5.0, most=MOST) == 250
    assert outcomes_needed(RecallOptions(), 25.0, 5.0, most=MOST) == 208


def test_more_than_the_neighbours_that_are_looked_at_is_never_enough():
    rules = AgentRules(recall=RecallOptions(neighbours=20, least=20, shrinkage=False))

    found = not_looked_up(rules, 0)

    assert outcomes_needed(rules.recall, 25.0, 0.0, most=MOST) is None
    assert (found.speaks_after, found.never) == (None, True)
    assert "will never speak" in found.sentence


def test_before_the_first_outcome_the_bars_of_the_horizon_say_how_they_overlap():
    found = not_looked_up(AgentRules(horizon=Horizon.parse("6b")), 0)

    assert (found.effective, found.known, found.speaks_after) == (0.0, 0, 214)
    assert found.sentence == (
        "The gate begins to speak after about 214 more BUY and SELL signals: 0.0 independent precedents of the 25 "
        "asked for, out of 0 outcomes."
    )
    assert not_looked_up(AgentRules(horizon=Horizon.parse("1b")), 0).speaks_after == 26
    assert not_looked_up(AgentRules(horizon=Horizon.parse("6b")), 200).speaks_after == 8


@pytest.mark.parametrize("horizon", ["1h", "close"])
def test_how_a_time_overlaps_is_not_known_before_the_first_outcome(horizon):
    found = not_looked_up(AgentRules(horizon=Horizon.parse(horizon)), 0)

    assert (found.speaks_after, found.never) == (None, False)
    assert "shows with the first outcomes: 0.0 independent precedents" in found.sentence


@pytest.mark.parametrize(("horizon", "rows"), [("1b", 10), ("6b", 60), ("12b", 100), ("10m", 100)])
def test_the_forecast_comes_true(horizon, rows):
    rules = AgentRules(horizon=Horizon.parse(horizon))
    batch = stream(2_000)
    speaks = first_that_may_be_spoken_about(batch, rules)
    part = batch.take(np.arange(rows))

    found = readiness_of(rules, Override(Policy(), rules).take(part).evidence, part.action)

    assert found.speaks_after is not None
    assert rows + found.speaks_after == pytest.approx(speaks, rel=0.25)


def test_with_enough_precedents_it_may_speak():
    recall = RecallOptions(shrinkage=False)
    rules = AgentRules(horizon=Horizon.parse("1b"), recall=recall, gate=GateRules(least=25.0))
    batch = stream(60)

    found = readiness_of(rules, Override(Policy(), rules).take(batch).evidence, batch.action)

    assert (found.effective, found.known, found.speaks_after) == (50.0, 59, 0)
    assert found.sentence == (
        "The gate may speak: 50.0 independent precedents of the 25 asked for, out of 59 outcomes."
    )
    assert found.as_dict() == {
        "effective": 50.0, "least": 25.0, "known": 59, "speaks_after": 0, "sentence": found.sentence,
    }  # fmt: skip


def test_holds_are_no_signals_to_speak_about():
    rules = AgentRules(horizon=Horizon.parse("1b"))
    batch = stream(60)
    taken = Override(Policy(), rules).take(batch)
    last_holds = batch.action.copy()
    last_holds[-10:] = 0

    assert readiness_of(rules, taken.evidence, last_holds).known == 49
    assert readiness_of(rules, taken.evidence, np.zeros(60, np.int8)) == not_looked_up(rules, 0)
