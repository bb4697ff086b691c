"""A disk in memory that forgets: what was not synced may be gone, or half there, when the power fails.

`Platter` is the medium, shared by all processes that see the file system; a `SimDisk` is one process's view of
it and implements `engine.journal.disk.Disk`. What survives is what that module promises, and no more.
"""

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.simulation.faults import Faults, SimCrash

SECTOR = 512

Hook = Callable[[str, str], None]


@dataclass(slots=True, eq=False)
class Inode:
    """A file: what can be read now, and how much of it survives the loss of power."""

    data: bytearray = field(default_factory=bytearray)
    synced: int = 0


class Platter:
    """The medium: directories of names, now and after a loss of power."""

    def __init__(self, rng: random.Random, faults: Faults) -> None:
        self.rng = rng
        self.faults = faults
        self.dirs: dict[Path, dict[str, Inode]] = {Path("/"): {}}
        self.stable: dict[Path, dict[str, Inode]] = {Path("/"): {}}
        self.folders: dict[Path, list[str]] = {}
        self.temporaries = 0

    def lose_power(self) -> None:
        """Forget what is not stable: any part of it."""
        for path in sorted(self.dirs):
            now, then = self.dirs[path], self.stable[path]
            for name in sorted({*now, *then}):
                if now.get(name) is then.get(name):
                    continue
                survivor = now.get(name) if self.rng.random() < 0.5 else then.get(name)
                if survivor is None:
                    then.pop(name, None)
                    if name in now:
                        self.faults.count("name_lost")
                else:
                    then[name] = survivor
            self.dirs[path] = dict(then)
        seen: set[int] = set()
        for path in sorted(self.dirs):
            for name in sorted(self.dirs[path]):
                inode = self.dirs[path][name]
                if id(inode) not in seen:
                    seen.add(id(inode))
                    self._tear(inode)

    def _tear(self, inode: Inode) -> None:
        tail = len(inode.data) - inode.synced
        if tail > 0:
            how = self.rng.choice(("kept", "lost", "cut", "zeros", "zeros"))
            if how == "lost":
                del inode.data[inode.synced :]
                self.faults.count("torn_lost")
            elif how == "cut":
                del inode.data[inode.synced + self.rng.randrange(tail) :]
                self.faults.count("torn_cut")
            elif how == "zeros":
                # The length was written and some sectors were not; the one the append began in may suffer.
                first = inode.synced - inode.synced % SECTOR
                sectors = range(first, len(inode.data), SECTOR)
                lost = [at for at in sectors if self.rng.random() < 0.5] or [self.rng.choice(sectors)]
                if self.rng.random() < 0.3:
                    del inode.data[self.rng.randrange(inode.synced + 1, len(inode.data) + 1) :]
                for at in lost:
                    size = len(inode.data[at : at + SECTOR])
                    inode.data[at : at + size] = bytes(size)
                self.faults.count("torn_zeros")
        inode.synced = len(inode.data)

    def files(self) -> dict[str, Inode]:
        """All files by their path."""
        return {
            str(path / name): inode
            for path in sorted(self.dirs)
            for name, inode in sorted(self.dirs[path].items())
        }

    def remove(self, path: str) -> None:
        """Take a file away, durably: somebody else's mistake."""
        place = Path(path)
        self.dirs[place.parent].pop(place.name, None)
        self.stable[place.parent].pop(place.name, None)


