"""What every blob store keeps."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raysignal.engine.core.errors import NotFound, StoreError, StoreUnavailable
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.journal.disk import RealDisk
from tests.contract.conftest import Backend


def test_blob_is_read_back_whole(backend: Backend) -> None:
    blobs = backend.blobs()
    data = bytes(range(256)) * 9000
    blobs.put("state/one.bin", data)
    assert backend.blobs().get("state/one.bin") == data
    assert blobs.size("state/one.bin") == len(data)


def test_blob_may_be_empty(backend: Backend) -> None:
    backend.blobs().put("empty", b"")
    assert backend.blobs().get("empty") == b""
    assert backend.blobs().get("absent") is None
    assert backend.blobs().size("absent") is None


def test_same_bytes_again_are_fine_and_other_bytes_are_refused(backend: Backend) -> None:
    blobs = backend.blobs()
    blobs.put("a", b"content")
    blobs.put("a", bytearray(b"content"))
    for other in (b"others!", b"conten", b"content and more", b""):
        with pytest.raises(StoreError):
            blobs.put("a", other)
    assert blobs.get("a") == b"content"


class SweptDisk(RealDisk):
    """Somebody else removes a file just before it is read, so many times."""

    def __init__(self, times: int) -> None:
        self._times = times

    def size(self, path: Path) -> int:
        if self._times:
            self._times -= 1
            path.unlink()
        return super().size(path)


@pytest.mark.parametrize("found", [b"ids", b"other ids"])
def test_file_that_is_removed_before_it_can_be_compared_is_written_again(
    tmp_path: Path, found: bytes
) -> None:
    DiskBlobs(tmp_path).put("runs/1", found)
    DiskBlobs(tmp_path, SweptDisk(times=1)).put("runs/1", b"ids")
    assert DiskBlobs(tmp_path).get("runs/1") == b"ids"


def test_file_that_exists_and_can_never_be_read_is_of_unknown_fate(tmp_path: Path) -> None:
    class Unreadable(RealDisk):
        def size(self, path: Path) -> int:
            raise FileNotFoundError(path)

    DiskBlobs(tmp_path).put("runs/1", b"ids")
    with pytest.raises(StoreUnavailable, match="5 times"):
        DiskBlobs(tmp_path, Unreadable()).put("runs/1", b"ids")


def test_of_many_who_write_one_name_at_once_one_succeeds(backend: Backend) -> None:
    def put(number: int) -> bytes | None:
        data = b"%d" % number
        try:
            backend.blobs().put("contested/name", data)
        except StoreError:
            return None
        return data

    with ThreadPoolExecutor(6) as pool:
        winners = [data for data in pool.map(put, range(6)) if data is not None]
    assert winners == [backend.blobs().get("contested/name")]


def test_names_are_listed_sorted_by_any_prefix(backend: Backend) -> None:
    blobs = backend.blobs()
    names = [
        f"history/portfolio=p{number}/date=2025-02-2{day}/{day}.parquet"
        for number in (1, 10, 2)
        for day in (4, 5)
    ]
    for name in [*reversed(names), "history.txt", "z"]:
        blobs.put(name, name.encode())
    assert blobs.list("") == sorted([*names, "history.txt", "z"])
    assert blobs.list("history/portfolio=p1") == sorted(names[:4])
    assert blobs.list("history/portfolio=p1/") == sorted(names[:2])
    assert blobs.list("history") == sorted([*names, "history.txt"])
    assert blobs.list("no/such/") == []


def test_deleted_blob_is_gone_and_may_be_deleted_again(backend: Backend) -> None:
    blobs = backend.blobs()
    blobs.put("a/b", b"1")
    blobs.delete("a/b")
    blobs.delete("a/b")
    assert blobs.get("a/b") is None
    assert blobs.list("") == []


def test_local_copy_is_a_file_with_the_blobs_bytes(backend: Backend, tmp_path: Path) -> None:
    blobs = backend.blobs()
    blobs.put("runs/0001.ids", b"identities")
    cache = tmp_path / "cache"
    path = blobs.local_copy("runs/0001.ids", cache)
    assert path.read_bytes() == b"identities"
    assert blobs.local_copy("runs/0001.ids", cache) == path
    with pytest.raises(NotFound):
        blobs.local_copy("runs/0002.ids", cache)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a\nb", "journal/a", "a\\b", "x" * 201]
)
def test_name_that_some_store_cannot_hold_is_refused(backend: Backend, name: str, tmp_path: Path) -> None:
    blobs = backend.blobs()
    for call in (
        lambda: blobs.put(name, b""),
        lambda: blobs.get(name),
        lambda: blobs.delete(name),
        lambda: blobs.local_copy(name, tmp_path),
    ):
        with pytest.raises(ValueError, match="cannot name a blob"):
            call()
