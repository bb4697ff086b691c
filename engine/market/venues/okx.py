"""OKX: spot, swaps and futures on one address, symbols such as `BTC-USDT` and `BTC-USDT-SWAP`.

Rules for the order book, from the venue's v5 documentation of the `books` channel: a snapshot (`prevSeqId` -1), then
changes whose `prevSeqId` is the last `seqId`. Equal ids are a heartbeat without change; after maintenance a `seqId` may
be below its `prevSeqId`, and the chain goes on from there. `checksum` is 0 since June 2026 and says nothing. The venue
has announced that the stream's snapshot will end: where a confirmed subscription begins with a change, the snapshot
comes by request instead, and the first change has prevSeqId <= its seqId < seqId. Klines are at an address of their
own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysignal.engine.core.amounts import product
from raysignal.engine.core.errors import InvalidField, StoreUnavailable, UnreadableInput, VenueRefusal
from raysignal.engine.core.listings import Listing, OrderRules
from raysignal.engine.core.market_events import Channel, Instrument, Kline
from raysignal.engine.market.shapes import Elsewhere, Form, RowSlot, Slot, Value, ValueUse
from raysignal.engine.market.venues.numbers import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
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
from raysignal.engine.market.venues.sequence import BEST, DEPTH, RESETTING_CHAIN, TRADES
from raysignal.engine.market.venues.tracker import ControlMessage, StreamTracker

# From six hours on the venue's plain bars begin at midnight in Hong Kong.
_INTERVALS = {
    SECOND_US: "1s", MINUTE_US: "1m", 3 * MINUTE_US: "3m", 5 * MINUTE_US: "5m", 15 * MINUTE_US: "15m",
    30 * MINUTE_US: "30m", HOUR_US: "1H", 2 * HOUR_US: "2H", 4 * HOUR_US: "4H", 6 * HOUR_US: "6Hutc",
    12 * HOUR_US: "12Hutc", DAY_US: "1Dutc",
}  # fmt: skip
_CHANNELS = {Channel.DEPTH: "books", Channel.TRADES: "trades", Channel.QUOTES: "bbo-tbt"}
_PATHS = {
    "/ws/v5/public": frozenset({Channel.DEPTH, Channel.TRADES, Channel.QUOTES}),
    "/ws/v5/business": frozenset({Channel.KLINES}),
}
_ARGUMENTS_A_TEXT = 100
_LEVELS_SHOWN = 400
_CLOSING = "64008"  # the notice that the connection will be closed for an upgrade of the service

_LEVELS: Form = {
    "asks": Value(ValueUse.ASKS),
    "bids": Value(ValueUse.BIDS),
    "ts": Value(ValueUse.INTEGER_TEXT, Slot.MS),
}
_BOOK: Form = {
    **_LEVELS,
    "checksum": Value(ValueUse.INTEGER, needed=False),
    "prevSeqId": Value(ValueUse.INTEGER, Slot.PREVIOUS),
    "seqId": Value(ValueUse.INTEGER, Slot.LAST),
}
_BEST: Form = {**_LEVELS, "seqId": Value(ValueUse.INTEGER, Slot.LAST)}
_TRADE: Form = {
    "tradeId": Value(ValueUse.ID, RowSlot.ID_START),
    "px": Value(ValueUse.PRICE, RowSlot.PRICE),
    "sz": Value(ValueUse.SIZE, RowSlot.SIZE),
    "side": Value(ValueUse.WORD, RowSlot.SIDE, words={"buy": 1, "sell": -1}),
    "ts": Value(ValueUse.INTEGER_TEXT, RowSlot.MS),
}
_ARGUMENT: Form = {
    "channel": Value(ValueUse.KIND, Slot.KIND, words={"books": DEPTH, "trades": TRADES, "bbo-tbt": BEST}),
    "instId": Value(ValueUse.SYMBOL, Slot.INSTRUMENT),
}
_STREAM: Form = {
    "arg": Value(ValueUse.FORM, form=_ARGUMENT),
    "action": Value(ValueUse.WORD, Slot.SNAPSHOT, needed=False, words={"snapshot": 1, "update": 0}),
    "data": Value(
        ValueUse.DATA,
        forms={DEPTH: _BOOK, TRADES: _TRADE, BEST: _BEST},
        listed=frozenset({DEPTH, TRADES, BEST}),
    ),
}
# The answer's `data` is listed like the stream's; `code` stands before it and plays the kind.
_SNAPSHOT: Form = {
    "code": Value(ValueUse.KIND, Slot.KIND, words={"0": DEPTH}),
    "data": Value(ValueUse.DATA, forms={DEPTH: _BEST}, listed=frozenset({DEPTH})),
}
_KNOWN_CHANNELS = {name: channel for channel, name in _CHANNELS.items()}
_ABOUT = re.compile(rb'\{\s*"arg"\s*:\s*\{\s*"channel"\s*:\s*"([\w-]+)"\s*,\s*"instId"\s*:\s*"([\w-]+)"')


def _text(operation: str, arguments: Sequence[Mapping[str, str]]) -> str:
    return json.dumps({"op": operation, "args": arguments}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class OkxDialect:
    """See `engine.market.venues.tracker.Dialect`."""

    rule: int = RESETTING_CHAIN
    levels: int = _LEVELS_SHOWN

    @property
    def stream(self) -> Form:
        return _STREAM

    @property
    def depth(self) -> Form:
        return _SNAPSHOT

    def depth_request(self, instrument: Instrument) -> RestRequest:
        return RestRequest(f"/api/v5/market/books?instId={instrument.symbol}&sz={self.levels}")

    def resubscribe(self, instrument: Instrument) -> tuple[str, ...]:
        argument = {"channel": "books", "instId": instrument.symbol}
        return _text("unsubscribe", [argument]), _text("subscribe", [argument])

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        found = _ABOUT.match(raw)
        return None if found is None else (_KNOWN_CHANNELS.get(found[1].decode()), found[2].decode())

    def hear(
        self, message: object, instruments: Mapping[str, Instrument], received_us: int
    ) -> ControlMessage | None:
        if not isinstance(message, dict):
            return None
        argument = message.get("arg")
        channel = argument.get("channel") if isinstance(argument, dict) else None
        if "event" in message or "arg" not in message:
            return _hear_event(message, argument, channel)
        if not isinstance(channel, str) or not channel.startswith("candle"):
            return None
        return ControlMessage(
            tuple(_klines(channel, part(argument, "instId"), part(message, "data"), instruments, received_us))
        )


def _hear_event(message: Mapping[str, object], argument: object, channel: object) -> ControlMessage:
    """A message about the connection or a subscription, and not of a stream."""
    event, code = message.get("event"), message.get("code")
    if event == "error":
        return ControlMessage(refused=f"{code}: {message.get('msg')}")
    if event == "subscribe" and channel == "books":
        return ControlMessage(follows=str(part(argument, "instId")))
    return ControlMessage(closing=event == "notice" and str(code) == _CLOSING, unknown=event is None)


def _klines(
    channel: str, symbol: object, rows: object, instruments: Mapping[str, Instrument], received_us: int
) -> list[Kline]:
    interval = next((us for us, name in _INTERVALS.items() if channel == f"candle{name}"), None)
    if interval is None or not isinstance(symbol, str) or symbol not in instruments:
        raise Elsewhere
    if not isinstance(rows, list):
        raise UnreadableInput("klines are no list")
    return [_kline(instruments[symbol], interval, row, received_us) for row in rows]


def _kline(instrument: Instrument, interval_us: int, row: object, received_us: int) -> Kline:
    prices = (part(row, 1), part(row, 2), part(row, 3), part(row, 4))
    return kline(
        instrument, interval_us, 1000 * integer(part(row, 0)), prices, part(row, 5), 0,
        closed=part(row, 8) == "1", exchange_us=0, received_us=received_us,
    )  # fmt: skip


def _type_of(symbol: str) -> str:
    """SPOT, SWAP or FUTURES, as the venue's symbols show."""
    ending = symbol.rpartition("-")[2]
    return "SWAP" if ending == "SWAP" else "FUTURES" if ending.isdecimal() else "SPOT"


