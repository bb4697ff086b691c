import os
import threading
from pathlib import Path

import numpy as np
import pytest

from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.journal import dedup
from raysignal.engine.journal.dedup import FAN_OUT, DedupIndex, first_in_batch, portfolio_keys
from tests.support.folder_blobs import FolderBlobs

PREFIX = "shard-0/identities/"


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "store")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def some_keys(first: int, n: int) -> np.ndarray:
    """Keys that look random and never repeat."""
    numbers = np.arange(first, first + n, dtype=np.uint64)
    return portfolio_keys(np.stack([numbers, numbers * np.uint64(3)], axis=1), "baseline")


def fill(identities: DedupIndex, blobs: FolderBlobs, first: int, n: int, epoch: int = 1) -> list[str]:
    add(identities, first, n)
    return checkpoint(identities, blobs, epoch)


def add(identities: DedupIndex, first: int, n: int) -> None:
    ordinals = np.arange(first, first + n)
    identities.add(some_keys(first, n), ordinals, ordinals.astype(np.uint64) * np.uint64(7))


def checkpoint(identities: DedupIndex, blobs: FolderBlobs, epoch: int = 1) -> list[str]:
    frozen = identities.freeze()
    manifest = identities.write(frozen, blobs, PREFIX, epoch)
    identities.thaw(frozen)
    return manifest


def knows_exactly(identities: DedupIndex, n: int) -> None:
    ordinals, contents = identities.lookup(some_keys(0, n + 1000))
    np.testing.assert_array_equal(ordinals[:n], np.arange(n))
    np.testing.assert_array_equal(contents[:n], np.arange(n, dtype=np.uint64) * np.uint64(7))
    assert (ordinals[n:] == -1).all()


def test_an_index_that_knows_nobody_says_so(cache):
    ordinals, _ = DedupIndex.create(cache).lookup(some_keys(0, 3))

    assert ordinals.tolist() == [-1, -1, -1]


def test_ids_are_known_while_recent_while_frozen_and_when_written(cache, blobs):
    identities = DedupIndex.create(cache)
    add(identities, 0, 500)
    knows_exactly(identities, 500)

    frozen = identities.freeze()
    add(identities, 500, 500)
    knows_exactly(identities, 1000)

    identities.write(frozen, blobs, PREFIX, 1)
    identities.thaw(frozen)
    knows_exactly(identities, 1000)
    assert len(identities) == 1000


def test_more_ids_than_a_part_holds_are_held_and_written(cache, blobs):
    identities = DedupIndex.create(cache)
    add(identities, 0, 300_000)
    knows_exactly(identities, 300_000)

    assert len(fill(identities, blobs, 300_000, 10)) == 2  # a part holds 262 144
    knows_exactly(identities, 300_010)


def test_nothing_is_written_when_nothing_is_new(cache, blobs):
    identities = DedupIndex.create(cache)

    assert checkpoint(identities, blobs) == []
    assert blobs.list("") == []


def test_many_runs_are_merged_into_few_and_the_old_ones_stay_until_they_are_dropped(cache, blobs):
    identities = DedupIndex.create(cache)
    for part in range(FAN_OUT - 1):
        manifest = fill(identities, blobs, part * 100, 100)
    assert len(manifest) == FAN_OUT - 1

    merged = fill(identities, blobs, (FAN_OUT - 1) * 100, 100)

    assert len(merged) == 1
    assert set(manifest) < set(blobs.list(PREFIX))
    identities.drop_obsolete(blobs)
    assert blobs.list(PREFIX) == merged
    knows_exactly(identities, FAN_OUT * 100)
    assert len(list(cache.iterdir())) == 1


def test_levels_are_merged_in_turn(cache, blobs):
    identities = DedupIndex.create(cache)
    for part in range(FAN_OUT * FAN_OUT + 1):
        manifest = fill(identities, blobs, part * 10, 10)
        identities.drop_obsolete(blobs)

    assert len(manifest) == 2
    knows_exactly(identities, (FAN_OUT * FAN_OUT + 1) * 10)


