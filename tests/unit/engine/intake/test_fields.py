"""What a row's fields may hold, and the sentence when they do not."""

import math
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, parse_instant, zone_named
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake.fields import signal_of
from raysignal.engine.intake.reading import Reading

READING = Reading()
STAMP = "2025-02-24T00:00:00Z"


def row(**values: object) -> dict[str, object]:
    return {"timestamp": STAMP, "price": 100.0, "signal": 1} | values


def read(reading: Reading = READING, **values: object) -> Signal:
    return signal_of(row(**values), reading)


def refusal(values: dict[str, object], reading: Reading = READING, row: int | None = None) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        signal_of(values, reading, row=row)
    return caught.value


@pytest.mark.parametrize("stamp", ["timestamp", "datetime", "time"])
@pytest.mark.parametrize("price", ["price", "close"])
@pytest.mark.parametrize("signal", ["signal", "Signal", "action"])
def test_every_name_of_a_field_is_understood(stamp: str, price: str, signal: str) -> None:
    said = signal_of({stamp: STAMP, price: 100.0, signal: 1}, READING)
    assert said == Signal("BTC", parse_instant(STAMP), Action.BUY, 100.0)


def test_other_names_are_features() -> None:
    said = read(mood="calm", Close=3, up=True, down=False)
    assert said.features == {"mood": "calm", "Close": 3.0, "up": 1.0, "down": 0.0}


def test_two_names_for_one_field_are_refused_unless_they_say_the_same() -> None:
    assert read(close="100.0").price == 100.0
    error = refusal(row(close=100.5))
    assert error.fields["field"] == "close"
    assert "price and close" in str(error)


def test_a_second_name_without_a_value_does_no_harm() -> None:
    assert read(close=None, ticker="", symbol="ETH").symbol == "ETH"
    assert signal_of({"timestamp": STAMP, "price": "", "close": 5, "signal": 1}, READING).price == 5.0


@pytest.mark.parametrize("name", ["timestamp", "price", "signal"])
def test_a_missing_field_is_named_with_what_was_expected(name: str) -> None:
    values = row()
    del values[name]
    error = refusal(values, row=7)
    assert (error.fields["field"], error.fields["row"]) == (name, 7)
    assert "a field named" in error.fields["expected"]


def test_an_error_names_the_field_as_the_caller_did() -> None:
    assert refusal({"datetime": STAMP, "close": "x", "Signal": 1}).fields["field"] == "close"
    assert refusal({"datetime": None, "close": 1, "Signal": 1}).fields["field"] == "datetime"


@pytest.mark.parametrize(
    ("value", "action"),
    [
        (1, 1),
        (0, 0),
        (-1, -1),
        (1.0, 1),
        ("1", 1),
        ("-1.0", -1),
        (" +1 ", 1),
        ("BUY", 1),
        ("buy", 1),
        (" Sell ", -1),
        ("hOLD", 0),
        ("0", 0),
        (-0.0, 0),
    ],
)
def test_an_action_is_a_number_or_a_word(value: object, action: int) -> None:
    assert read(signal=value).action == action


@pytest.mark.parametrize(
    "value", [2, "maybe", True, False, None, "", 0.5, math.nan, "1.5", [], {}, 10**400, "BUY!"]
)
def test_another_action_is_refused(value: object) -> None:
    error = refusal(row(signal=value))
    assert error.fields["field"] == "signal"
    assert "SELL, HOLD, BUY or CLOSE" in error.fields["expected"]


@pytest.mark.parametrize(
    ("value", "price"), [(1, 1.0), ("95439.81", 95439.81), (" 1e3 ", 1000.0), (1e15, 1e15), (1e-15, 1e-15)]
)
def test_a_price_is_a_number_or_its_text(value: object, price: float) -> None:
    assert read(price=value).price == price


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        -0.0,
        math.nan,
        math.inf,
        1.01e15,
        9.9e-16,
        5e-324,
        10**400,
        "95,439.81",
        "1_000",
        "",
        "NaN",
        "1e999",
        True,
        None,
        [1],
        "0x10",
    ],
)
def test_another_price_is_refused(value: object) -> None:
    assert refusal(row(price=value)).fields["field"] == "price"


def test_a_price_with_thousands_separators_gets_a_sentence() -> None:
    assert "without thousands separators" in str(refusal(row(price="95,439.81")))


@pytest.mark.parametrize("value", [20_250_224, 1.5, True, "soon", "978307199", None])
def test_what_is_no_time_is_refused(value: object) -> None:
    assert refusal(row(timestamp=value)).fields["field"] == "timestamp"


