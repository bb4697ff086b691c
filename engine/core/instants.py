"""Instants: UTC, int64 microseconds since 1970-01-01 inside, ISO 8601 with `Z` outside.

Nothing here reads a clock.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from raysignal.engine.core.errors import InvalidField

MICROSECONDS = 1_000_000
DAY_US = 86_400 * MICROSECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_US_STYLE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_BAR = re.compile(r"(\d+)\s*(us|ms|s|m|min|h|d|w)")
_BAR_UNITS = {
    "us": 1, "ms": 1_000, "s": MICROSECONDS, "m": 60 * MICROSECONDS, "min": 60 * MICROSECONDS,
    "h": 3_600 * MICROSECONDS, "d": DAY_US, "w": 7 * DAY_US,
}  # fmt: skip

EXPECTED_STAMP = "a time such as 2025-02-24T00:00:00Z, 2025-02-24 00:00 or 2/24/2025 0:00"
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


def parse_bar(text: str) -> int:
    """Microseconds of a bar length such as `10m`, `1h` or `1d`; `InvalidField` if it is none."""
    match = _BAR.fullmatch(text.strip().lower())
    if not match or int(match[1]) == 0:
        raise InvalidField("bar", text, "a length such as 1s, 10m, 1h or 1d")
    return int(match[1]) * _BAR_UNITS[match[2]]


def check_interval(interval_us: int) -> int:
    """The interval itself, if bars of it can be made: 1 s to 1 d, a whole number of them in a day."""
    if not MICROSECONDS <= interval_us <= DAY_US or DAY_US % interval_us:
        raise InvalidField("bar", f"{interval_us} us", "a length from 1s to 1d that divides a day")
    return interval_us


def parse_instant(
    value: object,
    zone: ZoneInfo | timezone = UTC,
    *,
    field: str = "timestamp",
    row: int | None = None,
) -> int:
    """The instant that a stamp says; a naive one is read in `zone`.

    Takes ISO 8601 (date and time apart by `T` or a blank, any precision up to microseconds, an offset or
    `Z` or neither; a date alone is its midnight) and the US form `M/D/YYYY H:MM[:SS]`.

    Raises:
        InvalidField: not a time, before 1970 or after 2200, or a local time that the zone's clocks skipped.
            A local time that they showed twice means the first.
    """
    if not isinstance(value, str):
        raise InvalidField(field, value, EXPECTED_STAMP, row)
    moment = _read(value.strip())
    if moment is None:
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
        "offset it means the first time. Write stamps of that hour with theirs, such as "
        f"{local.replace(fold=1).isoformat()}"
    )


def _read(text: str) -> datetime | None:
    try:
        if match := _US_STYLE.fullmatch(text):
            month, day, year, hour, minute, second = (int(part or 0) for part in match.groups())
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the zone comes after
        # fromisoformat also takes 20250224 and week dates, which are more likely numbers gone astray.
        return datetime.fromisoformat(text) if _ISO_DATE.match(text) else None
    except ValueError:
        return None
