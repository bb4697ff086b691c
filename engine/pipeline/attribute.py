"""Attribution on the path: each fill meets the decision that it came of."""

from collections.abc import Sequence

from raysignal.engine.core.events import Decision, OrderFill, PlannedOrder, TradeAttribution
from raysignal.engine.pipeline.attribution import Attributor

_KEPT = 1024
"""Decisions that a fill can come of; those of before are forgotten."""


class AttributeStage:
    """Keeps the last decisions, by their identity and by that of their order, for `Attributor`."""

    def __init__(self) -> None:
        self.attributor = Attributor()
        self._last: dict[str, Decision] = {}
        self._of: dict[str, Decision] = {}

    def on(self, event: Decision | PlannedOrder | OrderFill) -> Sequence[TradeAttribution]:
        """See `engine.pipeline.path`."""
        if isinstance(event, Decision):
            self._last[event.symbol] = event
            self._keep(event.identity, event)
            return ()
        if isinstance(event, PlannedOrder):
            self._keep(event.client_id, self._last[event.symbol])
            return ()
        closed = self.attributor.on_fill(event, self._of.get(event.client_id))
        return () if closed is None else (closed,)

    def _keep(self, name: str, decision: Decision) -> None:
        self._of[name] = decision
        if len(self._of) > _KEPT:
            del self._of[next(iter(self._of))]
