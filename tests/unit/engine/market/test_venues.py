"""The venues' own rules, one by one, in messages written by hand."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.listings import OrderRules
from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event, Instrument, Trade
from raysignal.engine.market.venues import binance, bybit, okx, tracker
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.names import VENUE_NAMES
from raysignal.engine.market.venues.protocol import Subscription, Tracker, Venue, told_by_books

SPOT_BTC = Instrument("binance", "BTCUSDT", 2, 3)
USDM_BTC = Instrument("binance-usdm", "BTCUSDT", 2, 3)
OKX_BTC = Instrument("okx", "BTC-USDT", 1, 2)
BYBIT_BTC = Instrument("bybit", "BTCUSDT", 2, 3)
DEPTH = frozenset({Channel.DEPTH})


def test_the_names_that_settings_know_are_the_venues_that_there_are():
    assert sorted(VENUES) == list(VENUE_NAMES)


def follow(venue: Venue, instrument: Instrument) -> Tracker:
    return venue.tracker([Subscription(instrument, DEPTH)])


def raw(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def spot(first: int, last: int, bid: str = "100.00", size: str = "1") -> bytes:
    data = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": first, "u": last, "b": [[bid, size]], "a": []}
    return raw({"stream": "btcusdt@depth@100ms", "data": data})


def usdm(first: int, last: int, previous: int) -> bytes:
    data = {
        "e": "depthUpdate", "E": 5, "T": 4, "s": "BTCUSDT", "U": first, "u": last, "pu": previous,
        "b": [["100.00", "1"]], "a": [],
    }  # fmt: skip
    return raw({"stream": "btcusdt@depth@100ms", "data": data})


def rest(last: int) -> bytes:
    return raw({"lastUpdateId": last, "bids": [["99.00", "3"]], "asks": [["101.00", "2"]]})


def of_okx(
    previous: int, last: int, *, action: str = "update", bids: Any = (("100.0", "1", "0", "1"),)
) -> bytes:
    book = {"asks": [], "bids": bids, "ts": "5", "checksum": 0, "prevSeqId": previous, "seqId": last}
    return raw({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [book]})


def of_bybit(update: int, *, kind: str = "delta", bids: Any = (("100.00", "1"),)) -> bytes:
    data = {"s": "BTCUSDT", "b": bids, "a": [], "u": update, "seq": 9_000 + update}
    return raw({"topic": "orderbook.200.BTCUSDT", "type": kind, "ts": 5, "data": data, "cts": 4})


OKX_ACK = raw({"event": "subscribe", "arg": {"channel": "books", "instId": "BTC-USDT"}, "connId": "a"})


def kinds(events: Any) -> list[str]:
    return [event.reason if isinstance(event, BookLost) else type(event).__name__ for event in events]


def test_a_snapshot_is_wanted_once_the_first_change_is_there() -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    assert not tracker_.wants()
    assert not tracker_.receive(spot(101, 103), 1)
    (want,) = tracker_.wants()
    assert want.request is not None
    assert want.request.path == "/api/v3/depth?symbol=BTCUSDT&limit=1000"
    assert not tracker_.receive(spot(104, 105), 1)
    assert not tracker_.wants()


@pytest.mark.parametrize("snapshot", [100, 101, 102, 103, 104, 105, 200])
def test_spot_begins_with_the_change_that_holds_the_next_id(snapshot: int) -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    tracker_.receive(spot(101, 103), 1)
    tracker_.receive(spot(104, 105, "100.50"), 1)
    (event,) = tracker_.snapshot(SPOT_BTC, rest(snapshot), 1)
    assert isinstance(event, BookChange)
    assert event.update_id == max(snapshot, 105)
    assert tracker_.in_sync(SPOT_BTC)
    assert event.bid == (9_900 if snapshot >= 105 else 10_050)
    after = tracker_.receive(spot(106, 107, "100.60"), 1)
    assert kinds(after) == ([] if snapshot == 200 else ["BookChange"])


def test_a_snapshot_older_than_what_is_kept_wants_another() -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    tracker_.receive(spot(101, 103), 1)
    tracker_.receive(spot(104, 105), 1)
    tracker_.wants()
    events = tracker_.snapshot(SPOT_BTC, rest(99), 1)
    assert kinds(events) == ["stale_snapshot"]
    assert isinstance(events[0], BookLost)
    assert (events[0].expected, events[0].got) == (100, 101)
    assert not tracker_.in_sync(SPOT_BTC)
    assert [want.request is not None for want in tracker_.wants()] == [True]
    assert kinds(tracker_.snapshot(SPOT_BTC, rest(102), 1)) == ["BookChange"]
    assert tracker_.counts["stale_snapshots"] == 1
    assert tracker_.counts["gaps"] == tracker_.counts["resyncs"] == 0


def test_spot_ids_have_no_holes_and_no_overlaps() -> None:
    for first in (105, 107):
        tracker_ = follow(binance.SPOT, SPOT_BTC)
        tracker_.receive(spot(101, 105), 1)
        tracker_.snapshot(SPOT_BTC, rest(102), 1)
        (event,) = tracker_.receive(spot(first, 110), 1)
        assert isinstance(event, BookLost)
        assert (event.reason, event.expected, event.got) == ("gap", 106, first)


def test_a_gap_while_a_snapshot_is_awaited_is_noticed_too() -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    for change in ((101, 103), (107, 109), (110, 111)):
        tracker_.receive(spot(*change), 1)
    tracker_.wants()
    assert kinds(tracker_.snapshot(SPOT_BTC, rest(102), 1)) == ["gap"]
    assert len(tracker_.wants()) == 1
    (event,) = tracker_.snapshot(SPOT_BTC, rest(107), 1)
    assert isinstance(event, BookChange)
    assert event.update_id == 111


def test_a_change_of_the_lost_book_that_the_snapshot_holds_is_passed_over() -> None:
    tracker_ = follow(binance.USDM, USDM_BTC)
    tracker_.receive(usdm(101, 105, 90), 1)
    tracker_.receive(usdm(110, 115, 105), 1)
    assert kinds(tracker_.snapshot(USDM_BTC, rest(112), 1)) == ["BookChange"]
    assert tracker_.counts["stale"] == 1
    assert kinds(tracker_.receive(usdm(130, 131, 115), 1)) == ["BookChange"]
    assert kinds(tracker_.receive(usdm(140, 141, 131), 1)) == ["BookChange"]
    (event,) = tracker_.receive(usdm(160, 161, 150), 1)
    assert isinstance(event, BookLost)
    assert (event.reason, event.expected, event.got) == ("gap", 141, 150)


def test_a_futures_snapshot_between_two_changes_loses_nothing() -> None:
    """Ids between `pu` and `U` are other symbols', so a snapshot there meets the next change without a gap."""
    tracker_ = follow(binance.USDM, USDM_BTC)
    tracker_.receive(usdm(101, 105, 90), 1)
    assert kinds(tracker_.snapshot(USDM_BTC, rest(107), 1)) == ["BookChange"]
    assert kinds(tracker_.receive(usdm(110, 115, 105), 1)) == ["BookChange"]
    assert tracker_.counts["gaps"] == tracker_.counts["stale_snapshots"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'{"code":-1003,"msg":"Too many requests."}', rest(5)[:-3]])
