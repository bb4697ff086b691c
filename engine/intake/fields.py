"""What each field of a signal may hold: the rules that every way in follows.

`signal_of` reads one row, value by value, and is the reference: what reads whole columns at once
(`engine.intake.tables`) accepts only what this accepts, to the bit, and hands every other row to it. The
sentences that a caller gets when a row is refused are made here and nowhere else.
"""

import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NoReturn

from raysignal.engine.core.errors import InputError, InvalidField, WrongDateOrder, shorten
from raysignal.engine.core.instants import EXPECTED_STAMP, format_instant, is_time_of_day, parse_instant
from raysignal.engine.core.secrets import hide_secrets, is_secret_name
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake.field_rules import (
    ALIASES,
    BLANKS,
    FIELD_OF,
    INFINITE,
    MAX_PRICE,
    MIN_PRICE,
    NAMES_FIELDS,
    NO_FIELDS,
    NOT_A_NUMBER,
    REQUIRED,
    UNNAMED,
    NamedFields,
    as_float,
    check_feature_name,
    check_keys,
    fields_in,
    is_missing,
    is_price_only,
    is_unicode,
    number_in,
    number_of,
    separators_of,
    shown_name,
    terms_of,
    written_number,
)
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.templates import MAX_DEPTH, Template, flattened, plain_words

MAX_NAME = 64
MAX_ID = 128
MAX_FEATURES = 256
MAX_TEXT_BYTES = 64 * 1024

MIDNIGHT = re.compile("[ T]0?0:00(:00([.]0*)?)?$")
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

EXPECTED = {
    "timestamp": EXPECTED_STAMP,
    "price": f"a number above 0, from {MIN_PRICE:g} to {MAX_PRICE:g}, without thousands separators",
    "signal": "-1, 0 or 1, or SELL, HOLD, BUY or CLOSE (or a word such as LONG or ENTER SHORT)",
    "symbol": f"a text of at most {MAX_NAME} characters without control or invisible characters",
    "source": f"a text of at most {MAX_NAME} characters without control or invisible characters",
    "formerly": f"a text of at most {MAX_NAME} characters without control characters",
    "signal_id": f"a text of at most {MAX_ID} characters without control characters",
}
_EXPECTED_FEATURE = "a finite number, a text, true, false or null"


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
        named = fields_in(values, reading.names)
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
        named = fields_in(values, reading.names)
        if localised:
            values = _plain(values, named, reading, row)
        given = _named(values, named, reading, row)
    else:
        named = NO_FIELDS
        flat = flattened(values, row)
        found = template.named(flat, ALIASES)
        if localised:
            known = {name: means for means, (name, _) in found.fields.items()}
            flat = _plain(flat, NamedFields(known, frozenset(), frozenset()), reading, row)
            found = template.named(flat, ALIASES)
        given, values = found.fields, found.features
        _require(given, template, reading, row)
    name, stamp = _required("timestamp", given, values, row)
    timestamp_us = _instant(name, stamp, reading, row)
    optional = is_price_only(given, row) or reading.prices_only
    name, value = (
        given.get("signal", ("signal", None)) if optional else _required("signal", given, values, row)
    )
    action = Action.HOLD if optional and is_missing(value) else action_of(name, value, row)
    name, value = _required("price", given, values, row)
    price = _price(name, value, row)
    terms = terms_of(given, timestamp_us, action, price, reading, row)
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


_CONTROL = frozenset({"Cc", "Cs"})
_UNSEEN = _CONTROL | {"Cf", "Zl", "Zp", "Zs"}


def name_of(field: str, name: str, value: object, row: int | None) -> str:
    """A symbol, source or signal_id without the blanks around it; `formerly`: a symbol of a portfolio, as it is there.

    Two names that look the same are the same: a symbol or source has no zero-width, bidirectional or unusual blanks.
    """
    limit = MAX_ID if field == "signal_id" else MAX_NAME
    if isinstance(value, str):
        bare = value.strip(BLANKS)
        refused = _UNSEEN if field in {"symbol", "source"} else _CONTROL
        # What is printable holds none of them; asking that first is much quicker.
        clean = bare.isprintable() or not any(
            unicodedata.category(char) in refused for char in bare if char != " "
        )
        if 0 < len(bare) <= limit and clean and "{{" not in bare:
            return bare
    raise InvalidField(name, value, EXPECTED[field], row)


