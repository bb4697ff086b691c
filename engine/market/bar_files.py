"""Bars as files: one Parquet file a UTC day in the store, and closes from a CSV to begin with.

    bars/venue=<venue>/symbol=<symbol>/interval=<1m>/basis=<trades|mids>/date=<YYYY-MM-DD>/bars.parquet

A day is written once, when it is over, and never changed: what is bettered afterwards is bettered in the database.
Amounts are exact, `decimal(38, 18)`: pandas shows Decimals, DuckDB computes with them.
"""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from raysignal.engine.core.errors import InvalidField, StoreError, StoreUnavailable, UnreadableInput
from raysignal.engine.core.instants import DAY_US, format_date, parse_instant
from raysignal.engine.core.market_events import MOST_DECIMALS, Instrument
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.market.bars import Bar, Basis, bar_name, decimals_of, units

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


def read_closes(path: Path, instrument: Instrument, interval_us: int) -> list[Bar]:
    """Bars from a CSV with a header that names at least `time` (the open, UTC) and `close`.

    Missing columns among open, high and low are taken from the close, missing volume and trades are 0. Amounts are
    exact: the bars are of the instrument with as many decimals as they need.

    Raises:
        UnreadableInput: no such file, no header, or not text.
        InvalidField: a time or a number that is none, times that are not apart by whole bars in rising order.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInput(f"{path} cannot be read: {error}") from error
    if not rows or not {"time", "close"} <= rows[0].keys():
        raise UnreadableInput(f"{path} has no rows under a header with time and close")
    amounts = [_amounts(row, number) for number, row in enumerate(rows)]
    held = replace(
        instrument,
        price_decimals=max(
            instrument.price_decimals, *(decimals_of(price) for row in amounts for price in row[:4])
        ),
        size_decimals=max(instrument.size_decimals, *(decimals_of(row[4]) for row in amounts)),
    )
    bars: list[Bar] = []
    for number, (row, (*prices, volume)) in enumerate(zip(rows, amounts, strict=True)):
        open_us = parse_instant(row["time"], field="time", row=number)
        if open_us % interval_us or (bars and open_us <= bars[-1].open_us):
            raise InvalidField("time", row["time"], f"rising opens of {bar_name(interval_us)} bars", number)
        first, high, low, close = (units(price, held.price_decimals) for price in prices)
        size = units(volume, held.size_decimals)
        bars.append(Bar(held, Basis.TRADES, interval_us, open_us, first, high, low, close, size, 0))
    return bars


def _amounts(row: dict[str, str], number: int) -> list[Decimal]:
    close = _amount(row, "close", number)
    prices = [_amount(row, name, number) if row.get(name) else close for name in ("open", "high", "low")]
    return [*prices, close, _amount(row, "volume", number) if row.get("volume") else Decimal(0)]


def _amount(row: dict[str, str], name: str, number: int) -> Decimal:
    expected = f"a number of 0 or more with at most {MOST_DECIMALS} decimals"
    try:
        value = Decimal(row[name].strip())
    except (InvalidOperation, AttributeError) as error:
        raise InvalidField(name, row[name], expected, number) from error
    exponent = value.as_tuple().exponent
    if (
        not isinstance(exponent, int)
        or value < 0
        or exponent < -MOST_DECIMALS
        or (name != "volume" and not value)
    ):
        raise InvalidField(name, row[name], expected, number)
    return value


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
