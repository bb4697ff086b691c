"""Compiled numbers and stamps say what Python's own say."""

import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.intake.fields import number_in
from raysignal.engine.intake.parsing import EXACT, NO_DECIMAL, decimal
from raysignal.engine.intake.scanning import TEXT
from raysignal.engine.intake.stamps import read_stamps, to_instants
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
    value, sure = decimal(np.frombuffer(text.encode() or b"?", np.uint8).copy(), 0, len(text.encode()))
    expected = number_in(text) if text == text.strip() else None
    assert (sure == NO_DECIMAL) == (expected is None)
    if sure == EXACT:
        assert expected is not None
        assert struct.pack("d", value) == struct.pack("d", expected)


@st.composite
def written_stamps(draw: st.DrawFn) -> str:  # noqa: PLR0911 - one return a style
    moment = draw(st.datetimes(datetime(1890, 1, 1), datetime(2210, 1, 1)))  # noqa: DTZ001 - a local time
    style = draw(st.integers(0, 8))
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
            st.sampled_from(["Z", "z", "+05", "+0530", "+05:30:15", "-00:00", "1234", ".5"])
        )
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
    encoded = [text.encode() for text in texts]
    data = np.frombuffer(b"".join(encoded) + b" ", np.uint8).copy()
    stops = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    n = len(texts)
    local, offset, clear = np.zeros(n, np.int64), np.zeros(n, np.int64), np.ones(n, np.bool_)
    read_stamps(data, stops[:-1].copy(), stops[1:].copy(), np.full(n, TEXT, np.uint8), local, offset, clear)
    instants = to_instants(local, offset, UTC if zone == "UTC" else ZoneInfo(zone), clear)
    return [int(instant) if fine else None for instant, fine in zip(instants, clear, strict=True)]


@settings(max_examples=examples(1000))
@given(st.lists(written_stamps(), min_size=1, max_size=4), st.sampled_from(ZONES))
def test_a_stamp_that_is_clear_is_the_instant_that_the_reference_reads(texts: list[str], zone: str) -> None:
    for text, instant in zip(texts, by_column(texts, zone), strict=True):
        if instant is not None:
            assert instant == parse_instant(text, UTC if zone == "UTC" else ZoneInfo(zone)), text


@settings(max_examples=examples(50))
@given(st.integers(1970, 2037), st.sampled_from(ZONES))
def test_every_half_hour_of_a_year_is_read_as_the_reference_does(year: int, zone: str) -> None:
    start = datetime(year, 1, 1)  # noqa: DTZ001 - local times
    moments = [start + timedelta(minutes=30 * i + year % 30) for i in range(0, 48 * 366, 7)]
    instants = by_column([moment.isoformat() for moment in moments], zone)
    unclear = 0
    for moment, instant in zip(moments, instants, strict=True):
        try:
            expected = parse_instant(moment.isoformat(), UTC if zone == "UTC" else ZoneInfo(zone))
        except InvalidField:
            expected = math.nan
        unclear += instant is None
        assert instant is None or instant == expected
    assert unclear <= 6 * 7, "only the days around a change of the clocks are left to the reference"


def test_the_usual_ways_to_write_a_time_are_clear() -> None:
    texts = [
        "2025-02-24T00:00:00Z",
        "2025-02-24 00:00",
        "2/24/2025 0:00",
        "2025-02-24",
        "2025-02-24T00:00:00.5+01:00",
    ]
    assert None not in by_column(texts, "America/New_York")
