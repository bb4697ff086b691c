"""Rows from CSV: a header and records (RFC 4180; any line end; cells apart by commas, semicolons, tabs or bars)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt8Array
from raysignal.engine.core.errors import InputError, InvalidField
from raysignal.engine.core.instants import is_stamp
from raysignal.engine.intake.cells import ScannedCells, copy_quoted
from raysignal.engine.intake.field_rules import NAMELESS, TICKER, fields_in, number_in
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.scanner import BROKEN, MAX_COLUMNS, MORE, cell_ends, scan_records
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.source import BLOCK_ROWS, check_unicode, text_start
from raysignal.engine.intake.tables import RowBlock, require_columns

_EXPECTED = "CSV with a header"
_BROKEN = "a quoted cell does not end, or goes on after its closing quote"
_MARKS = b",;\t|"
_PLAIN = Reading()
_HEADERLESS: Mapping[int, tuple[str, ...]] = {
    7: ("Date", "Time", "Open", "High", "Low", "Close", "Volume"),
    12: ("Open time", "Open", "High", "Low", "Close", "Volume", "Close time", "Quote asset volume", "Number of trades",
         "Taker buy base asset volume", "Taker buy quote asset volume", "Ignore"),
}  # fmt: skip
"""By the number of cells: MetaTrader 4's export, and Binance's klines."""


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """What stands before the records.

    Attributes:
        names: of the columns.
        at: where the records begin.
        delimiter: what stands between cells.
        lines: how many records the header takes: yfinance's has three, and Excel's may begin with `sep=;`; none where
            the first record is of a layout that is known without one, see `headerless_names`.
        ticker: what all columns are of, as yfinance's header says; None: it does not.
    """

    names: list[str]
    at: int
    delimiter: int
    lines: int = 1
    ticker: str | None = None


def record_blocks(
    source: UInt8Array, reading: Reading = _PLAIN, block_rows: int | None = None
) -> Iterator[RowBlock]:
    """The blocks of CSV, of `block_rows` rows each, else of `BLOCK_ROWS`; lines without a value are no rows.

    Raises:
        UnreadableInput: not UTF-8 text, or quotes that do not close.
        InvalidField: a header without a required column, or with a name that stands twice.
    """
    header = read_header(source, reading)
    _check_header(header, reading)
    at, width, first, ended = header.at, len(header.names), 0, MORE
    while ended == MORE:
        cells, count, begin, at, ended = _scan(source, at, width, block_rows or BLOCK_ROWS, header.delimiter)
        rows = len(count)
        _check_text(source, begin, at)
        columns = cells.columns(header.names, _unescape)
        if header.ticker is not None:
            columns[TICKER] = pa.repeat(pa.scalar(header.ticker, pa.large_string()), rows)
        if rows:
            record = partial(_record, columns, count, width, first)
            yield RowBlock(rows, first, columns, cells.plain, record, by_place=True)
        first += rows
        if ended == BROKEN:
            raise unreadable(_BROKEN, first)


def _check_text(source: UInt8Array, begin: int, end: int) -> None:
    check_unicode(source, begin, end)
    if end > begin and not source[begin:end].min():
        at = begin + int(source[begin:end].argmin())
        raise unreadable(f"byte {at} of the input is NUL; expected {_EXPECTED}, in UTF-8")


def _scan(
    source: UInt8Array, at: int, width: int, most: int, delimiter: int
) -> tuple[ScannedCells, Int64Array, int, int, int]:
    """The cells of the next records, how many each has, where they begin and end, and how the scan ended."""
    begin, end = np.zeros((width, most), np.int64), np.zeros((width, most), np.int64)
    kind, count, row_begin = (
        np.zeros((width, most), np.uint8),
        np.zeros(most, np.int64),
        np.zeros(most, np.int64),
    )
    rows, after, ended = scan_records(source, at, begin, end, kind, count, row_begin, cell_ends(delimiter))
    plain = count[:rows] == width
    begin, end = begin[:, :rows] - at, end[:, :rows] - at
    cells = ScannedCells(source[at:after], begin, end, kind[:, :rows], plain)
    return cells, count[:rows], at, after, ended


def _unescape(data: UInt8Array, begin: Int64Array, end: Int64Array, escaped: BoolArray) -> pa.Array:
    out, offsets = np.empty((end - begin).sum(), np.uint8), np.zeros(len(begin) + 1, np.int64)
    copy_quoted(data, begin, end, escaped, out, offsets)
    return pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(out))


def read_header(source: UInt8Array, reading: Reading = _PLAIN) -> CsvHeader:
    """The header of CSV.

    Cells are apart by commas if commas make all columns that are required, else by what makes most columns.
    """
    start = text_start(source, _EXPECTED)
    first = source[start : start + 8].tobytes()
    if first[:4].lower() == b"sep=" and first[4:5] in _MARKS:
        line_end = 7 if first[5:7] == b"\r\n" else 6
        return _with_stamps(source, replace(_header_at(source, start + line_end, first[4]), lines=2), reading)
    headers: list[CsvHeader] = []
    wrong: InputError | None = None
    for mark in _MARKS:
        try:
            headers.append(_header_at(source, start, mark))
        except InputError as error:  # such as quotes that do not end where cells do
            wrong = wrong or error
            continue
        known = fields_in(headers[-1].names, reading.names).fields.values()
        if mark == ord(",") and set(reading.required) <= set(known):
            break
    best = max(headers, key=lambda header: len(header.names), default=None)
    if best is None or (wrong is not None and len(best.names) == 1):
        raise wrong or unreadable(f"the input has no header line; expected {_EXPECTED}")
    if (known_names := headerless_names(best.names)) is not None:
        return replace(best, names=known_names, at=start, lines=0)
    return _with_stamps(source, best, reading)


def headerless_names(cells: list[str]) -> list[str] | None:
    """The names of the columns where the first line is a bar as MetaTrader 4 and Binance write them, without a header.

    None: it is none: other columns, or a high and a low that are not around open and close.
    """
    names = _HEADERLESS.get(len(cells))
    if names is None:
        return None
    row = dict(zip(names, cells, strict=True))
    stamp = f"{row['Date']} {row['Time']}" if "Date" in row else row["Open time"]
    opened, high, low, close = (number_in(row[name]) for name in ("Open", "High", "Low", "Close"))
    if opened is None or high is None or low is None or close is None or not is_stamp(stamp):
        return None
    return list(names) if 0.0 < low <= min(opened, close) and max(opened, close) <= high else None


def _with_stamps(source: UInt8Array, header: CsvHeader, reading: Reading) -> CsvHeader:
    """The header, in which a column without a name is that of the stamps where it holds some and no other does.

    So pandas writes a frame whose index has no name.
    """
    place = next((at for at, name in enumerate(header.names) if name in NAMELESS), None)
    if place is None or "timestamp" in fields_in(header.names, reading.names).fields.values():
        return header
    first, _ = _next_record(source, header.at, header.delimiter)
    if first is None or place >= len(first) or not is_stamp(first[place]):
        return header
    return replace(header, names=[*header.names[:place], "timestamp", *header.names[place + 1 :]])


def _header_at(source: UInt8Array, at: int, delimiter: int) -> CsvHeader:
    names, after = _next_record(source, at, delimiter)
    if names is None:
        raise unreadable(f"the input has no header line; expected {_EXPECTED}")
    if names[0].strip() in {"Price", "Date", "Datetime"} and len(names) > 1:
        tickers, second = _next_record(source, after, delimiter)
        stamps, third = _next_record(source, second, delimiter)
        if tickers and tickers[0] == TICKER and stamps and not any(stamps[1:]) and len(tickers) == len(names):
            # A column that was added beside those of the ticker has none.
            told = dict.fromkeys(ticker for ticker in tickers[1:] if ticker)
            if len(told) > 1:
                raise InvalidField(
                    "header", ", ".join(told), "the columns of one ticker: save each on its own"
                )
            return CsvHeader([stamps[0], *names[1:]], third, delimiter, 3, next(iter(told), None))
    return CsvHeader(_told_apart(names), after, delimiter)


def _next_record(source: UInt8Array, at: int, delimiter: int) -> tuple[list[str] | None, int]:
    """The cells of the next record as texts, None at the end; and where it ends."""
    cells, count, _, after, ended = _scan(source, at, MAX_COLUMNS, 1, delimiter)
    if ended == BROKEN:
        raise unreadable(_BROKEN)
    if not len(count):
        return None, after
    if count[0] > MAX_COLUMNS:
        raise InvalidField("header", int(count[0]), f"at most {MAX_COLUMNS} columns")
    _check_text(source, at, after)
    names = [str(column) for column in range(int(count[0]))]
    columns = cells.columns(names, _unescape)
    return [columns[name][0].as_py() for name in names], after


def _told_apart(names: list[str]) -> list[str]:
    """The names with those of blank cells at their end told apart by blanks: Excel leaves empty columns there."""
    named = len(names)
    while named and not names[named - 1].strip():
        named -= 1
    first = int("" in names[:named])
    return [*names[:named], *(" " * (first + more) for more in range(len(names) - named))]


def _check_header(header: CsvHeader, reading: Reading) -> None:
    try:
        require_columns(header.names, reading)
    except InvalidField as error:
        if len(header.names) > 1:
            raise
        remedy = "; if the header stands below it, remove what is above the header"
        raise InvalidField(error.fields["field"], None, error.fields["expected"] + remedy) from error
    for name in header.names:
        if header.names.count(name) > 1:
            raise InvalidField("header", name, "each column name once")


def _record(
    columns: Mapping[str, pa.Array], count: Int64Array, width: int, first: int, row: int
) -> Mapping[str, object]:
    if count[row] != width:
        raise InvalidField("cells", int(count[row]), f"{width} cells, as in the header", first + row)
    return {name: cells[row].as_py() for name, cells in columns.items()}
