"""A local journal that was cut or damaged gives back its durable prefix, or refuses; never anything else."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.journal.frames import JournalRecord
from raysignal.engine.journal.journal import Journal, damaged, verify
from raysignal.engine.journal.local import LocalStore
from tests.support.effort import examples

# Without shrinking, which would try each byte again and again.
_PHASES = (Phase.explicit, Phase.generate)

# Whatever bytes, and some with long runs of zeros; the first byte keeps a whole sector from being zeros.
payloads = st.binary(max_size=40) | st.builds(
    lambda head, size: head + b"\0" * size, st.binary(min_size=1, max_size=3), st.integers(0, 500)
)
commits = st.lists(st.lists(payloads, min_size=1, max_size=3), min_size=1, max_size=2)
histories = st.lists(commits, min_size=1, max_size=3)
_reused = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
quick = settings(max_examples=examples(25), suppress_health_check=_reused)
# Every byte of every journal is tried: thousands of recoveries an example.
exhaustive = settings(
    max_examples=1 + settings().max_examples // 50, suppress_health_check=_reused, phases=_PHASES
)


@pytest.fixture
def fresh(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> "Fresh":
    return Fresh(tmp_path_factory)


class Fresh:
    """Journals in directories of their own."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory

    def store(self, segment_size: int = 1 << 20) -> LocalStore:
        return LocalStore(self._factory.mktemp("journal"), segment_size=segment_size)


def write(store: LocalStore, history: list[list[list[bytes]]]) -> None:
    """One writer an entry, each with its commits."""
    for commits_of_one in history:
        with Journal.open(store) as journal:
            for _ in journal.replay():
                pass
            for payloads_of_one in commits_of_one:
                journal.write(journal.prepare(payloads_of_one))


def shown(records: list[JournalRecord]) -> list[tuple[int, int, bytes, bytes]]:
    return [(record.sequence, record.epoch, bytes(record.payload), record.digest) for record in records]


def read_or_refused(store: LocalStore) -> list[JournalRecord] | JournalDamaged:
    try:
        return list(Journal.read(store))
    except JournalDamaged as error:
        return error


def put(path: Path, at: int, byte: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


def segments(store: LocalStore) -> list[Path]:
    return sorted(store.directory.glob("*.segment"))


@exhaustive
@given(histories)
@example([[[b"a"], [b"b", b"c"]], [[b"d", b"e" * 600]]])
def test_cut_at_every_byte_the_journal_recovers_exactly_the_whole_records_before_the_cut(
    fresh: Fresh, history: list[list[list[bytes]]]
) -> None:
    store = fresh.store()
    write(store, history)
    truth = list(Journal.read(store))
    last = segments(store)[-1]
    whole = last.read_bytes()
    epoch = int(last.name[:10])
    ends = {r.sequence: r.offset + 64 + len(r.payload) for r in truth if r.epoch == epoch}
    for size in reversed(range(len(whole))):
        with last.open("r+b") as file:
            file.truncate(size)
        expected = [r for r in truth if r.epoch != epoch or ends[r.sequence] <= size]
        assert shown(list(Journal.read(store))) == shown(expected)


@quick
@given(histories, commits, st.data())
def test_cut_journal_goes_on_after_its_durable_prefix(
    fresh: Fresh, history: list[list[list[bytes]]], more: list[list[bytes]], data: st.DataObject
) -> None:
    store = fresh.store()
    write(store, history)
    last = segments(store)[-1]
    with last.open("r+b") as file:
        file.truncate(data.draw(st.integers(0, last.stat().st_size)))
    recovered = list(Journal.read(store))
    position = verify(store)
    with Journal.open(store) as journal:
        assert shown(list(journal.replay())) == shown(recovered)
        assert journal.position.sequence == position.sequence + 1
        for payloads_of_one in more:
            journal.write(journal.prepare(payloads_of_one))
    payloads_now = [bytes(record.payload) for record in Journal.read(store)]
    assert payloads_now == [bytes(r.payload) for r in recovered] + [p for commit in more for p in commit]


@pytest.mark.slow
@exhaustive
@given(histories, st.integers(1, 255))
@example([[[b"a"], [b"b", b"c" * 600]], [[b"d", b"e"]]], 1)
def test_every_flipped_byte_is_refused_by_name_or_changes_nothing(
    fresh: Fresh, history: list[list[list[bytes]]], mask: int
) -> None:
    store = fresh.store(segment_size=1024)
    write(store, history)
    truth = list(Journal.read(store))
    end = verify(store).sequence
    refused = 0
    for path in segments(store):
        whole = path.read_bytes()
        for at in range(len(whole)):
            put(path, at, whole[at] ^ mask)
            found = read_or_refused(store)
            put(path, at, whole[at])
            if isinstance(found, JournalDamaged):
                refused += 1
                assert found.fields["file"] == path.name
                assert found.fields["offset"] <= at
                assert 1 <= found.fields["sequence"] <= end
            else:
                assert shown(found) == shown(truth)
    # Every byte is covered but the padding: header and payload, those of the takeovers (4 bytes each) as well.
    assert refused == sum(64 + len(record.payload) for record in truth) + len(history) * 68


@quick
@given(histories, st.data())
def test_what_is_refused_when_read_is_refused_when_opened(
    fresh: Fresh, history: list[list[list[bytes]]], data: st.DataObject
) -> None:
    store = fresh.store()
    write(store, history)
    truth = shown(list(Journal.read(store)))
    path = data.draw(st.sampled_from(segments(store)))
    whole = bytearray(path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    found = read_or_refused(store)
    if isinstance(found, JournalDamaged):
        with pytest.raises(JournalDamaged) as caught, Journal.open(store) as journal:
            list(journal.replay())
        assert caught.value.fields["sequence"] == found.fields["sequence"]
    else:
        with Journal.open(store) as journal:
            assert shown(list(journal.replay())) == truth


@quick
@given(histories, st.data())
def test_sectors_that_the_disk_lost_from_the_last_commit_are_a_torn_write(
    fresh: Fresh, history: list[list[list[bytes]]], data: st.DataObject
) -> None:
    store = fresh.store()
    big = data.draw(st.lists(st.binary(min_size=300, max_size=900).filter(_no_zeros), min_size=1, max_size=3))
    write(store, history)
    with Journal.open(store) as journal:
        for _ in journal.replay():
            pass
        journal.write(journal.prepare([b"durable"]))
        journal.write(journal.prepare(big))
    truth = list(Journal.read(store))
    path = segments(store)[-1]
    whole = bytearray(path.read_bytes())
    begin = truth[-len(big)].offset
    sectors = range(begin, len(whole), 512)
    for at in data.draw(st.sets(st.sampled_from(sectors), min_size=1)):
        whole[at : at + 512] = bytes(512)
    path.write_bytes(whole)
    recovered = list(Journal.read(store))
    assert shown(recovered) == shown(truth[: len(recovered)])
    assert len(recovered) >= len(truth) - len(big)


def _no_zeros(payload: bytes) -> bool:
    return b"\0" * 2 not in payload


def test_damage_error_survives_the_way_between_processes() -> None:
    import pickle

    error = damaged(3, "a.segment", 64, "the payload's checksum is wrong")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, JournalDamaged)
    assert (str(again), again.fields) == (str(error), error.fields)
