"""What every journal store keeps, whatever it is made of."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from raysignal.engine.core.errors import Fenced, JournalDamaged, StoreError, StoreUnavailable
from raysignal.engine.journal.frames import GENESIS, JournalPosition
from raysignal.engine.journal.journal import Journal, JournalStore, records_at, verify
from tests.contract.conftest import Backend


def payloads_of(store: JournalStore) -> list[bytes]:
    return [bytes(record.payload) for record in Journal.read(store)]


def opened(store: JournalStore) -> Journal:
    journal = Journal.open(store)
    for _ in journal.replay():
        pass
    return journal


def commit(journal: Journal, *payloads: bytes) -> JournalPosition:
    journal.write(journal.prepare(payloads))
    return journal.position


def test_new_journal_replays_nothing_and_can_be_written(backend: Backend) -> None:
    with Journal.open(backend.journal()) as journal:
        assert list(journal.replay()) == []
        assert journal.epoch == 1
        commit(journal, b"first")
    assert payloads_of(backend.journal()) == [b"first"]


def test_everything_written_is_replayed_in_order_by_the_next_writer(backend: Backend) -> None:
    written = [f"payload {number}".encode() * (number % 5) for number in range(60)]
    with opened(backend.journal()) as journal:
        for begin in range(0, 60, 3):
            commit(journal, *written[begin : begin + 3])
    with Journal.open(backend.journal()) as journal:
        records = list(journal.replay())
    assert [bytes(record.payload) for record in records] == written
    assert [record.sequence for record in records] == list(range(2, 62))
    assert {record.epoch for record in records} == {1}


def test_sequence_numbers_and_positions_go_on_across_writers(backend: Backend) -> None:
    for number in range(1, 6):
        with opened(backend.journal()) as journal:
            assert journal.epoch == number
            position = commit(journal, b"%d" % number)
            assert position.sequence == 2 * number
    assert verify(backend.journal()) == position
    assert [record.epoch for record in Journal.read(backend.journal())] == [1, 2, 3, 4, 5]


def test_commit_knows_its_first_and_last_sequence_number(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        prepared = journal.prepare([b"a", b"b", b"c"])
        assert (prepared.first, prepared.last) == (2, 4)
        journal.write(prepared)
        assert journal.position.sequence == 4


def test_payload_of_several_buffers_is_one_record(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        journal.write(journal.prepare([[b"one ", bytearray(b"two "), memoryview(b"three")], []]))
    assert payloads_of(backend.journal()) == [b"one two three", b""]


def test_payload_larger_than_a_read_comes_back_whole(backend: Backend) -> None:
    large = bytes(range(256)) * 12_000
    with opened(backend.journal()) as journal:
        commit(journal, b"before", large, b"behind")
        commit(journal, b"after")
    assert payloads_of(backend.journal()) == [b"before", large, b"behind", b"after"]


def test_commit_of_many_records_comes_back_whole(backend: Backend) -> None:
    written = [b"%d" % number for number in range(30_000)]
    with opened(backend.journal()) as journal:
        commit(journal, *written)
    assert payloads_of(backend.journal()) == written


def test_replay_after_any_position_gives_exactly_the_rest(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        for number in range(12):
            commit(journal, b"%d a" % number, b"%d b" % number)
    with opened(backend.journal()) as journal:
        commit(journal, b"of the second writer")
        everything = list(journal.replay())
        assert list(journal.replay(GENESIS)) == everything
        for index, record in enumerate(everything):
            assert list(journal.replay(record.position)) == everything[index + 1 :]


def test_records_are_found_by_their_numbers_and_what_is_not_there_is_left_out(backend: Backend) -> None:
    large = bytes(range(256)) * 8_000
    for epoch in range(3):
        with opened(backend.journal()) as journal:
            for number in range(9):
                commit(journal, b"%d a" % number, large if number == 4 else b"%d b %d" % (number, epoch))
    every = {record.sequence: record for block in backend.journal().read(1) for record in block.records}
    assert len(every) == 57

    wanted = [[sequence] for sequence in every] + [[57, 3, 3, 30], [1, 58], [58, 900], [], [*every, 99]]

    for sequences in wanted:
        found = list(records_at(backend.journal(), sequences))
        assert found == [every[each] for each in sorted(set(sequences)) if each in every]


def test_opening_with_any_position_as_a_hint_finds_the_same_end(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        positions = [commit(journal, b"a", b"b", b"c") for _ in range(4)]
    wrong = [
        JournalPosition(3, b"\0" * 32),
        JournalPosition(2, b"\0" * 32),
        JournalPosition(5_000, b"\0" * 32),
    ]
    for hint in [*positions, *wrong, None]:
        before = verify(backend.journal())
        with Journal.open(backend.journal(), after=hint) as journal:
            assert journal.position.sequence == before.sequence + 1
            assert len(list(journal.replay())) == 12


@pytest.mark.parametrize("sequence", [1, 2, 3, 4, 50])
def test_position_of_another_history_is_refused_and_a_full_replay_still_works(
    backend: Backend, sequence: int
) -> None:
    with opened(backend.journal()) as journal:
        commit(journal, b"a", b"b")
    with Journal.open(backend.journal()) as journal:
        for reader in (journal.replay, lambda after: Journal.read(backend.journal(), after)):
            with pytest.raises(JournalDamaged) as caught:
                list(reader(JournalPosition(sequence, b"\1" * 32)))
            assert caught.value.fields["reason"] == "position"
            assert caught.value.fields["sequence"] == sequence
        assert len(list(journal.replay())) == 2


def test_stale_writer_is_fenced_and_leaves_no_record(backend: Backend) -> None:
    old = opened(backend.journal())
    commit(old, b"kept")
    new = opened(backend.journal())
    with pytest.raises(Fenced):
        commit(old, b"too late")
    with pytest.raises(Fenced):
        old.prepare([b"never"])
    commit(new, b"of the new one")
    assert payloads_of(backend.journal()) == [b"kept", b"of the new one"]
    for journal in (old, new):
        journal.close()


def test_stale_writer_learns_that_it_is_stale_without_writing(backend: Backend) -> None:
    old = opened(backend.journal())
    commit(old, b"kept")
    old.check_current()
    new = opened(backend.journal())
    with pytest.raises(Fenced):
        old.check_current()
    new.check_current()
    for journal in (old, new):
        journal.close()


def test_late_stale_commit_changes_nothing_that_the_new_writer_wrote(backend: Backend) -> None:
    old = opened(backend.journal())
    new = opened(backend.journal())
    commit(new, b"acknowledged")
    with pytest.raises(Fenced):
        commit(old, b"a", b"b", b"c")
    with opened(backend.journal()) as newest:
        assert [bytes(record.payload) for record in newest.replay()] == [b"acknowledged"]
    for journal in (old, new):
        journal.close()


def test_of_writers_that_open_at_once_every_acknowledged_record_is_kept(backend: Backend) -> None:
    barrier = threading.Barrier(4)

    def race(name: int) -> list[bytes]:
        acknowledged = []
        barrier.wait()
        try:
            with opened(backend.journal()) as journal:
                for number in range(5):
                    payload = b"%d %d" % (name, number)
                    commit(journal, payload)
                    acknowledged.append(payload)
        except Fenced:
            pass
        return acknowledged

    with ThreadPoolExecutor(4) as pool:
        acknowledged = [payload for one in pool.map(race, range(4)) for payload in one]
    verify(backend.journal())
    kept = payloads_of(backend.journal())
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))


def test_nothing_that_a_busy_writer_acknowledged_is_lost_when_another_takes_over(backend: Backend) -> None:
    old = opened(backend.journal())
    commit(old, b"0")
    acknowledged = [b"0"]
    busy = threading.Event()

    def keep_writing() -> None:
        try:
            for number in range(1, 100_000):
                commit(old, b"%d" % number)
                acknowledged.append(b"%d" % number)
                busy.set()
                # As busy as a real one, which does more than write: whoever takes over needs several requests.
                for _ in range(4):
                    old.check_current()
        except Fenced:
            return

    writer = threading.Thread(target=keep_writing)
    writer.start()
    assert busy.wait(30)
    with opened(backend.journal()) as new:
        writer.join()
        commit(new, b"new")
    kept = payloads_of(backend.journal())
    assert kept[: len(acknowledged)] == acknowledged
    assert kept[-1] == b"new"
    # One more may be there: its fate was unknown to the old writer.
    assert len(kept) - len(acknowledged) in {1, 2}
    old.close()


def test_reading_takes_nothing_over(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        commit(journal, b"a")
        assert payloads_of(backend.journal()) == [b"a"]
        verify(backend.journal())
        commit(journal, b"b")
    assert payloads_of(backend.journal()) == [b"a", b"b"]


def test_reading_a_journal_that_was_never_opened_finds_nothing(backend: Backend) -> None:
    assert payloads_of(backend.journal()) == []
    assert verify(backend.journal()) == GENESIS


def test_writing_after_a_history_that_was_not_read_is_refused(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        commit(journal, b"a")
    with Journal.open(backend.journal()) as journal:
        with pytest.raises(RuntimeError, match="replay"):
            journal.prepare([b"b"])
        next(journal.replay())
        with pytest.raises(RuntimeError, match="replay"):
            journal.prepare([b"b"])
        list(journal.replay())
        commit(journal, b"b")


def test_one_commit_at_a_time_and_each_only_once(backend: Backend) -> None:
    with opened(backend.journal()) as journal:
        prepared = journal.prepare([b"a"])
        with pytest.raises(RuntimeError, match="not written"):
            journal.prepare([b"b"])
        journal.write(prepared)
        with pytest.raises(RuntimeError, match="once"):
            journal.write(prepared)
        with pytest.raises(RuntimeError, match="at least one"):
            journal.prepare([])


def test_closed_journal_refuses(backend: Backend) -> None:
    journal = opened(backend.journal())
    journal.close()
    journal.close()
    with pytest.raises(StoreUnavailable):
        journal.prepare([b"a"])


def test_journal_after_a_failed_write_refuses_until_opened_anew(backend: Backend) -> None:
    journal = opened(backend.journal())
    with pytest.raises(TypeError):
        journal.write(journal.prepare(["not bytes"]))  # type: ignore[list-item]
    with pytest.raises(StoreError):
        journal.prepare([b"a"])
    journal.close()
    with opened(backend.journal()) as again:
        commit(again, b"a")


def test_probe_accepts_the_store_and_leaves_it_as_it_was(backend: Backend) -> None:
    backend.journal().probe()
    with opened(backend.journal()) as journal:
        commit(journal, b"a")
        backend.journal().probe()
        commit(journal, b"b")
    assert payloads_of(backend.journal()) == [b"a", b"b"]