@pytest.mark.parametrize("field", ["symbol", "source"])
@pytest.mark.parametrize("value", ["BTC\u00a0", "B\u200bTC", "A\u202eB", "BTC\ufeff", "B\u2003C"], ids=ascii)
def test_a_name_that_looks_like_another_is_refused(field: str, value: str) -> None:
    fields = refusal(row(**{field: value})).fields
    assert (fields["field"], fields["value"]) == (field, repr(value))
    assert fields["expected"] == "a text of at most 64 characters without control or invisible characters"


@pytest.mark.parametrize("value", ["BRK B", "BTC/USDT:USDT", "Öl", "日経225"])
def test_names_of_all_scripts_are_taken(value: str) -> None:
    assert read(symbol=value).symbol == value


def test_a_naive_stamp_is_read_in_the_zone() -> None:
    zone = ZoneInfo("America/New_York")
    assert read(Reading(zone=zone), timestamp="2/24/2025 0:00").timestamp_us == parse_instant(
        "2025-02-24T05:00:00Z"
    )


def test_a_stamp_that_labels_the_open_is_known_a_bar_later() -> None:
    bar = 600_000_000
    assert read(Reading(bar_us=bar, label="open")).timestamp_us == parse_instant(STAMP) + bar
    assert read(Reading(bar_us=bar, label="close")).timestamp_us == parse_instant(STAMP)


@pytest.mark.parametrize(
    ("stamp", "zone", "known"),
    [
        ("2018-11-04", "America/New_York", "2018-11-05T05:00:00Z"),  # 25 hours
        ("2018-03-11", "America/New_York", "2018-03-12T04:00:00Z"),  # 23 hours
        ("2018-10-28 00:00", "Europe/Berlin", "2018-10-28T23:00:00Z"),
        ("2018-11-05", "America/New_York", "2018-11-06T05:00:00Z"),
        ("2018-11-04T04:00:00Z", "America/New_York", "2018-11-05T04:00:00Z"),  # which says its zone itself
        (1541304000, "America/New_York", "2018-11-05T04:00:00Z"),
        ("2018-11-04", "UTC", "2018-11-05T00:00:00Z"),
    ],
)
def test_a_day_that_labels_its_open_is_as_long_as_the_zones_clocks_make_it(
    stamp: object, zone: str, known: str
) -> None:
    reading = Reading(zone=zone_named(zone), bar_us=DAY_US, label="open")
    assert read(reading, timestamp=stamp).timestamp_us == parse_instant(known)


def test_the_future_is_refused_beyond_its_bound() -> None:
    now = parse_instant(STAMP)
    ahead = "2025-02-24T00:00:01Z"
    assert read(Reading(now_us=now, max_future_us=1_000_000), timestamp=ahead).timestamp_us == now + 1_000_000
    error = refusal(row(timestamp=ahead), Reading(now_us=now, max_future_us=999_999))
    assert "not after 2025-02-24T00:00:00.999999Z" in error.fields["expected"]
    assert read(Reading(now_us=None), timestamp="2150-01-01").timestamp_us > now


@pytest.mark.parametrize("name", ["symbol", "source", "signal_id"])
def test_a_name_is_stripped_and_bounded(name: str) -> None:
    limit = 128 if name == "signal_id" else 64
    assert getattr(read(**{name: f" {'é' * limit} "}), name) == "é" * limit
    for value in ("x" * (limit + 1), "a\nb", "a\x7fb", "\x85", 5, True, "\ud800", ["x"]):
        assert refusal(row(**{name: value})).fields["field"] == name


def test_a_name_that_is_missing_takes_its_default() -> None:
    reading = Reading(symbol="ETH", source="desk")
    for missing in (None, "", "  "):
        said = read(reading, symbol=missing, source=missing, signal_id=missing)
        assert (said.symbol, said.source, said.signal_id) == ("ETH", "desk", "")


@pytest.mark.parametrize("value", [None, "", " \t\r\n", math.nan, "NaN", " nan "])
def test_a_feature_without_a_value_is_missing(value: object) -> None:
    assert read(mood=value).features == {}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("5", 5.0),
        (" 5.50 ", 5.5),
        ("-1e-3", -0.001),
        ("+.5", 0.5),
        ("5.", 5.0),
        (2**53 + 1, float(2**53)),
        ("5 %", "5 %"),
        (" calm", " calm"),
        ("1,5", "1,5"),
        ("0x10", "0x10"),
        ("1_0", "1_0"),
        ("٣", "٣"),
        ("-", "-"),
        ("NAN", "NAN"),
        ("information", "information"),
        ("=1+1", "=1+1"),
        ("a\x00b", "a\x00b"),
    ],
)
def test_a_text_that_is_a_number_becomes_one_and_any_other_stays(value: object, kept: object) -> None:
    assert read(mood=value).features == {"mood": kept}


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        10**400,
        "inf",
        "-Infinity",
        "1e999",
        [1],
        {"a": 1},
        "\ud800",
        "x" * 65_537,
        "é" * 32_769,
    ],
)
def test_a_feature_that_cannot_be_kept_is_refused(value: object) -> None:
    assert refusal(row(mood=value)).fields["field"] == "mood"


