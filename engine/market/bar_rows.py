"""Bars in the database: written as often as one likes, by as many as like, and never for the worse.

Of two versions of a bar the better one stays: final before not, complete before not, known close before not, then
the one with more trades. So writers need not agree on an order, and bars that a lost connection left incomplete are
replaced once the venue's own are there.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Row, and_, case, or_, select

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import Database
from raysignal.engine.market.bars import Bar, Basis, decimals_of, units
from raysignal.engine.market.tables import BARS

_KEY = [column.name for column in BARS.primary_key]


def store_bars(database: Database, connection: Connection, bars: Sequence[Bar]) -> None:
    """Insert bars, or better those that are there."""
    if not bars:
        return
    insert = database.insert(BARS)
    new, old = insert.excluded, BARS.c
    better = case((new.final & new.complete, 3), (new.final & new.close_known, 2), (new.final, 1), else_=0)
    held = case((old.final & old.complete, 3), (old.final & old.close_known, 2), (old.final, 1), else_=0)
    statement = insert.on_conflict_do_update(
        index_elements=_KEY,
        set_={column.name: new[column.name] for column in BARS.c if column.name not in _KEY},
        where=or_(better > held, and_(better == held, held < 3, new.trades > old.trades)),
    )
    connection.execute(statement, [_row(bar) for bar in bars])


def read_bars(
    connection: Connection, instrument: Instrument, basis: Basis, interval_us: int, from_us: int, to_us: int
) -> list[Bar]:
    """The final bars that open from `from_us` on and before `to_us`, in order.

    They are of the instrument as it is given; where a stored price or size has more digits than that, of one with
    as many as it takes.
    """
    rows = connection.execute(
        select(BARS)
        .where(
            BARS.c.venue == instrument.venue,
            BARS.c.symbol == instrument.symbol,
            BARS.c.basis == basis.value,
            BARS.c.interval_us == interval_us,
            BARS.c.open_us >= from_us,
            BARS.c.open_us < to_us,
            BARS.c.final,
        )
        .order_by(BARS.c.open_us)
    )
    bars = []
    for row in rows:
        price_decimals = max(instrument.price_decimals, *map(decimals_of, _prices(row)))
        size_decimals = max(instrument.size_decimals, decimals_of(row.volume))
        held = instrument
        if (price_decimals, size_decimals) != (held.price_decimals, held.size_decimals):
            held = replace(held, price_decimals=price_decimals, size_decimals=size_decimals)
        first, high, low, close = (units(price, price_decimals) for price in _prices(row))
        volume = units(row.volume, size_decimals)
        bars.append(
            Bar(
                held, basis, interval_us, row.open_us, first, high, low, close, volume,
                row.trades, row.complete, row.close_known,
            )
        )  # fmt: skip
    return bars


def _prices(row: Row[Any]) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return row.open, row.high, row.low, row.close


def _row(bar: Bar) -> dict[str, object]:
    price = bar.instrument.exact_price
    return {
        "venue": bar.instrument.venue,
        "symbol": bar.instrument.symbol,
        "basis": bar.basis.value,
        "interval_us": bar.interval_us,
        "open_us": bar.open_us,
        "open": price(bar.open),
        "high": price(bar.high),
        "low": price(bar.low),
        "close": price(bar.close),
        "volume": bar.instrument.exact_size(bar.volume),
        "trades": bar.trades,
        "final": True,
        "complete": bar.complete,
        "close_known": bar.close_known,
    }
