"""What was refused at the entrances of the service: the last refusals with their sentences, and how many by reason.

They are written behind, as one file that the next one replaces, so that the next actor knows them, too. What came
within the last seconds before a kill may be missing: a refusal changed nothing, and nothing rests on it. Bodies are in
it as the samples of `engine.intake.samples`, without secrets.
"""

from collections import Counter
from typing import Any

import msgspec

from raysignal.engine.journal.blobs import BlobStore

KEPT = 1000
"""Refusals with their sentences."""
OF_STRANGERS = 100
"""The most of them whose senders have neither a key nor a hook: whoever finds the address pushes no others out."""

_FOLDER = "refusals/"


class StoredRefusals(msgspec.Struct, frozen=True):
    """The content of the file: entries, the latest last, and counts by the name of the error."""

    entries: list[dict[str, Any]]
    counts: dict[str, int]


class RefusalLog:
    """See the module. For one event loop; nothing here blocks.

    Attributes:
        unwritten: something came since `content` was asked for.
        loaded: what was stored before is in it.
    """

    def __init__(self) -> None:
        self.unwritten = False
        self.loaded = False
        self._entries: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    def note(self, entries: list[dict[str, Any]], counts: dict[str, int]) -> None:
        """Keep what was refused."""
        self._entries = _kept([*self._entries, *entries])
        self._counts.update(counts)
        self.unwritten = True

    def load(self, stored: StoredRefusals) -> None:
        """Put what was stored before what came since; once."""
        if not self.loaded:
            self._entries = _kept([*stored.entries, *self._entries])
            self._counts.update(stored.counts)
            self.loaded = True

    def content(self) -> StoredRefusals:
        """What is to be stored."""
        self.unwritten = False
        return StoredRefusals(list(self._entries), dict(self._counts))

    def shown(self, reason: str | None, source: str | None, limit: int) -> dict[str, Any]:
        """The last refusals, the latest first: of a reason, of a source or hook, at most so many; and all counts."""
        fitting = [
            entry
            for entry in reversed(self._entries)
            if reason in {None, entry["reason"]} and source in {None, entry["source"], entry["hook"]}
        ]
        return {
            "counts": dict(sorted(self._counts.items())),
            "kept": len(self._entries),
            "refusals": fitting[:limit],
        }


def _kept(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last of them."""
    strangers = [at for at, entry in enumerate(entries) if _is_strangers(entry)]
    left_out = set(strangers[:-OF_STRANGERS])
    return [entry for at, entry in enumerate(entries) if at not in left_out][-KEPT:]


def _is_strangers(entry: dict[str, Any]) -> bool:
    reason, entrance = entry.get("reason"), entry.get("entrance")
    unknown = reason == "Unauthorized" or (reason, entrance) == ("NotFound", "/hooks")
    return unknown and entry.get("hook") is None


def read_refusals(blobs: BlobStore) -> StoredRefusals:
    """What is stored; nothing, where none is or a program of another version wrote it.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    names = blobs.list(_FOLDER)
    content = blobs.get(names[-1]) if names else None
    try:
        return msgspec.json.decode(content or b"", type=StoredRefusals)
    except msgspec.DecodeError:
        return StoredRefusals([], {})


def write_refusals(blobs: BlobStore, stored: StoredRefusals) -> None:
    """Store it in the place of what is stored.

    Raises:
        StoreError: it is not stored.
    """
    before = blobs.list(_FOLDER)
    number = int(before[-1].removeprefix(_FOLDER)) + 1 if before else 1
    blobs.put(f"{_FOLDER}{number:012d}", msgspec.json.encode(stored))
    for name in before:
        blobs.delete(name)
