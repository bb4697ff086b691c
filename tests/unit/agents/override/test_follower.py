"""The enhanced portfolio follows the primary one: each row once, whatever ends the follower, decided as by an arm."""

import json
from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.calls import ModelAnswer, ModelRequest, Outcome, Usage, VerdictIn
from raysignal.agents.llm.cassette import Cassette
from raysignal.agents.llm.models import ModelSettings
from raysignal.agents.override import views
from raysignal.agents.override.accuracy import FEWEST
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.decider import Decider, Instants, verdict_of
from raysignal.agents.override.follower import NEWEST, Follower, PortfolioMismatch
from raysignal.agents.override.log import recorded
from raysignal.agents.override.outcomes import Horizon, Settler
from raysignal.agents.override.terms import AgentTerms
from raysignal.agents.verdicts import DecidedBy, decided
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import PortfolioConflict
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.decisions import Decisions
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import Trial
from tests.support.advising import allowance
from tests.support.enhanced_world import MINUTE, POLICY, RULES, CrashError, World, live, stream, terms

TRIAL = Trial(policy=POLICY, rules=RULES, breaker=None)
TOUCHY = BreakerRules(limit_bps=-2.0, recent=60, least=30)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="module")
def batch():
    return stream()


def expected(batch: SignalBatch, own: AgentTerms) -> list[int]:
    done = arms.gated(batch, Trial(policy=own.policy, rules=own.rules, breaker=own.breaker))
    return decided(batch.action, done.verdict).tolist()


async def all_posted(world: World, follower: Follower, batch: SignalBatch) -> None:
    for start in range(0, len(batch), 100):
        world.post(batch.take(np.arange(start, start + 100)))
        await live(follower)


async def test_the_enhanced_portfolio_does_what_the_arm_of_an_experiment_does(world, batch):
    world.post(batch)
    await live(await world.begin(terms()))
    assert world.decided() == expected(batch, terms())
    assert world.decided() != batch.action.tolist()
    ledger = Ledger(POLICY)
    ledger.ensure_symbols(1)
    ledger.run(batch.timestamp_us, batch.symbol, np.array(world.decided(), np.int8), batch.price)
    assert world.equity() == ledger.account.tobytes()


async def test_it_says_when_the_gate_begins_to_speak(world, batch):
    follower = await world.begin(terms())
    before = follower.readiness
    assert (before.effective, before.known) == (0.0, 0)
    assert before.speaks_after is not None
    assert before.speaks_after > 0
    await all_posted(world, follower, batch)
    enough = follower.readiness
    assert enough.speaks_after == 0
    assert enough.effective >= enough.least == RULES.gate.least
    again = await world.begin(terms())
    assert again.readiness.known == again.shown.settled > 0


async def test_rows_that_come_one_by_one_are_decided_as_those_that_come_together(world, batch):
    follower = await world.begin(terms())
    for row in range(60):
        world.post(batch.take(np.array([row])))
        assert await follower.step(0.0) == 1
    world.post(batch.take(np.arange(60, len(batch))))
    await live(follower)
    assert world.decided() == expected(batch, terms())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("submissions", [0, 1, 3])
async def test_a_follower_that_ends_around_a_submission_is_taken_up_where_it_was(
    world, batch, when, submissions
):
    own = terms(breaker=TOUCHY)
    turned = stream(600, 2, turn=300)
    follower = await world.begin(own)
    world.crash = (when, submissions)
    with pytest.raises(CrashError):
        await all_posted(world, follower, turned)
    world.crash = None
    rest = world.shard.standing("baseline").count
    again = await world.begin(own)
    if rest < len(turned):
        world.post(turned.take(np.arange(rest, len(turned))))
    await live(again)
    assert world.decided() == expected(turned, own)
    whole = Decider(POLICY, RULES, breaker=TOUCHY)
    whole.finish(whole.begin(turned))
    assert whole.breaker.is_open
    assert again.decider.breaker.dump() == whole.breaker.dump()


async def test_a_restart_after_every_pull_changes_nothing(world, batch):
    for start in range(0, len(batch), 57):
        world.post(batch.take(np.arange(start, min(start + 57, len(batch)))))
        await live(await world.begin(terms()))
    assert world.decided() == expected(batch, terms())


