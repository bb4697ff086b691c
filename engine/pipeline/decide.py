"""From an aggregated signal to the position that is wanted; where it is asked about, after the answer.

The stage is pure: it says a `DecisionQuestion`, and the `DecisionAnswer` comes back as an event like any other. One
that comes after the deadline counts for nothing: the signal stands. A question is open until it, or a later one of its
symbol, is answered. Where a candle has come since, its close is the price that is decided at: the question's is past.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from raysignal.engine.core.events import (
    NOBODY,
    AggregatedSignal,
    Candle,
    DecisionAnswer,
    DecisionQuestion,
    PositionDecision,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.aggregation import wanted_side

NO_ANSWER = "no answer in time"


class DecideStage:
    """See the module.

    Args:
        policy: `side` and `weight` of it: which positions are taken, and how large.
        wait_us: how long an answer may take, the market's time; 0: it is given at once; None: nobody is asked.
    """

    def __init__(self, policy: Policy, *, wait_us: int | None = None) -> None:
        self._shorts = policy.side == "long-short"
        self._weight = policy.weight
        self._wait_us = wait_us
        self._decided = self._asked = 0
        self._open: dict[int, DecisionQuestion] = {}
        self._candles: dict[str, Candle] = {}  # the last one, by symbol

    @property
    def open(self) -> Mapping[int, DecisionQuestion]:
        """Questions that can still be answered, by their number."""
        return MappingProxyType(self._open)

    def in_time(self, answer: DecisionAnswer) -> bool:
        """Whether an answer counts: its question is open, and its deadline is not over."""
        question = self._open.get(answer.question)
        return question is not None and answer.at_us <= question.deadline_us

    def on(
        self, event: AggregatedSignal | Candle | DecisionAnswer
    ) -> Sequence[DecisionQuestion | PositionDecision]:
        """See `engine.pipeline.path`."""
        if isinstance(event, Candle):
            self._candles[event.symbol] = event
            return ()
        if isinstance(event, DecisionAnswer):
            return self._answered(event)
        side = wanted_side(event)
        if side is None:
            return ()
        if self._wait_us is None:
            return (self._decision(event, side, event.at_us, event.price, "signal"),)
        return (self._ask(event, event.at_us + self._wait_us),)

    def _ask(self, signal: AggregatedSignal, deadline_us: int) -> DecisionQuestion:
        self._asked += 1
        question = DecisionQuestion(
            at_us=signal.at_us,
            symbol=signal.symbol,
            signal=signal,
            deadline_us=deadline_us,
            number=self._asked,
        )
        self._open[self._asked] = question
        return question

    def _answered(self, answer: DecisionAnswer) -> Sequence[PositionDecision]:
        question, late = self._open.get(answer.question), not self.in_time(answer)
        if question is None:
            return ()
        self._open = {
            number: each
            for number, each in self._open.items()
            if each.symbol != question.symbol or number > answer.question
        }
        asked = wanted_side(question.signal) or 0
        side = asked if late or answer.side is None else answer.side
        reason = NO_ANSWER if late and answer.by != NOBODY else answer.reason
        candle = self._candles.get(question.symbol)
        price, at_us = question.signal.price, answer.at_us
        if candle is not None and candle.at_us > question.at_us:
            price, at_us = candle.close, max(at_us, candle.at_us)
        return (self._decision(question.signal, side, at_us, price, reason),)

    def _decision(
        self, signal: AggregatedSignal, side: int, at_us: int, price: float, reason: str
    ) -> PositionDecision:
        side = side if side > 0 or self._shorts else 0
        self._decided += 1
        return PositionDecision(
            at_us=at_us, symbol=signal.symbol, side=side, size=self._weight if side else 0.0, price=price,
            votes=signal.votes, reason=reason, number=self._decided,
        )  # fmt: skip
