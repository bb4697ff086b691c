"""What a signal's fields are called and what each may hold: the rules that every way in follows.

`signal_of` reads one row, value by value, and is the reference: what reads whole columns at once
(`engine.intake.tables`) accepts only what this accepts, to the bit, and hands every other row to it. The
sentences that a caller gets when a row is refused are made here and nowhere else.
"""

import math
import re
import shlex
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, timezone
from functools import lru_cache
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

from raysignal.engine.core.errors import InputError, InvalidField, StaleSignal, WrongDateOrder, shorten
from raysignal.engine.core.instants import (
    DAY_US,
    EXPECTED_STAMP,
    format_instant,
    is_time_of_day,
    parse_instant,
)
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake.templates import (
    MAX_DEPTH,
    RepeatedKeys,
    Template,
    flattened,
    plain_words,
    strategy_body,
    template_for,
)

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

MIN_PRICE, MAX_PRICE = 1e-15, 1e15
"""Between them no quantity, and no figure of an account, is too large for a number: see
`engine.portfolio.kernel.MOST_EQUITY`."""
MAX_NAME = 64
MAX_ID = 128
MAX_FEATURES = 256
MAX_FEATURE_NAME = 128
_FEW = 32
MAX_TEXT_BYTES = 64 * 1024

# What is stripped and what counts as blank; ASCII, so that bytes and texts agree on it.
BLANKS = " \t\n\r\v\f"
NOT_A_NUMBER = frozenset({"nan", "NaN"})
INFINITE = frozenset(sign + word for sign in ("", "+", "-") for word in ("inf", "Infinity"))

PLAIN_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_DECIMAL = re.compile(PLAIN_NUMBER)
_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}")

# The words for actions as `plain_words` writes them.
_WORDS = {
    "HOLD": Action.HOLD,
    **dict.fromkeys(
        ("BUY", "LONG", "ENTRY LONG", "ENTER LONG", "OPEN LONG", "GO LONG", "LONG ENTRY"), Action.BUY
    ),
    **dict.fromkeys(
        ("SELL", "SHORT", "ENTRY SHORT", "ENTER SHORT", "OPEN SHORT", "GO SHORT", "SHORT ENTRY"), Action.SELL
    ),
    **dict.fromkeys(
        (
            "CLOSE", "EXIT", "FLAT", "FLATTEN", "EXIT LONG", "EXIT SHORT", "CLOSE LONG", "CLOSE SHORT", "LONG EXIT",
            "SHORT EXIT", "EXIT ALL", "CLOSE ALL", "CLOSE POSITION", "EXIT POSITION",
        ),
        Action.CLOSE,
    ),
}  # fmt: skip
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
    "signal": "-1, 0 or 1, or SELL, HOLD, BUY or CLOSE (or a word such as LONG or ENTER SHORT)",
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
NAMES_FIELDS = frozenset({"timestamp", "symbol", "source", "signal_id", "expires"})
"""Fields that hold no number."""
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
        symbols: other names of symbols, such as `BINANCE:BTCUSDT.P`, to those that are kept.
        template: the sender whose names and words the rows have, see `engine.intake.templates`; None: the common ones.
        names: field to the name that it has in the input, and no other.
        max_age_us: how far before `now_us` a signal may have been known; None: any time.
        day_first: dates with slashes say the day before the month.
        decimal: what stands before the decimals of numbers in texts.
        thousands: what stands between the thousands of numbers in texts, which may have a currency sign then; empty:
            nothing does.
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
    symbols: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    max_age_us: int | None = None
    day_first: bool = False
    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.bar_us <= 366 * DAY_US:
            raise InvalidField("bar", self.bar_us, "a length between nothing and a year, in microseconds")
        if self.label not in {"close", "open"}:
            raise InvalidField("label", self.label, "open or close")
        if self.decimal not in {".", ","}:
            raise InvalidField("decimal", self.decimal, "a point or a comma")
        if self.thousands not in {"", *_SEPARATORS} or self.thousands == self.decimal:
            raise InvalidField(
                "thousands", self.thousands, "one of , . ' or a blank, and not the decimal mark"
            )
        check_names(self.names)

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

    @property
    def earliest_us(self) -> int | None:
        """The first instant that is not too long ago; None: there is none."""
        return None if self.now_us is None or self.max_age_us is None else self.now_us - self.max_age_us

    def template_of(self, values: Mapping[str, object]) -> Template | None:
        """By which template these values are read; None: by the common names alone."""
        name = self.template or ("tradingview" if strategy_body(values) else None)
        if name is None:
            return None
        found = template_for(name, values)
        return found.with_names(self.names) if self.names else found


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


