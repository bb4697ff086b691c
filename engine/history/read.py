"""Reading the history by ordinal, by page, and back into signals."""

from __future__ import annotations

import base64
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import InvalidField, JournalDamaged, NotFound
from raysignal.engine.core.instants import format_date
from raysignal.engine.core.signals import Action
from raysignal.engine.core.terms import TERMS, SignalTerms
from raysignal.engine.history.checksums import is_intact
from raysignal.engine.history.features import numbers_of, texts_of
from raysignal.engine.history.format1 import current, is_current, is_of_format_1
from raysignal.engine.history.schema import (
    FIXED,
    Span,
    cover,
    folder_of,
    newest_first,
    portfolio_of,
    uncounted,
)

if TYPE_CHECKING:
    from raysignal.engine.journal.blobs import BlobStore

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
        ordinal: its place in the portfolio's history.
        batch: the signal with all its features, a batch of one.
        decision, decided_by, explanation: what was done with it, who decided, and why (JSON, or empty).
        sequence, record_row: the journal record it lies in, and its row there.
    """

    ordinal: int
    batch: SignalBatch
    decision: int
    decided_by: str
    explanation: str
    sequence: int
    record_row: int

    @classmethod
    def of(cls, table: pa.Table) -> Row:
        """The row of a table that has one."""
        told = {name: table[name][0].as_py() for name in _OF_A_ROW}
        return cls(batch=signals_of(table), **told | {"explanation": told["explanation"] or ""})


_OF_A_ROW = ("ordinal", "decision", "decided_by", "explanation", "sequence", "record_row")


class Part:
    """One span of the history: the kernel's inputs and the ledger before them.

    Attributes:
        first, end: the ordinals of its rows: `first` and the one behind the last.
        state_before: the ledger before row `first`, as `HistoryChunk.state_at` gave it.
    """

    def __init__(self, span: Span, files: list[bytes]) -> None:
        self._names = [name for name, _ in span.files]
        self._files = [_opened(data, name) for data, name in zip(files, self._names, strict=True)]
        try:
            metadata = self._files[0].schema_arrow.metadata
            self.state_before: bytes = base64.b64decode(metadata[b"raysignal.state_before"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self._names[0]) from error
        self.first = span.starts
        self.end = span.last + 1

    @cached_property
    def _inputs(self) -> pa.Table:
        return self._columns(["ordinal", "timestamp", "symbol", "signal", "decision", "price", *TERMS])

    def _columns(self, names: list[str]) -> pa.Table:
        """Columns of all rows, in their order; those that the files lack are left out."""
        tables = [_table(file, name, names) for file, name in zip(self._files, self._names, strict=True)]
        return _in_order(tables).combine_chunks()

    @property
    def timestamp_us(self) -> Int64Array:
        """int64[n]."""
        values: Int64Array = self._inputs["timestamp"].cast(pa.int64()).to_numpy()
        return values

    @property
    def symbols(self) -> list[str]:
        """The symbols that occur."""
        names: list[str] = _dictionary(self._inputs["symbol"]).dictionary.to_pylist()
        return names

    @property
    def symbol(self) -> Int32Array:
        """int32[n], positions in `symbols`."""
        codes: Int32Array = _dictionary(self._inputs["symbol"]).indices.to_numpy()
        return codes

    @property
    def decision(self) -> Int8Array:
        """int8[n], what the ledger was told to do."""
        values: Int8Array = self._inputs["decision"].to_numpy()
        return values

    @property
    def price(self) -> Float64Array:
        """float64[n]."""
        values: Float64Array = self._inputs["price"].to_numpy()
        return values

    def terms(self, *, bracketed: bool) -> SignalTerms | None:
        """What the kernel was told beside that; `bracketed` says whether there were brackets before these rows."""
        values = terms_of(self._inputs)
        if values is None and not bracketed:
            return None
        numbers = numbers_of(self._columns(["ordinal", "feature_numbers"])["feature_numbers"])
        terms = SignalTerms.of(values, numbers)
        return None if terms is None else terms.done(self._inputs["signal"].to_numpy(), self.decision)

    def row_at(self, ordinal: int) -> Row:
        """One row as it was taken in; `NotFound` if it is not here."""
        for file, name in zip(self._files, self._names, strict=True):
            ordinals = _table(file, name, ["ordinal"])["ordinal"].to_numpy()
            at = int(np.searchsorted(ordinals, ordinal))
            if at < len(ordinals) and ordinals[at] == ordinal:
                return Row.of(current(_table(file, name)).slice(at, 1))
        raise NotFound(f"there is no row {ordinal} in the history", field="ordinal", value=ordinal)


def written_up_to(blobs: BlobStore, portfolio: str) -> int:
    """How many rows the history holds without a gap from the first on."""
    spans = _list(blobs, portfolio)
    return spans[-1].last + 1 if spans else 0


def extent(blobs: BlobStore, portfolio: str) -> int:
    """How many rows there are up to the last that any file is named for, also behind a gap."""
    return max((last + 1 for last, _ in newest_first(blobs.list(folder_of(portfolio)))), default=0)


def resume(blobs: BlobStore, portfolio: str) -> int:
    """The ordinal to write next, once every file that does not count was removed.

    Such files are what a writer that was cut off left of a span, files behind one that was deleted, and files whose
    rows a longer one holds: beside what is written next, whoever reads the folder would find their rows twice.
    """
    for name in uncounted(blobs.list(folder_of(portfolio))):
        blobs.delete(name)
    return written_up_to(blobs, portfolio)


def portfolios(blobs: BlobStore) -> list[str]:
    """The portfolios that the history has files of, also where these do not count."""
    return sorted({name for file in blobs.list("history/") if (name := portfolio_of(file)) is not None})


def files(blobs: BlobStore, portfolio: str) -> list[str]:
    """The names of all files of a portfolio, those with the last rows first."""
    return [name for _, name in newest_first(blobs.list(folder_of(portfolio)))]


def damage(blobs: BlobStore, portfolio: str) -> Iterator[str]:
    """A sentence for each file of the history that cannot be read or has other bytes than were written."""
    for name in reversed(files(blobs, portfolio)):
        try:
            _table(_opened(_bytes(blobs, name), name), name)
        except JournalDamaged as error:
            yield str(error)


def last_row(blobs: BlobStore, portfolio: str) -> Row | None:
    """The last row that can be read, also where its file does not count; None where there is none."""
    for _, named in groupby(newest_first(blobs.list(folder_of(portfolio))), key=lambda each: each[0]):
        tables = []
        for _, name in named:
            try:
                file = _opened(_bytes(blobs, name), name)
                table = current(_table(file, name, group=file.num_row_groups - 1))
                tables.append(table.slice(len(table) - 1))
            except JournalDamaged:
                continue
        if tables:
            return Row.of(max(tables, key=lambda table: table["ordinal"][0].as_py()))
    return None


def locate(blobs: BlobStore, portfolio: str, ordinal: int) -> Span | None:
    """The span that holds a row; None if none does. The store is listed only when the row was not known before."""
    for spans in (_known.get(blobs, {}).get(portfolio, []), None):
        here = _list(blobs, portfolio) if spans is None else spans
        position = bisect_right(here, ordinal, key=lambda span: span.first) - 1
        if position >= 0 and ordinal <= here[position].last:
            return here[position]
    return None


def read_part(blobs: BlobStore, portfolio: str, ordinal: int) -> Part:
    """The span that holds a row.

    Raises:
        NotFound: the history does not hold it.
        JournalDamaged: the file cannot be read.
    """
    span = locate(blobs, portfolio, ordinal)
    if span is None:
        raise NotFound(f"the history of {portfolio!r} holds no row {ordinal}", field="ordinal", value=ordinal)
    return Part(span, [_bytes(blobs, name) for name, _ in span.files])


def read_range(blobs: BlobStore, portfolio: str, first: int, last: int) -> pa.Table:
    """The rows from ordinal `first` to `last`, both included, as far as they are there."""
    tables = [
        _rows(blobs, span, max(first, span.first), min(last, span.last))
        for span in _list(blobs, portfolio)
        if span.first <= last and span.last >= first
    ]
    return join_tables(tables)


def read_columns(blobs: BlobStore, portfolio: str, first: int, columns: Sequence[str]) -> Iterator[pa.Table]:
    """All rows from ordinal `first` on, a table a span, with these columns alone; `ordinal` is one of them."""
    for span in _list(blobs, portfolio):
        if span.last < first:
            continue
        tables = [_table(_opened(_bytes(blobs, name), name), name, list(columns)) for name, _ in span.files]
        fields = pa.schema([FIXED.field(name) for name in columns])
        rows = _in_order([_with_columns(table, fields) for table in tables])
        begin = max(first, span.first) - span.starts
        yield rows.slice(begin, span.last + 1 - span.starts - begin)


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
        if span.last <= after or not any(_may_fit(date, start_us, end_us) for _, date in span.files):
            continue
        if scanned >= _SCANNED_A_PAGE:
            return Page(join_tables(tables), span.first - 1)
        for rows in _groups(blobs, span, max(after + 1, span.first), start_us, end_us):
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
    ).with_terms(terms_of(table))


def terms_of(table: pa.Table) -> Float64Array | None:
    """The terms of the signals, float64[n, 6], see `engine.core.terms`; None where there are none."""
    if all(name not in table.column_names or table[name].null_count == len(table) for name in TERMS):
        return None
    terms = np.empty((len(table), len(TERMS)))
    for place, name in enumerate(TERMS):
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        terms[:, place] = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return terms


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of the history as one; no tables, no rows."""
    return pa.concat_tables([FIXED.empty_table(), *tables])


