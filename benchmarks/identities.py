"""How fast ids are found, written and merged, and what memory they take: `python -m benchmarks.identities`.

The store under it is the local one, in a temporary folder; sizes and times are of this machine.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from raysignal.engine.core.arrays import UInt64Array
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.dedup import DedupIndex, first_in_batch, portfolio_keys
from raysignal.engine.journal.stores import open_stores

_SEALED_AT = 65_536
_BATCH = 10_000
_PREFIX = "shard-0/identities/"


def measure(sizes: tuple[int, ...] = (1_000_000, 5_000_000)) -> list[Figure]:
    """The figures, at each number of stored ids."""
    with tempfile.TemporaryDirectory() as folder:
        blobs = open_stores((Path(folder) / "store").as_uri()).blobs
        return _measure(sizes, blobs, Path(folder) / "cache")


def _measure(sizes: tuple[int, ...], blobs: BlobStore, cache_dir: Path) -> list[Figure]:
    figures: list[Figure] = []

    def note(what: str, value: float, unit: str) -> None:
        figures.append(
            Figure("identities", f"{what}, {stored // 1_000_000} million stored", value, unit, better="less")
        )

    stored = 0
    _fill(DedupIndex.create(cache_dir / "warm"), blobs, 0, 9 * 64, 64, epoch=0)
    before = _rss_mb()
    identities = DedupIndex.create(cache_dir)
    manifest: list[str] = []
    for size in sizes:
        seals, manifest = _fill(identities, blobs, stored, size - stored, _SEALED_AT, epoch=1)
        stored = size
        note("memory of the index (RSS over what the process had before)", _rss_mb() - before, "MB")
        note("runs and parts in the manifest", len(manifest), "names")
        note("seal of 65 536 (median, merges left out)", statistics.median(seals) * 1e3, "ms")
        note("seal of 65 536 (longest, with merges)", max(seals) * 1e3, "ms")
        absent = _keys(1 << 40, _BATCH)
        present = _keys_at(np.random.default_rng(7).integers(0, stored, _BATCH))
        note("look up 10 000 absent", _best(identities.lookup, absent) * 1e3, "ms")
        note(
            "look up 10 000 present, anywhere",
            _best(identities.lookup, present) * 1e3,
            "ms",
        )
        note("look up 1 absent", _best(identities.lookup, absent[:1]) * 1e6, "µs")
        note("look up 1 present", _best(identities.lookup, present[:1]) * 1e6, "µs")
        note("memory after the lookups", _rss_mb() - before, "MB")
        start = time.perf_counter()
        DedupIndex.load(manifest, blobs, cache_dir)
        note("load", time.perf_counter() - start, "s")
    keys = _keys(1 << 41, _BATCH)
    note("first_in_batch of 10 000", _best(first_in_batch, keys) * 1e3, "ms")
    return figures


def _fill(
    identities: DedupIndex, blobs: BlobStore, first: int, n: int, sealed_at: int, epoch: int
) -> tuple[list[float], list[str]]:
    """Add n ids with a checkpoint every so many; the time of each checkpoint and the last manifest."""
    seals, manifest = [], []
    for start in range(first, first + n, sealed_at):
        count = min(sealed_at, first + n - start)
        identities.add(
            _keys(start, count), np.arange(start, start + count), np.arange(count, dtype=np.uint64)
        )
        begin = time.perf_counter()
        frozen = identities.freeze()
        manifest = identities.write(frozen, blobs, _PREFIX, epoch)
        identities.thaw(frozen)
        seals.append(time.perf_counter() - begin)
        identities.drop_obsolete(blobs)
    return seals, manifest


def _keys(first: int, n: int) -> UInt64Array:
    return _keys_at(np.arange(first, first + n))


def _keys_at(numbers: np.ndarray[Any, Any]) -> UInt64Array:
    words = numbers.astype(np.uint64)
    return portfolio_keys(
        np.stack([words * np.uint64(0x9E3779B185EBCA87), words * np.uint64(0xC2B2AE3D27D4EB4F)], axis=1),
        "baseline",
    )


def _best(run: Callable[[UInt64Array], object], keys: UInt64Array, times: int = 15) -> float:
    elapsed = []
    for _ in range(times):
        start = time.perf_counter()
        run(keys)
        elapsed.append(time.perf_counter() - start)
    return min(elapsed)


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<75} {found.shown:>16}")