_NO_FIELDS = NamedFields({}, frozenset(), frozenset(FIELD_OF))
"""Of a row from which a template has taken the fields."""


def fields_in(names: Collection[str], reading: Reading) -> NamedFields:
    """What names mean: `reading.names` first, then the names of `ALIASES`, then those that are like them."""
    if not reading.names and len(names) <= _FEW:
        return _fields_of_few(tuple(names))
    return _fields_of(names, reading.names)


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
    try:
        return _signal(values, reading, row, idempotency_key)
    except WrongDateOrder:
        raise
    except InputError:
        check_order(values, reading, row)
        raise


def check_order(values: Mapping[str, object], reading: Reading, row: int | None) -> None:
    """Raise `WrongDateOrder` if a stamp of a row, which is refused whatever it says, is of the other order."""
    for name, stamp in stamps_in(values, reading).items():
        try:
            parse_instant(stamp, reading.zone, field=name, row=row, day_first=reading.day_first)
        except WrongDateOrder:
            raise
        except InvalidField:
            continue


def stamps_in(values: Mapping[str, object], reading: Reading) -> dict[str, object]:
    """What in a row means its stamp, or the date of it, by name."""
    template = reading.template_of(values)
    if template is None:
        named = fields_in(values, reading)
        stamps = {name: value for name, value in values.items() if named.fields.get(name) == "timestamp"}
        if named.clock is not None and is_time_of_day(values[named.clock[1]]):
            stamps[named.clock[0]] = values[named.clock[0]]
        return stamps
    try:
        found = template.named(flattened(values), ALIASES).fields
    except InvalidField:  # nested too deeply, or a name twice
        return {}
    return dict([found["timestamp"]]) if "timestamp" in found else {}


def _signal(
    values: Mapping[str, object], reading: Reading, row: int | None, idempotency_key: str | None
) -> Signal:
    check_keys(values, row)
    _refuse_placeholders(values.items(), row)
    template = reading.template_of(values)
    localised = reading.decimal != "." or bool(reading.thousands)
    if template is None:
        named = fields_in(values, reading)
        if localised:
            values = _plain(values, named, reading, row)
        given = _named(values, named, row)
    else:
        named = _NO_FIELDS
        flat = flattened(values, row)
        found = template.named(flat, ALIASES)
        if localised:
            known = {name: means for means, (name, _) in found.fields.items()}
            flat = _plain(flat, NamedFields(known, frozenset(), frozenset()), reading, row)
            found = template.named(flat, ALIASES)
        given, values = found.fields, found.features
        _require(given, template, reading, row)
    name, stamp = given.get("timestamp", ("timestamp", None))
    timestamp_us = _instant(name, stamp, reading, row)
    name, value = given.get("signal", ("signal", None))
    optional = _is_price_only(given, row) or reading.prices_only
    action = Action.HOLD if optional and is_missing(value) else action_of(name, value, row)
    name, value = given.get("price", ("price", None))
    price = _price(name, value, row)
    terms = _terms(given, timestamp_us, action, price, reading, row)
    symbol = name_of("symbol", *given["symbol"], row) if "symbol" in given else reading.symbol
    symbol = reading.symbols.get(symbol, symbol)
    source = name_of("source", *given["source"], row) if "source" in given else reading.source
    signal_id = name_of("signal_id", *given["signal_id"], row) if "signal_id" in given else ""
    if not is_missing(idempotency_key):
        key = name_of("signal_id", "Idempotency-Key", idempotency_key, row)
        signal_id = signal_id or key
    return Signal(
        symbol, timestamp_us, action, price, source, signal_id, _features(values, given, named, row), **terms
    )


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
        if 0 < len(bare) <= limit and clean and "{{" not in bare:
            return bare
    raise InvalidField(name, value, EXPECTED[field], row)


def check_keys(values: Mapping[str, object], row: int | None) -> None:
    """Refuse an object in which a key stood twice."""
    if isinstance(values, RepeatedKeys):
        raise InvalidField(shown_name(values.name), values[values.name], "each key once", row)