@pytest.mark.parametrize("late", [0, 30])
async def test_a_position_that_goes_on_under_another_name_does_so_in_the_enhanced_portfolio(
    world, batch, late
):
    """Also where the agent is some rows behind when it happens, and in every follower after it."""
    follower = await world.begin(terms())
    half = 200 + int(np.flatnonzero(batch.action[200:])[0]) + 1  # something is held
    for some in (np.arange(half - late), np.arange(half - late, half)):
        await live(follower)
        world.post(batch.take(some))
    if not late:
        await live(follower)
    assert await world.rename_symbol("baseline", "BTC", "binance:BTC")
    renamed = replace(batch.take(np.arange(half, len(batch))), symbols=("binance:BTC",))
    world.post(renamed)
    await live(follower)
    for name in ("baseline", "enhanced"):
        assert world.shard.portfolios[name].symbols == ["binance:BTC"]
        ledger = Ledger(POLICY)
        ledger.ensure_symbols(1)
        told = np.array(world.decided(name), np.int8)
        ledger.run(batch.timestamp_us, np.zeros(len(batch), np.int32), told, batch.price)
        assert world.shard.portfolios[name].ledger.account.tobytes() == ledger.account.tobytes()
    assert len(follower.decider.agent.encoder.symbols()) == 1
    again = await world.begin(terms())
    assert again.past.difference.values.tobytes() == follower.past.difference.values.tobytes()
    assert again.decider.agent.encoder.symbols() == ["binance:BTC"]


@pytest.mark.parametrize("taken", [False, True])
async def test_a_submission_that_the_store_did_not_confirm_is_sent_again_and_counts_once(world, batch, taken):
    world.post(batch)
    follower = await world.begin(terms())
    world.refuse = [taken, False]
    await live(follower)
    assert world.decided() == expected(batch, terms())


async def test_a_follower_whose_rows_were_decided_otherwise_meanwhile_does_not_go_on(world, batch):
    world.post(batch.take(np.arange(100)))
    stale = await world.begin(terms())
    told = Decisions(np.zeros(100, np.int8), np.zeros(100, np.int8), ("gate",), TextColumn.empty(100))
    await world.submit(
        "enhanced", batch.take(np.arange(100)).encode(), all_or_nothing=True, accept_price_jump=True,
        receipts=False, decisions=told.encode(),
    )  # fmt: skip
    with pytest.raises(PortfolioMismatch, match="decided otherwise"):
        await live(stale)


async def test_a_portfolio_that_holds_other_signals_is_refused(world, batch):
    world.post(batch)
    await world.create("enhanced", POLICY)
    world.post(stream(seed=5).take(np.arange(10)), "enhanced")
    with pytest.raises(PortfolioMismatch, match="name another"):
        await world.begin(terms())


async def test_a_portfolio_with_another_policy_is_refused(world):
    await world.create("enhanced", Policy(fee_bps=1.0))
    with pytest.raises(PortfolioConflict):
        await world.begin(terms())