def test_a_merged_run_is_cut_into_parts_and_found_again_in_all_of_them(cache, blobs, monkeypatch):
    monkeypatch.setattr(dedup, "PART_RECORDS", 256)
    identities = DedupIndex.create(cache)
    for part in range(FAN_OUT):
        manifest = fill(identities, blobs, part * 700, 700)

    assert len(manifest) == -(-FAN_OUT * 700 // 256)
    knows_exactly(identities, FAN_OUT * 700)
    knows_exactly(DedupIndex.load(manifest, blobs, cache), FAN_OUT * 700)
    with pytest.raises(JournalDamaged, match="part of its run is missing"):
        DedupIndex.load([*manifest[:3], *manifest[4:]], blobs, cache)


def test_an_id_in_two_runs_is_kept_once_by_the_merge(cache, blobs):
    identities = DedupIndex.create(cache)
    for _ in range(FAN_OUT):
        fill(identities, blobs, 0, 50)

    assert len(identities) == 50
    knows_exactly(identities, 50)


def test_a_loaded_index_knows_what_the_manifest_holds_and_goes_on_under_a_new_epoch(cache, blobs):
    identities = DedupIndex.create(cache)
    fill(identities, blobs, 0, 1000)
    manifest = fill(identities, blobs, 1000, 1000)

    loaded = DedupIndex.load(manifest, blobs, cache)
    knows_exactly(loaded, 2000)
    again = fill(loaded, blobs, 2000, 5, epoch=2)

    assert again[:2] == manifest
    knows_exactly(DedupIndex.load(again, blobs, cache), 2005)


def test_what_a_writer_left_behind_is_swept_and_what_is_named_stays(cache, blobs):
    manifest = fill(DedupIndex.create(cache), blobs, 0, 100)
    fill(DedupIndex.create(cache), blobs, 100, 100, epoch=2)
    blobs.put("shard-1/identities/other", b"not ours")

    loaded = DedupIndex.load(manifest, blobs, cache)
    loaded.sweep_orphans(blobs, PREFIX)

    assert blobs.list("") == [*manifest, "shard-1/identities/other"]
    knows_exactly(loaded, 100)


@pytest.mark.parametrize("position", [0, 20, 63, 64, 1000, -1])
def test_a_flipped_byte_anywhere_in_a_run_is_found_at_loading(cache, blobs, tmp_path, position):
    (name,) = fill(DedupIndex.create(cache), blobs, 0, 100)
    path = blobs.folder / name
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)

    with pytest.raises(JournalDamaged, match=name) as raised:
        DedupIndex.load([name], blobs, tmp_path / "fresh")
    assert raised.value.fields["record"] == name


@pytest.mark.parametrize("length", [0, 63, 64, 3000])
def test_a_run_cut_short_is_found_at_loading(cache, blobs, tmp_path, length):
    (name,) = fill(DedupIndex.create(cache), blobs, 0, 100)
    os.truncate(blobs.folder / name, length)

    with pytest.raises(JournalDamaged):
        DedupIndex.load([name], blobs, tmp_path / "fresh")


def test_a_missing_run_is_found_at_loading(cache, blobs, tmp_path):
    (name,) = fill(DedupIndex.create(cache), blobs, 0, 100)
    blobs.delete(name)

    with pytest.raises(JournalDamaged, match="missing"):
        DedupIndex.load([name], blobs, tmp_path / "fresh")


def test_a_damaged_local_copy_is_fetched_again(cache, blobs):
    (name,) = fill(DedupIndex.create(cache), blobs, 0, 100)
    (copy,) = cache.iterdir()
    copy.write_bytes(b"torn")

    knows_exactly(DedupIndex.load([name], blobs, cache), 100)


def test_a_run_that_shrinks_under_its_reader_is_damage_and_not_an_absent_id(cache, blobs):
    identities = DedupIndex.create(cache)
    fill(identities, blobs, 0, 100)
    (copy,) = cache.iterdir()
    os.truncate(copy, 64)

    with pytest.raises(JournalDamaged, match="shorter"):
        identities.lookup(some_keys(0, 10))


def test_a_damaged_run_is_found_before_its_records_get_a_new_checksum_in_a_merge(cache, blobs):
    identities = DedupIndex.create(cache)
    for part in range(FAN_OUT - 1):
        manifest = fill(identities, blobs, part * 100, 100)
    copy = cache / manifest[1].replace("/", "_")
    data = bytearray(copy.read_bytes())
    data[700] ^= 4
    copy.write_bytes(data)

    with pytest.raises(JournalDamaged, match=manifest[1]):
        fill(identities, blobs, 1000, 100)
    knows_exactly(DedupIndex.load(manifest, blobs, cache), (FAN_OUT - 1) * 100)


