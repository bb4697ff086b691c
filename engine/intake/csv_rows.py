"""Rows from CSV: a header and records (RFC 4180; any line end, cells apart by commas)."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InputTooLarge, InvalidField
from raysignal.engine.intake.fields import REQUIRED
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.source import BLOCK_ROWS, LARGEST_WINDOW, WINDOW, check_unicode, text_start
from raysignal.engine.intake.tables import MAX_COLUMNS, RowBlock, require_columns

_EXPECTED = "CSV with a header"
_BROKEN = "a quoted cell does not end, or goes on after its closing quote"
# Cells that are too long are refused by the rules, with their row and name.
csv.field_size_limit(LARGEST_WINDOW)
# What stands beside the quotes around a cell, with the quotes themselves, which stand for one where they are doubled.
_BESIDE = np.zeros(256, np.bool_)
_BESIDE[list(b',\r\n"')] = True


def record_blocks(
    source: UInt8Array, window: int = WINDOW, required: tuple[str, ...] = REQUIRED
) -> Iterator[RowBlock]:
    """The blocks of CSV; blank lines are no rows.

    Raises:
        UnreadableInput: not UTF-8 text, or quotes that do not close.
        InvalidField: a header without a required column, or with a name that stands twice.
        InputTooLarge: a record that is longer than two windows.
    """
    start = text_start(source, _EXPECTED)
    check_unicode(source, start, len(source))
    _check_quotes(source, start, window)
    names = _header(_text(source, start), required)
    # How many cells a record has that has more or fewer than the header; the header itself is the first.
    odd: dict[int, int] = {}

    def note(record: pa_csv.InvalidRow) -> str:
        odd[record.number - 2] = record.actual_columns
        return "skip"

    reader = pa_csv.open_csv(
        pa.BufferReader(pa.py_buffer(source[start:])),
        pa_csv.ReadOptions(use_threads=False, block_size=min(window, len(source) + 1)),
        pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=False
        ),
    )
    first, ended = 0, False
    while not ended:
        try:
            batch = next(reader, None)
        except pa.ArrowInvalid as error:
            raise InputTooLarge(f"a record does not end within {window} bytes: {error}") from error
        ended = batch is None
        batch = batch or pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in names]))
        columns = dict(zip(names, batch.columns, strict=True))
        rows, here = batch.num_rows, []
        # Arrow reads ahead: those behind the next batch's rows are left for later.
        for number in sorted(odd):
            if number <= first + rows:
                here.append(number)
                rows += 1
        plain = np.ones(rows, np.bool_)
        plain[np.array(here, np.int64) - first] = False
        if here:
            place = np.cumsum(plain) - 1
            at = pa.array(place, mask=~plain)
            columns = {name: cells.take(at) for name, cells in columns.items()}
        cells_of = {number: odd.pop(number) for number in here}
        for begin in range(0, rows, BLOCK_ROWS):
            part = {name: cells.slice(begin, BLOCK_ROWS) for name, cells in columns.items()}
            yield RowBlock(
                min(BLOCK_ROWS, rows - begin), first + begin, part, plain[begin : begin + BLOCK_ROWS],
                partial(_record, part, cells_of, first + begin),
            )  # fmt: skip
        first += rows


def _check_quotes(source: UInt8Array, start: int, window: int) -> None:
    """Refuse a quoted cell that does not end with its closing quote: Arrow reads on."""
    seen, last = 0, len(source) - 1
    for at in range(start, len(source), window):
        quotes = np.flatnonzero(source[at : at + window] == ord('"')) + at
        opening, closing = quotes[seen % 2 :: 2], quotes[1 - seen % 2 :: 2]
        seen += len(quotes)
        before, after = source[opening - 1], source[np.minimum(closing + 1, last)]
        if not ((_BESIDE[before] | (opening == start)).all() and (_BESIDE[after] | (closing == last)).all()):
            break
    else:
        if seen % 2 == 0:
            return
    # A quote stands within a cell that does not begin with one, or where none may stand.
    records = 0
    try:
        for record in csv.reader(_text(source, start), strict=True):
            records += bool(record)
    except csv.Error as error:
        raise unreadable(_BROKEN, max(records - 1, 0)) from error


def _text(source: UInt8Array, start: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(pa.BufferReader(pa.py_buffer(source[start:])), "utf-8", newline="")


def _header(text: Iterable[str], required: tuple[str, ...]) -> list[str]:
    """The names of the columns."""
    names = next((record for record in csv.reader(text) if record), None)
    if names is None:
        raise unreadable(f"the input has no header line; expected {_EXPECTED}")
    if len(names) > MAX_COLUMNS:
        raise InvalidField("header", len(names), f"at most {MAX_COLUMNS} columns")
    for name in names:
        if names.count(name) > 1:
            raise InvalidField("header", name, "each column name once")
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise unreadable(f"the header's cells are apart by {mark!r}; expected commas")
    require_columns(names, required)
    return names


def _record(
    columns: Mapping[str, pa.Array], odd: Mapping[int, int], first: int, row: int
) -> Mapping[str, object]:
    if (found := odd.get(first + row)) is not None:
        raise InvalidField("cells", found, f"{len(columns)} cells, as in the header", first + row)
    return {name: cells[row].as_py() for name, cells in columns.items()}
