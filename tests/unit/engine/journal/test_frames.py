"""Records as bytes: what is encoded is decoded, and nothing else is."""

import pytest

from raysignal.engine.journal.frames import (
    GENESIS,
    HEADER_SIZE,
    JournalPosition,
    begins_commit,
    encode,
    encode_takeover,
    previous_epoch_of,
    scan,
)

PAYLOADS = [b"first", b"", b"\0" * 40, b"last of four"]


def commit() -> tuple[bytes, JournalPosition]:
    buffers, position = encode(PAYLOADS, 7, GENESIS)
    return b"".join(buffers), position


def test_commit_is_decoded_as_it_was_encoded() -> None:
    data, position = commit()
    found = scan(data)
    assert found.fault is None
    assert found.stopped == len(data) == 4 * HEADER_SIZE + sum(map(len, PAYLOADS))
    assert [bytes(record.payload) for record in found.records] == PAYLOADS
    assert [record.sequence for record in found.records] == [1, 2, 3, 4]
    assert {record.epoch for record in found.records} == {7}
    assert found.records[-1].position == position
    assert not any(record.is_takeover for record in found.records)


def test_every_record_names_the_one_before_it() -> None:
    records = scan(commit()[0]).records
    assert records[0].previous == GENESIS.digest
    assert [record.previous for record in records[1:]] == [record.digest for record in records[:-1]]


def test_digest_depends_on_the_payload_the_epoch_and_everything_before() -> None:
    _, position = commit()
    digests = {position.digest}
    for payloads, epoch, after in (
        ([*PAYLOADS[:3], b"last of fouR"], 7, GENESIS),
        ([b"First", *PAYLOADS[1:]], 7, GENESIS),
        (PAYLOADS, 8, GENESIS),
        (PAYLOADS, 7, JournalPosition(0, b"\1" * 32)),
    ):
        digests.add(encode(payloads, epoch, after)[1].digest)
    assert len(digests) == 5


def test_payload_in_several_buffers_is_the_same_record_as_in_one() -> None:
    whole = encode([b"abcdef"], 1, GENESIS)
    parts = encode([[b"abc", bytearray(b"d"), memoryview(b"ef")]], 1, GENESIS)
    assert b"".join(parts[0]) == b"".join(whole[0])
    assert parts[1] == whole[1]


def test_payload_is_not_copied() -> None:
    payload = bytearray(1000)
    assert any(buffer is payload for buffer in encode([payload], 1, GENESIS)[0])


def test_memoryview_of_wider_items_counts_its_bytes() -> None:
    wide = memoryview(bytes(range(16))).cast("Q")
    (record,) = scan(b"".join(encode([wide], 1, GENESIS)[0])).records
    assert bytes(record.payload) == bytes(range(16))


def test_takeover_is_told_apart_and_names_the_epoch_it_follows() -> None:
    buffers, position = encode_takeover(9, JournalPosition(41, b"\2" * 32), 6, b"token")
    (record,) = scan(b"".join(buffers)).records
    assert record.is_takeover
    assert (record.sequence, record.epoch, previous_epoch_of(record)) == (42, 9, 6)
    assert record.position == position
    other, _ = encode_takeover(9, JournalPosition(41, b"\2" * 32), 6, b"other")
    assert b"".join(other) != b"".join(buffers)


def test_every_flipped_bit_stops_the_scan_at_its_record() -> None:
    data, _ = commit()
    truth = scan(data).records
    begins = [record.offset for record in truth]
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found = scan(bytes(flipped))
        index = sum(begin <= bit // 8 for begin in begins) - 1
        assert found.records == truth[:index]
        assert found.fault is not None
        assert found.fault.needed is None
        assert found.stopped == begins[index]


def test_every_cut_leaves_the_records_before_it() -> None:
    data, _ = commit()
    truth = scan(data).records
    ends = [*(record.offset for record in truth[1:]), len(data)]
    for size in range(len(data)):
        found = scan(data[:size])
        whole = sum(end <= size for end in ends)
        assert found.records == truth[:whole]
        assert (found.fault is None) == (size == found.stopped)
        assert found.fault is None or found.fault.needed is not None


def test_records_before_the_start_are_hopped_over_and_still_counted() -> None:
    data, _ = commit()
    for start in range(1, 7):
        found = scan(data, start=start)
        assert [record.sequence for record in found.records] == list(range(start, 5))
        assert found.reached == 4


def test_padding_between_commits_is_not_looked_at() -> None:
    first, position = commit()
    second = b"".join(encode([b"second"], 7, position)[0])
    for base in (0, 512, 5120):
        data = first + b"\xff" * (-len(first) % 512) + second
        found = scan(data, base, align=512)
        assert [record.sequence for record in found.records] == [1, 2, 3, 4, 5]
        assert found.records[-1].offset == base + 512


def test_only_the_first_header_of_a_commit_begins_one() -> None:
    data, _ = commit()
    begins = {at: sequence for at in range(len(data)) if (sequence := begins_commit(data, at)) is not None}
    assert begins == {0: 1}
    assert begins_commit(data[:63], 0) is None


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"\xff" * 200, b"RSJ" + b"\0" * 61])
def test_what_is_no_frame_gives_no_record(data: bytes) -> None:
    assert scan(data).records == []
    assert begins_commit(data, 0) is None
