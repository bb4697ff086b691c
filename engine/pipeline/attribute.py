"""Attribution on the path: each fill meets the decision that it came of."""

from collections.abc import Sequence

from raysignal.engine.core.events import (
    FundingPayment,
    OrderFill,
    PlannedOrder,
    PositionDecision,
    TradeAttribution,
)
from raysignal.engine.pipeline.attribution import Attributor

_KEPT = 1024
"""Decisions that a fill can come of; those of before are forgotten."""


class AttributeStage:
    """Keeps the last decisions, by their identity and by that of their order, for `Attributor`."""

    def __init__(self) -> None:
        self.attributor = Attributor()
        self._last: dict[str, PositionDecision] = {}
        self._of: dict[str, PositionDecision] = {}

    def on(
        self, event: PositionDecision | PlannedOrder | OrderFill | FundingPayment
    ) -> Sequence[TradeAttribution]:
        """See `engine.pipeline.path`."""
        if isinstance(event, FundingPayment):
            self.attributor.on_funding(event)
            return ()
        if isinstance(event, PositionDecision):
            self._last[event.symbol] = event
            self._keep(event.identity, event)
            return ()
        if isinstance(event, PlannedOrder):
            self._keep(event.client_id, self._last[event.symbol])
            return ()
        closed = self.attributor.on_fill(event, self._of.get(event.client_id))
        return () if closed is None else (closed,)

    def _keep(self, name: str, decision: PositionDecision) -> None:
        self._of[name] = decision
        if len(self._of) > _KEPT:
            del self._of[next(iter(self._of))]
