"""What a start finds in a store, and what is written anew beside its journal."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.checks import check_journal
from cli.main import app
from engine import history
from engine.errors import JournalBehind, JournalDamaged
from engine.journal.disk import AppendFile, RealDisk
from engine.journal.local import LocalStore
from engine.journal.stores import Stores, open_stores
from engine.settings import Settings
from engine.shard import Shard
from tests.unit.test_stores_of_before import (
    expected,
    folder,
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
        assert receipts == expected[portfolio]["receipts"]


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
