"""What each venue lists, in rows as the venues write them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.listings import ContractKind, ListedSymbol
from raysignal.engine.core.market_events import FundingRate, Instrument
from raysignal.engine.market.feed import symbols_of
from raysignal.engine.market.venues import binance, bybit, okx
from raysignal.engine.market.venues.catalogue import VENUES
from raysignal.engine.market.venues.protocol import RestRequest, Venue

MAY_US = 1_714_521_600_000_000
SPAN = "symbol=BTCUSDT&startTime=1714521600000&endTime=1714608000000"


def raw(message: Any) -> bytes:
    return json.dumps(message).encode()


def binance_row(symbol: str, **more: object) -> dict[str, object]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.002"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ]
    row = {"symbol": symbol, "baseAsset": "BTC", "quoteAsset": "USDT", "filters": filters}
    return {**row, "status": "TRADING", **more}


def bybit_row(symbol: str, **more: object) -> dict[str, object]:
    lot = {"qtyStep": "0.001", "minOrderQty": "0.001", "minNotionalValue": "5"}
    return {
        "symbol": symbol, "contractType": "LinearPerpetual", "status": "Trading",
        "baseCoin": "BTC", "quoteCoin": "USDT",
        "priceFilter": {"tickSize": "0.10"}, "lotSizeFilter": lot, **more,
    }  # fmt: skip


def okx_row(symbol: str, **more: object) -> dict[str, object]:
    return {
        "instId": symbol, "instFamily": "BTC-USD", "tickSz": "0.1", "lotSz": "1", "minSz": "1", "ctVal": "100",
        "ctMult": "1", "ctType": "inverse", "state": "live", **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("venue", "body", "kind", "inverse", "contract_size", "status"),
    [
        (binance.SPOT, {"symbols": [binance_row("BTCUSDT", status="BREAK")]}, "spot", False, 1, "BREAK"),
        (binance.USDM, {"symbols": [binance_row("BTCUSDT", contractType="PERPETUAL", marginAsset="USDT")]},
         "perpetual", False, 1, "trading"),
        (binance.USDM, {"symbols": [binance_row("X", contractType="TRADIFI_PERPETUAL")]},
         "perpetual", False, 1, "trading"),
        (binance.USDM, {"symbols": [binance_row("BTCUSDT_261225", contractType="CURRENT_QUARTER")]},
         "future", False, 1, "trading"),
        (binance.COINM,
         {"symbols": [binance_row("BTCUSD_PERP", contractType="PERPETUAL", contractSize=100,
                                  contractStatus="SETTLING")]},
         "perpetual", True, 100, "SETTLING"),
        (okx.OKX, {"code": "0", "data": [okx_row("BTC-USD-SWAP")]}, "perpetual", True, 100, "trading"),
        (okx.OKX, {"code": "0", "data": [okx_row("BTC-USD-261225")]}, "future", True, 100, "trading"),
        (okx.OKX, {"code": "0", "data": [okx_row("BTC-USD", instFamily="", ctVal="", ctType="", state="suspend")]},
         "spot", False, 1, "suspend"),
        (bybit.LINEAR, {"retCode": 0, "result": {"list": [bybit_row("BTCUSDT")]}}, "perpetual", False, 1, "trading"),
        (bybit.LINEAR, {"retCode": 0, "result": {"list": [bybit_row("BTC-26DEC25", contractType="LinearFutures")]}},
         "future", False, 1, "trading"),
    ],
)  # fmt: skip
def test_a_venues_list_says_what_each_symbol_is(
    venue: Venue, body: object, kind: str, inverse: bool, contract_size: int, status: str
) -> None:
    (found,) = venue.read_symbols(raw(body))
    assert (found.kind, found.inverse, found.contract_size) == (kind, inverse, contract_size)
    assert (found.base, found.status) == ("BTC", status)
    assert found.price_step == Decimal("0.1")


def test_tick_lot_and_least_order_are_exact() -> None:
    (found,) = binance.USDM.read_symbols(raw({"symbols": [binance_row("BTCUSDT", contractType="PERPETUAL")]}))
    assert found == ListedSymbol(
        "BTCUSDT", ContractKind.PERPETUAL, inverse=False, base="BTC", quote="USDT", price_step=Decimal("0.10"),
        size_step=Decimal("0.001"), least_size=Decimal("0.002"), least_value=Decimal(100), contract_size=Decimal(1),
        status="trading",
    )  # fmt: skip


@pytest.mark.parametrize("venue", VENUES.values(), ids=list(VENUES))
@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"null", b"{}", b"[]", b'{"symbols":[{}]}', b'{"code":"0","data":[{}]}',
        b'{"retCode":0,"result":{"list":[{}]}}',
    ],
)  # fmt: skip
def test_a_list_or_funding_that_cannot_be_read_is_refused(venue: Venue, body: bytes) -> None:
    with pytest.raises(UnreadableInput):
        venue.read_symbols(body)
    if body != b"[]":
        with pytest.raises(UnreadableInput):
            venue.read_funding(Instrument(venue.name, "BTCUSDT"), body)


class Pages:
    """A venue's REST side that answers by path."""

    def __init__(self, bodies: dict[str, object]) -> None:
        self.bodies = bodies

    async def get(self, request: RestRequest, *, tries: int | None = None) -> bytes:  # noqa: ARG002
        return raw(self.bodies[request.path])


