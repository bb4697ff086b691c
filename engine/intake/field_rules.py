"""What a signal's fields are called, and what each may hold beside its action.

Numbers as texts and JSON write them, and what counts as missing; which names in a row, or in the columns of a table,
mean a field (every name that means none, and is not that of a secret, is a feature's); size, brackets, confidence, when
a signal expires, and that a row is a price alone.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from raysignal.engine.core.errors import InvalidField, shorten
from raysignal.engine.core.instants import format_instant, is_naive, parse_instant, repeated_after_us
from raysignal.engine.core.signals import Action
from raysignal.engine.intake.templates import RepeatedKeys

if TYPE_CHECKING:
    from raysignal.engine.intake.reading import Reading


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


# Each field with the names it may come under; a name that is none of them, nor that of a secret, is a feature.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "datetime", "time"),
    "price": ("price", "close"),
    "signal": ("signal", "Signal", "action"),
    "symbol": ("symbol", "ticker"),
    "source": ("source",),
    "signal_id": ("signal_id",),
    "size": ("size",),
    "stop_loss": ("stop_loss",),
    "take_profit": ("take_profit",),
    "trailing_stop_bps": ("trailing_stop_bps",),
    "confidence": ("confidence",),
    "expires": ("expires",),
    "price_only": ("price_only",),
}
FIELD_OF: Mapping[str, str] = {name: field for field, names in ALIASES.items() for name in names}
REQUIRED = ("timestamp", "signal", "price")

# Names in any case, with blanks, underscores and the like, as other programs write them. They mean a field where no
# name above does, and are features beside one: a file with `price` and `Close` keeps both.
_UNFOLDED = str.maketrans("", "", " _-/<>")
LOOSE_FIELD_OF: Mapping[str, str] = {
    name.translate(_UNFOLDED).casefold(): field for name, field in FIELD_OF.items()
} | {
    "date": "timestamp", "opentime": "timestamp", "dateandtime": "timestamp", "closeprice": "price", "side": "signal",
}  # fmt: skip

# What a column without a name is kept as, and what it is called where a data frame has named it meanwhile.
UNNAMED = "unnamed"
NAMELESS = frozenset({"", "Unnamed: 0"})
TICKER = "Ticker"
"""What yfinance calls the symbol of its columns."""

MAX_FEATURE_NAME = 128
_FEW = 32
NAMES_FIELDS = frozenset({"timestamp", "symbol", "source", "signal_id", "expires"})
"""Fields that hold no number."""


def check_names(names: Mapping[str, str]) -> dict[str, str]:
    """Field to the name that it has in some input, as `Reading` and settings of a source take it.

    Raises:
        InvalidField: no such field, no name, or one name for two fields.
    """
    for known, name in names.items():
        if known not in ALIASES:
            raise InvalidField("map", f"{known}={name}", f"one of {', '.join(ALIASES)} before the =")
        if not isinstance(name, str) or not name or list(names.values()).count(name) > 1:
            raise InvalidField("map", f"{known}={name}", "the name of a column, each for one field")
    return dict(names)


@dataclass(frozen=True, slots=True)
class NamedFields:
    """What the names of a row, or of the columns of a table, mean.

    Attributes:
        fields: name to field.
        unread: names of fields that `Reading.names` says stand elsewhere.
        not_features: all of these names; every other is that of a feature.
        beside: loose names of fields, which are features because another name means the field.
        clock: the names of a date and of a time that are one stamp where the time is one of day.
    """

    fields: dict[str, str]
    unread: frozenset[str]
    not_features: frozenset[str]
    beside: tuple[tuple[str, str], ...] = ()
    clock: tuple[str, str] | None = None


NO_FIELDS = NamedFields({}, frozenset(), frozenset(FIELD_OF) - {"size"})
"""Of a row from which a template has taken the fields; to senders a size is a quantity."""


def fields_in(names: Collection[str], mapped: Mapping[str, str]) -> NamedFields:
    """What names mean: `mapped` (field to name) first, then the names of `ALIASES`, then those that are like them."""
    if not mapped and len(names) <= _FEW:
        return _fields_of_few(tuple(names))
    return _fields_of(names, mapped)


@lru_cache(maxsize=128)
def _fields_of_few(names: tuple[str, ...]) -> NamedFields:
    # One row after the other has the same names.
    return _fields_of(names, {})


def _fields_of(names: Collection[str], mapped: Mapping[str, str]) -> NamedFields:
    fields = {name: known for name in names if (known := FIELD_OF.get(name)) is not None}
    loose = {
        name: known
        for name in names
        if name not in fields and (known := LOOSE_FIELD_OF.get(_folded(name))) is not None
    }
    said: dict[str, str] = {}
    for known, wanted in mapped.items():
        like = (name for name in names if _folded(name) == _folded(wanted))
        if (found := wanted if wanted in names else next(like, None)) is not None:
            said[found] = known
    free = {name: known for name, known in fields.items() if known not in mapped and name not in said}
    unread = frozenset(fields.keys() - free.keys() - said.keys())
    fields = free | said
    loose = {name: known for name, known in loose.items() if known not in mapped and name not in said}
    taken = set(fields.values())
    beside = tuple((name, known) for name, known in loose.items() if known in taken)
    fields |= {name: known for name, known in loose.items() if known not in taken}
    date = next((name for name in loose if _folded(name) == "date"), None)
    stamps = [name for name, known in fields.items() if known == "timestamp" and name != date]
    clock = None
    if date is not None and len(stamps) == 1 and _folded(stamps[0]) == "time" and stamps[0] not in said:
        clock = (date, stamps[0])
    return NamedFields(fields, unread, unread.union(fields), beside, clock)


def _folded(name: str) -> str:
    return name[:MAX_FEATURE_NAME].translate(_UNFOLDED).casefold()


def check_keys(values: Mapping[str, object], row: int | None) -> None:
    """Refuse an object in which a key stood twice."""
    if isinstance(values, RepeatedKeys):
        raise InvalidField(shown_name(values.name), values[values.name], "each key once", row)


def check_feature_name(name: str, row: int | None) -> str:
    """The name a feature is kept under."""
    if name in NAMELESS or not name.strip():
        return UNNAMED
    if len(name) > MAX_FEATURE_NAME or not is_unicode(name):
        expected = f"a name of at most {MAX_FEATURE_NAME} Unicode characters"
        raise InvalidField(shown_name(name), name, expected, row)
    return name


def shown_name(name: str) -> str:
    """A name as it can be written anywhere: encodable, and not longer than a name may be."""
    return name.encode("utf-8", "backslashreplace").decode()[:MAX_FEATURE_NAME]


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: it holds no half surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    reading: "Reading",
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
