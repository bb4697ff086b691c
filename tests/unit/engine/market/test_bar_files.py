"""Days of bars as Parquet, and closes from a CSV."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from msgspec.structs import replace

from raysignal.engine.core.errors import InvalidField, StoreUnavailable, UnreadableInput
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.market.bar_files import day_name, read_closes, write_day
from raysignal.engine.market.bars import Basis
from tests.support.market_bars import INSTRUMENT, SECOND, START_US, bar

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


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_closes_are_read_exactly(tmp_path: Path):
    path = write(
        tmp_path / "closes.csv",
        "time,open,high,low,close,volume",
        "2024-10-04 00:00:00+00:00,4261.48,4485.39,4200.74,4285.08,795.150377",
        "2024-10-05,1,2,0.5,1.125,",
    )
    first, second = read_closes(path, INSTRUMENT, DAY_US)
    assert (first.instrument.price_decimals, first.instrument.size_decimals) == (3, 6)
    assert (first.open_us, first.open, first.high, first.low, first.close) == (
        START_US, 4_261_480, 4_485_390, 4_200_740, 4_285_080,
    )  # fmt: skip
    assert (first.volume, second.close, second.volume) == (795_150_377, 1_125, 0)


def test_a_close_alone_is_enough(tmp_path: Path):
    (only,) = read_closes(write(tmp_path / "c.csv", "time,close", "2024-10-04,7.5"), INSTRUMENT, DAY_US)
    assert (only.open, only.high, only.low, only.close, only.volume) == (750, 750, 750, 750, 0)


@pytest.mark.parametrize(
    ("lines", "field", "row"),
    [
        (["2024-10-04,x"], "close", 0),
        (["2024-10-04,NaN"], "close", 0),
        (["2024-10-04,-1"], "close", 0),
        (["2024-10-04,0"], "close", 0),
        (["2024-10-04,1E-19"], "close", 0),
        (["2024-10-04"], "close", 0),
        (["2024-10-04,1", "yesterday,1"], "time", 1),
        (["2024-10-04,1", "2024-10-05 01:00,1"], "time", 1),
        (["2024-10-05,1", "2024-10-04,1"], "time", 1),
        (["2024-10-05,1", "2024-10-05,1"], "time", 1),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, lines, field, row):
    with pytest.raises(InvalidField) as caught:
        read_closes(write(tmp_path / "c.csv", "time,close", *lines), INSTRUMENT, DAY_US)
    assert (caught.value.fields["field"], caught.value.fields["row"]) == (field, row)


@pytest.mark.parametrize("content", [b"", b"time,close\n", b"date,price\n1,2\n", b"\xff\xfe\x00"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content):
    (tmp_path / "c.csv").write_bytes(content)
    with pytest.raises(UnreadableInput):
        read_closes(tmp_path / "c.csv", INSTRUMENT, DAY_US)
    with pytest.raises(UnreadableInput):
        read_closes(tmp_path / "missing.csv", INSTRUMENT, DAY_US)
