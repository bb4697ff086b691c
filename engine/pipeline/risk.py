"""Risk on the path: a decision is judged with the portfolio as it stands, and every mark moves the breaker."""

from collections.abc import Callable, Sequence

import msgspec

from raysignal.engine.core.events import (
    NOBODY,
    Alarm,
    Candle,
    Command,
    DecisionAnswer,
    OrderEnded,
    PlannedOrder,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
)
from raysignal.engine.pipeline.portfolio import Holding
from raysignal.engine.risk.stage import AccountView, MarketPrice, RiskStage


class RiskGate:
    """The stage of `engine.risk` between decide and execute.

    A halt that flattens says so as decisions of its own, at every mark until nothing is held.
    """

    def __init__(
        self, stage: RiskStage, portfolio: Holding, in_time: Callable[[DecisionAnswer], bool], *,
        fills_itself: bool = False,
    ) -> None:  # fmt: skip
        """`in_time`: whether an answer counts, `DecideStage.in_time`; `fills_itself`: the portfolio has no venue, so
        what risk allows is an order at once.
        """
        self.stage = stage
        self._fills_itself = fills_itself
        self._portfolio = portfolio
        self._in_time = in_time
        self._number = 0
        self._verdicts: dict[str, RiskVerdict] = {}
        self._expected: dict[str, float] = {}  # where orders that are under way lead, by symbol

    def on(
        self,
        event: Candle | PositionDecision | Command | DecisionAnswer | PlannedOrder | OrderEnded,
    ) -> Sequence[RiskVerdict | Alarm | PositionDecision]:
        """See `engine.pipeline.path`."""
        if isinstance(event, Candle):
            alarm = self.stage.breaker.mark(self._portfolio.equity, event.at_us)
            if alarm is not None:
                return (alarm, *self._closings(event.at_us))
            return self._closings(event.at_us) if self.stage.breaker.flatten else ()
        if isinstance(event, PositionDecision):
            verdict = self.stage.on(event, self._view(event.at_us))
            self._verdicts[event.symbol] = verdict
            held = self._portfolio.positions.get(event.symbol, 0.0)
            moves = verdict.target != held and verdict.target * held <= 0.0  # else it is on that side already
            if self._fills_itself and verdict.outcome is not RiskOutcome.REFUSE and moves:
                self.stage.count_order(verdict)
            return (verdict,)
        if isinstance(event, PlannedOrder):
            verdict = self._verdicts[event.symbol]
            self._expected[event.symbol] = verdict.target
            self.stage.count_order(verdict)
        elif isinstance(event, OrderEnded):
            self._expected.pop(event.symbol, None)
        elif isinstance(event, DecisionAnswer):
            if event.by != NOBODY and self._in_time(event):
                self.stage.count_model(event.at_us)
        elif self.stage.breaker.command(event):
            return self._closings(event.at_us)
        return ()

    def _closings(self, at_us: int) -> Sequence[PositionDecision]:
        made = []
        for each in self.stage.closings(self._view(at_us)):
            self._number -= 1
            made.append(msgspec.structs.replace(each, number=self._number))
        return made

    def _view(self, now_us: int) -> AccountView:
        prices = {symbol: MarketPrice(*last) for symbol, last in self._portfolio.prices.items()}
        positions = {**self._portfolio.positions, **self._portfolio.expected, **self._expected}
        return AccountView(now_us=now_us, equity=self._portfolio.equity, positions=positions, prices=prices)
