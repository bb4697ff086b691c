"""What a start finds in a store, and what is written anew beside its journal."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from raysignal.cli.doctor import check_journal
from raysignal.cli.main import app
from raysignal.engine import history
from raysignal.engine.core.errors import JournalBehind, JournalDamaged
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.disk import AppendFile, RealDisk
from raysignal.engine.journal.frames import Bytes
from raysignal.engine.journal.local import LocalStore
from raysignal.engine.journal.stores import Stores, open_stores
from raysignal.engine.portfolio.rebuild import RebuiltShard, rebuild
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.runtime.settings import Settings
from tests.unit.engine.portfolio.test_shard import Place, a_signal
from tests.unit.engine.portfolio.test_stores_of_before import (
    expected,
    folder,
    known_before,
    opened,
    rows_in,
    stores,
    with_features,
    write_all,
)

__all__ = ["expected", "folder", "stores"]


def journal_of(folder: Path) -> Path:
    return folder / "store" / "journal" / "shard=0000"


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def store_command(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["store", "rebuild", "--store", (folder / "store").as_uri(), *arguments])


def doctor(stores: Stores) -> Any:
    return check_journal(Settings(store=stores.url))


def reopened(stores: Stores, folder: Path) -> Shard:
    return opened(open_stores(stores.url), folder)


def test_a_start_says_what_it_found(stores, folder):
    shard = opened(stores, folder)

    assert (shard.found.files, shard.found.last, shard.found.cut) == (1, 25, 0)
    shard.journal.close()
    segment = max(journal_of(folder).glob("*.segment"))
    with segment.open("ab") as file:
        file.write(bytes(700))
    again = reopened(stores, folder)
    assert (again.found.files, again.found.last, again.found.file) == (2, 26, segment.name)
    assert again.found.cut == 700


def remove_journal_and_state(folder: Path) -> None:
    shutil.rmtree(folder / "store" / "journal")
    shutil.rmtree(folder / "store" / "state")


def empty_the_last_segment(folder: Path) -> None:
    shutil.rmtree(folder / "store" / "state")
    (segment,) = journal_of(folder).glob("*.segment")
    segment.write_bytes(b"")


def cut_the_last_segment(folder: Path) -> None:
    shutil.rmtree(folder / "store" / "state")
    (segment,) = journal_of(folder).glob("*.segment")
    segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])


HARMS = [remove_journal_and_state, empty_the_last_segment, cut_the_last_segment]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__.replace("_", " "))
def test_a_start_refuses_while_the_history_is_ahead_and_changes_nothing(stores, folder, harm):
    harm(folder)
    before = names_in(folder / "store")

    for _ in range(3):
        with pytest.raises(JournalBehind, match="raysignal store rebuild --accept-loss") as raised:
            reopened(stores, folder)

    assert "holds records up to" in str(raised.value)
    added = {name for name in names_in(folder / "store") if name not in before}
    assert added <= {"journal", "journal/shard=0000"}
    finding = doctor(stores)
    assert (finding.status, "signals that the journal does not" in finding.detail) == ("failed", True)


def test_a_snapshot_that_is_ahead_refuses_before_anything_is_taken_over(stores, folder):
    shutil.rmtree(folder / "store" / "history")
    (segment,) = journal_of(folder).glob("*.segment")
    segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    before = names_in(folder / "store")

    for _ in range(3):
        with pytest.raises(
            JournalBehind, match="holds records up to 21, and the journal ends with record 13"
        ):
            reopened(stores, folder)

    assert names_in(folder / "store") == before


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__.replace("_", " "))
def test_the_named_command_sets_aside_what_the_journal_lacks_and_the_store_goes_on(stores, folder, harm):
    held = len(history.read_range(stores.blobs, "baseline", 0, 99))
    harm(folder)
    refused = store_command(folder)
    assert refused.exit_code == 1
    assert "--accept-loss" in refused.stderr

    shown = store_command(folder, "--accept-loss", "--json")

    assert shown.exit_code == 0, shown.stderr
    (told,) = json.loads(shown.stdout)
    kept = told["signals"].get("baseline", 0)
    assert told["lost"]["baseline"] == held - kept
    assert list((folder / "store" / "lost").rglob("*.parquet"))
    shard = reopened(stores, folder)
    assert history.written_up_to(shard.blobs, "baseline") == kept
    assert doctor(stores).status == "ok"


def test_rebuilding_writes_files_of_before_in_the_columns_of_today(stores, folder, expected):
    shown = store_command(folder)

    assert shown.exit_code == 0, shown.stderr
    frame = pd.read_parquet(folder / "store" / "history")
    assert frame.groupby("portfolio", observed=True).size().to_dict() == {"007": 40, "baseline": 70}
    shard = reopened(stores, folder)
    for portfolio in ("baseline", "007"):
        standing = shard.standing(portfolio)
        assert standing.account.tobytes().hex() == expected[portfolio]["account"]
        assert rows_in(shard, portfolio) == with_features(expected[portfolio]["rows"])
        receipts = {name: shard.find(portfolio, name)().receipt() for name in expected[portfolio]["receipts"]}
        assert known_before(receipts, expected[portfolio]["receipts"]) == expected[portfolio]["receipts"]


def test_a_flipped_bit_in_a_file_of_the_history_is_found_and_mended_from_the_journal(stores, folder):
    shard = opened(stores, folder)
    write_all(shard)
    shard.journal.close()
    assert store_command(folder).exit_code == 0
    rows = history.read_range(stores.blobs, "baseline", 0, 99).to_pylist()
    file = max((folder / "store" / "history" / "portfolio=baseline").rglob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)

    assert file.name in doctor(stores).detail
    with pytest.raises(JournalDamaged, match="raysignal store rebuild"):
        history.read_range(stores.blobs, "baseline", 0, 99)
    assert store_command(folder).exit_code == 0
    assert history.read_range(stores.blobs, "baseline", 0, 99).to_pylist() == rows
    assert doctor(stores).status == "ok"


def test_damage_older_than_the_snapshot_is_found_by_the_doctor_and_never_rebuilt_from(stores, folder):
    (segment,) = journal_of(folder).glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[data.index(b"baseline")] ^= 1
    segment.write_bytes(data)
    before = names_in(folder / "store" / "history")

    finding = doctor(stores)
    assert (finding.status, "journal record 2" in finding.detail) == ("failed", True)
    assert store_command(folder).exit_code == 1
    assert names_in(folder / "store" / "history") == before


class FullDisk(RealDisk):
    """No byte goes to a file."""

    def open_append(self, path: Path) -> AppendFile:
        return (
            _FullFile(super().open_append(path)) if path.suffix == ".segment" else super().open_append(path)
        )


class _FullFile:
    def __init__(self, file: AppendFile) -> None:
        self._file = file

    def append(self, _: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()


def test_a_full_disk_leaves_no_empty_segments(tmp_path):
    for _ in range(3):
        with pytest.raises(Exception, match="No space left"):
            LocalStore(tmp_path, FullDisk()).take_over(0)

    assert list(tmp_path.glob("*.segment")) == []
    assert LocalStore(tmp_path).take_over(0).position.sequence == 1


class Killed(BaseException):
    """What a process that is killed does not handle."""


class Dying:
    """A blob store whose process is killed before its `changes` + 1st change."""

    def __init__(self, blobs: BlobStore, changes: int) -> None:
        self._blobs = blobs
        self.left = changes
        self.get, self.list, self.local_copy = blobs.get, blobs.list, blobs.local_copy

    def put(self, name: str, data: Bytes) -> None:
        self._change()
        self._blobs.put(name, data)

    def delete(self, name: str) -> None:
        self._change()
        self._blobs.delete(name)

    def _change(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


PARTS, A_DAY = 4, 24 * 60


@pytest.fixture
def gold(tmp_path: Path) -> Place:
    """Twenty signals of two days, a commit and a file each five; in a folder to be copied.

    Written at once, they are a file a day.
    """
    place = Place(tmp_path / "gold", ShardLimits(), {"baseline": Policy()})
    for part in range(PARTS):
        minute = part // 2 * A_DAY + part % 2 * 60
        place.send(
            [a_signal(minute + row, 100.0 + part, row % 3 - 1, f"old-{part}-{row}") for row in range(5)]
        )
        place.checkpoint()
    place.shard.journal.close()
    return place


def cut_journal(store: Path) -> None:
    """Leave the records of two commits: ten signals."""
    shutil.rmtree(store / "state")
    (segment,) = (store / "journal" / "shard=0000").glob("*.segment")
    data = segment.read_bytes()
    segment.write_bytes(data[: data.index(b"old-2-0") // 512 * 512])


def rebuilt_until_killed(folder: Path, changes: int, *, accept_loss: bool) -> RebuiltShard | None:
    stores = open_stores((folder / "store").as_uri())
    try:
        return rebuild(
            stores.journal_store("shard=0000"), Dying(stores.blobs, changes), prefix="state/shard=0000",
            cache_dir=folder / "cache", limits=ShardLimits(), owns=lambda _: True, accept_loss=accept_loss,
        )  # fmt: skip
    except Killed:
        return None


def go_on(folder: Path) -> None:
    """Start, take five signals in, and put them into the history."""
    place = Place(folder, ShardLimits(), {"baseline": Policy()})
    place.send([a_signal(9 * A_DAY + row, 104.0, 0, f"new-{row}") for row in range(5)])
    place.checkpoint()
    place.shard.journal.close()


def ids_in_files(folder: Path) -> list[str]:
    """The signals that somebody finds who reads the folder of the history."""
    return sorted(pd.read_parquet(folder / "store" / "history")["signal_id"])


OLD = [f"old-{part}-{row}" for part in range(PARTS) for row in range(5)]
NEW = [f"new-{row}" for row in range(5)]


@pytest.mark.slow
def test_a_rebuild_that_accepts_loss_can_be_killed_anywhere(gold, tmp_path):
    cut_journal(gold.root)
    made, changes, refused = None, 0, 0
    while made is None:
        folder = tmp_path / f"killed after {changes}"
        shutil.copytree(tmp_path / "gold", folder)
        made = rebuilt_until_killed(folder, changes, accept_loss=True)
        try:
            go_on(folder)
        except JournalBehind:
            refused += 1
            assert rebuilt_until_killed(folder, 10_000, accept_loss=True) is not None
            go_on(folder)
        assert ids_in_files(folder) == sorted(OLD[:10] + NEW)
        aside = {each for file in (folder / "store" / "lost").rglob("*.parquet") for each in ids_of(file)}
        assert aside == set(OLD)
        changes += 1

    assert made.lost == {"baseline": 10}
    assert (refused > 2, changes > refused + 4) == (True, True)


def ids_of(file: Path) -> list[str]:
    return pq.read_table(file, columns=["signal_id"], partitioning=None)["signal_id"].to_pylist()


@pytest.mark.slow
def test_a_rebuild_of_a_store_that_lost_nothing_can_be_killed_anywhere(gold, tmp_path):
    made, changes = None, 0
    while made is None:
        folder = tmp_path / f"killed after {changes}"
        shutil.copytree(tmp_path / "gold", folder)
        made = rebuilt_until_killed(folder, changes, accept_loss=False)
        go_on(folder)
        assert ids_in_files(folder) == sorted(OLD + NEW)
        changes += 1

    assert made == RebuiltShard(made.records, {"baseline": 20}, {}, None)
    assert changes > PARTS


def test_a_store_can_lose_its_journal_twice(gold, tmp_path):
    folder = tmp_path / "gold"
    for loss in ("0001", "0002"):
        if loss == "0002":
            go_on(folder)
        remove_journal_and_state(folder)

        made = rebuilt_until_killed(folder, 10_000, accept_loss=True)

        assert made.set_aside == f"lost/{loss}"
    aside = {
        loss: sorted(
            each
            for file in (folder / "store" / "lost" / loss / "history").rglob("*.parquet")
            for each in ids_of(file)
        )
        for loss in ("0001", "0002")
    }
    assert aside == {"0001": sorted(OLD), "0002": sorted(NEW)}


def test_a_replaced_journal_is_refused_by_a_rebuild_too_and_its_history_set_aside(gold, tmp_path):
    other = Place(tmp_path / "other", ShardLimits(), {"baseline": Policy()})
    for each in range(30):
        other.send([a_signal(each, 50.0, name=f"other-{each}")])
    other.shard.journal.close()
    shutil.rmtree(gold.root / "journal")
    shutil.copytree(other.root / "journal", gold.root / "journal")
    before = names_in(gold.root)

    refused = store_command(tmp_path / "gold")
    assert (refused.exit_code, "ends with signal 'old-3-4'" in refused.stderr) == (1, True)
    assert [name for name in names_in(gold.root) if name != "journal/service.lock"] == before

    shown = store_command(tmp_path / "gold", "--accept-loss")
    assert "baseline: 20 signals that only the history held lie in lost/0001 now" in shown.stdout
    assert ids_in_files(tmp_path / "gold") == sorted(f"other-{each}" for each in range(30))


@pytest.mark.parametrize("lost", range(PARTS))
def test_a_file_of_the_history_that_was_deleted_comes_back_and_no_row_is_there_twice(gold, tmp_path, lost):
    sorted((gold.root / "history" / "portfolio=baseline").rglob("*.parquet"))[lost].unlink()

    go_on(tmp_path / "gold")

    assert ids_in_files(tmp_path / "gold") == sorted(OLD + NEW)


def test_a_deleted_first_file_hides_no_loss(gold, tmp_path):
    cut_journal(gold.root)
    min((gold.root / "history" / "portfolio=baseline").rglob("*.parquet")).unlink()

    with pytest.raises(JournalBehind, match="holds records up to"):
        go_on(tmp_path / "gold")
