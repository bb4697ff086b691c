"""From an aggregated signal to the position that is wanted; where it is asked about, after the answer.

The stage is pure: it says a `DecisionQuestion`, and the `DecisionAnswer` comes back as an event like any other, or does
not come by the deadline. Then the signal stands. So a replay needs nobody who answers.
"""

from collections.abc import Sequence

from raysignal.engine.core.events import AggregatedSignal, DecisionAnswer, DecisionQuestion, PositionDecision
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.aggregation import wanted_side


class DecideStage:
    """See the module.

    Args:
        policy: `side` and `weight` of it: which positions are taken, and how large.
        wait_us: how long an answer may take, the market's time; 0: nobody is asked.
    """

    def __init__(self, policy: Policy, *, wait_us: int = 0) -> None:
        self._shorts = policy.side == "long-short"
        self._weight = policy.weight
        self._wait_us = wait_us
        self._number = 0
        self._open: dict[str, DecisionQuestion] = {}  # by symbol: the last that was asked

    def on(self, event: AggregatedSignal | DecisionAnswer) -> Sequence[DecisionQuestion | PositionDecision]:
        """See `engine.pipeline.path`."""
        if isinstance(event, DecisionAnswer):
            return self._answered(event)
        side = wanted_side(event)
        if side is None:
            return ()
        if not self._wait_us:
            return (self._decision(event, side, event.at_us, "signal"),)
        question = DecisionQuestion(
            at_us=event.at_us, symbol=event.symbol, signal=event, deadline_us=event.at_us + self._wait_us
        )
        self._open[event.symbol] = question
        return (question,)

    def _answered(self, verdict: DecisionAnswer) -> Sequence[PositionDecision]:
        question = self._open.get(verdict.symbol)
        if question is None or question.at_us != verdict.question_us:
            return ()
        del self._open[verdict.symbol]
        late = verdict.at_us > question.deadline_us
        asked = wanted_side(question.signal) or 0
        side = asked if late or verdict.side is None else verdict.side
        reason = "no answer in time" if late else verdict.reason
        return (self._decision(question.signal, side, verdict.at_us, reason),)

    def _decision(self, signal: AggregatedSignal, side: int, at_us: int, reason: str) -> PositionDecision:
        side = side if side > 0 or self._shorts else 0
        self._number += 1
        return PositionDecision(
            at_us=at_us, symbol=signal.symbol, side=side, size=self._weight if side else 0.0, price=signal.price,
            votes=signal.votes, reason=reason, number=self._number,
        )  # fmt: skip
