"""Writing the history: consecutive rows of one portfolio, a file a UTC date.

Rows whose dates follow one another are cut at midnight, and the same rows make the same bytes, whatever was written
beside them. Rows that go back and forth between dates are one span of several files, one a date.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.instants import DAY_US, format_date
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows, Outcome
from raysignal.engine.core.terms import TERMS
from raysignal.engine.history.checksums import UNSEALED, seal
from raysignal.engine.history.features import number_map, text_map
from raysignal.engine.history.schema import FIXED, FORMAT, TEXT_PORTFOLIOS, file_name

if TYPE_CHECKING:
    from raysignal.engine.journal.blobs import BlobStore

_OUTCOMES = tuple(outcome.name for outcome in Outcome)
_CLOSE_REASONS = tuple(reason.name for reason in CloseReason)
_ROW_GROUP = 16_384
_NAMED = ("source", "symbol", "decided_by", "outcome", "executed", "closed_by")
_MAPS = ("feature_numbers.key_value.key", "feature_texts.key_value.key", "feature_texts.key_value.value")
_FORMAT = b"raysignal.format"
_MOST_DATES = 400
"""Of one span: to compute a receipt again, all of its files are read."""


@dataclass(frozen=True, slots=True)
class HistoryChunk:
    """Consecutive processed signals of one portfolio.

    Attributes:
        portfolio: its name.
        first_ordinal: the place of the first row in the portfolio's history, counted from 0.
        batch: the n signals, with their features.
        decision: int8[n], the action that was taken, after any override.
        decided_by: who decided: one name for all rows (`signal` for a baseline), or n of them.
        explanation: n texts, why; None: the decisions were left to the signals.
        rows: what the ledger made of them.
        sequence: int64[n], the journal record of each.
        record_row: int32[n], its row in that record.
        state_at: the ledger as it was before row `offset` of the chunk, as bytes; asked once for every file,
            with growing offsets, the first of them 0.
    """

    portfolio: str
    first_ordinal: int
    batch: SignalBatch
    decision: Int8Array
    decided_by: str | Sequence[str]
    explanation: TextColumn | None
    rows: LedgerRows
    sequence: Int64Array
    record_row: Int32Array
    state_at: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.batch)


def chunk_table(chunk: HistoryChunk) -> pa.Table:
    """All rows of a chunk in the columns of the history."""
    return _table(chunk, 0, len(chunk))


def write_chunk(blobs: BlobStore, chunk: HistoryChunk) -> list[str]:
    """Write the rows, no file with rows of two UTC dates; the names, in order.

    When it fails half-way, the files written so far are whole, and `resume` says where to go on.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    if chunk.first_ordinal == 0:
        blobs.put(TEXT_PORTFOLIOS, _written(FIXED.empty_table().replace_schema_metadata({_FORMAT: FORMAT})))
    names = []
    days = chunk.batch.timestamp_us // DAY_US
    for start, stop, dates in _spans(days):
        first, last = chunk.first_ordinal + start, chunk.first_ordinal + stop - 1
        table, state_before = _table(chunk, start, stop), chunk.state_at(start)
        for part, date in enumerate(dates, 1):
            rows = table if len(dates) == 1 else table.filter(pa.array(days[start:stop] == date))
            name = file_name(
                chunk.portfolio, format_date(date * DAY_US), first, last, part=part, parts=len(dates)
            )
            blobs.put(name, _file(rows, chunk.portfolio, first, last, state_before))
            names.append(name)
    return names


def _spans(days: Int64Array) -> Iterator[tuple[int, int, list[int]]]:
    """Consecutive rows `start` to `stop` that are written together, and their dates, a file each."""
    cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    runs: list[tuple[int, int, int]] = []
    dates: set[int] = set()
    for start, stop in pairwise(cuts):
        if start == stop:
            continue
        date = int(days[start])
        if date not in dates and len(dates) == _MOST_DATES:
            yield from _joined(runs, dates)
            runs, dates = [], set()
        runs.append((start, stop, date))
        dates.add(date)
    yield from _joined(runs, dates)


def _joined(runs: list[tuple[int, int, int]], dates: set[int]) -> Iterator[tuple[int, int, list[int]]]:
    if len(runs) == len(dates):
        yield from ((start, stop, [date]) for start, stop, date in runs)
    else:
        yield runs[0][0], runs[-1][1], sorted(dates)


def _file(rows: pa.Table, portfolio: str, first: int, last: int, state_before: bytes) -> bytes:
    return _written(
        rows.replace_schema_metadata(
            {
                _FORMAT: FORMAT,
                b"raysignal.portfolio": portfolio.encode(),
                b"raysignal.from": str(first).encode(),
                b"raysignal.to": str(last).encode(),
                b"raysignal.state_before": base64.b64encode(state_before),
                # What `query` makes columns of, without reading the maps.
                b"raysignal.numbers": _feature_names(rows["feature_numbers"]),
                b"raysignal.texts": _feature_names(rows["feature_texts"]),
            }
        )
    )


