"""A blob store over a plain folder: the protocol of `engine.journal.stores.BlobStore`, nothing durable."""

from pathlib import Path


class FolderBlobs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        if path.exists():
            assert path.read_bytes() == data, f"{name} is written twice with other content"
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def get_range(self, name: str, start: int, length: int) -> bytes:
        return (self.folder / name).read_bytes()[start : start + length]

    def list(self, prefix: str) -> list[str]:
        names = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(name) for name in names if str(name).startswith(prefix))

    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def local_copy(self, name: str, cache_dir: Path) -> Path:
        copy = cache_dir / name.replace("/", "_")
        if not copy.exists():
            cache_dir.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((self.folder / name).read_bytes())
        return copy
