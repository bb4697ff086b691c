"""What the venues' modules share: how answers are read, klines made, and streams spread over connections."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.market_events import Channel, FundingRate, Instrument, Kline
from raysignal.engine.market.bars import bar_name
from raysignal.engine.market.venues.numbers import exact, integer, signed_amount
from raysignal.engine.market.venues.protocol import Subscription

SECOND_US = 1_000_000
MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3600 * SECOND_US, 86_400 * SECOND_US

_Name = TypeVar("_Name")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UnreadableInput)


def answer(body: bytes) -> Any:
    """An answer's body, decoded; `UnreadableInput` if it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except UNREADABLE as error:
        raise UnreadableInput(f"no JSON: {error}") from None


def part(message: Any, *path: str | int) -> Any:
    """What lies there in a decoded message; `UnreadableInput` if nothing does."""
    for step in path:
        try:
            message = message[step]
        except (KeyError, IndexError, TypeError):
            raise UnreadableInput(f"an answer without {step!r}") from None
    return message


def list_of(message: Any) -> list[Any]:
    """The list that a decoded message is; `UnreadableInput` for anything else."""
    if not isinstance(message, list):
        raise UnreadableInput(f"no list where one was expected: {str(message)[:200]}")
    return message


def rows_of(venue: str, symbols: Sequence[str], rows: object, name: str) -> list[tuple[str, Any]]:
    """The row of each symbol, which `name` in it says; `InvalidField` for one that has none."""
    found = {part(each, name): each for each in list_of(rows)}
    for symbol in symbols:
        if symbol not in found:
            raise InvalidField("symbol", symbol, f"one that {venue} trades")
    return [(symbol, found[symbol]) for symbol in symbols]


def status_word(status: object, trading: str) -> str:
    """`trading` where a venue's status is its own word for that, else the status as it is."""
    return "trading" if status == trading else str(status)


def check_limit(limit: int, most: int) -> None:
    """`InvalidField` for more klines than one answer holds."""
    if not 0 < limit <= most:
        raise InvalidField("limit", limit, f"1 to {most}")


def interval_name(names: Mapping[int, str], interval_us: int, venue: str) -> str:
    """What the venue calls that length; `InvalidField` if it has no such klines."""
    if interval_us not in names:
        known = ", ".join(bar_name(each) for each in sorted(names))
        raise InvalidField("bar", bar_name(interval_us), f"a length of {venue}'s own bars: {known}")
    return names[interval_us]


def interval_named(names: Mapping[int, str], name: str) -> int | None:
    """The length that the venue calls so; None: it is not known here."""
    return next((us for us, known in names.items() if known == name), None)


def kline(
    instrument: Instrument,
    interval_us: int,
    open_us: int,
    prices: Sequence[object],
    volume: object,
    trades: int,
    *,
    closed: bool,
    exchange_us: int,
    received_us: int,
) -> Kline:
    """A kline of texts: open, high, low, close and the volume."""
    first, high, low, last = (exact(price, instrument.price_decimals) for price in prices)
    if not low <= min(first, last) <= max(first, last) <= high:
        raise UnreadableInput(
            f"a kline of {instrument.symbol} whose high and low do not hold its open and close"
        )
    return Kline(
        instrument, interval_us, open_us, first, high, low, last, exact(volume, instrument.size_decimals), trades,
        closed, exchange_us, received_us,
    )  # fmt: skip


def kline_of_row(
    instrument: Instrument,
    interval_us: int,
    row: object,
    now_us: int,
    *,
    trades: int = 0,
    closed: bool | None = None,
) -> Kline:
    """A kline of a row, which begins with its opening in ms, open, high, low, close and volume at every venue.

    Where the venue does not say whether it is closed, `now_us` does.
    """
    open_ms, *prices, volume = (part(row, place) for place in range(6))
    open_us = 1000 * integer(open_ms)
    if closed is None:
        closed = open_us + interval_us <= now_us
    return kline(
        instrument, interval_us, open_us, prices, volume, trades, closed=closed, exchange_us=0, received_us=now_us
    )  # fmt: skip


def funding_of_rows(
    instrument: Instrument, rows: Sequence[object], at: str, *rates: str
) -> list[FundingRate]:
    """Funding rates, oldest first: `at` says when, in ms, and the first of `rates` that is not empty how much."""
    found = []
    for row in rows:
        texts = [row.get(name) for name in rates] if isinstance(row, dict) else []
        rate = signed_amount(next((text for text in texts if text not in {None, ""}), None))
        found.append(FundingRate(instrument, 1000 * integer(part(row, at)), rate))
    return sorted(found, key=lambda each: each.at_us)


def split_streams(
    subscriptions: Sequence[Subscription],
    channels: frozenset[Channel],
    names_of: Callable[[Channel, Subscription], Sequence[_Name]],
    most: int,
) -> Iterator[tuple[list[_Name], tuple[Subscription, ...]]]:
    """Subscriptions to these channels, in groups whose streams one connection takes; with the streams' names.

    A channel that has no stream for an instrument is left out; a stream of several instruments is named once.
    """
    names: list[_Name] = []
    group: list[Subscription] = []
    for each in subscriptions:
        found = {
            channel: names_of(channel, each) for channel in Channel if channel in each.channels & channels
        }
        wanted = Subscription(
            each.instrument, frozenset(channel for channel in found if found[channel]), each.kline_us
        )
        more = [name for channel_names in found.values() for name in channel_names if name not in names]
        if names and len(names) + len(more) > most:
            yield names, tuple(group)
            names, group = [], []
            more = [name for channel_names in found.values() for name in channel_names]
        if wanted.channels:
            names += more
            group.append(wanted)
    if names:
        yield names, tuple(group)
