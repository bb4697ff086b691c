"""OKX: spot, swaps and futures on one address, symbols such as `BTC-USDT` and `BTC-USDT-SWAP`.

Rules for the order book, from the venue's v5 documentation of the `books` channel: a snapshot (`prevSeqId` -1), then
changes whose `prevSeqId` is the last `seqId`. Equal ids are a heartbeat without change; after maintenance a `seqId` may
be below its `prevSeqId`, and the chain goes on from there. `checksum` is 0 since June 2026 and says nothing. The venue
has announced that the stream's snapshot will end: where a confirmed subscription begins with a change, the snapshot
comes by request instead, and the first change has prevSeqId <= its seqId < seqId. Klines are at an address of their
own. Liquidations come of all contracts of a type together, at most one a contract and second.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta, Raw, Struct, field
from msgspec.json import Decoder

from raysignal.engine.core.amounts import product
from raysignal.engine.core.errors import InvalidField, StoreUnavailable, UnreadableInput, VenueRefusal
from raysignal.engine.core.listings import ContractKind, ListedSymbol, Listing, OrderRules
from raysignal.engine.core.market_events import Channel, Event, FundingRate, Instrument, Kline
from raysignal.engine.market.venues import answers
from raysignal.engine.market.venues.answers import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from raysignal.engine.market.venues.names import is_spot
from raysignal.engine.market.venues.numbers import (
    Number,
    amount,
    amount_in,
    decimals_of,
    integer,
    signed_amount,
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

# From six hours on the venue's plain bars begin at midnight in Hong Kong.
_INTERVALS = {
    SECOND_US: "1s", MINUTE_US: "1m", 3 * MINUTE_US: "3m", 5 * MINUTE_US: "5m", 15 * MINUTE_US: "15m",
    30 * MINUTE_US: "30m", HOUR_US: "1H", 2 * HOUR_US: "2H", 4 * HOUR_US: "4H", 6 * HOUR_US: "6Hutc",
    12 * HOUR_US: "12Hutc", DAY_US: "1Dutc",
}  # fmt: skip
_CONTRACT = ("mark-price", "index-tickers", "open-interest")
_FUNDING, _LIQUIDATIONS = "funding-rate", "liquidation-orders"
_CHANNELS = {Channel.DEPTH: "books", Channel.TRADES: "trades", Channel.QUOTES: "bbo-tbt"}
_KNOWN_CHANNELS = (
    {name: channel for channel, name in _CHANNELS.items()}
    | dict.fromkeys((*_CONTRACT, _FUNDING), Channel.CONTRACT)
    | {_LIQUIDATIONS: Channel.LIQUIDATIONS}
)
_PATHS = {
    "/ws/v5/public": frozenset(Channel) - {Channel.KLINES},
    "/ws/v5/business": frozenset({Channel.KLINES}),
}
_ABOUT = re.compile(
    rb'\{\s*"arg"\s*:\s*\{\s*"channel"\s*:\s*"([\w-]+)"\s*,\s*"inst(?:Id|Type)"\s*:\s*"([\w-]+)"'
)
_ARGUMENTS_A_TEXT = 100
_KINDS = {"SPOT": ContractKind.SPOT, "SWAP": ContractKind.PERPETUAL, "FUTURES": ContractKind.FUTURE}
_CLOSING = "64008"  # the notice that the connection will be closed for an upgrade of the service

_T = TypeVar("_T")
_Only = Annotated[list[_T], Meta(min_length=1, max_length=1)]


class _Argument(Struct, gc=False):
    channel: str = ""
    symbol: str = field(name="instId", default="")


class _Said(Struct, gc=False):
    """What every message says: of a stream, with `arg` and no `event`, or of the connection."""

    arg: _Argument | None = None
    event: str | None = None
    code: str | int | None = None
    msg: str | None = None


class _Message(Struct, Generic[_T], gc=False):
    data: _T
    action: Literal["snapshot", "update"] = "update"


class _Best(Struct, gc=False):
    bids: Raw
    asks: Raw
    ts: str
    last: Number = field(name="seqId")


class _Change(_Best, gc=False):
    previous: Number = field(name="prevSeqId")


class _Trade(Struct, gc=False):
    trade_id: str = field(name="tradeId")
    price: str = field(name="px")
    size: str = field(name="sz")
    side: Literal["buy", "sell"]
    ts: str


class _MarkPrice(Struct, gc=False):
    price: str = field(name="markPx")
    ts: str


class _IndexPrice(Struct, gc=False):
    price: str = field(name="idxPx")
    ts: str


class _OpenInterest(Struct, gc=False):
    contracts: str = field(name="oi")
    ts: str


class _Funding(Struct, gc=False):
    """`fundingTime`: when the rate that is said now is settled."""

    rate: str = field(name="fundingRate")
    next_ms: str = field(name="fundingTime")
    ts: str


class _LiquidationDetail(Struct, gc=False):
    price: str = field(name="bkPx")
    size: str = field(name="sz")
    side: Literal["buy", "sell"]
    ts: str


class _Liquidation(Struct, gc=False):
    symbol: str = field(name="instId")
    details: list[_LiquidationDetail]


class _Answer(Struct, gc=False):
    code: Literal["0"]
    data: _Only[_Best]


_SAID, _SNAPSHOT = Decoder(_Said), Decoder(_Answer)
_CHANGE, _BEST = Decoder(_Message[_Only[_Change]]), Decoder(_Message[_Only[_Best]])
_TRADES, _KLINES = Decoder(_Message[list[_Trade]]), Decoder(_Message[list[list[str]]])


_MARK, _INDEX = Decoder(_Message[_Only[_MarkPrice]]), Decoder(_Message[_Only[_IndexPrice]])
_INTEREST, _RATE = Decoder(_Message[_Only[_OpenInterest]]), Decoder(_Message[_Only[_Funding]])
_LIQUIDATED = Decoder(_Message[list[_Liquidation]])


def _text(operation: str, arguments: Sequence[Mapping[str, str]]) -> str:
    return json.dumps({"op": operation, "args": arguments}, separators=(",", ":"))


def _type_of(symbol: str) -> str:
    """SPOT, SWAP or FUTURES, as the venue's symbols show."""
    ending = symbol.rpartition("-")[2]
    return "SWAP" if ending == "SWAP" else "FUTURES" if ending.isdecimal() else "SPOT"


