"""What venues say of contracts: states, of which messages say parts, liquidations, and when either is lost."""

from decimal import Decimal

import orjson
import pytest

from raysignal.engine.core.market_events import (
    Channel,
    ContractLost,
    ContractState,
    Event,
    Instrument,
    Liquidation,
)
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Subscription, Tracker

WANTED = frozenset({Channel.TRADES, Channel.CONTRACT, Channel.LIQUIDATIONS})
USDM = Instrument("binance-usdm", "BTCUSDT", 2, 3)
BYBIT = Instrument("bybit-linear", "BTCUSDT", 2, 3)
OKX = Instrument("okx", "BTC-USDT-SWAP", 1, 2)


def following(instrument: Instrument) -> Tracker:
    return venue_named(instrument.venue).tracker([Subscription(instrument, WANTED)])


def heard(tracker: Tracker, *messages: object) -> list[Event]:
    return [event for each in messages for event in tracker.receive(orjson.dumps(each), 3)]


def mark_price(**data: object) -> dict[str, object]:
    said = {"e": "markPriceUpdate", "E": 7, "s": "BTCUSDT", "p": "101.12345678", "i": "100.5", "P": "0"}
    return {"stream": "btcusdt@markPrice@1s", "data": said | data}


def test_binance_says_mark_index_and_rate_in_one_message_and_nothing_of_open_interest() -> None:
    assert heard(following(USDM), mark_price(r="-0.00010000", T=9)) == [
        ContractState(
            USDM, Decimal("101.12345678"), Decimal("100.5"), Decimal("-0.00010000"), 9_000, None, 7_000, 3
        )
    ]


def test_contract_with_a_last_day_has_no_funding() -> None:
    (state,) = heard(following(USDM), mark_price(r="", T=0))
    assert isinstance(state, ContractState)
    assert (state.funding_rate, state.next_funding_us) == (None, 0)


@pytest.mark.parametrize(
    ("instrument", "message", "side"),
    [
        (
            USDM,
            {
                "stream": "btcusdt@forceOrder",
                "data": {
                    "e": "forceOrder", "E": 8,
                    "o": {"s": "BTCUSDT", "S": "SELL", "q": "0.014", "p": "99.10", "ap": "99.2", "T": 7},
                },
            },
            -1,
        ),
        (
            BYBIT,
            {
                "topic": "allLiquidation.BTCUSDT", "type": "snapshot", "ts": 8,
                "data": [{"T": 7, "s": "BTCUSDT", "S": "Buy", "v": "0.014", "p": "99.10"}],
            },
            -1,
        ),
        (
            OKX,
            {
                "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
                "data": [
                    {"instId": "ETH-USDT-SWAP", "details": [{"bkPx": "9", "sz": "1", "side": "buy", "ts": "7"}]},
                    {
                        "instId": "BTC-USDT-SWAP",
                        "details": [{"bkPx": "99.10", "sz": "0.14", "side": "buy", "posSide": "short", "ts": "7"}],
                    },
                ],
            },
            1,
        ),
    ],
    ids=["binance", "bybit", "okx"],
)  # fmt: skip
def test_liquidation_has_the_side_that_was_traded_to_close_it(
    instrument: Instrument, message: dict[str, object], side: int
) -> None:
    tracker = following(instrument)
    assert heard(tracker, message) == [Liquidation(instrument, Decimal("99.10"), 14, side, 7_000, 3)]
    assert tracker.counts["unknown"] == 0


def ticker(kind: str, ts: int, **data: str) -> dict[str, object]:
    return {"topic": "tickers.BTCUSDT", "type": kind, "ts": ts, "data": {"symbol": "BTCUSDT"} | data}


