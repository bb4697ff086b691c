"""Decisions that are asked about: answered by the memory, reviewed by a model, or by nobody, and replayed alike."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.cassette import Cassette
from raysignal.agents.llm.models import ChatModel, ModelSettings
from raysignal.agents.override.memory import OutcomeMemory
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import LookAhead
from raysignal.engine.core.events import (
    AggregatedSignal,
    Candle,
    Command,
    CommandKind,
    DecisionAnswer,
    DecisionQuestion,
    OrderFill,
    PathRestarted,
    PositionDecision,
    RiskVerdict,
    Vote,
    encode_event,
)
from raysignal.engine.pipeline.backtest import CandleSeries, merged, run_backtest
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import file_instrument
from raysignal.engine.pipeline.recent import RecentEvents
from raysignal.engine.pipeline.session import INPUT, SessionWriter, read_frames
from raysignal.engine.strategies.strategy import Bars
from raysignal.loopback.gemini import Behaviour, GeminiServer
from raysignal.runtime.advisers import own_adviser
from raysignal.runtime.model_asker import ModelAsker, backtest_asker
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_session import SessionPlayer, candle_market, replay_session, write_about
from raysignal.runtime.settings import Settings
from tests.support.advising import KEY, allowance
from tests.support.pipelines import MINUTE_US, Events, config_of, played, walk

START_US = 1_577_836_800_000_000
CROSS = [{"name": "cross", "kind": "sma", "bar": "1m", "parameters": {"fast": 1, "slow": 3}}]
FREE = {"fee_bps": 0.0, "side": "long-short"}
REVIEW = """
name: test
instruments: [{symbol: BTC}]
strategies: [{name: cross, kind: sma, bar: 1m, parameters: {fast: 1, slow: 3}}]
portfolio: {fee_bps: 0.0, side: long-short}
decide: review
memory: {horizon: 2b, least: 1000000.0}
"""


def planted(seed: int, count: int, regime: int = 250) -> Bars:
    """A market whose moves go on while it is calm, and turn while it is wild."""
    draws, moves = np.random.default_rng(seed), np.zeros(count)
    for row in range(1, count):
        again, spread = (-0.7, 0.004) if row // regime % 2 else (0.7, 0.001)
        moves[row] = again * moves[row - 1] + spread * draws.standard_normal()
    close = 100.0 * np.exp(np.cumsum(moves))
    opened = np.append(close[0], close[:-1])
    stamps = START_US + MINUTE_US * np.arange(1, count + 1)
    return Bars(stamps, opened, np.maximum(opened, close), np.minimum(opened, close), close, np.ones(count))


def of_memory(**memory: Any) -> PipelineConfig:
    return config_of(
        strategies=CROSS, portfolio=FREE, features=["volatility(20)"], decide="memory",
        memory={"horizon": "2b"} | memory,
    )  # fmt: skip


def reasons(events: Events) -> Counter[str]:
    return Counter(each.reason for each in events.of(DecisionAnswer))


# Memory


def test_signals_that_are_bad_where_the_features_tell_are_overruled_and_the_portfolio_earns_more() -> None:
    bars = planted(1, 1_200)
    alone, _ = played(config_of(strategies=CROSS, portfolio=FREE), bars)
    pipeline, events = played(of_memory(), bars)
    assert pipeline.portfolio.equity > 2 * alone.portfolio.equity
    overruled = [each for each in events.of(DecisionAnswer) if each.side is not None]
    assert len(overruled) > 50
    assert {(each.by, each.reason) for each in overruled} == {("gate", "evidence_against")}
    wild = [(each.at_us - START_US) // MINUTE_US // 250 % 2 for each in overruled[10:]]
    assert sum(wild) > 0.9 * len(wild)
    assert "worse than drift with probability 0.9" in overruled[0].explanation


def test_of_noise_next_to_nothing_is_overruled() -> None:
    bars = walk(3, 1_500)
    _, events = played(config_of(portfolio={"fee_bps": 0.0}, decide="memory"), bars)
    answers = events.of(DecisionAnswer)
    assert len(answers) > 200
    assert sum(each.side is not None for each in answers) < 0.06 * len(answers)


def test_memory_that_overrules_nothing_leaves_every_fill_as_it_is() -> None:
    both = [*CROSS, {"name": "slow", "kind": "sma", "bar": "2m", "parameters": {"fast": 1, "slow": 2}}]
    members: dict[str, Any] = {"strategies": both, "venue": {"kind": "paper"}}
    found = []
    for more in ({}, {"decide": "memory", "memory": {"least": 1e6}}):
        _, events = played(
            config_of(**members, **more), walk(2, 300), intervals_us=(MINUTE_US, 2 * MINUTE_US)
        )
        assert events.of(OrderFill)
        found.append([encode_event(each) for each in events.of(OrderFill)])
    assert found[0] == found[1]
    decided = {each.number for each in events.of(PositionDecision)}  # those that wait for an order come twice
    assert len(events.of(DecisionQuestion)) == len(events.of(DecisionAnswer)) == len(decided)


def test_answers_rest_on_what_was_known_then_and_the_memory_refuses_what_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bars = planted(1, 400)
    _, whole = played(of_memory(least=1.0), bars)
    _, before = played(of_memory(least=1.0), bars.slice(0, 300))
    known = before.of(DecisionAnswer)
    assert len(known) > 50
    assert whole.of(DecisionAnswer)[: len(known)] == known

    def early(memory: OutcomeMemory, outcomes: Any) -> None:
        memory.known_at_us[outcomes.ordinal] = memory.timestamp_us[outcomes.ordinal]
        settle(memory, outcomes)

    settle = OutcomeMemory.settle
    monkeypatch.setattr(OutcomeMemory, "settle", early)
    with pytest.raises(LookAhead):
        played(of_memory(least=1.0), bars)


def test_breaker_of_the_agent_lets_every_signal_stand_until_risk_is_reset() -> None:
    pipeline, _ = played(of_memory(), planted(1, 60))
    assert pipeline.answers is not None
    breaker = pipeline.answers._decider.breaker
    assert breaker is not None
    breaker._gains[:100], breaker._until = -1_000.0 - np.arange(100), 100
    breaker._look(0, 0)
    assert pipeline.answers.status()["breaker"]["open"]
    reset = Command(at_us=1, symbol="", command=CommandKind.RESET, who="kim", reason="looked at it")
    pipeline.path.on(reset)
    assert not pipeline.answers.status()["breaker"]["open"]


def test_what_was_decided_by_whom_and_why_is_kept_for_those_who_ask() -> None:
    _, events = played(of_memory(), planted(1, 900))
    recent = RecentEvents()
    for event in events.everything:
        recent.output(event)
    assert recent.reasons == reasons(events)
    turned = [each for each in recent.decisions if each["reason"] == "evidence_against"]
    assert turned
    assert {each["by"] for each in turned} == {"gate"}
    assert all(each["side"] != each["signal"] and each["explanation"] for each in turned)
    assert {each["by"] for each in recent.decisions} == {"gate", "signal"}


# Sessions


def test_session_with_answers_plays_again_and_so_does_the_memory(tmp_path: Path) -> None:
    text = REVIEW.replace("decide: review", "decide: memory").replace("1000000.0", "5.0")
    log, pipeline = recorded(tmp_path / "s", text, planted(2, 600))
    assert reasons(log)["evidence_against"]
    check = replay_session(tmp_path / "s")
    assert check.difference is None
    assert check.whole
    config = PipelineConfig(**yaml.safe_load(text))
    player = SessionPlayer(config, pipeline.instruments, {}, ())
    player.play_facts(tmp_path / "s")
    assert player.pipeline.answers is not None
    assert pipeline.made.answers is not None
    assert player.pipeline.answers.status() == pipeline.made.answers.status()


class Recorded:
    """A pipeline whose session is kept, and its instruments."""

    def __init__(self, made: Pipeline, instruments: dict[str, Any]) -> None:
        self.made = made
        self.instruments = instruments


class Told:
    """An event log that tells a session and a list."""

    def __init__(self, writer: SessionWriter, events: Events) -> None:
        self._logs = (writer, events)

    def input(self, event: Any) -> None:
        for log in self._logs:
            log.input(event)

    def output(self, event: Any) -> None:
        for log in self._logs:
            log.output(event)


def recorded(folder: Path, text: str, bars: Bars, advise: Any = None) -> tuple[Events, Recorded]:
    """A backtest whose session is kept; `advise` makes who asks a model."""
    config, events = PipelineConfig(**yaml.safe_load(text)), Events()
    instruments = {"BTC": file_instrument("BTC")}
    pipeline = build(config, instruments)
    with SessionWriter(folder) as writer:
        write_about(folder, text, config, instruments)
        driver = PathDriver(
            pipeline.path, pipeline.portfolio, pipeline.venue, log=Told(writer, events),
            market=candle_market(config, instruments),
        )  # fmt: skip
        series = [CandleSeries("BTC", MINUTE_US, bars)]
        if advise is None:
            run_backtest(driver, pipeline.strategies, series)
        else:
            with backtest_asker(advise, pipeline, driver) as after:
                run_backtest(driver, pipeline.strategies, series, after)
    return events, Recorded(pipeline, instruments)


# Review


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as loopback:
        yield loopback


def settings_of(server: GeminiServer, folder: Path, **llm: Any) -> Settings:
    return Settings(store=(folder / "store").as_uri(), llm={"url": server.url} | llm)


def test_model_reviews_what_the_gate_leaves_open_and_a_replay_asks_nobody(
    server: GeminiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    settings = settings_of(server, tmp_path, budget=12)
    events, _ = recorded(tmp_path / "s", REVIEW, planted(1, 130, 20), lambda: own_adviser(settings))
    assert len(events.of(DecisionQuestion)) == len(events.of(PositionDecision)) > 12
    told = [each for each in events.inputs if isinstance(each, DecisionAnswer)]
    assert Counter(each.reason for each in told) >= Counter({"model_answered": 12, "model_budget": 1})
    assert all(each.by == "model" and each.explanation for each in told if each.reason == "model_answered")
    assert all(each.by == "nobody" and each.side is None for each in told if each.reason == "model_budget")
    assert any(each.side is not None for each in told)
    calls = server.calls
    assert calls == 12
    check = replay_session(tmp_path / "s")
    assert check.difference is None
    assert server.calls == calls
    assert sum(kind == INPUT and b"verdict" in data for kind, data in read_frames(tmp_path / "s")) == len(
        told
    )


def test_without_a_key_the_signals_stand_and_say_why(
    server: GeminiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    settings = settings_of(server, tmp_path)
    events, _ = recorded(tmp_path / "s", REVIEW, planted(1, 100), lambda: own_adviser(settings))
    (why,) = {each.explanation for each in events.inputs if isinstance(each, DecisionAnswer)}
    assert "GEMINI_API_KEY" in why
    assert server.calls == 0
    assert {each.side for each in events.inputs if isinstance(each, DecisionAnswer)} == {None}


class Silent:
    """A model that answers when it is told to, and not before."""

    def __init__(self, inner: Any) -> None:
        self.settings = inner.settings
        self.may = asyncio.Event()
        self._inner = inner

    async def call(self, request: Any, timeout_s: float) -> Any:
        await self.may.wait()
        return await self._inner.call(request, timeout_s)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Live:
    """A review on made-up candles, one at a time, whose clock is moved by hand."""

    def __init__(self, adviser: Adviser | None, text: str = REVIEW) -> None:
        config = PipelineConfig(**yaml.safe_load(text))
        self.pipeline = build(config, {"BTC": file_instrument("BTC")})
        self.events = Events()
        self.now_us = 0
        self.driver = PathDriver(
            self.pipeline.path, self.pipeline.portfolio, self.pipeline.venue, log=self.events
        )
        assert self.pipeline.answers is not None
        self.answers = self.pipeline.answers
        self.asker = ModelAsker(
            self.answers, self.take, adviser, "nobody is there", now_us=lambda: self.now_us
        )
        self._candles = merged(
            [CandleSeries("BTC", MINUTE_US, planted(1, 400))], self.pipeline.strategies.prepare
        )

    def ask(self) -> DecisionQuestion:
        """Play candles until a model is to be asked."""
        while not self.answers.reviews:
            self.play()
        question: DecisionQuestion = self.events.of(DecisionQuestion)[-1]
        self.asker.output(question)
        return question

    async def take(self, answer: DecisionAnswer) -> None:
        """An answer goes to the path."""
        self.driver.take(answer)

    def play(self) -> None:
        """The next candle."""
        candle = next(self._candles)
        self.now_us = candle.at_us
        self.driver.take(candle)

    @property
    def decision(self) -> PositionDecision:
        """The last one."""
        found: PositionDecision = self.events.of(PositionDecision)[-1]
        return found


async def answered(live: Live, question: DecisionQuestion) -> DecisionAnswer:
    """The answer to a question, once it is there."""
    running = asyncio.create_task(live.asker.run())
    try:
        async with asyncio.timeout(30):
            while True:
                for event in live.events.inputs:
                    if isinstance(event, DecisionAnswer) and event.question == question.number:
                        return event
                await asyncio.sleep(0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def adviser_of(
    server: GeminiServer, wrap: Callable[[Any], Any] = lambda model: model, deadline_s: float = 30.0
) -> Adviser:
    model = ChatModel(ModelSettings(base_url=server.url), KEY)
    await model.warm()
    return Adviser(wrap(model), Cassette.live(), allowance(), deadline_s=deadline_s)


async def test_answer_of_a_model_comes_in_time_and_the_position_follows_it(server: GeminiServer) -> None:
    adviser = await adviser_of(server)
    live = Live(adviser)
    question = live.ask()
    before = len(live.events.of(PositionDecision))
    assert live.answers.is_open(question.number)
    answer = await answered(live, question)
    assert (answer.by, answer.reason) == ("model", Reason.MODEL_ANSWERED)
    assert len(live.events.of(PositionDecision)) == before + 1
    assert live.decision.reason == "model_answered"
    assert not live.answers.reviews
    await adviser.aclose()


async def test_model_that_does_not_answer_by_the_deadline_leaves_the_signal_as_it_is(
    server: GeminiServer,
) -> None:
    server.behave(Behaviour.SLOW)
    adviser = await adviser_of(server, deadline_s=0.5)
    live = Live(adviser, REVIEW.replace("least:", "wait_s: 0.05, least:"))
    question = live.ask()
    answer = await answered(live, question)
    assert (answer.by, answer.side, answer.reason) == ("nobody", None, "model_timeout")
    assert answer.explanation == "the model's answer was not there by the deadline"
    assert live.decision.side == question.signal.side
    await adviser.aclose()


async def test_candle_that_is_known_after_the_deadline_is_not_asked_about(server: GeminiServer) -> None:
    adviser = await adviser_of(server)
    live = Live(adviser)
    question = live.ask()
    live.now_us = question.deadline_us + 1
    answer = await answered(live, question)
    assert (answer.by, answer.side) == ("nobody", None)
    assert live.decision.reason == "model_timeout"
    assert server.calls == 0
    await adviser.aclose()


async def test_answer_that_a_later_question_has_overtaken_counts_for_nothing(server: GeminiServer) -> None:
    waiting: list[Silent] = []

    def silent(model: Any) -> Silent:
        waiting.append(Silent(model))
        return waiting[0]

    adviser = await adviser_of(server, silent)
    live = Live(adviser)
    first = live.ask()
    asking = asyncio.create_task(live.asker._answer(first))
    await asyncio.sleep(0)
    live.answers.reviews.clear()
    second = live.ask()
    live.driver.take(
        DecisionAnswer(
            at_us=second.at_us, symbol="BTC", question=second.number, side=0, reason="told", by="model"
        )
    )
    decisions = len(live.events.of(PositionDecision))
    waiting[0].may.set()
    await asking
    assert not live.answers.is_open(first.number)
    assert len(live.events.of(PositionDecision)) == decisions
    await adviser.aclose()


def minute_after(at_us: int, close: float, *, minutes: int = 1) -> Candle:
    """A candle of one price."""
    return Candle(
        at_us=at_us + minutes * MINUTE_US, symbol="BTC", interval_us=MINUTE_US, open=close, high=close, low=close,
        close=close, volume=1.0,
    )  # fmt: skip


def test_question_that_was_open_when_the_process_ended_is_answered_by_nobody_at_the_next_candle() -> None:
    live = Live(None)
    question = live.ask()
    before = len(live.events.of(PositionDecision))
    live.driver.take(PathRestarted(at_us=question.at_us + 500 * MINUTE_US, symbol=""))
    assert len(live.events.of(PositionDecision)) == before
    candle = minute_after(question.at_us, 2.0 * question.signal.price, minutes=501)
    live.driver.take(candle)
    (answer,) = (each for each in live.events.of(DecisionAnswer) if each.question == question.number)
    assert (answer.by, answer.side, answer.reason) == ("nobody", None, "restarted")
    decision = live.events.of(PositionDecision)[before]
    assert (decision.side, decision.reason) == (question.signal.side, "restarted")
    assert (decision.price, decision.at_us) == (candle.close, candle.at_us)
    assert not live.answers.is_open(question.number)


def test_answer_that_comes_after_another_candle_is_decided_and_filled_at_its_close() -> None:
    live = Live(None, REVIEW.replace("memory: {", "memory: {wait_s: 600.0, "))
    question = live.ask()
    before = len(live.events.of(OrderFill))
    candle = minute_after(question.at_us, 2.0 * question.signal.price)
    live.driver.take(candle)
    answer = DecisionAnswer(
        at_us=candle.at_us + 1, symbol="BTC", question=question.number, side=None, reason="told", by="model"
    )
    live.driver.take(answer)
    assert live.decision.price == candle.close
    assert {float(each.price) for each in live.events.of(OrderFill)[before:]} == {candle.close}


def test_session_that_was_killed_with_an_open_question_goes_on_and_says_that_nobody_answered(
    tmp_path: Path,
) -> None:
    folder, config = tmp_path / "s", PipelineConfig(**yaml.safe_load(REVIEW))
    instruments = {"BTC": file_instrument("BTC")}
    write_about_in(folder, instruments)
    live = Live(None)
    killed = SessionWriter(folder)
    live.driver.log = Told(killed, live.events)
    question = live.ask()
    killed.flush()
    killed._file.close()  # and no more came of it
    player = SessionPlayer(config, instruments, {}, ())
    check = player.play_facts(folder)
    assert (check.difference, check.whole, check.waiting) == (None, False, [])
    events = Events()
    with SessionWriter(folder) as writer:
        player.go_live(Told(writer, events))
        player.restart(question.at_us + 1)
        player.go_live(Told(writer, events)).take(minute_after(question.at_us, question.signal.price))
    (answer,) = events.of(DecisionAnswer)
    assert (answer.question, answer.by, answer.reason) == (question.number, "nobody", "restarted")
    (decision,) = events.of(PositionDecision)
    assert decision.side == question.signal.side
    assert replay_session(folder).difference is None


def write_about_in(folder: Path, instruments: dict[str, Any]) -> None:
    """A session of a review, in a new folder."""
    folder.mkdir()
    write_about(folder, REVIEW, PipelineConfig(**yaml.safe_load(REVIEW)), instruments)


def test_model_that_is_away_is_stale_for_risk_and_nothing_is_opened() -> None:
    live = Live(None, REVIEW + "risk: {stale_model_s: 60}\n")
    question = live.ask()
    live.driver.take(
        DecisionAnswer(
            at_us=question.at_us, symbol="BTC", question=question.number, side=None, reason="model_timeout", by="nobody"
        )
    )  # fmt: skip
    assert any("stale_model_s" in reason for each in live.events.of(RiskVerdict) for reason in each.reasons)


async def test_answer_of_a_model_that_comes_too_late_does_not_make_it_fresh_for_risk(
    server: GeminiServer,
) -> None:
    live = Live(None, REVIEW + "risk: {stale_model_s: 60}\n")
    question = live.ask()
    by_model = DecisionAnswer(
        at_us=question.deadline_us + 1, symbol="BTC", question=question.number, side=None, reason="model_answered",
        by="model",
    )  # fmt: skip
    live.driver.take(by_model)
    assert any("stale_model_s" in reason for reason in live.events.of(RiskVerdict)[-1].reasons)
    live.driver.take(msgspec.structs.replace(by_model, at_us=question.at_us))  # it is answered already
    again = live.ask()
    live.driver.take(msgspec.structs.replace(by_model, at_us=again.at_us, question=again.number))
    assert not any("stale_model_s" in reason for reason in live.events.of(RiskVerdict)[-1].reasons)


def test_nobody_is_asked_while_risk_is_halted() -> None:
    live = Live(None)
    question = live.ask()
    live.driver.take(
        DecisionAnswer(
            at_us=question.at_us, symbol="BTC", question=question.number, side=None, reason="x", by="nobody"
        )
    )
    halt = Command(at_us=live.now_us, symbol="", command=CommandKind.HALT, who="kim", reason="odd")
    live.driver.take(halt)
    while len(live.events.of(DecisionQuestion)) < 8:
        live.play()
        assert not live.answers.reviews
    said = [each for each in live.events.of(DecisionAnswer) if each.question > question.number]
    assert {(each.by, each.reason, each.side) for each in said} == {("signal", "risk_halted", None)}
    live.driver.take(msgspec.structs.replace(halt, command=CommandKind.RESET))
    assert live.ask().number == 9


@pytest.mark.parametrize("asked", [1, 2, 3])
@pytest.mark.parametrize("horizon", ["5b", "5m"])
def test_horizon_of_what_is_filled_at_the_next_candle_begins_there(asked: int, horizon: str) -> None:
    config = of_memory(horizon=horizon).model_copy(update={"portfolio": FREE | {"fill": "next"}})
    pipeline = build(config, {"BTC": file_instrument("BTC")})
    answers, decide = pipeline.answers, pipeline.path.readers[AggregatedSignal][0]
    assert answers is not None
    settled = []
    for minute in range(1, 12):
        answers.on(minute_after(0, 100.0 + minute, minutes=minute))
        for place in range(asked):  # at the candle, and soon after it
            for question in decide.on(said(minute * MINUTE_US + place, 100.0 + minute)):
                answers.on(question)
        settled.append(answers.status()["settled"])
    memory = answers._decider.agent.memory
    moves = memory.move_bps[~np.isnan(memory.move_bps)]
    # From the candle after the question's to the fifth after that one.
    expected = [(5.0 / (101.0 + minute)) * 1e4 for minute in range(1, 6) for _ in range(asked)]
    assert settled == [0] * 6 + [asked * minute for minute in range(1, 6)]
    assert moves.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_horizon_in_bars_counts_candles_and_not_what_was_asked_at_them(asked: int) -> None:
    pipeline = build(of_memory(horizon="5b"), {"BTC": file_instrument("BTC")})
    answers, decide = pipeline.answers, pipeline.path.readers[AggregatedSignal][0]
    assert answers is not None
    settled = []
    for minute in range(1, 12):
        answers.on(minute_after(0, 100.0 + minute, minutes=minute))
        for _ in range(asked):
            for question in decide.on(said(minute * MINUTE_US, 100.0 + minute)):
                answers.on(question)
        settled.append(answers.status()["settled"])
    assert settled == [0] * 5 + [asked * minute for minute in range(1, 7)]


def test_memory_judges_by_closes_and_not_by_the_prices_that_are_posted() -> None:
    pipeline = build(of_memory(horizon="1b"), {"BTC": file_instrument("BTC")})
    answers, decide = pipeline.answers, pipeline.path.readers[AggregatedSignal][0]
    assert answers is not None
    for minute in range(1, 5):
        answers.on(minute_after(0, 100.0, minutes=minute))
        for question in decide.on(said(minute * MINUTE_US + 1, 1e6)):
            answers.on(question)
    memory = answers._decider.agent.memory
    assert memory.settled == 3
    assert {*memory.move_bps[~np.isnan(memory.move_bps)].tolist()} == {0.0}


def said(at_us: int, price: float) -> AggregatedSignal:
    """A strategy that wants to be long."""
    vote = Vote("cross", 1, 1.0, 1.0)
    return AggregatedSignal(
        at_us=at_us,
        symbol="BTC",
        score=1.0,
        side=1,
        price=price,
        votes=(vote,),
        method="equal",
        equal_score=1.0,
    )
