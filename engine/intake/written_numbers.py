"""Numbers as texts and JSON write them, and what counts as a value that is missing."""

import math
import re
from functools import lru_cache

# What is stripped and what counts as blank; ASCII, so that bytes and texts agree on it.
BLANKS = " \t\n\r\v\f"
NOT_A_NUMBER = frozenset({"nan", "NaN"})
INFINITE = frozenset(sign + word for sign in ("", "+", "-") for word in ("inf", "Infinity"))

PLAIN_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_DECIMAL = re.compile(PLAIN_NUMBER)

SEPARATORS = {",": "[,]", ".": "[.]", " ": "[ \u00a0\u202f]", "'": "['\u2019]"}
_BEFORE, _AFTER = "(?:[$€£¥][ \u00a0]?)?", "(?:[ \u00a0]?[$€£¥])?"
BESIDE_DIGITS = "[$€£¥ \u00a0\u202f]"


def is_missing(value: object) -> bool:
    """Null, or a text of nothing but blanks."""
    return value is None or (isinstance(value, str) and not value.strip(BLANKS))


def number_in(text: str) -> float | None:
    """The number that a text is, blanks around it aside; None if it is none. May be infinite."""
    bare = text.strip(BLANKS)
    return float(bare) if _DECIMAL.fullmatch(bare) else None


def number_of(value: object) -> float | None:
    """The number that a value is or that its text says; None if it is none. May be infinite, or not a number."""
    if isinstance(value, str):
        return number_in(value)
    return as_float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def as_float(value: float) -> float:
    """The nearest float; an integer beyond all of them is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_not_said(value: object) -> bool:
    """Missing, or the NaN with which data frames mark what is missing."""
    if isinstance(value, str):
        return value.strip(BLANKS) in {"", *NOT_A_NUMBER}
    return value is None or (isinstance(value, float) and math.isnan(value))


@lru_cache(maxsize=16)
def written_number(decimal: str, thousands: str) -> re.Pattern[str]:
    """A number in a text, by its decimal mark and what stands between its thousands; of Arrow's syntax, too."""
    mark, whole = SEPARATORS[decimal], "[0-9]+"
    before, after = "", ""
    if thousands:
        whole = f"(?:[0-9]{{1,3}}(?:{SEPARATORS[thousands]}[0-9]{{3}})+|[0-9]+)"
        before, after = _BEFORE, _AFTER
    digits = f"(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)"
    return re.compile(f"{before}[+-]?{before}{digits}(?:[eE][+-]?[0-9]+)?{after}")


def separators_of(thousands: str) -> str:
    """What is left out of a written number, as a class of characters."""
    inner = SEPARATORS[thousands][1:-1] if thousands else ""
    return f"[{inner}{BESIDE_DIGITS[1:-1]}]"