class SimAppendFile:
    """See `engine.journal.disk.AppendFile`."""

    def __init__(self, disk: "SimDisk", inode: Inode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self.name = name
        self._closed = False

    def append(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        data = b"".join(bytes(buffer) for buffer in buffers)
        assert not self._closed, "an append to a closed file"
        with self._disk.operation("write", self.name) as operation:
            if operation.part is not None:
                data = data[: int(operation.part * len(data))]
            self._inode.data += data

    def sync(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the file is closed")
        with self._disk.operation("sync", self.name) as operation:
            if operation.part is None:
                self._inode.synced = len(self._inode.data)

    def close(self) -> None:
        self._closed = True


class _Operation:
    """One operation: faults strike on the way in, on the way out, or make it fail."""

    __slots__ = ("_after", "_disk", "_kind", "_name", "_raises", "part")

    def __init__(self, disk: "SimDisk", kind: str, name: str) -> None:
        self._disk, self._kind, self._name = disk, kind, name
        self.part: float | None = None
        self._raises = False
        self._after: str | None = None

    def __enter__(self) -> Self:
        disk, kind = self._disk, self._kind
        disk.check_alive()
        faults = disk.faults
        if faults.is_quiet:
            return self
        disk.hook(kind, self._name)
        disk.check_alive()
        if kind in {"write", "sync"}:
            for how in ("kill", "power_loss"):
                if faults.happens(f"{how}_before_{kind}"):
                    disk.crash(how)
                if faults.happens(f"{how}_after_{kind}"):
                    self._after = how
                    # A kill in the middle of a write leaves any part of it.
                    if kind == "write" and faults.rng.random() < 0.5:
                        self.part = faults.rng.random()
        if self._after is None and faults.happens(
            f"disk_error_{kind if kind in {'write', 'sync'} else 'other'}"
        ):
            self._raises = True
            self.part = faults.rng.random()
            if kind not in {"write", "sync"}:
                raise OSError(errno.EIO, f"simulated {kind} error", self._name)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._raises:
            raise OSError(errno.EIO, f"simulated {self._kind} error", self._name)
        if self._after is not None:
            self._disk.crash(self._after)


class SimDisk:
    """One process's view of a platter.

    Args:
        platter: the medium.
        hook: called before every operation; other processes may run there.
        on_crash: told `kill` or `power_loss`; marks who is dead.
        is_dead: whether this process is.
    """

    def __init__(
        self,
        platter: Platter,
        *,
        hook: Hook = lambda _kind, _name: None,
        on_crash: Callable[[str], None] = lambda _how: None,
        is_dead: Callable[[], bool] = lambda: False,
    ) -> None:
        self.platter = platter
        self.faults = platter.faults
        self.hook = hook
        self._on_crash = on_crash
        self._is_dead = is_dead

    def check_alive(self) -> None:
        if self._is_dead():
            raise SimCrash

    def crash(self, how: str) -> None:
        self._on_crash(how)
        raise SimCrash

    def operation(self, kind: str, name: str) -> _Operation:
        return _Operation(self, kind, name)

    def make_dir(self, path: Path) -> None:
        with self.operation("make_dir", path.name):
            place = path
            while place not in self.platter.dirs:
                self.platter.dirs[place] = {}
                self.platter.stable[place] = {}
                self.platter.folders.setdefault(place.parent, []).append(place.name)
                place = place.parent

    def list(self, path: Path) -> list[str]:
        with self.operation("list", path.name):
            below = [f"{name}/" for name in self.platter.folders.get(path, ())]
            return sorted([*self.platter.dirs.get(path, {}), *below])

    def exists(self, path: Path) -> bool:
        with self.operation("exists", path.name):
            return path.name in self.platter.dirs.get(path.parent, {}) or path in self.platter.dirs

    def size(self, path: Path) -> int:
        with self.operation("size", path.name):
            return len(self._inode(path).data)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        with self.operation("read", path.name):
            return bytes(self._inode(path).data[offset : offset + size])

    def temporary(self, path: Path) -> Path:
        self.platter.temporaries += 1
        return path.with_name(f".{path.name}.{self.platter.temporaries}.tmp")

    def open_append(self, path: Path) -> SimAppendFile:
        with self.operation("open", path.name):
            names = self._names(path)
            if path.name in names:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            inode = names[path.name] = Inode()
            return SimAppendFile(self, inode, path.name)

    def sync(self, path: Path) -> None:
        with self.operation("sync", path.name) as operation:
            inode = self._inode(path)
            if operation.part is None:
                inode.synced = len(inode.data)

    def sync_dir(self, path: Path) -> None:
        with self.operation("sync", path.name + "/") as operation:
            names = dict(self._names(path / "any"))
            if operation.part is None:
                self.platter.stable[path] = names

    def link(self, path: Path, name: Path) -> None:
        with self.operation("link", name.name):
            names = self._names(name)
            if name.name in names:
                raise FileExistsError(errno.EEXIST, "exists", str(name))
            names[name.name] = self._inode(path)

    def unlink(self, path: Path) -> None:
        with self.operation("unlink", path.name):
            self._inode(path)
            del self._names(path)[path.name]

    def _names(self, path: Path) -> dict[str, Inode]:
        names = self.platter.dirs.get(path.parent)
        if names is None:
            raise FileNotFoundError(errno.ENOENT, "no such directory", str(path.parent))
        return names

    def _inode(self, path: Path) -> Inode:
        inode = self.platter.dirs.get(path.parent, {}).get(path.name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return inode
