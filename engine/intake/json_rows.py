"""Rows from JSON: one object a line (NDJSON), or an array of objects."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InputError, InputTooLarge, InvalidField
from raysignal.engine.intake.fields import Reading, check_feature_name
from raysignal.engine.intake.single import as_object, load_object, load_value, unreadable
from raysignal.engine.intake.source import BLOCK_ROWS, LARGEST_WINDOW, WINDOW, check_unicode, text_start
from raysignal.engine.intake.tables import MAX_COLUMNS, IntakeResult, RowBlock, take_in

_EXPECTED_LINES = "one JSON object a line"
_EXPECTED_ARRAY = "a JSON array of objects"
_BLANKS = b" \t\r"
# So many rows are read one by one where Arrow refuses them, and so many to know the columns to begin with.
_FEW_ROWS, _FIRST_ROWS = 64, 4

_elements = msgspec.json.Decoder(list[msgspec.Raw])


def line_blocks(source: UInt8Array, window: int = WINDOW) -> Iterator[RowBlock]:
    """The blocks of NDJSON; blank lines are no rows."""
    reader = ObjectReader()
    at = text_start(source, _EXPECTED_LINES)
    while at < len(source):
        piece = source[at : at + window].tobytes()
        if at + window < len(source):
            piece = piece[: piece.rfind(b"\n") + 1]
            if not piece:
                window *= 2
                if window > LARGEST_WINDOW:
                    raise InputTooLarge(f"the row at byte {at} does not end within {window // 2} bytes")
                continue
        check_unicode(source, at, at + len(piece))
        yield from reader.blocks([row for line in piece.split(b"\n") if (row := line.lstrip(_BLANKS))])
        at += len(piece)


def read_array(source: UInt8Array, reading: Reading) -> IntakeResult:
    """The intake of a JSON array.

    Raises:
        UnreadableInput: not UTF-8, or not JSON from its first byte to its last.
    """
    start = text_start(source, _EXPECTED_ARRAY)
    check_unicode(source, start, len(source))
    try:
        elements = _elements.decode(source[start:].data)
    except (msgspec.DecodeError, RecursionError):
        # NaN and Infinity, which are no JSON and often written; or no array, or one that breaks off.
        return take_in(element_blocks(_each_element(source[start:].tobytes().decode())), reading)
    return take_in(_array_blocks(elements), reading)


def element_blocks(elements: Iterable[Any]) -> Iterator[RowBlock]:
    """The blocks of values that were parsed already, left to the reference."""
    stream, first = iter(elements), 0
    while part := list(islice(stream, BLOCK_ROWS)):
        yield _loaded_block(part, first)
        first += len(part)


class ObjectReader:
    """Rows of JSON, an object each, to blocks, with what their columns were seen to hold so far.

    Arrow refuses a part in which a column has another kind, a new name, or a name twice in a row. Smaller parts are
    tried then, down to some rows that are read one by one, from which the columns are known better.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, pa.DataType] = {}
        self._rows = 0

    def blocks(self, rows: Sequence[bytes]) -> Iterator[RowBlock]:
        """The blocks of some more rows."""
        if not self._kinds:
            self._learn(map(_load, rows[:_FIRST_ROWS]))
        at, size = 0, BLOCK_ROWS
        while at < len(rows):
            part = rows[at : at + size]
            if (columns := self._columns(part)) is not None:
                plain = np.ones(len(part), np.bool_)
                yield RowBlock(len(part), self._rows, columns, plain, partial(_again, part, self._rows))
                size = min(4 * size, BLOCK_ROWS)
            elif len(part) > _FEW_ROWS:
                size = max(len(part) // 4, _FEW_ROWS)
                continue
            else:
                values = [_load(row, self._rows + place) for place, row in enumerate(part)]
                self._learn(values)
                yield _loaded_block(values, self._rows)
            at += len(part)
            self._rows += len(part)

    def _columns(self, rows: Sequence[bytes]) -> Mapping[str, pa.Array] | None:
        """The columns of the rows; None if Arrow does not read them as JSON's rules do."""
        # Arrow minds neither several objects in a row nor one over several: with a brace at both ends of each row and
        # as many objects as rows, there is one in each.
        if not all(row.startswith(b"{") and row.rstrip(_BLANKS).endswith(b"}") for row in rows):
            return None
        body = b"\n".join([*rows, b""])
        if b"-NaN" in body or len(body) > LARGEST_WINDOW:
            return None
        try:
            table = pa_json.read_json(
                pa.BufferReader(body),
                pa_json.ReadOptions(use_threads=False, block_size=len(body)),
                pa_json.ParseOptions(
                    explicit_schema=pa.schema(self._kinds.items()), unexpected_field_behavior="error"
                ),
            )
        except pa.ArrowInvalid:
            return None
        if len(table) != len(rows):
            return None
        return {name: table[name].combine_chunks() for name in table.column_names}

    def _learn(self, values: Iterable[object]) -> None:
        for value in values:
            for name, held in value.items() if isinstance(value, dict) else ():
                kind = _kind(held)
                if len(self._kinds) < MAX_COLUMNS and (name not in self._kinds or not pa.types.is_null(kind)):
                    try:
                        check_feature_name(name, None)
                    except InvalidField:
                        continue
                    self._kinds[name] = kind


def _kind(value: object) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, str):
        return pa.string()
    return pa.float64() if isinstance(value, (int, float)) else pa.null()


def _load(row: bytes, position: int | None = None) -> dict[str, Any] | InputError:
    try:
        return load_object(row, position)
    except InputError as error:
        return error


def _again(rows: Sequence[bytes], first: int, row: int) -> Mapping[str, object]:
    return load_object(rows[row], first + row)


def _loaded_block(values: Sequence[Any], first: int) -> RowBlock:
    return RowBlock(len(values), first, {}, np.zeros(len(values), np.bool_), partial(_loaded, values, first))


def _loaded(values: Sequence[Any], first: int, row: int) -> Mapping[str, object]:
    if isinstance(values[row], InputError):
        raise values[row]
    return as_object(values[row], first + row)


def _array_blocks(elements: Sequence[msgspec.Raw]) -> Iterator[RowBlock]:
    reader = ObjectReader()
    for at in range(0, len(elements), BLOCK_ROWS):
        yield from reader.blocks([bytes(element) for element in elements[at : at + BLOCK_ROWS]])


def _each_element(text: str) -> Iterator[Any]:
    """The elements of a JSON array, one after the other.

    Raises:
        UnreadableInput: no array, or one that is not JSON.
    """
    at = _after_blanks(text, 0)
    if text[at : at + 1] != "[":
        raise unreadable(f"the input is no JSON array; expected {_EXPECTED_ARRAY}")
    at = _after_blanks(text, at + 1)
    more = text[at : at + 1] != "]"
    while more:
        try:
            value, at = load_value(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise unreadable(f"the array is not JSON: {said} in the element at character {at}") from error
        yield value
        at = _after_blanks(text, at)
        more = text[at : at + 1] == ","
        if more:
            at = _after_blanks(text, at + 1)
    if text[at : at + 1] != "]":
        raise unreadable(f"the array is not JSON: it breaks off at character {at}")
    if _after_blanks(text, at + 1) != len(text):
        raise unreadable(f"the array is not JSON: more follows after its end at character {at + 1}")


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
