"""Who answers what a path's decide stage asks: the override agent's memory, and, in a review, a model.

`MemoryAnswers` is a stage like any other. Its memory is of the path's own signals and of what they turned out to be
worth on the path's own candles; what the gate decides is said at once. What a model is to be asked stays open there:
outside of the path `runtime.model_asker` asks it, and the answer comes in as an event. So a replay needs no model.

What was open when a process ended is answered by nobody at the next candle of its symbol: before it no price is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import isfinite
from typing import Any

import numpy as np

from raysignal.agents.llm.adviser import Opinion
from raysignal.agents.llm.prompt_context import PromptContext
from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.decider import Decider, PendingDecision
from raysignal.agents.override.gate import REASONS, GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.precedents import shown_of
from raysignal.agents.override.prompt_contexts import prompt_context_of
from raysignal.agents.override.reviewer import ReviewRules
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import SettingsError
from raysignal.engine.core.events import (
    NOBODY,
    Candle,
    Command,
    CommandKind,
    DecisionAnswer,
    DecisionQuestion,
    PathRestarted,
    StrategySignal,
)
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.pipeline.aggregation import wanted_side
from raysignal.engine.pipeline.decide import DecideStage
from raysignal.engine.risk.breaker import RiskBreaker, TradingState
from raysignal.runtime.pipeline_config import PipelineConfig

RISK_HALTED = "risk_halted"
"""The reason of a signal that stands because risk lets nothing be opened: a question would cost money."""

_MOST_ROWS = 4_096  # candles that wait for a signal
_CANDLE = "candle"  # the source of rows that are no signals


@dataclass(frozen=True, slots=True)
class OpenReview:
    """What a model is asked: the brief, and the place of its signal in the memory's stream."""

    brief: PromptContext
    ordinal: int


