"""Writing the history: consecutive rows of one portfolio, cut at midnight UTC, a file a day.

The same rows make the same bytes, whatever was written beside them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.columns import SignalBatch, TextColumn
from engine.digests import Ints
from engine.history.schema import FEATURE, FIXED, FORMAT, TEXT, file_name
from engine.instants import DAY_US, format_date
from engine.ledger import LedgerRows, Outcome

if TYPE_CHECKING:
    from engine.journal.blobs import BlobStore

_OUTCOMES = tuple(outcome.name for outcome in Outcome)
_ROW_GROUP = 16_384
_NAMED = ("source", "symbol", "decided_by", "outcome", "executed")


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
    decision: npt.NDArray[np.int8]
    decided_by: str | Sequence[str]
    explanation: TextColumn | None
    rows: LedgerRows
    sequence: Ints
    record_row: npt.NDArray[np.int32]
    state_at: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.batch)


def chunk_table(chunk: HistoryChunk) -> pa.Table:
    """All rows of a chunk in the columns of the history."""
    return _table(chunk, 0, len(chunk))


def write_chunk(blobs: BlobStore, chunk: HistoryChunk) -> list[str]:
    """Write the rows, one file for each stretch of one UTC date; the names, in order.

    When it fails half-way, the files written so far are whole, and `written_up_to` says where to go on.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    names = []
    day = chunk.batch.timestamp_us // DAY_US
    cuts = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(chunk)]
    for start, stop in pairwise(cuts):
        if start == stop:
            continue
        first, last = chunk.first_ordinal + start, chunk.first_ordinal + stop - 1
        name = file_name(chunk.portfolio, format_date(int(day[start]) * DAY_US), first, last)
        blobs.put(name, _file(chunk, start, stop))
        names.append(name)
    return names


def _file(chunk: HistoryChunk, start: int, stop: int) -> bytes:
    table = _table(chunk, start, stop).replace_schema_metadata(
        {
            b"raysignal.format": FORMAT,
            b"raysignal.portfolio": chunk.portfolio.encode(),
            b"raysignal.from": str(chunk.first_ordinal + start).encode(),
            b"raysignal.to": str(chunk.first_ordinal + stop - 1).encode(),
            b"raysignal.state_before": base64.b64encode(chunk.state_at(start)),
        }
    )
    texts = [
        field.name for field in table.schema if field.name.startswith(FEATURE) and field.type == pa.string()
    ]
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
        compression="zstd",
        compression_level=1,
        row_group_size=_ROW_GROUP,
        use_dictionary=[*_NAMED, *texts],
        # The extremes of long texts help nobody and swell the footer.
        write_statistics=[name for name in table.column_names if name not in texts],
    )
    return out.getvalue()


def _table(chunk: HistoryChunk, start: int, stop: int) -> pa.Table:
    part, n = slice(start, stop), stop - start
    batch, rows = chunk.batch, chunk.rows
    columns: dict[str, pa.Array] = {
        "ordinal": pa.array(np.arange(chunk.first_ordinal + start, chunk.first_ordinal + stop)),
        "signal_id": _texts(batch.signal_id, start, stop),
        "source": _named(batch.source[part], batch.sources),
        "symbol": _named(batch.symbol[part], batch.symbols),
        "timestamp": pa.array(batch.timestamp_us[part]).view(FIXED.field("timestamp").type),
        "signal": pa.array(batch.action[part]),
        "price": pa.array(batch.price[part]),
        "decision": pa.array(chunk.decision[part]),
        "decided_by": _deciders(chunk.decided_by, start, stop),
        "outcome": _named(rows.outcome[part], _OUTCOMES),
        "executed": _named(rows.executed[part], _OUTCOMES),
        "fill_price": _numbers(rows.fill_price[part]),
        "sequence": pa.array(chunk.sequence[part].astype(np.int64, copy=False)),
        "record_row": pa.array(chunk.record_row[part].astype(np.int32, copy=False)),
        "explanation": pa.nulls(n, pa.string())
        if chunk.explanation is None
        else _texts(chunk.explanation, start, stop, missing=True),
    }
    for field in FIXED:
        if field.name not in columns:
            columns[field.name] = pa.array(getattr(rows, field.name)[part])
    features = _features(batch, start, stop)
    schema = pa.schema([*FIXED, *(field for field, _ in features)])
    arrays = [*(columns[field.name] for field in FIXED), *(values for _, values in features)]
    assert all(len(array) == n for array in arrays)
    return pa.table(arrays, schema=schema)


def _features(batch: SignalBatch, start: int, stop: int) -> list[tuple[pa.Field, pa.Array]]:
    """The features that these rows have, sorted by column; each column remembers its feature's own name."""
    numbers = {name: _numbers(values[start:stop]) for name, values in batch.numbers.items()}
    texts = {name: _texts(values, start, stop, missing=True) for name, values in batch.texts.items()}
    numbers = {name: values for name, values in numbers.items() if values.null_count < len(values)}
    texts = {name: values for name, values in texts.items() if values.null_count < len(values)}
    columns: dict[str, tuple[str, pa.Array]] = {
        FEATURE + name: (name, values) for name, values in numbers.items()
    }
    # Those that keep their plain name first: only then is it known which names are free.
    for name in sorted(texts, key=lambda name: (name in numbers, name)):
        column = FEATURE + name
        while column in columns:
            column += TEXT
        columns[column] = (name, texts[name])
    return [
        (pa.field(column, values.type, metadata={b"feature": name.encode()}), values)
        for column, (name, values) in sorted(columns.items())
    ]


def _numbers(values: npt.NDArray[np.float64]) -> pa.Array:
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
