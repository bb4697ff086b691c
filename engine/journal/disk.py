"""What the local store asks of a disk, and the real one.

The protocol is small so that a simulated disk can stand in for it. Its durability, which the store relies on
and no more:

- What `append` wrote can be read at once by everybody, and survives the end of the process; it survives the
  loss of power only after `sync` of that file returned. Without it any part of it may be there: fewer bytes,
  or sectors of 512 bytes (counted from the beginning of the file) that read as zeros. A sector that was
  synced is not harmed by later appends to other sectors.
- A name made by `open_append` or `link`, or removed by `unlink`, survives the loss of power only after
  `sync_dir` of its directory. Names become durable in any order.
- `link` is atomic against everyone who shares the file system: of many that make one name, one succeeds.
- A `sync` that fails leaves the fate of the data unknown; one that succeeds later, through any handle, makes
  durable what can be read.
- Every method raises `OSError` when the disk does.
"""

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from raysignal.engine.journal.frames import Bytes

_JOIN_BELOW = 256 * 1024
_BUFFERS_A_CALL = 1024  # IOV_MAX on Linux


class AppendFile(Protocol):
    """A file that only grows, held open by its writer."""

    def append(self, buffers: Sequence[Bytes]) -> None:
        """Write the buffers one after another at the end; after an `OSError` any part may be there."""

    def sync(self) -> None:
        """Make what was appended durable, the length of the file included."""

    def close(self) -> None:
        """Let go of the file; makes nothing durable."""


class Disk(Protocol):
    """See the module for what survives what."""

    def make_dir(self, path: Path) -> None:
        """Make a directory and its parents where they are missing, durably; they are their owner's alone."""

    def list(self, path: Path) -> list[str]:
        """The names in a directory, sorted, those of directories with a `/` behind; empty if there is none."""

    def exists(self, path: Path) -> bool:
        """Whether the name is there; an error is an error, not a no."""

    def size(self, path: Path) -> int:
        """Length of a file in bytes."""

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer only where the file ends."""

    def temporary(self, path: Path) -> Path:
        """A name beside `path` that nobody else uses; it begins with `.` and ends with `.tmp`."""

    def open_append(self, path: Path) -> AppendFile:
        """Make a new file; `FileExistsError` if the name is taken."""

    def sync(self, path: Path) -> None:
        """Make a file's present content durable, whoever wrote it."""

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable as they are now."""

    def link(self, path: Path, name: Path) -> None:
        """Give a file a second name; `FileExistsError` if that is taken."""

    def unlink(self, path: Path) -> None:
        """Remove a name; `FileNotFoundError` if it is not there."""


class RealDisk:
    """The operating system's files."""

    def make_dir(self, path: Path) -> None:
        missing = [place for place in (path, *path.parents) if not self.exists(place)]
        for place in reversed(missing):
            place.mkdir(0o700, exist_ok=True)
            self.sync_dir(place.parent)

    def list(self, path: Path) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
        except FileNotFoundError:
            return []

    def exists(self, path: Path) -> bool:
        try:
            os.stat(path)  # noqa: PTH116 - half the cost of Path.stat, once a commit
        except FileNotFoundError:
            return False
        return True

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def read(self, path: Path, offset: int, size: int) -> bytes:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            parts = []
            while size and (part := file.read(size)):
                parts.append(part)
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def temporary(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")

    def open_append(self, path: Path) -> AppendFile:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return _RealAppendFile(os.open(path, flags, 0o600))

    def sync(self, path: Path) -> None:
        _sync(path, os.O_RDONLY)

    def sync_dir(self, path: Path) -> None:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)

    def link(self, path: Path, name: Path) -> None:
        os.link(path, name)

    def unlink(self, path: Path) -> None:
        path.unlink()


class _RealAppendFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def append(self, buffers: Sequence[Bytes]) -> None:
        views = [view for buffer in buffers if (view := memoryview(buffer)).nbytes]
        if sum([view.nbytes for view in views]) < _JOIN_BELOW:
            views = [memoryview(b"".join(views))]
        else:
            views = [view.cast("B") for view in views]
        while views:
            written = os.writev(self._descriptor, views[:_BUFFERS_A_CALL])
            done = 0
            while done < len(views) and written >= views[done].nbytes:
                written -= views[done].nbytes
                done += 1
            views = views[done:]
            if written:
                views[0] = views[0][written:]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)  # writes the length too: without it the data could not be read back

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):  # nothing durable depends on it
                os.close(descriptor)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
