"""Who has a port or a folder of this machine, as far as the kernel tells it to us; and a port that nobody has."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"


def free_port() -> int:
    """A port of the loopback address that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listener_on(port: int) -> str | None:
    """The process that listens on a TCP port, `name (pid 123)`; None if it cannot be known (not Linux, not ours)."""
    inodes = {inode for listening, inode in _listeners() if listening == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and wanted & _descriptors(process):
            name = (process / "comm").read_text().strip()
            return f"{name} (pid {process.name})"
    return None


def writers_below(folder: Path) -> list[str]:
    """The processes that have a file open below a folder, each as `name (pid 123)`.

    Empty if there are none or if it cannot be known: not Linux, not ours, or on another machine.
    """
    inside = f"{folder.resolve()}/"
    return [
        f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        for process in Path("/proc").glob("[0-9]*")
        if any(name.startswith(inside) for name in _descriptors(process))
    ]


def _listeners() -> Iterator[tuple[int, str]]:
    """Port and inode of every listening TCP socket."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _descriptors(process: Path) -> set[str]:
    """What a process has open; nothing of another user's. Descriptors come and go while they are listed."""
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found
