"""How venues write numbers: decimals in texts, taken exactly or refused."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Annotated

from msgspec import Meta

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.market_events import MOST_DECIMALS

# Counts of ticks, lots and updates have no more: so many always fit into an int64.
MOST_DIGITS = 18
_NS_DIGITS = 19
MOST_REMEMBERED = 1 << 15

Number = Annotated[int, Meta(gt=-(10**MOST_DIGITS), lt=10**MOST_DIGITS)]

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")


def exact(text: object, decimals: int) -> int:
    """A decimal text as a count of its last place; `UnreadableInput` if that is not exact or has over 18 digits."""
    if not isinstance(text, str):
        raise UnreadableInput(f"{text!r} is no decimal")
    whole, point, fraction = text.partition(".")
    digits = whole + fraction.ljust(decimals, "0")
    if not (whole and (fraction or not point) and digits.isdecimal() and digits.isascii()):
        raise UnreadableInput(f"{text!r} is no decimal")
    beyond = len(fraction) - decimals
    if beyond > 0:
        if digits[-beyond:].strip("0"):
            raise UnreadableInput(f"{text!r} has more than {decimals} decimals")
        digits = digits[:-beyond]
    if len(digits) > MOST_DIGITS and len(digits := digits.lstrip("0")) > MOST_DIGITS:
        raise UnreadableInput(f"{text!r} is too large for {decimals} decimals")
    return int(digits or "0")


class ExactNumbers(dict[str, int]):
    """Decimal texts as counts of their last place. Remembers the latest ones, since markets say the same ones again
    and again; a text that is not exact raises as `exact` does.
    """

    def __init__(self, decimals: int) -> None:
        super().__init__()
        self._decimals = decimals

    def __missing__(self, text: str) -> int:
        number = exact(text, self._decimals)
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        self[text] = number
        return number


@cache
def exact_numbers(decimals: int) -> ExactNumbers:
    """The ones of so many decimals, shared by all instruments."""
    return ExactNumbers(decimals)


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


def signed_amount(text: object) -> Decimal:
    """A decimal text of any sign, exactly; `UnreadableInput` for anything else."""
    if isinstance(text, str) and text.startswith("-"):
        return -amount(text[1:])
    return amount(text)


def optional_amount(text: str) -> Decimal | None:
    """A decimal text of any sign; None: an empty one. `UnreadableInput` for anything else."""
    return signed_amount(text) if text else None


def amount_in(row: Mapping[str, object], name: str) -> Decimal:
    """An amount that may be left out, or be empty: then 0."""
    text = row.get(name)
    return Decimal(0) if text in {None, ""} else amount(text)


def integer(number: object) -> int:
    """A whole number of at most 19 digits (nanoseconds have so many), as one or in quotes."""
    if isinstance(number, str) and number.isascii() and number.isdecimal() and len(number) <= _NS_DIGITS:
        return int(number)
    if type(number) is int and abs(number) < 10**_NS_DIGITS:
        return number
    raise UnreadableInput(f"{number!r} is no whole number of {_NS_DIGITS} digits")
