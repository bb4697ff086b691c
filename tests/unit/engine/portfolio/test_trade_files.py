"""Trades in the store: written beside the history, derived from it, and read together with what is not written yet."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from raysignal.engine import history
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import trade_files
from raysignal.engine.portfolio.rebuild import rebuild
from raysignal.engine.portfolio.shard import ShardLimits
from raysignal.engine.portfolio.trade_files import TradeReader, write_trades
from raysignal.engine.portfolio.trade_summary import trade_rows, trade_summary
from raysignal.engine.portfolio.trades import TRADES
from tests.unit.engine.portfolio.test_shard import PREFIX, Place, a_signal, some


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, ShardLimits(), {"baseline": Policy(side="long-short", fee_bps=5.0)})


def reader(place: Place) -> TradeReader:
    return TradeReader(place.stores.blobs, "baseline", place.shard.recent("baseline")())


def shown(place: Place) -> tuple[list[Any], list[Any]]:
    return reader(place).closed().to_pylist(), reader(place).open().to_pylist()


def balanced(place: Place) -> None:
    closed, left = reader(place).closed(), reader(place).open()
    total = closed["pnl"].to_numpy().sum() + left["pnl"].to_numpy().sum()
    assert total == pytest.approx(place.shard.portfolio("baseline").ledger.equity - 10_000.0, rel=1e-9)


def test_trades_are_the_same_in_memory_in_files_and_half_in_each(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other", ShardLimits(checkpoint_rows=7), place.policies)
    for start in range(0, 60, 5):
        place.send(some(5, start))
        other.send(some(5, start))
        assert shown(place) == shown(other)
    balanced(other)
    assert len(trade_files.files(other.stores.blobs, "baseline")) > 3
    assert not trade_files.files(place.stores.blobs, "baseline")
    place.checkpoint()
    assert shown(place) == shown(other)
    closed = TradeReader(place.stores.blobs, "baseline").closed()
    assert closed.to_pylist() == shown(other)[0]
    assert closed.schema == TRADES


def test_a_store_from_before_gets_its_trades_at_the_next_checkpoint(busy: Place) -> None:
    busy.send(some(40))
    expected = shown(busy)
    for name in trade_files.files(busy.stores.blobs, "baseline"):
        busy.stores.blobs.delete(name)
    assert shown(busy) == expected
    busy.send(some(20, 40))
    assert trade_files.files(busy.stores.blobs, "baseline")[0].startswith(
        "trades/portfolio=baseline/000000000000-"
    )
    balanced(busy)


@pytest.fixture
def busy(tmp_path: Path) -> Place:
    return Place(
        tmp_path, ShardLimits(checkpoint_rows=7), {"baseline": Policy(side="long-short", fee_bps=5.0)}
    )


def test_a_damaged_file_is_named_when_read_and_derived_again_when_more_is_written(busy: Place) -> None:
    busy.send(some(20))
    expected = shown(busy)
    name = trade_files.files(busy.stores.blobs, "baseline")[-1]
    path = busy.root / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(JournalDamaged, match="raysignal store rebuild"):
        reader(busy).closed()
    assert len(list(trade_files.damage(busy.stores.blobs, "baseline"))) == 1
    write_trades(busy.stores.blobs, "baseline", ())
    assert shown(busy) == expected
    assert not list(trade_files.damage(busy.stores.blobs, "baseline"))


def test_a_position_goes_on_under_another_name_of_its_symbol_and_is_one_trade(place: Place) -> None:
    place.send([a_signal(0, 100.0, 1), a_signal(1, 110.0, 1)])
    place.shard.rename_symbol("baseline", "BTC", "binance:BTC")
    place.send([a_signal(2, 120.0, 0, symbol="binance:BTC"), a_signal(3, 90.0, -1)])
    place.send([a_signal(4, 130.0, -1, symbol="binance:BTC")])
    for _ in range(2):
        (trade,) = trade_rows(reader(place).closed())
        assert (trade["symbol"], trade["entry_price"], trade["exit_price"]) == ("binance:BTC", 100.0, 130.0)
        assert (trade["bars"], trade["entry_ordinal"], trade["exit_ordinal"]) == (3, 0, 4)
        assert reader(place).open()["symbol"].to_pylist() == ["binance:BTC"]
        balanced(place)
        if place.shard.rows_kept:
            place.checkpoint()
    place.restart()
    assert reader(place).open()["symbol"].to_pylist() == ["binance:BTC"]


def test_rows_that_alternate_between_days_make_the_same_trades(place: Place, tmp_path: Path) -> None:
    signals = [
        a_signal(1440 * (row % 2) + row, 100.0 + row, (-1) ** (row // 2), symbol=f"S{row % 2}")
        for row in range(40)
    ]
    for signal in signals:
        place.send([signal])
    before = shown(place)
    place.checkpoint()
    assert shown(place) == before
    assert len(before[0]) > 10


def test_pages_and_symbols_come_in_order_and_once(busy: Place) -> None:
    for row in range(60):
        busy.send([a_signal(row, 100.0 + row % 7, (-1) ** (row // 2), symbol=f"S{row % 3}")])
    every = reader(busy).closed().to_pylist()
    assert [trade["exit_ordinal"] for trade in every] == sorted(trade["exit_ordinal"] for trade in every)
    paged: list[Any] = []
    while page := reader(busy).closed(after=paged[-1]["exit_ordinal"] if paged else -1, limit=4).to_pylist():
        paged += page
    assert paged == every
    one = reader(busy).closed(symbol="S1").to_pylist()
    assert one == [trade for trade in every if trade["symbol"] == "S1"]
    assert [trade["symbol"] for trade in reader(busy).open(symbol="S2").to_pylist()] == ["S2"]


def test_others_read_the_folder_as_one_table(busy: Place) -> None:
    busy.send(some(30))
    table = ds.dataset(busy.root / "trades", partitioning="hive").to_table()
    assert set(table["portfolio"].to_pylist()) == {"baseline"}
    assert (
        table.select(TRADES.names).sort_by("exit_ordinal").to_pylist()
        == reader(busy).closed().to_pylist()[: len(table)]
    )


def test_a_rebuilt_store_has_its_trades_again(busy: Place) -> None:
    busy.send(some(20))
    expected = TradeReader(busy.stores.blobs, "baseline").closed().to_pylist()
    busy.shard.journal.close()
    for name in trade_files.files(busy.stores.blobs, "baseline"):
        path = busy.root / name
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    rebuild(
        busy.stores.journal_store("shard=0000"), busy.stores.blobs, prefix=PREFIX, cache_dir=busy.cache,
        limits=busy.limits, owns=lambda _: True, accept_loss=False,
    )  # fmt: skip
    assert TradeReader(busy.stores.blobs, "baseline").closed().to_pylist() == expected


def test_a_portfolio_whose_name_is_a_number_is_read_as_a_text(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits(checkpoint_rows=7), {"007": Policy()})
    place.send(some(20), "007")
    assert set(pd.read_parquet(place.root / "trades")["portfolio"]) == {"007"}


def test_a_history_that_cannot_be_read_stops_no_signal(busy: Place) -> None:
    busy.send(some(6))
    busy.checkpoint()
    (name,) = history.files(busy.stores.blobs, "baseline")
    for trades in trade_files.files(busy.stores.blobs, "baseline"):
        busy.stores.blobs.delete(trades)
    path = busy.root / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-20])
    busy.send(some(20, 6))
    assert busy.shard.standing("baseline").count == 26
    with pytest.raises(JournalDamaged, match="history file"):
        reader(busy).closed()


def test_summary_of_known_trades() -> None:
    pnl = [1.0, -1.0, -2.0, 3.0, 0.0, -1.0, -1.0, -1.0]
    n = len(pnl)
    columns = {field.name: pa.nulls(n, field.type) for field in TRADES}
    columns |= {
        "pnl": pa.array(pnl), "return": pa.array(np.array(pnl) / 100), "fees": pa.array([0.1] * n),
        "bars": pa.array(range(n)), "exit_ordinal": pa.array(range(n)),
    }  # fmt: skip
    closed = pa.table(columns)
    found = trade_summary(closed, closed.slice(0, 0), shown=2)
    assert (found["trades"], found["longest_losing_streak"], found["win_rate"]) == (n, 3, 0.25)
    assert found["profit_factor"] == pytest.approx(4.0 / 6.0)
    assert found["expectancy"] == pytest.approx(-0.25)
    assert (found["mean_bars"], found["pnl"]) == (3.5, -2.0)
    assert [one["pnl"] for one in found["best"]] == [3.0, 1.0]
    assert [one["pnl"] for one in found["worst"]] == [-2.0, -1.0]
    assert [one["exit_ordinal"] for one in found["last"]] == [7, 6]
    assert sum(found["distribution"]["counts"]) == n
    assert len(found["distribution"]["edges"]) == len(found["distribution"]["counts"]) + 1


@pytest.mark.parametrize("returns", [[], [0.01], [0.01, 0.01], [-0.5, 0.5]])
def test_summary_of_few_trades_is_defined_or_says_nothing(returns: list[float]) -> None:
    n = len(returns)
    columns = {field.name: pa.nulls(n, field.type) for field in TRADES}
    columns |= {
        "pnl": pa.array(returns, pa.float64()), "return": pa.array(returns, pa.float64()),
        "fees": pa.array([0.0] * n, pa.float64()), "bars": pa.array([1] * n, pa.int64()),
    }  # fmt: skip
    closed = pa.table(columns)
    found = trade_summary(closed, closed.slice(0, 0))
    assert (found["win_rate"] is None) == (n == 0)
    assert found["longest_losing_streak"] == (1 if -0.5 in returns else 0)
    if n:
        assert sum(found["distribution"]["counts"]) == n


def test_a_stop_closes_a_trade_in_memory_and_in_files(place: Place) -> None:
    place.send([replace(a_signal(0, 100.0), stop_loss=95.0), a_signal(1, 101.0, 0), a_signal(2, 90.0, 0)])
    for _ in range(2):
        (trade,) = trade_rows(reader(place).closed())
        assert (trade["exit_reason"], trade["exit_price"], trade["exit_signal_id"]) == ("stop", 90.0, None)
        balanced(place)
        if place.shard.rows_kept:
            place.checkpoint()
