"""The index of ids: the window, what is on its way into a run, and the runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raysignal.engine.core.arrays import Int64Array, UInt64Array
from raysignal.engine.journal.dedup.merge import merge
from raysignal.engine.journal.dedup.runs import SortedRun, open_runs, write_run
from raysignal.engine.journal.dedup.window import FrozenIds, RecentIds

if TYPE_CHECKING:
    from raysignal.engine.journal.blobs import BlobStore

FAN_OUT = 8
"""As many runs of one level are merged into one of the next."""


class Identities:
    """Every id that a shard has processed, with its ordinal and the digest of its content.

    One thread, the owner's, calls `lookup`, `add`, `freeze` and `thaw`; another may call `write` and
    `drop_obsolete` meanwhile. A checkpoint goes: `freeze` together with the copy of the state, `write`, make
    the snapshot that names `write`'s runs durable, `drop_obsolete`, `thaw`.
    """

    def __init__(self, cache_dir: Path, runs: Iterable[SortedRun] = ()) -> None:
        self._cache_dir = cache_dir
        self._window = RecentIds()
        self._frozen: tuple[FrozenIds, ...] = ()
        # Replaced as a whole, so that a lookup on another thread sees all of a merge or nothing of it.
        self._runs: tuple[SortedRun, ...] = tuple(runs)
        self._replaced: list[SortedRun] = []
        self._last_number = max((run.number for run in self._runs), default=0)

    @classmethod
    def create(cls, cache_dir: Path) -> Identities:
        """An index that knows nobody; copies of its runs will lie in `cache_dir`."""
        return cls(cache_dir)

    @classmethod
    def load(cls, manifest: Iterable[str], blobs: BlobStore, cache_dir: Path) -> Identities:
        """The index whose runs a snapshot named; reads every run once.

        Raises:
            JournalDamaged: a run is missing or damaged; the index has to be rebuilt from the journal.
            StoreUnavailable: the store did not answer.
        """
        return cls(cache_dir, open_runs(manifest, blobs, cache_dir))

    def __len__(self) -> int:
        """How many ids are held; one that was added to two runs counts twice until they are merged."""
        return (
            self._window.count
            + sum(frozen.count for frozen in self._frozen)
            + sum(run.count for run in self._runs)
        )

    @property
    def window_count(self) -> int:
        """How many ids wait in memory to be frozen."""
        return self._window.count

    def lookup(self, keys: UInt64Array) -> tuple[Int64Array, UInt64Array]:
        """What is known of `keys`, uint64[n, 2]: the ordinals, int64[n], -1 where unknown; and the contents.

        Raises:
            JournalDamaged: a run can no longer be read.
        """
        n = keys.shape[0]
        place = np.zeros(n, np.int64)
        content = np.zeros(n, np.uint64)
        wanted = np.arange(n)
        found = self._window.look_up(keys, wanted, place, content)
        sources: tuple[FrozenIds | SortedRun, ...] = (*self._frozen, *self._runs)
        for source in sources:
            if found:
                wanted = np.flatnonzero(place == 0)
            if not wanted.shape[0]:
                break
            found = source.look_up(keys, wanted, place, content)
        return place - 1, content

    def add(self, keys: UInt64Array, ordinals: Int64Array, contents: UInt64Array) -> None:
        """Take new ids in: uint64[n, 2], int64[n] (not negative), uint64[n].

        An id added again with its old values, as when the journal is replayed over runs that hold it already,
        does no harm.
        """
        self._window.add(keys, ordinals, contents)

    def freeze(self) -> FrozenIds:
        """Set the recent ids aside to be written; they stay known. Cheap: nothing is sorted or copied."""
        frozen = self._window.freeze()
        if frozen.count:
            self._frozen = (*self._frozen, frozen)
        return frozen

    def write(self, frozen: FrozenIds, blobs: BlobStore, prefix: str, epoch: int) -> list[str]:
        """Write frozen ids as a run and merge what has become many; blocks, for any thread.

        Args:
            frozen: what `freeze` gave.
            blobs: where runs lie.
            prefix: what their names begin with.
            epoch: the writer's: no other writer has it, so none makes the same names.

        Returns:
            The names that a snapshot has to keep for `load`, durable. They hold all ids known at the `freeze`.
        """
        if frozen.count:
            run = write_run(
                blobs, prefix, self._cache_dir, epoch=epoch, number=self._take_number(), level=0,
                capacity=frozen.count, records=[frozen.in_order()],
            )  # fmt: skip
            self._runs = (*self._runs, run)
        while (crowd := self._crowd()) is not None:
            merged = write_run(
                blobs, prefix, self._cache_dir, epoch=epoch, number=self._take_number(),
                level=crowd[0].level + 1, capacity=sum(run.count for run in crowd),
                records=merge([run.stream() for run in crowd]),
            )  # fmt: skip
            self._runs = (*(run for run in self._runs if run not in crowd), merged)
            self._replaced += crowd
        return [name for run in self._runs for name in run.names]

    def thaw(self, frozen: FrozenIds) -> None:
        """Let go of frozen ids that `write` has put into a run."""
        self._frozen = tuple(other for other in self._frozen if other is not frozen)

    def drop_obsolete(self, blobs: BlobStore) -> None:
        """Delete the runs that merges replaced; only once a snapshot that does not name them is durable."""
        while self._replaced:
            run = self._replaced[0]
            for name, path in zip(run.names, run.paths, strict=True):
                blobs.delete(name)
                if path.is_relative_to(self._cache_dir):
                    path.unlink(missing_ok=True)
            del self._replaced[0]

    def sweep_orphans(self, blobs: BlobStore, prefix: str) -> None:
        """Delete the runs under `prefix` that are not in use: what a writer left behind when it ended.

        Only for the owner of the newest epoch, when it has just started.
        """
        used = {name for run in (*self._runs, *self._replaced) for name in run.names}
        for name in blobs.list(prefix):
            if name not in used:
                blobs.delete(name)

    def _crowd(self) -> list[SortedRun] | None:
        """The oldest runs of the lowest level that holds too many."""
        for level in sorted({run.level for run in self._runs}):
            runs = [run for run in self._runs if run.level == level]
            if len(runs) >= FAN_OUT:
                return sorted(runs, key=lambda run: (run.epoch, run.number))[:FAN_OUT]
        return None

    def _take_number(self) -> int:
        self._last_number += 1
        return self._last_number
