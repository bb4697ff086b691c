"""Runs: immutable sorted files of ids, what memory holds of them, and how they are read.

A run is one or more parts of at most 262 144 records (8 MB), so that merging never holds more than one part.
A part is a header of 64 bytes and its records, 32 bytes each: key high, key low, ordinal + 1, content, all
little-endian. The header: magic, epoch and number of the run, level, position of the part in the run, record
count, CRC-32 of the records; its last four bytes are the CRC-32 of those before them.

The compiled bodies are numba's language: it checks their types when it compiles them.
"""
# mypy: disable-error-code="arg-type,assignment,no-any-return,operator", allow-untyped-decorators

from __future__ import annotations

import os
import struct
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Int64Array, UInt64Array
from raysignal.engine.core.errors import JournalDamaged, NotFound
from raysignal.engine.journal.dedup.window import CONTENT, HIGH, LOW, PLACE, RECORD_WORDS

if TYPE_CHECKING:
    from raysignal.engine.journal.blobs import BlobStore

PART_RECORDS = 1 << 18
_FENCE_EVERY = 128
_RECORD_BYTES = 8 * RECORD_WORDS
_BLOCK_BYTES = _FENCE_EVERY * _RECORD_BYTES
_BLOCKS_A_PART = PART_RECORDS // _FENCE_EVERY
_BLOCKS_A_READ = 256
_STREAM_RECORDS = 4096

_MAGIC = b"RSIDRUN1"
_HEAD = struct.Struct("<8sQQIIQI16x")
_HEADER_BYTES = _HEAD.size + 4

_BITS_A_KEY = 10
_PROBES = 7
_LINE_BITS = 512
_LINE_WORDS = 8


@dataclass(frozen=True, slots=True)
class Header:
    """What a part says about itself; its last field is the checksum of its records."""

    epoch: int
    number: int
    level: int
    part: int
    count: int
    checksum: int

    def encode(self) -> bytes:
        head = _HEAD.pack(_MAGIC, self.epoch, self.number, self.level, self.part, self.count, self.checksum)
        return head + zlib.crc32(head).to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> Header | None:
        """The header; None if it is none, or damaged."""
        if len(data) != _HEADER_BYTES or data[:8] != _MAGIC:
            return None
        if zlib.crc32(data[: _HEAD.size]) != int.from_bytes(data[_HEAD.size :], "little"):
            return None
        return cls(*_HEAD.unpack(data[: _HEAD.size])[1:])