async def test_a_list_of_several_pages_is_read_to_its_end() -> None:
    path = "/v5/market/instruments-info?category=linear&limit=1000"
    pages = Pages(
        {
            path: {"retCode": 0, "result": {"list": [bybit_row("B")], "nextPageCursor": "a=1%2"}},
            f"{path}&cursor=a%3D1%252": {"retCode": 0, "result": {"list": [bybit_row("A")], "nextPageCursor": ""}},
        }
    )  # fmt: skip
    assert [each.symbol for each in await symbols_of(bybit.LINEAR, pages)] == ["A", "B"]


@pytest.mark.parametrize(
    ("venue", "path", "body"),
    [
        (
            binance.USDM, f"/fapi/v1/fundingRate?{SPAN}&limit=1000",
            [{"symbol": "BTCUSDT", "fundingTime": 1714521600005, "fundingRate": "0.00010000", "markPrice": "1"},
             {"symbol": "BTCUSDT", "fundingTime": 1714550400000, "fundingRate": "-0.00002500", "markPrice": ""}],
        ),
        (
            bybit.LINEAR, f"/v5/market/funding/history?category=linear&{SPAN}&limit=200",
            {"retCode": 0, "result": {"list": [
                {"symbol": "BTCUSDT", "fundingRate": "-0.000025", "fundingRateTimestamp": "1714550400000"},
                {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": "1714521600005"}]}},
        ),
        (
            okx.OKX, "/api/v5/public/funding-rate-history?instId=BTCUSDT&after=1714608000001&limit=100",
            {"code": "0", "data": [
                {"fundingRate": "0.5", "realizedRate": "-0.000025", "fundingTime": "1714550400000"},
                {"fundingRate": "0.0001", "realizedRate": "", "fundingTime": "1714521600005"}]},
        ),
    ],
)  # fmt: skip
def test_funding_is_asked_for_and_read_as_each_venue_writes_it(venue: Venue, path: str, body: object) -> None:
    instrument = Instrument(venue.name, "BTCUSDT")
    request = venue.funding_request(instrument, MAY_US, MAY_US + 86_400_000_001)
    assert request.path == path
    assert venue.read_funding(instrument, raw(body)) == [
        FundingRate(instrument, MAY_US + 5_000, Decimal("0.0001")),
        FundingRate(instrument, MAY_US + 8 * 3_600_000_000, Decimal("-0.000025")),
    ]
