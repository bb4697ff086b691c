"""Binance: spot, USD-M futures and COIN-M futures, which differ in addresses, rule and how instruments are listed.

Rules for the order book, from developers.binance.com ("How to manage a local order book correctly"): changes are kept
until a snapshot is there; on spot the first has U <= lastUpdateId + 1 <= u and each next one U == last u + 1, on
futures each one's `pu` is the last `u`. Since April 2026 USD-M serves books and best prices under `/public`, trades and
klines under `/market`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.listings import Listing, OrderRules
from raysignal.engine.core.market_events import Channel, Instrument, Kline
from raysignal.engine.market.shapes import Elsewhere, Form, RowSlot, Slot, Value, ValueUse
from raysignal.engine.market.venues.numbers import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    amount_in,
    answer,
    check_limit,
    decimals_of,
    integer,
    interval_name,
    kline,
    part,
)
from raysignal.engine.market.venues.protocol import Hosts, RateRules, RestRequest, StreamRequest, Subscription
from raysignal.engine.market.venues.sequence import AGGREGATES, CHAIN, COUNT, DEPTH, QUOTES, TRADES
from raysignal.engine.market.venues.tracker import ControlMessage, StreamTracker

_INTERVALS = {
    MINUTE_US: "1m", 3 * MINUTE_US: "3m", 5 * MINUTE_US: "5m", 15 * MINUTE_US: "15m", 30 * MINUTE_US: "30m",
    HOUR_US: "1h", 2 * HOUR_US: "2h", 4 * HOUR_US: "4h", 6 * HOUR_US: "6h", 8 * HOUR_US: "8h", 12 * HOUR_US: "12h",
    DAY_US: "1d",
}  # fmt: skip
_SIDES = {"true": -1, "false": 1}  # `m`: the buyer was resting, so the seller took

_SYMBOL = Value(ValueUse.SYMBOL, Slot.INSTRUMENT)
_PASSED = Value(ValueUse.INTEGER, needed=False)


def _event(name: str) -> Value:
    return Value(ValueUse.WORD, words={name: 1})


def _depth(*, chained: bool) -> Form:
    form = {
        "e": _event("depthUpdate"),
        "E": Value(ValueUse.INTEGER, Slot.MS),
        "T": _PASSED,
        "s": _SYMBOL,
        "U": Value(ValueUse.INTEGER, Slot.FIRST),
        "u": Value(ValueUse.INTEGER, Slot.LAST),
        "pu": Value(ValueUse.INTEGER, Slot.PREVIOUS),
        "b": Value(ValueUse.BIDS),
        "a": Value(ValueUse.ASKS),
    }
    if not chained:
        del form["pu"], form["T"]
    return form


def _trade(name: str, trade_id: str) -> Form:
    return {
        "e": _event(name),
        "E": _PASSED,
        "T": Value(ValueUse.INTEGER, RowSlot.MS),
        "s": _SYMBOL,
        trade_id: Value(ValueUse.ID, RowSlot.ID_START),
        "p": Value(ValueUse.PRICE, RowSlot.PRICE),
        "q": Value(ValueUse.SIZE, RowSlot.SIZE),
        "m": Value(ValueUse.FLAG, RowSlot.SIDE, words=_SIDES),
    }


_QUOTE: Form = {
    "e": Value(ValueUse.WORD, needed=False, words={"bookTicker": 1}),
    "u": Value(ValueUse.INTEGER, Slot.LAST),
    "s": _SYMBOL,
    "b": Value(ValueUse.PRICE, RowSlot.PRICE),
    "B": Value(ValueUse.SIZE, RowSlot.SIZE),
    "a": Value(ValueUse.PRICE, RowSlot.ASK),
    "A": Value(ValueUse.SIZE, RowSlot.ASK_SIZE),
    "T": _PASSED,
    "E": Value(ValueUse.INTEGER, Slot.MS, needed=False),
}
_KINDS = {"depth": DEPTH, "trade": TRADES, "aggTrade": AGGREGATES, "bookTicker": QUOTES}
_SNAPSHOT: Form = {
    "lastUpdateId": Value(ValueUse.INTEGER, Slot.LAST),
    "E": Value(ValueUse.INTEGER, Slot.MS, needed=False),
    "bids": Value(ValueUse.BIDS),
    "asks": Value(ValueUse.ASKS),
}


def _stream(*, chained: bool) -> Form:
    forms = {
        DEPTH: _depth(chained=chained),
        TRADES: _trade("trade", "t"),
        AGGREGATES: _trade("aggTrade", "a"),
        QUOTES: _QUOTE,
    }
    return {
        "stream": Value(ValueUse.KIND, Slot.KIND, words=_KINDS, after="@", before="@"),
        "data": Value(ValueUse.DATA, forms=forms),
    }


_ABOUT = re.compile(rb'\{\s*"stream"\s*:\s*"([a-z0-9_]+)@([a-zA-Z]+)["@_]')
_CHANNELS = {
    b"depth": Channel.DEPTH, b"trade": Channel.TRADES, b"aggTrade": Channel.TRADES, b"bookTicker": Channel.QUOTES,
    b"kline": Channel.KLINES,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BinanceDialect:
    """See `engine.market.venues.tracker.Dialect`."""

    rule: int
    stream: Form
    depth: Form
    depth_path: str
    depth_limit: int
    depth_weight: int

    @property
    def levels(self) -> int:
        return self.depth_limit

    def depth_request(self, instrument: Instrument) -> RestRequest:
        return RestRequest(
            f"{self.depth_path}?symbol={instrument.symbol}&limit={self.depth_limit}", self.depth_weight
        )

    def resubscribe(self, instrument: Instrument) -> tuple[str, ...]:  # noqa: ARG002 - snapshots come by request
        return ()

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        found = _ABOUT.match(raw)
        return None if found is None else (_CHANNELS.get(found[2]), found[1].decode().upper())

    def hear(
        self, message: object, instruments: Mapping[str, Instrument], received_us: int
    ) -> ControlMessage | None:
        if not isinstance(message, dict):
            return None
        if _announces_a_close(message):
            return ControlMessage(closing=True)
        if "stream" in message:
            name = message["stream"]
            if isinstance(name, str) and "@kline_" in name:
                return ControlMessage((_read_kline(part(message, "data"), instruments, received_us),))
            return None
        if "result" in message:
            return ControlMessage()
        error = message.get("error", message)
        refused = f"{error.get('code')}: {error['msg']}" if isinstance(error, dict) and "msg" in error else ""
        return ControlMessage(refused=refused, unknown=not refused)


def _announces_a_close(message: Mapping[str, object]) -> bool:
    """`serverShutdown`, alone or within a stream's message: the connection is closed ten minutes later."""
    said = message.get("data", message.get("event", message))
    return isinstance(said, dict) and said.get("e") == "serverShutdown"


