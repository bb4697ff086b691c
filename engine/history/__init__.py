"""The history: one row a processed signal, or a price alone, as Parquet files that are written once and never changed.

    history/portfolio=<name>/date=<YYYY-MM-DD>/<from>-<to>.parquet

`date` is the UTC date of every row in the file, `<from>` and `<to>` are the ordinals of the first and the last
row. Where signals
alternate between dates, their rows `<from>` to `<to>` lie in a file a date, `<from>-<to>.<n>-of-<files>.parquet`, and
count once all of these are there. Every file has the columns of `FIXED`, whatever features its rows have. A file's
metadata holds the ledger as it was before row `<from>`, so that any receipt can be computed again.
SQL over all of it is in `engine.history.query`, apart because it brings DuckDB along.
"""

from raysignal.engine.history.read import (
    Page,
    Part,
    Row,
    damage,
    extent,
    files,
    join_tables,
    last_row,
    locate,
    portfolios,
    read_columns,
    read_page,
    read_part,
    read_range,
    resume,
    signals_of,
    written_up_to,
)
from raysignal.engine.history.schema import FIXED, SAID
from raysignal.engine.history.write import HistoryChunk, chunk_table, write_chunk

__all__ = [
    "FIXED",
    "SAID",
    "HistoryChunk",
    "Page",
    "Part",
    "Row",
    "chunk_table",
    "damage",
    "extent",
    "files",
    "join_tables",
    "last_row",
    "locate",
    "portfolios",
    "read_columns",
    "read_page",
    "read_part",
    "read_range",
    "resume",
    "signals_of",
    "write_chunk",
    "written_up_to",
]
