"""Risk on the path: what a decision may do is asked with the portfolio as it stands, and every mark moves the breaker."""

from collections.abc import Sequence

from raysignal.engine.risk.stage import AccountView, MarketPrice, RiskStage

from raysignal.engine.core.events import Alarm, Candle, Command, Decision, RiskVerdict
from raysignal.engine.pipeline.portfolio import Holding


class RiskGate:
    """The stage of `engine.risk` between decide and execute.

    A halt that flattens says so as decisions of its own, one a symbol that is held, which nothing refuses.
    """

    def __init__(self, stage: RiskStage, portfolio: Holding) -> None:
        self.stage = stage
        self._portfolio = portfolio
        self._number = 0

    def on(self, event: Candle | Decision | Command) -> Sequence[RiskVerdict | Alarm | Decision]:
        """See `engine.pipeline.path`."""
        if isinstance(event, Candle):
            alarm = self.stage.breaker.mark(self._portfolio.equity, event.at_us)
            return () if alarm is None else (alarm, *self._flattening(event.at_us, alarm.message))
        if isinstance(event, Decision):
            return (self.stage.on(event, self._view(event.at_us)),)
        if not self.stage.breaker.command(event):
            return ()
        return self._flattening(event.at_us, f"{event.who}: {event.reason}")

    def _flattening(self, at_us: int, reason: str) -> Sequence[Decision]:
        if not self.stage.breaker.flatten:
            return ()
        made = []
        for symbol in sorted(self._portfolio.positions):
            self._number -= 1
            price, _ = self._portfolio.prices[symbol]
            made.append(
                Decision(
                    at_us=at_us, symbol=symbol, side=0, size=0.0, price=price, reason=f"risk: {reason}",
                    number=self._number,
                )
            )  # fmt: skip
        return made

    def _view(self, now_us: int) -> AccountView:
        prices = {symbol: MarketPrice(*last) for symbol, last in self._portfolio.prices.items()}
        return AccountView(
            now_us=now_us,
            equity=self._portfolio.equity,
            positions=dict(self._portfolio.positions),
            prices=prices,
        )
