"""What a directory adds to the contract: crashes at every step, races between claims, damage told from tearing."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from raysignal.engine.core.errors import Fenced, JournalDamaged, StoreUnavailable, UnsafeStore
from raysignal.engine.journal.disk import AppendFile, RealDisk
from raysignal.engine.journal.frames import GENESIS
from raysignal.engine.journal.journal import Journal, verify
from raysignal.engine.journal.local import LocalStore

SECTOR = 512


class MeddledDisk(RealDisk):
    """A real disk on which something happens just before one operation."""

    def __init__(self) -> None:
        self._planned: dict[tuple[str, str], Callable[[], None]] = {}

    def before(self, operation: str, suffix: str, action: Callable[[], None]) -> None:
        """Run `action` once, before the next `operation` on a name that ends with `suffix`."""
        self._planned[operation, suffix] = action

    def _meddle(self, operation: str, path: Path) -> None:
        for known, suffix in list(self._planned):
            if known == operation and path.name.endswith(suffix):
                self._planned.pop((known, suffix))()

    def open_append(self, path: Path) -> AppendFile:
        self._meddle("open_append", path)
        return super().open_append(path)

    def link(self, path: Path, name: Path) -> None:
        self._meddle("link", name)
        super().link(path, name)

    def list(self, path: Path) -> list[str]:
        self._meddle("list", path)
        return super().list(path)

    def exists(self, path: Path) -> bool:
        self._meddle("exists", path)
        return super().exists(path)

    def sync(self, path: Path) -> None:
        self._meddle("sync", path)
        super().sync(path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def store(directory: Path) -> LocalStore:
    return LocalStore(directory)


def opened(store: LocalStore) -> Journal:
    journal = Journal.open(store)
    for _ in journal.replay():
        pass
    return journal


def write(store: LocalStore, *payloads: bytes) -> None:
    """A commit a payload, by a writer of their own."""
    with opened(store) as journal:
        for payload in payloads:
            journal.write(journal.prepare([payload]))


def payloads_of(store: LocalStore) -> list[bytes]:
    return [bytes(record.payload) for record in Journal.read(store)]


def segments(store: LocalStore) -> list[Path]:
    return sorted(store.directory.glob("*.segment"))


def crash() -> None:
    raise KeyboardInterrupt


def test_segment_is_closed_when_it_is_full_and_the_next_one_goes_on(directory: Path) -> None:
    store = LocalStore(directory, segment_size=2048)
    write(store, *(b"%d" % number for number in range(10)))
    assert len(segments(store)) == 3
    assert [path.stat().st_size for path in segments(store)] == [2048, 2048, 3 * SECTOR]
    assert payloads_of(store) == [b"%d" % number for number in range(10)]


def test_commits_begin_on_sector_boundaries(store: LocalStore) -> None:
    write(store, b"a" * 300, b"b" * 700, b"c")
    assert [record.offset for record in Journal.read(store)] == [SECTOR, 2 * SECTOR, 4 * SECTOR]


@pytest.mark.parametrize(
    ("operation", "suffix"),
    [("link", "epoch-0000000002"), ("list", "journal"), ("sync", ".segment"), ("open_append", ".segment")],
)
def test_crash_in_the_middle_of_a_takeover_leaves_the_journal_as_it_was(
    store: LocalStore, directory: Path, operation: str, suffix: str
) -> None:
    write(store, b"a", b"b")
    disk = MeddledDisk()
    disk.before(operation, suffix, crash)
    with pytest.raises(KeyboardInterrupt):
        Journal.open(LocalStore(directory, disk))
    assert payloads_of(store) == [b"a", b"b"]
    write(store, b"c")
    assert payloads_of(store) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 67])
def test_takeover_record_that_was_torn_leaves_its_epoch_empty(store: LocalStore, size: int) -> None:
    write(store, b"a")
    with opened(store):
        pass
    os.truncate(segments(store)[-1], size)
    assert payloads_of(store) == [b"a"]
    write(store, b"b")
    assert payloads_of(store) == [b"a", b"b"]
    assert [record.epoch for record in Journal.read(store)] == [1, 3]


@pytest.mark.parametrize("size", [SECTOR, 100])
def test_takeover_record_that_reads_as_zeros_leaves_its_epoch_empty(store: LocalStore, size: int) -> None:
    write(store, b"a")
    with opened(store):
        pass
    segments(store)[-1].write_bytes(bytes(size))
    write(store, b"b")
    assert payloads_of(store) == [b"a", b"b"]


def test_crash_while_a_new_segment_is_begun_loses_nothing(directory: Path) -> None:
    store = LocalStore(directory, segment_size=1024)
    write(store, b"a", b"b", b"c", b"d")
    last = segments(store)[-1]
    for size in (10, 0):
        os.truncate(last, size)
        assert payloads_of(store) == [b"a", b"b", b"c"]
    write(store, b"e")
    assert payloads_of(store) == [b"a", b"b", b"c", b"e"]


def test_zeros_behind_the_last_commit_are_cut(store: LocalStore) -> None:
    write(store, b"a", b"b")
    with segments(store)[-1].open("ab") as file:
        file.write(bytes(3 * SECTOR + 7))
    assert payloads_of(store) == [b"a", b"b"]
    write(store, b"c")
    assert payloads_of(store) == [b"a", b"b", b"c"]


def test_lost_sector_of_the_last_commit_is_torn_and_of_an_earlier_one_is_damage(store: LocalStore) -> None:
    write(store, b"a" * 2000, b"b" * 2000)
    path = segments(store)[-1]
    first, second = (record.offset for record in Journal.read(store))
    with path.open("r+b") as file:
        file.seek(second + SECTOR)
        file.write(bytes(SECTOR))
    assert payloads_of(store) == [b"a" * 2000]
    with path.open("r+b") as file:
        file.seek(first + SECTOR)
        file.write(bytes(SECTOR))
    with pytest.raises(JournalDamaged, match="record 2"):
        verify(store)


def test_lost_sector_before_a_whole_later_commit_is_damage_that_names_the_record(store: LocalStore) -> None:
    write(store, b"a", b"b" * 2000, b"c")
    record = list(Journal.read(store))[1]
    with segments(store)[-1].open("r+b") as file:
        file.seek(record.offset)
        file.write(bytes(SECTOR))
    with pytest.raises(JournalDamaged) as caught:
        Journal.open(store)
    assert caught.value.fields == {
        "sequence": 3, "file": segments(store)[0].name, "offset": record.offset, "reason": "damage",
    }  # fmt: skip
    assert "record 3" in str(caught.value)
    assert segments(store)[0].name in str(caught.value)


def test_lost_sector_in_the_first_of_several_records_of_the_last_commit_is_torn(store: LocalStore) -> None:
    with opened(store) as journal:
        journal.write(journal.prepare([b"durable"]))
        journal.write(journal.prepare([b"x" * 1500, b"y" * 1500, b"z"]))
    path, lost = segments(store)[-1], list(Journal.read(store))[1].offset + SECTOR
    with path.open("r+b") as file:
        file.seek(lost)
        file.write(bytes(SECTOR))
    assert payloads_of(store) == [b"durable"]


def test_wrong_byte_in_the_last_commit_is_damage_and_not_torn(store: LocalStore) -> None:
    write(store, b"a", b"b" * 2000)
    with segments(store)[-1].open("r+b") as file:
        file.seek(2 * SECTOR + 1000)
        file.write(b"B")
    with pytest.raises(JournalDamaged) as caught:
        Journal.open(store)
    assert caught.value.fields["sequence"] == 3


def test_segment_that_was_cut_before_another_continues_it_is_damage(store: LocalStore) -> None:
    write(store, b"a", b"b")
    write(store, b"c")
    os.truncate(segments(store)[0], 2 * SECTOR)
    with pytest.raises(JournalDamaged, match="record 3") as caught:
        verify(store)
    assert caught.value.fields["sequence"] == 3


@pytest.mark.parametrize("missing", range(5))
def test_missing_segment_that_others_continue_is_damage(directory: Path, missing: int) -> None:
    store = LocalStore(directory, segment_size=1024)
    write(store, b"a", b"b", b"c")  # two segments: records 1 and 2, 3 and 4
    write(store, b"d", b"e", b"f")  # two segments: records 5 and 6, 7 and 8
    write(store, b"g", b"h", b"i")  # two segments: records 9 and 10, 11 and 12
    segments(store)[missing].unlink()
    with pytest.raises(JournalDamaged):
        verify(store)
    with pytest.raises(JournalDamaged), Journal.open(store) as journal:
        list(journal.replay())


def test_record_of_another_journal_in_its_place_is_damage(tmp_path: Path) -> None:
    stores = [LocalStore(tmp_path / name) for name in ("one", "other")]
    for store, first in zip(stores, (b"a", b"A"), strict=True):
        write(store, first, b"b")
    one, other = (segments(store)[0].read_bytes() for store in stores)
    segments(stores[0])[0].write_bytes(one[: 2 * SECTOR] + other[2 * SECTOR :])
    with pytest.raises(JournalDamaged, match="does not continue") as caught:
        verify(stores[0])
    assert caught.value.fields["sequence"] == 3


def test_writer_superseded_between_append_and_check_is_not_acknowledged(
    store: LocalStore, directory: Path
) -> None:
    disk = MeddledDisk()
    old = opened(LocalStore(directory, disk))
    old.write(old.prepare([b"kept"]))
    new: list[Journal] = []
    disk.before("exists", "epoch-0000000002", lambda: new.append(opened(store)))
    with pytest.raises(Fenced):
        old.write(old.prepare([b"of unknown fate"]))
    new[0].write(new[0].prepare([b"new"]))
    assert payloads_of(store) == [b"kept", b"of unknown fate", b"new"]
    for journal in (old, *new):
        journal.close()


def test_what_a_superseded_writer_appends_behind_the_takeover_does_not_count(store: LocalStore) -> None:
    old = opened(store)
    old.write(old.prepare([b"kept"]))
    new = opened(store)
    with pytest.raises(Fenced):
        old.write(old.prepare([b"late a", b"late b", b"late c"]))
    assert payloads_of(store) == [b"kept"]
    new.write(new.prepare([b"new"]))
    assert payloads_of(store) == [b"kept", b"new"]
    with opened(store) as newest:
        assert [bytes(record.payload) for record in newest.replay()] == [b"kept", b"new"]
    for journal in (old, new):
        journal.close()


def test_superseded_writer_that_rolls_into_a_new_segment_changes_nothing(directory: Path) -> None:
    store = LocalStore(directory, segment_size=SECTOR)
    old = opened(store)
    new = opened(store)
    new.write(new.prepare([b"new"]))
    with pytest.raises(Fenced):
        old.write(old.prepare([b"late"]))
    assert len(segments(store)) == 4
    assert payloads_of(store) == [b"new"]
    for journal in (old, new):
        journal.close()


def test_writer_that_wakes_up_after_a_newer_one_has_read_is_left_out(
    store: LocalStore, directory: Path
) -> None:
    # Epoch 1 appends one more record after epoch 2 has read; epoch 3 continues from that record; only then
    # does epoch 2 write its takeover record, which claims the same number.
    old = opened(store)
    old.write(old.prepare([b"kept"]))
    disk = MeddledDisk()
    newest: list[Journal] = []

    def meanwhile() -> None:
        with pytest.raises(Fenced):
            old.write(old.prepare([b"of unknown fate"]))
        newest.append(opened(store))
        newest[0].write(newest[0].prepare([b"acknowledged"]))

    disk.before("open_append", "-00000000000000000003.segment", meanwhile)
    with pytest.raises(Fenced):
        Journal.open(LocalStore(directory, disk))
    assert payloads_of(store) == [b"kept", b"of unknown fate", b"acknowledged"]
    assert [record.epoch for record in Journal.read(store)] == [1, 1, 3]
    write(store, b"after")
    assert payloads_of(store) == [b"kept", b"of unknown fate", b"acknowledged", b"after"]
    for journal in (old, *newest):
        journal.close()


def test_fenced_writer_still_replays_the_history_that_it_continued(store: LocalStore) -> None:
    write(store, b"a")
    old = Journal.open(store)
    write(store, b"b")
    assert [bytes(record.payload) for record in old.replay()] == [b"a"]
    old.close()


def test_lost_claims_do_not_give_an_epoch_out_twice(store: LocalStore, directory: Path) -> None:
    write(store, b"a")
    write(store, b"b")
    for claim in directory.glob("epoch-*"):
        claim.unlink()
    with opened(store) as journal:
        assert journal.epoch == 3


def test_directory_that_is_removed_under_its_writer_is_noticed(store: LocalStore, directory: Path) -> None:
    journal = opened(store)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    with pytest.raises(StoreUnavailable, match="removed"):
        journal.write(journal.prepare([b"a"]))
    journal.close()


class FullDisk(RealDisk):
    """A real disk that is full after some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open_append(self, path: Path) -> AppendFile:
        return _FullFile(super().open_append(path), self)


