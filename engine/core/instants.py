"""Instants: UTC, int64 microseconds since 1970-01-01 inside, ISO 8601 with `Z` outside.

Nothing here reads a clock.
"""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from raysignal.engine.core.errors import InvalidField, WrongDateOrder

MICROSECONDS = 1_000_000
DAY_US = 86_400 * MICROSECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SLASHES = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
# A date and more, as fromisoformat reads it, which takes any character between date and time, and 99 minutes.
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][^+-]*(?:[+-]\d{2}(?::?[0-5]\d){0,2})?)?", re.ASCII)
_CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:\s*([AaPp])\.?[Mm]\.?)?"
_OFFSET = r"(?:\s*(Z|(?:UTC|GMT)?[+-]\d{2}(?::?[0-5]\d)?|UTC|GMT))?"
_WRITTEN = re.compile(
    rf"(\d{{1,4}})([-/.])(\d{{1,2}})\2(\d{{1,4}})(?:(?:,?\s+|T){_CLOCK}{_OFFSET})?", re.ASCII
)
_TIME_OF_DAY = re.compile(_CLOCK, re.ASCII)
_EPOCH_NUMBER = re.compile(r"[0-9]{9,19}(?:\.[0-9]+)?")
_BAR = re.compile(r"(\d{1,15})\s*(us|ms|s|m|min|h|d|w)", re.ASCII)
_BAR_UNITS = {
    "us": 1, "ms": 1_000, "s": MICROSECONDS, "m": 60 * MICROSECONDS, "min": 60 * MICROSECONDS,
    "h": 3_600 * MICROSECONDS, "d": DAY_US, "w": 7 * DAY_US,
}  # fmt: skip

EPOCH_FIRST_S, EPOCH_LAST_S = 978_307_200, 7_258_118_400
"""2001 and 2200. Between them no number of seconds since 1970 is also one of ms, us or ns."""

EXPECTED_STAMP = (
    "a time such as 2025-02-24T00:00:00Z, 2025-02-24 00:00 or 2/24/2025 0:00, or a number of seconds, ms, us or ns "
    "since 1970, from 2001 to 2200"
)
EARLIEST_US = 0
LATEST_US = 7_258_118_400 * MICROSECONDS  # 2200-01-01
_FIRST_YEAR, _LAST_YEAR = 1969, 2200
_BOUNDS = "a time between the years 1970 and 2200"


def instant_of(moment: datetime) -> int:
    """Microseconds since the epoch of a moment that carries its zone."""
    return (moment - _EPOCH) // _MICROSECOND


def format_instant(instant_us: int) -> str:
    """ISO 8601 with `Z`; the fraction is there only when it is not zero."""
    text = (_EPOCH + timedelta(microseconds=int(instant_us))).isoformat()
    return text.removesuffix("+00:00") + "Z"


def format_date(instant_us: int) -> str:
    """The UTC date, `YYYY-MM-DD`."""
    return format_instant(instant_us)[:10]


def zone_named(name: str) -> ZoneInfo | timezone:
    """The zone of an IANA name; `InvalidField` if there is none."""
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidField("timezone", name, "an IANA zone such as UTC or America/New_York") from error


def parse_length(text: str, field: str) -> int:
    """Microseconds of a length of time such as `10m`, `1h` or `1d`; `InvalidField` of this field if it is none.

    Case does not count, but for `M`: to exchanges and charts `1M` is a month.
    """
    if text.strip().endswith("M"):
        raise InvalidField(
            field, text, "a length such as 10m (minutes) or 31d: months are not all of one length"
        )
    match = _BAR.fullmatch(text.strip().lower())
    if not match or int(match[1]) == 0:
        raise InvalidField(field, text, "a length such as 1s, 10m, 1h or 1d")
    return int(match[1]) * _BAR_UNITS[match[2]]


def parse_bar(text: str) -> int:
    """Microseconds of a bar length, see `parse_length`."""
    return parse_length(text, "bar")


