"""Closed trades as Parquet beside the history they are derived from; written once and never changed.

    trades/portfolio=<name>/<from>-<to>.parquet

A file holds the trades that rows <from> to <to> of the portfolio's history closed, which may be none, in the columns of
`TRADES`. Its metadata holds what was open after row <to>, so that the next file goes on there. What is missing or
damaged is derived from the history again.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysignal.engine import history
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.history.checksums import UNSEALED, is_intact, seal
from raysignal.engine.portfolio.trade_summary import only_symbol, trade_summary
from raysignal.engine.portfolio.trades import COLUMNS, TRADES, TradeFold, TradeRows

if TYPE_CHECKING:
    from raysignal.engine.journal.blobs import BlobStore
    from raysignal.engine.portfolio.receipts import RecentRows

Renamed = Iterable[tuple[int, str, str]]
"""Symbols that got another name, as `TradeFold.run` takes them."""

_ROWS_A_FILE = 1_000_000
_STATE = b"raysignal.open_after"
_FORMAT = {b"raysignal.format": b"1"}
_NAME = re.compile(r"trades/portfolio=([^/]+)/(\d{12,})-(\d{12,})\.parquet")
_TEXT_PORTFOLIOS = "trades/portfolio=~/columns.parquet"
"""Without rows, as `history.schema.TEXT_PORTFOLIOS`: shows that `portfolio` is a text."""


def write_trades(blobs: BlobStore, portfolio: str, renamed: Renamed) -> None:
    """Write the trades of all rows of the history that no file covers yet.

    Files that do not count, or are damaged, are removed first.

    Raises:
        JournalDamaged: a file of the history cannot be read; what was written so far is whole.
        StoreUnavailable: the store did not answer.
    """
    covered = _cover(blobs, portfolio)
    for name in set(files(blobs, portfolio)) - set(covered):
        blobs.delete(name)
    fold = TradeFold()
    while covered:
        try:
            fold = _fold_after(blobs, covered[-1])
            break
        except JournalDamaged:
            blobs.delete(covered.pop())
    for rows in _grouped(history.read_columns(blobs, portfolio, fold.count, COLUMNS)):
        first = fold.count
        if first == 0:
            blobs.put(_TEXT_PORTFOLIOS, _file(TRADES.empty_table(), {}))
        closed = fold.run(TradeRows.of_table(rows), renamed)
        name = f"{_folder(portfolio)}{first:012d}-{fold.count - 1:012d}.parquet"
        blobs.put(name, _file(closed, {_STATE: base64.b64encode(fold.dump())}))


def files(blobs: BlobStore, portfolio: str) -> list[str]:
    """The names of all files of a portfolio's trades."""
    return [name for name in blobs.list(_folder(portfolio)) if _NAME.fullmatch(name)]


def damage(blobs: BlobStore, portfolio: str) -> Iterator[str]:
    """A sentence for each file that cannot be read or has other bytes than were written."""
    for name in files(blobs, portfolio):
        try:
            _opened(blobs, name)
        except JournalDamaged as error:
            yield str(error)


