"""What lies beside the journal: snapshots, runs of identities, history files, results.

A blob is written once and whole: nobody ever reads half of one, and a name never changes its content. Names
are relative paths with `/` between their parts; the journal's own folder is not for blobs.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from raysignal.engine.core.errors import NotFound, StoreError, StoreUnavailable
from raysignal.engine.journal.bucket import Bucket
from raysignal.engine.journal.disk import Disk, RealDisk
from raysignal.engine.journal.frames import Bytes
from raysignal.engine.journal.local import disk_errors, link_new

JOURNAL_FOLDER = "journal"

_PUT_TRIES = 5

_PART = re.compile(r"[^/\x00-\x1f\x7f\\.][^/\x00-\x1f\x7f\\]{0,199}")


class BlobStore(Protocol):
    """Named bytes, written once.

    Every method raises `ValueError` for a name that cannot be one, and `StoreUnavailable` when the store does
    not answer within its bound.
    """

    def put(self, name: str, data: Bytes) -> None:
        """Write a blob, durable and whole when it returns. The same bytes again are fine.

        Raises:
            StoreError: the name holds other bytes; they stay.
        """

    def get(self, name: str) -> bytes | None:
        """All of a blob; None if there is none of that name."""

    def size(self, name: str) -> int | None:
        """Length of a blob in bytes; None if there is none of that name."""

    def list(self, prefix: str) -> list[str]:
        """The names that begin with a prefix (any string; empty: all of them), sorted."""

    def delete(self, name: str) -> None:
        """Remove a blob; nothing if there is none of that name."""

    def local_copy(self, name: str, cache_dir: Path) -> Path:
        """A file with the blob's bytes, for readers that want a path: the blob's own file, or a copy in
        `cache_dir` that is fetched once. It must not be changed. `NotFound` if there is none of that name.
        """


class DiskBlobs:
    """Blobs as files under a directory, which is made when it is missing.

    `local_copy` gives a path that only a real disk can open.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self._root = root
        self._disk: Disk = RealDisk() if disk is None else disk

    def put(self, name: str, data: Bytes) -> None:
        """See `BlobStore.put`."""
        path = self._path(name)
        with disk_errors():
            for _ in range(_PUT_TRIES):
                self._disk.make_dir(path.parent)
                if link_new(self._disk, path, (data,)):
                    return
                # What is gone by now was removed in between: that is no other content.
                if (held := self.get(name)) is not None:
                    if held != data:
                        raise _other_bytes(name)
                    return
        raise StoreUnavailable(
            f"{name} exists when it is written and is gone when it is read, {_PUT_TRIES} times in a row"
        )

    def get(self, name: str) -> bytes | None:
        """See `BlobStore.get`."""
        path = self._path(name)
        with disk_errors():
            try:
                return self._disk.read(path, 0, self._disk.size(path))
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """See `BlobStore.size`."""
        path = self._path(name)
        with disk_errors():
            try:
                return self._disk.size(path)
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> list[str]:
        """See `BlobStore.list`."""
        folder = prefix.rpartition("/")[0]
        with disk_errors():
            names = list(self._below(f"{folder}/" if folder else ""))
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """See `BlobStore.delete`."""
        path = self._path(name)
        with disk_errors():
            try:
                self._disk.unlink(path)
            except FileNotFoundError:
                return
            self._disk.sync_dir(path.parent)

    def local_copy(self, name: str, cache_dir: Path) -> Path:  # noqa: ARG002 - the file itself is local
        """See `BlobStore.local_copy`."""
        path = self._path(name)
        with disk_errors():
            if not self._disk.exists(path):
                raise _not_found(name)
        return path

    def _below(self, folder: str) -> Iterator[str]:
        for entry in self._disk.list(self._root / folder):
            if entry.startswith(".") or (not folder and entry == f"{JOURNAL_FOLDER}/"):
                continue
            if entry.endswith("/"):
                yield from self._below(folder + entry)
            else:
                yield folder + entry

    def _path(self, name: str) -> Path:
        return self._root / check_blob_name(name)


class S3Blobs:
    """Blobs as objects of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, name: str, data: Bytes) -> None:
        """See `BlobStore.put`."""
        if not self._bucket.create(check_blob_name(name), bytes(data)):
            raise _other_bytes(name)

    def get(self, name: str) -> bytes | None:
        """See `BlobStore.get`."""
        return self._bucket.get(check_blob_name(name))

    def size(self, name: str) -> int | None:
        """See `BlobStore.size`."""
        return self._bucket.size(check_blob_name(name))

    def list(self, prefix: str) -> list[str]:
        """See `BlobStore.list`."""
        keys = sorted(entry.key for entry in self._bucket.list(prefix))
        return [key for key in keys if not key.startswith((f"{JOURNAL_FOLDER}/", "."))]

    def delete(self, name: str) -> None:
        """See `BlobStore.delete`."""
        self._bucket.delete(check_blob_name(name))

    def local_copy(self, name: str, cache_dir: Path) -> Path:
        """See `BlobStore.local_copy`."""
        path = cache_dir / check_blob_name(name)
        if path.exists():
            return path
        data = self._bucket.get(name)
        if data is None:
            raise _not_found(name)
        disk = RealDisk()
        with disk_errors():
            disk.make_dir(path.parent)
            link_new(disk, path, (data,))
        return path


def check_blob_name(name: str) -> str:
    """The name itself, if every store can hold it; else `ValueError`."""
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts) or parts[0] == JOURNAL_FOLDER or len(name) > 900:
        raise ValueError(
            f"{name!r} cannot name a blob: parts of 1 to 200 characters that do not begin with a dot, with / "
            f"between them, outside {JOURNAL_FOLDER}/"
        )
    return name


def _other_bytes(name: str) -> StoreError:
    return StoreError(f"{name} was already written with other content; a blob is never changed", name=name)


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no {name} in the store", name=name)
