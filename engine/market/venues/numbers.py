"""How venues write numbers and lengths of klines outside the streams."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.market_events import MOST_DECIMALS, Instrument, Kline
from raysignal.engine.market.reader import decode
from raysignal.engine.market.shapes import exact

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")

SECOND_US = 1_000_000
MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3600 * SECOND_US, 86_400 * SECOND_US


def answer(body: bytes) -> Any:
    """An answer's body, decoded; `UnreadableInput` if it is no JSON."""
    return decode(body)


def part(message: Any, *path: str | int) -> Any:
    """What lies there in a decoded message; `UnreadableInput` if nothing does."""
    for step in path:
        try:
            message = message[step]
        except (KeyError, IndexError, TypeError):
            raise UnreadableInput(f"an answer without {step!r}") from None
    return message


def decimals_of(step: object) -> int:
    """Digits after the point of a step such as `0.01000000`."""
    digits = step.partition(".")[2].rstrip("0") if isinstance(step, str) else ""
    if len(digits) > MOST_DECIMALS or exact(step, len(digits)) == 0:
        raise UnreadableInput(f"{step!r} is no step of a price or size")
    return len(digits)


def amount(text: object) -> Decimal:
    """A decimal text of 0 or more, exactly; `UnreadableInput` for anything else."""
    if not isinstance(text, str) or _AMOUNT.fullmatch(text) is None:
        raise UnreadableInput(f"{text!r} is no amount")
    return Decimal(text)


def amount_in(row: Mapping[str, object], name: str) -> Decimal:
    """An amount that may be left out, or be empty: then 0."""
    text = row.get(name)
    return Decimal(0) if text in {None, ""} else amount(text)


def integer(number: object) -> int:
    """A whole number, as one or in quotes."""
    if isinstance(number, str) and number.isascii() and number.isdecimal():
        return int(number)
    if type(number) is int:
        return number
    raise UnreadableInput(f"{number!r} is no whole number")


def check_limit(limit: int, most: int) -> None:
    """`InvalidField` for more klines than one answer holds."""
    if not 0 < limit <= most:
        raise InvalidField("limit", limit, f"1 to {most}")


def interval_name(names: Mapping[int, str], interval_us: int, venue: str) -> str:
    """What the venue calls that length; `InvalidField` if it has no such klines."""
    if interval_us not in names:
        seconds = ", ".join(str(each // SECOND_US) for each in sorted(names))
        raise InvalidField("interval_us", interval_us, f"one of {venue}'s, in seconds: {seconds}")
    return names[interval_us]


def kline(
    instrument: Instrument,
    interval_us: int,
    open_us: int,
    prices: tuple[object, object, object, object],
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
