"""Snapshots: the state at one journal position, so that a restart replays only what came after.

A lost or damaged snapshot costs time only: an older one, or none, is used instead. The name carries sequence
and epoch: two writers never write the same one.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import msgspec

from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.frames import JournalPosition

_MAGIC = b"RSSNAP1\n"
_KEPT = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The portfolios' dumps and the names of the identity runs, as of a journal position."""

    position: JournalPosition
    runs: tuple[str, ...]
    portfolios: tuple[dict[str, Any], ...]


def put(blobs: BlobStore, prefix: str, epoch: int, snapshot: Snapshot) -> str:
    """Write a snapshot; durable when it returns. The name it has."""
    body = msgspec.msgpack.encode(
        {
            "sequence": snapshot.position.sequence,
            "digest": snapshot.position.digest,
            "runs": list(snapshot.runs),
            "portfolios": list(snapshot.portfolios),
        }
    )
    name = f"{prefix}/snapshots/{snapshot.position.sequence:020d}-{epoch:010d}.snap"
    blobs.put(name, _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
    return name


def latest(blobs: BlobStore, prefix: str) -> Snapshot | None:
    """The newest snapshot that can be read; None if there is none."""
    for name in reversed(blobs.list(f"{prefix}/snapshots/")):
        data = blobs.get(name)
        snapshot = _read(data) if data is not None else None
        if snapshot is not None:
            return snapshot
    return None


def drop_old(blobs: BlobStore, prefix: str) -> None:
    """Delete all but the newest few."""
    for name in blobs.list(f"{prefix}/snapshots/")[:-_KEPT]:
        blobs.delete(name)


def _read(data: bytes) -> Snapshot | None:
    head = len(_MAGIC) + 4
    if data[: len(_MAGIC)] != _MAGIC or len(data) < head:
        return None
    if zlib.crc32(data[head:]) != int.from_bytes(data[len(_MAGIC) : head], "little"):
        return None
    values = msgspec.msgpack.decode(data[head:])
    return Snapshot(
        JournalPosition(values["sequence"], values["digest"]),
        tuple(values["runs"]),
        tuple(values["portfolios"]),
    )