def check_interval(interval_us: int) -> int:
    """The interval itself, if bars of it can be made: 1 s to 1 d, a whole number of them in a day."""
    if not MICROSECONDS <= interval_us <= DAY_US or DAY_US % interval_us:
        raise InvalidField(
            "bar", f"{interval_us / MICROSECONDS:g}s", "a length from 1s to 1d that divides a day"
        )
    return interval_us


def parse_instant(
    value: object,
    zone: ZoneInfo | timezone = UTC,
    *,
    field: str = "timestamp",
    row: int | None = None,
    day_first: bool = False,
) -> int:
    """The instant that a stamp says; a naive one is read in `zone`.

    Takes ISO 8601 (date and time apart by `T` or a blank, any precision up to microseconds, an offset or
    `Z` or neither; a date alone is its midnight; hours of one digit), dates such as `2011.12.08` and `8.12.2011`,
    dates with slashes such as `M/D/YYYY H:MM[:SS] [PM]`, or with `day_first` `D/M/YYYY`, and numbers, see `epoch_us`.

    Raises:
        WrongDateOrder: a date that is none in this order, and one in the other.
        InvalidField: not a time, before 1970 or after 2200, or a local time that the zone's clocks skipped.
            A local time that they showed twice means the first.
    """
    if not isinstance(value, str):
        return _instant_of_number(value, field, value, row)
    text = value.strip()
    moment = _read(text, day_first=day_first)
    if moment is None:
        if _EPOCH_NUMBER.fullmatch(text):
            return _instant_of_number(float(text) if "." in text else int(text), field, value, row)
        if _read(text, day_first=not day_first) is not None:
            raise WrongDateOrder(field, value, row, day_first=day_first)
        raise InvalidField(field, value, EXPECTED_STAMP, row)
    # Years that cannot be in bounds go first: near the ends of the calendar a zone's arithmetic overflows.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InvalidField(field, value, _BOUNDS, row)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
        if zone is not UTC and moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment.replace(
            tzinfo=None
        ):
            raise InvalidField(field, value, f"a local time that exists in {zone}", row)
    instant_us = instant_of(moment.astimezone(UTC))
    if not EARLIEST_US <= instant_us <= LATEST_US:
        raise InvalidField(field, value, _BOUNDS, row)
    return instant_us


def _instant_of_number(number: object, field: str, value: object, row: int | None) -> int:
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        instant_us = epoch_us(number)
        if instant_us is not None:
            return instant_us
    raise InvalidField(field, value, EXPECTED_STAMP, row)


