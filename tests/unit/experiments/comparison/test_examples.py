from dataclasses import replace

import numpy as np
import orjson
import pytest

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.verdicts import DecidedBy, Verdict
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.plain_values import from_plain, plain_values
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.experiments.comparison import examples
from raysignal.experiments.comparison.arms import Trial, baseline, gated, result_of, stream_of
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.examples import Example, examples_of, most_to_show
from raysignal.experiments.comparison.uplift import uplift_of

MINUTE = 60_000_000
TRIAL = Trial(
    policy=Policy(side="long-short"),
    rules=AgentRules(
        horizon=Horizon.parse("2b"),
        recall=RecallOptions(neighbours=20, least=10, part=0.2, prior=5.0),
        gate=GateRules(least=5.0, against=0.8, grey=0.6),
    ),
)


def a_batch(n=1_200):
    """Signals that are mostly wrong while the mood is panic."""
    rng = np.random.default_rng(0)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n + 2)))
    bad = (np.arange(n) // 40) % 2 == 1
    goes = np.sign(price[2:] - price[:-2]).astype(int)
    right = rng.random(n) < np.where(bad, 0.1, 0.9)
    return SignalBatch.of_signals([
        Signal("BTC", i * MINUTE, Action(int(goes[i] if right[i] else -goes[i])), float(price[i]),
               features={"mood": "panic" if bad[i] else "calm"})
        for i in range(n)
    ])  # fmt: skip


@pytest.fixture(scope="module")
def experiment():
    batch = a_batch()
    arms = [
        result_of("baseline", batch, TRIAL, baseline(batch)),
        result_of("memory", batch, TRIAL, gated(batch, TRIAL)),
    ]
    stream = stream_of(batch, TRIAL)
    return batch, stream, arms, evaluate(stream, arms), TRIAL


def test_an_override_that_gained_one_that_lost_and_a_signal_that_was_followed_are_told(experiment):
    _, stream, (_, memory), _, _ = experiment
    gained, lost, followed = examples_of(*experiment)
    assert [one.choice for one in (gained, lost, followed)] == ["gained", "lost", "followed"]
    assert gained.decided_bps > gained.followed_bps
    assert lost.decided_bps < lost.followed_bps
    assert (followed.decision, followed.verdict) == (followed.action, "approve")
    for one in (gained, lost, followed):
        row = list(stream.signal_id).index(one.signal_id)
        assert one.followed_bps == stream.net_bps[row, Verdict.APPROVE]
        assert one.decided_bps == stream.net_bps[row, memory.verdict[row]]
        # What the memory knew is what the arm decided by.
        assert one.p_right == pytest.approx(memory.p_right[row])
        assert one.labels[1] == ("mood", stream.category["mood"].texts()[row])


def test_an_example_is_the_median_of_its_kind(experiment):
    _, stream, (_, memory), _, _ = experiment
    gains = uplift_of(memory.verdict, stream.net_bps)
    known = np.flatnonzero(stream.judged & (memory.verdict != Verdict.APPROVE))
    won = np.sort(gains[known][gains[known] > 0.0])
    (gained,) = (one for one in examples_of(*experiment) if one.choice == "gained")
    assert gained.decided_bps - gained.followed_bps == won[(len(won) - 1) // 2]


def test_examples_are_of_the_first_signals_alone(experiment, monkeypatch):
    monkeypatch.setattr(examples, "FIRST", 600)
    _, stream, *_ = experiment
    assert all(one.timestamp_us < stream.timestamp_us[600] for one in examples_of(*experiment))


def test_examples_are_read_back_from_json(experiment):
    for one in examples_of(*experiment):
        assert from_plain(Example, orjson.loads(orjson.dumps(plain_values(one)))) == one


def test_where_nothing_claims_to_help_or_nothing_was_overruled_there_is_little_to_tell(experiment):
    batch, stream, (base, memory), _, trial = experiment
    assert most_to_show(evaluate(stream, [base])) is None
    assert examples_of(batch, stream, [base], evaluate(stream, [base]), trial) == ()
    n = len(batch)
    silent = replace(
        memory,
        verdict=np.zeros(n, np.int8),
        by=np.full(n, DecidedBy.SIGNAL, np.int8),
        p_right=np.full(n, np.nan),
    )
    assert examples_of(batch, stream, [base, silent], evaluate(stream, [base, silent]), trial) == ()


def test_an_arm_in_which_a_model_overruled_is_told_before_one_that_chose_better(experiment):
    _, stream, (base, memory), _, _ = experiment
    overruled = np.flatnonzero(stream.judged & (memory.verdict != Verdict.APPROVE))
    by, verdict = memory.by.copy(), memory.verdict.copy()
    by[overruled[0]], verdict[overruled[1::2]] = DecidedBy.MODEL, Verdict.APPROVE
    asking = replace(memory, name="review", kind="model", by=by, verdict=verdict)
    evaluation = evaluate(stream, [base, memory, asking])
    assert evaluation.of("memory").parts.selection_bps > evaluation.of("review").parts.selection_bps
    assert most_to_show(evaluation) == "review"


def an_example(**changes):
    values = {
        "arm": "memory", "choice": "gained", "signal_id": "a", "symbol": "BTC", "timestamp_us": 1_740_355_200_000_000,
        "price": 95_000.0, "action": -1, "decision": 1, "labels": (("market", "wild"), ("dominant_mood", "panic")),
        "verdict": "flip", "by": "gate", "reason": "evidence_against", "precedents": 300, "independent": 83.6,
        "p_right": 0.233, "p_right_without": 0.47, "move_bps": 460.0, "followed_bps": 0.0, "decided_bps": 435.9,
    }  # fmt: skip
    return Example(**values | changes)


def test_a_decision_is_told_in_words():
    one = an_example()
    assert one.signal == "2025-02-24 00:00 SELL BTC at 95,000 (market wild, dominant mood panic)"
    assert one.knew == "300 earlier signals like it (84 independent): 23% likely to be right, 47% by chance"
    assert one.did == "turned into a BUY by the gate"
    assert one.came("6b") == "the price rose 4.6% over 6 bars: +435.9 bp, not 0.00"


def test_a_signal_that_was_held_or_followed_is_told_in_words():
    held = an_example(action=1, decision=0, by="model", move_bps=-100.0, followed_bps=-120.0, decided_bps=0.0)
    assert (held.did, held.came("6b")) == (
        "held back by the model",
        "the price fell 1.0% over 6 bars: 0.00 bp, not -120.0",
    )
    followed = an_example(action=1, decision=1, by="signal", labels=())
    assert (followed.did, followed.came("6b")) == ("followed", "the price rose 4.6% over 6 bars: +435.9 bp")
    assert followed.signal.endswith("BUY BTC at 95,000")


def test_a_memory_that_knew_too_little_says_so():
    one = an_example(p_right=None, p_right_without=None, precedents=1)
    assert one.knew == "1 earlier signal like it: too few to say anything"
