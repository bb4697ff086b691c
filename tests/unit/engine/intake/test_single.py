"""One signal from one body."""

import json
import pickle

import pytest

from raysignal.engine.core.errors import InvalidField, UnreadableInput, UnsupportedMedia
from raysignal.engine.core.signals import Signal
from raysignal.engine.intake import Reading, read_signal

READING = Reading()
ROW = {"datetime": "2025-02-24T00:00:00Z", "close": 95439.81, "Signal": 1}
BODY = json.dumps(ROW).encode()


def read(body: bytes, content_type: str | None = "application/json", key: str | None = None) -> Signal:
    return read_signal(body, READING, content_type=content_type, idempotency_key=key)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "APPLICATION/JSON; charset=UTF-8",
        "text/plain;charset=utf-8",
        "application/vnd.x+json",
    ],
)
def test_json_is_taken_under_its_content_types(content_type: str | None) -> None:
    assert read(BODY, content_type).price == 95439.81


@pytest.mark.parametrize("content_type", ["text/csv", "application/xml", "application/json; charset=latin-1"])
def test_another_content_type_is_refused_and_says_what_is_taken(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia, match="expected"):
        read(BODY, content_type)


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert read(b"\xef\xbb\xbf" + BODY) == read(BODY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"[1]",
        b"1",
        b"null",
        b'"x"',
        BODY + b"x",
        BODY + BODY,
        b"\xff\xfe{}",
        b'{"a": "\xe9"}',
        b'{"a": 01}',
        b"{'a': 1}",
        b"\x89PNG\r\n",
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableInput):
        read(body)


def test_a_key_that_stands_twice_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidField) as caught:
        read(BODY[:-1] + b', "close": 5}')
    assert caught.value.fields["field"] == "close"


def test_a_nested_value_is_refused_as_a_feature() -> None:
    for nested in (b'{"x": 1}', b'{"x": 1, "x": 2}', b"[]"):
        with pytest.raises(InvalidField) as caught:
            read(BODY[:-1] + b', "mood": ' + nested + b"}")
        assert caught.value.fields["field"] == "mood"


@pytest.mark.parametrize(
    "token", [b"1" * 5000, b"1" * 400, b"-" + b"9" * 5000, b"1e400", b"Infinity", b"-Infinity"]
)
def test_a_number_beyond_all_floats_is_refused(token: bytes) -> None:
    for field in (b"close", b"mood", b"Signal"):
        body = BODY.replace(b'"close": 95439.81', b'"close": 5').replace(
            b"close", b"time" if field == b"time" else b"close"
        )
        row = json.loads(body)
        row.pop(field.decode(), None)
        with pytest.raises(InvalidField) as caught:
            read(json.dumps(row).encode()[:-1] + b', "' + field + b'": ' + token + b"}")
        assert caught.value.fields["field"] == field.decode()


def test_nan_is_a_missing_feature_and_no_price() -> None:
    assert read(BODY[:-1] + b', "mood": NaN}').features == {}
    with pytest.raises(InvalidField):
        read(BODY.replace(b"95439.81", b"NaN"))


def test_the_key_of_the_header_stands_in_for_an_id() -> None:
    assert read(BODY, key=" key-1 ").signal_id == "key-1"
    assert read(BODY[:-1] + b', "signal_id": "own"}', key="key-1").signal_id == "own"
    assert read(BODY[:-1] + b', "signal_id": ""}', key="key-1").signal_id == "key-1"
    assert read(BODY, key=None).signal_id == read(BODY, key="").signal_id == ""


def test_a_key_that_is_no_id_is_refused_by_the_name_of_the_header() -> None:
    with pytest.raises(InvalidField) as caught:
        read(BODY, key="x" * 129)
    assert caught.value.fields["field"] == "Idempotency-Key"


def test_an_error_survives_the_way_between_processes() -> None:
    with pytest.raises(InvalidField) as caught:
        read(BODY.replace(b"95439.81", b'"95,439.81"'))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.fields) == (str(caught.value), caught.value.fields)
