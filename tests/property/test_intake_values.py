"""Columns of numbers and stamps say what Python's own say."""

import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.intake.fields import text_feature
from raysignal.engine.intake.values import read_feature, read_instants, read_prices
from tests.support.effort import examples

ZONES = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "UTC",
]

digits = st.text("0123456789", max_size=22)
decimals = st.builds(
    lambda sign, whole, point, part, power: sign + whole + point + part + power,
    st.sampled_from(["", "-", "+"]),
    digits,
    st.sampled_from(["", "."]),
    digits,
    st.one_of(
        st.just(""),
        st.builds("e{}".format, st.integers(-30, 30)),
        st.sampled_from(["E+5", "e", "e-", "e400"]),
    ),
)


@settings(max_examples=examples(1000))
@given(
    st.one_of(
        decimals, st.floats(allow_nan=False, allow_infinity=False).map(repr), st.text("0.-+e x", max_size=6)
    )
)
@example("9007199254740993")
@example("0.1")
@example("1e22")
@example("1e23")
@example("000000000000000000000000000001")
@example("0." + "0" * 30 + "1")
def test_a_number_is_found_where_the_reference_finds_one_and_is_the_same_to_the_bit(text: str) -> None:
    column = read_feature(pa.array([text]))
    try:
        expected = text_feature("x", text, None)
    except InvalidField:
        assert not column.clear[0]
        return
    assert column.clear[0]
    if isinstance(expected, float):
        assert column.numbers is not None
        assert struct.pack("d", column.numbers[0]) == struct.pack("d", expected)
        prices, clear = read_prices(pa.array([text]))
        assert clear[0] == (1e-15 <= expected <= 1e15)
        assert not clear[0] or struct.pack("d", prices[0]) == struct.pack("d", expected)
    else:
        assert column.numbers is None or math.isnan(column.numbers[0])
        assert (column.texts.to_list() if column.texts else [""]) == [expected or ""]


@st.composite
def written_stamps(draw: st.DrawFn) -> str:  # noqa: C901, PLR0911 - one return a style
    moment = draw(st.datetimes(datetime(1890, 1, 1), datetime(2210, 1, 1)))  # noqa: DTZ001 - a local time
    style = draw(st.integers(0, 10))
    if style == 0:
        return f"{moment.month}/{moment.day}/{moment.year} {moment.hour}:{moment.minute:02d}"
    if style == 1:
        return moment.strftime("%m/%d/%Y %H:%M:%S")
    if style == 2:
        return moment.strftime("%m/%d/%Y")
    if style == 3:
        return moment.date().isoformat()
    if style == 4:
        offset = timezone(timedelta(minutes=draw(st.integers(-1439, 1439))))
        return moment.replace(tzinfo=offset).isoformat(draw(st.sampled_from(["T", " "])))
    if style == 5:
        return moment.isoformat(
            timespec=draw(st.sampled_from(["hours", "minutes", "seconds", "milliseconds"]))
        )
    if style == 6:
        return moment.isoformat() + draw(
            st.sampled_from(["Z", "z", "+05", "+0530", "+05:30:15", "-00:00", "1234", ".5", " +0530", " UTC"])
        )
    if style == 8:
        unit = draw(st.sampled_from([1, 10**3, 10**6, 10**9]))
        return str(int(moment.replace(tzinfo=UTC).timestamp()) * unit + draw(st.integers(0, unit - 1)))
    if style == 9:
        form = draw(
            st.sampled_from(["%Y.%m.%d %H:%M", "%d.%m.%Y", "%m/%d/%Y %I:%M %p", "%d/%m/%Y", "%Y-%m-%d 7:05"])
        )
        return moment.strftime(form)
    if style == 7:
        text = moment.isoformat(" ")
        place = draw(st.integers(0, len(text) - 1))
        return (
            text[:place]
            + draw(st.sampled_from(["", "0", "9", "-", ":", " ", "/", "T", ".", "x"]))
            + text[place + 1 :]
        )
    month, day, hour = draw(st.tuples(st.integers(0, 13), st.integers(0, 32), st.integers(0, 25)))
    return f"{moment.year}-{month:02d}-{day:02d}T{hour:02d}:00"


def by_column(texts: list[str], zone: str) -> list[int | None]:
    instants, clear = read_instants(pa.array(texts), UTC if zone == "UTC" else ZoneInfo(zone))
    return [int(instant) if fine else None for instant, fine in zip(instants, clear, strict=True)]


def by_rule(text: str, zone: str) -> int | None:
    try:
        return parse_instant(text, UTC if zone == "UTC" else ZoneInfo(zone))
    except InvalidField:
        return None


@settings(max_examples=examples(1000))
@given(st.lists(written_stamps(), min_size=1, max_size=4), st.sampled_from(ZONES))
def test_stamps_are_the_instants_that_the_reference_reads(texts: list[str], zone: str) -> None:
    expected = [by_rule(text, zone) for text in texts]
    assert by_column(texts, zone) == expected
    assert [by_column([text], zone)[0] for text in texts] == expected


@settings(max_examples=examples(50))
@given(st.integers(1969, 2037), st.sampled_from(ZONES))
def test_every_half_hour_of_a_year_is_read_as_the_reference_does(year: int, zone: str) -> None:
    start = datetime(year, 1, 1)  # noqa: DTZ001 - local times
    texts = [(start + timedelta(minutes=30 * i + year % 30)).isoformat() for i in range(0, 48 * 366, 7)]
    assert by_column(texts, zone) == [by_rule(text, zone) for text in texts]
