"""Rows from JSON: one object a line (NDJSON), or an array of objects."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt8Array
from raysignal.engine.core.errors import InputTooLarge
from raysignal.engine.intake.cells import ScannedCells, json_array
from raysignal.engine.intake.scanner import MAX_COLUMNS, NAME_BYTES, scan_objects
from raysignal.engine.intake.single import as_object, load_json, load_value, unreadable
from raysignal.engine.intake.source import (
    BLOCK_ROWS,
    LARGEST_WINDOW,
    WINDOW,
    as_bytes,
    check_unicode,
    text_start,
)
from raysignal.engine.intake.tables import RowBlock

_EXPECTED_LINES = "one JSON object a line"
_EXPECTED_ARRAY = "a JSON array of objects"
_BLANKS = b" \t\r\n"

_elements = msgspec.json.Decoder(list[msgspec.Raw])
_texts = msgspec.json.Decoder(list[str])


def line_blocks(source: UInt8Array, window: int = WINDOW) -> Iterator[RowBlock]:
    """The blocks of NDJSON; blank lines are no rows."""
    at, first = text_start(source, _EXPECTED_LINES), 0
    while at < len(source):
        ends = np.flatnonzero(source[at : at + window] == ord("\n")) + at + 1
        if at + window >= len(source):
            ends = np.append(ends[ends < len(source)], len(source))
        elif not len(ends):
            window *= 2
            if window > LARGEST_WINDOW:
                raise InputTooLarge(f"the row at byte {at} does not end within {window // 2} bytes")
            continue
        check_unicode(source, at, int(ends[-1]))
        for begin in range(0, len(ends), BLOCK_ROWS):
            bounds = np.append(at, ends[begin : begin + BLOCK_ROWS])
            at = int(bounds[-1])
            block = _read_block(source[bounds[0] : at], _without_blank(source, bounds) - bounds[0], first)
            first += block.rows
            yield block


def _without_blank(source: UInt8Array, bounds: Int64Array) -> Int64Array:
    """The bounds of lines without those that are blank, which become the ends of others."""
    begin = bounds[:-1]
    kept = np.ones(len(begin), np.bool_)
    for line in np.flatnonzero(source[begin] <= ord(" ")).tolist():
        kept[line] = bool(source[bounds[line] : bounds[line + 1]].tobytes().strip(_BLANKS))
    return np.append(begin[kept], bounds[-1])


def array_blocks(source: UInt8Array) -> Iterator[RowBlock]:
    """The blocks of a JSON array.

    Raises:
        UnreadableInput: not UTF-8, or not JSON from its first byte to its last.
    """
    start = text_start(source, _EXPECTED_ARRAY)
    check_unicode(source, start, len(source))
    try:
        elements = _elements.decode(source[start:].data)
    except (msgspec.DecodeError, RecursionError):
        # NaN and Infinity, which are no JSON and often written; or no array, or one that breaks off.
        return element_blocks(_each_element(source[start:].tobytes().decode()))
    return _array_blocks(elements)


def element_blocks(elements: Iterable[Any]) -> Iterator[RowBlock]:
    """The blocks of values that were parsed already, left to the reference."""
    stream, first = iter(elements), 0
    while values := list(islice(stream, BLOCK_ROWS)):
        yield _loaded_block(len(values), first, partial(_loaded, values, first))
        first += len(values)


def _array_blocks(elements: Sequence[msgspec.Raw]) -> Iterator[RowBlock]:
    for first in range(0, len(elements), BLOCK_ROWS):
        rows = [bytes(element) for element in elements[first : first + BLOCK_ROWS]]
        bounds = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=bounds[1:])
        yield _read_block(as_bytes(b"".join(rows)), bounds, first)


def _read_block(data: UInt8Array, bounds: Int64Array, first: int) -> RowBlock:
    """The block of rows that lie between the bounds."""
    rows = len(bounds) - 1
    names, name_stop = np.zeros(MAX_COLUMNS * NAME_BYTES, np.uint8), np.zeros(MAX_COLUMNS + 1, np.int64)
    begin, end = np.zeros((MAX_COLUMNS, rows), np.int64), np.zeros((MAX_COLUMNS, rows), np.int64)
    kind, known, plain = (
        np.zeros((MAX_COLUMNS, rows), np.uint8),
        np.zeros(1, np.int64),
        np.zeros(rows, np.bool_),
    )
    scan_objects(data, bounds, names, name_stop, known, begin, end, kind, plain)
    count = int(known[0])
    cells = ScannedCells(data, begin[:count], end[:count], kind[:count], plain)
    named = [names[name_stop[k] : name_stop[k + 1]].tobytes().decode() for k in range(count)]
    return RowBlock(
        rows, first, cells.columns(named, _unescape), plain, partial(_load_row, data, bounds, first)
    )


def _unescape(data: UInt8Array, begin: Int64Array, end: Int64Array, _escaped: BoolArray) -> pa.Array | None:
    try:
        return pa.array(_texts.decode(json_array(data, begin - 1, end + 1)), pa.large_string())
    except msgspec.DecodeError:
        return None


def _load_row(data: UInt8Array, bounds: Int64Array, first: int, row: int) -> Mapping[str, object]:
    line = data[bounds[row] : bounds[row + 1]].tobytes().strip(_BLANKS)
    return as_object(load_json(line, first + row), first + row)


def _loaded_block(rows: int, first: int, load: Callable[[int], Mapping[str, object]]) -> RowBlock:
    return RowBlock(rows, first, {}, np.zeros(rows, np.bool_), load)


def _loaded(values: Sequence[Any], first: int, row: int) -> Mapping[str, object]:
    return as_object(values[row], first + row)


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
