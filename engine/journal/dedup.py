"""Deduplication index of signal ids, per shard: for ever, in bounded memory.

Recent ids lie in a dict. At a checkpoint they become an immutable sorted run in the blob store, and `FAN_OUT` runs of
one level are merged into one of the next, so that few exist. Runs are memory-mapped from local files and searched where
they lie: what a search touches is in the kernel's page cache, and is let go of at the next checkpoint.

A run is cut into parts, each with an equal range of the keys, so that writing and merging hold one part at a time. A
part is a file of little-endian uint64: magic, level of the run, parts of the run, records of the part, CRC-32 of its
name and of all other words; then, sorted by key, the columns key high, key low, ordinal + 1 and content.
"""

import mmap
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt64Array
from raysignal.engine.core.digests import digest_names
from raysignal.engine.core.errors import JournalDamaged, NotFound
from raysignal.engine.journal.blobs import BlobStore

FAN_OUT = 4
"""As many runs of one level are merged into one of the next."""

PART_RECORDS = 1 << 18
"""A run has a part for as many records, 8 MB."""

_MAGIC = int.from_bytes(b"RSIDRUN2", "little")
_HEADER_WORDS = 5
_UNKNOWN = bytes(16)
_ODD = np.uint64(0xC2B2AE3D27D4EB4F)
_PORTFOLIO_SEEDS = (3, 4)


def portfolio_keys(key: UInt64Array, portfolio: str) -> UInt64Array:
    """`SignalBatch.key` of one portfolio's signals as keys among those of many: uint64[n, 2].

    One portfolio's distinct keys stay distinct: each half is mixed by a bijection that the name chooses.
    """
    mixed: UInt64Array = key ^ _portfolio_digests(portfolio)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _ODD
    return mixed ^ (mixed >> np.uint64(29))


@lru_cache(maxsize=1024)
def _portfolio_digests(portfolio: str) -> UInt64Array:
    return np.array([digest_names([portfolio], seed)[0] for seed in _PORTFOLIO_SEEDS], np.uint64)


def first_in_batch(keys: UInt64Array) -> Int64Array:
    """For every row the index of the first row with the same key, int64[n]; mostly its own."""
    if len(keys) < 2:
        return np.zeros(len(keys), np.int64)
    order, differs = _order(keys[:, 0], keys[:, 1])
    first = np.empty(len(keys), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(differs, np.arange(len(keys)), 0))]
    return first


