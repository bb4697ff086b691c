"""What a signal's fields are called and what each may hold: the rules that every way in follows.

`signal_of` reads one row, value by value, and is the reference: what reads whole columns at once
(`engine.intake.tables`) accepts only what this accepts, to the bit, and hands every other row to it. The
sentences that a caller gets when a row is refused are made here and nowhere else.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, timezone
from typing import Literal, NoReturn
from zoneinfo import ZoneInfo

from raysignal.engine.core.errors import InvalidField, StaleSignal
from raysignal.engine.core.instants import DAY_US, EXPECTED_STAMP, format_instant, parse_instant
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake.templates import (
    MAX_DEPTH,
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
}
CLOSING_WORDS = frozenset({
    "CLOSE", "EXIT", "FLAT", "FLATTEN", "EXIT LONG", "EXIT SHORT", "CLOSE LONG", "CLOSE SHORT", "LONG EXIT",
    "SHORT EXIT", "EXIT ALL", "CLOSE ALL", "CLOSE POSITION", "EXIT POSITION",
})  # fmt: skip
"""Words that ask for no position, whatever its side."""
_CLOSE = Action.__members__.get("CLOSE")
"""What they are; None: nothing executes it yet, and they are refused."""

EXPECTED = {
    "timestamp": EXPECTED_STAMP,
    "price": f"a number above 0, from {MIN_PRICE:g} to {MAX_PRICE:g}, without thousands separators",
    "signal": "-1, 0 or 1, or SELL, HOLD or BUY (or a word such as LONG or ENTER SHORT)",
    "symbol": f"a text of at most {MAX_NAME} characters without control characters",
    "source": f"a text of at most {MAX_NAME} characters without control characters",
    "signal_id": f"a text of at most {MAX_ID} characters without control characters",
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
        symbols: other names of symbols, such as `BINANCE:BTCUSDT.P`, to those that are kept.
        template: the sender whose names and words the rows have, see `engine.intake.templates`; None: the common ones.
        names: field to the name that it has in the input; it goes before all others.
        max_age_us: how far before `now_us` a signal may have been known; None: any time.
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

    @property
    def earliest_us(self) -> int | None:
        """The first instant that is not too long ago; None: there is none."""
        return None if self.now_us is None or self.max_age_us is None else self.now_us - self.max_age_us

    def template_of(self, values: Mapping[str, object]) -> Template | None:
        """By which template these values are read; None: by the common names alone."""
        name = self.template or ("tradingview" if strategy_body(values) else None)
        if name is None and not self.names:
            return None
        found = Template(names={}) if name is None else template_for(name, values)
        return found.with_names(self.names) if self.names else found


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
    _refuse_placeholders(values, row)
    template = reading.template_of(values)
    if template is None:
        given = _named(values, row)
    else:
        named = template.named(flattened(values, row), ALIASES)
        given, values = named.fields, named.features
        _require(given, template, reading, row)
    name, stamp = given.get("timestamp", ("timestamp", None))
    timestamp_us = _instant(name, stamp, reading, row)
    name, value = given.get("signal", ("signal", None))
    action = Action.HOLD if reading.prices_only and is_missing(value) else action_of(name, value, row)
    name, value = given.get("price", ("price", None))
    price = _price(name, value, row)
    symbol = name_of("symbol", *given["symbol"], row) if "symbol" in given else reading.symbol
    symbol = reading.symbols.get(symbol, symbol)
    source = name_of("source", *given["source"], row) if "source" in given else reading.source
    signal_id = name_of("signal_id", *given["signal_id"], row) if "signal_id" in given else ""
    if not is_missing(idempotency_key):
        key = name_of("signal_id", "Idempotency-Key", idempotency_key, row)
        signal_id = signal_id or key
    return Signal(symbol, timestamp_us, action, price, source, signal_id, _features(values, row))


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
            if _same(given[field][1], value):
                continue
            other = given[field][0]
            raise InvalidField(name, value, f"only one of {other} and {name}: both name the {field}", row)
        given[field] = (name, value)
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


def _refuse_placeholders(values: Mapping[str, object], row: int | None, depth: int = 0) -> None:
    """Raise `InvalidField` where a sender has sent its template and not what belongs there."""
    for name, value in values.items():
        if isinstance(value, dict):
            if depth < MAX_DEPTH:
                _refuse_placeholders(value, row, depth + 1)
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


def _instant(name: str, value: object, reading: Reading, row: int | None) -> int:
    if is_missing(value):
        _refuse_missing("timestamp", name, value, row)
    instant_us = parse_instant(value, reading.zone, field=name, row=row) + reading.shift_us
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
        said = plain_words(value)
        word = _CLOSE if said in CLOSING_WORDS else _WORDS.get(said)
        if word is not None:
            return word
        if said in CLOSING_WORDS:
            raise InvalidField(
                name, value, "BUY, SELL or HOLD: closing by a word of its own is not executed yet", row
            )
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
