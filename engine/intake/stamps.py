# mypy: disable-error-code="arg-type,assignment,no-any-return,operator,misc,return-value"
# mypy: disallow-untyped-decorators=False
"""Stamps by the column: the common ways of writing a time, and a zone's offsets by the day.

`engine.core.instants.parse_instant` is the reference. What is written in another way than the ones read here, and
local times on a day when the zone's clocks change, are left to it.
"""

from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Int32Array, Int64Array, UInt8Array
from raysignal.engine.core.instants import DAY_US, EARLIEST_US, LATEST_US
from raysignal.engine.core.raw import compiled
from raysignal.engine.intake.parsing import trimmed
from raysignal.engine.intake.scanning import TEXT

# In place of an offset: the stamp names no zone.
NAIVE = np.int64(1 << 62)

_LENGTHS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_MINUTE_US = 60_000_000
_HALF_DAY_US = DAY_US // 2


@compiled
def _digits(data: UInt8Array, at: int, count: int, end: int) -> int:
    if at + count > end:
        return -1
    value = 0
    for k in range(count):
        byte = data[at + k]
        if not 48 <= byte <= 57:
            return -1
        value = value * 10 + (byte - 48)
    return value


@compiled
def _one_or_two(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    value = _digits(data, at, 2, end)
    if value >= 0:
        return value, at + 2
    return _digits(data, at, 1, end), at + 1


@compiled
def _local_us(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Microseconds from 1970-01-01 on the local calendar; -NAIVE if there is no such time."""
    if year < 1 or not 1 <= month <= 12 or day < 1:
        return -NAIVE
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return -NAIVE
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _LENGTHS[month] + (leap and month == 2):
        return -NAIVE
    # Days from a civil date, the year beginning in March (H. Hinnant, chrono-compatible algorithms).
    shifted = year - 1 if month <= 2 else year
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return ((days * 24 + hour) * 60 + minute) * np.int64(_MINUTE_US) + second * np.int64(1_000_000)


@compiled
def _us_style(data: UInt8Array, at: int, end: int) -> int:
    month, at = _one_or_two(data, at, end)
    if month < 0 or at >= end or data[at] != 47:
        return -NAIVE
    day, at = _one_or_two(data, at + 1, end)
    if day < 0 or at >= end or data[at] != 47:
        return -NAIVE
    year = _digits(data, at + 1, 4, end)
    at += 5
    if year < 0 or at == end:
        return _local_us(year, month, day, 0, 0, 0)
    if data[at] != 32 and data[at] != 84:
        return -NAIVE
    hour, at = _one_or_two(data, at + 1, end)
    if hour < 0 or at >= end or data[at] != 58:
        return -NAIVE
    minute = _digits(data, at + 1, 2, end)
    at += 3
    second = 0
    if at < end:
        second = _digits(data, at + 1, 2, end) if data[at] == 58 else -1
        at += 3
    return _local_us(year, month, day, hour, minute, second) if at == end else -NAIVE


@compiled
def _iso(  # noqa: C901, PLR0911, PLR0912 - the grammar, part by part
    data: UInt8Array, at: int, end: int
) -> tuple[int, int]:
    """(local microseconds, offset or NAIVE) of a stamp that begins YYYY-MM-DD."""
    year, month, day = _digits(data, at, 4, end), _digits(data, at + 5, 2, end), _digits(data, at + 8, 2, end)
    if year < 0 or month < 0 or day < 0 or data[at + 4] != 45 or data[at + 7] != 45:
        return -NAIVE, NAIVE
    at += 10
    if at == end:
        return _local_us(year, month, day, 0, 0, 0), NAIVE
    if data[at] != 32 and data[at] != 84:
        return -NAIVE, NAIVE
    hour, minute, second = _digits(data, at + 1, 2, end), _digits(data, at + 4, 2, end), 0
    if hour < 0 or minute < 0 or data[at + 3] != 58:
        return -NAIVE, NAIVE
    at += 6
    fraction = 0
    if at < end and data[at] == 58:
        second = _digits(data, at + 1, 2, end)
        at += 3
        if second >= 0 and at < end and data[at] == 46:
            at += 1
            begin = at
            while at < end and at - begin < 6 and 48 <= data[at] <= 57:
                fraction = fraction * 10 + (data[at] - 48)
                at += 1
            if at == begin:
                return -NAIVE, NAIVE
            for _ in range(6 - (at - begin)):
                fraction *= 10
            while at < end and 48 <= data[at] <= 57:
                at += 1
    local = _local_us(year, month, day, hour, minute, second)
    if local == -NAIVE:
        return local, NAIVE
    local += fraction
    if at == end:
        return local, NAIVE
    if data[at] == 90 and at + 1 == end:
        return local, 0
    if (data[at] != 43 and data[at] != 45) or at + 6 != end or data[at + 3] != 58:
        return -NAIVE, NAIVE
    hours, minutes = _digits(data, at + 1, 2, end), _digits(data, at + 4, 2, end)
    if not 0 <= hours <= 23 or not 0 <= minutes <= 59:
        return -NAIVE, NAIVE
    offset = (hours * 60 + minutes) * _MINUTE_US
    return local, (-offset if data[at] == 45 else offset)


@compiled
def read_stamps(
    data: UInt8Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    local_us: Int64Array,
    offset_us: Int64Array,
    clear: BoolArray,
) -> None:
    """Local microseconds and offset (NAIVE if none is written) of every stamp that is clear."""
    for i in range(kind.shape[0]):
        local, offset = -NAIVE, NAIVE
        if kind[i] == TEXT:
            first, last = trimmed(data, start[i], end[i])
            if last - first >= 10 and data[first + 4] == 45:
                local, offset = _iso(data, first, last)
            elif last - first >= 8:
                local = _us_style(data, first, last)
        if local == -NAIVE:
            clear[i] = False
            local = 0
        local_us[i] = local
        offset_us[i] = offset


def to_instants(
    local_us: Int64Array, offset_us: Int64Array, zone: ZoneInfo | timezone, clear: BoolArray
) -> Int64Array:
    """UTC microseconds; naive stamps are read in `zone`. What is out of bounds, or naive on a day when the
    zone's clocks change, is no longer clear.
    """
    naive = offset_us == NAIVE
    instants = local_us - np.where(naive, 0, offset_us)
    if zone is not UTC and bool(naive.any()):
        days, day = np.unique(np.floor_divide(local_us, DAY_US), return_inverse=True)
        offsets = np.array([_offset_of_day(zone, int(number)) for number in days], np.int64)
        clear &= ~naive | (offsets != NAIVE)[day]
        instants -= np.where(naive, np.where(offsets == NAIVE, 0, offsets)[day], 0)
    clear &= (instants >= EARLIEST_US) & (instants <= LATEST_US)
    return instants


@lru_cache(maxsize=1 << 17)
def _offset_of_day(zone: ZoneInfo | timezone, day: int) -> int:
    """The zone's offset throughout a local day; NAIVE if it changes, or may, near its ends."""
    try:
        noon = datetime(1970, 1, 1, 12) + timedelta(days=day)  # noqa: DTZ001 - local, the zone comes next
        moments = [noon + timedelta(microseconds=part) for part in (-_HALF_DAY_US, 0, _HALF_DAY_US)]
    except OverflowError:
        return int(NAIVE)
    offsets = {moment.replace(tzinfo=zone, fold=fold).utcoffset() for moment in moments for fold in (0, 1)}
    offset = offsets.pop()
    if offsets or offset is None:
        return int(NAIVE)
    return offset // timedelta(microseconds=1)