def check_feature_name(name: str, row: int | None) -> str:
    """The name a feature is kept under."""
    if name in NAMELESS:
        return UNNAMED
    if len(name) > MAX_FEATURE_NAME or not _is_unicode(name):
        expected = f"a name of at most {MAX_FEATURE_NAME} Unicode characters"
        raise InvalidField(shown_name(name), name, expected, row)
    return name


def shown_name(name: str) -> str:
    """A name as it can be written anywhere: encodable, and not longer than a name may be."""
    return name.encode("utf-8", "backslashreplace").decode()[:MAX_FEATURE_NAME]


def _named(
    values: Mapping[str, object], named: NamedFields, row: int | None
) -> dict[str, tuple[str, object]]:
    given: dict[str, tuple[str, object]] = {}
    fields: Mapping[str, str] = named.fields
    if named.clock is not None:
        date, time = named.clock
        if is_time_of_day(values[time]):
            if not isinstance(values[date], str) and not is_missing(values[date]):
                raise InvalidField(date, values[date], f"a date, such as 2025-02-24, to go with {time}", row)
            given["timestamp"] = (f"{date} and {time}", date_and_time(values[date], values[time]))
            fields = {name: known for name, known in fields.items() if name not in named.clock}
        elif date in fields and not is_missing(values[date]) and not is_missing(values[time]):
            expected = f"a time of day, such as 14:00:00, to go with {date} (or --map timestamp=NAME)"
            raise InvalidField(time, values[time], expected, row)
    for name, known in fields.items():
        value = values[name]
        if is_missing(value) and (known not in REQUIRED or known in given):
            continue
        if known in given and not is_missing(given[known][1]):
            if _same(given[known][1], value):
                continue
            other = given[known][0]
            raise InvalidField(name, value, f"only one of {other} and {name}: both name the {known}", row)
        given[known] = (name, value)
    return given


def _same(one: object, other: object) -> bool:
    """Whether two values of one field say the same."""
    if isinstance(one, str) and isinstance(other, str) and one.strip(BLANKS) == other.strip(BLANKS):
        return True
    numbers = [
        number_in(value)
        if isinstance(value, str)
        else as_float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else None
        for value in (one, other)
    ]
    return numbers[0] is not None and numbers[0] == numbers[1]


def _refuse_placeholders(values: Iterable[tuple[str, object]], row: int | None, depth: int = 0) -> None:
    """Raise `InvalidField` where a sender has sent its template and not what belongs there."""
    for name, value in values:
        if isinstance(value, (dict, list)):
            if depth < MAX_DEPTH:
                held = value.items() if isinstance(value, dict) else ((name, each) for each in value)
                _refuse_placeholders(held, row, depth + 1)
        elif isinstance(value, str) and "{{" in value and (found := _PLACEHOLDER.search(value)):
            alone = not any(char.isalnum() for char in _PLACEHOLDER.sub("", value))
            if (alone or name in FIELD_OF) and not is_secret_name(name):
                expected = (
                    f"a value: the sender did not replace {found[0]}. Write it as its documentation does, in a place "
                    "where it knows it"
                )
                raise InvalidField(shown_name(name), value, expected, row)


def _require(
    given: Mapping[str, tuple[str, object]], template: Template, reading: Reading, row: int | None
) -> None:
    """Raise `InvalidField` with what to add to the alert, where a field that is needed has no value."""
    for needed in reading.required:
        if needed not in given:
            names = ", ".join(dict.fromkeys((*template.names.get(needed, ()), *ALIASES[needed])))
            hint = template.hints.get(needed, "")
            expected = f"{EXPECTED[needed]}, under one of {names}" + (
                f"; add {hint} to the alert's message" if hint else ""
            )
            raise InvalidField(needed, None, expected, row)


def date_and_time(date: object, time: object) -> object:
    """A date and a time of day in two cells as one stamp; the date's own midnight is left out, if it says no zone."""
    return f"{MIDNIGHT.sub('', date.strip(BLANKS))} {time}" if isinstance(date, str) else date


def _instant(name: str, value: object, reading: Reading, row: int | None) -> int:
    if is_missing(value):
        _refuse_missing("timestamp", name, value, row)
    instant_us = parse_instant(value, reading.zone, field=name, row=row, day_first=reading.day_first)
    instant_us += reading.shift_us
    if reading.latest_us is not None and instant_us > reading.latest_us:
        raise InvalidField(name, value, f"a time that is not after {format_instant(reading.latest_us)}", row)
    if reading.earliest_us is not None and instant_us < reading.earliest_us:
        raise StaleSignal(
            name, value, f"a time that is not before {format_instant(reading.earliest_us)}", row
        )
    return instant_us


