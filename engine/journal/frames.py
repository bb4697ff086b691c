"""A record as bytes: one format for both stores.

A frame is a header of 64 bytes and the payload. Little-endian, in this order:

    bytes  field
    3      magic, `RSJ`
    1      flags: 1 a takeover, 2 the last record of its commit
    4      length of the payload
    8      sequence number, from 1, without holes
    4      epoch of the writer
    4      index of the record in its commit, from 0
    4      CRC-32 of the payload
    32     digest of the record before
    4      CRC-32 of the 60 bytes above

The header has a CRC of its own, so a damaged length is noticed before it is believed. The digest of a record
is BLAKE2b-256 over its whole frame; as the frame holds the digest of the record before, a digest names a
history and not only a record. The CRC finds accidents (7 GB/s where BLAKE2b does 1.5), the chain finds
records that were exchanged, left out or rewritten. Both are computed once, by the thread that writes.

A takeover is the first record of an epoch. The journal writes it itself and replays do not show it; its
payload is the epoch of the record it follows and a token that no other takeover has.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

Bytes = bytes | bytearray | memoryview
Payload = Bytes | Sequence[Bytes]

MAGIC = b"RSJ"
HEADER_SIZE = 64
MAX_PAYLOAD = 2**32 - 1
TAKEOVER, LAST_OF_COMMIT = 1, 2

_DIGEST_SIZE = 32
_FIELDS = struct.Struct("<3sBIQIII32s")
_HEADER = struct.Struct("<3sBIQIII32sI")
_CRC = struct.Struct("<I")
_EPOCH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """A place in one particular history: the sequence number of a record and its digest (32 bytes).

    This is what a snapshot stores to say which records it already holds.
    """

    sequence: int
    digest: bytes


GENESIS = JournalPosition(0, blake2b(b"raysignal journal 1", digest_size=_DIGEST_SIZE).digest())
"""Before the first record."""


class JournalRecord(NamedTuple):
    """One record as it was read; a named tuple, because a replay makes millions of them.

    `payload` is a view into the block that was read, valid for as long as it is held; `bytes(payload)` lets
    go of the block. `offset` is where its frame begins in its file or object.
    """

    sequence: int
    epoch: int
    payload: memoryview
    digest: bytes
    previous: bytes
    flags: int
    offset: int

    @property
    def position(self) -> JournalPosition:
        """The position after this record."""
        return JournalPosition(self.sequence, self.digest)

    @property
    def is_takeover(self) -> bool:
        """Whether the journal wrote it itself, to begin an epoch."""
        return bool(self.flags & TAKEOVER)


class Fault(NamedTuple):
    """Why a scan stopped before the end of its data.

    `needed` is the size of the frame when only its end is missing, 0 when the header itself is cut short,
    and None when the frame is there and wrong. `extent` is how many bytes of the frame can be told to be its
    own: the header's when that is wrong, else all of it.
    """

    reason: str
    needed: int | None
    extent: int


class Scan(NamedTuple):
    """What `scan` found: the records, where the next frame would begin, and why it stopped there.

    `reached` is the sequence number of the last frame, hopped over or not; 0 if there was none.
    """

    records: list[JournalRecord]
    reached: int
    stopped: int
    fault: Fault | None


def encode(
    payloads: Sequence[Payload], epoch: int, after: JournalPosition
) -> tuple[list[Bytes], JournalPosition]:
    """The frames of one commit as buffers to write one after another, and the position after them.

    Payloads are not copied; each is one buffer or several that are written as one. `ValueError` if one is
    longer than 4 GiB.
    """
    buffers: list[Bytes] = []
    sequence, previous = after.sequence, after.digest
    last = len(payloads) - 1
    for index, payload in enumerate(payloads):
        sequence += 1
        flags = LAST_OF_COMMIT if index == last else 0
        previous = _encode_one(buffers, payload, flags, sequence, epoch, index, previous)
    return buffers, JournalPosition(sequence, previous)


def encode_takeover(
    epoch: int, after: JournalPosition, previous_epoch: int, token: bytes
) -> tuple[list[Bytes], JournalPosition]:
    """The frame that begins an epoch after `after`, a record of `previous_epoch` (0: none)."""
    buffers: list[Bytes] = []
    payload = _EPOCH.pack(previous_epoch) + token
    sequence, flags = after.sequence + 1, TAKEOVER | LAST_OF_COMMIT
    digest = _encode_one(buffers, payload, flags, sequence, epoch, 0, after.digest)
    return buffers, JournalPosition(sequence, digest)


def previous_epoch_of(takeover: JournalRecord) -> int:
    """The epoch of the record that a takeover follows; 0 when it is the first record of all."""
    (epoch,) = _EPOCH.unpack_from(takeover.payload)
    return int(epoch)


def scan(data: bytes, base: int = 0, *, start: int = 0, align: int = 1) -> Scan:
    """Decode the whole frames in `data`, which begins at offset `base` of its file.

    Records before sequence `start` are hopped over with only their header checked. `align` is the boundary
    (bytes) on which commits begin; the padding between them is not looked at.
    """
    records: list[JournalRecord] = []
    view = memoryview(data)
    size, at, reached = len(data), 0, 0
    while at < size:
        if size - at < HEADER_SIZE:
            return Scan(records, reached, base + at, Fault("the file ends inside a header", 0, HEADER_SIZE))
        magic, flags, length, sequence, epoch, _index, crc, previous, header_crc = _HEADER.unpack_from(
            data, at
        )
        if magic != MAGIC or crc32(view[at : at + _FIELDS.size]) != header_crc:
            return Scan(
                records, reached, base + at, Fault("the header's checksum is wrong", None, HEADER_SIZE)
            )
        body, end = at + HEADER_SIZE, at + HEADER_SIZE + length
        if end > size:
            return Scan(
                records,
                reached,
                base + at,
                Fault("the file ends inside the payload", HEADER_SIZE + length, HEADER_SIZE + length),
            )
        if sequence >= start:
            payload = view[body:end]
            if crc32(payload) != crc:
                return Scan(
                    records,
                    reached,
                    base + at,
                    Fault("the payload's checksum is wrong", None, HEADER_SIZE + length),
                )
            digest = blake2b(view[at:end], digest_size=_DIGEST_SIZE).digest()
            records.append(JournalRecord(sequence, epoch, payload, digest, previous, flags, base + at))
        reached = sequence
        at = end + (-(base + end) % align if flags & LAST_OF_COMMIT else 0)
    return Scan(records, reached, base + at, None)


def begins_commit(data: bytes, at: int) -> int | None:
    """The sequence number of the commit whose first header stands whole at `at`, or None."""
    if len(data) - at < HEADER_SIZE or data[at : at + len(MAGIC)] != MAGIC:
        return None
    _, _, _, sequence, _, index, _, _, header_crc = _HEADER.unpack_from(data, at)
    if index != 0 or crc32(data[at : at + _FIELDS.size]) != header_crc:
        return None
    return int(sequence)


def _encode_one(
    buffers: list[Bytes], payload: Payload, flags: int, sequence: int, epoch: int, index: int, previous: bytes
) -> bytes:
    parts = (payload,) if isinstance(payload, (bytes, bytearray, memoryview)) else payload
    length = crc = 0
    for part in parts:
        length += part.nbytes if isinstance(part, memoryview) else len(part)
        crc = crc32(part, crc)
    if length > MAX_PAYLOAD:
        raise ValueError(f"a payload of {length} bytes; a record holds at most {MAX_PAYLOAD}")
    fields = _FIELDS.pack(MAGIC, flags, length, sequence, epoch, index, crc, previous)
    header = fields + _CRC.pack(crc32(fields))
    digest = blake2b(header, digest_size=_DIGEST_SIZE)
    buffers.append(header)
    for part in parts:
        digest.update(part)
        buffers.append(part)
    return digest.digest()