def _named(
    values: Mapping[str, object], named: NamedFields, reading: Reading, row: int | None
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
            if _same(known, given[known][1], value, reading):
                continue
            other = given[known][0]
            expected = f"only one of {other} and {name}: both name the {known} (or --map {known}=NAME)"
            raise InvalidField(name, value, expected, row)
        given[known] = (name, value)
    return given


def _same(field: str, one: object, other: object, reading: Reading) -> bool:
    """Whether two values of one field say the same."""
    if isinstance(one, str) and isinstance(other, str) and one.strip(BLANKS) == other.strip(BLANKS):
        return True
    try:
        if field == "timestamp":
            first, second = (
                parse_instant(value, reading.zone, day_first=reading.day_first) for value in (one, other)
            )
            return first == second
        if field == "signal":
            return action_of(field, one, None) == action_of(field, other, None)
    except InvalidField:
        return False
    number = number_of(one)
    return number is not None and number == number_of(other)


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
                    f"a value: the sender did not replace {hide_secrets(found[0])}. Write it as its documentation "
                    "does, in a place where it knows it"
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
    instant_us = reading.known_us(instant_us, value)
    if reading.latest_us is not None and instant_us > reading.latest_us:
        raise InvalidField(name, value, f"a time that is not after {format_instant(reading.latest_us)}", row)
    return instant_us


def action_of(name: str, value: object, row: int | None) -> Action:
    if is_missing(value):
        _refuse_missing("signal", name, value, row)
    if isinstance(value, str):
        word = _WORDS.get(value.strip(BLANKS).upper())
        if word is not None:
            return word
        word = _WORDS.get(plain_words(value))
        if word is not None:
            return word
    number = number_of(value)
    if number is None or number not in {-1, 0, 1}:
        raise InvalidField(name, value, EXPECTED["signal"], row)
    return Action(int(number))


def _price(name: str, value: object, row: int | None) -> float:
    if is_missing(value):
        _refuse_missing("price", name, value, row)
    number = number_of(value)
    if number is None or not MIN_PRICE <= number <= MAX_PRICE:
        raise InvalidField(name, value, _expected_price(value), row)
    return number


def _expected_price(value: object) -> str:
    """What a price is, and how one that is written in another way is read."""
    if isinstance(value, str) and number_in(value) is None:
        for decimal, thousands in ((".", ","), (",", ""), (",", "."), (",", " "), (".", " "), (".", "'")):
            if written_number(decimal, thousands).fullmatch(value.strip(BLANKS)):
                says = [f"--decimal {decimal}"] if decimal != "." else []
                says += [f"--thousands {shlex.quote(thousands)}"] if thousands else []
                return f"a number above 0 without thousands separators; a file with them is read with {' '.join(says)}"
    return EXPECTED["price"]


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
    if number_in(bare) is not None and not is_secret_name(name):
        between = f", and {reading.thousands!r} between thousands" if reading.thousands else ""
        expected = f"a number with {reading.decimal!r} before its decimals{between}"
        raise InvalidField(name, value, expected, row)
    return value


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
    if not is_unicode(text):
        raise InvalidField(name, text, "a text without half surrogates", row)
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise InvalidField(name, text, f"a text of at most {MAX_TEXT_BYTES} bytes in UTF-8", row)
    return text


def _required(
    field: str, given: Mapping[str, tuple[str, object]], values: Mapping[str, object], row: int | None
) -> tuple[str, object]:
    """A field's name and value; `InvalidField`, with the names that there are, if none of them means it."""
    if field in given:
        return given[field]
    there = ", ".join(shown_name(name) for name in values if not is_secret_name(name))
    expected = f"{EXPECTED[field]} (a field named {' or '.join(ALIASES[field])})"
    raise InvalidField(field, None, f"{expected} among {shorten(there)}" if there else expected, row)


def _refuse_missing(field: str, name: str, value: object, row: int | None) -> NoReturn:
    names = " or ".join(ALIASES[field])
    raise InvalidField(name, value, f"{EXPECTED[field]} (a field named {names})", row)
