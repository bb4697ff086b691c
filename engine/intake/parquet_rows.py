"""Rows from Parquet: typed columns, so that only texts are looked into."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InputTooLarge, InvalidField
from raysignal.engine.intake.fields import Reading
from raysignal.engine.intake.scanning import ABSENT, FALSE, MAX_COLUMNS, NULL, TEXT, TRUE, VALUE
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.tables import Cells, RowBlock, require_columns
from raysignal.engine.intake.windows import BLOCK_ROWS

MAGIC = b"PAR1"
_LARGEST_BLOCK = 2**31 - 1
_NO_BYTES = np.empty(0, np.uint8)


def table_blocks(source: UInt8Array, reading: Reading) -> Iterator[RowBlock]:
    """The blocks of a Parquet file.

    Times become texts of their ISO form, read like any other stamp.

    Raises:
        UnreadableInput: not Parquet, or damaged.
        InvalidField: no column for a required field, or a name that stands twice.
        InputTooLarge: more rows than `reading.max_rows`, or texts beyond 2 GB in 16 384 rows.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(source)))
        names, rows = list(file.schema_arrow.names), file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(f"the input is not Parquet: {error}") from error
    if reading.max_rows is not None and rows > reading.max_rows:
        raise InputTooLarge(
            f"more than {reading.max_rows} rows; expected at most that many at once", limit=reading.max_rows
        )
    if len(names) > MAX_COLUMNS:
        raise InvalidField("columns", len(names), f"at most {MAX_COLUMNS} columns")
    for name in names:
        if names.count(name) > 1:
            raise InvalidField("columns", name, "each column name once")
    require_columns(names, reading.required)
    first = 0
    batches = file.iter_batches(batch_size=BLOCK_ROWS, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            yield _block(batch, first)
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(f"the Parquet is damaged: {error}") from error
        first += batch.num_rows


def _block(batch: pa.RecordBatch, first: int) -> RowBlock:
    plain = np.ones(batch.num_rows, np.bool_)
    columns: dict[str, Cells] = {}
    arrays: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        arrays[name] = array = _simplified(column)
        if (cells := _cells(array)) is not None:
            columns[name] = cells
        else:
            columns[name] = _kinds(np.where(_valid(array), NULL, ABSENT))
            plain &= ~_valid(array)
    return RowBlock(batch.num_rows, first, columns, plain, partial(_row, arrays))


def _row(arrays: Mapping[str, pa.Array], row: int) -> Mapping[str, object]:
    return {name: array[row].as_py() for name, array in arrays.items()}


def _simplified(array: pa.Array) -> pa.Array:
    """Texts, times and decimals as `large_string`, other arrays as they are."""
    kind = array.type
    if types.is_dictionary(kind):
        return _simplified(array.dictionary_decode())
    if types.is_timestamp(kind):
        array = pc.cast(array, pa.timestamp("us", kind.tz), safe=False)
        if kind.tz is not None:
            array = pc.cast(array, pa.timestamp("us", "UTC"))
        return pc.cast(array, pa.large_string())
    texts = (types.is_string, types.is_string_view, types.is_binary, types.is_large_binary)
    if any(test(kind) for test in (*texts, types.is_date, types.is_time, types.is_decimal)):
        return pc.cast(array, pa.large_string())
    return array


def _cells(array: pa.Array) -> Cells | None:
    """The cells of an array of texts, numbers or booleans; None for another kind."""
    kind, valid = array.type, _valid(array)
    if types.is_null(kind):
        return _kinds(np.zeros(len(array)))
    if types.is_boolean(kind):
        true = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
        return _kinds(np.where(valid, np.where(true, TRUE, FALSE), NULL))
    if types.is_integer(kind) or types.is_floating(kind):
        numbers = pc.fill_null(pc.cast(array, pa.float64(), safe=False), np.nan)
        # A copy, because Arrow's own memory is read-only, which compiled code takes for another type.
        values = numbers.to_numpy(zero_copy_only=False).copy()
        cells = _kinds(np.where(valid, VALUE, NULL))
        return Cells(cells.data, cells.start, cells.end, cells.kind, values)
    if not types.is_large_string(kind):
        return None
    array.validate(full=True)
    _, offsets, data = array.buffers()
    at = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    if at[-1] - at[0] > _LARGEST_BLOCK:
        raise InputTooLarge(f"more than 2 GB of text in {BLOCK_ROWS} rows", limit=_LARGEST_BLOCK)
    texts = _NO_BYTES if data is None else np.frombuffer(data, np.uint8)[at[0] : at[-1]].copy()
    spans = (at - at[0]).astype(np.int32)
    return Cells(texts, spans[:-1], spans[1:], np.where(valid, TEXT, NULL).astype(np.uint8))


def _kinds(kind: np.ndarray) -> Cells:
    spans = np.zeros(len(kind), np.int32)
    return Cells(_NO_BYTES, spans, spans, kind.astype(np.uint8))


def _valid(array: pa.Array) -> np.ndarray:
    valid: np.ndarray = array.is_valid().to_numpy(zero_copy_only=False)
    return valid
