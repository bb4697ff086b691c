"""Stores that earlier versions wrote open with the account, the receipts and the history that they had."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine import history
from raysignal.engine.history.query import query
from raysignal.engine.journal.stores import Stores, open_stores
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.engine.portfolio.trade_files import TradeReader
from raysignal.serve.history import rows_of
from tests.support.history_chunks import some_signals

FORMAT_1 = Path(__file__).parents[3] / "stores" / "format-1.tar.gz"
"""Two portfolios, with a feature that is a number first and a text later, and rows that only the journal has yet."""
PORTFOLIOS = ["baseline", "007"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(FORMAT_1) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def expected(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "expected.json").read_text())


@pytest.fixture
def stores(folder: Path) -> Stores:
    return open_stores((folder / "store").as_uri())


def opened(stores: Stores, folder: Path) -> Shard:
    return Shard.open(
        stores.journal_store("shard=0000"), stores.blobs, prefix="state/shard=0000", cache_dir=folder / "cache",
        limits=ShardLimits(), policies={},
    )  # fmt: skip


def rows_in(shard: Shard, portfolio: str) -> list[dict[str, Any]]:
    recent = shard.recent(portfolio)()
    written = history.read_range(shard.blobs, portfolio, 0, recent.first - 1)
    return rows_of(history.join_tables([written, *recent.tables]))


def write_all(shard: Shard) -> None:
    checkpoint = shard.due_checkpoint(now=True)
    assert checkpoint is not None
    shard.write_checkpoint(checkpoint)
    shard.checkpointed(checkpoint)


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_account_receipts_and_history_are_those_of_before(folder, expected, stores, portfolio):
    shard = opened(stores, folder)

    standing = shard.standing(portfolio)
    assert standing.account.tobytes().hex() == expected[portfolio]["account"]
    before = expected[portfolio]["standing"] | {"sequence": 0}
    assert known_before(standing.as_dict() | {"sequence": 0}, before) == before
    assert rows_in(shard, portfolio) == with_features(expected[portfolio]["rows"])
    receipts = {name: shard.find(portfolio, name)().receipt() for name in expected[portfolio]["receipts"]}
    assert known_before(receipts, expected[portfolio]["receipts"]) == expected[portfolio]["receipts"]


def test_new_rows_are_written_beside_files_of_before_and_read_together(folder, expected, stores):
    shard = opened(stores, folder)
    write_all(shard)

    rows = with_features(expected["baseline"]["rows"])
    assert rows_in(shard, "baseline") == rows
    page = history.read_page(stores.blobs, "baseline", limit=7, after=46)
    assert rows_of(page.table) == rows[47:54]
    assert shard.rows("baseline", 40, 20)().batch().signal(12).features == some_features(52)


def test_trades_of_files_of_before_are_derived_when_more_is_written(folder, stores):
    shard = opened(stores, folder)
    write_all(shard)

    reader = TradeReader(stores.blobs, "baseline")
    pnl = reader.closed()["pnl"].to_numpy().sum() + reader.open()["pnl"].to_numpy().sum()
    ledger = shard.portfolio("baseline").ledger
    assert pnl == pytest.approx(ledger.equity - ledger.policy.initial_cash, rel=1e-9)
    assert len(reader.closed()) == shard.standing("baseline").as_dict()["performance"]["closed_trades"] > 10


def known_before(shown: Any, before: Any) -> Any:
    """Of what is shown, the members that the version before had too."""
    if not isinstance(before, dict):
        return shown
    return {name: known_before(shown[name], value) for name, value in before.items()}


def with_features(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as they are shown now: that version showed a number as a text where another row had a text."""
    return [row | {"features": some_features(row["ordinal"])} for row in rows]


def some_features(row: int) -> dict[str, Any]:
    features = dict(some_signals(70)[row].features) | {"age": 3.0 * row if row < 26 else f"old {row}"}
    return features | ({"größe.text": "ü"} if row % 7 == 0 else {})


def test_sql_reads_files_of_both_formats_with_a_column_for_each_feature(folder, stores):
    write_all(opened(stores, folder))

    rows = query(
        stores.url,
        """select ordinal, "feature.rsi" as rsi, "feature.age" as age, "feature.größe.text" as umlaut
           from history where portfolio = 'baseline' order by ordinal""",
    ).to_pylist()

    assert [row["ordinal"] for row in rows] == list(range(70))
    for row in rows:
        features = some_features(row["ordinal"])
        assert row["rsi"] == features["rsi"]
        assert row["age"] == (f"{features['age']:g}" if row["ordinal"] < 26 else features["age"])
        assert row["umlaut"] == features.get("größe.text")
