"""Bybit v5: spot and linear contracts, which share their symbols and so are two venues here.

Rules for the order book, from bybit-exchange.github.io (v5, `orderbook`): a snapshot replaces the book whenever one
comes, also one with `u` 1 after a restart of the service; changes (`delta`) count `u` up by one. The best prices are
the book of depth 1, followed in the same way. `seq` can be compared between depths, and is the update id of events.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

from msgspec import Raw, Struct, field
from msgspec.json import Decoder

from raysignal.engine.core.errors import StoreUnavailable, UnreadableInput, VenueRefusal
from raysignal.engine.core.listings import ContractKind, ListedSymbol, Listing, OrderRules
from raysignal.engine.core.market_events import Channel, Event, FundingRate, Instrument, Kline
from raysignal.engine.market.venues import answers
from raysignal.engine.market.venues.answers import DAY_US, HOUR_US, MINUTE_US
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
    DepthChange,
    DepthSnapshot,
    FollowedBook,
    Missing,
    SequenceVerdict,
    StreamTracker,
)

_INTERVALS = {
    MINUTE_US: "1", 3 * MINUTE_US: "3", 5 * MINUTE_US: "5", 15 * MINUTE_US: "15", 30 * MINUTE_US: "30",
    HOUR_US: "60", 2 * HOUR_US: "120", 4 * HOUR_US: "240", 6 * HOUR_US: "360", 12 * HOUR_US: "720", DAY_US: "D",
}  # fmt: skip
_TOPICS = {
    Channel.DEPTH: "orderbook.200", Channel.TRADES: "publicTrade", Channel.QUOTES: "orderbook.1",
    Channel.CONTRACT: "tickers", Channel.LIQUIDATIONS: "allLiquidation",
}  # fmt: skip
_OF_CONTRACTS = frozenset({Channel.CONTRACT, Channel.LIQUIDATIONS})
_CHANNELS = {topic: channel for channel, topic in _TOPICS.items()}
_ABOUT = re.compile(rb'\{\s*"topic"\s*:\s*"([\w.]+)\.([\w-]+)"')
_REFUSALS = frozenset({10001, 10029, 110023})  # parameters that are wrong, a symbol that is none; others pass
_ARGUMENTS_A_TEXT = 10  # what the spot service takes


class _Topic(Struct, gc=False):
    """What every message of a stream says; others (answers, errors) have none."""

    topic: str = ""


class _Book(Struct, gc=False):
    symbol: str = field(name="s")
    bids: Raw = field(name="b")
    asks: Raw = field(name="a")
    update: Number = field(name="u")
    seq: Number


class _Depth(Struct, gc=False):
    type: Literal["snapshot", "delta"]
    ts: Number
    data: _Book


class _Trade(Struct, gc=False):
    symbol: str = field(name="s")
    trade_id: str = field(name="i")
    price: str = field(name="p")
    size: str = field(name="v")
    side: Literal["Buy", "Sell"] = field(name="S")
    ms: Number = field(name="T")


class _Trades(Struct, gc=False):
    data: list[_Trade]


class _Bar(Struct, gc=False):
    start: Number
    open: str
    high: str
    low: str
    close: str
    volume: str
    confirm: bool


class _Klines(Struct, gc=False):
    ts: Number
    data: list[_Bar]


class _Ticker(Struct, gc=False):
    """A snapshot says all, a delta what has changed; rate and next funding are empty where a contract has none."""

    symbol: str
    mark: str = field(name="markPrice", default="")
    index: str = field(name="indexPrice", default="")
    rate: str = field(name="fundingRate", default="")
    next_funding_ms: str = field(name="nextFundingTime", default="")
    open_interest: str = field(name="openInterest", default="")


class _Tickers(Struct, gc=False):
    ts: Number
    data: _Ticker


class _Liquidation(Struct, gc=False):
    """`side` is that of the position."""

    symbol: str = field(name="s")
    side: Literal["Buy", "Sell"] = field(name="S")
    size: str = field(name="v")
    price: str = field(name="p")
    ms: Number = field(name="T")


class _Liquidations(Struct, gc=False):
    data: list[_Liquidation]


_TICKERS, _LIQUIDATIONS = Decoder(_Tickers), Decoder(_Liquidations)
_TOPIC, _DEPTH, _TRADES, _KLINES = (Decoder(_Topic), Decoder(_Depth), Decoder(_Trades), Decoder(_Klines))


def _text(operation: str, topics: Sequence[str]) -> str:
    return json.dumps({"op": operation, "args": topics}, separators=(",", ":"))


_HOSTS = Hosts("wss://stream.bybit.com", "https://api.bybit.com")
_MANNERS = RateRules(
    ping_every_s=20.0, ping_text='{"op":"ping"}', silence_s=45.0, lifetime_s=None, connects=500,
    connects_within_s=300.0, texts_per_s=10.0, streams=200, weight=600.0, weight_within_s=5.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bybit:
    """See `engine.market.venues.protocol.Venue`. `category` is the venue's own name of the market."""

    name: str
    category: str
    hosts: Hosts = _HOSTS
    manners: RateRules = _MANNERS
    most_klines: int = 1000
    depth_limit: int = 200
    most_funding: int = 0
    numbers_trades: bool = False

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """One for each `manners.streams` topics."""
        return tuple(
            StreamRequest(
                f"/v5/public/{self.category}",
                tuple(
                    _text("subscribe", topics[at : at + _ARGUMENTS_A_TEXT])
                    for at in range(0, len(topics), _ARGUMENTS_A_TEXT)
                ),
                group,
            )
            for topics, group in answers.split_streams(
                subscriptions, frozenset(Channel), self._topics, self.manners.streams
            )
        )

    def _topics(self, channel: Channel, each: Subscription) -> Sequence[str]:
        if self.category == "spot" and channel in _OF_CONTRACTS:
            return ()
        topic = _TOPICS.get(channel) or f"kline.{answers.interval_name(_INTERVALS, each.kline_us, self.name)}"
        return (f"{topic}.{each.instrument.symbol}",)

    def tracker(self, subscriptions: Sequence[Subscription]) -> StreamTracker:
        """The state of one connection."""
        return StreamTracker(self, subscriptions)

    def hear(self, raw: bytes, tracker: StreamTracker) -> Sequence[Event]:
        """See `Dialect`. A book's `u` is 1 when the service has begun anew: then it is all of the book."""
        kind, _, symbol = _TOPIC.decode(raw).topic.rpartition(".")
        if kind in {"orderbook.200", "orderbook.1"}:
            message = _DEPTH.decode(raw)
            book = message.data
            return tracker.depth(
                book.symbol, book.update, message.ts, book.bids, book.asks, update_id=book.seq,
                replaces=message.type == "snapshot" or book.update == 1, top=kind == "orderbook.1",
            )  # fmt: skip
        if kind == "publicTrade":
            return [
                event
                for row in _TRADES.decode(raw).data
                for event in tracker.trade(
                    row.symbol, row.trade_id, row.price, row.size, 1 if row.side == "Buy" else -1, row.ms
                )
            ]
        if kind.startswith("kline."):
            klines, interval_us = (
                _KLINES.decode(raw),
                answers.interval_named(_INTERVALS, kind[len("kline.") :]),
            )
            return [
                event
                for bar in klines.data
                for event in tracker.kline(
                    symbol, interval_us, bar.start, (bar.open, bar.high, bar.low, bar.close), bar.volume, 0,
                    closed=bar.confirm, ms=klines.ts,
                )
            ]  # fmt: skip
        if kind == "tickers":
            tickers = _TICKERS.decode(raw)
            said = tickers.data
            return tracker.contract(
                said.symbol, tickers.ts, mark=optional_amount(said.mark), index=optional_amount(said.index),
                funding_rate=optional_amount(said.rate), next_funding_ms=integer(said.next_funding_ms or 0),
                open_interest=optional_amount(said.open_interest),
            )  # fmt: skip
        if kind == "allLiquidation":
            return [
                event
                for row in _LIQUIDATIONS.decode(raw).data
                for event in tracker.liquidation(
                    row.symbol, amount(row.price), row.size, -1 if row.side == "Buy" else 1, row.ms
                )
            ]
        return _hear_control(answers.answer(raw), tracker)

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        """See `Dialect`."""
        found = _ABOUT.match(raw)
        return None if found is None else (_CHANNELS.get(found[1].decode()), found[2].decode())

    def judge(self, book: FollowedBook, change: DepthChange) -> SequenceVerdict | Missing:
        """`u` counts up by one."""
        if change.last == book.last + 1:
            return SequenceVerdict.APPLY
        return SequenceVerdict.STALE if change.last == book.last else Missing(book.last + 1, change.last)

    def depth_request(self, instrument: Instrument) -> None:
        """None: snapshots come by the stream."""

    def read_snapshot(self, body: bytes) -> DepthSnapshot:  # noqa: ARG002
        """Never asked for."""
        raise UnreadableInput(f"{self.name} has no snapshots by request")

    def resubscribe(self, instrument: Instrument, channel: Channel) -> tuple[str, ...]:
        """The topic, taken back and asked for again."""
        topic = f"{_TOPICS[channel]}.{instrument.symbol}"
        return _text("unsubscribe", [topic]), _text("subscribe", [topic])

    def instruments_request(self, symbols: Sequence[str]) -> RestRequest:
        """`instruments-info`, of one symbol or of the whole market."""
        which = f"symbol={symbols[0]}" if len(symbols) == 1 else "limit=1000"
        return RestRequest(f"/v5/market/instruments-info?category={self.category}&{which}")

    def read_instruments(self, symbols: Sequence[str], body: bytes) -> list[Instrument]:
        """See the protocol."""
        return [self._instrument(symbol, row) for symbol, row in self._rows(symbols, body)]

    def read_listings(self, symbols: Sequence[str], body: bytes) -> list[Listing]:
        """`lotSizeFilter` and `priceFilter`; spot has no least size, but a least value."""
        return [self._listing(symbol, row) for symbol, row in self._rows(symbols, body)]

    @property
    def symbols_requests(self) -> tuple[RestRequest, ...]:
        """`instruments-info`; spot gives all at once."""
        return (RestRequest(self._listing_path),)

    @property
    def _listing_path(self) -> str:
        return f"/v5/market/instruments-info?category={self.category}&limit=1000"

    def read_symbols(self, body: bytes) -> list[ListedSymbol]:
        """See the protocol."""
        return [self._listed_symbol(row) for row in self._listed(body)]

    def more_symbols(self, body: bytes) -> RestRequest | None:
        """By the answer's cursor."""
        cursor = answers.part(answers.answer(body), "result").get("nextPageCursor")
        return RestRequest(f"{self._listing_path}&cursor={quote(cursor, safe='')}") if cursor else None

    def _listed_symbol(self, row: Any) -> ListedSymbol:
        spot, contract = self.category == "spot", str(row.get("contractType", ""))
        kind = ContractKind.PERPETUAL if contract.endswith("Perpetual") else ContractKind.FUTURE
        lot = answers.part(row, "lotSizeFilter")
        return ListedSymbol(
            symbol=str(answers.part(row, "symbol")),
            kind=ContractKind.SPOT if spot else kind,
            inverse=contract.startswith("Inverse"),
            base=str(row.get("baseCoin", "")),
            quote=str(row.get("quoteCoin", "")),
            price_step=amount_in(answers.part(row, "priceFilter"), "tickSize"),
            size_step=amount_in(lot, "basePrecision" if spot else "qtyStep"),
            least_size=amount_in(lot, "minOrderQty"),
            least_value=amount_in(lot, "minOrderAmt" if spot else "minNotionalValue"),
            contract_size=Decimal(1),
            status=answers.status_word(row.get("status", "Trading"), "Trading"),
        )

    def _rows(self, symbols: Sequence[str], body: bytes) -> list[tuple[str, Any]]:
        return answers.rows_of(self.name, symbols, self._listed(body), "symbol")

    def _listing(self, symbol: str, row: Any) -> Listing:
        instrument, price, lot = self._instrument(symbol, row), row["priceFilter"], row["lotSizeFilter"]
        spot = self.category == "spot"
        step = amount(answers.part(lot, "basePrecision" if spot else "qtyStep"))
        least = step if spot else amount_in(lot, "minOrderQty") or step
        least_value = amount_in(lot, "minOrderAmt" if spot else "minNotionalValue")
        most_value = amount_in(lot, "maxOrderAmt") or None if spot else None
        limit, market = (
            ("maxLimitOrderQty", "maxMarketOrderQty") if spot else ("maxOrderQty", "maxMktOrderQty")
        )
        most = amount_in(lot, "maxOrderQty") or None
        status = row.get("status", "Trading")
        return Listing(
            instrument,
            amount(answers.part(price, "tickSize")),
            OrderRules(step, least, amount_in(lot, limit) or most, least_value, most_value),
            OrderRules(step, least, amount_in(lot, market) or most, least_value, most_value),
            least_price=amount_in(price, "minPrice"),
            most_price=amount_in(price, "maxPrice") or None,
            shorts=not spot,
            halted="" if status == "Trading" else str(status),
        )

    def _listed(self, body: bytes) -> list[object]:
        """The list that an answer holds. Raises what the venue's code means."""
        message = answers.answer(body)
        code = answers.part(message, "retCode")
        if code != 0:
            said = f"{self.name}: {code}: {message.get('retMsg')}"
            raise (VenueRefusal if code in _REFUSALS else StoreUnavailable)(said)
        return answers.list_of(answers.part(message, "result", "list"))

    def _instrument(self, symbol: str, row: Any) -> Instrument:
        step = "basePrecision" if self.category == "spot" else "qtyStep"
        return Instrument(
            self.name, symbol, decimals_of(answers.part(row, "priceFilter", "tickSize")),
            decimals_of(answers.part(row, "lotSizeFilter", step)),
            inverse=str(row.get("contractType", "")).startswith("Inverse"),
        )  # fmt: skip

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """`kline`."""
        name = answers.interval_name(_INTERVALS, interval_us, self.name)
        answers.check_limit(limit, self.most_klines)
        path = f"/v5/market/kline?category={self.category}&symbol={instrument.symbol}&interval={name}"
        return RestRequest(f"{path}&end={-(-end_us // 1000) - 1}&limit={limit}")

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """The venue gives the newest first, and no count of trades."""
        return [
            answers.kline_of_row(instrument, interval_us, row, now_us) for row in reversed(self._listed(body))
        ]

    def funding_request(self, instrument: Instrument, from_us: int, to_us: int) -> RestRequest:
        """`funding/history`, whose bounds are both inclusive."""
        path = f"/v5/market/funding/history?category={self.category}&symbol={instrument.symbol}"
        span = f"startTime={-(-from_us // 1000)}&endTime={-(-to_us // 1000) - 1}&limit={self.most_funding}"
        return RestRequest(f"{path}&{span}")

    def read_funding(self, instrument: Instrument, body: bytes) -> list[FundingRate]:
        """See the protocol."""
        rows = self._listed(body)
        return answers.funding_of_rows(instrument, rows, "fundingRateTimestamp", "fundingRate")

    @property
    def time_request(self) -> RestRequest:
        """`time`."""
        return RestRequest("/v5/market/time")

    def read_time(self, body: bytes) -> int:
        """Nanoseconds."""
        return integer(answers.part(answers.answer(body), "result", "timeNano")) // 1000


def _hear_control(message: Mapping[str, Any], tracker: StreamTracker) -> Sequence[Event]:
    """A message of no stream that is followed."""
    if "topic" in message:
        return tracker.unknown()
    if message.get("success") is False:
        return tracker.refused(str(message.get("ret_msg")))
    if message.get("type") == "COMMAND_RESP":
        data = message.get("data")
        failed = data.get("failTopics") if isinstance(data, dict) else None
        return tracker.refused(f"topics that failed: {failed}") if failed else ()
    return () if "op" in message else tracker.unknown()


SPOT = Bybit("bybit", "spot")
LINEAR = Bybit("bybit-linear", "linear", most_funding=200)