def test_an_answer_that_is_no_snapshot_wants_another(body: bytes) -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    tracker_.receive(spot(101, 103), 1)
    tracker_.wants()
    assert not tracker_.snapshot(SPOT_BTC, body, 1)
    assert len(tracker_.wants()) == 1
    assert tracker_.counts["malformed"] == 1
    assert kinds(tracker_.snapshot(SPOT_BTC, rest(102), 1)) == ["BookChange"]


def test_a_snapshot_that_is_crossed_is_not_used() -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    tracker_.receive(spot(101, 103), 1)
    body = raw({"lastUpdateId": 102, "bids": [["99.00", "3"]], "asks": [["98.00", "2"]]})
    assert kinds(tracker_.snapshot(SPOT_BTC, body, 1)) == ["crossed"]
    assert not tracker_.in_sync(SPOT_BTC)


def test_a_snapshot_that_nobody_waits_for_changes_nothing() -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    tracker_.receive(spot(101, 103), 1)
    tracker_.snapshot(SPOT_BTC, rest(102), 1)
    assert not tracker_.snapshot(SPOT_BTC, rest(50), 1)
    assert kinds(tracker_.receive(spot(104, 104), 1)) == ["BookChange"]


def test_what_is_kept_for_a_snapshot_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "MOST_WAITING", 10)
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    for number in range(101, 151):
        tracker_.receive(spot(number, number), 1)
    tracker_.wants()
    assert kinds(tracker_.snapshot(SPOT_BTC, rest(120), 1)) == ["stale_snapshot"]
    assert kinds(tracker_.snapshot(SPOT_BTC, rest(141), 1)) == ["BookChange"]
    assert kinds(tracker_.receive(spot(151, 151), 1)) == ["BookChange"]