def _list(blobs: BlobStore, portfolio: str) -> list[Span]:
    spans = cover(blobs.list(folder_of(portfolio))).get(portfolio, [])
    _known.setdefault(blobs, {})[portfolio] = spans
    return spans


def _with_columns(table: pa.Table, fields: pa.Schema) -> pa.Table:
    """These columns; those that files of before lack are null."""
    there = set(table.column_names)
    columns = [table[each.name] if each.name in there else pa.nulls(len(table), each.type) for each in fields]
    return pa.table(columns, fields.names).cast(fields)


def _rows(blobs: BlobStore, span: Span, first: int, last: int) -> pa.Table:
    tables = [current(_table(_opened(_bytes(blobs, name), name), name)) for name, _ in span.files]
    return _in_order(tables).slice(first - span.starts, last - first + 1)


def _groups(
    blobs: BlobStore, span: Span, first: int, start_us: int | None, end_us: int | None
) -> Iterator[pa.Table]:
    """The rows of a span from ordinal `first` on, of dates that may fit: a row group of a file at a time."""
    names = [name for name, date in span.files if _may_fit(date, start_us, end_us)]
    if len(names) > 1:
        tables = [current(_table(_opened(_bytes(blobs, name), name), name)) for name in names]
        rows = _in_order(tables)
        yield rows.filter(pc.greater_equal(rows["ordinal"], first))
        return
    (name,) = names
    file = _opened(_bytes(blobs, name), name)
    for group in range(file.num_row_groups):
        rows = current(_table(file, name, group=group))
        if len(rows) and rows["ordinal"][-1].as_py() >= first:
            yield rows.filter(pc.greater_equal(rows["ordinal"], first))


