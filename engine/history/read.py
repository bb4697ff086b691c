"""Reading the history by ordinal, by page, and back into signals."""

from __future__ import annotations

import base64
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.columns import SignalBatch, TextColumn
from engine.digests import Floats, Ints
from engine.errors import InvalidField, JournalDamaged, NotFound
from engine.history.features import numbers_of, texts_of
from engine.history.format1 import current
from engine.history.schema import FIXED, Span, cover, folder_of
from engine.instants import format_date
from engine.signals import Action

if TYPE_CHECKING:
    from engine.journal.blobs import BlobStore

_SCANNED_A_PAGE = 1_000_000

_known: WeakKeyDictionary[BlobStore, dict[str, list[Span]]] = WeakKeyDictionary()
"""What the last listing of a store showed. Files never change, so what it shows stays true."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of the history in the order of their ordinals.

    Attributes:
        table: at most `limit` rows.
        after: where the next page begins: behind this ordinal; None when there is nothing more.
    """

    table: pa.Table
    after: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """One processed signal, read from the history.

    Attributes:
        batch: the signal with all its features, a batch of one.
        decision, decided_by, explanation: what was done with it, who decided, and why (JSON, or empty).
        sequence, record_row: the journal record it lies in, and its row there.
    """

    batch: SignalBatch
    decision: int
    decided_by: str
    explanation: str
    sequence: int
    record_row: int


_OF_A_ROW = ("decision", "decided_by", "explanation", "sequence", "record_row")


class Part:
    """One file of the history: the kernel's inputs and the ledger before them.

    Attributes:
        first, end: the ordinals of its rows: `first` and the one behind the last.
        state_before: the ledger before row `first`, as `HistoryChunk.state_at` gave it.
    """

    def __init__(self, span: Span, data: bytes) -> None:
        try:
            self._file = pq.ParquetFile(io.BytesIO(data))
            metadata = self._file.schema_arrow.metadata
            self.state_before: bytes = base64.b64decode(metadata[b"raysignal.state_before"])
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise _damaged(span.name) from error
        self.first = span.starts
        self.end = span.last + 1

    @cached_property
    def _inputs(self) -> pa.Table:
        return self._file.read(columns=["timestamp", "symbol", "decision", "price"]).combine_chunks()

    @property
    def timestamp_us(self) -> Ints:
        """int64[n]."""
        values: Ints = self._inputs["timestamp"].cast(pa.int64()).to_numpy()
        return values

    @property
    def symbols(self) -> list[str]:
        """The symbols that occur."""
        names: list[str] = _dictionary(self._inputs["symbol"]).dictionary.to_pylist()
        return names

    @property
    def symbol(self) -> npt.NDArray[np.int32]:
        """int32[n], positions in `symbols`."""
        codes: npt.NDArray[np.int32] = _dictionary(self._inputs["symbol"]).indices.to_numpy()
        return codes

    @property
    def decision(self) -> npt.NDArray[np.int8]:
        """int8[n], what the ledger was told to do."""
        values: npt.NDArray[np.int8] = self._inputs["decision"].to_numpy()
        return values

    @property
    def price(self) -> Floats:
        """float64[n]."""
        values: Floats = self._inputs["price"].to_numpy()
        return values

    def row_at(self, ordinal: int) -> Row:
        """One row as it was taken in; `NotFound` if it is not here."""
        offset = ordinal - self.first
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if offset < rows:
                table = current(self._file.read_row_group(group)).slice(offset, 1)
                told = {name: table[name][0].as_py() for name in _OF_A_ROW}
                return Row(signals_of(table), **told | {"explanation": told["explanation"] or ""})
            offset -= rows
        raise NotFound(f"there is no row {ordinal} in the history", field="ordinal", value=ordinal)


def written_up_to(blobs: BlobStore, portfolio: str) -> int:
    """How many rows the history holds without a gap from the first on: the ordinal to write next."""
    spans = _list(blobs, portfolio)
    return spans[-1].last + 1 if spans else 0


def locate(blobs: BlobStore, portfolio: str, ordinal: int) -> Span | None:
    """The file that holds a row; None if none does. The store is listed only when the row was not known before."""
    for spans in (_known.get(blobs, {}).get(portfolio, []), None):
        here = _list(blobs, portfolio) if spans is None else spans
        position = bisect_right(here, ordinal, key=lambda span: span.first) - 1
        if position >= 0 and ordinal <= here[position].last:
            return here[position]
    return None


def read_part(blobs: BlobStore, portfolio: str, ordinal: int) -> Part:
    """The file that holds a row.

    Raises:
        NotFound: the history does not hold it.
        JournalDamaged: the file cannot be read.
    """
    span = locate(blobs, portfolio, ordinal)
    if span is None:
        raise NotFound(f"the history of {portfolio!r} holds no row {ordinal}", field="ordinal", value=ordinal)
    return Part(span, _bytes(blobs, span))