async def test_signals_of_several_symbols_whose_stamps_go_back_and_forth_are_decided(world, batch):
    rows = [
        Signal(f"S{i % 3}", (i // 3 + 50 * (3 - i % 3)) * MINUTE, Action((-1) ** (i // 2)), 100.0 + i % 13)
        for i in range(600)
    ]
    follower = await world.begin(terms())
    for start in range(0, 600, 50):
        world.post(SignalBatch.of_signals(rows[start : start + 50]))
        await live(follower)
    assert len(world.decided()) == 600
    await live(await world.begin(terms()))
    again = await world.begin(terms())
    assert again.shown == follower.shown
    assert follower.shown.settled > 500


def test_over_a_stream_in_time_order_instants_are_the_stamps(batch):
    assert Instants().of(batch) is batch


def test_instants_never_go_back_and_increase_within_a_symbol():
    rows = [Signal(("A", "B")[i % 2], (50 - i if i % 2 else i) * MINUTE, Action.BUY, 1.0) for i in range(20)]
    rows = [replace(row, timestamp_us=i // 2 * MINUTE) if i % 2 else row for i, row in enumerate(rows)]
    batch = SignalBatch.of_signals(rows)
    whole = Instants().of(batch).timestamp_us
    assert (np.diff(whole) >= 0).all()
    for code in range(2):
        assert (np.diff(whole[batch.symbol == code]) > 0).all()
    parts = Instants()
    cut = [parts.of(batch.take(np.arange(i, i + 5))).timestamp_us for i in range(0, 20, 5)]
    assert np.concatenate(cut).tolist() == whole.tolist()


def test_verdicts_are_read_back_from_decisions():
    action = np.array([1, 1, 1, -1, -1, -1, 0], np.int8)
    verdict = np.array([0, 1, 2, 0, 1, 2, 0], np.int8)
    assert verdict_of(action, decided(action, verdict)).tolist() == verdict.tolist()


async def test_every_decision_says_what_it_rests_on(world, batch):
    world.post(batch)
    follower = await world.begin(terms())
    await live(follower)
    ids = batch.signal_id.to_list()
    for row in (0, 50, 399):
        found = world.shard.find("enhanced", ids[row])()
        told = json.loads(found.decided.explanation)
        assert found.decided.by == told["by"]
        assert told["verdict"] in {"approve", "flip", "hold"}
        if batch.action[row]:
            assert set(told["statistics"]) >= {"p_right", "precedents_used"}
            assert all(ids.index(each["signal_id"]) < row for each in told["neighbours"])
    told = json.loads(
        world.shard.find("enhanced", ids[int(np.flatnonzero(batch.action)[-1])])().decided.explanation
    )
    assert len(told["neighbours"]) == 8
    assert told["inputs"]["categories"] == {"session": told["inputs"]["categories"]["session"]}
    assert sum(follower.counts.values()) == len(batch)


async def test_settled_outcomes_are_on_record_once_whatever_ended_the_follower(world, batch, tmp_path):
    for start in range(0, len(batch), 130):
        world.post(batch.take(np.arange(start, min(start + 130, len(batch)))))
        follower = await world.begin(terms())
        await live(follower)
        if start != 130:  # this one ended before it wrote
            await follower.record()
    parts = recorded(open_stores(tmp_path.as_uri()).journal_store("agent=enhanced"))
    whole = Settler(POLICY, RULES.horizon).feed(
        np.arange(len(batch)), batch.timestamp_us, batch.symbol, batch.action, batch.price
    )
    for name in ("ordinal", "known_at_us", "net_bps", "right"):
        assert np.array_equal(np.concatenate([part[name] for part in parts]), getattr(whole, name))


async def test_under_another_horizon_outcomes_are_recorded_anew(world, batch, tmp_path):
    world.post(batch)
    await (await world.begin(terms())).step(0.0)
    other = replace(terms(), rules=replace(RULES, horizon=replace(RULES.horizon, bars=5)))
    follower = await world.begin(other)
    await live(follower)
    await follower.record()
    parts = recorded(open_stores(tmp_path.as_uri()).journal_store("agent=enhanced"))
    assert sum(len(part["ordinal"]) for part in parts) == follower.shown.settled


async def test_a_tripped_breaker_stays_open_over_restarts_until_it_is_reset(world):
    batch, own = stream(600, 2, turn=300), terms(breaker=TOUCHY)
    world.post(batch.take(np.arange(500)))
    follower = await world.begin(own)
    await live(follower)
    assert follower.decider.breaker.is_open
    trip = follower.decider.breaker.trip
    again = await world.begin(own)
    assert again.decider.breaker.trip == trip
    assert await again.reset(now_us=7)
    assert not await again.reset(now_us=8)
    third = await world.begin(own)
    assert not third.decider.breaker.is_open
    world.post(batch.take(np.arange(500, 600)))
    await live(third)
    assert world.decided()[trip.ordinal : 500] == batch.action[trip.ordinal : 500].tolist()
    fourth = await world.begin(own)
    assert fourth.decider.breaker.dump() == third.decider.breaker.dump()


async def test_the_comparison_is_that_of_both_portfolios(world, batch):
    world.post(batch)
    follower = await world.begin(terms())
    await live(follower)
    found = views.compared(follower)
    assert found["signals"] == 400
    told = np.array(world.decided())
    assert found["overruled"]["hold"] == np.count_nonzero((told == 0) & (batch.action != 0))
    assert found["overruled"]["flip"] == np.count_nonzero((told == -batch.action) & (batch.action != 0))
    result = [
        arms.result_of("memory", batch, TRIAL, done)
        for done in (arms.baseline(batch), arms.gated(batch, TRIAL))
    ]
    difference = result[1].signal_return["signal"] - result[0].signal_return["signal"]
    assert found["difference"]["mean_bps"] == pytest.approx(difference.mean() * 1e4, rel=1e-12)
    assert found["difference"]["low_bps"] < found["difference"]["mean_bps"] < found["difference"]["high_bps"]
    assert found["uplift"]["n"] == follower.shown.settled
    again = await world.begin(terms())
    assert views.compared(again) == found


async def test_eight_signals_are_compared_without_an_interval(world, batch):
    world.post(batch.take(np.arange(8)))
    follower = await world.begin(terms())
    await live(follower)
    found = views.compared(follower)
    assert found["difference"]["n"] == 8
    assert found["difference"]["mean_bps"] is not None
    assert found["difference"]["low_bps"] is found["difference"]["high_bps"] is None


async def test_accuracy_is_told_by_source_symbol_side_regime_hour_and_category(world, batch):
    world.post(batch)
    follower = await world.begin(terms())
    await live(follower)
    found = views.accuracy_of(follower)
    assert {cohort.dimension for cohort in found.cohorts} == {
        "source", "symbol", "side", "regime", "hour", "category.session"
    }  # fmt: skip
    assert sum(cohort.n for cohort in found.cohorts if cohort.dimension == "source") == found.n
    assert found.n == follower.shown.settled


async def test_the_drift_of_a_symbol_is_its_own(world, batch):
    world.post(batch)
    world.post(stream(seed=1, symbol="ETH"))
    follower = await world.begin(terms())
    await live(follower)
    found, memory = views.accuracy_of(follower), follower.decider.agent.memory
    rows = views.settled_rows(follower)
    rows = rows[memory.action[rows] != 0]
    drifts = {one.name: one.drift for one in found.cohorts if one.dimension == "symbol"}
    assert len(drifts) > 1
    for code, name in enumerate(follower.decider.agent.encoder.symbols()):
        own = rows[memory.symbol[rows] == code]
        assert len(own) >= FEWEST
        move, buys = memory.move_bps[own], (memory.side[own] > 0).mean()
        assert drifts[name] == pytest.approx(buys * (move > 0).mean() + (1.0 - buys) * (move < 0).mean())


class Thinker:
    """A model that holds or approves as the question's hash falls."""

    def __init__(self) -> None:
        self.settings, self.asked = ModelSettings("thinker"), 0

    async def call(self, request: ModelRequest, _timeout_s: float) -> Outcome:
        self.asked += 1
        verdict = ("hold", "approve")[int(request.hash[:8], 16) % 2]
        said = {"verdict": verdict, "confidence": 0.5, "evidence": ["E1"], "rationale": "as it falls"}
        return ModelAnswer(VerdictIn.model_validate(said), {}, Usage(10, 10))

    async def aclose(self) -> None:
        """Nothing is open."""


def asking(model: Thinker) -> Adviser:
    return Adviser(model, Cassette.live(), allowance())


async def test_with_a_model_the_decisions_are_those_of_the_arm_that_asks_it(world, batch):
    model = Thinker()
    world.post(batch)
    follower = await world.begin(terms(), asking(model))
    await live(follower)
    done = await arms.advised(batch, TRIAL, asking(Thinker()))
    assert world.decided() == decided(batch.action, done.verdict).tolist()
    assert world.decided() != expected(batch, terms())
    assert follower.counts["model_answered"] == done.calls == model.asked > 0
    row = int(np.flatnonzero(done.by == DecidedBy.MODEL)[-1])
    told = json.loads(world.shard.find("enhanced", batch.signal_id[row])().decided.explanation)
    assert (told["by"], told["opinion"]["reason"]) == ("model", "model_answered")
    assert told["opinion"]["cited"] == [told["neighbours"][0]["signal_id"]]


@pytest.mark.slow
async def test_no_model_is_asked_about_rows_that_many_wait_behind(world):
    batch = stream(2 * NEWEST + 76)
    model = Thinker()
    world.post(batch)
    follower = await world.begin(terms(), asking(model))
    await follower.step(0.0)
    assert model.asked == 0
    await live(follower)
    assert model.asked > 0
    ids = batch.signal_id.to_list()
    by = [world.shard.find("enhanced", ids[row])().decided.by for row in range(len(batch) - NEWEST)]
    assert "model" not in by
    assert follower.counts["evidence_unclear"] > 0


async def test_no_model_is_asked_while_the_breaker_is_open(world):
    batch, own = stream(600, 2, turn=300), terms(breaker=TOUCHY)
    world.post(batch.take(np.arange(512)))
    await live(await world.begin(own))
    world.post(batch.take(np.arange(512, 600)))
    model = Thinker()
    await live(await world.begin(own, asking(model)))
    assert model.asked == 0


@pytest.mark.parametrize(("horizon", "settles"), [("2b", True), ("30m", False)])
async def test_a_stamp_of_tomorrow_holds_only_outcomes_back_that_end_after_a_time(
    world: World, batch: SignalBatch, horizon: str, settles: bool
) -> None:
    """The agent's time stands still for the other symbols until that stamp has passed; nothing is decided twice.

    What was open ends with the next price.
    """
    own = replace(terms(), rules=replace(RULES, horizon=Horizon.parse(horizon)))
    follower = await world.begin(own)
    world.post(batch.take(np.arange(200)))
    await live(follower)
    before = follower.shown.settled
    ahead = int(batch.timestamp_us[199]) + 23 * 60 * MINUTE + 59 * MINUTE
    world.post(SignalBatch.of_signals([Signal("ETH", ahead, Action.BUY, 50.0)]))
    world.post(batch.take(np.arange(200, 400)))
    await live(follower)
    assert follower.count == 401
    grew = follower.shown.settled - before
    assert (grew > 150) is settles
    assert settles or 0 < grew <= 30
    passed = [Signal("BTC", ahead + place * MINUTE, Action.BUY, 100.0) for place in range(1, 60)]
    world.post(SignalBatch.of_signals(passed))
    await live(follower)
    assert follower.shown.settled - before > 200
    again = await world.begin(own)
    assert (again.count, again.shown.settled) == (follower.count, follower.shown.settled)