def test_futures_trades_of_nothing_are_passed_over() -> None:
    tracker_ = binance.USDM.tracker([Subscription(USDM_BTC)])
    data = {"e": "trade", "E": 2, "T": 1, "s": "BTCUSDT", "t": 5, "p": "0", "q": "0", "X": "NA", "m": True}
    assert not tracker_.receive(raw({"stream": "btcusdt@trade", "data": data}), 1)
    assert tracker_.counts["unknown"] == 1
    data |= {"p": "61800.30", "q": "0.006", "X": "MARKET"}
    (trade,) = tracker_.receive(raw({"stream": "btcusdt@trade", "data": data}), 1)
    assert isinstance(trade, Trade)
    assert (trade.trade_id, trade.price, trade.size, trade.side) == ("5", 6_180_030, 6, -1)


def okx_live() -> Tracker:
    tracker_ = follow(okx.OKX, OKX_BTC)
    tracker_.receive(OKX_ACK, 1)
    assert kinds(tracker_.receive(of_okx(-1, 50, action="snapshot"), 1)) == ["BookChange"]
    return tracker_


def test_an_okx_heartbeat_changes_nothing() -> None:
    tracker_ = okx_live()
    for _ in range(2):
        assert not tracker_.receive(of_okx(50, 50, bids=[]), 1)
    assert kinds(tracker_.receive(of_okx(50, 57), 1)) == ["BookChange"]
    assert tracker_.counts["gaps"] == tracker_.counts["stale"] == 0


def test_okx_ids_may_start_anew_after_maintenance() -> None:
    tracker_ = okx_live()
    assert kinds(tracker_.receive(of_okx(50, 3), 1)) == ["BookChange"]
    assert kinds(tracker_.receive(of_okx(3, 5), 1)) == ["BookChange"]


def test_okx_ids_after_a_restart_that_was_lost_are_not_taken_for_old_ones() -> None:
    (event,) = okx_live().receive(of_okx(3, 5), 1)
    assert isinstance(event, BookLost)
    assert (event.reason, event.expected, event.got) == ("gap", 50, 3)


def test_okx_asks_for_a_fresh_subscription_after_a_gap() -> None:
    tracker_ = okx_live()
    assert kinds(tracker_.receive(of_okx(55, 57), 1)) == ["gap"]
    (want,) = tracker_.wants()
    assert [json.loads(text)["op"] for text in want.texts] == ["unsubscribe", "subscribe"]
    assert json.loads(want.texts[1])["args"] == [{"channel": "books", "instId": "BTC-USDT"}]
    assert not tracker_.receive(of_okx(57, 58), 1)  # of the old subscription
    assert not tracker_.wants()
    tracker_.receive(OKX_ACK, 1)
    assert kinds(tracker_.receive(of_okx(-1, 60, action="snapshot"), 1)) == ["BookChange"]
    assert tracker_.counts["resyncs"] == 1


def test_okx_without_a_snapshot_on_the_stream_is_asked_for_one() -> None:
    tracker_ = follow(okx.OKX, OKX_BTC)
    tracker_.receive(OKX_ACK, 1)
    for previous, last in ((50, 52), (52, 60)):
        assert not tracker_.receive(of_okx(previous, last), 1)
    (want,) = tracker_.wants()
    assert want.request is not None
    assert want.request.path == "/api/v5/market/books?instId=BTC-USDT&sz=400"
    book = {"asks": [["101.0", "1", "0", "1"]], "bids": [], "ts": "5", "seqId": 49}
    assert kinds(tracker_.snapshot(OKX_BTC, raw({"code": "0", "msg": "", "data": [book]}), 1)) == [
        "stale_snapshot"
    ]
    assert [want.request is not None for want in tracker_.wants()] == [True]
    tracker_.receive(of_okx(60, 61), 1)
    book["seqId"] = 55  # within the second change
    (event,) = tracker_.snapshot(OKX_BTC, raw({"code": "0", "msg": "", "data": [book]}), 1)
    assert isinstance(event, BookChange)
    assert (event.update_id, event.bid, event.ask) == (61, 1000, 1010)
    assert kinds(tracker_.receive(of_okx(61, 62), 1)) == ["BookChange"]