class RecentIds:
    """Ids in memory, with their ordinals and the digests of their contents."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}  # key high and low: ordinal + 1 and content

    def __len__(self) -> int:
        return len(self._values)

    def lookup(self, keys: UInt64Array) -> tuple[Int64Array, UInt64Array]:
        """As `DedupIndex.lookup`."""
        get = self._values.get
        found = _as_pairs([get(key, _UNKNOWN) for key in _as_bytes(keys)])
        return found[:, 0].astype(np.int64) - 1, found[:, 1].copy()

    def add(self, keys: UInt64Array, ordinals: Int64Array, contents: UInt64Array) -> None:
        """As `DedupIndex.add`."""
        values = np.empty((len(keys), 2), np.uint64)
        values[:, 0], values[:, 1] = ordinals + 1, contents
        self._values.update(zip(_as_bytes(keys), _as_bytes(values), strict=True))

    def sorted_records(self) -> UInt64Array:
        """The columns of a run, uint64[4, n]."""
        records = np.concatenate([_as_pairs(self._values), _as_pairs(self._values.values())], axis=1).T
        return records.take(_order(records[0], records[1])[0], axis=1)


class RunPart:
    """A memory-mapped file of a run; `ValueError` where it is not what was written under its name."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        words = np.frombuffer(self._map, np.uint64)
        if len(words) < _HEADER_WORDS or words[0] != _MAGIC or not self.is_whole():
            raise ValueError(name)
        self.level, self.parts = int(words[1]), int(words[2])
        self.records: UInt64Array = words[_HEADER_WORDS:].reshape(4, int(words[3]))

    def is_whole(self) -> bool:
        """Whether its checksum is right; reads it all."""
        self._check_size()
        words = np.frombuffer(self._map, np.uint64)
        checksum = _checksum(self.name, words[: _HEADER_WORDS - 1], words[_HEADER_WORDS:])
        self.release()
        return checksum == int(words[_HEADER_WORDS - 1])

    def release(self) -> None:
        """Leave what was read of it to the page cache: it is not resident memory until it is read again."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def find(self, high: UInt64Array, low: UInt64Array) -> Iterator[tuple[Int64Array, UInt64Array]]:
        """Which rows of keys, sorted by their first halves, are here; and their records, uint64[4, found]."""
        self._check_size()
        highs, lows = self.records[:2]
        at = highs.searchsorted(high)
        rows = np.flatnonzero(highs.take(at, mode="clip") == high)
        at = at[rows]
        while len(rows):  # a second time only where keys share their first half
            same = lows[at] == low[rows]
            yield rows[same], self.records[:, at[same]]
            rows, at = rows[~same], at[~same] + 1
            more = (highs.take(at, mode="clip") == high[rows]) & (at < len(highs))
            rows, at = rows[more], at[more]

    def _check_size(self) -> None:
        # A page behind the end of a file that was cut reads as zeros, or ends the process.
        if self._map.size() != len(self._map):
            raise _damaged(self.name, "it is shorter than it was")


class SortedRun:
    """The parts of a run, none of them missing."""

    def __init__(self, parts: Sequence[RunPart]) -> None:
        if len(parts) != parts[0].parts:
            raise _damaged(parts[0].name, "a part of its run is missing")
        self.parts, self.level, self._bounds = parts, parts[0].level, _bounds(len(parts))

    def __len__(self) -> int:
        return sum(part.records.shape[1] for part in self.parts)

    def find(self, high: UInt64Array, low: UInt64Array) -> Iterator[tuple[Int64Array, UInt64Array]]:
        """As `RunPart.find`."""
        cuts = [0, *high.searchsorted(self._bounds).tolist(), len(high)]
        for part, (start, stop) in zip(self.parts, pairwise(cuts), strict=True):
            if start < stop and part.records.size:
                for rows, records in part.find(high[start:stop], low[start:stop]):
                    yield rows + start, records


class DedupIndex:
    """Every id that a shard has processed, with its ordinal and the digest of its content.

    One thread, the owner's, calls `lookup`, `add`, `freeze` and `thaw`; another may call `write` and `drop_obsolete`
    meanwhile. A checkpoint goes: `freeze` together with the copy of the state, `write`, make the snapshot that names
    `write`'s runs durable, `drop_obsolete`, `thaw`.
    """

    def __init__(self, cache_dir: Path, runs: Iterable[SortedRun] = ()) -> None:
        self._cache_dir = cache_dir
        self._recent = RecentIds()
        self._frozen: tuple[RecentIds, ...] = ()
        # Replaced as a whole, so that a lookup on another thread sees all of a merge or nothing of it.
        self._runs: tuple[SortedRun, ...] = tuple(runs)
        self._replaced: list[SortedRun] = []
        self._written = 0

    @classmethod
    def create(cls, cache_dir: Path) -> "DedupIndex":
        """An index that knows nobody; copies of its runs will lie in `cache_dir`."""
        return cls(cache_dir)

    @classmethod
    def load(cls, manifest: Iterable[str], blobs: BlobStore, cache_dir: Path) -> "DedupIndex":
        """The index whose runs a snapshot named; reads every run once.

        Raises:
            JournalDamaged: a run is missing, damaged or of an older format: rebuild the index from the journal.
            StoreUnavailable: the store did not answer.
        """
        runs = []
        for _, names in groupby(sorted(manifest), lambda name: name.rpartition("-")[0]):
            parts = []
            for name in names:
                try:
                    parts.append(_open_part(name, blobs, cache_dir))
                except (FileNotFoundError, NotFound) as error:
                    raise _damaged(name, "it is missing") from error
            runs.append(SortedRun(parts))
        return cls(cache_dir, runs)

    def __len__(self) -> int:
        """How many ids are held; one that was added to two runs counts twice until they are merged."""
        return len(self._recent) + sum(map(len, self._frozen)) + sum(map(len, self._runs))

    def lookup(self, keys: UInt64Array) -> tuple[Int64Array, UInt64Array]:
        """What is known of `keys`, uint64[n, 2]: the ordinals, int64[n], -1 where unknown; and the contents, uint64[n].

        Raises:
            JournalDamaged: a run can no longer be read.
        """
        ordinals, contents = self._recent.lookup(keys)
        for frozen in self._frozen:
            older, older_contents = frozen.lookup(keys)
            contents = np.where(ordinals < 0, older_contents, contents)
            ordinals = np.maximum(ordinals, older)
        unknown = np.flatnonzero(ordinals < 0)
        unknown = unknown[np.argsort(keys[unknown, 0])]
        high, low = np.ascontiguousarray(keys[unknown].T)
        for run in self._runs:
            for rows, records in run.find(high, low):
                ordinals[unknown[rows]] = records[2].astype(np.int64) - 1
                contents[unknown[rows]] = records[3]
        return ordinals, contents

    def add(self, keys: UInt64Array, ordinals: Int64Array, contents: UInt64Array) -> None:
        """Take ids in: uint64[n, 2], int64[n] (not negative), uint64[n].

        An id added again with its old values, as when the journal is replayed over runs that hold it already,
        does no harm.
        """
        self._recent.add(keys, ordinals, contents)

    def freeze(self) -> RecentIds:
        """Set the recent ids aside to be written; they stay known. Cheap: nothing is sorted or copied."""
        frozen, self._recent = self._recent, RecentIds()
        self._frozen = (*self._frozen, frozen)
        return frozen

    def write(self, frozen: RecentIds, blobs: BlobStore, prefix: str, epoch: int) -> list[str]:
        """Write frozen ids as a run and merge what has become many; blocks, for any thread.

        Args:
            frozen: what `freeze` gave.
            blobs: where runs lie.
            prefix: what their names begin with.
            epoch: of the writer, who has one index in it: no two runs have the same name.

        Returns:
            The names that a snapshot has to keep for `load`, durable. They hold all ids known at the `freeze`.

        Raises:
            JournalDamaged: a run that was to be merged is no longer what was written.
        """
        if frozen:
            run = self._write_run([frozen.sorted_records()], 0, blobs, f"{prefix}{epoch:010d}")
            self._runs = (*self._runs, run)
        while crowd := self._crowd():
            parts = [part for run in crowd for part in run.parts]
            for part in parts:
                if not part.is_whole():  # its damage would get a good checksum
                    raise _damaged(part.name, "its checksum is wrong")
            sources, level = [part.records for part in parts], crowd[0].level + 1
            merged = self._write_run(sources, level, blobs, f"{prefix}{epoch:010d}")
            self._runs = (*(run for run in self._runs if run not in crowd), merged)
            self._replaced += crowd
        parts = [part for run in self._runs for part in run.parts]
        for part in parts:
            part.release()
        return [part.name for part in parts]

    def thaw(self, frozen: RecentIds) -> None:
        """Let go of frozen ids that `write` has put into a run."""
        self._frozen = tuple(other for other in self._frozen if other is not frozen)

    def drop_obsolete(self, blobs: BlobStore) -> None:
        """Delete the runs that merges replaced; only once a snapshot that does not name them is durable."""
        while self._replaced:
            for part in self._replaced[0].parts:
                blobs.delete(part.name)
                if part.path.is_relative_to(self._cache_dir):
                    part.path.unlink(missing_ok=True)
            del self._replaced[0]

    def sweep_orphans(self, blobs: BlobStore, prefix: str) -> None:
        """Delete the runs under `prefix` that are not in use: what a writer left behind when it ended.

        Only for the owner of the newest epoch, when it has just started.
        """
        used = {part.name for run in (*self._runs, *self._replaced) for part in run.parts}
        for name in blobs.list(prefix):
            if name not in used:
                blobs.delete(name)

    def _crowd(self) -> list[SortedRun]:
        """The oldest runs of the lowest level that holds too many, if one does."""
        for level in sorted({run.level for run in self._runs}):
            runs = sorted(
                (run for run in self._runs if run.level == level), key=lambda run: run.parts[0].name
            )
            if len(runs) >= FAN_OUT:
                return runs[:FAN_OUT]
        return []

    def _write_run(
        self, sources: Sequence[UInt64Array], level: int, blobs: BlobStore, stem: str
    ) -> SortedRun:
        """Make sorted records, uint64[4, n] each, one run; durable when it returns."""
        self._written += 1
        count = -(-sum(source.shape[1] for source in sources) // PART_RECORDS)
        names = [f"{stem}-{self._written:08d}-{part:04d}.ids" for part in range(count)]
        for name, records in zip(names, _merge(sources, count), strict=True):
            header = np.array([_MAGIC, level, count, records.shape[1], 0], np.uint64)
            header[-1] = _checksum(name, header[:-1], records)
            blobs.put(name, header.tobytes() + records.tobytes())
        return SortedRun([_open_part(name, blobs, self._cache_dir) for name in names])


def _merge(sources: Sequence[UInt64Array], parts: int) -> Iterator[UInt64Array]:
    """The records of sorted sources in as many parts, each sorted; of those with the same key one is kept."""
    bounds = _bounds(parts)
    cuts = [[0, *source[0].searchsorted(bounds).tolist(), source.shape[1]] for source in sources]
    for part in range(parts):
        pieces = [source[:, at[part] : at[part + 1]] for source, at in zip(sources, cuts, strict=True)]
        records = np.concatenate(pieces, axis=1)
        order, differs = _order(records[0], records[1])
        yield records.take(order[differs], axis=1)


def _bounds(parts: int) -> UInt64Array:
    """Where the parts of a run but the first begin."""
    return np.array([part * 2**64 // parts for part in range(1, parts)], np.uint64)


def _order(high: UInt64Array, low: UInt64Array) -> tuple[Int64Array, BoolArray]:
    """The places of keys as they are sorted, equal ones as they came; and whether each differs from the one before."""
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    differs = np.ones(len(order), np.bool_)
    differs[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return order, differs


def _open_part(name: str, blobs: BlobStore, cache_dir: Path) -> RunPart:
    """A part from a local file that holds it as it was written; a copy that does not is fetched again."""
    for _ in range(2):
        path = blobs.local_copy(name, cache_dir)
        with suppress(ValueError):
            return RunPart(name, path)
        if not path.is_relative_to(cache_dir):
            break
        path.unlink()
    raise _damaged(name, "its checksum is wrong, or its format an older one")


def _checksum(name: str, header: UInt64Array, records: UInt64Array) -> int:
    return zlib.crc32(records.data, zlib.crc32(header.data, zlib.crc32(name.rpartition("/")[2].encode())))


def _damaged(name: str, why: str) -> JournalDamaged:
    return JournalDamaged(f"identity run {name} cannot be used: {why}", record=name)


def _as_bytes(pairs: UInt64Array) -> list[bytes]:
    """Each row of uint64[n, 2] as 16 bytes."""
    rows: list[bytes] = np.ascontiguousarray(pairs).view("V16").ravel().tolist()
    return rows


def _as_pairs(rows: Iterable[bytes]) -> UInt64Array:
    """The uint64[n, 2] that `_as_bytes` took apart."""
    return np.frombuffer(b"".join(rows), np.uint64).reshape(-1, 2)
