"""Rows from CSV: a header and records (RFC 4180; any line end, cells apart by commas)."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.intake.fields import REQUIRED
from raysignal.engine.intake.scanning import BROKEN, MAX_COLUMNS, scan_records
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.tables import Cells, RowBlock, require_columns
from raysignal.engine.intake.windows import BLOCK_ROWS, WINDOW, Windows, text_start

_EXPECTED = "CSV with a header"
_HEADER_BYTES = 1024 * 1024


def record_blocks(
    source: UInt8Array, window: int = WINDOW, required: tuple[str, ...] = REQUIRED
) -> Iterator[RowBlock]:
    """The blocks of CSV; blank lines are no rows.

    Raises:
        UnreadableInput: not UTF-8 text, or quotes that do not close.
        InvalidField: a header without a required column, or with a name that stands twice.
    """
    names, at = _header(source, text_start(source, _EXPECTED), required)
    windows = Windows(source, at, window)
    width, first = len(names), 0
    while (piece := windows.next()) is not None:
        at, full = 0, True
        while full:
            start = np.empty((width, BLOCK_ROWS), np.int32)
            end = np.empty((width, BLOCK_ROWS), np.int32)
            kind = np.zeros((width, BLOCK_ROWS), np.uint8)
            found, row_start = np.empty(BLOCK_ROWS, np.int32), np.empty(BLOCK_ROWS, np.int64)
            rows, at, ended = scan_records(piece.data, at, piece.final, start, end, kind, found, row_start)
            full = rows == BLOCK_ROWS
            windows.advance(piece.at + at)
            columns = {
                name: Cells(piece.data, start[column, :rows], end[column, :rows], kind[column, :rows])
                for column, name in enumerate(names)
            }
            if rows:
                yield RowBlock(
                    rows, first, columns, found[:rows] == width, partial(_record, columns, found, first)
                )
            first += rows
            if ended == BROKEN:
                raise unreadable("a quoted cell does not end, or goes on after its closing quote", first)


def _header(source: UInt8Array, at: int, required: tuple[str, ...]) -> tuple[list[str], int]:
    """The names of the columns, and where the records begin."""
    window = source[at : at + _HEADER_BYTES].copy()
    start, end = np.empty((MAX_COLUMNS, 1), np.int32), np.empty((MAX_COLUMNS, 1), np.int32)
    kind = np.zeros((MAX_COLUMNS, 1), np.uint8)
    found, row_start = np.zeros(1, np.int32), np.empty(1, np.int64)
    final = at + _HEADER_BYTES >= len(source)
    rows, size, ended = scan_records(window, 0, final, start, end, kind, found, row_start)
    if not rows:
        raise unreadable(f"the input has no header line; expected {_EXPECTED}")
    if ended == BROKEN or found[0] > MAX_COLUMNS:
        raise InvalidField("header", int(found[0]), f"at most {MAX_COLUMNS} columns")
    try:
        names = [window[start[i, 0] : end[i, 0]].tobytes().decode() for i in range(found[0])]
    except UnicodeDecodeError as error:
        raise unreadable("the header is not UTF-8") from error
    for name in names:
        if names.count(name) > 1:
            raise InvalidField("header", name, "each column name once")
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise unreadable(f"the header's cells are apart by {mark!r}; expected commas")
    require_columns(names, required)
    return names, at + size


def _record(columns: Mapping[str, Cells], found: np.ndarray, first: int, row: int) -> Mapping[str, object]:
    if found[row] != len(columns):
        raise InvalidField("cells", int(found[row]), f"{len(columns)} cells, as in the header", first + row)
    return {
        name: cells.data[cells.start[row] : cells.end[row]].tobytes().decode()
        for name, cells in columns.items()
    }