def test_the_longest_text_is_kept() -> None:
    assert read(mood="é" * 32_768).features == {"mood": "é" * 32_768}


def test_a_column_without_a_name_is_kept_as_unnamed() -> None:
    assert read(**{"": 3}).features == {"unnamed": 3.0}
    assert read(**{"Unnamed: 0": 3}).features == {"unnamed": 3.0}
    assert refusal(row(**{"": 3, "unnamed": 4})).fields["field"] == "unnamed"


def test_feature_names_are_bounded_and_their_error_can_be_written_down() -> None:
    assert read(**{"n" * 128: 1}).features == {"n" * 128: 1.0}
    for name in ("n" * 129, "\ud800"):
        error = refusal(row(**{name: 1}))
        assert len(error.fields["field"].encode()) <= 128


def test_256_features_are_taken_and_257_are_not() -> None:
    features = {f"f{i}": i for i in range(256)}
    assert len(read(**features, missing=None).features) == 256
    assert refusal(row(**features, one=1)).fields["field"] == "features"


@pytest.mark.parametrize(
    "make",
    [lambda: Reading(bar_us=-1), lambda: Reading(bar_us=10**15), lambda: Reading(label="middle")],  # type: ignore[arg-type]
)
def test_a_reading_that_makes_no_sense_is_refused(make: Callable[[], Reading]) -> None:
    with pytest.raises(InvalidField):
        make()


def test_a_signal_may_say_more_than_its_side() -> None:
    signal = read(signal="close", confidence="0.25", price=100.0)  # CLOSE opens nothing, and may be doubted
    assert (signal.action, signal.confidence) == (2, 0.25)
    signal = read(
        signal="BUY", price=100.0, size=0.5, stop_loss="95", take_profit=110, trailing_stop_bps=150,
        expires="2100-01-01T00:00:00Z",
    )  # fmt: skip
    assert signal.terms[:5] == (0.5, 95.0, 110.0, 150.0, None)
    assert signal.expires_us == 4_102_444_800_000_000
    assert signal.features == {}


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"signal": 1, "stop_loss": 100.0}, "stop_loss", "a price below 100.0, that of this BUY"),
        ({"signal": 1, "take_profit": 99}, "take_profit", "a price above 100.0, that of this BUY"),
        ({"signal": -1, "stop_loss": "99"}, "stop_loss", "a price above 100.0, that of this SELL"),
        ({"signal": 0, "stop_loss": 99}, "stop_loss", "none beside a HOLD, which opens no position"),
        ({"signal": "CLOSE", "size": 0.5}, "size", "none beside a CLOSE, which opens no position"),
        ({"signal": 1, "size": 0}, "size", "a share of equity above 0 and at most 1, such as 0.25"),
        ({"signal": 1, "size": 25}, "size", "a share of equity above 0 and at most 1, such as 0.25"),
        ({"signal": 1, "confidence": 85}, "confidence", "a number from 0 to 1"),
        ({"signal": 1, "confidence": True}, "confidence", "a number from 0 to 1"),
        (
            {"signal": 1, "trailing_stop_bps": 10_000},
            "trailing_stop_bps",
            "basis points from 0.01 to 9999, such as 150",
        ),
        ({"signal": 1, "price_only": "maybe"}, "price_only", "true or false"),
        ({"signal": 1, "price_only": True}, "price_only", "false, or no signal: here it is 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_executed_is_refused_with_a_sentence(
    given: dict[str, object], name: str, expected: str
) -> None:
    error = refusal(row(price=100.0) | given)
    assert (error.fields["field"], error.fields["expected"]) == (name, expected)


def test_an_expiry_that_is_over_already_is_refused() -> None:
    error = refusal(row(signal=1, expires=STAMP))
    assert error.fields["field"] == "expires"
    assert "after the signal's own" in error.fields["expected"]


def test_a_row_that_is_only_a_price_is_a_hold() -> None:
    values = {name: value for name, value in row(price_only="true").items() if name != "signal"}
    assert signal_of(values, Reading()).action == 0
    assert "a field named" in refusal(values | {"price_only": False}).fields["expected"]