def test_runs_under_one_anothers_names_are_damage(cache, blobs, tmp_path):
    first, second = (
        fill(DedupIndex.create(cache), blobs, 100 * epoch, 100, epoch=epoch)[0] for epoch in (0, 1)
    )
    (blobs.folder / second).replace(blobs.folder / first)

    with pytest.raises(JournalDamaged, match=first):
        DedupIndex.load([first], blobs, tmp_path / "fresh")


def test_a_run_of_an_older_format_is_no_index(blobs, cache):
    blobs.put(f"{PREFIX}0000000001-00000001-0000.ids", b"RSIDRUN1" + bytes(56 + 32 * 100))

    with pytest.raises(JournalDamaged, match="format"):
        DedupIndex.load(blobs.list(PREFIX), blobs, cache)


def test_parts_that_got_no_key_are_written_and_opened(cache, blobs, monkeypatch):
    monkeypatch.setattr(dedup, "PART_RECORDS", 10)
    low_half = np.stack([np.arange(50, dtype=np.uint64)] * 2, axis=1)
    identities = DedupIndex.create(cache)
    identities.add(low_half, np.arange(50), low_half[:, 0])
    manifest = checkpoint(identities, blobs)
    asked = np.concatenate([low_half, low_half + np.uint64(2**63)])

    assert len(manifest) == 5
    for index in (identities, DedupIndex.load(manifest, blobs, cache)):
        assert index.lookup(asked)[0].tolist() == [*range(50), *[-1] * 50]


def test_lookups_go_on_while_another_thread_writes_and_merges(cache, blobs):
    identities = DedupIndex.create(cache)
    done = threading.Event()
    failures: list[BaseException] = []
    add(identities, 0, 2000)
    frozen = identities.freeze()

    def write() -> None:
        try:
            identities.write(frozen, blobs, PREFIX, 1)
            empty = DedupIndex.create(cache).freeze()
            for part in range(1, 4 * FAN_OUT):
                other = DedupIndex.create(cache)
                add(other, part * 2000, 2000)
                identities.write(other.freeze(), blobs, PREFIX, 1)
                identities.drop_obsolete(blobs)
            identities.write(empty, blobs, PREFIX, 1)
        except BaseException as error:  # noqa: BLE001 - it is raised again by the test's own thread
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        ordinals, _ = identities.lookup(some_keys(0, 2000))
        np.testing.assert_array_equal(ordinals, np.arange(2000))
    thread.join()
    assert not failures
    knows_exactly(identities, 4 * FAN_OUT * 2000)


def test_keys_that_share_half_their_bits_are_told_apart(cache, blobs):
    same = np.array([[5, low] for low in range(400)] + [[high, 5] for high in range(6, 400)], np.uint64)
    ordinals = np.arange(len(same))
    identities = DedupIndex.create(cache)
    identities.add(same, ordinals, ordinals.astype(np.uint64))
    checkpoint(identities, blobs)

    np.testing.assert_array_equal(identities.lookup(same)[0], ordinals)
    assert identities.lookup(np.array([[5, 400], [400, 5], [4, 4]], np.uint64))[0].tolist() == [-1, -1, -1]


def test_the_first_row_with_the_same_key_is_found():
    keys = np.array([[1, 1], [1, 2], [2, 1], [1, 1], [2, 1], [9, 1]], np.uint64)

    assert first_in_batch(keys).tolist() == [0, 1, 2, 0, 2, 5]
    assert first_in_batch(np.empty((0, 2), np.uint64)).tolist() == []


def test_one_id_in_two_portfolios_is_two_keys():
    key = np.array([[1, 2], [3, 4]], np.uint64)
    first, second = portfolio_keys(key, "baseline"), portfolio_keys(key, "enhanced")

    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 4
    np.testing.assert_array_equal(first, portfolio_keys(key, "baseline"))


def test_mixing_the_portfolio_in_keeps_distinct_keys_distinct():
    numbers = np.arange(50_000, dtype=np.uint64)

    mixed = portfolio_keys(np.stack([numbers, np.zeros_like(numbers)], axis=1), "baseline")

    assert len(np.unique(mixed[:, 0])) == 50_000