def epoch_us(number: float) -> int | None:
    """Microseconds of a number of seconds, ms, us or ns since 1970, told apart by their size; None: it is none.

    Rounded to the microsecond where it is a fraction of seconds or milliseconds, else cut to it, as ISO texts are.
    """
    for unit in (1, 1_000, MICROSECONDS, 1_000 * MICROSECONDS):
        if EPOCH_FIRST_S * unit <= number <= EPOCH_LAST_S * unit:
            if unit < MICROSECONDS:
                return round(number * (MICROSECONDS // unit))
            return math.floor(number) // (unit // MICROSECONDS)
    return None


def is_stamp(text: str) -> bool:
    """Whether a text is a time, in either order of month and day."""
    try:
        parse_instant(text)
    except InvalidField as error:
        return isinstance(error, WrongDateOrder)
    return True


def is_naive(value: object) -> bool:
    """Whether a stamp that is one is a text without a zone."""
    if not isinstance(value, str) or _EPOCH_NUMBER.fullmatch(value.strip()):
        return False
    moment = _read(value.strip(), day_first=False) or _read(value.strip(), day_first=True)
    return moment is not None and moment.tzinfo is None


def is_time_of_day(value: object) -> bool:
    """Whether a value is a time without its date, such as `14:00`."""
    return isinstance(value, str) and _TIME_OF_DAY.fullmatch(value.strip()) is not None


def end_of_days(instant_us: int, length_us: int, zone: ZoneInfo | timezone) -> int:
    """When a bar of whole days has ended that began at an instant: the zone's days have 23 to 25 hours."""
    local = (_EPOCH + instant_us * _MICROSECOND).astimezone(zone)
    return instant_of((local.replace(tzinfo=None) + length_us * _MICROSECOND).replace(tzinfo=zone))


def repeated_after_us(instant_us: int, zone: ZoneInfo | timezone) -> int:
    """How much later the zone's clocks show the local time of an instant again, as in autumn; 0: they do not."""
    local = (_EPOCH + instant_us * _MICROSECOND).astimezone(zone)
    first, second = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
    if local.fold or first is None or second is None or first <= second:
        return 0
    return (first - second) // _MICROSECOND


def second_times(local_us: list[int], *, newest_first: bool, ties: bool) -> list[bool]:
    """Which of some rows are of the second time that clocks showed an hour, as the order of the rows tells.

    Args:
        local_us: what the clocks showed at each row, in the order of the rows; all of one such hour.
        newest_first: the rows go back in time.
        ties: rows of one instant are usual, or rows are not as close as the two times are: two equal ones do not tell
            anything.
    """
    sign = -1 if newest_first else 1
    steps = [sign * (after - before) for before, after in pairwise(local_us)]
    back = next((at for at, step in enumerate(steps, 1) if step < 0), None)
    if back is None and not ties and steps.count(0) == 1:
        back = steps.index(0) + 1
    if back is None:
        return [False] * len(local_us)
    return [(at < back) == newest_first for at in range(len(local_us))]


def clock_change_at(instant_us: int, zone: ZoneInfo | timezone) -> str:
    """What there is to say of an instant whose local time the zone's clocks show twice, as in autumn; else nothing.

    Two rows an hour apart, without an offset, are one instant then: the second may be another content under the
    identity of the first.
    """
    local = (_EPOCH + instant_us * _MICROSECOND).astimezone(zone)
    first, second = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
    if first is None or second is None or first <= second:
        return ""
    return (
        f"The clocks of {zone} went back, and showed {local.replace(tzinfo=None).isoformat(' ')} twice: without an "
        "offset it means the first time, unless the order of a file's rows tells. Write stamps of that hour with "
        "theirs, such as "
        f"{local.replace(fold=1).isoformat()}"
    )


def _read(text: str, *, day_first: bool) -> datetime | None:
    try:
        # What most senders and files write goes first, since it is quicker.
        if text[4:5] == "-":
            # fromisoformat also takes 20250224 and week dates, which are more likely numbers gone astray.
            if _ISO.fullmatch(text):
                return datetime.fromisoformat(text)
        elif match := _SLASHES.fullmatch(text):
            month, day, year, hour, minute, second = (int(part or 0) for part in match.groups())
            if day_first:
                month, day = day, month
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the zone comes after
    except ValueError:
        pass
    match = _WRITTEN.fullmatch(text)
    if match is None:
        return None
    try:
        return _written(*match.groups(), day_first=day_first)
    except ValueError:
        return None


def _written(first: str, mark: str, second: str, third: str, *clock: Any, day_first: bool) -> datetime:
    """A date as people write it; ValueError if it is none."""
    if len(first) == 4 and len(third) <= 2:
        year, month, day = int(first), int(second), int(third)
    elif len(first) <= 2 and len(third) == 4:
        year, month, day = int(third), int(first), int(second)
        if day_first or mark == ".":
            month, day = day, month
    else:
        raise ValueError(first)
    hour, minute, whole, fraction, half, zone = clock
    hours = int(hour or 0)
    if half is not None:
        if not 1 <= hours <= 12:
            raise ValueError(hour)
        hours = hours % 12 + (12 if half in "Pp" else 0)
    return datetime(
        year, month, day, hours, int(minute or 0), int(whole or 0), int((fraction or "").ljust(6, "0")[:6]),
        tzinfo=None if zone is None else _zone(zone),
    )  # fmt: skip


def _zone(text: str) -> timezone:
    digits = text.removeprefix("UTC").removeprefix("GMT").replace(":", "")
    if digits in {"", "Z"}:
        return UTC
    minutes = int(digits[1:3]) * 60 + int(digits[3:] or 0)
    return timezone(timedelta(minutes=-minutes if digits[0] == "-" else minutes))
