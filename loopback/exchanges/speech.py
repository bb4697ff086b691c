"""How an exchange speaks, seen from its side: the words that the venues' modules here share.

A `VenueProtocol` is a value without state and without IO: it reads what a client sends, and says what a step of the
market is on each of its streams. The loopback server and the runner without sockets use the same ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from raysignal.engine.core.market_events import Channel, Instrument
from raysignal.loopback.exchanges.market import (
    SECOND_US,
    GeneratedBook,
    GeneratedCandle,
    GeneratedContract,
    Print,
    Step,
)

_ASSETS = re.compile(r"([A-Z0-9]+?)-?(USDT|USDC|USD|BTC)(?:[-_].*)?$")
_LAST_DAY = re.compile(r"[-_]\d{6}$")

KLINE_EVERY_US = 2_000_000
"""How often a bar that is not over is said again."""


class SubscribedStream(NamedTuple):
    """One subscription: the venue's own name of it, and what it is about."""

    name: str
    channel: Channel
    symbol: str
    interval_us: int = 0


class Message(NamedTuple):
    """One message of a stream; `channel` is None for answers to what the client sent."""

    raw: bytes
    channel: Channel | None
    symbol: str
    us: int


class ShownMarket(Protocol):
    """What an exchange shows of a market, made up (`GeneratedMarket`) or recorded."""

    @property
    def instrument(self) -> Instrument:
        """What is traded."""

    @property
    def tick(self) -> int:
        """The smallest step of the price, in units of its last decimal."""

    @property
    def now_us(self) -> int:
        """The market's time."""

    @property
    def step_us(self) -> int:
        """Time from one step to the next."""

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size."""

    def newest(self) -> GeneratedBook:
        """The book as it is."""

    def candle(self, interval_us: int, open_us: int) -> GeneratedCandle:
        """The bar that opens then."""

    def candles(self, interval_us: int, end_us: int, limit: int) -> list[GeneratedCandle]:
        """The last bars that open before `end_us`."""

    def funding(self, from_us: int, to_us: int) -> list[tuple[int, str]]:
        """Instant and rate of each funding from then on and before."""

    def contract(self) -> GeneratedContract:
        """The state of a contract now."""

    def liquidation(self) -> Print | None:
        """Whose position was closed by force in the second that has just begun."""


class MessageSubject(NamedTuple):
    """What a message of a stream is about; `number` counts a book's messages where the venue does (Bybit)."""

    channel: Channel
    symbol: str
    interval_us: int = 0
    number: int = 0


class RestAnswer(NamedTuple):
    """An answer of the REST side; `cut`: it ends in its middle."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """What a client's text amounts to: replies, and streams that begin or end."""

    replies: tuple[bytes, ...] = ()
    begun: tuple[SubscribedStream, ...] = ()
    ended: tuple[SubscribedStream, ...] = ()


class VenueProtocol(Protocol):
    """What a venue's module here provides.

    `symbols` says which instruments there are; what is asked about others is refused as the venue does it.
    """

    def opened(
        self, path: str, query: Mapping[str, str], symbols: frozenset[str]
    ) -> tuple[SubscribedStream, ...] | None:
        """The streams that the address itself subscribes to; None: there are no streams at this path."""

    def heard(self, path: str, text: str, symbols: frozenset[str]) -> ClientRequest:
        """What a client's text asks for."""

    def begin(self, stream: SubscribedStream, market: ShownMarket) -> Sequence[bytes]:
        """What a stream says first, before any step."""

    def step(self, stream: SubscribedStream, step: Step, market: ShownMarket) -> Sequence[bytes]:
        """What a stream says of a step that was just made."""

    def about(self, raw: bytes) -> MessageSubject | None:
        """What a recorded message is about; None: no message of a stream."""

    def depth_of(self, path: str, query: Mapping[str, str]) -> str | None:
        """The symbol whose book a request asks for; None: it asks for something else."""

    def depth(self, market: ShownMarket, book: GeneratedBook) -> bytes:
        """The answer to such a request."""

    def answer(
        self, path: str, query: Mapping[str, str], markets: Mapping[str, ShownMarket]
    ) -> RestAnswer | None:
        """The answer to any other request; None: there is nothing at this path."""

    def refusal(self, status: int, message: str) -> bytes:
        """The body of an error."""


def dumps(message: Any) -> bytes:
    """JSON, compact."""
    return orjson.dumps(message)


def text_of(units: int, decimals: int) -> str:
    """A price or size in units of its last decimal, as venues write it."""
    if not decimals:
        return str(units)
    whole, part = divmod(units, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"


def levels(side: Mapping[int, int], market: ShownMarket, *, best_first: int = 0) -> list[list[str]]:
    """Rows of price and size; `best_first`: 1 for asks, -1 for bids, 0 as they come."""
    prices = sorted(side, key=lambda price: best_first * price) if best_first else list(side)
    price_decimals, size_decimals = market.instrument.price_decimals, market.instrument.size_decimals
    return [[text_of(price, price_decimals), text_of(side[price], size_decimals)] for price in prices]


def prices_of(market: ShownMarket, *units: int) -> list[str]:
    """Prices as texts."""
    return [text_of(each, market.instrument.price_decimals) for each in units]


def size_of(market: ShownMarket, units: int) -> str:
    """A size as a text."""
    return text_of(units, market.instrument.size_decimals)


def turnover_of(market: ShownMarket, candle: GeneratedCandle) -> str:
    """What a bar's trades came to, about."""
    return text_of(
        candle.close * candle.volume // 10**market.instrument.size_decimals, market.instrument.price_decimals
    )


def bars_of(stream: SubscribedStream, step: Step, market: ShownMarket) -> list[tuple[GeneratedCandle, bool]]:
    """The bars that a stream of klines says at a step, and whether each is over."""
    interval_us, before_us = stream.interval_us, step.exchange_us - market.step_us
    open_us = step.exchange_us - step.exchange_us % interval_us
    said = []
    if before_us < open_us:
        said.append((market.candle(interval_us, open_us - interval_us), True))
    if before_us // KLINE_EVERY_US != step.exchange_us // KLINE_EVERY_US:
        said.append((market.candle(interval_us, open_us), False))
    return said


def second_begins(step: Step, market: ShownMarket) -> bool:
    """Whether a step is the first of its second, when states of contracts and liquidations are said."""
    return (step.exchange_us - market.step_us) // SECOND_US != step.exchange_us // SECOND_US


def assets_of(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol; the whole symbol and nothing where it does not show them."""
    match = _ASSETS.match(symbol)
    return (match[1], match[2]) if match else (symbol, "")


def is_future(symbol: str) -> bool:
    """Whether a contract has a last day, as its name shows: six digits at its end."""
    return _LAST_DAY.search(symbol) is not None


def number_in(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of a query; `default` if it is not there or none."""
    given = query.get(name, "")
    return int(given) if given.isdecimal() else default