def test_a_bybit_snapshot_replaces_at_any_time_also_after_a_restart() -> None:
    tracker_ = follow(bybit.SPOT, BYBIT_BTC)
    for update, kind in (
        (70, "snapshot"),
        (71, "delta"),
        (30, "snapshot"),
        (31, "delta"),
        (1, "delta"),
        (2, "delta"),
    ):
        (event,) = tracker_.receive(of_bybit(update, kind=kind, bids=[[f"{update}.00", "1"]]), 1)
        assert isinstance(event, BookChange)
        assert event.update_id == 9_000 + update
    assert tracker_.book(BYBIT_BTC).counts == (2, 0)
    assert tracker_.counts["gaps"] == 0


def test_bybit_ids_after_a_restart_that_was_lost_are_not_taken_for_old_ones() -> None:
    tracker_ = follow(bybit.SPOT, BYBIT_BTC)
    tracker_.receive(of_bybit(70, kind="snapshot"), 1)
    (event,) = tracker_.receive(of_bybit(2), 1)
    assert isinstance(event, BookLost)
    assert (event.reason, event.expected, event.got) == ("gap", 71, 2)
    (want,) = tracker_.wants()
    assert [json.loads(text)["op"] for text in want.texts] == ["unsubscribe", "subscribe"]


@pytest.mark.parametrize(
    ("venue", "instrument", "pong"),
    [
        (okx.OKX, OKX_BTC, b"pong"),
        (bybit.SPOT, BYBIT_BTC, b'{"success":true,"ret_msg":"pong","conn_id":"a","op":"ping"}'),
    ],
)
def test_a_pong_says_nothing(venue: Venue, instrument: Instrument, pong: bytes) -> None:
    tracker_ = follow(venue, instrument)
    assert not tracker_.receive(pong, 1)
    assert tracker_.counts["malformed"] == tracker_.counts["unknown"] == tracker_.counts["refused"] == 0


def test_several_trades_in_one_message_are_several_events() -> None:
    rows = [
        {"T": 7 + k, "s": "BTCUSDT", "S": side, "v": "0.5", "p": "100.25", "i": f"id-{k}", "seq": 5}
        for k, side in enumerate(("Buy", "Sell", "Buy"))
    ]
    message = raw({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 9, "data": rows})
    events: list[Event] = list(bybit.SPOT.tracker([Subscription(BYBIT_BTC)]).receive(message, 3))
    assert events == [
        Trade(BYBIT_BTC, f"id-{k}", 10_025, 500, side, 1000 * (7 + k), 3) for k, side in enumerate((1, -1, 1))
    ]


def test_usdm_books_and_trades_are_opened_apart() -> None:
    openings = binance.USDM.openings([Subscription(USDM_BTC, frozenset(Channel))])
    assert [opening.path for opening in openings] == [
        "/public/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker",
        "/market/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m/btcusdt@markPrice@1s/btcusdt@forceOrder",
    ]


def test_two_subscriptions_for_one_symbol_are_refused() -> None:
    with pytest.raises(ValueError, match="two subscriptions"):
        binance.SPOT.tracker([Subscription(SPOT_BTC), Subscription(SPOT_BTC)])


def test_instruments_are_read_as_each_venue_lists_them() -> None:
    filters = [{"filterType": "LOT_SIZE", "stepSize": "0.00100000"}]
    listed = raw(
        {"symbols": [{"symbol": "X"}, {"symbol": "BTCUSDT", "quotePrecision": 8, "filters": filters}]}
    )
    assert binance.SPOT.read_instruments(["BTCUSDT"], listed) == [Instrument("binance", "BTCUSDT", 8, 3)]
    row = {"symbol": "BTCUSD_PERP", "pricePrecision": 1, "quantityPrecision": 0, "contractSize": 100}
    assert binance.COINM.read_instruments(["BTCUSD_PERP"], raw({"symbols": [row]})) == [
        Instrument("binance-coinm", "BTCUSD_PERP", 1, 0, Decimal(100), inverse=True)
    ]
    row = {
        "instId": "BTC-USDT-SWAP",
        "tickSz": "0.1",
        "lotSz": "0.01",
        "ctVal": "0.01",
        "ctMult": "1",
        "ctType": "linear",
    }
    assert okx.OKX.read_instruments(["BTC-USDT-SWAP"], raw({"code": "0", "data": [row]})) == [
        Instrument("okx", "BTC-USDT-SWAP", 1, 2, Decimal("0.01"))
    ]
    row = {"symbol": "BTCUSDT", "priceFilter": {"tickSize": "0.10"}, "lotSizeFilter": {"qtyStep": "0.001"}}
    body = raw({"retCode": 0, "retMsg": "OK", "result": {"list": [row]}})
    assert bybit.LINEAR.read_instruments(["BTCUSDT"], body) == [Instrument("bybit-linear", "BTCUSDT", 1, 3)]
    for venue, answer in (
        (binance.SPOT, listed),
        (okx.OKX, raw({"code": "0", "data": []})),
        (bybit.LINEAR, body),
    ):
        with pytest.raises(InvalidField, match="symbol is 'NOPE'"):
            venue.read_instruments(["NOPE"], answer)


