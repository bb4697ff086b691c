"""What a path did lately, for those who ask: orders with how far they have come, fills, verdicts of risk, alarms."""

from collections import deque
from typing import Any

from raysignal.engine.core.events import Alarm, OrderEnded, OrderFill, PlannedOrder, RiskOutcome, RiskVerdict
from raysignal.engine.core.instants import format_instant

KEPT = 1_000


class RecentEvents:
    """An `EventLog` of the last `KEPT` of each, as plain values with instants in ISO 8601."""

    def __init__(self) -> None:
        self.fills: deque[dict[str, Any]] = deque(maxlen=KEPT)
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
        if isinstance(event, PlannedOrder):
            if len(self._orders) >= KEPT:
                del self._orders[next(iter(self._orders))]
            self._orders[event.client_id] = _order(event)
        elif isinstance(event, OrderFill):
            self.fills.append(_fill(event))
            order = self._orders.get(event.client_id)
            if order is not None:
                order["fills"] += 1
        elif isinstance(event, OrderEnded):
            order = self._orders.get(event.client_id)
            if order is not None:
                order |= {"state": event.state, "reason": event.reason, "ended": format_instant(event.at_us)}
        elif isinstance(event, Alarm):
            self.alarms.append(
                {
                    "at": format_instant(event.at_us),
                    "symbol": event.symbol,
                    "code": event.code,
                    "message": event.message,
                }
            )
        elif isinstance(event, RiskVerdict) and event.outcome is not RiskOutcome.ALLOW:
            self.verdicts.append(
                {
                    "at": format_instant(event.at_us), "symbol": event.symbol, "outcome": event.outcome.value,
                    "target": event.target, "reasons": list(event.reasons),
                }
            )  # fmt: skip


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
        "slippage": fill.side * (float(fill.price) - fill.decided_price) * float(fill.quantity),
    }  # fmt: skip