_HOSTS = Hosts("wss://ws.okx.com:8443", "https://www.okx.com")
# A connection that hears nothing for 30 s is ended by the venue.
_MANNERS = RateRules(
    ping_every_s=20.0, ping_text="ping", silence_s=45.0, lifetime_s=None, connects=3, connects_within_s=1.0,
    texts_per_s=3.0, streams=240,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Okx:
    """See `engine.market.venues.protocol.Venue`."""

    name: str = "okx"
    hosts: Hosts = _HOSTS
    manners: RateRules = _MANNERS
    most_klines: int = 100
    numbers_trades: bool = False

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """Books, trades and best prices at one address, klines at another."""
        openings = []
        for path, channels in _PATHS.items():
            group: list[Subscription] = []
            arguments: list[dict[str, str]] = []
            for each in subscriptions:
                wanted = Subscription(each.instrument, each.channels & channels, each.kline_us)
                more = [
                    {"channel": self._channel(channel, each.kline_us), "instId": each.instrument.symbol}
                    for channel in Channel
                    if channel in wanted.channels
                ]
                if arguments and len(arguments) + len(more) > self.manners.streams:
                    openings.append(_opening(path, arguments, group))
                    group, arguments = [], []
                if more:
                    group.append(wanted)
                    arguments += more
            if arguments:
                openings.append(_opening(path, arguments, group))
        return tuple(openings)

    def _channel(self, channel: Channel, interval_us: int) -> str:
        if channel is Channel.KLINES:
            return f"candle{interval_name(_INTERVALS, interval_us, self.name)}"
        return _CHANNELS[channel]

    def instruments_request(self, symbols: Sequence[str]) -> RestRequest:
        """All instruments of one type; `InvalidField` for symbols of several."""
        kinds = {_type_of(symbol) for symbol in symbols}
        if len(kinds) != 1:
            raise InvalidField("symbols", list(symbols), "symbols of one type: spot, swaps or futures")
        one = f"&instId={symbols[0]}" if len(symbols) == 1 else ""
        return RestRequest(f"/api/v5/public/instruments?instType={kinds.pop()}{one}")

    def read_instruments(self, symbols: Sequence[str], body: bytes) -> list[Instrument]:
        """Sizes of swaps and futures are contracts, linear or inverse as `ctType` says."""
        return [self._instrument(symbol, row) for symbol, row in self._rows(symbols, body)]

    def read_listings(self, symbols: Sequence[str], body: bytes) -> list[Listing]:
        """Lots, ticks and largest sizes; the venue has no least value. `maxMktSz` of spot is in dollars."""
        return [self._listing(symbol, row) for symbol, row in self._rows(symbols, body)]

    def _rows(self, symbols: Sequence[str], body: bytes) -> list[tuple[str, Any]]:
        listed = self._data(body)
        found = {part(each, "instId"): each for each in listed}
        for symbol in symbols:
            if symbol not in found:
                raise InvalidField("symbol", symbol, f"one that {self.name} trades")
        return [(symbol, found[symbol]) for symbol in symbols]

    def _listing(self, symbol: str, row: Any) -> Listing:
        step, status = amount(part(row, "lotSz")), row.get("state", "live")
        least, most = amount_in(row, "minSz") or step, amount_in(row, "maxMktSz") or None
        spot = _type_of(symbol) == "SPOT"
        return Listing(
            self._instrument(symbol, row),
            amount(part(row, "tickSz")),
            OrderRules(step, least, amount_in(row, "maxLmtSz") or None),
            OrderRules(step, least, None if spot else most, most_value=most if spot else None),
            halted="" if status == "live" else str(status),
        )

    def _instrument(self, symbol: str, row: Any) -> Instrument:
        prices, sizes = decimals_of(part(row, "tickSz")), decimals_of(part(row, "lotSz"))
        if _type_of(symbol) == "SPOT":
            return Instrument(self.name, symbol, prices, sizes)
        kind = part(row, "ctType")
        if kind not in {"linear", "inverse"}:
            raise UnreadableInput(f"{symbol}: ctType is {kind!r}; expected linear or inverse")
        size = product(amount(part(row, "ctVal")), amount(part(row, "ctMult")))
        if not size:
            raise UnreadableInput(f"{symbol}: a contract without a size")
        return Instrument(self.name, symbol, prices, sizes, size, kind == "inverse")

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """`history-candles`."""
        name = interval_name(_INTERVALS, interval_us, self.name)
        check_limit(limit, self.most_klines)
        path = f"/api/v5/market/history-candles?instId={instrument.symbol}&bar={name}"
        return RestRequest(f"{path}&after={-(-end_us // 1000)}&limit={limit}")

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """The venue gives the newest first."""
        return [_kline(instrument, interval_us, row, now_us) for row in reversed(self._data(body))]

    def _data(self, body: bytes) -> list[object]:
        """The list that an answer holds. Raises what the code means: 50… passes, 51… is wrong in the request."""
        message = answer(body)
        code, listed = part(message, "code"), part(message, "data")
        if code == "0" and isinstance(listed, list):
            return listed
        said = f"{self.name}: {code}: {message.get('msg')}"
        if str(code).startswith("51"):
            raise VenueRefusal(said)
        if str(code).startswith("50"):
            raise StoreUnavailable(said)
        raise UnreadableInput(said)

    @property
    def time_request(self) -> RestRequest:
        """`time`."""
        return RestRequest("/api/v5/public/time")

    def read_time(self, body: bytes) -> int:
        """Milliseconds."""
        return 1000 * integer(part(answer(body), "data", 0, "ts"))

    def tracker(self, subscriptions: Sequence[Subscription]) -> StreamTracker:
        """The state of one connection."""
        return StreamTracker(OkxDialect(), subscriptions)


def _opening(
    path: str, arguments: Sequence[Mapping[str, str]], group: Sequence[Subscription]
) -> StreamRequest:
    texts = tuple(
        _text("subscribe", arguments[at : at + _ARGUMENTS_A_TEXT])
        for at in range(0, len(arguments), _ARGUMENTS_A_TEXT)
    )
    return StreamRequest(path, texts, tuple(group))


OKX = Okx()