def _written(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[*_NAMED, *_MAPS],
        # The extremes of features help nobody and swell the footer.
        write_statistics=[name for name in FIXED.names if not name.startswith("feature_")],
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)
        writer.add_key_value_metadata(UNSEALED)
    return seal(out.getvalue())


def _table(chunk: HistoryChunk, start: int, stop: int) -> pa.Table:
    part, n = slice(start, stop), stop - start
    batch, rows = chunk.batch, chunk.rows
    price, terms = batch.price[part], batch.order_terms()
    high, low = (price, price) if terms is None else terms.slice(start, stop).reach(price)
    columns: dict[str, pa.Array] = {
        "ordinal": pa.array(np.arange(chunk.first_ordinal + start, chunk.first_ordinal + stop)),
        "signal_id": _texts(batch.signal_id, start, stop),
        "source": _named(batch.source[part], batch.sources),
        "symbol": _named(batch.symbol[part], batch.symbols),
        "timestamp": pa.array(batch.timestamp_us[part]).view(FIXED.field("timestamp").type),
        "signal": pa.array(batch.action[part]),
        "price": pa.array(price),
        "decision": pa.array(chunk.decision[part]),
        "decided_by": _deciders(chunk.decided_by, start, stop),
        "outcome": _named(rows.outcome[part], _OUTCOMES),
        "executed": _named(rows.executed[part], _OUTCOMES),
        "closed_by": _closed_by(rows.closed_by[part]),
        "exit_price": pa.array(rows.exit_price[part], mask=rows.exit_price[part] == 0.0),
        "range_high": pa.array(high, mask=high == price),
        "range_low": pa.array(low, mask=low == price),
        "fill_price": _numbers(rows.fill_price[part]),
        "sequence": pa.array(chunk.sequence[part].astype(np.int64, copy=False)),
        "record_row": pa.array(chunk.record_row[part].astype(np.int32, copy=False)),
        "explanation": pa.nulls(n, pa.string())
        if chunk.explanation is None
        else _texts(chunk.explanation, start, stop, missing=True),
        "feature_numbers": number_map({name: values[part] for name, values in batch.numbers.items()}, n),
        "feature_texts": text_map(
            {
                name: TextColumn(values.data, values.offsets[start : stop + 1])
                for name, values in batch.texts.items()
            },
            n,
        ),
    }
    for place, name in enumerate(TERMS):
        kind = FIXED.field(name).type
        if batch.terms is None:
            columns[name] = pa.nulls(n, kind)
        else:
            values = _numbers(np.ascontiguousarray(batch.terms[part, place]))
            columns[name] = values.cast(pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else values
    for field in FIXED:
        if field.name not in columns:
            columns[field.name] = pa.array(getattr(rows, field.name)[part])
    assert all(len(column) == n for column in columns.values())
    return pa.table([columns[name] for name in FIXED.names], schema=FIXED)


def _closed_by(codes: Int8Array) -> pa.Array:
    """The bracket that closed something, null where none did."""
    named = _named(codes, _CLOSE_REASONS)
    return pa.DictionaryArray.from_arrays(
        pa.array(named.indices.to_numpy(), mask=codes == CloseReason.SIGNAL), named.dictionary
    )


def _feature_names(maps: pa.ChunkedArray) -> bytes:
    return json.dumps(sorted(maps.chunk(0).keys.unique().to_pylist())).encode()


def _numbers(values: Float64Array) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _texts(column: TextColumn, start: int, stop: int, *, missing: bool = False) -> pa.Array:
    """As Arrow strings that share the column's bytes; with `missing`, empty ones are null."""
    at = column.offsets[start : stop + 1]
    data = np.ascontiguousarray(column.data[at[0] : at[-1]])
    there = np.diff(at) > 0
    bitmap = pa.py_buffer(np.packbits(there, bitorder="little")) if missing and not there.all() else None
    offsets: npt.NDArray[Any] = (at - at[0]).astype(np.int32)
    return pa.StringArray.from_buffers(len(there), pa.py_buffer(offsets), pa.py_buffer(data), bitmap)


def _named(codes: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> pa.Array:
    """A dictionary column of the names that occur, in the order in which they do."""
    used, first, position = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    values = pa.array([names[code] for code in used[order].tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(rank[position]), values)


def _deciders(decided_by: str | Sequence[str], start: int, stop: int) -> pa.Array:
    if isinstance(decided_by, str):
        return _named(np.zeros(stop - start, np.int32), (decided_by,))
    return pa.array(decided_by[start:stop], pa.string()).dictionary_encode()
