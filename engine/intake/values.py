"""Columns of cells to columns of values, by the rules of `engine.intake.fields`.

A column is an Arrow array of texts, float64, int64, booleans or nulls. What Arrow reads as the rules do is left to
Arrow, for the whole column at once; where it cannot, each distinct cell is read by the rules themselves. Every function
also says for each row whether its cell may be used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from raysignal.engine.core.arrays import (
    BoolArray,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    UInt8Array,
)
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import (
    DAY_US,
    EARLIEST_US,
    EPOCH_FIRST_S,
    EPOCH_LAST_S,
    LATEST_US,
    MICROSECONDS,
    is_time_of_day,
    parse_instant,
)
from raysignal.engine.core.signals import Action
from raysignal.engine.intake.field_rules import (
    BLANKS,
    MAX_PRICE,
    MIN_PRICE,
    NOT_A_NUMBER,
    PLAIN_NUMBER,
    is_missing,
    is_not_said,
    number_in,
    separators_of,
    written_number,
    yes_or_no,
)
from raysignal.engine.intake.fields import (
    MAX_ID,
    MAX_TEXT_BYTES,
    action_of,
    date_and_time,
    name_of,
    text_feature,
)
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.scanner import among

_REFUSED = object()
_HALF_DAY = timedelta(hours=12)
_NEVER_US = -10 * DAY_US
_STAMPS = (pa.timestamp("us", "UTC"), pa.timestamp("us"))
_WHOLE_EPOCH = "^[0-9]{9,18}$"  # of 19 digits some are more than 64 bits hold


# What no number and no blank begins with; and the first two letters of nan, NaN, inf and Infinity, which may mean one.
_BEGINS_TEXT = among(*range(33, 43), *range(58, 256))
_FIRST_OF_WORD, _SECOND_OF_WORD = among(*b"nNiI"), among(*b"an")
_LONGEST_WORD = 8
_BLANK = among(*BLANKS.encode())


@dataclass(frozen=True, slots=True, eq=False)
class FeatureColumn:
    """The values of one feature: NaN or an empty text where a row has none of that kind.

    Attributes:
        numbers: float64[n], or None if no row has one.
        texts: n texts, or None if no row has one.
        clear: bool[n], whether the cell may be used.
    """

    numbers: Float64Array | None
    texts: TextColumn | None
    clear: BoolArray

    @property
    def filled(self) -> BoolArray:
        """bool[n], whether the row has a value."""
        filled: BoolArray = np.zeros(len(self.clear), np.bool_)
        if self.numbers is not None:
            filled |= ~np.isnan(self.numbers)
        if self.texts is not None:
            filled |= np.diff(self.texts.offsets) > 0
        return filled


def is_text(array: pa.Array) -> bool:
    """Whether the cells are texts."""
    return bool(types.is_string(array.type) or types.is_large_string(array.type))


def read_feature(array: pa.Array) -> FeatureColumn:
    """A feature: numbers, texts that are numbers, other texts, booleans."""
    n = len(array)
    if not is_text(array):
        floats = _floats(array)
        return FeatureColumn(floats, None, ~np.isinf(floats))
    column = TextColumn.of_arrow(array)
    length = np.diff(column.offsets)
    # Of more blanks than one, the rules are asked.
    begin = column.offsets[:-1] + _BLANK[_bytes(column.data, column.offsets[:-1])]
    bare = column.offsets[1:] - begin
    first = _bytes(column.data, begin)
    word = _FIRST_OF_WORD[first] & _SECOND_OF_WORD[_bytes(column.data, begin + 1)]
    word &= (bare <= _LONGEST_WORD) | _BLANK[_bytes(column.data, begin + _LONGEST_WORD)]
    textual = (bare > 0) & _BEGINS_TEXT[first] & ~word
    clear = np.ones(n, np.bool_)
    numbers: Float64Array | None = None
    rows = np.flatnonzero((length > 0) & ~textual)
    if len(rows):
        numbers = np.full(n, np.nan)
        cells = array if len(rows) == n else array.take(pa.array(rows))
        found = _parsed(cells)
        if found is not None and bool(np.isfinite(found).all()):
            numbers[rows] = found
        else:
            values, codes = _distinct(cells, lambda text: text_feature("", text, None))
            numbers[rows] = np.array([value if isinstance(value, float) else np.nan for value in values])[
                codes
            ]
            textual[rows] = np.array([isinstance(value, str) for value in values])[codes]
            clear[rows] = np.array([value is not _REFUSED for value in values])[codes]
    clear &= ~textual | (length <= MAX_TEXT_BYTES)
    texts = None
    if bool(textual.all()):
        texts = column
    elif bool(textual.any()):
        texts = TextColumn.of_arrow(pc.if_else(pa.array(textual), array, pa.scalar("", array.type)))
    return FeatureColumn(numbers, texts, clear)


def read_prices(array: pa.Array) -> tuple[Float64Array, BoolArray]:
    """Prices within their bounds."""
    if types.is_boolean(array.type):
        return np.ones(len(array)), np.zeros(len(array), np.bool_)
    prices = _parsed(array) if is_text(array) else _floats(array)
    if prices is None:
        values, codes = _distinct(array, lambda text: None if text is None else number_in(text))
        prices = np.array([np.nan if value is None else value for value in values])[codes]
    return prices, (prices >= MIN_PRICE) & (prices <= MAX_PRICE)


def read_numbers(array: pa.Array, low: float, high: float) -> tuple[Float64Array, BoolArray]:
    """Numbers from `low` to `high`; NaN where there is none."""
    missing: BoolArray = array.is_null().to_numpy(zero_copy_only=False)
    if types.is_boolean(array.type) or bool(missing.all()):
        return np.full(len(array), np.nan), missing
    numbers = _parsed(array) if is_text(array) else _floats(array)
    if numbers is None:
        values, codes = _distinct(array, _number_or_none)
        numbers = np.array([np.inf if value is _REFUSED else value for value in values], np.float64)[codes]
        missing = np.isnan(numbers)
    elif not is_text(array):
        missing = np.isnan(numbers)
    return numbers, missing | ((numbers >= low) & (numbers <= high))


def _number_or_none(text: object) -> float:
    if is_not_said(text):
        return np.nan
    number = number_in(str(text))
    if number is None:
        raise InvalidField("number", text, "a number")
    return number


def read_expiries(
    array: pa.Array, zone: ZoneInfo | timezone, *, day_first: bool
) -> tuple[Float64Array, BoolArray]:
    """Instants as UTC microseconds, NaN where there is none."""
    instants, clear = np.full(len(array), np.nan), np.ones(len(array), np.bool_)
    if array.null_count == len(array):
        return instants, clear
    if is_text(array):
        bare = pc.fill_null(pc.utf8_trim(array, BLANKS), "")
        there = ~np.isin(bare.to_numpy(zero_copy_only=False), ["", *NOT_A_NUMBER])
    else:
        there = ~np.isnan(_floats(array))
    rows = np.flatnonzero(there)
    found, clear[rows] = read_instants(array.take(pa.array(rows)), zone, day_first=day_first)
    instants[rows] = found
    return instants, clear


def read_flags(array: pa.Array) -> tuple[BoolArray, BoolArray]:
    """True or false; nothing is false."""
    values, codes = _distinct(array, lambda value: yes_or_no("price_only", value, None))
    return (
        np.array([value is True for value in values], np.bool_)[codes],
        np.array([value is not _REFUSED for value in values], np.bool_)[codes],
    )


def read_missing(array: pa.Array) -> BoolArray:
    """Which cells say nothing."""
    values, codes = _distinct(array, is_missing)
    return np.array(values, np.bool_)[codes]


def read_actions(array: pa.Array, *, prices_only: bool) -> tuple[Int8Array, BoolArray]:
    """Actions; where only prices are asked for, none is a HOLD."""

    def read(value: object) -> Action:
        return Action.HOLD if prices_only and is_missing(value) else action_of("signal", value, None)

    values, codes = _distinct(array, read)
    actions = np.array([0 if value is _REFUSED else value for value in values], np.int8)[codes]
    return actions, np.array([value is not _REFUSED for value in values], np.bool_)[codes]


def read_names(
    array: pa.Array, field: str, default: str, renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[str], Int32Array, BoolArray]:
    """Symbols or sources: the distinct ones, and which of them each row has; `renamed` are other names of them."""

    def read(value: object) -> str:
        name = default if is_missing(value) else name_of(field, field, value, None)
        return renamed.get(name, name)

    values, codes = _distinct(array, read)
    position: dict[str, int] = {}
    at = [
        position.setdefault(value if isinstance(value, str) else default, len(position)) for value in values
    ]
    clear = np.array([isinstance(value, str) for value in values], np.bool_)
    return list(position), np.array(at, np.int32)[codes], clear[codes]


def read_ids(array: pa.Array) -> tuple[TextColumn, BoolArray]:
    """Ids, empty where there is none."""
    if array.null_count == len(array):
        return TextColumn.empty(len(array)), np.ones(len(array), np.bool_)
    if is_text(array):
        ids = TextColumn.of_arrow(array)
        printable = not len(ids.data) or (ids.data.min() > ord(" ") and ids.data.max() <= ord("~"))
        left = pc.any(pc.match_substring(array, "{{")).as_py()
        if printable and not left and bool((np.diff(ids.offsets) <= MAX_ID).all()):
            return ids, np.ones(len(array), np.bool_)
    values = [
        ""
        if is_missing(value)
        else _attempt(lambda name: name_of("signal_id", "signal_id", name, None), value)
        for value in array.to_pylist()
    ]
    clear = np.array([value is not _REFUSED for value in values], np.bool_)
    return TextColumn.of([value if isinstance(value, str) else "" for value in values]), clear


def read_instants(
    array: pa.Array, zone: ZoneInfo | timezone, *, day_first: bool = False
) -> tuple[Int64Array, BoolArray]:
    """Stamps as UTC microseconds; naive ones are read in `zone`."""
    n = len(array)
    if not is_text(array):
        if types.is_boolean(array.type) or types.is_null(array.type):
            return np.zeros(n, np.int64), np.zeros(n, np.bool_)
        return _epoch_instants(array)
    for kind in _STAMPS:
        try:
            stamps = array.cast(kind)
        except pa.ArrowInvalid:
            continue
        instants = _own(stamps.cast(pa.int64()).fill_null(_NEVER_US))
        if kind.tz is None and zone is not UTC:
            _to_utc(instants, array, zone)
        return instants, (instants >= EARLIEST_US) & (instants <= LATEST_US)
    if bool(pc.all(pc.match_substring_regex(array, _WHOLE_EPOCH)).as_py()):
        return _epoch_instants(array.cast(pa.int64()))
    values, codes = _distinct(array, lambda text: parse_instant(text, zone, day_first=day_first))
    instants = np.array([0 if value is _REFUSED else value for value in values], np.int64)[codes]
    return instants, np.array([value is not _REFUSED for value in values], np.bool_)[codes]


def _epoch_instants(array: pa.Array) -> tuple[Int64Array, BoolArray]:
    """Numbers of seconds, ms, us or ns since 1970; of floats as large as those of ns the last digits are not known."""
    whole = types.is_int64(array.type)
    numbers = _own(array.fill_null(0)) if whole else _floats(array)
    instants, clear = np.zeros(len(array), np.int64), np.zeros(len(array), np.bool_)
    units = (1, 1_000, MICROSECONDS, 1_000 * MICROSECONDS)
    for unit in units if whole else units[:-1]:
        rows = np.flatnonzero((numbers >= EPOCH_FIRST_S * unit) & (numbers <= EPOCH_LAST_S * unit))
        found = numbers[rows]
        if unit > MICROSECONDS:
            found = found // (unit // MICROSECONDS)
        elif unit < MICROSECONDS:
            found = (
                np.rint(found * float(MICROSECONDS // unit)) if not whole else found * (MICROSECONDS // unit)
            )
        instants[rows] = np.floor(found)
        clear[rows] = True
    return instants, clear


def clock_rows(times: pa.Array) -> BoolArray:
    """bool[n], whether a cell is a time of day."""
    values, codes = _distinct(times, is_time_of_day)
    return np.array(values, np.bool_)[codes]


def dates_and_times(dates: pa.Array, times: pa.Array) -> pa.Array:
    """Dates and times of day in two columns as stamps."""
    if not is_text(dates):
        return pa.nulls(len(dates))
    date, time = (column.dictionary_encode(null_encoding="encode") for column in (dates, times))
    pairs = date.indices.to_numpy().astype(np.int64) * len(time.dictionary) + time.indices.to_numpy()
    distinct, codes = np.unique(pairs, return_inverse=True)
    days, clocks = date.dictionary.to_pylist(), time.dictionary.to_pylist()
    joined = [
        date_and_time(days[pair // len(clocks)], clocks[pair % len(clocks)]) for pair in distinct.tolist()
    ]
    return pa.array(joined, pa.large_string()).take(pa.array(codes))


def in_plain_digits(array: pa.Array, reading: Reading) -> tuple[pa.Array, BoolArray]:
    """Numbers in texts as programs write them; and which cells are no number of another style."""
    blanks = f"[{BLANKS}]*"
    pattern = written_number(reading.decimal, reading.thousands).pattern
    written = pc.match_substring_regex(array, f"^{blanks}(?:{pattern}){blanks}$").fill_null(False)
    digits = pc.replace_substring_regex(array, separators_of(reading.thousands), "")
    digits = pc.replace_substring(digits, reading.decimal, ".")
    others = pc.match_substring_regex(array, f"^{blanks}(?:{PLAIN_NUMBER}){blanks}$").fill_null(False)
    clear = pc.or_(written, pc.invert(others)).to_numpy(zero_copy_only=False)
    return pc.if_else(written, digits, array), clear


def may_repeat(instants: Int64Array, zone: ZoneInfo | timezone) -> BoolArray:
    """bool[n], whether the zone's clocks go back within hours of an instant: of others no local time comes again."""
    if zone is UTC:
        return np.zeros(len(instants), np.bool_)
    hours, hour = np.unique(instants // (3_600 * MICROSECONDS), return_inverse=True)
    return np.array([_goes_back(zone, number) for number in hours.tolist()], np.bool_)[hour]


@lru_cache(maxsize=1 << 17)
def _goes_back(zone: ZoneInfo | timezone, hour: int) -> bool:
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    before, after = (begin + timedelta(hours=more) for more in (0, 4))
    local_before, local_after = (moment.astimezone(zone).replace(tzinfo=None) for moment in (before, after))
    return local_after - local_before < after - before


def _to_utc(local_us: Int64Array, array: pa.Array, zone: ZoneInfo | timezone) -> None:
    """Local microseconds to UTC, in place; what is out of bounds, or skipped by the clocks, becomes less than 0."""
    local_us[(local_us < EARLIEST_US - DAY_US) | (local_us > LATEST_US + DAY_US)] = _NEVER_US
    days, day = np.unique(np.floor_divide(local_us, DAY_US), return_inverse=True)
    offsets = [_offset_of_day(zone, int(number)) for number in days]
    # On the days on which the clocks change, stamp by stamp.
    changing = np.flatnonzero(np.array([offset is None for offset in offsets])[day])
    local_us -= np.array([offset or 0 for offset in offsets], np.int64)[day]
    for row in changing.tolist():
        instant = _attempt(lambda text: parse_instant(text, zone), array[row].as_py())
        local_us[row] = instant if isinstance(instant, int) else _NEVER_US


@lru_cache(maxsize=1 << 17)
def _offset_of_day(zone: ZoneInfo | timezone, day: int) -> int | None:
    """The zone's offset throughout a local day, microseconds; None if it changes, or may, near its ends."""
    noon = datetime(1970, 1, 1, 12) + timedelta(days=day)  # noqa: DTZ001 - local, the zone comes next
    moments = [noon - _HALF_DAY, noon, noon + _HALF_DAY]
    offsets = {moment.replace(tzinfo=zone, fold=fold).utcoffset() for moment in moments for fold in (0, 1)}
    offset = offsets.pop()
    return None if offsets or offset is None else offset // timedelta(microseconds=1)


def _distinct(array: pa.Array, read: Callable[[Any], object]) -> tuple[list[Any], Int64Array]:
    """What `read` makes of every distinct cell, _REFUSED where it raises; and which of them each row has."""
    if len(array) and array.null_count == len(array):  # as a field that no row has
        return [_attempt(read, None)], np.zeros(len(array), np.int64)
    encoded = array.dictionary_encode(null_encoding="encode")
    return [_attempt(read, value) for value in encoded.dictionary.to_pylist()], encoded.indices.to_numpy()


def _attempt(read: Callable[[Any], object], value: object) -> object:
    try:
        return read(value)
    except InvalidField:
        return _REFUSED


def _parsed(array: pa.Array) -> Float64Array | None:
    """The numbers that all texts are, NaN for a null; None if one is none."""
    try:
        return _floats(array.cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


def _floats(array: pa.Array) -> Float64Array:
    floats: Float64Array = _own(array.cast(pa.float64(), safe=is_text(array)).fill_null(np.nan))
    return floats


def _own(array: pa.Array) -> Any:
    """As numpy, and not Arrow's own memory: compiled code takes what is read-only for another type."""
    return np.require(array.to_numpy(zero_copy_only=False), requirements="W")


def _bytes(data: UInt8Array, at: Int64Array) -> UInt8Array:
    """The bytes at some places; any byte where a place lies beyond the end."""
    return data[np.minimum(at, len(data) - 1)] if len(data) else np.zeros(len(at), np.uint8)
