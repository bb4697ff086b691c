"""What can be published, how it is written, and by what it is known."""

import inspect
from decimal import Decimal
from typing import get_args

import msgspec
import pytest

from raysignal.engine.core import events
from raysignal.engine.core.events import (
    AggregatedSignal,
    Alarm,
    Candle,
    CandleBackfill,
    Command,
    CommandKind,
    DecisionAnswer,
    DecisionQuestion,
    FundingPayment,
    FundingRateSettled,
    OrderEnded,
    OrderFill,
    PathEvent,
    PathRestarted,
    PlannedOrder,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
    StrategySignal,
    TradeAttribution,
    Vote,
)
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    ContractLost,
    ContractState,
    Instrument,
    Kline,
    Liquidation,
    Quote,
    Trade,
    TradesLost,
)
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.pipeline.bus import BusEvent, decode_event, encode_event, identity_of

BTC = Instrument("binance-usdm", "BTCUSDT", 2, 3)
SCORED = AggregatedSignal(
    at_us=5, symbol="BTC", score=0.25, side=1, price=99.5, votes=(Vote("sma", 1, 1.0),), method="equal"
)
WANTED = PositionDecision(at_us=5, symbol="BTC", side=1, size=0.5, price=99.5, votes=SCORED.votes)
TRADE = Trade(BTC, "17", 9_950, 3, 1, 4, 5)
BAR = Bar(BTC, Basis.TRADES, 60, 0, 1, 4, 1, 2, 9, 3)

EVENTS: list[BusEvent] = [
    TRADE,
    Quote(BTC, 7, 1, 2, 3, 4, 5, 6),
    Kline(BTC, 60, 0, 1, 4, 1, 2, 9, 3, True, 4, 5),
    BookChange(BTC, 7, 1, 2, 3, 4, 5, 6),
    BookLost(BTC, "gap", 7, 9, 6),
    TradesLost(BTC, "disconnected", 6),
    ContractState(BTC, Decimal("1.5"), Decimal(1), Decimal("-0.0001"), 9, None, 5, 6),
    Liquidation(BTC, Decimal("1.5"), 2, -1, 5, 6),
    ContractLost(BTC, "malformed", 6),
    BAR,
    Candle(at_us=5, symbol="BTC", interval_us=5, open=1.0, high=2.0, low=0.5, close=1.5, volume=3.0),
    CandleBackfill(at_us=5, symbol="BTC", interval_us=5, candles=()),
    StrategySignal(
        at_us=5, symbol="BTC", strategy="sma", side=-1, price=99.5, interval_us=60, features={"rsi": 0.1}
    ),
    SCORED,
    DecisionQuestion(at_us=5, symbol="BTC", signal=SCORED, deadline_us=9, number=2),
    DecisionAnswer(at_us=5, symbol="BTC", question=2, side=None, reason="none came", by="nobody"),
    WANTED,
    RiskVerdict(
        at_us=5, symbol="BTC", decision=WANTED, outcome=RiskOutcome.REDUCE, target=0.25, reasons=("notional",)
    ),
    PlannedOrder(
        at_us=5, symbol="BTC", client_id="a", side=1, quantity="0.5", limit_price=None, decided_price=99.5
    ),
    OrderFill(
        at_us=5, symbol="BTC", client_id="a", ordinal=3, side=1, quantity="0.5", price="99.6", fee="0.1",
        decided_price=99.5,
    ),
    OrderEnded(at_us=5, symbol="BTC", client_id="a", state="filled"),
    FundingPayment(at_us=5, symbol="BTC", rate="0.0001", price="1.5", quantity="-2", amount="-0.0003"),
    FundingRateSettled(at_us=5, symbol="BTC", rate="0.0001"),
    TradeAttribution(at_us=5, symbol="BTC", opened_us=1, pnl=0.5, shares={"sma": 0.5}),
    Command(at_us=5, symbol="BTC", command=CommandKind.HALT, who="me", reason="news"),
    PathRestarted(at_us=5, symbol=""),
    Alarm(at_us=5, symbol="BTC", code="stale", message="no price for a minute"),
]  # fmt: skip


def test_every_event_is_read_as_it_was_written() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(BusEvent))
    assert [decode_event(encode_event(event)) for event in EVENTS] == EVENTS


def test_every_event_of_the_path_can_be_published() -> None:
    of_the_path = {
        kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, PathEvent)
    }
    assert of_the_path - {PathEvent} <= set(get_args(BusEvent))


def test_events_of_all_kinds_have_names_of_their_own_that_say_the_kind() -> None:
    names = [identity_of(event) for event in EVENTS]
    assert len(set(names)) == len(names)
    assert "trade:binance-usdm:BTCUSDT:17:4" in names
    assert "strategy_signal:sma:BTC:60:5" in names


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (TRADE, msgspec.structs.replace(TRADE, received_us=99), True),  # the venue sends it once more
        (TRADE, msgspec.structs.replace(TRADE, exchange_us=99), False),  # the venue begins its ids again
        (BAR, msgspec.structs.replace(BAR, complete=False), False),  # the venue's own bar follows
        (BAR, msgspec.structs.replace(BAR, interval_us=120), False),
        (BAR, msgspec.structs.replace(BAR, instrument=Instrument("okx", "BTCUSDT", 2, 3)), False),
    ],
)
def test_what_a_market_says_again_is_the_same_event(one: BusEvent, other: BusEvent, same: bool) -> None:
    assert (identity_of(one) == identity_of(other)) is same


def test_an_unknown_kind_is_not_read() -> None:
    with pytest.raises(msgspec.ValidationError, match="rumour"):
        decode_event(msgspec.msgpack.encode({"kind": "rumour"}))
