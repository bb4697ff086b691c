"""Days of bars as Parquet."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from msgspec.structs import replace

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.market.bar_files import day_name, write_day
from raysignal.engine.market.bars import Basis
from tests.support.market_bars import SECOND, START_US, bar

HOURS = [bar(number, 12_345 + number, 3_600 * SECOND) for number in range(24)]


def test_a_day_is_read_by_pandas_and_duckdb_with_its_exact_amounts(tmp_path: Path):
    blobs = DiskBlobs(tmp_path)
    name = write_day(blobs, HOURS)
    frame = pd.read_parquet(tmp_path / name, partitioning=None)
    assert frame["close"].tolist() == [Decimal(12_345 + number) / 100 for number in range(24)]
    assert frame["open_time"].iloc[0] == pd.Timestamp(START_US, unit="us", tz="UTC")
    assert frame["volume"].iloc[0] == Decimal("0.00001")
    with duckdb.connect() as connection:
        query = f"SELECT symbol, interval, date, max(close), count(*) FROM '{tmp_path}/bars/**/*.parquet' GROUP BY ALL"
        ((symbol, interval, date, most, rows),) = connection.sql(query).fetchall()
    assert (symbol, interval, str(date), most, rows) == ("BTCUSDT", "1h", "2024-10-04", Decimal("123.68"), 24)


def test_a_day_is_written_once(tmp_path: Path):
    blobs = DiskBlobs(tmp_path)
    name = write_day(blobs, HOURS)
    before = blobs.get(name)
    assert write_day(blobs, HOURS) is None
    assert write_day(blobs, [replace(HOURS[0], close=1)]) is None
    assert blobs.get(name) == before


class Late(DiskBlobs):
    """Another instance writes between the look and the write."""

    def list(self, _prefix: str) -> list[str]:
        return []


def test_whoever_comes_second_leaves_the_first_ones_file(tmp_path: Path):
    name = write_day(DiskBlobs(tmp_path), HOURS)
    before = DiskBlobs(tmp_path).get(name)
    assert write_day(Late(tmp_path), [replace(HOURS[0], close=1)]) is None
    assert DiskBlobs(tmp_path).get(name) == before


def test_a_store_that_does_not_answer_is_not_taken_for_one_that_has_it(tmp_path: Path):
    class Away(DiskBlobs):
        def put(self, *_) -> None:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        write_day(Away(tmp_path), HOURS)


def test_a_symbol_with_a_slash_has_a_name():
    name = day_name(Instrument("kraken", "BTC/USD"), Basis.TRADES, SECOND, START_US)
    assert name == "bars/venue=kraken/symbol=BTC%2FUSD/interval=1s/basis=trades/date=2024-10-04/bars.parquet"