class RunIndex:
    """What memory holds of a run: a blocked Bloom filter and the key of every 128th record."""

    __slots__ = ("bloom", "count", "fences")

    def __init__(self, capacity: int) -> None:
        lines = max(1, -(-capacity * _BITS_A_KEY // _LINE_BITS))
        spare = np.zeros(lines * _LINE_WORDS + _LINE_WORDS, np.uint64)
        start = (-spare.ctypes.data % (8 * _LINE_WORDS)) // 8  # a filter line is a cache line
        self.bloom: UInt64Array = spare[start : start + lines * _LINE_WORDS]
        self.fences: UInt64Array = np.empty((-(-capacity // _FENCE_EVERY), 2), np.uint64)
        self.count = 0

    def take(self, records: UInt64Array) -> None:
        """Take the next records in, in the order of the run."""
        _sketch(self.bloom, self.fences, self.count, records)
        self.count += records.shape[0]

    def finish(self) -> None:
        """Give back what merging away equal records has left over."""
        self.fences = self.fences[: -(-self.count // _FENCE_EVERY)].copy()


class SortedRun:
    """A run that can be looked up."""

    def __init__(
        self, header: Header, names: tuple[str, ...], paths: tuple[Path, ...], sketch: RunIndex
    ) -> None:
        self.epoch = header.epoch
        self.number = header.number
        self.level = header.level
        self.names = names
        self.paths = paths
        self.count = sketch.count
        self._sketch = sketch
        self._files: list[int] = []
        # Lookups that began before a merge may still read a run that it replaced: the last reader closes it.
        weakref.finalize(self, _close, self._files)
        for path in paths:
            self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def look_up(self, keys: UInt64Array, wanted: Int64Array, place: Int64Array, content: UInt64Array) -> bool:
        """Fill `place` and `content` of the rows at `wanted` whose key is here; whether any may be.

        Raises:
            JournalDamaged: the run can no longer be read.
        """
        rows, blocks = _candidates(self._sketch.bloom, self._sketch.fences, keys, wanted)
        if not rows.shape[0]:
            return False
        if rows.shape[0] == 1:  # as when the filter took one of a few for somebody it knows
            records, lengths = self._read_blocks(blocks)
            _search(records, lengths, keys, rows, np.zeros(1, np.int64), place, content)
            return True
        distinct, which = np.unique(blocks, return_inverse=True)
        order = np.argsort(which, kind="stable")
        rows, which = rows[order], which[order]
        for start in range(0, distinct.shape[0], _BLOCKS_A_READ):
            some = distinct[start : start + _BLOCKS_A_READ]
            records, lengths = self._read_blocks(some)
            low, high = np.searchsorted(which, [start, start + some.shape[0]])
            _search(records, lengths, keys, rows[low:high], which[low:high] - start, place, content)
        return True

    def stream(self) -> Iterator[UInt64Array]:
        """All records in order, a few thousand at a time."""
        for part, file in enumerate(self._files):
            left = min(PART_RECORDS, self.count - part * PART_RECORDS)
            at = _HEADER_BYTES
            while left:
                records = np.empty((min(left, _STREAM_RECORDS), RECORD_WORDS), np.uint64)
                self._read(file, memoryview(records).cast("B"), at, part)
                yield records
                left -= records.shape[0]
                at += records.nbytes

    def _read_blocks(self, blocks: Int64Array) -> tuple[UInt64Array, Int64Array]:
        records = np.empty((blocks.shape[0], _FENCE_EVERY, RECORD_WORDS), np.uint64)
        lengths = np.minimum(_FENCE_EVERY, self.count - blocks * _FENCE_EVERY)
        view = memoryview(records).cast("B")
        at = 0
        for block, length in zip(blocks.tolist(), lengths.tolist(), strict=True):
            part, position = divmod(block, _BLOCKS_A_PART)
            span = view[at : at + length * _RECORD_BYTES]
            self._read(self._files[part], span, _HEADER_BYTES + position * _BLOCK_BYTES, part)
            at += _BLOCK_BYTES
        return records, lengths

    def _read(self, file: int, into: memoryview, offset: int, part: int) -> None:
        if os.preadv(file, [into], offset) != into.nbytes:
            raise _damaged(self.names[part], "it is shorter than it was")


def part_name(prefix: str, epoch: int, number: int, part: int) -> str:
    """The name of a part among the blobs: no two writers, and no two runs of one, ever share it."""
    return f"{prefix}{epoch:010d}-{number:08d}-{part:04d}.ids"


def write_run(
    blobs: BlobStore,
    prefix: str,
    cache_dir: Path,
    *,
    epoch: int,
    number: int,
    level: int,
    capacity: int,
    records: Iterable[UInt64Array],
) -> SortedRun:
    """Write records that come in order, at most `capacity` of them, as a run; durable when it returns."""
    sketch = RunIndex(capacity)
    names: list[str] = []
    room = min(PART_RECORDS, capacity)
    buffer = np.empty((room, RECORD_WORDS), np.uint64)
    filled = 0

    def put() -> None:
        data = memoryview(buffer[:filled]).cast("B")
        header = Header(epoch, number, level, len(names), filled, zlib.crc32(data))
        name = part_name(prefix, epoch, number, len(names))
        blobs.put(name, b"".join([header.encode(), data]))
        names.append(name)
        sketch.take(buffer[:filled])

    for block in records:
        taken = 0
        while taken < block.shape[0]:
            if filled == room:
                put()
                filled = 0
            step = min(room - filled, block.shape[0] - taken)
            buffer[filled : filled + step] = block[taken : taken + step]
            filled += step
            taken += step
    put()
    sketch.finish()
    paths = tuple(blobs.local_copy(name, cache_dir) for name in names)
    return SortedRun(Header(epoch, number, level, 0, 0, 0), tuple(names), paths, sketch)


def open_runs(names: Iterable[str], blobs: BlobStore, cache_dir: Path) -> list[SortedRun]:
    """The runs that the named parts make up.

    Raises:
        JournalDamaged: a part is missing, or not what was written.
    """
    heads: dict[tuple[int, int], list[tuple[Header, str, Path]]] = {}
    for name in names:
        path, header = _fetch(name, blobs, cache_dir)
        heads.setdefault((header.epoch, header.number), []).append((header, name, path))
    return [_open_run(sorted(parts, key=lambda item: item[0].part)) for parts in heads.values()]


def _open_run(parts: list[tuple[Header, str, Path]]) -> SortedRun:
    count = sum(header.count for header, _, _ in parts)
    sketch = RunIndex(count)
    for position, (header, name, path) in enumerate(parts):
        whole = position == len(parts) - 1 or header.count == PART_RECORDS
        if header.part != position or not whole:
            raise _damaged(name, "a part of its run is missing")
        for records in _records_of(path, header):
            sketch.take(records)
    return SortedRun(
        parts[0][0], tuple(name for _, name, _ in parts), tuple(path for _, _, path in parts), sketch
    )


def _fetch(name: str, blobs: BlobStore, cache_dir: Path) -> tuple[Path, Header]:
    """A local file that holds the part as it was written."""
    for _ in range(2):
        try:
            path = blobs.local_copy(name, cache_dir)
        except (FileNotFoundError, NotFound) as error:
            raise _damaged(name, "it is missing") from error
        header = _checked(path)
        if header is not None:
            return path, header
        if not path.is_relative_to(cache_dir):
            break
        path.unlink()  # the copy may be damaged where the blob is not
    raise _damaged(name, "its checksum is wrong")


def _checked(path: Path) -> Header | None:
    with path.open("rb", buffering=0) as file:
        header = Header.decode(file.read(_HEADER_BYTES))
    if header is None or path.stat().st_size != _HEADER_BYTES + header.count * _RECORD_BYTES:
        return None
    checksum = 0
    for records in _records_of(path, header):
        checksum = zlib.crc32(memoryview(records).cast("B"), checksum)
    return header if checksum == header.checksum else None


def _records_of(path: Path, header: Header) -> Iterator[UInt64Array]:
    with path.open("rb", buffering=0) as file:
        file.seek(_HEADER_BYTES)
        left = header.count
        while left:
            records = np.empty((min(left, _STREAM_RECORDS), RECORD_WORDS), np.uint64)
            file.readinto(memoryview(records).cast("B"))
            yield records
            left -= records.shape[0]


def _damaged(name: str, why: str) -> JournalDamaged:
    return JournalDamaged(f"identity run {name} cannot be used: {why}", record=name)


def _close(files: list[int]) -> None:
    for file in files:
        with suppress(OSError):
            os.close(file)


@njit(cache=True, nogil=True)
def _sketch(bloom: UInt64Array, fences: UInt64Array, start: int, records: UInt64Array) -> None:
    lines = np.uint64(bloom.shape[0] // _LINE_WORDS)
    for row in range(records.shape[0]):
        high, low = records[row, HIGH], records[row, LOW]
        if (start + row) % _FENCE_EVERY == 0:
            fences[(start + row) // _FENCE_EVERY, 0] = high
            fences[(start + row) // _FENCE_EVERY, 1] = low
        line = ((high >> np.uint64(32)) * lines) >> np.uint64(32)
        for probe in range(_PROBES):
            bit = (low >> np.uint64(9 * probe)) & np.uint64(_LINE_BITS - 1)
            bloom[line * np.uint64(_LINE_WORDS) + (bit >> np.uint64(6))] |= np.uint64(1) << (
                bit & np.uint64(63)
            )


@njit(cache=True, nogil=True)
def _candidates(
    bloom: UInt64Array, fences: UInt64Array, keys: UInt64Array, wanted: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """The rows that may be in the run, and the block of 128 records in which each would be."""
    rows = np.empty(wanted.shape[0], np.int64)
    blocks = np.empty(wanted.shape[0], np.int64)
    found = 0
    lines = np.uint64(bloom.shape[0] // _LINE_WORDS)
    for row in wanted:
        high, low = keys[row, 0], keys[row, 1]
        line = (((high >> np.uint64(32)) * lines) >> np.uint64(32)) * np.uint64(_LINE_WORDS)
        maybe = True
        for probe in range(_PROBES):
            bit = (low >> np.uint64(9 * probe)) & np.uint64(_LINE_BITS - 1)
            if (bloom[line + (bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1) == 0:
                maybe = False
                break
        if not maybe:
            continue
        first, last = 0, fences.shape[0]  # the last fence that is not after the key
        while first < last:
            middle = (first + last) // 2
            if fences[middle, 0] < high or (fences[middle, 0] == high and fences[middle, 1] <= low):
                first = middle + 1
            else:
                last = middle
        if first > 0:
            rows[found] = row
            blocks[found] = first - 1
            found += 1
    return rows[:found].copy(), blocks[:found].copy()


@njit(cache=True, nogil=True)
def _search(
    records: UInt64Array,
    lengths: Int64Array,
    keys: UInt64Array,
    rows: Int64Array,
    blocks: Int64Array,
    place: Int64Array,
    content: UInt64Array,
) -> None:
    for index in range(rows.shape[0]):
        row, block = rows[index], blocks[index]
        high, low = keys[row, 0], keys[row, 1]
        first, last = 0, lengths[block]
        while first < last:
            middle = (first + last) // 2
            at = records[block, middle, HIGH]
            if at < high or (at == high and records[block, middle, LOW] < low):
                first = middle + 1
            else:
                last = middle
        if (
            first < lengths[block]
            and records[block, first, HIGH] == high
            and records[block, first, LOW] == low
        ):
            place[row] = np.int64(records[block, first, PLACE])
            content[row] = records[block, first, CONTENT]