_HOSTS = Hosts("wss://ws.okx.com:8443", "https://www.okx.com")
# A connection that hears nothing for 30 s is ended by the venue. Requests: as for history-candles.
_MANNERS = RateRules(
    ping_every_s=20.0, ping_text="ping", silence_s=45.0, lifetime_s=None, connects=3, connects_within_s=1.0,
    texts_per_s=3.0, streams=240, weight=20.0, weight_within_s=2.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Okx:
    """See `engine.market.venues.protocol.Venue`."""

    name: str = "okx"
    hosts: Hosts = _HOSTS
    manners: RateRules = _MANNERS
    most_klines: int = 100
    depth_limit: int = 400
    most_funding: int = 100
    numbers_trades: bool = False

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """Books, trades and best prices at one address, klines at another."""
        return tuple(
            StreamRequest(
                path,
                tuple(
                    _text("subscribe", arguments[at : at + _ARGUMENTS_A_TEXT])
                    for at in range(0, len(arguments), _ARGUMENTS_A_TEXT)
                ),
                group,
            )
            for path, channels in _PATHS.items()
            for arguments, group in answers.split_streams(
                subscriptions, channels, self._arguments, self.manners.streams
            )
        )

    def _arguments(self, channel: Channel, each: Subscription) -> Sequence[dict[str, str]]:
        symbol = each.instrument.symbol
        if channel in {Channel.CONTRACT, Channel.LIQUIDATIONS}:
            return _contract_arguments(channel, symbol)
        name = (
            _CHANNELS.get(channel) or f"candle{answers.interval_name(_INTERVALS, each.kline_us, self.name)}"
        )
        return ({"channel": name, "instId": symbol},)

    def tracker(self, subscriptions: Sequence[Subscription]) -> StreamTracker:
        """The state of one connection."""
        return StreamTracker(self, subscriptions)

    def hear(self, raw: bytes, tracker: StreamTracker) -> Sequence[Event]:  # noqa: PLR0911 - a kind each
        """See `Dialect`."""
        if raw == b"pong":
            return ()
        said = _SAID.decode(raw)
        if said.event is not None or said.arg is None:
            return _hear_event(said, tracker)
        kind, symbol = said.arg.channel, said.arg.symbol
        if kind == "books":
            message = _CHANGE.decode(raw)
            (change,) = message.data
            return tracker.depth(
                symbol, change.last, integer(change.ts), change.bids, change.asks,
                previous=change.previous, replaces=message.action == "snapshot",
            )  # fmt: skip
        if kind == "bbo-tbt":
            (best,) = _BEST.decode(raw).data
            return tracker.depth(
                symbol, best.last, integer(best.ts), best.bids, best.asks, replaces=True, top=True
            )
        if kind == "trades":
            return [
                event
                for row in _TRADES.decode(raw).data
                for event in tracker.trade(
                    symbol, row.trade_id, row.price, row.size, 1 if row.side == "buy" else -1, integer(row.ts)
                )
            ]
        if kind.startswith("candle"):
            interval_us = answers.interval_named(_INTERVALS, kind.removeprefix("candle"))
            return [
                event
                for row in _KLINES.decode(raw).data
                for event in tracker.kline(
                    symbol, interval_us, integer(answers.part(row, 0)), row[1:5], answers.part(row, 5), 0,
                    closed=answers.part(row, 8) == "1", ms=0,
                )
            ]  # fmt: skip
        return _hear_contract(kind, symbol, raw, tracker)

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        """See `Dialect`."""
        found = _ABOUT.match(raw)
        if found is None:
            return None
        channel = _KNOWN_CHANNELS.get(found[1].decode())
        return channel, "" if channel is Channel.LIQUIDATIONS else found[2].decode()  # of every symbol

    def judge(self, book: FollowedBook, change: DepthChange) -> SequenceVerdict | Missing:
        """A chain whose ids may start anew; where it meets a snapshot by request, prevSeqId <= seqId < its own."""
        if book.state is BookState.FRESH:
            if change.last <= book.last:
                return SequenceVerdict.STALE
            return (
                SequenceVerdict.APPLY if change.previous <= book.last else Missing(book.last, change.previous)
            )
        if change.previous == book.last:
            return SequenceVerdict.HEARTBEAT if change.last == change.previous else SequenceVerdict.APPLY
        if change.last == book.last and change.previous == book.before:
            return SequenceVerdict.STALE
        return Missing(book.last, change.previous)

    def depth_request(self, instrument: Instrument) -> RestRequest:
        """`books`."""
        return RestRequest(f"/api/v5/market/books?instId={instrument.symbol}&sz={self.depth_limit}")

    def read_snapshot(self, body: bytes) -> DepthSnapshot:
        """The answer to it."""
        (said,) = _SNAPSHOT.decode(body).data
        return DepthSnapshot(said.last, integer(said.ts), said.bids, said.asks)

    def resubscribe(self, instrument: Instrument, channel: Channel) -> tuple[str, ...]:
        """The subscription, taken back and asked for again."""
        if channel is Channel.CONTRACT:
            return ()  # each message says all of its own
        argument = {"channel": _CHANNELS[channel], "instId": instrument.symbol}
        return _text("unsubscribe", [argument]), _text("subscribe", [argument])

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

    @property
    def symbols_requests(self) -> tuple[RestRequest, ...]:
        """One for spot, swaps and futures each."""
        return tuple(RestRequest(f"/api/v5/public/instruments?instType={kind}") for kind in _KINDS)

    def read_symbols(self, body: bytes) -> list[ListedSymbol]:
        """See the protocol; pairs of contracts are named by `instFamily`."""
        return [_listed_symbol(row) for row in self._data(body)]

    def more_symbols(self, body: bytes) -> None:
        """None: all of a type come at once."""

    def _rows(self, symbols: Sequence[str], body: bytes) -> list[tuple[str, Any]]:
        return answers.rows_of(self.name, symbols, self._data(body), "instId")

    def _listing(self, symbol: str, row: Any) -> Listing:
        step, status = amount(answers.part(row, "lotSz")), row.get("state", "live")
        least, most = amount_in(row, "minSz") or step, amount_in(row, "maxMktSz") or None
        spot = is_spot(self.name, symbol)
        return Listing(
            self._instrument(symbol, row),
            amount(answers.part(row, "tickSz")),
            OrderRules(step, least, amount_in(row, "maxLmtSz") or None),
            OrderRules(step, least, None if spot else most, most_value=most if spot else None),
            shorts=not spot,
            halted="" if status == "live" else str(status),
        )

    def _instrument(self, symbol: str, row: Any) -> Instrument:
        prices, sizes = decimals_of(answers.part(row, "tickSz")), decimals_of(answers.part(row, "lotSz"))
        if is_spot(self.name, symbol):
            return Instrument(self.name, symbol, prices, sizes)
        kind = answers.part(row, "ctType")
        if kind not in {"linear", "inverse"}:
            raise UnreadableInput(f"{symbol}: ctType is {kind!r}; expected linear or inverse")
        size = product(amount(answers.part(row, "ctVal")), amount(answers.part(row, "ctMult")))
        if not size:
            raise UnreadableInput(f"{symbol}: a contract without a size")
        return Instrument(self.name, symbol, prices, sizes, size, kind == "inverse")

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """`history-candles`."""
        name = answers.interval_name(_INTERVALS, interval_us, self.name)
        answers.check_limit(limit, self.most_klines)
        path = f"/api/v5/market/history-candles?instId={instrument.symbol}&bar={name}"
        return RestRequest(f"{path}&after={-(-end_us // 1000)}&limit={limit}")

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """The venue gives the newest first."""
        return [
            answers.kline_of_row(instrument, interval_us, row, now_us, closed=answers.part(row, 8) == "1")
            for row in reversed(self._data(body))
        ]

    def _data(self, body: bytes) -> list[object]:
        """The list that an answer holds. Raises what the code means: 50… passes, 51… is wrong in the request."""
        message = answers.answer(body)
        code, listed = answers.part(message, "code"), answers.part(message, "data")
        if code == "0" and isinstance(listed, list):
            return listed
        said = f"{self.name}: {code}: {message.get('msg')}"
        if str(code).startswith("51"):
            raise VenueRefusal(said)
        if str(code).startswith("50"):
            raise StoreUnavailable(said)
        raise UnreadableInput(said)

    def funding_request(self, instrument: Instrument, from_us: int, to_us: int) -> RestRequest:  # noqa: ARG002
        """`funding-rate-history`; the venue gives the newest first, of the last three months."""
        path = f"/api/v5/public/funding-rate-history?instId={instrument.symbol}"
        return RestRequest(f"{path}&after={-(-to_us // 1000)}&limit={self.most_funding}", 2)

    def read_funding(self, instrument: Instrument, body: bytes) -> list[FundingRate]:
        """What was paid in the end, where the venue says it."""
        rows = self._data(body)
        return answers.funding_of_rows(instrument, rows, "fundingTime", "realizedRate", "fundingRate")

    @property
    def time_request(self) -> RestRequest:
        """`time`."""
        return RestRequest("/api/v5/public/time")

    def read_time(self, body: bytes) -> int:
        """Milliseconds."""
        return 1000 * integer(answers.part(answers.answer(body), "data", 0, "ts"))


def _listed_symbol(row: Any) -> ListedSymbol:
    symbol = str(answers.part(row, "instId"))
    kind = _KINDS[_type_of(symbol)]
    base, _, after = str(row.get("instFamily") or symbol).partition("-")
    step = amount_in(row, "lotSz")
    return ListedSymbol(
        symbol=symbol,
        kind=kind,
        inverse=kind is not ContractKind.SPOT and row.get("ctType") == "inverse",
        base=base,
        quote=after.partition("-")[0],
        price_step=amount_in(row, "tickSz"),
        size_step=step,
        least_size=amount_in(row, "minSz") or step,
        least_value=Decimal(0),
        contract_size=Decimal(1)
        if kind is ContractKind.SPOT
        else product(amount_in(row, "ctVal"), amount_in(row, "ctMult")),
        status=answers.status_word(row.get("state", "live"), "live"),
    )


def _contract_arguments(channel: Channel, symbol: str) -> Sequence[dict[str, str]]:
    """Of spot nothing; an index has the name of its assets, and liquidations come of all contracts of a type."""
    kind = _type_of(symbol)
    if kind == "SPOT":
        return ()
    if channel is Channel.LIQUIDATIONS:
        return ({"channel": _LIQUIDATIONS, "instType": kind},)
    index = "-".join(symbol.split("-")[:2])
    names = (*_CONTRACT, _FUNDING) if kind == "SWAP" else _CONTRACT
    return tuple({"channel": name, "instId": index if name == "index-tickers" else symbol} for name in names)


def _hear_contract(kind: str, symbol: str, raw: bytes, tracker: StreamTracker) -> Sequence[Event]:
    """A message of a stream about a contract."""
    if kind == "mark-price":
        (mark,) = _MARK.decode(raw).data
        return tracker.contract(symbol, integer(mark.ts), mark=amount(mark.price))
    if kind == "index-tickers":
        (index,) = _INDEX.decode(raw).data
        return tracker.index(symbol, integer(index.ts), amount(index.price))
    if kind == "open-interest":
        (interest,) = _INTEREST.decode(raw).data
        return tracker.contract(symbol, integer(interest.ts), open_interest=amount(interest.contracts))
    if kind == _FUNDING:
        (said,) = _RATE.decode(raw).data
        rate, next_ms = signed_amount(said.rate), integer(said.next_ms)
        return tracker.contract(symbol, integer(said.ts), funding_rate=rate, next_funding_ms=next_ms)
    if kind == _LIQUIDATIONS:
        return [
            event
            for row in _LIQUIDATED.decode(raw).data
            for each in row.details
            for event in tracker.liquidation(
                row.symbol, amount(each.price), each.size, 1 if each.side == "buy" else -1, integer(each.ts),
                all_symbols=True,
            )
        ]  # fmt: skip
    return tracker.unknown()


def _hear_event(said: _Said, tracker: StreamTracker) -> Sequence[Event]:
    """A message about the connection or a subscription, and not of a stream."""
    if said.event == "error":
        return tracker.refused(f"{said.code}: {said.msg}")
    if said.event == "subscribe" and said.arg is not None and said.arg.channel == "books":
        return tracker.acknowledged(said.arg.symbol)
    if said.event == "notice" and str(said.code) == _CLOSING:
        return tracker.closes()
    return tracker.unknown() if said.event is None else ()


OKX = Okx()
