"""Indicators of stored bars: of the last bar that had ended, of the bars that were meant, read once a bar."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete

from raysignal.agents.inference.indicators import USUAL, last_values
from raysignal.agents.inference.stored_bars import StoredBars
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.market.bar_rows import store_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.market.tables import BARS
from raysignal.engine.strategies.strategy import Bars

MINUTE = 60_000_000
FIRST = 1_740_355_200_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'bars.db'}")
    yield opened
    opened.close()


def keep(
    database: Database, venue: str, symbol: str, n: int, *, interval_us: int = MINUTE, basis: Basis = Basis.TRADES,
    close_known: bool = True,
) -> list[Bar]:  # fmt: skip
    instrument = Instrument(venue, symbol, 2, 2)
    walk = 400_000 + np.random.default_rng(n).integers(-900, 900, n).cumsum()
    bars = [
        Bar(
            instrument, basis, interval_us, FIRST + at * interval_us, close, close + 300, close - 200, close, 100 + at,
            5, complete=close_known, close_known=close_known,
        )
        for at, close in enumerate(walk.tolist())
    ]  # fmt: skip
    with database.writing() as connection:
        store_bars(database, connection, bars)
    return bars


def as_bars(bars: list[Bar]) -> Bars:
    def column(name: str) -> np.ndarray:
        return np.array([float(Decimal(getattr(bar, name)) / 100) for bar in bars])

    return Bars(
        np.array([bar.end_us for bar in bars]),
        *(column(name) for name in ("open", "high", "low", "close", "volume")),
    )


def test_values_are_of_the_last_bar_that_had_ended(database: Database) -> None:
    bars = keep(database, "fx", "USDCOP", 120)
    stored = StoredBars(database)
    for last in (60, 61, 119):
        end_us = bars[last].end_us
        for at_us in (end_us, end_us + MINUTE - 1):
            found = stored.values_at("fx:USDCOP", at_us, USUAL)
            assert found is not None
            assert (found.end_us, found.bar["close"]) == (end_us, bars[last].close / 100)
            assert found.values == last_values(as_bars(bars[: last + 1]), USUAL)
            assert (found.bar["high"], found.bar["low"]) == (bars[last].high / 100, bars[last].low / 100)
    assert stored.values_at("USDCOP", bars[0].end_us - 1, USUAL) is None
    few = stored.values_at("USDCOP", bars[3].end_us, USUAL)
    assert few is not None
    assert few.values == {}


def test_after_a_gap_the_last_bar_before_it_counts(database: Database) -> None:
    bars = keep(database, "fx", "USDCOP", 40)
    found = StoredBars(database).values_at("USDCOP", bars[-1].end_us + 900 * MINUTE, ["ema(20)"])
    assert found is not None
    assert found.end_us == bars[-1].end_us


def test_a_bar_is_read_once(database: Database) -> None:
    bars = keep(database, "fx", "USDCOP", 40)
    stored = StoredBars(database)
    first = stored.values_at("USDCOP", bars[-1].end_us, ["ema(20)"])
    with database.writing() as connection:
        connection.execute(delete(BARS))
    assert stored.values_at("USDCOP", bars[-1].end_us + 1, ["ema(20)"]) is first
    assert stored.values_at("USDCOP", bars[-1].end_us + MINUTE, ["ema(20)"]) is None


def test_bars_whose_close_is_not_known_are_left_out(database: Database) -> None:
    keep(database, "fx", "USDCOP", 40, close_known=False)
    assert StoredBars(database).values_at("USDCOP", FIRST + 90 * MINUTE, ["ema(20)"]) is None


def test_which_bars_a_symbol_means(database: Database) -> None:
    keep(database, "okx", "BTC-USDT", 5, interval_us=5 * MINUTE)
    keep(database, "okx", "BTC-USDT", 5, interval_us=MINUTE)
    keep(database, "okx", "BTC-USDT", 5, interval_us=MINUTE, basis=Basis.MIDS)
    keep(database, "okx", "ETH-USDT", 5, basis=Basis.MIDS)
    keep(database, "bybit", "ETH-USDT", 5)
    stored = StoredBars(database)
    shortest = stored.series_of("BTC-USDT")
    assert shortest is not None
    assert (shortest.name, shortest.interval_us, shortest.basis) == ("okx:BTC-USDT", MINUTE, "trades")
    longer = stored.series_of("okx:BTC-USDT", 5 * MINUTE)
    assert longer is not None
    assert longer.interval_us == 5 * MINUTE
    assert stored.series_of("BTC-USDT", None, (9 * MINUTE, 5 * MINUTE)) == longer
    assert stored.series_of("BTC-USDT", None, (9 * MINUTE,)) == shortest
    with pytest.raises(InvalidField, match="bybit:ETH-USDT, okx:ETH-USDT"):
        stored.series_of("ETH-USDT")
    mids = stored.series_of("okx:ETH-USDT")
    assert mids is not None
    assert mids.basis == "mids"
    with pytest.raises(InvalidField, match="bar is '3600s'; expected one of 60s, 300s"):
        stored.series_of("BTC-USDT", 60 * MINUTE)
    assert stored.series_of("USDCOP") is None


def test_a_symbol_that_is_stored_later_is_found_later(database: Database) -> None:
    now = [0.0]
    stored = StoredBars(database, clock_s=lambda: now[0])
    assert stored.series_of("USDCOP") is None
    keep(database, "fx", "USDCOP", 3)
    assert stored.series_of("USDCOP") is None
    now[0] = 11.0
    assert stored.series_of("USDCOP") is not None