@dataclass(frozen=True, slots=True)
class TradeReader:
    """The trades of one portfolio: those in files, and those of rows that no file covers yet.

    Attributes:
        blobs: where history and trades lie.
        portfolio: whose.
        recent: rows that the history does not hold yet, asked for before anything here is; None: what is in files is
            all that is shown.
    """

    blobs: BlobStore
    portfolio: str
    recent: RecentRows | None = None

    def closed(self, *, symbol: str | None = None, after: int = -1, limit: int | None = None) -> pa.Table:
        """Closed trades in the order in which they closed, at most `limit`: those closed behind row `after`."""
        found: list[pa.Table] = []
        for trades in self._closed():
            found.append(fitting(trades, "exit_ordinal", symbol, after))
            if limit is not None and sum(map(len, found)) >= limit:
                break
        return joined([TRADES.empty_table(), *found]).slice(0, limit)

    def open(self, *, symbol: str | None = None, after: int = -1, limit: int | None = None) -> pa.Table:
        """Open trades in the order in which they were opened, at their last prices: those opened behind row `after`."""
        fold, _ = self._fold(_cover(self.blobs, self.portfolio))
        return fitting(fold.open(), "entry_ordinal", symbol, after).slice(0, limit)

    def summary(self, symbol: str | None = None) -> dict[str, Any]:
        """What the trades come to, see `trade_summary`."""
        covered = _cover(self.blobs, self.portfolio)  # once: files come while one reads
        fold, fresh = self._fold(covered)
        trades = [TRADES.empty_table(), *self._written(covered), *fresh]
        return trade_summary(
            joined([fitting(each, "exit_ordinal", symbol, -1) for each in trades]),
            fitting(fold.open(), "entry_ordinal", symbol, -1),
        )

    def _closed(self) -> Iterator[pa.Table]:
        covered = _cover(self.blobs, self.portfolio)
        yield from self._written(covered)
        yield from self._fold(covered)[1]

    def _written(self, covered: Sequence[str]) -> Iterator[pa.Table]:
        for name in covered:
            yield _opened(self.blobs, name).read()

    def _fold(self, covered: Sequence[str]) -> tuple[TradeFold, list[pa.Table]]:
        """What is open after the last row, and the trades closed by rows that these files do not cover."""
        fold = _fold_after(self.blobs, covered[-1]) if covered else TradeFold()
        if self.recent is None:
            return fold, []
        renamed = self.recent.renamed
        written = _grouped(history.read_columns(self.blobs, self.portfolio, fold.count, COLUMNS))
        closed = [fold.run(TradeRows.of_table(rows), renamed) for rows in written]
        for rows in self.recent.tables:
            fresh = rows.select(COLUMNS).filter(pc.greater_equal(rows["ordinal"], fold.count))
            if len(fresh):
                closed.append(fold.run(TradeRows.of_table(fresh), renamed))
        return fold, closed


def fitting(trades: pa.Table, ordinal: str, symbol: str | None, after: int) -> pa.Table:
    """The trades of a symbol, if one is named, whose row of that kind is behind row `after`."""
    fitting = trades.filter(pc.greater(trades[ordinal], after))
    return only_symbol(fitting, symbol)


def joined(trades: Iterable[pa.Table]) -> pa.Table:
    """As one table, of columns in one piece; at least one."""
    return pa.concat_tables(trades).unify_dictionaries().combine_chunks()


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Consecutive rows, so many together that files of trades are few."""
    kept: list[pa.Table] = []
    for table in tables:
        kept.append(table)
        if sum(map(len, kept)) >= _ROWS_A_FILE:
            yield pa.concat_tables(kept)
            kept = []
    if kept:
        yield pa.concat_tables(kept)


def _folder(portfolio: str) -> str:
    return f"trades/portfolio={portfolio}/"


def _cover(blobs: BlobStore, portfolio: str) -> list[str]:
    """The files that cover the history from its first row on without a gap, in order."""
    found = [
        (int(match[2]), -int(match[3]), match[0])
        for name in files(blobs, portfolio)
        if (match := _NAME.fullmatch(name))
    ]
    covered: list[str] = []
    end = 0
    for first, last, name in sorted(found):
        if first == end:
            covered.append(name)
            end = 1 - last
    return covered


def _fold_after(blobs: BlobStore, name: str) -> TradeFold:
    try:
        return TradeFold.load(base64.b64decode(_opened(blobs, name).schema_arrow.metadata[_STATE]))
    except (KeyError, ValueError) as error:
        raise _damaged(name) from error


def _opened(blobs: BlobStore, name: str) -> Any:
    data = blobs.get(name)
    if data is None or not is_intact(data):
        raise _damaged(name)
    try:
        return pq.ParquetFile(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name) from error


def _file(trades: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
    out = io.BytesIO()
    schema = TRADES.with_metadata(_FORMAT | metadata)
    with pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=_DICTIONARIES) as writer:
        writer.write_table(trades.replace_schema_metadata(schema.metadata))
        writer.add_key_value_metadata(UNSEALED)
    return seal(out.getvalue())


_DICTIONARIES: Sequence[str] = [field.name for field in TRADES if pa.types.is_dictionary(field.type)]


def _damaged(name: str) -> JournalDamaged:
    return JournalDamaged(
        f"trades file {name} is damaged or missing; raysignal store rebuild derives it again", record=name
    )