def test_bybit_says_all_and_then_what_has_changed() -> None:
    whole = ticker(
        "snapshot", 7, markPrice="101", indexPrice="100", fundingRate="0.0001", nextFundingTime="9",
        openInterest="55.5",
    )  # fmt: skip
    first, second = heard(following(BYBIT), whole, ticker("delta", 8, markPrice="102"))
    assert first == ContractState(
        BYBIT, Decimal(101), Decimal(100), Decimal("0.0001"), 9_000, Decimal("55.5"), 7_000, 3
    )
    assert second == ContractState(
        BYBIT, Decimal(102), Decimal(100), Decimal("0.0001"), 9_000, Decimal("55.5"), 8_000, 3
    )


def okx(channel: str, symbol: str, **row: str) -> dict[str, object]:
    return {"arg": {"channel": channel, "instId": symbol}, "data": [{"instId": symbol} | row]}


def test_okx_says_each_figure_in_a_stream_of_its_own_the_index_under_the_names_of_its_assets() -> None:
    states = heard(
        following(OKX),
        okx("mark-price", "BTC-USDT-SWAP", markPx="101", ts="1"),
        okx("index-tickers", "BTC-USDT", idxPx="100", ts="2"),
        okx("open-interest", "BTC-USDT-SWAP", oi="55", oiCcy="0.55", ts="3"),
        okx("funding-rate", "BTC-USDT-SWAP", fundingRate="0.0001", fundingTime="9", ts="4"),
    )
    assert len(states) == 4
    assert states[-1] == ContractState(
        OKX, Decimal(101), Decimal(100), Decimal("0.0001"), 9_000, Decimal(55), 4_000, 3
    )


def test_state_is_lost_with_its_connection_and_begins_anew() -> None:
    tracker = following(BYBIT)
    heard(tracker, ticker("snapshot", 7, markPrice="101", indexPrice="100"))
    assert ContractLost(BYBIT, "disconnected", 5) in tracker.disconnected(5)
    assert ContractLost(BYBIT, "disconnected", 6) not in tracker.disconnected(6)
    (state,) = heard(tracker, ticker("snapshot", 8, markPrice="102"))
    assert isinstance(state, ContractState)
    assert state.index is None


@pytest.mark.parametrize(
    ("instrument", "message"),
    [
        (USDM, mark_price(p="a lot")),
        (BYBIT, ticker("delta", 8, markPrice="a lot")),
        (OKX, {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [{"instId": 1}]}),
    ],
    ids=["binance", "bybit", "okx"],
)
def test_message_that_cannot_be_read_loses_the_contract_and_no_trades(
    instrument: Instrument, message: dict[str, object]
) -> None:
    tracker = following(instrument)
    heard(
        tracker,
        {
            "binance-usdm": mark_price(),
            "bybit-linear": ticker("snapshot", 7, markPrice="1"),
            "okx": okx("mark-price", "BTC-USDT-SWAP", markPx="101", ts="1"),
        }[instrument.venue],
    )
    assert heard(tracker, message) == [ContractLost(instrument, "malformed", 3)]
    asked = [text for want in tracker.wants() for text in want.texts]
    assert [("tickers.BTCUSDT" in text) for text in asked] == ([True] * 2 if instrument is BYBIT else [])


def test_what_streams_there_are_of_spot_and_contracts() -> None:
    spot, swap, dated = (Instrument("okx", name) for name in ("BTC-USDT", "BTC-USDT-SWAP", "BTC-USDT-270326"))
    venue = venue_named("okx")
    (opening,) = venue.openings([Subscription(each, WANTED) for each in (spot, swap, dated)])
    arguments = [argument for text in opening.texts for argument in orjson.loads(text)["args"]]
    shown = {"funding-rate", "liquidation-orders", "index-tickers"}
    assert [each for each in arguments if each["channel"] in shown] == [
        {"channel": "index-tickers", "instId": "BTC-USDT"},
        {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"},
        {"channel": "liquidation-orders", "instType": "SWAP"},
        {"channel": "liquidation-orders", "instType": "FUTURES"},
    ]  # fmt: skip
    assert [each.channels for each in opening.subscriptions] == [frozenset({Channel.TRADES}), WANTED, WANTED]
