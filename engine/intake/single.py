"""One signal from one body: a JSON object, read strictly."""

import json
from typing import Any

from raysignal.engine.core.errors import InputError, InvalidField, UnreadableInput, UnsupportedMedia, shorten
from raysignal.engine.core.signals import Signal
from raysignal.engine.intake.fields import Reading, shown_name, signal_of

BOM = b"\xef\xbb\xbf"
# Longer digit strings than any float has are not worth a big integer, and Python refuses them from 4300 on.
_MAX_DIGITS = 320


def read_signal(
    body: bytes,
    reading: Reading,
    *,
    content_type: str | None,
    idempotency_key: str | None = None,
) -> Signal:
    """The signal that a JSON object says.

    Args:
        body: UTF-8, with or without a byte order mark.
        reading: defaults, zone and bounds.
        content_type: JSON, or text/plain holding JSON, or None, which is taken for JSON.
        idempotency_key: the identity of a signal whose body has no `signal_id`.

    Raises:
        UnsupportedMedia: another content type.
        UnreadableInput: not UTF-8, not JSON, or no object.
        InvalidField: a field that cannot be used.
    """
    kind = media_type(content_type)
    if kind not in {"", "application/json", "text/json", "text/plain"} and not kind.endswith("+json"):
        raise UnsupportedMedia(
            f"the content type is {kind}; expected application/json, or text/plain holding JSON",
            content_type=kind,
        )
    return signal_of(load_object(body), reading, idempotency_key=idempotency_key)


def media_type(content_type: str | None) -> str:
    """Type and subtype in lower case, empty if there is none; another charset than UTF-8 is refused."""
    kind, _, parameters = (content_type or "").partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        charset = value.strip().strip("\"'").lower()
        if name.strip().lower() == "charset" and charset not in {"utf-8", "utf8", "us-ascii", "ascii"}:
            raise UnsupportedMedia(f"the charset is {charset}; expected utf-8", content_type=content_type)
    return kind.strip().lower()


def load_object(body: bytes | memoryview, row: int | None = None) -> dict[str, Any]:
    """The JSON object in `body`; a key that stands twice is refused.

    Raises:
        UnreadableInput: not UTF-8, not JSON, nested too deeply, or no object.
        InvalidField: a key that stands twice.
    """
    return as_object(load_json(body, row), row)


def as_object(value: Any, row: int | None = None) -> dict[str, Any]:
    """A value of `load_json` as an object in which every key stands once; raises as `load_object` does."""
    if isinstance(value, _Repeated):
        raise InvalidField(shown_name(value.name), value[value.name], "each key once", row)
    if not isinstance(value, dict):
        raise unreadable(f"the JSON is {shorten(value)}; expected an object", row)
    return value


def load_json(body: bytes | memoryview, row: int | None = None) -> Any:
    """The JSON value in `body`; an object with a key that stands twice is known to `as_object`.

    Raises:
        UnreadableInput: not UTF-8, not JSON, or nested too deeply.
    """
    data = bytes(body)
    try:
        text = data.removeprefix(BOM).decode()
        return _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise unreadable(
            f"the body is not UTF-8: byte {error.start} is {data[error.start]:#04x}", row
        ) from error
    except json.JSONDecodeError as error:
        raise unreadable(f"the body is not JSON: {error.msg} at character {error.pos}", row) from error
    except RecursionError as error:
        raise unreadable("the JSON is nested too deeply", row) from error


class _Repeated(dict[str, Any]):
    """An object in which a key stood twice."""

    name: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeated = _Repeated(values)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            repeated.name = name
        seen.add(name)
    return repeated


def unreadable(sentence: str, row: int | None = None) -> InputError:
    """The error for input that is not what it says it is, of one row if there is one."""
    place = "" if row is None else f"row {row}: "
    return UnreadableInput(place + sentence, row=row)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


# Made once: `json.loads` makes a decoder a call when it is given hooks.
_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer)
load_value = _decoder.raw_decode
"""The JSON value that begins at a place in a text, as `load_json` reads it, and where it ends."""
