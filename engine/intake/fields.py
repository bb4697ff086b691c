"""What a signal's fields are called and what each may hold: the rules that every way in follows.

`signal_of` reads one row, value by value, and is the reference: what reads whole columns at once
(`engine.intake.tables`) accepts only what this accepts, to the bit, and hands every other row to it. The
sentences that a caller gets when a row is refused are made here and nowhere else.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timezone
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

from raysignal.engine.core.errors import InvalidField, shorten
from raysignal.engine.core.instants import DAY_US, EXPECTED_STAMP, format_instant, parse_instant
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action, Signal

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

# What a column without a name is kept as, and what it is called where a data frame has named it meanwhile.
UNNAMED = "unnamed"
_NAMELESS = frozenset({"", "Unnamed: 0"})

MIN_PRICE, MAX_PRICE = 1e-15, 1e15
"""Between them no quantity, and no figure of an account, is too large for a number: see
`engine.portfolio.kernel.MOST_EQUITY`."""
MAX_NAME = 64
MAX_ID = 128
MAX_FEATURES = 256
MAX_FEATURE_NAME = 128
MAX_TEXT_BYTES = 64 * 1024

# What is stripped and what counts as blank; ASCII, so that bytes and texts agree on it.
BLANKS = " \t\n\r\v\f"
NOT_A_NUMBER = frozenset({"nan", "NaN"})
INFINITE = frozenset(sign + word for sign in ("", "+", "-") for word in ("inf", "Infinity"))

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS = {"SELL": Action.SELL, "HOLD": Action.HOLD, "BUY": Action.BUY, "CLOSE": Action.CLOSE}
_YES_NO = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

BOUNDS: Mapping[str, tuple[float, float]] = {
    "size": (math.ulp(0.0), 1.0),
    "stop_loss": (MIN_PRICE, MAX_PRICE),
    "take_profit": (MIN_PRICE, MAX_PRICE),
    "trailing_stop_bps": (0.01, 9_999.0),
    "confidence": (0.0, 1.0),
}
"""What the numbers beside the action may be, both ends included."""

EXPECTED = {
    "timestamp": EXPECTED_STAMP,
    "price": f"a number above 0, from {MIN_PRICE:g} to {MAX_PRICE:g}, without thousands separators",
    "signal": "-1, 0 or 1, or SELL, HOLD, BUY or CLOSE",
    "symbol": f"a text of at most {MAX_NAME} characters without control characters",
    "source": f"a text of at most {MAX_NAME} characters without control characters",
    "signal_id": f"a text of at most {MAX_ID} characters without control characters",
    "size": "a share of equity above 0 and at most 1, such as 0.25",
    "stop_loss": f"a price from {MIN_PRICE:g} to {MAX_PRICE:g}",
    "take_profit": f"a price from {MIN_PRICE:g} to {MAX_PRICE:g}",
    "trailing_stop_bps": "basis points from 0.01 to 9999, such as 150",
    "confidence": "a number from 0 to 1",
    "price_only": "true or false",
}
_EXPECTED_FEATURE = "a finite number, a text, true, false or null"


@dataclass(frozen=True, slots=True)
class Reading:
    """How input is understood.

    Attributes:
        zone: the zone that stamps without one are read in.
        symbol: the symbol of a row that names none.
        source: the source of a row that names none.
        now_us: the present, UTC microseconds; None: stamps in the future are not looked for.
        max_future_us: how far after `now_us` a signal may be known.
        bar_us: the length of the bar that a stamp labels; 0: a stamp is an instant.
        label: which end of its bar a stamp labels; with `open`, the row is known at stamp + bar.
        max_rows: the most rows that are taken at once; None: no bound.
        prices_only: rows need no action; one that has none is a HOLD.
    """

    zone: ZoneInfo | timezone = UTC
    symbol: str = "BTC"
    source: str = "default"
    now_us: int | None = None
    max_future_us: int = DAY_US
    bar_us: int = 0
    label: Literal["close", "open"] = "close"
    max_rows: int | None = None
    prices_only: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.bar_us <= 366 * DAY_US:
            raise InvalidField("bar", self.bar_us, "a length between nothing and a year, in microseconds")
        if self.label not in {"close", "open"}:
            raise InvalidField("label", self.label, "open or close")

    @property
    def shift_us(self) -> int:
        """From a stamp to the instant at which its row was known."""
        return self.bar_us if self.label == "open" else 0

    @property
    def required(self) -> tuple[str, ...]:
        """The fields that no row may lack."""
        return tuple(name for name in REQUIRED if name != "signal" or not self.prices_only)

    @property
    def latest_us(self) -> int | None:
        """The last instant that is not too far ahead; None: there is none."""
        return None if self.now_us is None else self.now_us + self.max_future_us


def signal_of(
    values: Mapping[str, object],
    reading: Reading,
    *,
    row: int | None = None,
    idempotency_key: str | None = None,
) -> Signal:
    """The signal that one row's names and values say.

    Args:
        values: as parsed: texts, numbers, booleans, None; anything else is refused where it stands.
        reading: defaults, zone and bounds.
        row: its position in the input, for the sentence of a refusal.
        idempotency_key: stands in for a `signal_id` that was not given.

    Raises:
        InvalidField: the first field that cannot be used, under the name the caller gave it.
    """
    given = _named(values, row)
    name, stamp = given.get("timestamp", ("timestamp", None))
    timestamp_us = _instant(name, stamp, reading, row)
    name, value = given.get("signal", ("signal", None))
    optional = _is_price_only(given, row) or reading.prices_only
    action = Action.HOLD if optional and is_missing(value) else action_of(name, value, row)
    name, value = given.get("price", ("price", None))
    price = _price(name, value, row)
    terms = _terms(given, timestamp_us, action, price, reading, row)
    symbol = name_of("symbol", *given["symbol"], row) if "symbol" in given else reading.symbol
    source = name_of("source", *given["source"], row) if "source" in given else reading.source
    signal_id = name_of("signal_id", *given["signal_id"], row) if "signal_id" in given else ""
    if not is_missing(idempotency_key):
        key = name_of("signal_id", "Idempotency-Key", idempotency_key, row)
        signal_id = signal_id or key
    return Signal(symbol, timestamp_us, action, price, source, signal_id, _features(values, row), **terms)


def is_missing(value: object) -> bool:
    """Null, or a text of nothing but blanks."""
    return value is None or (isinstance(value, str) and not value.strip(BLANKS))


def number_in(text: str) -> float | None:
    """The number that a text is, blanks around it aside; None if it is none. May be infinite."""
    bare = text.strip(BLANKS)
    return float(bare) if _DECIMAL.fullmatch(bare) else None


def name_of(field: str, name: str, value: object, row: int | None) -> str:
    """A symbol, source or signal_id without the blanks around it."""
    limit = MAX_ID if field == "signal_id" else MAX_NAME
    if isinstance(value, str):
        bare = value.strip(BLANKS)
        # What is printable holds neither; asking that first is much quicker.
        clean = bare.isprintable() or not any(unicodedata.category(char) in {"Cc", "Cs"} for char in bare)
        if 0 < len(bare) <= limit and clean:
            return bare
    raise InvalidField(name, value, EXPECTED[field], row)


def check_feature_name(name: str, row: int | None) -> str:
    """The name a feature is kept under."""
    if name in _NAMELESS:
        return UNNAMED
    if len(name) > MAX_FEATURE_NAME or not _is_unicode(name):
        expected = f"a name of at most {MAX_FEATURE_NAME} Unicode characters"
        raise InvalidField(shown_name(name), name, expected, row)
    return name


def shown_name(name: str) -> str:
    """A name as it can be written anywhere: encodable, and not longer than a name may be."""
    return name.encode("utf-8", "backslashreplace").decode()[:MAX_FEATURE_NAME]


def _named(values: Mapping[str, object], row: int | None) -> dict[str, tuple[str, object]]:
    given: dict[str, tuple[str, object]] = {}
    for name, value in values.items():
        field = FIELD_OF.get(name)
        if field is None:
            continue
        if is_missing(value) and (field not in REQUIRED or field in given):
            continue
        if field in given and not is_missing(given[field][1]):
            other = given[field][0]
            raise InvalidField(name, value, f"only one of {other} and {name}: both name the {field}", row)
        given[field] = (name, value)
    return given


def _instant(name: str, value: object, reading: Reading, row: int | None) -> int:
    if is_missing(value):
        _refuse_missing("timestamp", name, value, row)
    instant_us = parse_instant(value, reading.zone, field=name, row=row) + reading.shift_us
    if reading.latest_us is not None and instant_us > reading.latest_us:
        raise InvalidField(name, value, f"a time that is not after {format_instant(reading.latest_us)}", row)
    return instant_us


def action_of(name: str, value: object, row: int | None) -> Action:
    if is_missing(value):
        _refuse_missing("signal", name, value, row)
    number: float | None = None
    if isinstance(value, str):
        word = _WORDS.get(value.strip(BLANKS).upper())
        if word is not None:
            return word
        number = number_in(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value
    if number is None or number not in {-1, 0, 1}:
        raise InvalidField(name, value, EXPECTED["signal"], row)
    return Action(int(number))


def _price(name: str, value: object, row: int | None) -> float:
    if is_missing(value):
        _refuse_missing("price", name, value, row)
    number: float | None = None
    if isinstance(value, str):
        number = number_in(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = as_float(value)
    if number is None or not MIN_PRICE <= number <= MAX_PRICE:
        raise InvalidField(name, value, EXPECTED["price"], row)
    return number


def _is_price_only(given: Mapping[str, tuple[str, object]], row: int | None) -> bool:
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
        raise InvalidField(name, value, EXPECTED["price_only"], row)
    return found


def is_not_said(value: object) -> bool:
    """Missing, or the NaN with which data frames mark what is missing."""
    if isinstance(value, str):
        return value.strip(BLANKS) in {"", *NOT_A_NUMBER}
    return value is None or (isinstance(value, float) and math.isnan(value))


def _terms(
    given: Mapping[str, tuple[str, object]],
    timestamp_us: int,
    action: Action,
    price: float,
    reading: Reading,
    row: int | None,
) -> dict[str, Any]:
    """What the row says beside its action; see `Signal`."""
    terms: dict[str, Any] = {}
    for field, (low, high) in BOUNDS.items():
        name, value = given.get(field, (field, None))
        if is_not_said(value):
            continue
        number: float | None = None
        if isinstance(value, str):
            number = number_in(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            number = as_float(value)
        if number is None or not low <= number <= high:
            raise InvalidField(name, value, EXPECTED[field], row)
        if field != "confidence":
            _check_opens(name, value, action, row)
        if field in LEVELS:
            check_level(field, name, number, action, price, row)
        terms[field] = number
    name, value = given.get("expires", ("expires", None))
    if not is_not_said(value):
        _check_opens(name, value, action, row)
        terms["expires_us"] = parse_instant(value, reading.zone, field=name, row=row)
        if terms["expires_us"] <= timestamp_us:
            expected = f"a time after the signal's own, {format_instant(timestamp_us)}"
            raise InvalidField(name, value, expected, row)
    return terms


LEVELS: Mapping[str, int] = {"stop_loss": -1, "take_profit": 1}
"""On which side of its price a BUY has it."""


def check_level(field: str, name: str, level: float, action: Action, price: float, row: int | None) -> None:
    """Refuse a stop or target that the price has passed already."""
    if (level - price) * LEVELS[field] * action > 0:
        return
    where = "above" if LEVELS[field] * action > 0 else "below"
    raise InvalidField(name, level, f"a price {where} {price!r}, that of this {action.name}", row)


def _check_opens(name: str, value: object, action: Action, row: int | None) -> None:
    if action not in {Action.BUY, Action.SELL}:
        raise InvalidField(name, value, f"none beside a {action.name}, which opens no position", row)


def as_float(value: float) -> float:
    """The nearest float; an integer beyond all of them is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _features(values: Mapping[str, object], row: int | None) -> dict[str, float | str]:
    features: dict[str, float | str] = {}
    for name, value in values.items():
        if name in FIELD_OF or is_secret_name(name):
            continue
        kept_as = check_feature_name(name, row)
        kept = _feature(name or UNNAMED, value, row)
        if kept is None:
            continue
        if kept_as in features:
            raise InvalidField(kept_as, value, "each name once: a column without a name is called so", row)
        features[kept_as] = kept
    if len(features) > MAX_FEATURES:
        raise InvalidField("features", len(features), f"at most {MAX_FEATURES} features in a row", row)
    return features


def _feature(name: str, value: object, row: int | None) -> float | str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return text_feature(name, value, row)
    if not isinstance(value, (bool, int, float)):
        raise InvalidField(name, value, _EXPECTED_FEATURE, row)
    number = as_float(value)
    if math.isinf(number):
        raise InvalidField(name, value, _EXPECTED_FEATURE, row)
    return None if math.isnan(number) else number


def text_feature(name: str, text: str, row: int | None) -> float | str | None:
    bare = text.strip(BLANKS)
    if not bare or bare in NOT_A_NUMBER:
        return None
    number = number_in(bare)
    if bare in INFINITE or (number is not None and math.isinf(number)):
        raise InvalidField(name, text, _EXPECTED_FEATURE, row)
    if number is not None:
        return number
    if not _is_unicode(text):
        raise InvalidField(name, text, "a text without half surrogates", row)
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise InvalidField(name, text, f"a text of at most {MAX_TEXT_BYTES} bytes in UTF-8", row)
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_missing(field: str, name: str, value: object, row: int | None) -> NoReturn:
    names = " or ".join(ALIASES[field])
    raise InvalidField(name, value, f"{EXPECTED[field]} (a field named {names})", row)
