"""`GET /history`: pages over the Parquet history and, behind it, the rows that are not written there yet.

A page continues behind the ordinal of the last row that was looked at. Ordinals never change, so every row
comes once and in order, though rows move from an actor's memory to Parquet between two pages.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action
from raysignal.engine.history import SAID, join_tables, read_page
from raysignal.engine.portfolio.receipts import RecentRows
from raysignal.serve.cursors import PageQuery

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore


_NARROWEST, _LOOKED_AT_A_PAGE = 256, 200_000


@dataclass(frozen=True, slots=True)
class HistoryQuery(PageQuery):
    """Which rows are asked for.

    Attributes:
        start_us: no earlier than this, UTC microseconds.
        end_us: earlier than this.
        action: that asked for this.
        symbol: about this.
    """

    start_us: int | None = None
    end_us: int | None = None
    action: Action | None = None
    symbol: str | None = None


def read_rows(
    blobs: "BlobStore", recent: RecentRows, wanted: HistoryQuery, *, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """A page: at most `limit` rows as plain JSON values, and behind which ordinal there may be more.

    Args:
        blobs: where the history lies.
        recent: what is not written there; asked for before this is called, so that no row falls between.
        wanted: which rows.
        after: the ordinal to continue behind.
        limit: > 0.
    """
    page = read_page(
        blobs, wanted.portfolio, start_us=wanted.start_us, end_us=wanted.end_us, action=wanted.action,
        symbol=wanted.symbol, after=after, limit=limit,
    )  # fmt: skip
    if page.after is not None:
        return rows_of(page.table), page.after
    written = page.table
    # A row that was written since `recent` was asked for stands in both.
    last = int(written["ordinal"][-1].as_py()) if len(written) else after
    fresh = [_fitting(table, wanted, last) for table in recent.tables]
    table = join_tables([written, *(part for part in fresh if len(part))])
    rows = rows_of(table.slice(0, limit))
    return rows, rows[-1]["ordinal"] if len(table) > limit else None


def newest_rows(
    blobs: "BlobStore",
    recent: RecentRows,
    wanted: HistoryQuery,
    *,
    source: str,
    before: int | None,
    limit: int,
) -> tuple[list[dict[str, Any]], int | None]:
    """A page from the end backwards: `limit` rows at most, the latest first, and before which there may be more.

    Args:
        blobs: where the history lies.
        recent: what is not written there, asked for before this is called.
        wanted: which rows.
        source: of these rows.
        before: rows below this ordinal; None: all.
        limit: > 0. A page can hold fewer, and none, when many rows were looked at for it.
    """
    count = recent.first + sum(map(len, recent.tables))
    end = count if before is None else min(before, count)
    found: list[pa.Table] = []
    looked_at, rows = 0, 0
    while end > 0 and rows < limit and looked_at < _LOOKED_AT_A_PAGE:
        # Wider and wider: one that fits may be far back.
        start = max(0, end - max(limit, looked_at, _NARROWEST))
        fitting = _rows_between(blobs, recent, wanted, start, end)
        fitting = fitting.filter(pc.equal(fitting["source"].cast(pa.string()), source))
        kept = fitting.slice(max(0, len(fitting) - (limit - rows)))
        found.append(kept)
        looked_at, rows = looked_at + end - start, rows + len(kept)
        end = int(kept["ordinal"][0].as_py()) if len(kept) < len(fitting) else start
    table = join_tables(found[::-1]) if found else None
    return ([] if table is None else rows_of(table)[::-1]), (end or None)


def _rows_between(
    blobs: "BlobStore", recent: RecentRows, wanted: HistoryQuery, start: int, end: int
) -> pa.Table:
    """The rows that fit from ordinal `start` on and below `end`."""
    written = read_page(blobs, wanted.portfolio, after=start - 1, limit=end - start).table
    last = int(written["ordinal"][-1].as_py()) if len(written) else start - 1
    table = join_tables(
        [written, *(table.filter(pc.greater(table["ordinal"], last)) for table in recent.tables)]
    )
    return _fitting(table.filter(pc.less(table["ordinal"], end)), wanted, start - 1)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of the history as plain JSON values: instants as texts, actions by name, features of their own.

    What most signals do not say (`SAID`) is left out where it is null.
    """
    stamps = table["timestamp"].cast(pa.int64()).to_pylist()
    names = {action.value: action.name for action in Action}
    place = table.column_names.index("expires")
    table = table.set_column(place, "expires", table["expires"].cast(pa.int64()))
    rows: list[dict[str, Any]] = table.drop_columns(["timestamp"]).to_pylist()
    for row, stamp in zip(rows, stamps, strict=True):
        row["timestamp"] = format_instant(stamp)
        row["signal"] = names[row["signal"]]
        row["decision"] = names[row["decision"]]
        for name in SAID:
            if row[name] is None:
                del row[name]
        if "expires" in row:
            row["expires"] = format_instant(row["expires"])
        features = row.pop("feature_numbers") + row.pop("feature_texts")
        # Versions before kept what was sent under a secret name.
        row["features"] = {name: value for name, value in sorted(features) if not is_secret_name(name)}
    return rows


def _fitting(table: pa.Table, wanted: HistoryQuery, after: int) -> pa.Table:
    stamp = table["timestamp"].cast(pa.int64())
    fits = pc.greater(table["ordinal"], after)
    if wanted.start_us is not None:
        fits = pc.and_(fits, pc.greater_equal(stamp, wanted.start_us))
    if wanted.end_us is not None:
        fits = pc.and_(fits, pc.less(stamp, wanted.end_us))
    if wanted.action is not None:
        fits = pc.and_(fits, pc.equal(table["signal"], np.int8(wanted.action)))
    if wanted.symbol is not None:
        fits = pc.and_(fits, pc.equal(table["symbol"].cast(pa.string()), wanted.symbol))
    return table.filter(fits)
