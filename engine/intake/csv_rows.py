"""Rows from CSV: a header and records (RFC 4180; any line end, cells apart by commas)."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.intake.cells import ScannedCells, copy_quoted
from raysignal.engine.intake.fields import REQUIRED
from raysignal.engine.intake.scanner import BROKEN, MAX_COLUMNS, MORE, scan_records
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.source import BLOCK_ROWS, check_unicode, text_start
from raysignal.engine.intake.tables import RowBlock, require_columns

_EXPECTED = "CSV with a header"
_BROKEN = "a quoted cell does not end, or goes on after its closing quote"


def record_blocks(
    source: UInt8Array, required: tuple[str, ...] = REQUIRED, block_rows: int | None = None
) -> Iterator[RowBlock]:
    """The blocks of CSV, of `block_rows` rows each, else of `BLOCK_ROWS`; blank lines are no rows.

    Raises:
        UnreadableInput: not UTF-8 text, or quotes that do not close.
        InvalidField: a header without a required column, or with a name that stands twice.
    """
    names, at = _header(source, text_start(source, _EXPECTED), required)
    width, first, ended = len(names), 0, MORE
    while ended == MORE:
        cells, count, begin, at, ended = _scan(source, at, width, block_rows or BLOCK_ROWS)
        rows = len(count)
        check_unicode(source, begin, at)
        columns = cells.columns(names, _unescape)
        if rows:
            yield RowBlock(rows, first, columns, cells.plain, partial(_record, columns, count, first))
        first += rows
        if ended == BROKEN:
            raise unreadable(_BROKEN, first)


def _scan(
    source: UInt8Array, at: int, width: int, most: int
) -> tuple[ScannedCells, Int64Array, int, int, int]:
    """The cells of the next records, how many each has, where they begin and end, and how the scan ended."""
    begin, end = np.zeros((width, most), np.int64), np.zeros((width, most), np.int64)
    kind, count, row_begin = (
        np.zeros((width, most), np.uint8),
        np.zeros(most, np.int64),
        np.zeros(most, np.int64),
    )
    rows, after, ended = scan_records(source, at, begin, end, kind, count, row_begin)
    plain = count[:rows] == width
    begin, end = begin[:, :rows] - at, end[:, :rows] - at
    cells = ScannedCells(source[at:after], begin, end, kind[:, :rows], plain)
    return cells, count[:rows], at, after, ended


def _unescape(data: UInt8Array, begin: Int64Array, end: Int64Array, escaped: BoolArray) -> pa.Array:
    out, offsets = np.empty((end - begin).sum(), np.uint8), np.zeros(len(begin) + 1, np.int64)
    copy_quoted(data, begin, end, escaped, out, offsets)
    return pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(out))


def _header(source: UInt8Array, at: int, required: tuple[str, ...]) -> tuple[list[str], int]:
    """The names of the columns, and where the records begin."""
    cells, count, _, after, ended = _scan(source, at, MAX_COLUMNS, 1)
    if ended == BROKEN:
        raise unreadable(_BROKEN)
    if not len(count):
        raise unreadable(f"the input has no header line; expected {_EXPECTED}")
    if count[0] > MAX_COLUMNS:
        raise InvalidField("header", int(count[0]), f"at most {MAX_COLUMNS} columns")
    check_unicode(source, at, after)
    width = int(count[0])
    columns = cells.columns([str(column) for column in range(width)], _unescape)
    names = [columns[str(column)][0].as_py() for column in range(width)]
    for name in names:
        if names.count(name) > 1:
            raise InvalidField("header", name, "each column name once")
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise unreadable(f"the header's cells are apart by {mark!r}; expected commas")
    require_columns(names, required)
    return names, after


def _record(columns: Mapping[str, pa.Array], count: Int64Array, first: int, row: int) -> Mapping[str, object]:
    if count[row] != len(columns):
        raise InvalidField("cells", int(count[row]), f"{len(columns)} cells, as in the header", first + row)
    return {name: cells[row].as_py() for name, cells in columns.items()}