def read_range(blobs: BlobStore, portfolio: str, first: int, last: int) -> pa.Table:
    """The rows from ordinal `first` to `last`, both included, as far as they are there."""
    tables = [
        _rows(blobs, span, max(first, span.first), min(last, span.last))
        for span in _list(blobs, portfolio)
        if span.first <= last and span.last >= first
    ]
    return join_tables(tables)


def read_page(
    blobs: BlobStore,
    portfolio: str,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    action: Action | None = None,
    symbol: str | None = None,
    after: int = -1,
    limit: int,
) -> Page:
    """The next rows behind ordinal `after` that fit.

    Args:
        blobs: where the history lies.
        portfolio: whose.
        start_us: signals no earlier than this, UTC microseconds.
        end_us: signals earlier than this.
        action: signals that asked for this.
        symbol: signals about this.
        after: the page before's `after`; -1 begins.
        limit: rows a page, > 0. A page can hold fewer, and none, when a million rows were looked at for it.
    """
    if limit < 1:
        raise InvalidField("limit", limit, "a number above 0")
    tables: list[pa.Table] = []
    found = scanned = 0
    for span in _list(blobs, portfolio):
        if span.last <= after or not _may_fit(span, start_us, end_us):
            continue
        if scanned >= _SCANNED_A_PAGE:
            return Page(join_tables(tables), span.first - 1)
        for rows in _groups(blobs, span, max(after + 1, span.first)):
            scanned += len(rows)
            fitting = rows.filter(_fits(rows, start_us, end_us, action, symbol))
            if found + len(fitting) > limit:
                fitting = fitting.slice(0, limit - found)
                tables.append(fitting)
                return Page(join_tables(tables), join_tables(tables)["ordinal"][-1].as_py())
            found += len(fitting)
            tables.append(fitting)
    return Page(join_tables(tables), None)


def signals_of(table: pa.Table) -> SignalBatch:
    """The signals as they were taken in, with the features they had; the inverse of `chunk_table`."""
    symbol, source = _dictionary(table["symbol"]), _dictionary(table["source"])
    return SignalBatch.of(
        timestamp_us=table["timestamp"].cast(pa.int64()).to_numpy(),
        action=table["signal"].to_numpy(),
        price=table["price"].to_numpy(),
        symbol=symbol.indices.to_numpy(),
        symbols=symbol.dictionary.to_pylist(),
        source=source.indices.to_numpy(),
        sources=source.dictionary.to_pylist(),
        signal_id=TextColumn.of_arrow(table["signal_id"]),
        numbers=numbers_of(table["feature_numbers"]),
        texts=texts_of(table["feature_texts"]),
    )


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of the history as one; no tables, no rows."""
    return pa.concat_tables([FIXED.empty_table(), *tables])


def _list(blobs: BlobStore, portfolio: str) -> list[Span]:
    spans = cover(blobs.list(folder_of(portfolio))).get(portfolio, [])
    _known.setdefault(blobs, {})[portfolio] = spans
    return spans


def _rows(blobs: BlobStore, span: Span, first: int, last: int) -> pa.Table:
    table = current(_open(blobs, span).read())
    return table.slice(first - span.starts, last - first + 1)


def _groups(blobs: BlobStore, span: Span, first: int) -> Iterator[pa.Table]:
    """The rows of a file from ordinal `first` on, a row group at a time."""
    file = _open(blobs, span)
    at = span.starts
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if at + rows > first:
            table = current(file.read_row_group(group))
            yield table.slice(max(first - at, 0))
        at += rows


def _may_fit(span: Span, start_us: int | None, end_us: int | None) -> bool:
    return (start_us is None or span.date >= format_date(start_us)) and (
        end_us is None or span.date <= format_date(end_us)
    )


def _fits(
    rows: pa.Table, start_us: int | None, end_us: int | None, action: Action | None, symbol: str | None
) -> Any:
    fitting = pa.array(np.ones(len(rows), np.bool_))
    at = rows["timestamp"].cast(pa.int64())
    if start_us is not None:
        fitting = pc.and_(fitting, pc.greater_equal(at, start_us))
    if end_us is not None:
        fitting = pc.and_(fitting, pc.less(at, end_us))
    if action is not None:
        fitting = pc.and_(fitting, pc.equal(rows["signal"], int(action)))
    if symbol is not None:
        fitting = pc.and_(fitting, pc.equal(rows["symbol"].cast(pa.string()), symbol))
    return fitting


def _bytes(blobs: BlobStore, span: Span) -> bytes:
    data: bytes | None = blobs.get(span.name)
    if data is None:
        raise _damaged(span.name)
    return data


def _open(blobs: BlobStore, span: Span) -> Any:
    try:
        return pq.ParquetFile(io.BytesIO(_bytes(blobs, span)))
    except pa.ArrowException as error:
        raise _damaged(span.name) from error


def _dictionary(column: pa.ChunkedArray) -> Any:
    """The column as one dictionary array, with 32-bit codes."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _damaged(name: str) -> JournalDamaged:
    return JournalDamaged(
        f"history file {name} cannot be read; delete it, and it is written again", record=name
    )
