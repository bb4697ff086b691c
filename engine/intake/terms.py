"""What a row may say beside its action: size, brackets, confidence, when it expires, and that it is a price alone."""

import math
from collections.abc import Mapping
from typing import Any

from raysignal.engine.core.errors import InvalidField, shorten
from raysignal.engine.core.instants import format_instant, is_naive, parse_instant, repeated_after_us
from raysignal.engine.core.signals import Action
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.written_numbers import BLANKS, is_missing, is_not_said, number_of

MIN_PRICE, MAX_PRICE = 1e-15, 1e15
"""Between them no quantity, and no figure of an account, is too large for a number: see
`engine.portfolio.kernel.MOST_EQUITY`."""
_YES_NO = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

BOUNDS: Mapping[str, tuple[float, float]] = {
    "size": (math.ulp(0.0), 1.0),
    "stop_loss": (MIN_PRICE, MAX_PRICE),
    "take_profit": (MIN_PRICE, MAX_PRICE),
    "trailing_stop_bps": (0.01, 9_999.0),
    "confidence": (0.0, 1.0),
}
"""What the numbers beside the action may be, both ends included."""

LEVELS: Mapping[str, int] = {"stop_loss": -1, "take_profit": 1}
"""On which side of its price a BUY has it."""
_EXPECTED = {
    "size": "a share of equity above 0 and at most 1, such as 0.25",
    "stop_loss": f"a price from {MIN_PRICE:g} to {MAX_PRICE:g}",
    "take_profit": f"a price from {MIN_PRICE:g} to {MAX_PRICE:g}",
    "trailing_stop_bps": "basis points from 0.01 to 9999, such as 150",
    "confidence": "a number from 0 to 1",
    "price_only": "true or false",
}


def terms_of(
    given: Mapping[str, tuple[str, object]],
    timestamp_us: int,
    action: Action,
    price: float,
    reading: Reading,
    row: int | None,
) -> dict[str, Any]:
    """What the row says beside its action; see `Signal`."""
    terms: dict[str, Any] = {}
    for known, (low, high) in BOUNDS.items():
        name, value = given.get(known, (known, None))
        if is_not_said(value):
            continue
        number = number_of(value)
        if number is None or not low <= number <= high:
            raise InvalidField(name, value, _EXPECTED[known], row)
        if known != "confidence":
            _check_opens(name, value, action, row)
        if known in LEVELS:
            check_level(known, name, number, action, price, row)
        terms[known] = number
    name, value = given.get("expires", ("expires", None))
    if not is_not_said(value):
        _check_opens(name, value, action, row)
        terms["expires_us"] = parse_instant(
            value, reading.zone, field=name, row=row, day_first=reading.day_first
        )
        if terms["expires_us"] <= timestamp_us and is_naive(value):  # the second time, where clocks show two
            terms["expires_us"] += repeated_after_us(terms["expires_us"], reading.zone)
        if terms["expires_us"] <= timestamp_us:
            expected = f"a time after the signal's own, {format_instant(timestamp_us)}"
            raise InvalidField(name, value, expected, row)
    return terms


def is_price_only(given: Mapping[str, tuple[str, object]], row: int | None) -> bool:
    """Whether the row says that it is no signal; refused beside one."""
    name, value = given.get("price_only", ("price_only", None))
    if not yes_or_no(name, value, row):
        return False
    signal = given.get("signal", ("signal", None))[1]
    if not is_missing(signal):
        raise InvalidField(name, value, f"false, or no signal: here it is {shorten(signal)}", row)
    return True


def yes_or_no(name: str, value: object, row: int | None) -> bool:
    """True or false as JSON, files and spreadsheets write them; nothing is false."""
    if is_not_said(value):
        return False
    text = str(value).strip(BLANKS).lower() if isinstance(value, (str, int, float)) else ""
    found = _YES_NO.get(text.removesuffix(".0"))
    if found is None:
        raise InvalidField(name, value, _EXPECTED["price_only"], row)
    return found


def check_level(field: str, name: str, level: float, action: Action, price: float, row: int | None) -> None:
    """Refuse a stop or target that the price has passed already."""
    if (level - price) * LEVELS[field] * action > 0:
        return
    where = "above" if LEVELS[field] * action > 0 else "below"
    raise InvalidField(name, level, f"a price {where} {price!r}, that of this {action.name}", row)


def _check_opens(name: str, value: object, action: Action, row: int | None) -> None:
    if action not in {Action.BUY, Action.SELL}:
        raise InvalidField(name, value, f"none beside a {action.name}, which opens no position", row)
