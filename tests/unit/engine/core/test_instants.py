"""Stamps, zones and bars."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField, WrongDateOrder
from raysignal.engine.core.instants import (
    EARLIEST_US,
    LATEST_US,
    format_date,
    format_instant,
    instant_of,
    parse_bar,
    parse_instant,
    second_times,
    zone_named,
)

EPOCH_US = 1_740_355_200_000_000  # 2025-02-24T00:00:00Z
EASTERN = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-24T00:00:00Z",
        "2025-02-24 00:00",
        "2025-02-24",
        "2/24/2025 0:00",
        "02/24/2025",
        "2/24/2025 0:00:00",
        "2025-02-24T00:00:00.000000+00:00",
        "2025-02-24T05:30:00+05:30",
        " 2025-02-23T19:00-05:00 ",
        "2025-02-24T00",
        "2025-02-24 0:00",
        "2025-02-24T0:00:00Z",
        "2025-2-24",
        "2025.02.24 00:00",
        "2025/02/24 00:00:00",
        "24.02.2025 00:00",
        "2/24/2025, 12:00:00 AM",
        "2025-02-24 00:00:00 UTC",
        "24.02.2025 01:00:00.000 GMT+0100",
        "1740355200",
        "1740355200000",
        "1740355200000000",
        "1740355200000000000",
    ],
)
def test_one_instant_is_written_in_many_ways(text: str) -> None:
    assert parse_instant(text) == EPOCH_US


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (978_307_200, "2001-01-01T00:00:00Z"),
        (7_258_118_400_000, "2200-01-01T00:00:00Z"),
        (1_740_355_200_123, "2025-02-24T00:00:00.123000Z"),
        (1_740_355_200_123_456, "2025-02-24T00:00:00.123456Z"),
        (1_740_355_200_123_456_789, "2025-02-24T00:00:00.123456Z"),
        (1_740_355_200.123456, "2025-02-24T00:00:00.123456Z"),
        (1_740_355_200_000.25, "2025-02-24T00:00:00.000250Z"),
    ],
)
def test_a_number_is_read_by_its_size_as_a_number_and_as_a_text(number: float, text: str) -> None:
    assert format_instant(parse_instant(number)) == format_instant(parse_instant(str(number))) == text


def test_slashes_are_month_first_unless_told_and_a_date_of_the_other_order_says_so() -> None:
    assert format_instant(parse_instant("03/05/2011")) == "2011-03-05T00:00:00Z"
    assert format_instant(parse_instant("03/05/2011 9:30", day_first=True)) == "2011-05-03T09:30:00Z"
    assert format_instant(parse_instant("2011-05-03", day_first=True)) == "2011-05-03T00:00:00Z"
    for text, day_first in (("20/10/2011", False), ("20-10-2011 1:00", False), ("10/20/2011", True)):
        with pytest.raises(WrongDateOrder, match="--day-first"):
            parse_instant(text, day_first=day_first)


@pytest.mark.parametrize(
    ("clock", "newest_first", "ties", "later"),
    [
        (["02:00", "02:30", "02:00", "02:30"], False, False, [False, False, True, True]),
        (["02:30", "02:00", "02:30", "02:00"], True, False, [True, True, False, False]),
        (["02:00", "02:00"], False, False, [False, True]),
        (["02:00", "02:00"], False, True, [False, False]),
        (["02:00", "02:30"], False, False, [False, False]),
        (["02:30", "02:00"], True, False, [False, False]),
        (["02:00", "02:00", "02:30", "02:30"], False, False, [False] * 4),
    ],
)
def test_the_order_of_rows_tells_which_time_of_an_hour_is_meant(
    clock: list[str], newest_first: bool, ties: bool, later: list[bool]
) -> None:
    local_us = [parse_instant(f"2018-10-28 {text}") for text in clock]
    assert second_times(local_us, newest_first=newest_first, ties=ties) == later


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "20250224",
        "20250224000000",
        "1.7403552e9",
        "978307199",
        "2025-W09-1",
        "2025-02-30",
        "13/1/2025",
        "2025-02-24T25:00",
        "2/24/25",
        "2/24/2025 13:00 PM",
        "2025-02-24 00:00 +99:00",
        "2025-02-24+02:00",
        "2025-02-24512:00",
        "2025-02-24T12:00:00+01:99",
        "2025-02-24 12:00 +01:99",
        20_250_224,
        978_307_199,
        7_258_118_401,
        1.5,
        float("nan"),
        True,
        None,
        datetime(2025, 2, 24, tzinfo=UTC),
        b"2025-02-24",
        "0001-01-01T00:00+14:00",
    ],
)
def test_what_is_no_time_is_refused_with_its_field_and_row(value: object) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_instant(value, field="datetime", row=3)
    assert (caught.value.fields["field"], caught.value.fields["row"]) == ("datetime", 3)


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59Z", "2200-01-01T00:00:01Z", "9999-12-31", "0001-01-01"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_a_time_out_of_all_bounds_is_refused_in_every_zone(text: str, zone: str) -> None:
    with pytest.raises(InvalidField, match="1970 and 2200"):
        parse_instant(text, zone_named(zone))


def test_a_naive_stamp_is_read_in_the_zone_and_an_offset_is_stronger() -> None:
    assert parse_instant("2/23/2025 19:00", EASTERN) == EPOCH_US
    assert parse_instant("2025-02-24T00:00Z", EASTERN) == EPOCH_US


def test_the_bounds_themselves_are_taken() -> None:
    assert parse_instant("1970-01-01T00:00Z") == EARLIEST_US == 0
    assert parse_instant("2199-12-31T19:00-05:00") == LATEST_US


def test_a_local_time_that_was_skipped_is_refused() -> None:
    for text in ("2025-03-09 02:00", "3/9/2025 2:59:59"):
        with pytest.raises(InvalidField, match="exists in America/New_York"):
            parse_instant(text, EASTERN)
    assert parse_instant("2025-03-09 03:00", EASTERN) == parse_instant("2025-03-09T07:00Z")


def test_a_local_time_that_came_twice_means_the_first() -> None:
    assert parse_instant("2025-11-02 01:30", EASTERN) == parse_instant("2025-11-02T05:30Z")


def test_instants_are_shown_in_utc_with_a_fraction_only_where_there_is_one() -> None:
    assert format_instant(EPOCH_US) == "2025-02-24T00:00:00Z"
    assert format_instant(EPOCH_US + 500_000) == "2025-02-24T00:00:00.500000Z"
    assert format_instant(-1) == "1969-12-31T23:59:59.999999Z"
    assert format_date(EPOCH_US - 1) == "2025-02-23"


@given(st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1)), st.integers(-839, 839))  # noqa: DTZ001 - zoned below
def test_what_is_formatted_is_parsed(moment: datetime, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert (
        parse_instant(format_instant(instant_of(zoned)))
        == instant_of(zoned)
        == parse_instant(zoned.isoformat())
    )


@pytest.mark.parametrize(
    ("text", "length_us"),
    [
        ("1us", 1),
        ("1ms", 1_000),
        ("1s", 1_000_000),
        ("10m", 600_000_000),
        ("10 MIN", 600_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
        ("1w", 604_800_000_000),
    ],
)
def test_a_bar_is_a_length(text: str, length_us: int) -> None:
    assert parse_bar(text) == length_us


def test_a_month_is_no_length() -> None:
    with pytest.raises(InvalidField, match=r"'1M'; expected a length such as 10m .minutes. or 31d"):
        parse_bar("1M")


@pytest.mark.parametrize("text", ["", "0m", "m", "10", "-1h", "1.5h", "10 years", "1h30m"])
def test_what_is_no_bar_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_bar(text)


def test_zones_are_known_by_their_names() -> None:
    assert zone_named("utc") is UTC
    assert zone_named("America/New_York") == EASTERN
    for name in ("Mars/Olympus", "", "../etc/passwd", "America"):
        with pytest.raises(InvalidField):
            zone_named(name)