def _in_order(tables: list[pa.Table]) -> pa.Table:
    """Rows of a span's files in the order of their ordinals."""
    if len(tables) == 1:
        return tables[0]
    rows = pa.concat_tables(tables).unify_dictionaries()
    return rows.take(pc.sort_indices(rows["ordinal"]))


def _may_fit(date: str, start_us: int | None, end_us: int | None) -> bool:
    return (start_us is None or date >= format_date(start_us)) and (
        end_us is None or date <= format_date(end_us)
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


def _bytes(blobs: BlobStore, name: str) -> bytes:
    data: bytes | None = blobs.get(name)
    if data is None:
        raise damaged(name)
    return data


def _opened(data: bytes, name: str) -> Any:
    try:
        file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(name) from error
    if not (is_intact(data) if is_current(file.schema_arrow) else is_of_format_1(file.schema_arrow)):
        raise damaged(name)
    return file


def _table(file: Any, name: str, columns: list[str] | None = None, group: int | None = None) -> pa.Table:
    """Columns of an open file (None: all), of one row group or of all."""
    try:
        return file.read(columns=columns) if group is None else file.read_row_group(group, columns)
    except (pa.ArrowException, OSError) as error:
        raise damaged(name) from error


def _dictionary(column: pa.ChunkedArray) -> Any:
    """The column as one dictionary array, with 32-bit codes."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def damaged(name: str) -> JournalDamaged:
    """The error that names a file of the history."""
    return JournalDamaged(
        f"history file {name} is damaged or missing; raysignal store rebuild writes it again from the journal",
        record=name,
    )
