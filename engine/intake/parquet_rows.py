"""Rows from Parquet: typed columns, so that only texts are looked into."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InputTooLarge, InvalidField
from raysignal.engine.intake.field_rules import TICKER, fields_in
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.scanner import MAX_COLUMNS
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.source import BLOCK_ROWS
from raysignal.engine.intake.tables import RowBlock, require_columns

MAGIC = b"PAR1"
_INDEX = "__index_level_0__"
"""What pandas calls an index without a name."""
_WITH_TICKER = re.compile(r"\('([^']+)', '([^']*)'\)")
"""How pandas writes a name of two levels."""
_DAMAGED = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What reading damaged bytes raises; `UnicodeDecodeError` is a `ValueError`."""


def table_blocks(source: UInt8Array, reading: Reading, first: int = 0) -> Iterator[RowBlock]:
    """The blocks of a Parquet file, whose rows are counted from `first` on.

    Times become texts of their ISO form, read like any other stamp.

    Raises:
        UnreadableInput: not Parquet, or damaged.
        InvalidField: no column for a required field, or a name that stands twice.
        InputTooLarge: more rows than `reading.max_rows`.
    """
    file = _opened(source)
    names, ticker = _names(file, reading)
    batches = file.iter_batches(batch_size=BLOCK_ROWS, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            block = _block(batch, names, ticker, first)
        except _DAMAGED as error:
            raise unreadable(f"the Parquet is damaged: {error}") from error
        yield block
        first += batch.num_rows


def _opened(source: UInt8Array) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(source)))
        _ = list(file.schema_arrow.names), file.metadata.num_rows
    except _DAMAGED as error:
        raise unreadable(f"the input is not Parquet: {error}") from error
    return file


def _names(file: pq.ParquetFile, reading: Reading) -> tuple[list[str], str | None]:
    """What the columns are called, and the ticker that all are of, if they say one."""
    names, rows = list(file.schema_arrow.names), file.metadata.num_rows
    if reading.max_rows is not None and rows > reading.max_rows:
        raise InputTooLarge(
            f"more than {reading.max_rows} rows; expected at most that many at once", limit=reading.max_rows
        )
    if len(names) > MAX_COLUMNS:
        raise InvalidField("columns", len(names), f"at most {MAX_COLUMNS} columns")
    names, ticker = _without_ticker(names)
    if _INDEX in names and types.is_timestamp(file.schema_arrow.types[names.index(_INDEX)]):
        names = _with_stamps(names, reading)
    require_columns(names, reading)
    for name in names:
        if names.count(name) > 1:
            raise InvalidField("columns", name, "each column name once")
    return names, ticker


def _without_ticker(names: list[str]) -> tuple[list[str], str | None]:
    """The names of columns without the ticker that yfinance has beside each, and the ticker."""
    found = [_WITH_TICKER.fullmatch(name) for name in names]
    tickers = {match[2] for match in found if match and match[2]}
    if not tickers:
        return names, None
    if len(tickers) > 1:
        raise InvalidField(
            "columns", ", ".join(sorted(tickers)), "the columns of one ticker: save each on its own"
        )
    return [match[1] if match else name for name, match in zip(names, found, strict=True)], tickers.pop()


def _with_stamps(names: list[str], reading: Reading) -> list[str]:
    """The names, in which an index of times without a name is that of the stamps where no other column is."""
    if "timestamp" in fields_in(names, reading.names).fields.values():
        return names
    return ["timestamp" if name == _INDEX else name for name in names]


def _block(batch: pa.RecordBatch, names: Sequence[str], ticker: str | None, first: int) -> RowBlock:
    plain = np.ones(batch.num_rows, np.bool_)
    columns: dict[str, pa.Array] = {}
    arrays: dict[str, pa.Array] = {}
    for name, column in zip(names, batch.columns, strict=True):
        arrays[name] = array = _simplified(column)
        kind = array.type
        if types.is_signed_integer(kind):
            columns[name] = pc.cast(array, pa.int64())
        elif types.is_integer(kind) or types.is_floating(kind):
            columns[name] = pc.cast(array, pa.float64(), safe=False)
        elif types.is_large_string(kind) or types.is_boolean(kind) or types.is_null(kind):
            columns[name] = array
        else:
            columns[name] = pa.nulls(len(array))
            plain &= array.is_null().to_numpy(zero_copy_only=False)
    if ticker is not None:
        columns[TICKER] = arrays[TICKER] = pa.repeat(pa.scalar(ticker, pa.large_string()), batch.num_rows)
    return RowBlock(batch.num_rows, first, columns, plain, partial(_row, arrays, first))


def _row(arrays: Mapping[str, pa.Array], first: int, row: int) -> Mapping[str, object]:
    try:
        return {name: array[row].as_py() for name, array in arrays.items()}
    except _DAMAGED as error:
        raise unreadable(f"a cell cannot be read: {error}", first + row) from error


def _simplified(array: pa.Array) -> pa.Array:
    """Texts and times as `large_string`, decimals as numbers, other arrays as they are."""
    kind = array.type
    if types.is_dictionary(kind):
        return _simplified(array.dictionary_decode())
    if types.is_timestamp(kind):
        array = pc.cast(array, pa.timestamp("us", kind.tz), safe=False)
        if kind.tz is not None:
            array = pc.cast(array, pa.timestamp("us", "UTC"))
        return pc.cast(array, pa.large_string())
    if types.is_decimal(kind):
        try:
            return pc.cast(array, pa.int64())
        except pa.ArrowInvalid:  # not whole, or larger; from texts Arrow makes the nearest float
            return pc.cast(pc.cast(array, pa.large_string()), pa.float64())
    texts = (
        types.is_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_string,
        types.is_large_binary,
    )
    if any(test(kind) for test in (*texts, types.is_date, types.is_time)):
        array = pc.cast(array, pa.large_string())
        array.validate(full=True)
    return array
