"""Faults put into the core on purpose: a simulation that cannot find these proves nothing."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np

from raysignal.engine.journal.dedup import DedupIndex
from raysignal.engine.journal.local import LocalStore, LocalWriter
from raysignal.engine.portfolio.receipt_lookup import LedgerSpan
from raysignal.engine.portfolio.shard import Shard
from tests.simulation.bucket import Objects
from tests.simulation.disk import SimAppendFile, SimDisk
from tests.simulation.runs import Failure, run_one


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault, where it is put in, and the store on which it must be found; the search begins at a seed."""

    name: str
    store: str
    insert: Callable[[], AbstractContextManager[object]]
    seed: int = 0


def _no_sync() -> AbstractContextManager[object]:
    whole = SimAppendFile.sync

    def sync(file: SimAppendFile) -> None:
        if not file.name.endswith(".segment"):
            whole(file)

    return patch.object(SimAppendFile, "sync", sync)


def _no_sync_of_names() -> AbstractContextManager[object]:
    return patch.object(SimDisk, "sync_dir", lambda _disk, _path: None)


def _always_new(_index: DedupIndex, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(keys), -1), np.zeros(len(keys), np.uint64)


def _forgets_the_last_commit() -> AbstractContextManager[object]:
    whole = Shard._replay

    def replay(shard: Shard, record: object) -> None:
        if record.sequence < shard.sequence - 1:
            whole(shard, record)

    return patch.object(Shard, "_replay", replay)


MUTANTS = (
    Mutant("the local store does not sync what it appends", "local", _no_sync, seed=13),
    Mutant("the local store does not sync names", "local", _no_sync_of_names, seed=7),
    Mutant(
        "the local store does not look for a newer writer after it appended",
        "local",
        lambda: patch.object(LocalWriter, "_check_not_fenced", lambda _writer: None),
        seed=22,
    ),
    Mutant(
        "whatever cannot be read is taken for a torn tail",
        "local",
        lambda: patch.object(LocalStore, "_is_torn", lambda *_: True),
        seed=33,
    ),
    Mutant(
        "the bucket does not enforce conditional writes",
        "s3",
        lambda: patch.object(Objects, "unsafe", new=True),
    ),
    Mutant(
        "a signal is acknowledged before its commit is written",
        "local",
        lambda: patch.object(Shard, "durable", property(lambda shard: shard.sequence)),
    ),
    Mutant("no id is ever known", "local", lambda: patch.object(DedupIndex, "lookup", _always_new)),
    Mutant(
        "the runs of a snapshot are not read",
        "s3",
        lambda: patch.object(DedupIndex, "load", lambda _names, _blobs, cache: DedupIndex.create(cache)),
    ),
    Mutant("a replay leaves the last record out", "s3", _forgets_the_last_commit),
    Mutant(
        "the account before a history file is that before its stretch",
        "local",
        lambda: patch.object(LedgerSpan, "state_at", lambda past, _policy, _offset: past.state_before),
    ),
)


def first_failure(mutant: Mutant, seeds: range) -> Failure | None:
    """The first schedule that finds a mutant out."""
    with mutant.insert():
        for seed in seeds:
            failures = run_one(seed, mutant.store).failures
            if failures:
                return failures[0]
    return None
