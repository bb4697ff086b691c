import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raysignal.engine.journal.dedup import DedupIndex, RecentIds, first_in_batch
from tests.support.effort import examples
from tests.support.folder_blobs import FolderBlobs

PREFIX = "shard-0/identities/"

# Few distinct halves: ids collide in the hash slot, in the high half, and in the filter.
half = st.one_of(st.integers(0, 40), st.sampled_from([2**63, 2**64 - 1, 2**32]))
key = st.tuples(half, half)


def as_keys(keys: list[tuple[int, int]]) -> np.ndarray:
    return np.array(keys, np.uint64).reshape(len(keys), 2)


class IdentitiesAgainstADict(RuleBasedStateMachine):
    """Whatever is added, frozen, written, merged, lost in a crash and loaded: the index answers as a dict does."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.blobs = FolderBlobs(Path(self.folder.name) / "store")
        self.cache = Path(self.folder.name) / "cache"
        self.identities = DedupIndex.create(self.cache)
        self.known: dict[tuple[int, int], tuple[int, int]] = {}
        self.frozen: RecentIds | None = None
        self.durable: list[str] = []
        self.known_durable: dict[tuple[int, int], tuple[int, int]] = {}
        self.epoch = 1

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(keys=st.lists(key, min_size=1, max_size=60, unique=True))
    def add(self, keys: list[tuple[int, int]]) -> None:
        new = [pair for pair in keys if pair not in self.known]
        for pair in new:
            self.known[pair] = (len(self.known), (pair[0] * 31 + pair[1]) % 2**64)
        self.identities.add(
            as_keys(new),
            np.array([self.known[pair][0] for pair in new], np.int64),
            np.array([self.known[pair][1] for pair in new], np.uint64),
        )

    @precondition(lambda self: self.frozen is None)
    @rule()
    def freeze(self) -> None:
        self.frozen = self.identities.freeze()
        self.known_frozen = dict(self.known)

    @precondition(lambda self: self.frozen is not None)
    @rule(snapshot_is_durable=st.booleans())
    def write(self, snapshot_is_durable: bool) -> None:
        manifest = self.identities.write(self.frozen, self.blobs, PREFIX, self.epoch)
        if snapshot_is_durable:
            self.durable, self.known_durable = manifest, self.known_frozen
            self.identities.drop_obsolete(self.blobs)
        self.identities.thaw(self.frozen)
        self.frozen = None

    @rule(times=st.integers(1, 9))
    def checkpoints_in_a_row(self, times: int) -> None:
        for _ in range(times):
            if self.frozen is None:
                self.add([(len(self.known) + 1000, 7)])
                self.freeze()
            self.write(snapshot_is_durable=True)

    @rule(caches_survive=st.booleans())
    def crash(self, caches_survive: bool) -> None:
        """What no durable snapshot names is lost, and comes again from the journal."""
        lost = {pair: value for pair, value in self.known.items() if pair not in self.known_durable}
        self.epoch += 1
        self.frozen = None
        cache = self.cache if caches_survive else self.cache.with_name(f"cache-{self.epoch}")
        self.identities = DedupIndex.load(self.durable, self.blobs, cache)
        self.identities.sweep_orphans(self.blobs, PREFIX)
        assert self.blobs.list(PREFIX) == sorted(self.durable)
        if lost:
            self.identities.add(
                as_keys(list(lost)),
                np.array([value[0] for value in lost.values()], np.int64),
                np.array([value[1] for value in lost.values()], np.uint64),
            )

    @rule(asked=st.lists(key, max_size=40))
    def look_up_any(self, asked: list[tuple[int, int]]) -> None:
        self.compare(asked)

    @invariant()
    def all_that_is_known_is_found(self) -> None:
        if hasattr(self, "known"):
            self.compare(list(self.known))

    def compare(self, asked: list[tuple[int, int]]) -> None:
        ordinals, contents = self.identities.lookup(as_keys(asked))
        expected = [self.known.get(pair, (-1, 0)) for pair in asked]
        assert list(zip(ordinals.tolist(), contents.tolist(), strict=True)) == expected


TestIdentitiesAgainstADict = IdentitiesAgainstADict.TestCase
TestIdentitiesAgainstADict.settings = settings(
    max_examples=examples(60), stateful_step_count=30, deadline=None
)


@settings(deadline=None)  # the first call may compile
@given(st.lists(key, max_size=200))
def test_the_first_row_of_every_key_is_the_one_a_dict_would_keep(keys):
    first: dict[tuple[int, int], int] = {}
    expected = [first.setdefault(pair, row) for row, pair in enumerate(keys)]

    assert first_in_batch(as_keys(keys)).tolist() == expected
