"""What a generator can be asked for; everything else is an `InvalidField`."""

import re
from collections.abc import Sequence

from raysignal.engine.core.errors import InvalidField

_SYMBOL = re.compile(r"[A-Za-z0-9._/:-]{1,32}")


def check_symbols(symbols: tuple[str, ...]) -> None:
    """`InvalidField` unless there are 1 to 1 000 distinct names that need no quotes anywhere."""
    expected = "1 to 1000 distinct names of 1 to 32 letters, digits and . _ / : -"
    if not isinstance(symbols, tuple) or not 1 <= len(symbols) <= 1000 or len(set(symbols)) != len(symbols):
        raise InvalidField("symbols", symbols, expected)
    for symbol in symbols:
        if not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
            raise InvalidField("symbols", symbol, expected)


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """`InvalidField` unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidField(name, value, f"a whole number from {low} to {high}")


def check_wholes(name: str, values: Sequence[int], low: int, high: int, *, of: Sequence[str]) -> None:
    """`InvalidField` unless there is a whole number from `low` to `high` for each of these."""
    if len(values) != len(of):
        raise InvalidField(name, values, f"one number for each of {', '.join(of)}")
    for value in values:
        check_whole(name, value, low, high)


def check_share(name: str, value: object, high: float) -> None:
    """`InvalidField` unless `value` is a number from 0 to `high`."""
    check_between(name, value, 0.0, high)


def check_between(name: str, value: object, low: float, high: float) -> None:
    """`InvalidField` unless `value` is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidField(name, value, f"a number from {low:g} to {high:g}")
