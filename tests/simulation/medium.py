"""What lies in a store, as somebody sees it who goes past all processes: to break things, and to mend them."""

from pathlib import Path
from random import Random

from raysignal.engine.journal.blobs import DiskBlobs
from tests.simulation.bucket import Objects
from tests.simulation.disk import Platter, SimDisk


class Medium:
    """The files of a platter or the objects of a bucket."""

    def __init__(self, platter: Platter | None, objects: Objects) -> None:
        self._platter = platter
        self._objects = objects

    def files(self) -> dict[str, bytes]:
        """All content by name, sorted."""
        if self._platter is None:
            return {name: self._objects.held[name] for name in sorted(self._objects.held)}
        return {name: bytes(inode.data) for name, inode in self._platter.files().items()}

    def remove(self, name: str) -> None:
        """Take a file away for good."""
        if self._platter is None:
            del self._objects.held[name]
        else:
            self._platter.remove(name)

    def restore(self, name: str, data: bytes) -> None:
        """Set the content of a file."""
        if self._platter is None:
            self._objects.held[name] = data
        else:
            self._platter.files()[name].data[: len(data)] = data

    def flip(self, name: str, at: int, rng: Random) -> None:
        """Flip one bit of a byte."""
        data = bytearray(self.files()[name])
        data[at] ^= 1 << rng.randrange(8)
        self.restore(name, bytes(data))


class SimBlobs(DiskBlobs):
    """Blobs on a simulated disk; who wants a path gets that of a copy, because only a real file has one."""

    def __init__(self, root: Path, disk: SimDisk, copies: Path) -> None:
        super().__init__(root, disk)
        self._copies = copies

    def local_copy(self, name: str, cache_dir: Path) -> Path:
        super().local_copy(name, cache_dir)
        data = self.get(name)
        path = self._copies / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a run that is open keeps what it opened
        path.write_bytes(data or b"")
        return path