def okx_row(symbol: str, **more: str) -> dict[str, str]:
    return {"instId": symbol, "tickSz": "0.1", "lotSz": "1", "ctVal": "100", "ctMult": "1", **more}


@pytest.mark.parametrize(("kind", "inverse"), [("linear", False), ("inverse", True)])
def test_okx_says_itself_whether_a_contract_is_inverse(kind: str, inverse: bool) -> None:
    body = raw({"code": "0", "data": [okx_row("BTC-USD-SWAP", ctType=kind)]})
    (found,) = okx.OKX.read_instruments(["BTC-USD-SWAP"], body)
    assert (found.inverse, found.contract_size) == (inverse, 100)
    if inverse:
        with pytest.raises(InvalidField, match="inverse"):
            okx.OKX.read_listings(["BTC-USD-SWAP"], body)


@pytest.mark.parametrize(
    "more", [{}, {"ctType": ""}, {"ctType": "quanto"}, {"ctType": "linear", "ctVal": "0"}]
)
def test_a_contract_of_okx_of_no_known_kind_or_size_is_not_read(more: dict[str, str]) -> None:
    body = raw({"code": "0", "data": [okx_row("BTC-USD-SWAP", **more)]})
    with pytest.raises(UnreadableInput, match=r"BTC-USD-SWAP|ctType"):
        okx.OKX.read_instruments(["BTC-USD-SWAP"], body)


def test_a_futures_contract_that_is_margined_in_its_base_asset_is_inverse() -> None:
    row = {"symbol": "BTCUSD", "pricePrecision": 1, "quantityPrecision": 0, "baseAsset": "BTC"}
    for margin, inverse in (("BTC", True), ("USDT", False)):
        body = raw({"symbols": [row | {"marginAsset": margin}]})
        assert binance.USDM.read_instruments(["BTCUSD"], body)[0].inverse is inverse
    body = raw(
        {"retCode": 0, "result": {"list": [
            {"symbol": "BTCUSD", "contractType": "InversePerpetual", "priceFilter": {"tickSize": "0.10"},
             "lotSizeFilter": {"qtyStep": "1"}},
        ]}}
    )  # fmt: skip
    assert bybit.LINEAR.read_instruments(["BTCUSD"], body)[0].inverse


def exact(*values: str | None) -> tuple[Decimal | None, ...]:
    return tuple(None if value is None else Decimal(value) for value in values)


def rules_of(rules: OrderRules) -> tuple[Decimal | None, ...]:
    return rules.step, rules.least, rules.most, rules.least_value, rules.most_value


