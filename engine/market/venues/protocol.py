"""What the feed needs to know of an exchange: one module a venue implements it, `tests/contract` says when it holds.

A venue is a value without state and without IO: it says which addresses to open, what to send, when to answer, and
makes the `Tracker` of a connection, which turns raw messages into events. The feed (`engine.market.feed`) does what
they ask for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from raysignal.engine.core.listings import ListedSymbol, Listing
from raysignal.engine.core.market_events import Channel, Event, FundingRate, Instrument, Kline
from raysignal.engine.market.books import OrderBook


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is wanted of one instrument.

    Attributes:
        kline_us: the length of the klines, if `channels` has them.
    """

    instrument: Instrument
    channels: frozenset[Channel] = frozenset({Channel.DEPTH, Channel.TRADES, Channel.QUOTES})
    kline_us: int = 60_000_000


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where a venue is reached: `wss://host[:port]` and `https://host[:port]`, without a path."""

    stream: str
    rest: str


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """One connection: the path (with query) of the WebSocket, and the texts to send once it is open.

    Attributes:
        subscriptions: what this connection brings; its tracker is made for these. A venue may spread the channels
            of one instrument over several connections (Binance USD-M and OKX do).
    """

    path: str
    texts: tuple[str, ...]
    subscriptions: tuple[Subscription, ...]


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A GET to the venue's REST side: path with query; its weight in the venue's own count of requests."""

    path: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class RateRules:
    """What the venue asks of those who connect.

    Attributes:
        ping_every_s: send `ping_text` when nothing was sent for so long; None: only protocol pings, answered by
            the WebSocket library.
        ping_text: an application's ping, such as `ping` or `{"op":"ping"}`.
        silence_s: a connection that says nothing at all for so long is taken for dead.
        lifetime_s: the venue ends a connection after so long; it is renewed before. None: no limit.
        connects, connects_within_s: that many connection attempts within that time, at most.
        texts_per_s: messages that may be sent on a connection a second.
        streams: subscriptions that one connection takes.
        weight, weight_within_s: of REST requests, that much within that time, at most.
    """

    ping_every_s: float | None
    ping_text: str | None
    silence_s: float
    lifetime_s: float | None
    connects: int
    connects_within_s: float
    texts_per_s: float
    streams: int
    weight: float
    weight_within_s: float


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """What a tracker needs to be in sync again, besides time.

    Attributes:
        request: a REST snapshot of the depth, whose body goes to `Tracker.snapshot`; None: the stream brings it.
        texts: messages to send on the connection, such as a fresh subscription.
    """

    instrument: Instrument
    request: RestRequest | None = None
    texts: tuple[str, ...] = ()


class Tracker(Protocol):
    """One connection's state: raw messages in, events out. No IO, no clock; a message is never half taken."""

    def receive(self, raw: bytes, received_us: int) -> Sequence[Event]:
        """One message as it came. What cannot be read is counted (`counts["malformed"]`) and loses the book or the
        trades that it was about (or, if that cannot be told, all of the connection); a JSON object that is about no
        stream is counted (`counts["unknown"]`) and loses nothing. It never raises.
        """

    def snapshot(self, instrument: Instrument, body: bytes, received_us: int) -> Sequence[Event]:
        """The answer to a `ResyncRequest.request`. One older than what is buffered wants another."""

    def wants(self) -> Sequence[ResyncRequest]:
        """What is needed now; each want is given once, until it is answered or lost again.

        A snapshot is asked for when the first change has come, so that it is not older than the stream; a request
        that fails for good may be made again by the feed as it sees fit.
        """

    def disconnected(self, received_us: int) -> Sequence[Event]:
        """The connection is gone: books are lost, trades are missed, what `StreamRequest` brings begins anew."""

    def in_sync(self, instrument: Instrument) -> bool:
        """Whether the book is whole."""

    def book(self, instrument: Instrument) -> OrderBook:
        """The order book after the last message, to look into (`levels`, `walk`); empty while not in sync."""

    def known(self, instrument: Instrument) -> tuple[int, int]:
        """Ticks of the lowest bid and the highest ask that the book is known to; 0: to its end, or as far as the
        stream itself shows the book.
        """

    @property
    def counts(self) -> Mapping[str, int]:
        """`messages`, `events`, `stale` (old updates passed over), `gaps`, `resyncs` (books whole again after a
        loss), `crossed`, `malformed`, `stale_snapshots`, `unknown` (well-formed messages about nothing that was
        subscribed to, or of a kind that is not known), `refused` (the venue's error texts; the last of them is
        `last_refusal`), `refreshes` (snapshots asked for anew because the price came to the edge of what the last one
        showed), `agreed` and `differed` (best prices of the venue's own beside the book's after the same update),
        `closes` (times that the venue announced that it will end the connection).
        """

    @property
    def last_refusal(self) -> str:
        """What the venue said when it last refused something; empty if it never did."""

    @property
    def closing(self) -> bool:
        """Whether the venue has announced that it will end this connection."""