class MemoryAnswers:
    """Answers questions from the memory of earlier ones; see the module.

    Every candle that its symbol is marked by is a row of the memory's stream, and so is every question, at the last
    close. A horizon in bars counts each candle once, whatever was asked at it or since. A row is looked at in a batch
    with the next question, which says the same as each alone.

    Args:
        decide: whose questions these are.
        decider: the agent, which has taken nothing yet.
        asks: whether a model is asked what the gate does not decide; nobody is while risk is halted, since its answer
            could change nothing but what is held.
        breaker: of risk.
        mark_us: of which candles a symbol's price is taken.

    Attributes:
        asks: as given.
        reviews: what a model is to be asked, by the number of the question.
    """

    def __init__(
        self, decide: DecideStage, decider: Decider, *, asks: bool, breaker: RiskBreaker, mark_us: Mapping[str, int]
    ) -> None:  # fmt: skip
        self.reviews: dict[int, OpenReview] = {}
        self._decide = decide
        self._decider = decider
        self.asks = asks
        self._breaker = breaker
        self._mark_us = dict(mark_us)
        self._rows: dict[tuple[str, int], Signal] = {}  # of candles, by symbol and instant
        self._spoken: dict[
            str, list[StrategySignal]
        ] = {}  # by symbol: the strategies' signals of one instant
        self._closes: dict[str, float] = {}  # the last one, by symbol
        self._left: set[int] = set()  # questions whose process has ended

    def on(
        self, event: Candle | StrategySignal | DecisionQuestion | DecisionAnswer | Command | PathRestarted
    ) -> Sequence[DecisionAnswer]:
        """See `engine.pipeline.path`."""
        if isinstance(event, Candle):
            return self._take_candle(event)
        if isinstance(event, StrategySignal):
            spoken = self._spoken.setdefault(event.symbol, [])
            if spoken and spoken[0].at_us != event.at_us:
                spoken.clear()
            spoken.append(event)
        elif isinstance(event, DecisionQuestion):
            return self._asked(event)
        elif isinstance(event, DecisionAnswer):
            self._answered(event)
        elif isinstance(event, PathRestarted):
            self._left = set(self._decide.open)
        elif event.command is CommandKind.RESET and self._decider.breaker is not None:
            self._decider.breaker.reset()
        return ()

    def answer(self, question: DecisionQuestion, opinion: Opinion, at_us: int) -> DecisionAnswer:
        """What a model's opinion about an open question comes to; nothing has changed."""
        asked = wanted_side(question.signal) or 0
        verdict, reason = self._decider.allowed_late(asked, opinion), opinion.reason
        by = "model" if reason is Reason.MODEL_ANSWERED else NOBODY
        if verdict != opinion.verdict:
            by, reason = "signal", Reason.AGENT_OFF if self._decider.is_off else Reason.OVERRULED_ENOUGH
        return DecisionAnswer(
            at_us=at_us, symbol=question.symbol, question=question.number, side=_side(verdict, asked),
            reason=reason.value, by=by, explanation=opinion.rationale,
        )  # fmt: skip

    def is_open(self, question: int) -> bool:
        """Whether a model is to be asked, and its answer would count."""
        return question in self.reviews and question in self._decide.open

    def status(self) -> dict[str, Any]:
        """How the memory stands, in plain values."""
        breaker = self._decider.breaker
        return {
            "rows": self._decider.count, "settled": self._decider.agent.memory.settled, "open": len(self.reviews),
            "breaker": None if breaker is None else breaker.status(),
        }  # fmt: skip

    def _take_candle(self, candle: Candle) -> Sequence[DecisionAnswer]:
        if candle.interval_us != self._mark_us[candle.symbol]:
            return ()
        self._closes[candle.symbol] = candle.close
        self._rows[candle.symbol, candle.at_us] = Signal(
            candle.symbol, candle.at_us, Action.HOLD, candle.close, _CANDLE
        )
        if len(self._rows) >= _MOST_ROWS:
            self._decider.finish(self._begin())
        if not self._left:
            return ()
        left = [question for number, question in self._decide.open.items() if number in self._left]
        answers = [
            nobodys(question, candle.at_us, "restarted", "the process that asked has ended")
            for question in left
            if question.symbol == candle.symbol
        ]
        self._left -= {answer.question for answer in answers}
        return answers

    def _asked(self, question: DecisionQuestion) -> Sequence[DecisionAnswer]:
        side = wanted_side(question.signal)
        if not side:  # all of them want to be out
            return (self._said(question, None, Reason.HOLD_SIGNAL, "signal", "all of them want to be out"),)
        # A candle that something is asked at is that one row.
        candle = self._rows.pop((question.symbol, question.at_us), None)
        begun = self._begin(self._row(question, side), bar=candle is not None)
        row, decider = len(begun.batch) - 1, self._decider
        if self.asks and begun.taken.questions.asked[row] and not decider.is_off:
            now, _ = decider.limit.questions_now(begun.batch.side, begun.taken.ruling.verdict, [row])
            if now and self._breaker.trading is TradingState.HALTED:
                decider.finish(begun)
                return (
                    self._said(
                        question, None, RISK_HALTED, "signal", "no model is asked while risk is halted"
                    ),
                )
            if now:
                shown = shown_of(decider.agent, begun.taken)
                brief = prompt_context_of(decider.agent, begun.batch, begun.taken, row, decider.ids, shown)
                decider.finish(begun)  # it stands until there is an answer
                self.reviews = {
                    each: open_ for each, open_ in self.reviews.items() if each in self._decide.open
                }
                self.reviews[question.number] = OpenReview(brief, begun.taken.first + row)
                return ()
        judged = decider.finish(begun)
        verdict, by = Verdict(int(judged.verdict[row])), DecidedBy(int(judged.by[row])).name.lower()
        reason = REASONS[int(judged.reason[row])]
        return (self._said(question, _side(verdict, side), reason, by, _evidence(begun, row, decider)),)

    @staticmethod
    def _said(
        question: DecisionQuestion, side: int | None, reason: str, by: str, explanation: str
    ) -> DecisionAnswer:
        return DecisionAnswer(
            at_us=question.at_us, symbol=question.symbol, question=question.number, side=side, reason=str(reason),
            by=by, explanation=explanation,
        )  # fmt: skip

    def _answered(self, answer: DecisionAnswer) -> None:
        """Count a model's verdict that is in time."""
        review = self.reviews.pop(answer.question, None)
        question = self._decide.open.get(answer.question)
        if review is None or question is None or not self._decide.in_time(answer):
            return
        self._decider.finish_late(review.ordinal, _verdict(answer.side, wanted_side(question.signal) or 0))

    def _begin(self, *signals: Signal, bar: bool = True) -> PendingDecision:
        """Look the candles that wait up, and then a signal; `bar`: whether it stands for its candle."""
        batch = SignalBatch.of_signals([*self._rows.values(), *signals])
        self._rows.clear()
        bars = np.ones(len(batch), np.bool_)
        bars[len(batch) - len(signals) :] = bar
        return self._decider.begin(batch, bars)

    def _row(self, question: DecisionQuestion, side: int) -> Signal:
        """A question as the memory has it: the features of this instant, the score, and who votes how."""
        asked = question.signal
        spoken = [each for each in self._spoken.get(question.symbol, ()) if each.at_us == question.at_us]
        features: dict[str, float | str] = {
            f"{name} of {each.interval_us / 1e6:g} s": value
            for each in spoken
            for name, value in each.features.items()
        }
        features |= {f"vote of {vote.strategy}": vote.side * vote.confidence for vote in asked.votes}
        source = "+".join(dict.fromkeys(each.strategy for each in spoken)) or _CANDLE
        return Signal(
            question.symbol, question.at_us, Action(side), self._closes.get(question.symbol, asked.price), source,
            question.identity,
            features | {"score": asked.score},
        )  # fmt: skip