def test_the_order_rules_of_binance_are_its_filters() -> None:
    """As api.binance.com and fapi.binance.com answer for BTCUSDT."""
    price = {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000",
             "tickSize": "0.01000000"}  # fmt: skip
    lot = {
        "filterType": "LOT_SIZE",
        "minQty": "0.00001000",
        "maxQty": "9000.00000000",
        "stepSize": "0.00001000",
    }
    market = {
        "filterType": "MARKET_LOT_SIZE",
        "minQty": "0.00000000",
        "maxQty": "92.76",
        "stepSize": "0.00000000",
    }
    notional = {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
                "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5}  # fmt: skip
    row = {"symbol": "BTCUSDT", "status": "TRADING", "quotePrecision": 8,
           "filters": [price, lot, {"filterType": "ICEBERG_PARTS", "limit": 10}, market, notional]}  # fmt: skip
    (listing,) = binance.SPOT.read_listings(["BTCUSDT"], raw({"symbols": [row]}))
    assert (listing.price_step, listing.least_price, listing.most_price) == exact("0.01", "0.01", "1000000")
    assert rules_of(listing.limit) == exact("0.00001", "0.00001", "9000", "5", "9000000")
    assert rules_of(listing.market) == exact("0.00001", "0.00001", "92.76", "5", None)
    assert (listing.halted, listing.shorts) == ("", False)
    (halted,) = binance.SPOT.read_listings(["BTCUSDT"], raw({"symbols": [row | {"status": "BREAK"}]}))
    assert halted.halted == "BREAK"
    price = {"filterType": "PRICE_FILTER", "minPrice": "556.80", "maxPrice": "4529764", "tickSize": "0.10"}
    lot = {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"}
    market = {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"}
    row = {"symbol": "BTCUSDT", "status": "TRADING", "pricePrecision": 2, "quantityPrecision": 3,
           "filters": [price, lot, market, {"filterType": "MIN_NOTIONAL", "notional": "100"}]}  # fmt: skip
    (listing,) = binance.USDM.read_listings(["BTCUSDT"], raw({"symbols": [row]}))
    assert (listing.price_step, listing.least_price, listing.most_price) == exact("0.1", "556.8", "4529764")
    assert rules_of(listing.limit) == exact("0.001", "0.001", "1000", "100", None)
    assert rules_of(listing.market) == exact("0.001", "0.001", "120", "100", None)
    assert listing.shorts


def test_the_order_rules_of_okx_and_bybit_are_those_that_they_list() -> None:
    row = {"instId": "BTC-USDT", "tickSz": "0.1", "lotSz": "0.00000001", "minSz": "0.00001", "maxLmtSz": "9999999999",
           "maxMktSz": "1000000", "state": "live"}  # fmt: skip
    (listing,) = okx.OKX.read_listings(["BTC-USDT"], raw({"code": "0", "data": [row]}))
    assert rules_of(listing.limit) == exact("0.00000001", "0.00001", "9999999999", "0", None)
    assert rules_of(listing.market) == exact("0.00000001", "0.00001", None, "0", "1000000")
    assert not listing.shorts
    swap = row | {"instId": "BTC-USDT-SWAP", "lotSz": "0.01", "minSz": "0.01", "maxMktSz": "12000",
                  "ctType": "linear", "ctVal": "0.01", "ctMult": "1", "state": "suspend"}  # fmt: skip
    (listing,) = okx.OKX.read_listings(["BTC-USDT-SWAP"], raw({"code": "0", "data": [swap]}))
    assert rules_of(listing.market) == exact("0.01", "0.01", "12000", "0", None)
    assert (listing.halted, listing.shorts) == ("suspend", True)
    row = {"symbol": "BTCUSDT", "status": "Trading", "priceFilter": {"tickSize": "0.01"},
           "lotSizeFilter": {"basePrecision": "0.000001", "quotePrecision": "0.0000001", "minOrderQty": "0.000048",
                             "maxOrderQty": "71.7", "minOrderAmt": "5", "maxOrderAmt": "4000000",
                             "maxLimitOrderQty": "83", "maxMarketOrderQty": "41.5"}}  # fmt: skip
    body = raw({"retCode": 0, "result": {"list": [row]}})
    (listing,) = bybit.SPOT.read_listings(["BTCUSDT"], body)
    assert rules_of(listing.limit) == exact("0.000001", "0.000001", "83", "5", "4000000")
    assert rules_of(listing.market) == exact("0.000001", "0.000001", "41.5", "5", "4000000")
    assert not listing.shorts
    row = {"symbol": "BTCUSDT", "status": "PreLaunch", "contractType": "LinearPerpetual",
           "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
           "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "1190.000",
                             "maxMktOrderQty": "500.000", "minNotionalValue": "5"}}  # fmt: skip
    (listing,) = bybit.LINEAR.read_listings(["BTCUSDT"], raw({"retCode": 0, "result": {"list": [row]}}))
    assert (listing.price_step, listing.least_price, listing.most_price) == exact("0.1", "0.1", "1999999.8")
    assert rules_of(listing.limit) == exact("0.001", "0.001", "1190", "5", None)
    assert rules_of(listing.market) == exact("0.001", "0.001", "500", "5", None)
    assert (listing.halted, listing.shorts) == ("PreLaunch", True)


@pytest.mark.parametrize("step", ["-0.01", "1e-2", "", "NaN", 0.01, "٣"])
def test_a_rule_that_is_no_amount_is_not_read(step: object) -> None:
    row = {"instId": "BTC-USDT", "tickSz": "0.1", "lotSz": "0.01", "minSz": "0.01", "maxLmtSz": step or "x"}
    with pytest.raises(UnreadableInput, match="is no amount"):
        okx.OKX.read_listings(["BTC-USDT"], raw({"code": "0", "data": [row]}))


def test_symbols_of_several_okx_types_are_not_asked_for_at_once() -> None:
    assert okx.OKX.instruments_request(["BTC-USDT"]).path.endswith("instType=SPOT&instId=BTC-USDT")
    assert okx.OKX.instruments_request(["BTC-USD-261225", "ETH-USD-261225"]).path.endswith("instType=FUTURES")
    with pytest.raises(InvalidField, match="one type"):
        okx.OKX.instruments_request(["BTC-USDT", "BTC-USDT-SWAP"])


def test_klines_are_read_oldest_first_and_the_last_may_still_change() -> None:
    minute = 60_000_000
    spot_rows = raw([[1000 * 60 * k, "1.00", "3.00", "0.50", "2.00", "7", 0, "0", 4 + k] for k in range(2)])
    okx_rows = raw(
        {
            "code": "0",
            "data": [
                [str(60_000 * k), "1.0", "3.0", "0.5", "2.0", "7", "0", "0", str(1 - k)] for k in (1, 0)
            ],
        }
    )
    bybit_rows = raw(
        {
            "retCode": 0,
            "result": {"list": [[str(60_000 * k), "1.00", "3.00", "0.50", "2.00", "7", "0"] for k in (1, 0)]},
        }
    )
    for venue, instrument, body in (
        (binance.SPOT, SPOT_BTC, spot_rows), (okx.OKX, OKX_BTC, okx_rows), (bybit.SPOT, BYBIT_BTC, bybit_rows),
    ):  # fmt: skip
        bars = venue.read_klines(instrument, minute, body, 119_000_000)
        assert [bar.open_us for bar in bars] == [0, minute]
        assert [bar.closed for bar in bars] == [True, False]
        assert [
            instrument.price(price) for price in (bars[0].open, bars[0].high, bars[0].low, bars[0].close)
        ] == [1, 3, 0.5, 2]
        assert instrument.size(bars[0].volume) == 7
        assert venue.klines_request(instrument, minute, 120_000_000, 50).path.startswith("/")
    with pytest.raises(UnreadableInput, match="high and low"):
        binance.SPOT.read_klines(
            SPOT_BTC, minute, raw([[0, "5.00", "3.00", "0.50", "2.00", "7", 0, "0", 4]]), 0
        )


@pytest.mark.parametrize(
    ("venue", "told"),
    [
        ("binance", True),
        ("binance-usdm", False),  # two connections
        ("okx", False),  # asked for by a text, once the connection is there
        ("bybit", False),
    ],
)
def test_books_say_that_trades_are_seen_only_where_one_opening_asks_for_both(venue: str, told: bool) -> None:
    channels = frozenset({Channel.DEPTH, Channel.TRADES})
    instruments = [Instrument(venue, symbol) for symbol in ("BTCUSDT", "ETHUSDT")]
    openings = venue_named(venue).openings([Subscription(each, channels) for each in instruments])
    assert [told_by_books(each, openings) for each in instruments] == [told, told]
    assert not told_by_books(Instrument(venue, "XRPUSDT"), openings)


SHORT = replace(binance.SPOT, depth_limit=4)
"""A venue whose snapshots show four levels of a side."""


def change_of(first: int, last: int, bids: Any = (), asks: Any = ()) -> bytes:
    data = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    return raw({"stream": "btcusdt@depth@100ms", "data": data})


def four_levels(last: int, best_bid: int) -> bytes:
    bids = [[f"{best_bid - step}.00", "1"] for step in range(4)]
    asks = [[f"{best_bid + 1 + step}.00", "1"] for step in range(4)]
    return raw({"lastUpdateId": last, "bids": bids, "asks": asks})


def test_a_book_is_known_as_far_as_its_snapshot_and_asked_for_anew_before_the_price_is_there() -> None:
    tracker_ = follow(SHORT, SPOT_BTC)
    tracker_.receive(change_of(101, 103), 1)
    tracker_.wants()
    tracker_.snapshot(SPOT_BTC, four_levels(102, 100), 1)
    assert tracker_.known(SPOT_BTC) == (9_700, 10_400)
    tracker_.receive(change_of(104, 104, [["100.00", "0"], ["99.00", "0"]]), 1)
    assert not tracker_.wants()  # 98, and 97.75 is where a quarter is left
    assert kinds(tracker_.receive(change_of(105, 105, [["98.00", "0"]]), 1)) == ["BookChange"]
    (want,) = tracker_.wants()
    assert want.request is not None
    assert tracker_.in_sync(SPOT_BTC)
    assert kinds(tracker_.receive(change_of(106, 106, [["96.50", "7"]]), 1)) == ["BookChange"]
    assert not tracker_.wants()
    (event,) = tracker_.snapshot(SPOT_BTC, four_levels(105, 97), 1)
    assert isinstance(event, BookChange)
    assert (event.update_id, event.bid) == (106, 9_700)
    assert tracker_.book(SPOT_BTC).levels(0)[0].tolist() == [9_700, 9_650, 9_600, 9_500, 9_400]
    assert tracker_.known(SPOT_BTC) == (9_400, 10_100)
    assert kinds(tracker_.receive(change_of(107, 108), 1)) == ["BookChange"]
    assert not tracker_.wants()
    counts = tracker_.counts
    assert (counts["refreshes"], counts["gaps"], counts["resyncs"], counts["stale_snapshots"]) == (1, 0, 0, 0)


def test_a_snapshot_that_cannot_be_read_leaves_the_book_that_it_was_to_refresh() -> None:
    tracker_ = follow(SHORT, SPOT_BTC)
    tracker_.receive(change_of(101, 103), 1)
    tracker_.snapshot(SPOT_BTC, four_levels(102, 100), 1)
    tracker_.receive(change_of(104, 104, asks=[[f"{101 + step}.00", "0"] for step in range(3)]), 1)
    tracker_.wants()
    assert not tracker_.snapshot(SPOT_BTC, b"<html>", 1)
    assert tracker_.in_sync(SPOT_BTC)
    assert len(tracker_.wants()) == 1
    assert kinds(tracker_.snapshot(SPOT_BTC, four_levels(104, 102), 1)) == ["BookChange"]
    assert tracker_.known(SPOT_BTC) == (9_900, 10_600)


def test_a_snapshot_that_shows_less_than_it_could_is_the_whole_book() -> None:
    tracker_ = follow(binance.SPOT, SPOT_BTC)
    tracker_.receive(spot(101, 103), 1)
    tracker_.snapshot(SPOT_BTC, rest(102), 1)
    assert tracker_.known(SPOT_BTC) == (0, 0)


def best_of(update_id: int, bid: str, ask: str) -> bytes:
    data = {"u": update_id, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "2"}
    return raw({"stream": "btcusdt@bookTicker", "data": data})


def held_against_the_venue() -> Tracker:
    tracker_ = binance.SPOT.tracker([Subscription(SPOT_BTC, DEPTH | {Channel.QUOTES})])
    tracker_.receive(spot(101, 103), 1)
    tracker_.snapshot(SPOT_BTC, rest(102), 1)
    return tracker_


def test_a_book_is_held_against_the_venues_own_best_prices_of_the_same_update() -> None:
    tracker_ = held_against_the_venue()
    tracker_.receive(best_of(103, "100.00", "101.00"), 1)  # after the book
    tracker_.receive(best_of(104, "99.50", "101.00"), 1)  # of an update within the next message
    tracker_.receive(best_of(105, "100.20", "101.00"), 1)  # before the book
    tracker_.receive(spot(104, 105, "100.20"), 1)
    assert (tracker_.counts["agreed"], tracker_.counts["differed"]) == (2, 0)
    for number in range(106, 3_000):
        tracker_.receive(best_of(10 * number, "100.20", "101.00"), 1)
    assert len(tracker_._followed["BTCUSDT"].book.quotes) <= 1_024  # type: ignore[attr-defined]


def test_a_book_that_differs_from_the_venues_best_prices_again_and_again_is_given_up() -> None:
    tracker_ = held_against_the_venue()
    for number in (104, 105):
        tracker_.receive(spot(number, number), 1)
        assert kinds(tracker_.receive(best_of(number, "100.10", "101.00"), 1)) == ["Quote"]
    tracker_.receive(spot(106, 106), 1)
    assert kinds(tracker_.receive(best_of(106, "100.00", "101.00"), 1)) == ["Quote"]  # right: it begins anew
    for number in (107, 108):
        tracker_.receive(spot(number, number), 1)
        tracker_.receive(best_of(number, "100.10", "101.00"), 1)
    tracker_.receive(best_of(109, "100.10", "101.00"), 1)
    assert kinds(tracker_.receive(spot(109, 109), 1)) == ["BookChange", "differs"]
    assert not tracker_.in_sync(SPOT_BTC)
    assert (tracker_.counts["agreed"], tracker_.counts["differed"]) == (1, 5)
    tracker_.receive(spot(110, 110), 1)
    assert len(tracker_.wants()) == 1