class _FullFile:
    def __init__(self, file: AppendFile, disk: FullDisk) -> None:
        self._file, self._disk = file, disk
        self.sync, self.close = file.sync, file.close

    def append(self, buffers: list[bytes]) -> None:
        data = b"".join(buffers)
        self._file.append([data[: self._disk.room]])
        self._disk.room -= len(data)
        if self._disk.room < 0:
            self._disk.room = 0
            raise OSError(errno.ENOSPC, "no space left on device")


def test_full_disk_is_unavailable_and_the_half_record_is_cut_when_opened_again(
    store: LocalStore, directory: Path
) -> None:
    journal = opened(LocalStore(directory, FullDisk(3 * SECTOR)))
    journal.write(journal.prepare([b"a"]))
    with pytest.raises(StoreUnavailable, match="no space"):
        journal.write(journal.prepare([b"b" * 1000]))
    with pytest.raises(StoreUnavailable, match="opened anew"):
        journal.prepare([b"c"])
    journal.close()
    assert payloads_of(store) == [b"a"]
    write(store, b"d")
    assert payloads_of(store) == [b"a", b"d"]


def test_disk_that_is_full_at_once_cannot_be_opened(directory: Path) -> None:
    with pytest.raises(StoreUnavailable):
        Journal.open(LocalStore(directory, FullDisk(10)))
    assert verify(LocalStore(directory)) == GENESIS


class LinklessDisk(RealDisk):
    def link(self, path: Path, name: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(path), None, str(name))


class CarelessDisk(RealDisk):
    """A file system whose link(2) replaces a name that is taken."""

    def link(self, path: Path, name: Path) -> None:
        name.unlink(missing_ok=True)
        super().link(path, name)


def test_file_system_without_hard_links_is_refused(directory: Path) -> None:
    with pytest.raises(UnsafeStore, match="without hard links"):
        LocalStore(directory, LinklessDisk()).probe()


def test_file_system_whose_link_replaces_names_is_refused(directory: Path) -> None:
    with pytest.raises(UnsafeStore, match="two writers"):
        LocalStore(directory, CarelessDisk()).probe()
    assert list(directory.iterdir()) == []


def test_append_of_many_and_large_buffers_writes_all_of_them(tmp_path: Path) -> None:
    buffers = [bytes([number % 256]) * (number * 7 % 900) for number in range(3000)]
    buffers.insert(1500, b"large" * 100_000)
    file = RealDisk().open_append(tmp_path / "file")
    file.append(buffers)
    file.sync()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"".join(buffers)
    with pytest.raises(FileExistsError):
        RealDisk().open_append(tmp_path / "file")
