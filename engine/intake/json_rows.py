"""Rows from JSON: one object a line (NDJSON), or an array of objects."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt8Array
from raysignal.engine.core.errors import InputTooLarge
from raysignal.engine.intake.fields import Reading
from raysignal.engine.intake.single import as_object, load_object, load_value, unreadable
from raysignal.engine.intake.source import LARGEST_WINDOW, WINDOW, check_unicode, text_start
from raysignal.engine.intake.tables import MAX_COLUMNS, IntakeResult, RowBlock, take_in

BLOCK_ROWS = 4096

_EXPECTED_LINES = "one JSON object a line"
_EXPECTED_ARRAY = "a JSON array of objects"
_BLANKS = b" \t\r\n"

_values = msgspec.json.Decoder()
_elements = msgspec.json.Decoder(list[msgspec.Raw])


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
            block = _line_block(source, bounds, first)
            at, first = int(bounds[-1]), first + block.rows
            yield block


def _line_block(source: UInt8Array, bounds: Int64Array, first: int) -> RowBlock:
    """The block of some lines, which lie between the bounds."""
    # The decoder minds neither several objects in a line nor one over several: where each line begins with a brace and
    # ends with one, and there are as many values as lines, there is one in each. No text in JSON holds a line end.
    if (source[bounds[:-1]] == ord("{")).all() and (source[bounds[1:-1] - 2] == ord("}")).all():
        body, rows = source[bounds[0] : bounds[-1]].tobytes(), len(bounds) - 1
        return _read_block(body, rows, first, partial(_between, source, bounds))
    lines = [line for row in range(len(bounds) - 1) if (line := _between(source, bounds, row))]
    if all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return _read_block(b"\n".join(lines), len(lines), first, lines.__getitem__)
    return _loaded_block(len(lines), first, partial(_load_row, lines.__getitem__, first))


def _between(source: UInt8Array, bounds: Int64Array, row: int) -> bytes:
    return source[bounds[row] : bounds[row + 1]].tobytes().strip(_BLANKS)


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
    while values := list(islice(stream, BLOCK_ROWS)):
        yield _loaded_block(len(values), first, partial(_loaded, values, first))
        first += len(values)


def _array_blocks(elements: Sequence[msgspec.Raw]) -> Iterator[RowBlock]:
    for first in range(0, len(elements), BLOCK_ROWS):
        rows = [bytes(element) for element in elements[first : first + BLOCK_ROWS]]
        yield _read_block(b"\n".join(rows), len(rows), first, rows.__getitem__)


def _read_block(body: bytes, rows: int, first: int, text_of: Callable[[int], bytes]) -> RowBlock:
    """The block of rows that stand one behind the other in `body`; `text_of` gives one of them."""
    load = partial(_load_row, text_of, first)
    try:
        values = _values.decode_lines(body)
    except (msgspec.DecodeError, RecursionError):
        # NaN and Infinity, which are no JSON and often written; or a row that is none.
        return _loaded_block(rows, first, load)
    if len(values) != rows or (found := _columns(values, _count_strings(body))) is None:
        return _loaded_block(rows, first, load)
    return RowBlock(rows, first, *found, load)


def _count_strings(body: bytes) -> int:
    """How many strings, names among them, stand in valid JSON."""
    if b"\\" not in body:
        return body.count(b'"') // 2
    if b"\\\\" in body:
        body = body.replace(b"\\\\", b"")
    return (body.count(b'"') - body.count(b'\\"')) // 2


def _columns(rows: Sequence[Any], strings: int) -> tuple[dict[str, pa.Array], BoolArray] | None:
    """The cells of every column, and bool[n], which rows they say all of; None if the rows have to be read alone.

    Args:
        rows: what was decoded.
        strings: how many strings their text has. Where a name stands twice the decoder drops one of them.
    """
    if not all(type(row) is dict for row in rows):
        return None
    cells_count = sum(map(len, rows))
    names = dict.fromkeys(chain.from_iterable(rows))
    if len(names) > MAX_COLUMNS:
        return None
    everywhere = cells_count == len(rows) * len(names)
    strings -= cells_count
    columns, plain = {}, np.ones(len(rows), np.bool_)
    for name in names:
        cells = list(map(itemgetter(name), rows)) if everywhere else [row.get(name) for row in rows]
        if (column := _column(cells, plain)) is None:
            return None
        columns[name] = column
        strings -= len(column) - column.null_count if pa.types.is_string(column.type) else 0
    return None if strings else (columns, plain)


def _column(cells: Sequence[object], plain: BoolArray) -> pa.Array | None:
    """Cells of one kind, or the texts among them; narrows `plain` to rows that need not be read again.

    None if a cell is an object or an array, which no row may hold.
    """
    try:
        column = pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if any(isinstance(cell, (dict, list)) for cell in cells):
            return None
        plain &= [cell is None or type(cell) is str for cell in cells]
        return pa.array([cell if type(cell) is str else None for cell in cells], pa.string())
    if pa.types.is_nested(column.type):
        return None
    return column.cast(pa.float64(), safe=False) if pa.types.is_integer(column.type) else column


def _loaded_block(rows: int, first: int, load: Callable[[int], Mapping[str, object]]) -> RowBlock:
    return RowBlock(rows, first, {}, np.zeros(rows, np.bool_), load)


def _load_row(text_of: Callable[[int], bytes], first: int, row: int) -> Mapping[str, object]:
    return load_object(text_of(row), first + row)


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
