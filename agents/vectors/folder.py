"""Where an index lies on disk: one owner at a time, and files whose state is known after a clean end.

<place>/lock                one owner, for its life and that of its child
<place>/chroma/             Chroma's own files
<place>/chroma.seal         their sizes and digests, only while nobody has them open
<place>/chroma.damaged-<n>  the last ones that could not be used
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from pathlib import Path

from raysignal.engine.core.errors import StoreUnavailable


class Folder:
    """The directory of one index, locked until it is closed.

    Args:
        place: made if it is not there.
        patience_s: how long the lock of an owner that is just ending is waited for.

    Raises:
        StoreUnavailable: another process owns it.
    """

    def __init__(self, place: Path, patience_s: float) -> None:
        self._place = place
        self.files = place / "chroma"
        self._seal = place / "chroma.seal"
        place.mkdir(parents=True, exist_ok=True)
        self.lock = _locked(place / "lock", patience_s)

    def unseal(self) -> bool | None:
        """Before the files are opened: whether they are as the last owner left them; None if it left no word."""
        try:
            text = self._seal.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            text = ""
        self._seal.unlink(missing_ok=True)
        _sync(self._place)
        return text == self._state()

    def seal(self) -> None:
        """After the files were closed in order."""
        fresh = self._seal.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(self._state())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._seal)
        _sync(self._place)

    def set_aside(self) -> Path | None:
        """Move the files out of the way, for somebody to look at; the ones moved before are deleted."""
        if not self.files.exists():
            return None
        before = sorted(self._place.glob("chroma.damaged-*"), key=_number)
        aside = self._place / f"chroma.damaged-{_number(before[-1]) + 1 if before else 1}"
        self.files.rename(aside)
        for path in before:
            shutil.rmtree(path, ignore_errors=True)
        return aside

    def close(self) -> None:
        """Give up the lock."""
        with contextlib.suppress(OSError):
            os.close(self.lock)

    def _state(self) -> str:
        files = sorted(path for path in self.files.rglob("*") if path.is_file())
        return json.dumps({str(path.relative_to(self.files)): _digest(path) for path in files}, indent=1)


def _locked(path: Path, patience_s: float) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                threading.Event().wait(0.02)
                continue
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise StoreUnavailable(
                f"{path} is held by process {owner}: one owner at a time writes a vector index; close that one, or "
                f"give this one another place",
                path=str(path), owner=owner,
            ) from None  # fmt: skip
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _number(path: Path) -> int:
    end = path.name.rpartition("-")[2]
    return int(end) if end.isdecimal() else 0


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
