"""One signal from one body: a JSON object, read strictly; a form; or an alert that is text, by its template."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from raysignal.engine.core.errors import InputError, InvalidField, UnreadableInput, UnsupportedMedia, shorten
from raysignal.engine.core.secrets import hide_secrets
from raysignal.engine.core.signals import Signal
from raysignal.engine.intake.field_rules import check_keys, shown_name
from raysignal.engine.intake.fields import signal_of
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.templates import RepeatedKeys, text_template

BOM = b"\xef\xbb\xbf"
FORM = "application/x-www-form-urlencoded"
_MOST_BEFORE = 256
"""Bytes of text that may stand before the JSON of an alert."""
_PLACEHOLDER = re.compile(r"\{\{[^{}\n]{1,80}\}\}")
_MESSAGE = '{"time": "{{timenow}}", "price": "{{close}}", "action": "{{strategy.order.action}}"}'
"""What TradingView is told to send."""
_QUOTES = {"'": "single", **dict.fromkeys("\u201c\u201d\u2018\u2019", "those of a text processor")}
# Longer digit strings than any float has are not worth a big integer, and Python refuses them from 4300 on.
_MAX_DIGITS = 320


def read_signal(
    body: bytes,
    reading: Reading,
    *,
    content_type: str | None,
    idempotency_key: str | None = None,
) -> Signal:
    """The signal that a body says, see `load_alert`.

    Args:
        body: UTF-8, with or without a byte order mark.
        reading: defaults, zone and bounds.
        content_type: as of `load_alert`.
        idempotency_key: the identity of a signal whose body has no `signal_id`.

    Raises:
        UnsupportedMedia: another content type.
        UnreadableInput: not UTF-8, not JSON, or no object.
        InvalidField: a field that cannot be used.
    """
    return signal_of(load_alert(body, reading, content_type), reading, idempotency_key=idempotency_key)


def load_alert(body: bytes, reading: Reading, content_type: str | None) -> dict[str, Any]:
    """The names and values of one alert.

    Args:
        body: UTF-8, with or without a byte order mark.
        reading: whose template says how an alert that is text is read.
        content_type: JSON; text/plain or None, with JSON, some words and then JSON, or a text of the template's form;
            or application/x-www-form-urlencoded, with a form or JSON.

    Raises:
        UnsupportedMedia: another content type.
        UnreadableInput: not UTF-8, not JSON, or no object.
        InvalidField: a name that stands twice.
    """
    kind = media_type(content_type)
    bare = body.removeprefix(BOM).lstrip()
    if kind in {"application/json", "text/json"} or kind.endswith("+json") or bare[:1] in {b"{", b"["}:
        if kind not in {"", "text/plain", FORM} and not kind.endswith("json"):
            raise _unsupported(kind)
        return load_object(body)
    if kind == FORM:
        return _load_form(decoded(body))
    if kind not in {"", "text/plain"}:
        raise _unsupported(kind)
    template = text_template(reading.template)
    if template is not None:
        return template.values_of(decoded(body))
    before, brace, _ = bare.partition(b"{")
    # A name and a colon, as in `Signal: {"price": ...}`; or a longer text.
    if brace and len(before) <= _MOST_BEFORE:
        return load_object(bare[len(before) :])
    return load_object(body)


def _unsupported(kind: str) -> UnsupportedMedia:
    return UnsupportedMedia(
        f"the content type is {kind}; expected application/json, text/plain holding JSON, or {FORM}",
        content_type=kind,
    )


def _load_form(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text.strip(), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:
        raise unreadable(f"the body is no form; expected name=value&name=value: {error}") from error
    for name, value in pairs:
        if name in values:
            raise InvalidField(shown_name(name), value, "each name once")
        values[name] = value
    return values


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
    values = as_object(load_json(body, row), row)
    check_keys(values, row)
    return values


def as_object(value: Any, row: int | None = None) -> dict[str, Any]:
    """A value of `load_json` as an object, of which `check_keys` knows whether a key stood twice."""
    if not isinstance(value, dict):
        raise unreadable(f"the JSON is {shorten(value)}; expected an object", row)
    return value


def load_json(body: bytes | memoryview, row: int | None = None) -> Any:
    """The JSON value in `body`; an object with a key that stands twice is known to `check_keys`.

    Raises:
        UnreadableInput: not UTF-8, not JSON, or nested too deeply.
    """
    text = decoded(body, row)
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        said = f"the body is not JSON: {error.msg} at character {error.pos}"
        raise unreadable(said + _remark(text, error), row) from error
    except RecursionError as error:
        raise unreadable("the JSON is nested too deeply", row) from error


def decoded(body: bytes | memoryview, row: int | None = None) -> str:
    """The text of a body in UTF-8, without its byte order mark; `UnreadableInput` if it is none."""
    data = bytes(body)
    try:
        return data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise unreadable(
            f"the body is not UTF-8: byte {error.start} is {data[error.start]:#04x}; send it as UTF-8", row
        ) from error


def _remark(text: str, error: json.JSONDecodeError) -> str:
    """What else is known of why a text is no JSON, to go behind the sentence."""
    sign = text[error.pos : error.pos + 1]
    if left := _PLACEHOLDER.search(text, max(0, error.pos - 1)):
        return f"; the sender did not replace {hide_secrets(left[0])}"
    if not {"{", "["}.intersection(text):
        what = "it is text" if text.strip() else "it is empty"
        return f"; {what}, and expected is an object. To TradingView, the message of an alert: {_MESSAGE}"
    if sign in _QUOTES:
        return f'; its quotation marks are {_QUOTES[sign]}: write them as "'
    if error.msg == "Extra data":
        return "; expected nothing behind the JSON"
    if sign in {"}", "]"} and text[: error.pos].rstrip().endswith(","):
        return "; expected no comma before it"
    return ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeated = RepeatedKeys(values)
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