def _read_kline(data: object, instruments: Mapping[str, Instrument], received_us: int) -> Kline:
    bar = part(data, "k")
    symbol = part(data, "s")
    if symbol not in instruments:
        raise Elsewhere
    interval = next((us for us, name in _ALL_INTERVALS.items() if name == part(bar, "i")), None)
    if interval is None:
        raise Elsewhere
    return kline(
        instruments[symbol], interval, 1000 * integer(part(bar, "t")),
        (part(bar, "o"), part(bar, "h"), part(bar, "l"), part(bar, "c")), part(bar, "v"), integer(part(bar, "n")),
        closed=part(bar, "x") is True, exchange_us=1000 * integer(part(data, "E")), received_us=received_us,
    )  # fmt: skip


_ALL_INTERVALS = {SECOND_US: "1s", **_INTERVALS}


@dataclass(frozen=True, slots=True)
class Binance:
    """One of Binance's markets; see `SPOT`, `USDM`, `COINM`.

    Attributes:
        roots: where streams are opened, by channel.
        api: the path before `/depth`, `/exchangeInfo` and `/klines`.
        trades: the stream of trades: single ones on spot, by taker's order on futures (those are documented there).
    """

    name: str
    hosts: Hosts
    manners: RateRules
    dialect: BinanceDialect
    roots: Mapping[Channel, str]
    api: str
    trades: str
    intervals: Mapping[int, str]
    listed_at_once: bool
    most_klines: int
    numbers_trades: bool = True

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """One for each path and each `manners.streams` streams."""
        openings = []
        for root in dict.fromkeys(self.roots.values()):
            channels = frozenset(channel for channel, path in self.roots.items() if path == root)
            group: list[Subscription] = []
            names: list[str] = []
            for each in subscriptions:
                wanted = Subscription(each.instrument, each.channels & channels, each.kline_us)
                streams = self._streams(wanted)
                if names and len(names) + len(streams) > self.manners.streams:
                    openings.append(_opening(root, names, group))
                    group, names = [], []
                if streams:
                    group.append(wanted)
                    names += streams
            if names:
                openings.append(_opening(root, names, group))
        return tuple(openings)

    def _streams(self, each: Subscription) -> list[str]:
        symbol = each.instrument.symbol.lower()
        names = {
            Channel.DEPTH: "depth@100ms",
            Channel.TRADES: self.trades,
            Channel.QUOTES: "bookTicker",
        }
        if Channel.KLINES in each.channels:
            names[Channel.KLINES] = f"kline_{interval_name(self.intervals, each.kline_us, self.name)}"
        return [f"{symbol}@{names[channel]}" for channel in Channel if channel in each.channels]

    def instruments_request(self, symbols: Sequence[str]) -> RestRequest:
        """`exchangeInfo`, of these symbols where the market can be asked so."""
        if not self.listed_at_once:
            return RestRequest(f"{self.api}/exchangeInfo", 1)
        listed = ",".join(f'"{symbol}"' for symbol in symbols)
        return RestRequest(f"{self.api}/exchangeInfo?symbols={quote(f'[{listed}]')}", 20)

    def read_instruments(self, symbols: Sequence[str], body: bytes) -> list[Instrument]:
        """Prices get the digits that the asset can have, since orders outlive a change of the tick size."""
        return [self._instrument(symbol, row) for symbol, row in self._rows(symbols, body)]

    def read_listings(self, symbols: Sequence[str], body: bytes) -> list[Listing]:
        """The filters of `exchangeInfo`. A step or bound of 0 is no rule; market orders keep LOT_SIZE, too."""
        return [self._listing(symbol, row) for symbol, row in self._rows(symbols, body)]

    def _rows(self, symbols: Sequence[str], body: bytes) -> list[tuple[str, Any]]:
        listed = part(answer(body), "symbols")
        if not isinstance(listed, list):
            raise UnreadableInput("exchangeInfo without symbols")
        found = {part(each, "symbol"): each for each in listed}
        for symbol in symbols:
            if symbol not in found:
                raise InvalidField("symbol", symbol, f"one that {self.name} trades")
        return [(symbol, found[symbol]) for symbol in symbols]

    def _listing(self, symbol: str, row: Any) -> Listing:
        instrument = self._instrument(symbol, row)
        filters = {part(each, "filterType"): each for each in part(row, "filters")}
        price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
        status = row.get("contractStatus") or row.get("status") or "TRADING"
        return Listing(
            instrument,
            amount_in(price, "tickSize") or instrument.exact_price(1),
            _order_rules(instrument, [lot], *_values(filters, market=False)),
            _order_rules(
                instrument, [lot, filters.get("MARKET_LOT_SIZE", {})], *_values(filters, market=True)
            ),
            least_price=amount_in(price, "minPrice"),
            most_price=amount_in(price, "maxPrice") or None,
            halted="" if status == "TRADING" else str(status),
        )

    def _instrument(self, symbol: str, row: Any) -> Instrument:
        if self.dialect.rule == CHAIN:
            coin_margined = self.name == "binance-coinm"
            base = row.get("baseAsset")
            return Instrument(
                self.name, symbol, integer(part(row, "pricePrecision")), integer(part(row, "quantityPrecision")),
                Decimal(integer(part(row, "contractSize")) if coin_margined else 1),
                coin_margined or (base is not None and row.get("marginAsset") == base),
            )  # fmt: skip
        filters = {part(each, "filterType"): each for each in part(row, "filters")}
        step = part(filters, "LOT_SIZE", "stepSize")
        return Instrument(self.name, symbol, integer(part(row, "quotePrecision")), decimals_of(step))

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """`klines`."""
        name = interval_name(self.intervals, interval_us, self.name)
        check_limit(limit, self.most_klines)
        last_ms = -(-end_us // 1000) - 1
        path = f"{self.api}/klines?symbol={instrument.symbol}&interval={name}&endTime={last_ms}&limit={limit}"
        return RestRequest(path, 2 if self.dialect.rule == COUNT else 10)

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """Rows of open time, open, high, low, close, volume, close time, …, trades (the ninth)."""
        rows = answer(body)
        if not isinstance(rows, list):
            raise UnreadableInput(f"klines are no list: {str(rows)[:200]}")
        klines = []
        for row in rows:
            open_us = 1000 * integer(part(row, 0))
            prices = (part(row, 1), part(row, 2), part(row, 3), part(row, 4))
            volume, trades = part(row, 5), integer(part(row, 8))
            closed = open_us + interval_us <= now_us
            klines.append(
                kline(
                    instrument, interval_us, open_us, prices, volume, trades,
                    closed=closed, exchange_us=0, received_us=now_us,
                )
            )  # fmt: skip
        return klines

    @property
    def time_request(self) -> RestRequest:
        """`time`."""
        return RestRequest(f"{self.api}/time")

    def read_time(self, body: bytes) -> int:
        """Milliseconds."""
        return 1000 * integer(part(answer(body), "serverTime"))

    def tracker(self, subscriptions: Sequence[Subscription]) -> StreamTracker:
        """The state of one connection."""
        return StreamTracker(self.dialect, subscriptions)


def _order_rules(
    instrument: Instrument, lots: Sequence[Mapping[str, object]], least_value: Decimal, most_value: Decimal
) -> OrderRules:
    """What all of these filters of a lot ask for together."""
    smallest = instrument.exact_size(1)
    return OrderRules(
        max(smallest, *(amount_in(lot, "stepSize") for lot in lots)),
        max(smallest, *(amount_in(lot, "minQty") for lot in lots)),
        min((most for lot in lots if (most := amount_in(lot, "maxQty"))), default=None),
        least_value,
        most_value or None,
    )


def _values(filters: Mapping[str, Mapping[str, object]], *, market: bool) -> tuple[Decimal, Decimal]:
    """The least and the most that an order is worth: NOTIONAL or MIN_NOTIONAL of spot, MIN_NOTIONAL of futures."""
    least = [Decimal(0)]
    most = Decimal(0)
    old, new = filters.get("MIN_NOTIONAL", {}), filters.get("NOTIONAL", {})
    if not market or old.get("applyToMarket", True) is True:
        least += [amount_in(old, "minNotional"), amount_in(old, "notional")]
    if not market or new.get("applyMinToMarket") is True:
        least.append(amount_in(new, "minNotional"))
    if not market or new.get("applyMaxToMarket") is True:
        most = amount_in(new, "maxNotional")
    return max(least), most


def _opening(root: str, names: Sequence[str], group: Sequence[Subscription]) -> StreamRequest:
    return StreamRequest(f"{root}?streams={'/'.join(names)}", (), tuple(group))


def _manners(*, texts_per_s: float, streams: int, silence_s: float) -> RateRules:
    """The venue pings (every 20 s on spot, 3 min on futures) and ends a connection after 24 hours."""
    return RateRules(
        ping_every_s=None, ping_text=None, silence_s=silence_s, lifetime_s=86_400.0, connects=300,
        connects_within_s=300.0, texts_per_s=texts_per_s, streams=streams,
    )  # fmt: skip


SPOT = Binance(
    name="binance",
    hosts=Hosts("wss://stream.binance.com:9443", "https://api.binance.com"),
    manners=_manners(texts_per_s=5, streams=1024, silence_s=60.0),
    dialect=BinanceDialect(COUNT, _stream(chained=False), _SNAPSHOT, "/api/v3/depth", 1000, 50),
    roots=dict.fromkeys(Channel, "/stream"),
    api="/api/v3",
    trades="trade",
    intervals=_ALL_INTERVALS,
    listed_at_once=True,
    most_klines=1000,
)
USDM = Binance(
    name="binance-usdm",
    hosts=Hosts("wss://fstream.binance.com", "https://fapi.binance.com"),
    manners=_manners(texts_per_s=10, streams=1024, silence_s=240.0),
    dialect=BinanceDialect(CHAIN, _stream(chained=True), _SNAPSHOT, "/fapi/v1/depth", 1000, 20),
    roots={
        Channel.DEPTH: "/public/stream",
        Channel.QUOTES: "/public/stream",
        Channel.TRADES: "/market/stream",
        Channel.KLINES: "/market/stream",
    },
    api="/fapi/v1",
    trades="aggTrade",
    intervals=_INTERVALS,
    listed_at_once=False,
    most_klines=1500,
)
COINM = Binance(
    name="binance-coinm",
    hosts=Hosts("wss://dstream.binance.com", "https://dapi.binance.com"),
    manners=_manners(texts_per_s=10, streams=200, silence_s=240.0),
    dialect=BinanceDialect(CHAIN, _stream(chained=True), _SNAPSHOT, "/dapi/v1/depth", 1000, 20),
    roots=dict.fromkeys(Channel, "/stream"),
    api="/dapi/v1",
    trades="aggTrade",
    intervals=_INTERVALS,
    listed_at_once=False,
    most_klines=1500,
)
