"""What a path did lately, for those who ask: decisions and by whom, orders, fills, verdicts of risk, alarms."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from raysignal.engine.core.events import (
    NOBODY,
    Alarm,
    DecisionAnswer,
    DecisionQuestion,
    FundingPayment,
    OrderEnded,
    OrderFill,
    PlannedOrder,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
)
from raysignal.engine.core.instants import format_instant
from raysignal.engine.pipeline.aggregation import wanted_side
from raysignal.engine.pipeline.portfolio import slippage

KEPT = 1_000


class RecentEvents:
    """An `EventLog` of the last `KEPT` of each, as plain values with instants in ISO 8601.

    Args:
        told: called with each decision, fill, verdict and alarm as it comes, and what it is.

    Attributes:
        reasons: of all decisions, how often.
    """

    def __init__(self, told: Callable[[str, dict[str, Any]], None] | None = None) -> None:
        self._told = told
        self.decisions: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.reasons: Counter[str] = Counter()
        self._questions: dict[int, DecisionQuestion] = {}
        self._answers: deque[tuple[DecisionQuestion, DecisionAnswer]] = (
            deque()
        )  # each is followed by its decision
        self._decisions = 0
        self.fills: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.funding: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.alarms: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.verdicts: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._orders: dict[str, dict[str, Any]] = {}

    @property
    def orders(self) -> list[dict[str, Any]]:
        """The oldest first."""
        return list(self._orders.values())

    def input(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.output(event)

    def output(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        if isinstance(event, DecisionQuestion | DecisionAnswer | PositionDecision):
            self._decided(event)
        elif isinstance(event, PlannedOrder):
            if len(self._orders) >= KEPT:
                del self._orders[next(iter(self._orders))]
            self._orders[event.client_id] = _order(event)
        elif isinstance(event, OrderFill):
            self._keep(self.fills, "fill", _fill(event))
            order = self._orders.get(event.client_id)
            if order is not None:
                order["fills"] += 1
        elif isinstance(event, OrderEnded):
            order = self._orders.get(event.client_id)
            if order is not None:
                order |= {"state": event.state, "reason": event.reason, "ended": format_instant(event.at_us)}
        else:
            self._note(event)

    def _note(self, event: Any) -> None:
        if isinstance(event, FundingPayment):
            self.funding.append(
                {
                    "at": format_instant(event.at_us), "symbol": event.symbol, "rate": event.rate,
                    "price": event.price, "quantity": event.quantity, "amount": event.amount,
                }
            )  # fmt: skip
        elif isinstance(event, Alarm):
            self._keep(
                self.alarms, "alarm",
                {
                    "at": format_instant(event.at_us), "symbol": event.symbol, "code": event.code,
                    "message": event.message,
                },
            )  # fmt: skip
        elif isinstance(event, RiskVerdict) and event.outcome is not RiskOutcome.ALLOW:
            self._keep(
                self.verdicts, "verdict",
                {
                    "at": format_instant(event.at_us), "symbol": event.symbol, "outcome": event.outcome.value,
                    "target": event.target, "reasons": list(event.reasons),
                },
            )  # fmt: skip

    def _decided(self, event: DecisionQuestion | DecisionAnswer | PositionDecision) -> None:
        if isinstance(event, DecisionQuestion):
            if len(self._questions) >= KEPT:
                del self._questions[next(iter(self._questions))]
            self._questions[event.number] = event
        elif isinstance(event, DecisionAnswer):
            question = self._questions.pop(event.question, None)
            if question is not None:
                self._answers.append((question, event))
        elif event.number < 0:
            self._keep(self.decisions, "decision", _decision(event, None))
        elif event.number > self._decisions:  # not one that waited for an order, and is said again
            self._decisions = event.number
            self.reasons[event.reason] += 1
            answered = self._answers.popleft() if self._answers else None
            self._keep(self.decisions, "decision", _decision(event, answered))

    def _keep(self, kept: deque[dict[str, Any]], what: str, values: dict[str, Any]) -> None:
        kept.append(values)
        if self._told is not None:
            self._told(what, values)


def _decision(
    decision: PositionDecision, answered: tuple[DecisionQuestion, DecisionAnswer] | None
) -> dict[str, Any]:
    """What was decided; by whom and why, if it was asked about and the answer came in time."""
    shown = {
        "at": format_instant(decision.at_us), "symbol": decision.symbol, "signal": decision.side, "side": decision.side,
        "size": decision.size, "price": decision.price, "by": "risk" if decision.number < 0 else "signal",
        "reason": decision.reason, "explanation": "",
    }  # fmt: skip
    if answered is not None:
        question, answer = answered
        late = decision.reason != answer.reason
        shown |= {
            "signal": wanted_side(question.signal) or 0,
            "by": NOBODY if late else answer.by,
            "explanation": answer.explanation,
        }
    return shown


def _order(order: PlannedOrder) -> dict[str, Any]:
    return {
        "client_id": order.client_id, "at": format_instant(order.at_us), "symbol": order.symbol,
        "side": "BUY" if order.side > 0 else "SELL", "quantity": order.quantity, "limit_price": order.limit_price,
        "decided_price": order.decided_price, "state": "open", "reason": "", "fills": 0, "ended": None,
    }  # fmt: skip


def _fill(fill: OrderFill) -> dict[str, Any]:
    return {
        "client_id": fill.client_id, "ordinal": fill.ordinal, "at": format_instant(fill.at_us), "symbol": fill.symbol,
        "side": "BUY" if fill.side > 0 else "SELL", "quantity": fill.quantity, "price": fill.price, "fee": fill.fee,
        "decided_price": fill.decided_price,
        "slippage": slippage(fill),
    }  # fmt: skip
