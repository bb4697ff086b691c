"""A journal beside which another store's history or snapshot lies is refused, and nothing is changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raysignal.cli.doctor import check_journal
from raysignal.engine import history
from raysignal.engine.core.errors import JournalBehind, JournalDamaged
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.rebuild import rebuild
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.runtime.settings import Settings
from tests.unit.engine.portfolio.test_shard import PREFIX, Place, a_signal, commit, some

DAY = 24 * 60
POLICIES = {"baseline": Policy()}


def store_of(folder: Path, prices: float, *, days: int = 4, rows: int = 5) -> Path:
    """A store with some signals a day, all of them in the history, and nobody who writes it."""
    place = Place(folder, ShardLimits(), POLICIES)
    for day in range(days):
        for row in range(rows):
            place.send(
                [a_signal(day * DAY + row, prices + day, (row % 3) - 1, name=f"{prices:g}-{day}-{row}")]
            )
        place.checkpoint()
    place.shard.journal.close()
    return place.root


def files_in(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def remove_state(store: Path, _: Path) -> None:
    shutil.rmtree(store / "state")


def take_state_of_the_other(store: Path, other: Path) -> None:
    shutil.rmtree(store / "state")
    shutil.copytree(other / "state", store / "state")


def keep_state(_store: Path, _other: Path) -> None:
    """The snapshot is still that of the store."""


def remove_history(store: Path, _: Path) -> None:
    shutil.rmtree(store / "history")


@pytest.mark.parametrize("rows", [5, 9], ids=["as long", "longer"])
@pytest.mark.parametrize("state", [remove_state, take_state_of_the_other, keep_state, remove_history])
def test_a_journal_of_another_store_is_refused_and_nothing_is_changed(
    tmp_path: Path, state: Callable[[Path, Path], None], rows: int
) -> None:
    store, other = store_of(tmp_path / "a", 100.0), store_of(tmp_path / "b", 50.0, rows=rows)
    shutil.rmtree(store / "journal")
    shutil.copytree(other / "journal", store / "journal")
    state(store, other)
    before = files_in(store)

    for _ in range(2):
        with pytest.raises(JournalBehind, match="another") as raised:
            Place(tmp_path / "a", ShardLimits(), POLICIES)

    assert "raysignal store rebuild --accept-loss" in str(raised.value)
    assert files_in(store) == before
    finding = check_journal(Settings(store=store.as_uri()))
    assert (finding.status, "another" in finding.detail) == ("failed", True)


def test_a_fork_of_the_journal_is_refused_from_the_first_row_that_differs(tmp_path: Path) -> None:
    store_of(tmp_path / "a", 100.0, days=2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name, price in (("a", 101.0), ("b", 102.0)):
        place = Place(tmp_path / name, ShardLimits(), POLICIES)
        place.send([a_signal(3 * DAY, price, name="later")])
        if name == "a":
            place.checkpoint()
        place.shard.journal.close()
    shutil.rmtree(tmp_path / "a" / "store" / "journal")
    shutil.copytree(tmp_path / "b" / "store" / "journal", tmp_path / "a" / "store" / "journal")

    with pytest.raises(JournalBehind, match="ends with signal 'later' of record"):
        Place(tmp_path / "a", ShardLimits(), POLICIES)


def test_rows_of_every_kind_are_found_in_the_journal_they_came_from(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits(checkpoint_rows=7))
    place.send(some(9))
    place.send(
        [a_signal(30, symbol="ETH", name="e", mood="calm"), a_signal(31, 97.25, 0, symbol="ETH")], "short"
    )
    place.shard.rename_symbol("baseline", "BTC", "binance:BTCUSDT")
    commit(place.shard)
    place.send([a_signal(40, symbol="binance:BTCUSDT")])
    place.checkpoint()

    shard = place.restart()

    assert {name: each.count for name, each in shard.portfolios.items()} == {"baseline": 10, "short": 2}


def test_a_last_file_that_cannot_be_read_leaves_the_row_before_it_to_be_compared(tmp_path: Path) -> None:
    store, other = store_of(tmp_path / "a", 100.0), store_of(tmp_path / "b", 50.0, rows=9)
    last = max((store / "history" / "portfolio=baseline").rglob("*.parquet"))
    last.write_bytes(last.read_bytes()[:-9])
    Place(tmp_path / "a", ShardLimits(), POLICIES).shard.journal.close()
    shutil.rmtree(store / "journal")
    shutil.copytree(other / "journal", store / "journal")

    with pytest.raises(JournalBehind, match="ends with signal '100-2-4'"):
        Place(tmp_path / "a", ShardLimits(), POLICIES)


def test_damage_that_the_snapshot_covers_does_not_hinder_a_start(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits())
    place.send([a_signal(0, name="old")], "short")
    place.checkpoint()
    place.restart()
    place.send(some(5))
    place.checkpoint()
    place.shard.journal.close()
    segment = min((place.root / "journal").rglob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"old")] ^= 1
    segment.write_bytes(data)

    with pytest.raises(JournalDamaged):
        rebuild(
            place.stores.journal_store("shard=0000"), place.stores.blobs, prefix=PREFIX, cache_dir=place.cache,
            limits=ShardLimits(), owns=lambda _: True, accept_loss=True,
        )  # fmt: skip
    assert isinstance(place.restart(), Shard)
    assert history.written_up_to(place.stores.blobs, "short") == 1
