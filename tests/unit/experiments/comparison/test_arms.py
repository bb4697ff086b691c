"""The standing arms: what each decides, and that all of them trade the identical stream."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.gate import REASONS, GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict, decided
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import Trial
from tests.unit.agents.override.test_texts import stream as stream_with_texts

MINUTE = 60_000_000
EAGER = AgentRules(
    horizon=Horizon.parse("2b"),
    recall=RecallOptions(neighbours=20, least=10, part=0.2, prior=5.0),
    gate=GateRules(least=5.0, against=0.8, grey=0.6),
)
TRIAL = Trial(policy=Policy(side="long-short"), rules=EAGER, breaker=None, seed=3)


def stream(n: int = 400, seed: int = 0) -> SignalBatch:
    """Signals that are mostly wrong while `mood` is bad."""
    rng = np.random.default_rng(seed)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, n + 2)))
    bad = (np.arange(n) // 40) % 2 == 1
    goes = np.sign(price[2:] - price[:-2]).astype(int)
    right = rng.random(n) < np.where(bad, 0.2, 0.8)
    action = np.where(rng.random(n) < 0.1, 0, np.where(right, goes, -goes))
    return SignalBatch.of_signals(
        [
            Signal(
                "BTC",
                i * MINUTE,
                Action(int(action[i])),
                float(price[i]),
                features={"mood": -1.0 if bad[i] else 1.0},
            )
            for i in range(n)
        ]
    )


@pytest.fixture(scope="module")
def batch() -> SignalBatch:
    return stream()


def test_the_baseline_approves_everything(batch):
    done = arms.baseline(batch)
    assert set(done.verdict.tolist()) == {int(Verdict.APPROVE)}
    assert np.array_equal(decided(batch.action, done.verdict), batch.action)


def test_the_gate_overrules_mostly_where_signals_are_wrong_and_never_a_hold(batch):
    done = arms.gated(batch, TRIAL)
    bad = batch.numbers["mood"] < 0
    later = np.arange(len(batch)) > 150
    overruled = done.verdict != Verdict.APPROVE
    assert overruled[bad & later].mean() > 5 * overruled[~bad & later].mean()
    assert not overruled[batch.action == 0].any()
    assert {REASONS[code] for code in done.reason[batch.action == 0]} == {Reason.HOLD_SIGNAL}
    assert set(done.by[overruled].tolist()) == {int(DecidedBy.GATE)}


def test_lots_overrule_as_many_of_each_kind_and_other_signals(batch):
    gate = arms.gated(batch, TRIAL).verdict
    lots = arms.drawn(batch, gate, seed=1)
    assert np.bincount(lots.verdict, minlength=3).tolist() == np.bincount(gate, minlength=3).tolist()
    assert not np.array_equal(lots.verdict, gate)
    assert not lots.verdict[batch.action == 0].any()
    assert np.array_equal(lots.verdict, arms.drawn(batch, gate, seed=1).verdict)


def test_a_dealt_memory_decides_otherwise_and_the_same_for_the_same_seed(batch):
    one, two = arms.gated(batch, TRIAL, shuffle=1), arms.gated(batch, TRIAL, shuffle=1)
    assert one.verdict.tobytes() == two.verdict.tobytes()
    assert not np.array_equal(one.verdict, arms.gated(batch, TRIAL).verdict)


def test_the_canary_never_does_worse_than_approving(batch):
    told = arms.stream_of(batch, TRIAL)
    verdict = arms.ahead(batch, told).verdict
    judged = told.judged
    rows = np.flatnonzero(judged)
    gained = told.net_bps[rows, verdict[rows]] - told.net_bps[rows, Verdict.APPROVE]
    assert (gained >= 0.0).all()
    assert gained.sum() > 0.0


def test_every_signal_but_a_hold_is_judged_once_its_horizon_is_over(batch):
    told = arms.stream_of(batch, TRIAL)
    expected = batch.action != 0
    expected[-2:] = False
    assert np.array_equal(told.judged, expected)
    assert (told.known_at_us[expected] > batch.timestamp_us[expected]).all()


def test_portfolios_of_an_arm_are_what_the_ledger_makes_of_its_decisions(batch):
    done = arms.gated(batch, TRIAL)
    result = arms.result_of("memory", batch, TRIAL, done)
    for fill in ("signal", "next"):
        ledger = Ledger(replace(TRIAL.policy, fill=fill))
        ledger.ensure_symbols(1)
        ledger.run(batch.timestamp_us, batch.symbol, decided(batch.action, done.verdict), batch.price)
        assert result.performance[fill] == Performance.of(ledger.account).as_dict()
        assert result.equity[fill][-1] == ledger.equity


def test_however_the_arm_cuts_the_stream_it_decides_the_same(batch, monkeypatch):
    whole = arms.gated(batch, TRIAL)
    monkeypatch.setattr(arms, "CHUNK", 7)
    assert arms.gated(batch, TRIAL).verdict.tobytes() == whole.verdict.tobytes()


class BrokenEmbedder:
    dimensions = 4

    def embed(self, fields, start, stop, **_):
        raise RuntimeError(f"{len(fields)} fields of {stop - start} rows")


def test_every_arm_with_a_memory_embeds_texts_as_the_trial_says():
    pytest.importorskip("chromadb_rust_bindings")
    batch, trial = stream_with_texts(100), replace(TRIAL, embedder=BrokenEmbedder())
    for decide in (arms.gated, arms.approximated):
        with pytest.raises(RuntimeError, match="1 fields"):
            decide(batch, trial)
    with pytest.raises(RuntimeError, match="1 fields"):
        asyncio.run(arms.advised(batch, trial, None))


def test_an_agent_that_costs_too_much_is_turned_off_and_stays_off():
    # The regime turns without a sign: what was learnt is wrong from the middle on.
    batch = stream(600)
    turned = replace(
        batch, action=np.where(np.arange(600) < 300, batch.action, -batch.action).astype(np.int8)
    )
    trial = replace(TRIAL, breaker=BreakerRules(limit_bps=-2.0, recent=60, least=30))
    free, guarded = arms.gated(turned, replace(trial, breaker=None)), arms.gated(turned, trial)
    off = [REASONS[code] is Reason.AGENT_OFF for code in guarded.reason]
    first = off.index(True)
    assert first > 300
    assert (guarded.verdict[first:] == Verdict.APPROVE).all()
    assert guarded.verdict[:first].tobytes() == free.verdict[:first].tobytes()
    assert (free.verdict[first:] != Verdict.APPROVE).any()
