"""Rows from JSON: one object a line (NDJSON), or an array of objects."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Int64Array, UInt8Array
from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.intake.fields import Reading
from raysignal.engine.intake.scanning import (
    BROKEN,
    END,
    MAX_COLUMNS,
    MORE,
    NAME_BYTES,
    SLOTS,
    scan_elements,
    scan_lines,
)
from raysignal.engine.intake.single import as_object, load_json, load_object, unreadable
from raysignal.engine.intake.tables import Cells, IntakeResult, RowBlock, take_in
from raysignal.engine.intake.windows import BLOCK_ROWS, WINDOW, InputWindow, Windows, text_start

_EXPECTED_LINES = "one JSON object a line"
_EXPECTED_ARRAY = "a JSON array of objects"
_BLANKS = b" \t\r\n"


def line_blocks(source: UInt8Array, window: int = WINDOW) -> Iterator[RowBlock]:
    """The blocks of NDJSON; blank lines are no rows."""
    scanner = _Scanner()
    windows = Windows(source, text_start(source, _EXPECTED_LINES), window)
    while (piece := windows.next()) is not None:
        at, full = 0, True
        while full:
            block, at, _ = scanner.lines(piece, at)
            full = block.rows == BLOCK_ROWS
            windows.advance(piece.at + at)
            if block.rows:
                yield block


def read_array(source: UInt8Array, reading: Reading, window: int = WINDOW) -> IntakeResult:
    """The intake of a JSON array.

    Raises:
        UnreadableInput: not UTF-8, or not JSON from its first byte to its last.
    """
    at = _skip(source, text_start(source, _EXPECTED_ARRAY))
    if source[at : at + 1].tobytes() != b"[":
        raise unreadable(f"the input is no JSON array; expected {_EXPECTED_ARRAY}")
    try:
        return take_in(_array_blocks(source, at + 1, window), reading)
    except _Broken as broken:
        raise unreadable(str(broken)) from None


def element_blocks(elements: list[Any]) -> Iterator[RowBlock]:
    """The blocks of values that were parsed already, left to the reference."""
    for first in range(0, len(elements), BLOCK_ROWS):
        part = elements[first : first + BLOCK_ROWS]
        yield RowBlock(len(part), first, {}, np.zeros(len(part), np.bool_), partial(_element, part, first))


class _Broken(Exception):
    """The array is not JSON: not the error of one row, although one showed it."""


def _array_blocks(source: UInt8Array, at: int, window: int) -> Iterator[RowBlock]:
    scanner = _Scanner()
    windows = Windows(source, _skip(source, at), window)
    ended = MORE
    if source[windows.at : windows.at + 1].tobytes() == b"]":
        windows.advance(windows.at + 1)
        ended = END
    while ended != END and (piece := windows.next()) is not None:
        at, full = 0, True
        while full and ended == MORE:
            block, at, ended = scanner.elements(piece, at)
            if ended == BROKEN:
                raise _Broken(f"the array is not JSON: it breaks off at byte {piece.at + at}")
            full = block.rows == BLOCK_ROWS
            windows.advance(piece.at + at)
            if block.rows:
                yield block
    if ended != END:
        raise _Broken("the array is not JSON: it does not end")
    if _skip(source, windows.at) != len(source):
        raise _Broken(f"the array is not JSON: more follows after its end at byte {windows.at}")


class _Scanner:
    """The names seen so far, and how many rows."""

    def __init__(self) -> None:
        self._names = np.empty((MAX_COLUMNS + 1) * NAME_BYTES, np.uint8)
        self._name_stop = np.zeros(MAX_COLUMNS + 1, np.int32)
        self._slots = np.full(SLOTS, -1, np.int32)
        self._known = np.zeros(1, np.int32)
        self._rows = 0

    def lines(self, window: InputWindow, at: int) -> tuple[RowBlock, int, int]:
        return self._scan(scan_lines, _line, window, at)

    def elements(self, window: InputWindow, at: int) -> tuple[RowBlock, int, int]:
        return self._scan(scan_elements, _member, window, at)

    def _scan(self, scan: Any, reread: Any, window: InputWindow, at: int) -> tuple[RowBlock, int, int]:
        start = np.empty((MAX_COLUMNS, BLOCK_ROWS), np.int32)
        end = np.empty((MAX_COLUMNS, BLOCK_ROWS), np.int32)
        kind = np.zeros((MAX_COLUMNS, BLOCK_ROWS), np.uint8)
        plain = np.empty(BLOCK_ROWS, np.bool_)
        row_start, row_stop = np.empty(BLOCK_ROWS, np.int64), np.empty(BLOCK_ROWS, np.int64)
        rows, at, ended = scan(
            window.data, window.source, at, window.final, self._names, self._name_stop, self._slots,
            self._known, start, end, kind, plain, row_start, row_stop,
        )  # fmt: skip
        columns = {
            name: Cells(window.data, start[column, :rows], end[column, :rows], kind[column, :rows])
            for column, name in enumerate(self._decoded())
        }
        first = self._rows
        self._rows += rows
        again = partial(reread, window.source, row_start, row_stop, first)
        return RowBlock(rows, first, columns, plain[:rows], again), at, ended

    def _decoded(self) -> list[str]:
        """The names. What is not UTF-8 is refused by the window, before these are used."""
        stops = self._name_stop[: self._known[0] + 1].tolist()
        return [self._names[i:k].tobytes().decode(errors="replace") for i, k in pairwise(stops)]


def _line(
    source: UInt8Array, start: Int64Array, stop: Int64Array, first: int, row: int
) -> Mapping[str, object]:
    return load_object(source[start[row] : stop[row]].tobytes(), first + row)


def _member(
    source: UInt8Array, start: Int64Array, stop: Int64Array, first: int, row: int
) -> Mapping[str, object]:
    try:
        element = load_json(source[start[row] : stop[row]].tobytes())
    except UnreadableInput as error:
        raise _Broken(f"element {first + row}: {error}") from None
    return as_object(element, first + row)


def _element(elements: list[Any], first: int, row: int) -> Mapping[str, object]:
    return as_object(elements[row], first + row)


def _skip(source: UInt8Array, at: int) -> int:
    while at < len(source) and source[at] in _BLANKS:
        at += 1
    return at
