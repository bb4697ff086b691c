"""Processes of this machine as /proc shows them: who descends from whom, what they are, whether they live."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Every process below one, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, at = [pid], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found[1:]


def title(pid: int) -> str:
    """The command line, or the title that a Ray worker gave itself; empty once it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def titled(below: int, beginning: str) -> list[int]:
    """The processes below one whose title begins so."""
    return sorted(pid for pid in descendants(below) if title(pid).startswith(beginning))


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to ask how it ended."""
    fields = _stat(pid)
    return not fields or fields[0] == "Z"


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; nothing if the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, …; empty if there is no such process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