def action_of(name: str, value: object, row: int | None) -> Action:
    if is_missing(value):
        _refuse_missing("signal", name, value, row)
    number: float | None = None
    if isinstance(value, str):
        word = _WORDS.get(value.strip(BLANKS).upper())
        if word is not None:
            return word
        word = _WORDS.get(plain_words(value))
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
        raise InvalidField(name, value, _expected_price(value), row)
    return number


def _expected_price(value: object) -> str:
    """What a price is, and how one that is written in another way is read."""
    if isinstance(value, str):
        for decimal, thousands in ((".", ","), (",", ""), (",", "."), (",", " "), (".", " "), (".", "'")):
            if written_number(decimal, thousands).fullmatch(value.strip(BLANKS)):
                says = [f"--decimal {decimal}"] if decimal != "." else []
                says += [f"--thousands {shlex.quote(thousands)}"] if thousands else []
                return f"a number above 0 without thousands separators; a file with them is read with {' '.join(says)}"
    return EXPECTED["price"]


_SEPARATORS = {",": "[,]", ".": "[.]", " ": "[ \u00a0\u202f]", "'": "['\u2019]"}
MIDNIGHT = re.compile("[ T]0?0:00(:00([.]0*)?)?$")
_BEFORE, _AFTER = "(?:[$€£¥][ \u00a0]?)?", "(?:[ \u00a0]?[$€£¥])?"
BESIDE_DIGITS = "[$€£¥ \u00a0\u202f]"


@lru_cache(maxsize=16)
def written_number(decimal: str, thousands: str) -> re.Pattern[str]:
    """A number in a text, by its decimal mark and what stands between its thousands; of Arrow's syntax, too."""
    mark, whole = _SEPARATORS[decimal], "[0-9]+"
    before, after = "", ""
    if thousands:
        whole = f"(?:[0-9]{{1,3}}(?:{_SEPARATORS[thousands]}[0-9]{{3}})+|[0-9]+)"
        before, after = _BEFORE, _AFTER
    digits = f"(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)"
    return re.compile(f"{before}[+-]?{before}{digits}(?:[eE][+-]?[0-9]+)?{after}")


def separators_of(thousands: str) -> str:
    """What is left out of a written number, as a class of characters."""
    inner = _SEPARATORS[thousands][1:-1] if thousands else ""
    return f"[{inner}{BESIDE_DIGITS[1:-1]}]"


def _plain(
    values: Mapping[str, object], named: NamedFields, reading: Reading, row: int | None
) -> dict[str, object]:
    return {name: _in_plain_digits(name, value, named, reading, row) for name, value in values.items()}


def _in_plain_digits(
    name: str, value: object, named: NamedFields, reading: Reading, row: int | None
) -> object:
    """A text that is a number as `reading` says they are written, as a program writes it; else the value itself."""
    if not isinstance(value, str) or name in named.unread or named.fields.get(name) in NAMES_FIELDS:
        return value
    bare = value.strip(BLANKS)
    if written_number(reading.decimal, reading.thousands).fullmatch(bare):
        bare = re.sub(separators_of(reading.thousands), "", bare)
        return bare.replace(reading.decimal, ".")
    if _DECIMAL.fullmatch(bare) and not is_secret_name(name):
        between = f", and {reading.thousands!r} between thousands" if reading.thousands else ""
        expected = f"a number with {reading.decimal!r} before its decimals{between}"
        raise InvalidField(name, value, expected, row)
    return value


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
    for known, (low, high) in BOUNDS.items():
        name, value = given.get(known, (known, None))
        if is_not_said(value):
            continue
        number: float | None = None
        if isinstance(value, str):
            number = number_in(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            number = as_float(value)
        if number is None or not low <= number <= high:
            raise InvalidField(name, value, EXPECTED[known], row)
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


def _features(
    values: Mapping[str, object], given: Mapping[str, tuple[str, object]], named: NamedFields, row: int | None
) -> dict[str, float | str]:
    features: dict[str, float | str] = {}
    left_out = named.not_features
    if named.clock is not None and given["timestamp"][0] not in named.clock:
        left_out |= {*named.clock}  # one stamp in two cells
    for name, value in values.items():
        if name in left_out or is_secret_name(name):
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
