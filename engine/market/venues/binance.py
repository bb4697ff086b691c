"""Binance: spot, USD-M futures and COIN-M futures, which differ in addresses, rule and how instruments are listed.

Rules for the order book, from developers.binance.com ("How to manage a local order book correctly"): changes are kept
until a snapshot is there; on spot the first has U <= lastUpdateId + 1 <= u and each next one U == last u + 1, on
futures each one's `pu` is the last `u`. Since April 2026 USD-M serves books and best prices under `/public`, everything
else under `/market`. Open interest is in no stream; of liquidations the largest of a second is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from msgspec import Raw, Struct, field
from msgspec.json import Decoder

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.listings import ListedSymbol, Listing
from raysignal.engine.core.market_events import Channel, Event, FundingRate, Instrument, Kline
from raysignal.engine.market.venues import answers
from raysignal.engine.market.venues import binance_listings as listings
from raysignal.engine.market.venues.answers import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from raysignal.engine.market.venues.names import is_spot
from raysignal.engine.market.venues.numbers import (
    Number,
    amount,
    amount_in,
    decimals_of,
    integer,
    optional_amount,
)
from raysignal.engine.market.venues.protocol import Hosts, RateRules, RestRequest, StreamRequest, Subscription
from raysignal.engine.market.venues.tracker import (
    BookState,
    DepthChange,
    DepthSnapshot,
    FollowedBook,
    Missing,
    SequenceVerdict,
    StreamTracker,
)

_INTERVALS = {
    MINUTE_US: "1m", 3 * MINUTE_US: "3m", 5 * MINUTE_US: "5m", 15 * MINUTE_US: "15m", 30 * MINUTE_US: "30m",
    HOUR_US: "1h", 2 * HOUR_US: "2h", 4 * HOUR_US: "4h", 6 * HOUR_US: "6h", 8 * HOUR_US: "8h", 12 * HOUR_US: "12h",
    DAY_US: "1d",
}  # fmt: skip
_ALL_INTERVALS = {SECOND_US: "1s", **_INTERVALS}
_FUNDING_WEIGHT = 24  # of 2400 a minute: 500 requests within 5 minutes are let through
_ABOUT = re.compile(rb'\{\s*"stream"\s*:\s*"([a-z0-9_]+)@([a-zA-Z]+)["@_]')
_CHANNELS = {
    b"depth": Channel.DEPTH, b"trade": Channel.TRADES, b"aggTrade": Channel.TRADES, b"bookTicker": Channel.QUOTES,
    b"kline": Channel.KLINES, b"markPrice": Channel.CONTRACT, b"forceOrder": Channel.LIQUIDATIONS,
}  # fmt: skip


_T = TypeVar("_T")


class _Stream(Struct, gc=False):
    """What every message of a stream says; others (answers, errors) have none."""

    stream: str = ""


class _Message(Struct, Generic[_T], gc=False):
    data: _T


class _Depth(Struct, gc=False, tag_field="e", tag="depthUpdate"):
    symbol: str = field(name="s")
    ms: Number = field(name="E")
    first: Number = field(name="U")
    last: Number = field(name="u")
    bids: Raw = field(name="b")
    asks: Raw = field(name="a")
    previous: Number | None = field(name="pu", default=None)


class _Quote(Struct, gc=False, tag_field="e", tag="bookTicker"):
    symbol: str = field(name="s")
    update_id: Number = field(name="u")
    bid: str = field(name="b")
    bid_size: str = field(name="B")
    ask: str = field(name="a")
    ask_size: str = field(name="A")
    ms: Number = field(name="E", default=0)


class _Trade(Struct, gc=False, tag_field="e", tag="trade"):
    symbol: str = field(name="s")
    trade_id: Number = field(name="t")
    price: str = field(name="p")
    size: str = field(name="q")
    ms: Number = field(name="T")
    buyer_rested: bool = field(name="m")


class _AggregateTrade(_Trade, gc=False, tag_field="e", tag="aggTrade"):
    trade_id: Number = field(name="a")


class _Bar(Struct, gc=False):
    interval: str = field(name="i")
    open_ms: Number = field(name="t")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    close: str = field(name="c")
    volume: str = field(name="v")
    trades: Number = field(name="n")
    closed: bool = field(name="x")


class _Kline(Struct, gc=False, tag_field="e", tag="kline"):
    symbol: str = field(name="s")
    ms: Number = field(name="E")
    bar: _Bar = field(name="k")


class _MarkPrice(Struct, gc=False, tag_field="e", tag="markPriceUpdate"):
    """Index and rate are empty, and the next funding is 0, where a contract has none."""

    symbol: str = field(name="s")
    ms: Number = field(name="E")
    mark: str = field(name="p")
    index: str = field(name="i", default="")
    rate: str = field(name="r", default="")
    next_funding_ms: Number = field(name="T", default=0)


class _ForcedOrder(Struct, gc=False):
    symbol: str = field(name="s")
    side: Literal["BUY", "SELL"] = field(name="S")
    size: str = field(name="q")
    price: str = field(name="p")
    ms: Number = field(name="T")


class _Liquidation(Struct, gc=False, tag_field="e", tag="forceOrder"):
    order: _ForcedOrder = field(name="o")


class _Snapshot(Struct, gc=False):
    last: Number = field(name="lastUpdateId")
    bids: Raw
    asks: Raw
    ms: Number = field(name="E", default=0)


_STREAM, _SNAPSHOT = Decoder(_Stream), Decoder(_Snapshot)
_DEPTH, _QUOTE, _KLINE = Decoder(_Message[_Depth]), Decoder(_Message[_Quote]), Decoder(_Message[_Kline])
_MARK_PRICE, _LIQUIDATION = Decoder(_Message[_MarkPrice]), Decoder(_Message[_Liquidation])
_TRADES: Mapping[str, Decoder[_Message[Any]]] = {
    "trade": Decoder(_Message[_Trade]),
    "aggTrade": Decoder(_Message[_AggregateTrade]),
}


@dataclass(frozen=True, slots=True)
class Binance:
    """One of Binance's markets; see `SPOT`, `USDM`, `COINM`.

    Attributes:
        chained: whether changes say the id before them, as on futures; else their ids have no holes.
        roots: where streams are opened, by channel.
        api: the path before `/depth`, `/exchangeInfo` and `/klines`.
        trades: the stream of trades: single ones on spot, by taker's order on futures (those are documented there).
    """

    name: str
    hosts: Hosts
    manners: RateRules
    chained: bool
    depth_weight: int
    roots: Mapping[Channel, str]
    api: str
    trades: str
    intervals: Mapping[int, str]
    listed_at_once: bool
    most_klines: int
    depth_limit: int = 1000
    most_funding: int = 0
    numbers_trades: bool = True

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """One for each path and each `manners.streams` streams."""
        return tuple(
            StreamRequest(f"{root}?streams={'/'.join(names)}", (), group)
            for root in dict.fromkeys(self.roots.values())
            for names, group in answers.split_streams(
                subscriptions,
                frozenset(channel for channel, path in self.roots.items() if path == root),
                self._streams,
                self.manners.streams,
            )
        )

    def _streams(self, channel: Channel, each: Subscription) -> Sequence[str]:
        names = {
            Channel.DEPTH: "depth@100ms", Channel.TRADES: self.trades, Channel.QUOTES: "bookTicker",
            Channel.CONTRACT: "markPrice@1s", Channel.LIQUIDATIONS: "forceOrder",
        }  # fmt: skip
        name = (
            names.get(channel) or f"kline_{answers.interval_name(self.intervals, each.kline_us, self.name)}"
        )
        return (f"{each.instrument.symbol.lower()}@{name}",)

    def tracker(self, subscriptions: Sequence[Subscription]) -> StreamTracker:
        """The state of one connection."""
        return StreamTracker(self, subscriptions)

    def hear(self, raw: bytes, tracker: StreamTracker) -> Sequence[Event]:  # noqa: PLR0911 - a kind each
        """See `Dialect`. A stream is called `btcusdt@depth@100ms`."""
        kind = _STREAM.decode(raw).stream.partition("@")[2].partition("@")[0]
        if kind == "bookTicker":
            best = _QUOTE.decode(raw).data
            return tracker.quote(
                best.symbol, best.update_id, best.bid, best.bid_size, best.ask, best.ask_size, best.ms
            )
        if kind in _TRADES:
            trade = _TRADES[kind].decode(raw).data
            side = -1 if trade.buyer_rested else 1  # the seller took
            return tracker.trade(
                trade.symbol, str(trade.trade_id), trade.price, trade.size, side, trade.ms
            )  # fmt: skip
        if kind == "depth":
            change = _DEPTH.decode(raw).data
            if self.chained and change.previous is None:
                raise UnreadableInput("a change without 'pu'")
            return tracker.depth(
                change.symbol, change.last, change.ms, change.bids, change.asks,
                first=change.first, previous=change.previous or 0,
            )  # fmt: skip
        if kind.startswith("kline_"):
            message = _KLINE.decode(raw).data
            bar = message.bar
            return tracker.kline(
                message.symbol, answers.interval_named(_ALL_INTERVALS, bar.interval), bar.open_ms,
                (bar.open, bar.high, bar.low, bar.close), bar.volume, bar.trades, closed=bar.closed, ms=message.ms,
            )  # fmt: skip
        if kind == "markPrice":
            state = _MARK_PRICE.decode(raw).data
            return tracker.contract(
                state.symbol, state.ms, mark=amount(state.mark), index=optional_amount(state.index),
                funding_rate=optional_amount(state.rate), next_funding_ms=state.next_funding_ms,
            )  # fmt: skip
        if kind == "forceOrder":
            order = _LIQUIDATION.decode(raw).data.order
            side = 1 if order.side == "BUY" else -1
            return tracker.liquidation(order.symbol, amount(order.price), order.size, side, order.ms)
        return _hear_control(answers.answer(raw), tracker)

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        """See `Dialect`."""
        found = _ABOUT.match(raw)
        return None if found is None else (_CHANNELS.get(found[2]), found[1].decode().upper())

    def judge(self, book: FollowedBook, change: DepthChange) -> SequenceVerdict | Missing:
        """The rules of the venue's text. Where a chain meets a snapshot it asks for U <= lastUpdateId; ids between `pu`
        and U belong to other symbols, so that `pu` is the bound that loses nothing.
        """
        fresh = book.state is BookState.FRESH
        if self.chained:
            if change.last < book.last or (change.last == book.last and not fresh):
                return SequenceVerdict.STALE
            if change.previous == book.last or (fresh and change.previous < book.last):
                return SequenceVerdict.APPLY
            return Missing(book.last, change.previous)
        if change.last <= book.last:
            return SequenceVerdict.STALE
        if change.first == book.last + 1 or (fresh and change.first <= book.last):
            return SequenceVerdict.APPLY
        return Missing(book.last + 1, change.first)

    def depth_request(self, instrument: Instrument) -> RestRequest:
        """`depth`, of as many levels as there are to be had."""
        path = f"{self.api}/depth?symbol={instrument.symbol}&limit={self.depth_limit}"
        return RestRequest(path, self.depth_weight)

    def read_snapshot(self, body: bytes) -> DepthSnapshot:
        """The answer to it."""
        said = _SNAPSHOT.decode(body)
        return DepthSnapshot(said.last, said.ms, said.bids, said.asks)

    def resubscribe(self, instrument: Instrument, channel: Channel) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing: snapshots come by request."""
        return ()

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
        return answers.rows_of(self.name, symbols, answers.part(answers.answer(body), "symbols"), "symbol")

    def _listing(self, symbol: str, row: Any) -> Listing:
        instrument = self._instrument(symbol, row)
        filters, status = listings.filters_of(row), listings.status_of(row)
        price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
        return Listing(
            instrument,
            amount_in(price, "tickSize") or instrument.exact_price(1),
            listings.order_rules(instrument, [lot], *listings.values(filters, market=False)),
            listings.order_rules(
                instrument, [lot, filters.get("MARKET_LOT_SIZE", {})], *listings.values(filters, market=True)
            ),
            least_price=amount_in(price, "minPrice"),
            most_price=amount_in(price, "maxPrice") or None,
            shorts=not is_spot(self.name, symbol),
            halted="" if status == "TRADING" else status,
        )

    @property
    def symbols_requests(self) -> tuple[RestRequest, ...]:
        """`exchangeInfo`, of all."""
        return (RestRequest(f"{self.api}/exchangeInfo", 1 if self.chained else 20),)

    def read_symbols(self, body: bytes) -> list[ListedSymbol]:
        """See the protocol."""
        rows = answers.list_of(answers.part(answers.answer(body), "symbols"))
        return [
            listings.listed_symbol(row, futures=self.chained, coin_margined=self._coin_margined)
            for row in rows
        ]

    def more_symbols(self, body: bytes) -> None:
        """None: all come at once."""

    def _instrument(self, symbol: str, row: Any) -> Instrument:
        if self.chained:
            coin_margined = self._coin_margined
            return Instrument(
                self.name, symbol,
                integer(answers.part(row, "pricePrecision")), integer(answers.part(row, "quantityPrecision")),
                listings.contract_size(row, coin_margined=coin_margined),
                listings.is_inverse(row, coin_margined=coin_margined),
            )  # fmt: skip
        step = answers.part(listings.filters_of(row), "LOT_SIZE", "stepSize")
        return Instrument(self.name, symbol, integer(answers.part(row, "quotePrecision")), decimals_of(step))

    @property
    def _coin_margined(self) -> bool:
        return self.name == "binance-coinm"

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """`klines`."""
        name = answers.interval_name(self.intervals, interval_us, self.name)
        answers.check_limit(limit, self.most_klines)
        last_ms = -(-end_us // 1000) - 1
        path = f"{self.api}/klines?symbol={instrument.symbol}&interval={name}&endTime={last_ms}&limit={limit}"
        return RestRequest(path, 10 if self.chained else 2)

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """Rows of open time, open, high, low, close, volume, close time, …, trades (the ninth)."""
        return [
            answers.kline_of_row(instrument, interval_us, row, now_us, trades=integer(answers.part(row, 8)))
            for row in answers.list_of(answers.answer(body))
        ]

    def funding_request(self, instrument: Instrument, from_us: int, to_us: int) -> RestRequest:
        """`fundingRate`, whose bounds are both inclusive; a month has at most 744 of its 1000."""
        span = f"startTime={-(-from_us // 1000)}&endTime={-(-to_us // 1000) - 1}&limit={self.most_funding}"
        return RestRequest(f"{self.api}/fundingRate?symbol={instrument.symbol}&{span}", _FUNDING_WEIGHT)

    def read_funding(self, instrument: Instrument, body: bytes) -> list[FundingRate]:
        """See the protocol."""
        rows = answers.list_of(answers.answer(body))
        return answers.funding_of_rows(instrument, rows, "fundingTime", "fundingRate")

    @property
    def time_request(self) -> RestRequest:
        """`time`."""
        return RestRequest(f"{self.api}/time")

    def read_time(self, body: bytes) -> int:
        """Milliseconds."""
        return 1000 * integer(answers.part(answers.answer(body), "serverTime"))


def _hear_control(message: Mapping[str, Any], tracker: StreamTracker) -> Sequence[Event]:
    """A message of no stream that is followed. `serverShutdown`: the connection is closed ten minutes later."""
    said = message.get("data", message.get("event", message))
    if isinstance(said, dict) and said.get("e") == "serverShutdown":
        return tracker.closes()
    error = message.get("error", message)
    if "stream" not in message and isinstance(error, dict) and "msg" in error:
        return tracker.refused(f"{error.get('code')}: {error['msg']}")
    return () if "result" in message else tracker.unknown()


def _manners(*, texts_per_s: float, streams: int, silence_s: float) -> RateRules:
    """The venue pings (every 20 s on spot, 3 min on futures) and ends a connection after 24 hours."""
    return RateRules(
        ping_every_s=None, ping_text=None, silence_s=silence_s, lifetime_s=86_400.0, connects=300,
        connects_within_s=300.0, texts_per_s=texts_per_s, streams=streams, weight=2400.0, weight_within_s=60.0,
    )  # fmt: skip


SPOT = Binance(
    name="binance",
    hosts=Hosts("wss://stream.binance.com:9443", "https://api.binance.com"),
    manners=_manners(texts_per_s=5, streams=1024, silence_s=60.0),
    chained=False,
    depth_weight=50,
    roots=dict.fromkeys((Channel.DEPTH, Channel.TRADES, Channel.QUOTES, Channel.KLINES), "/stream"),
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
    chained=True,
    depth_weight=20,
    roots={
        Channel.DEPTH: "/public/stream",
        Channel.QUOTES: "/public/stream",
        Channel.TRADES: "/market/stream",
        Channel.KLINES: "/market/stream",
        Channel.CONTRACT: "/market/stream",
        Channel.LIQUIDATIONS: "/market/stream",
    },
    api="/fapi/v1",
    trades="aggTrade",
    intervals=_INTERVALS,
    listed_at_once=False,
    most_klines=1500,
    most_funding=1000,
)
COINM = Binance(
    name="binance-coinm",
    hosts=Hosts("wss://dstream.binance.com", "https://dapi.binance.com"),
    manners=_manners(texts_per_s=10, streams=200, silence_s=240.0),
    chained=True,
    depth_weight=20,
    roots=dict.fromkeys(Channel, "/stream"),
    api="/dapi/v1",
    trades="aggTrade",
    intervals=_INTERVALS,
    listed_at_once=False,
    most_klines=1500,
    most_funding=1000,
)
