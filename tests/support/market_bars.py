"""Trades and bars for tests, and bars as pandas makes them: slow, obvious, all at once."""

from collections.abc import Sequence

import pandas as pd

from raysignal.engine.core.instants import DAY_US, MICROSECONDS
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.market.bars import Bar, Basis

INSTRUMENT = Instrument("binance", "BTCUSDT", 2, 5)
SECOND = MICROSECONDS
START_US = 20_000 * DAY_US


def trade(at_us: int, price: int = 100, size: int = 1, trade_id: str | None = None) -> Trade:
    """A trade `at_us` after the start; its id is as unique as its stamp unless it is given."""
    stamp_us = START_US + at_us
    return Trade(INSTRUMENT, trade_id or f"t{at_us}", price, size, 1, stamp_us, stamp_us + 1_000)


def bar(number: int, close: int, interval_us: int = DAY_US, **values: bool) -> Bar:
    """Bar `number` after the start, all its prices alike."""
    prices = (close, close, close, close)
    return Bar(
        INSTRUMENT, Basis.TRADES, interval_us, START_US + number * interval_us, *prices, 1, 1, **values
    )


def reference_bars(
    trades: Sequence[Trade], interval_us: int, lateness_us: int
) -> tuple[list[tuple[int, int, int, int, int, int, int]], int]:
    """The ended bars as (open_us, open, high, low, close, volume, trades), and how many trades were late.

    Of trades in the order of arrival, ids all different, on a connection that is up throughout.
    """
    frame = pd.DataFrame(
        [(item.exchange_us, item.price, item.size) for item in trades], columns=["at", "price", "size"]
    )
    frame["bar"] = frame["at"] // interval_us * interval_us
    seen = frame["at"].cummax().shift(fill_value=-1)
    late = (frame["bar"] + interval_us + lateness_us <= seen) | (frame["bar"] < frame["bar"].iloc[0])
    taken = frame[~late].sort_values("at", kind="stable").groupby("bar")
    made = taken["price"].agg(["first", "max", "min", "last"])
    made["volume"], made["trades"] = taken["size"].sum(), taken["size"].count()
    first, ended = made.index[0], (frame["at"].max() - lateness_us) // interval_us * interval_us
    made = made.reindex(range(first, max(first, ended), interval_us))
    made["last"] = made["last"].ffill()
    for name in ("first", "max", "min"):
        made[name] = made[name].fillna(made["last"])
    made = made.fillna(0).astype("int64")
    return [(int(at), *map(int, row)) for at, row in zip(made.index, made.to_numpy(), strict=True)], int(
        late.sum()
    )
