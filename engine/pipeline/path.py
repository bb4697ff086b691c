"""The whole decision path on one page: from market events and posted signals to orders, fills and who earned what.

    trades ─▶ candles ─▶ strategies ─▶ aggregate ─▶ decide ─▶ risk ─▶ execute ─▶ orders ─▶ (a venue) ─▶ fills
                                                                                              │
                        attribute ◀───────────────────────────── portfolio ◀──────────────────┘

Live, replay and backtest run this and nothing else. A stage is state and `on(event) -> events`: no clock, no IO, no
randomness. So the events that come in (`engine.core.events.PathInput`) decide all that comes out, and whoever keeps
them can make it again.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from raysignal.engine.core.events import (
    AggregatedSignal,
    Candle,
    CandleBackfill,
    Command,
    DecisionAnswer,
    DecisionQuestion,
    FundingPayment,
    OrderEnded,
    OrderFill,
    PathRestarted,
    PlannedOrder,
    PositionDecision,
    RiskVerdict,
    StrategySignal,
)
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    ContractLost,
    ContractState,
    Liquidation,
    Trade,
    TradesLost,
)

_MARKET = frozenset({Trade, BookChange, BookLost, TradesLost, ContractState, Liquidation, ContractLost})
"""What candles are made of."""


class Stage(Protocol):
    """One step of the path."""

    def on(self, event: Any, /) -> Sequence[Any]:
        """What an event leads to, in order; its state has changed by then."""
        ...


class DecisionPath:
    """The stages of one portfolio, and which of them reads what.

    Args:
        candles: trades to candles of every length (`engine.pipeline.candles`).
        strategies: candles to what each strategy says (`engine.pipeline.strategies`).
        aggregate: what they say to one signal, by their weights (`engine.pipeline.aggregation`).
        decide: the signal to the position that is wanted (`engine.pipeline.decide`).
        answers: what `decide` asks, answered (`runtime.pipeline_answers`); none: it does not ask.
        risk: how much of it may be (`engine.pipeline.risk`).
        execute: the orders that lead there (`engine.pipeline.execute`); none: the portfolio fills by itself.
        portfolio: cash, positions, equity (`engine.pipeline.portfolio`).
        attribute: the profit of trades to strategies (`engine.pipeline.attribution`).
    """

    def __init__(
        self, *, candles: Stage, strategies: Stage, aggregate: Stage, decide: Stage,
        answers: Stage | None, risk: Stage, execute: Stage | None, portfolio: Stage, attribute: Stage,
    ) -> None:  # fmt: skip
        orders = (execute,) if execute is not None else ()
        asked = (answers,) if answers is not None else ()
        asks = (decide,) if answers is not None else ()
        self._candles = candles
        self.readers: dict[type, tuple[Stage, ...]] = {
            Candle: (portfolio, risk, *asks, *asked, aggregate, strategies),
            CandleBackfill: (strategies,),
            StrategySignal: (*asked, aggregate),
            AggregatedSignal: (decide,),
            DecisionQuestion: asked,
            DecisionAnswer: (risk, *asked, decide),
            PositionDecision: (risk, attribute),
            RiskVerdict: orders or (portfolio,),
            PlannedOrder: (risk, attribute),
            OrderFill: (*orders, portfolio, attribute) if orders else (attribute,),
            OrderEnded: (risk, *orders),
            FundingPayment: (portfolio, attribute),
            Command: (risk, *asked),
            PathRestarted: (candles, *asked),
        }

    def on(self, *events: Any) -> list[Any]:
        """Everything that they lead to, in order. A candle is followed to its end before the next one is."""
        made: list[Any] = []
        for event in events:
            if type(event) in _MARKET:
                for candle in self._candles.on(event):
                    made.append(candle)
                    self._follow(candle, made)
            else:
                self._follow(event, made)
        return made

    def _follow(self, event: Any, made: list[Any]) -> None:
        """Add what one event leads to: each event is followed by what it leads to itself."""
        waiting = deque((event,))
        while waiting:
            event = waiting.popleft()
            for stage in self.readers.get(type(event), ()):
                new = stage.on(event)
                if new:
                    made += new
                    waiting += new