def answers_of(config: PipelineConfig, decide: DecideStage, breaker: RiskBreaker) -> MemoryAnswers | None:
    """Who answers in a path with this breaker of risk; None: nobody is asked.

    Raises:
        SettingsError: a package is not installed.
    """
    if config.decide == "none":
        return None
    if find_spec("scipy") is None:
        raise SettingsError(
            f"decide is {config.decide!r}, for which scipy is not installed; `pip install raysignal[agents]` brings it"
        )
    rules = AgentRules(
        horizon=Horizon.parse(config.memory.horizon),
        gate=GateRules(
            config.memory.least, config.memory.against, min(GateRules().grey, config.memory.against)
        ),
        review=ReviewRules() if config.decide == "review" else None,
        texts=False,
    )
    policy = config.policy
    if config.venue.kind != "none":
        policy = replace(policy, fee_bps=config.venue.fee_bps, slippage_bps=config.venue.spread_bps / 2)
    mark_us = {symbol: config.intervals_us(symbol)[0] for symbol in config.symbols}
    return MemoryAnswers(
        decide,
        Decider(policy, rules, breaker=BreakerRules()),
        asks=config.decide == "review",
        breaker=breaker,
        mark_us=mark_us,
    )


def nobodys(question: DecisionQuestion, at_us: int, reason: str, why: str) -> DecisionAnswer:
    """That nobody answers, so that the signal stands."""
    return DecisionAnswer(
        at_us=max(at_us, question.at_us), symbol=question.symbol, question=question.number, side=None, reason=reason,
        by=NOBODY, explanation=why,
    )  # fmt: skip


def _side(verdict: Verdict, asked: int) -> int | None:
    """What is done: the signal stands, the other side, or out of the market."""
    return {Verdict.APPROVE: None, Verdict.FLIP: -asked, Verdict.HOLD: 0}[verdict]


def _verdict(side: int | None, asked: int) -> Verdict:
    if side is None or side == asked:
        return Verdict.APPROVE
    return Verdict.FLIP if side == -asked else Verdict.HOLD


def _evidence(begun: PendingDecision, row: int, decider: Decider) -> str:
    """What the memory says of a row, in words."""
    evidence, ruling = begun.taken.evidence, begun.taken.ruling
    found = f"{evidence.effective[row]:.1f} independent precedents"
    if not isfinite(ruling.p_worse[row]):
        return f"{found}; {decider.agent.rules.gate.least:g} are needed"
    approve, flip, hold = ruling.expected_bps[row]
    return (
        f"{found}; worse than drift with probability {ruling.p_worse[row]:.3f}; expected in bp: followed "
        f"{approve:.1f}, the other way {flip:.1f}, out {hold:.1f}"
    )
