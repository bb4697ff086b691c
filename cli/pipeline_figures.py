"""What a run of a decision path came to: counted event by event, told in plain values, and shown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from raysignal.cli.output import Output, escape, rows_table
from raysignal.engine.core.instants import format_instant

if TYPE_CHECKING:
    from raysignal.runtime.pipeline import Pipeline


class EventCounts:
    """An event log that counts, and keeps what a report shows; `also` is told the same."""

    def __init__(self, also: Any = None) -> None:
        self.counts: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._decisions = 0
        self.alarms: list[Any] = []
        self._also = also

    def input(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.counts[type(event).__name__] += 1
        if self._also is not None:
            self._also.input(event)

    def output(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        name = type(event).__name__
        self.counts[name] += 1
        if name == "OrderEnded" and event.state != "filled":
            self.ended[f"{event.state}: {event.reason}" if event.reason else event.state] += 1
        elif name == "Alarm":
            self.alarms.append(event)
        elif name == "RiskVerdict":
            self.counts[f"risk_{event.outcome.value}"] += 1
        elif name == "PositionDecision" and event.number > self._decisions:
            self._decisions = event.number  # one that waited for an order is said again
            self.reasons[event.reason] += 1
        if self._also is not None:
            self._also.output(event)


def report(pipeline: Pipeline, log: EventCounts, output: Output) -> None:
    """Show what a run came to; with `--json` its figures."""
    figures = figures_of(pipeline, log)
    if output.as_json:
        output.json(figures)
        return
    output.say(
        f"path      {figures['signals']:,d} signals, {figures['decisions']:,d} decisions "
        f"({figures['reduced']:,d} reduced, {figures['refused']:,d} refused by risk), {figures['orders']:,d} orders, "
        f"{figures['fills']:,d} fills, {figures['trades']:,d} trades"
    )
    if pipeline.answers is not None:
        reasons = ", ".join(f"{count:,d} {escape(why)}" for why, count in figures["reasons"].items())
        output.say(f"decide    {pipeline.config.decide}: {reasons or 'nothing'}")
    if figures["ended"]:
        ended = ", ".join(f"{count:,d} {escape(how)}" for how, count in figures["ended"].items())
        output.say(f"ended     not filled: {ended}")
    performance = figures["performance"]
    output.say(
        f"portfolio {escape(pipeline.config.name)}: {figures['initial']:,.2f} to {figures['equity']:,.2f}, "
        f"{figures['total_return']:+.4%}, largest drawdown {figures['max_drawdown']:.2%}, "
        f"Sharpe {_ratio(performance['sharpe']) or 'not known before a week'}"
    )
    output.say(
        f"profit    of closed trades {performance['realised_pnl']:+,.2f}, of what is open "
        f"{performance['unrealised_pnl']:+,.2f}; in it fees {performance['fees']:,.2f}, "
        f"slippage {figures['slippage']:,.2f}, funding {figures['funding']:,.2f}"
    )
    for alarm in log.alarms[-3:]:
        output.say(f"alarm     {format_instant(alarm.at_us)} {escape(alarm.message)}")
    rows = [
        (
            each["strategy"], each["trades"], f"{each['contribution']:+,.2f}", _share(each["hit_rate"]),
            _ratio(each["payoff"]), f"{each['turnover']:,.2f}",
        )
        for each in figures["strategies"]
    ]  # fmt: skip
    output.table(rows_table(("strategy", "trades", "profit", "hit rate", "payoff", "turnover"), rows))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def figures_of(pipeline: Pipeline, log: EventCounts) -> dict[str, Any]:
    """What a run came to, in plain values; `performance` as `GET /performance/{portfolio}` has it."""
    counts = log.counts
    performance = pipeline.status().as_dict()["performance"]
    return {
        "name": pipeline.config.name,
        "candles": counts["Candle"],
        "signals": counts["StrategySignal"],
        "decisions": counts["PositionDecision"],
        "reduced": counts["risk_reduce"],
        "refused": counts["risk_refuse"],
        "reasons": dict(log.reasons.most_common()),
        "orders": counts["PlannedOrder"],
        "fills": counts["OrderFill"],
        "ended": dict(log.ended.most_common()),
        "trades": performance["closed_trades"],
        "initial": performance["initial_cash"],
        "equity": performance["equity"],
        "total_return": performance["total_return"],
        "max_drawdown": performance["max_drawdown"],
        "slippage": pipeline.portfolio.record.slippage,
        "funding": pipeline.portfolio.record.funding,
        "performance": performance,
        "breaker": pipeline.risk.stage.breaker.trading.value,
        "strategies": pipeline.earnings(),
        "weights": pipeline.weights(),
    }
