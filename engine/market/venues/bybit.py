"""Bybit v5: spot and linear contracts, which share their symbols and so are two venues here.

Rules for the order book, from bybit-exchange.github.io (v5, `orderbook`): a snapshot replaces the book whenever one
comes, also one with `u` 1 after a restart of the service; changes (`delta`) count `u` up by one. The best prices are
the book of depth 1, followed in the same way. `seq` can be compared between depths, and is the update id of events.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysignal.engine.core.errors import InvalidField, StoreUnavailable, UnreadableInput, VenueRefusal
from raysignal.engine.core.listings import Listing, OrderRules
from raysignal.engine.core.market_events import Channel, Instrument, Kline
from raysignal.engine.market.shapes import Elsewhere, Form, RowSlot, Slot, Value, ValueUse
from raysignal.engine.market.venues.numbers import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    amount,
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
from raysignal.engine.market.venues.sequence import DEPTH, REPLACED_COUNT, TOP, TRADES
from raysignal.engine.market.venues.tracker import ControlMessage, StreamTracker

_INTERVALS = {
    MINUTE_US: "1", 3 * MINUTE_US: "3", 5 * MINUTE_US: "5", 15 * MINUTE_US: "15", 30 * MINUTE_US: "30",
    HOUR_US: "60", 2 * HOUR_US: "120", 4 * HOUR_US: "240", 6 * HOUR_US: "360", 12 * HOUR_US: "720", DAY_US: "D",
}  # fmt: skip
_TOPICS = {Channel.DEPTH: "orderbook.200", Channel.TRADES: "publicTrade", Channel.QUOTES: "orderbook.1"}
_REFUSALS = frozenset({10001, 10029, 110023})  # parameters that are wrong, a symbol that is none; others pass
_ARGUMENTS_A_TEXT = 10  # what the spot service takes

_BOOK: Form = {
    "s": Value(ValueUse.SYMBOL, Slot.INSTRUMENT),
    "b": Value(ValueUse.BIDS),
    "a": Value(ValueUse.ASKS),
    "u": Value(ValueUse.INTEGER, Slot.LAST),
    "seq": Value(ValueUse.INTEGER, Slot.SEQUENCE),
}
_TRADE: Form = {
    "T": Value(ValueUse.INTEGER, RowSlot.MS),
    "s": Value(ValueUse.SYMBOL, Slot.INSTRUMENT),
    "S": Value(ValueUse.WORD, RowSlot.SIDE, words={"Buy": 1, "Sell": -1}),
    "v": Value(ValueUse.SIZE, RowSlot.SIZE),
    "p": Value(ValueUse.PRICE, RowSlot.PRICE),
    "i": Value(ValueUse.ID, RowSlot.ID_START),
}
_KINDS = {"orderbook.200": DEPTH, "orderbook.1": TOP, "publicTrade": TRADES}
_STREAM: Form = {
    "topic": Value(ValueUse.KIND, Slot.KIND, words=_KINDS, before="."),
    "type": Value(ValueUse.WORD, Slot.SNAPSHOT, words={"snapshot": 1, "delta": 0}),
    "ts": Value(ValueUse.INTEGER, Slot.MS),
    "data": Value(
        ValueUse.DATA, forms={DEPTH: _BOOK, TOP: _BOOK, TRADES: _TRADE}, listed=frozenset({TRADES})
    ),
    "cts": Value(ValueUse.INTEGER, needed=False),
}
_CHANNELS = {topic: channel for channel, topic in _TOPICS.items()}
_ABOUT = re.compile(rb'\{\s*"topic"\s*:\s*"([\w.]+)\.([\w-]+)"')


def _text(operation: str, topics: Sequence[str]) -> str:
    return json.dumps({"op": operation, "args": topics}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class BybitDialect:
    """See `engine.market.venues.tracker.Dialect`."""

    rule: int = REPLACED_COUNT
    levels: int = 200

    @property
    def stream(self) -> Form:
        return _STREAM

    @property
    def depth(self) -> None:
        return None

    def depth_request(self, instrument: Instrument) -> None:  # noqa: ARG002 - snapshots come by the stream
        return None

    def resubscribe(self, instrument: Instrument) -> tuple[str, ...]:
        topic = f"{_TOPICS[Channel.DEPTH]}.{instrument.symbol}"
        return _text("unsubscribe", [topic]), _text("subscribe", [topic])

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        found = _ABOUT.match(raw)
        return None if found is None else (_CHANNELS.get(found[1].decode()), found[2].decode())

    def hear(
        self, message: object, instruments: Mapping[str, Instrument], received_us: int
    ) -> ControlMessage | None:
        if not isinstance(message, dict):
            return None
        if "topic" in message:
            topic = message["topic"]
            if isinstance(topic, str) and topic.startswith("kline."):
                return ControlMessage(tuple(_klines(topic, message, instruments, received_us)))
            return None
        if message.get("success") is False:
            return ControlMessage(refused=str(message.get("ret_msg")))
        if message.get("type") == "COMMAND_RESP":
            data = message.get("data")
            failed = data.get("failTopics") if isinstance(data, dict) else None
            return ControlMessage(refused=f"topics that failed: {failed}" if failed else "")
        return ControlMessage(unknown="op" not in message)


def _klines(
    topic: str, message: object, instruments: Mapping[str, Instrument], received_us: int
) -> list[Kline]:
    _, name, symbol = (*topic.split(".", 2), "", "")[:3]
    interval = next((us for us, known in _INTERVALS.items() if name == known), None)
    if interval is None or symbol not in instruments:
        raise Elsewhere
    exchange_us = 1000 * integer(part(message, "ts"))
    klines = []
    rows = part(message, "data")
    if not isinstance(rows, list):
        raise UnreadableInput("klines are no list")
    for row in rows:
        prices = (part(row, "open"), part(row, "high"), part(row, "low"), part(row, "close"))
        klines.append(
            kline(
                instruments[symbol], interval, 1000 * integer(part(row, "start")), prices, part(row, "volume"), 0,
                closed=part(row, "confirm") is True, exchange_us=exchange_us, received_us=received_us,
            )
        )  # fmt: skip
    return klines


_HOSTS = Hosts("wss://stream.bybit.com", "https://api.bybit.com")
_MANNERS = RateRules(
    ping_every_s=20.0, ping_text='{"op":"ping"}', silence_s=45.0, lifetime_s=None, connects=500,
    connects_within_s=300.0, texts_per_s=10.0, streams=200,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bybit:
    """See `engine.market.venues.protocol.Venue`. `category` is the venue's own name of the market."""

    name: str
    category: str
    hosts: Hosts = _HOSTS
    manners: RateRules = _MANNERS
    most_klines: int = 1000
    numbers_trades: bool = False

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """One for each `manners.streams` topics."""
        openings = []
        group: list[Subscription] = []
        topics: list[str] = []
        for each in subscriptions:
            more = [self._topic(each, channel) for channel in Channel if channel in each.channels]
            if topics and len(topics) + len(more) > self.manners.streams:
                openings.append(self._opening(topics, group))
                group, topics = [], []
            if more:
                group.append(each)
                topics += more
        if topics:
            openings.append(self._opening(topics, group))
        return tuple(openings)

    def _topic(self, each: Subscription, channel: Channel) -> str:
        if channel is Channel.KLINES:
            return f"kline.{interval_name(_INTERVALS, each.kline_us, self.name)}.{each.instrument.symbol}"
        return f"{_TOPICS[channel]}.{each.instrument.symbol}"

    def _opening(self, topics: Sequence[str], group: Sequence[Subscription]) -> StreamRequest:
        texts = tuple(
            _text("subscribe", topics[at : at + _ARGUMENTS_A_TEXT])
            for at in range(0, len(topics), _ARGUMENTS_A_TEXT)
        )
        return StreamRequest(f"/v5/public/{self.category}", texts, tuple(group))

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

    def _rows(self, symbols: Sequence[str], body: bytes) -> list[tuple[str, Any]]:
        found = {part(each, "symbol"): each for each in self._listed(body)}
        for symbol in symbols:
            if symbol not in found:
                raise InvalidField("symbol", symbol, f"one that {self.name} trades")
        return [(symbol, found[symbol]) for symbol in symbols]

    def _listing(self, symbol: str, row: Any) -> Listing:
        instrument, price, lot = self._instrument(symbol, row), row["priceFilter"], row["lotSizeFilter"]
        spot = self.category == "spot"
        step = amount(part(lot, "basePrecision" if spot else "qtyStep"))
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
            amount(part(price, "tickSize")),
            OrderRules(step, least, amount_in(lot, limit) or most, least_value, most_value),
            OrderRules(step, least, amount_in(lot, market) or most, least_value, most_value),
            least_price=amount_in(price, "minPrice"),
            most_price=amount_in(price, "maxPrice") or None,
            halted="" if status == "Trading" else str(status),
        )

    def _listed(self, body: bytes) -> list[object]:
        """The list that an answer holds. Raises what the venue's code means."""
        message = answer(body)
        code = part(message, "retCode")
        if code != 0:
            said = f"{self.name}: {code}: {message.get('retMsg')}"
            raise (VenueRefusal if code in _REFUSALS else StoreUnavailable)(said)
        listed = part(message, "result", "list")
        if not isinstance(listed, list):
            raise UnreadableInput(f"{self.name}: an answer without a list")
        return listed

    def _instrument(self, symbol: str, row: Any) -> Instrument:
        step = "basePrecision" if self.category == "spot" else "qtyStep"
        return Instrument(
            self.name, symbol, decimals_of(part(row, "priceFilter", "tickSize")),
            decimals_of(part(row, "lotSizeFilter", step)),
            inverse=str(row.get("contractType", "")).startswith("Inverse"),
        )  # fmt: skip

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """`kline`."""
        name = interval_name(_INTERVALS, interval_us, self.name)
        check_limit(limit, self.most_klines)
        path = f"/v5/market/kline?category={self.category}&symbol={instrument.symbol}&interval={name}"
        return RestRequest(f"{path}&end={-(-end_us // 1000) - 1}&limit={limit}")

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """The venue gives the newest first, and no count of trades."""
        klines = []
        for row in reversed(self._listed(body)):
            open_us = 1000 * integer(part(row, 0))
            prices = (part(row, 1), part(row, 2), part(row, 3), part(row, 4))
            closed = open_us + interval_us <= now_us
            klines.append(
                kline(
                    instrument, interval_us, open_us, prices, part(row, 5), 0,
                    closed=closed, exchange_us=0, received_us=now_us,
                )
            )  # fmt: skip
        return klines

    @property
    def time_request(self) -> RestRequest:
        """`time`."""
        return RestRequest("/v5/market/time")

    def read_time(self, body: bytes) -> int:
        """Nanoseconds."""
        return integer(part(answer(body), "result", "timeNano")) // 1000

    def tracker(self, subscriptions: Sequence[Subscription]) -> StreamTracker:
        """The state of one connection."""
        return StreamTracker(BybitDialect(), subscriptions)


SPOT = Bybit("bybit", "spot")
LINEAR = Bybit("bybit-linear", "linear")
