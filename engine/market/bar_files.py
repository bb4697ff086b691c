"""Bars as files: one Parquet file a UTC day in the store.

    bars/venue=<venue>/symbol=<symbol>/interval=<1m>/basis=<trades|mids>/date=<YYYY-MM-DD>/bars.parquet

A day is written once, when it is over, and never changed: what is bettered afterwards is bettered in the database.
Amounts are exact, `decimal(38, 18)`: pandas shows Decimals, DuckDB computes with them.
"""

import io
from collections.abc import Sequence
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.errors import StoreError, StoreUnavailable
from raysignal.engine.core.instants import DAY_US, format_date
from raysignal.engine.core.market_events import MOST_DECIMALS, Instrument
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.market.bars import Bar, Basis, bar_name

_AMOUNT = pa.decimal128(38, MOST_DECIMALS)
COLUMNS = pa.schema(
    [
        pa.field("open_time", pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(name, _AMOUNT, nullable=False) for name in ("open", "high", "low", "close", "volume")),
        pa.field("trades", pa.int64(), nullable=False),
        pa.field("complete", pa.bool_(), nullable=False),
        pa.field("close_known", pa.bool_(), nullable=False),
    ]
)


def day_name(instrument: Instrument, basis: Basis, interval_us: int, day_us: int) -> str:
    """The name of the file that holds the bars of a UTC day."""
    folder = f"bars/venue={instrument.venue}/symbol={quote(instrument.symbol, safe='')}"
    return f"{folder}/interval={bar_name(interval_us)}/basis={basis.value}/date={format_date(day_us)}/bars.parquet"


def write_day(blobs: BlobStore, bars: Sequence[Bar]) -> str | None:
    """Write the bars of one instrument and UTC day, in order; the name, or None if the day was written before.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    first = bars[0]
    day_us = first.open_us - first.open_us % DAY_US
    assert all(day_us <= bar.open_us < day_us + DAY_US for bar in bars)
    name = day_name(first.instrument, first.basis, first.interval_us, day_us)
    if blobs.list(name):
        return None
    out = io.BytesIO()
    pq.write_table(_table(bars), out, compression="zstd", compression_level=1)
    try:
        blobs.put(name, out.getvalue())
    except StoreUnavailable:
        raise
    except StoreError:
        # Another instance was a moment faster, with a bar that was bettered since or not yet.
        return None
    return name


def _table(bars: Sequence[Bar]) -> pa.Table:
    def prices(name: str) -> pa.Array:
        return pa.array([bar.instrument.exact_price(getattr(bar, name)) for bar in bars], _AMOUNT)

    return pa.table(
        {
            "open_time": pa.array([bar.open_us for bar in bars], pa.int64()).view(
                COLUMNS.field("open_time").type
            ),
            **{name: prices(name) for name in ("open", "high", "low", "close")},
            "volume": pa.array([bar.instrument.exact_size(bar.volume) for bar in bars], _AMOUNT),
            "trades": pa.array([bar.trades for bar in bars], pa.int64()),
            "complete": pa.array([bar.complete for bar in bars]),
            "close_known": pa.array([bar.close_known for bar in bars]),
        },
        schema=COLUMNS,
    )