class Venue(Protocol):
    """An exchange. `name` is unique, lower case, such as `binance`, `binance-usdm`, `okx`."""

    @property
    def name(self) -> str:
        """The name in settings, instruments and files."""

    @property
    def hosts(self) -> Hosts:
        """The venue's public addresses."""

    @property
    def manners(self) -> RateRules:
        """See `RateRules`."""

    def openings(self, subscriptions: Sequence[Subscription]) -> tuple[StreamRequest, ...]:
        """The connections that bring these, each with a tracker of its own; `manners.streams` is kept."""

    def instruments_request(self, symbols: Sequence[str]) -> RestRequest:
        """Asks how these symbols' numbers are written."""

    def read_instruments(self, symbols: Sequence[str], body: bytes) -> list[Instrument]:
        """The answer to it, in the order of `symbols`; `InvalidField` names a symbol that the venue does not trade,
        `UnreadableInput` a body that is no answer.
        """

    def read_listings(self, symbols: Sequence[str], body: bytes) -> list[Listing]:
        """What the same answer says of orders in these symbols; raises as `read_instruments`, and `InvalidField` for an
        inverse contract. A rule that the venue does not state is none.
        """

    @property
    def symbols_requests(self) -> tuple[RestRequest, ...]:
        """Ask for every symbol that the venue lists, each for a part of them."""

    def read_symbols(self, body: bytes) -> list[ListedSymbol]:
        """The answer to one of these, or to `instruments_request`; raises `UnreadableInput` for a body that is none."""

    def more_symbols(self, body: bytes) -> RestRequest | None:
        """What asks for the symbols after those of an answer; None: there are no more."""

    @property
    def numbers_trades(self) -> bool:
        """Whether the ids of an instrument's trades count up by one, so that one that is left out is noticed."""

    @property
    def most_klines(self) -> int:
        """How many klines one answer holds at most."""

    def klines_request(
        self, instrument: Instrument, interval_us: int, end_us: int, limit: int
    ) -> RestRequest:
        """Asks for the last `limit` klines that open before `end_us`.

        `InvalidField` for an interval it has not, and for more than `most_klines`: ask again with an earlier end.
        """

    def read_klines(self, instrument: Instrument, interval_us: int, body: bytes, now_us: int) -> list[Kline]:
        """The answer to it, oldest first; `closed` says which can no longer change at `now_us`."""

    @property
    def most_funding(self) -> int:
        """How many funding rates one answer holds at most; 0: the venue has none."""

    def funding_request(self, instrument: Instrument, from_us: int, to_us: int) -> RestRequest:
        """Asks for the rates that were settled from `from_us` on and before `to_us`, the last `most_funding` of them.

        An answer may hold earlier ones, too. A span of a month is never too long.
        """

    def read_funding(self, instrument: Instrument, body: bytes) -> list[FundingRate]:
        """The answer to it, oldest first."""

    @property
    def time_request(self) -> RestRequest:
        """Asks what time it is there."""

    def read_time(self, body: bytes) -> int:
        """The answer to it, UTC microseconds; `UnreadableInput` for a body that is none."""

    def tracker(self, subscriptions: Sequence[Subscription]) -> Tracker:
        """The state of one connection, made for the subscriptions of an `StreamRequest` (or of a recording)."""


def told_by_books(instrument: Instrument, openings: Sequence[StreamRequest]) -> bool:
    """Whether books come by the connection whose opening, and not a text later on, asks for the trades."""
    wanted = {Channel.DEPTH, Channel.TRADES}
    return any(
        each.instrument == instrument and wanted <= each.channels and not opening.texts
        for opening in openings
        for each in opening.subscriptions
    )
