"""The journal: the one truth that everything else is rebuilt from.

A `Journal` is the writer's side of one chain of records in a `JournalStore`; `read` and `verify` look without
taking anything over. There is no thread, no clock and no event loop in here: `prepare` is cheap and runs
wherever the state is kept, `write` blocks until the records are durable and runs in a thread of the caller's.

What it promises:

- A record is durable when `write` returns. When `write` raises, the fate of its records is unknown; the
  journal then refuses every further call, and whoever opens it next finds out what is there.
- The records of one commit are written together but each stands for itself: a crash can leave the first ones
  of a commit that was never acknowledged. What must be all or nothing is one record.
- One writer an epoch. Opening fences every earlier writer: none of its writes is acknowledged from then on.
- Nothing is written after a history that was not read: `prepare` insists on a replay that ran to its end.
- Sequence numbers have no holes, but the first record of each epoch is the journal's own and is not replayed:
  payloads have strictly increasing numbers, and not every number is a payload's.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from raysignal.engine.core.errors import Fenced, JournalDamaged, StoreUnavailable
from raysignal.engine.journal.frames import GENESIS, Bytes, JournalPosition, JournalRecord, Payload, encode

_READ_ON_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Some consecutive records as a store read them, and the file or object they lie in."""

    file: str
    records: list[JournalRecord]


@dataclass(frozen=True, slots=True)
class JournalEnd:
    """What a journal holds, as far as its end tells.

    Attributes:
        files: how many files it lies in; None where counting them means listing a bucket.
        last: the sequence number of the last record, and so how many records there are; 0: none.
        cut: bytes of a torn write behind it, which do not count.
        file: where the last record lies.
    """

    files: int | None = 0
    last: int = 0
    cut: int = 0
    file: str | None = None


class JournalWriter(Protocol):
    """The right to append, as one epoch holds it."""

    @property
    def epoch(self) -> int:
        """This writer's epoch; higher than that of every writer before it."""

    @property
    def position(self) -> JournalPosition:
        """The position after the takeover record; what the first commit continues from."""

    def append(self, first: int, buffers: Sequence[Bytes]) -> None:
        """Make one commit durable, whose first record has sequence number `first`.

        Raises:
            Fenced: a newer writer has taken over; nothing of this commit counts.
            StoreUnavailable: the fate of the commit is unknown.
        """

    def read(self, start: int) -> Iterator[RecordBlock]:
        """As `JournalStore.read`, of the history that this writer continues."""

    def check_current(self, next_sequence: int) -> None:
        """Raise `Fenced` if a newer writer is known to have taken over; any thread may ask.

        Args:
            next_sequence: the number that the next record would have.
        """

    def close(self) -> None:
        """Let go of what is held open; nothing is written."""


class JournalStore(Protocol):
    """Where the records of one journal lie."""

    def probe(self) -> None:
        """Try the one thing fencing needs; raise `UnsafeStore` if the store does not enforce it."""

    def take_over(self, hint: int) -> JournalWriter:
        """Fence every earlier writer and begin an epoch with a takeover record.

        Args:
            hint: a sequence number that is thought to exist (0: none); where to begin to look for the end.

        Raises:
            Fenced: someone else took over at the same time, and later.
            JournalDamaged: the last records cannot be read.
            StoreUnavailable: the store did not answer within its bound.
        """

    def end(self, hint: int) -> JournalEnd:
        """What there is, taking nothing over; see `take_over` for `hint` and what it raises."""

    def read(self, start: int) -> Iterator[RecordBlock]:
        """Every record from sequence number `start` (1 or more) on, checksums verified, in order.

        Memory is bounded by the largest commit. Whether the records form one chain is for the journal to
        check. A torn tail ends the reading; a damaged record raises `JournalDamaged`.
        """


@dataclass(frozen=True, slots=True)
class Commit:
    """Records that are to become durable together: `first` to `last`, both included."""

    first: int
    payloads: tuple[Payload, ...]

    @property
    def last(self) -> int:
        """The sequence number of the last record."""
        return self.first + len(self.payloads) - 1


class Journal:
    """The single writer of a journal. Use `open`; `close` when done, or use it as a context manager."""

    def __init__(self, writer: JournalWriter) -> None:
        self._writer = writer
        self._position = writer.position
        self._replayed = writer.position.sequence == 1
        self._prepared: Commit | None = None
        self._failure: Exception | None = None

    @classmethod
    def open(cls, store: JournalStore, *, after: JournalPosition | None = None) -> Self:
        """Take over: from here on no earlier writer's commit is acknowledged.

        The end of the journal is found and checked, a torn tail is cut for good. The records in between are
        checked by `replay`, which must run to its end before anything is written.

        Args:
            store: where the records lie.
            after: the position a snapshot holds, if there is one; it only shortens the search for the end.

        Raises:
            Fenced, JournalDamaged, StoreUnavailable: see `JournalStore.take_over`.
        """
        return cls(store.take_over(0 if after is None else after.sequence))

    @classmethod
    def view(
        cls, store: JournalStore, *, after: JournalPosition | None = None, last: int | None = None
    ) -> Self:
        """The journal as it stands, to be read alone: nothing is taken over, and whoever writes goes on.

        Args:
            store: where the records lie.
            after: the position a snapshot holds, if there is one.
            last: the sequence number of the last record that counts; None: all that is there.

        Raises:
            JournalDamaged: a record cannot be read, or the journal does not contain `after`.
        """
        return cls(_Reader(store, GENESIS if after is None else after, last))

    @staticmethod
    def read(store: JournalStore, after: JournalPosition | None = None) -> Iterator[JournalRecord]:
        """Every payload record after a position, taking nothing over.

        Beside a live writer the last records may be ones that it has not acknowledged yet.

        Raises:
            JournalDamaged: a record cannot be read, or the journal does not contain `after`.
        """
        begin = GENESIS if after is None else after
        return _payloads(_chained(store.read(max(begin.sequence, 1)), begin))

    @property
    def epoch(self) -> int:
        """The epoch of this writer."""
        return self._writer.epoch

    @property
    def position(self) -> JournalPosition:
        """The position after the last durable record."""
        return self._position

    def replay(self, after: JournalPosition | None = None) -> Iterator[JournalRecord]:
        """Every payload record after a position up to the present end, checked, in bounded memory.

        Raises:
            JournalDamaged: a record cannot be read, or the journal does not contain `after`: then
                `fields["reason"]` is `"position"`.
            StoreUnavailable: the store did not answer within its bound.
        """
        begin, end = (GENESIS if after is None else after), self._position
        blocks = _until(self._writer.read(max(begin.sequence, 1)), end.sequence)
        last = begin
        for record in _chained(blocks, begin):
            last = record.position
            if not record.is_takeover:
                yield record
        if last != end:
            raise damaged(
                last.sequence + 1, None, None, f"is missing; the journal was written up to {end.sequence}"
            )
        self._replayed = True

    def prepare(self, payloads: Sequence[Payload]) -> Commit:
        """Give the next sequence numbers to some payloads. Their buffers must not change until written.

        One commit at a time: `RuntimeError` if the last one was not written, if there are no payloads, or if
        the journal was not replayed; the first failure again if a write failed.
        """
        self._check_usable()
        if not payloads:
            raise RuntimeError("a commit needs at least one record")
        if self._prepared is not None:
            raise RuntimeError("the last commit was not written yet; join these records to the next one")
        if not self._replayed:
            raise RuntimeError("replay the journal to its end before writing to it")
        self._prepared = Commit(self._position.sequence + 1, tuple(payloads))
        return self._prepared

    def write(self, commit: Commit) -> None:
        """Make a commit durable; blocks. When it raises, the journal must be opened anew.

        Raises:
            Fenced: a newer writer has taken over.
            StoreUnavailable: the store did not answer within its bound; the records may or may not be there.
        """
        self._check_usable()
        if commit is not self._prepared:
            raise RuntimeError("only the commit that was prepared last can be written, and only once")
        try:
            buffers, position = encode(commit.payloads, self._writer.epoch, self._position)
            self._writer.append(commit.first, buffers)
        except Exception as failure:
            self._failure = failure
            raise
        self._position = position
        self._prepared = None

    def check_current(self) -> None:
        """Raise `Fenced` if a newer writer is known to have taken over; any thread may ask, at any time.

        Only a commit proves that a writer is current; this finds out early, before work that is not fenced.
        """
        self._check_usable()
        self._writer.check_current(self._position.sequence + 1)

    def close(self) -> None:
        """Let go of what is held open. Nothing is written, and the epoch stays taken."""
        self._failure = self._failure or StoreUnavailable("the journal was closed")
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_usable(self) -> None:
        if isinstance(self._failure, Fenced):
            raise Fenced(str(self._failure), **self._failure.fields)
        if self._failure is not None:
            raise StoreUnavailable(f"this journal must be opened anew: {self._failure}")


class _Reader:
    """A `JournalWriter` that writes nothing."""

    epoch = 0

    def __init__(self, store: JournalStore, begin: JournalPosition, last: int | None) -> None:
        self._store = store
        self.position = begin
        for record in _chained(store.read(max(begin.sequence, 1)), begin):
            if last is not None and record.sequence > last:
                break
            self.position = record.position

    def append(self, first: int, buffers: Sequence[Bytes]) -> None:
        raise StoreUnavailable(
            f"{len(buffers)} buffers from record {first} on cannot be written: the journal is open for reading alone"
        )

    def read(self, start: int) -> Iterator[RecordBlock]:
        return self._store.read(start)

    def check_current(self, next_sequence: int) -> None:
        raise StoreUnavailable(
            f"record {next_sequence} cannot be written: the journal is open for reading alone"
        )

    def close(self) -> None:
        """There is nothing to let go of."""


def verify(store: JournalStore) -> JournalPosition:
    """Read the whole journal, taking nothing over; the position after its last record (`GENESIS` if empty).

    Raises:
        JournalDamaged: names the first record that cannot be read.
    """
    last = GENESIS
    for record in _chained(store.read(1), GENESIS):
        last = record.position
    return last


def records_at(store: JournalStore, sequences: Iterable[int]) -> Iterator[JournalRecord]:
    """The records of these sequence numbers, in order, taking nothing over.

    Each one's checksum was verified, that they form one chain was not. What the journal does not hold, or cannot be
    read, is left out.
    """
    wanted = deque(sorted(set(sequences)))
    while wanted:
        passed = 0
        try:
            for block in store.read(wanted[0]):
                for record in block.records:
                    if record.sequence == wanted[0]:
                        yield record
                    while wanted and wanted[0] <= record.sequence:
                        wanted.popleft()
                        passed = 0
                    if not wanted:
                        return
                # Two that lie near each other are read in one go; for one far away the reading begins anew.
                passed += sum(record.payload.nbytes for record in block.records)
                if passed > _READ_ON_BYTES:
                    break
            else:
                return
        except JournalDamaged:
            wanted.popleft()


def damaged(
    sequence: int, file: str | None, offset: int | None, what: str, reason: str = "damage"
) -> JournalDamaged:
    """The error that names a record. `offset` counts bytes from the beginning of the file or object."""
    place = "" if file is None else f" ({file}" + ("" if offset is None else f", byte {offset}") + ")"
    return JournalDamaged(
        f"journal record {sequence}{place}: {what}",
        sequence=sequence, file=file, offset=offset, reason=reason,
    )  # fmt: skip


def _chained(blocks: Iterator[RecordBlock], begin: JournalPosition) -> Iterator[JournalRecord]:
    sequence, digest, epoch = begin.sequence, begin.digest, 0
    unconfirmed = sequence > 0
    for block in blocks:
        for record in block.records:
            if unconfirmed:
                if record.position != begin:
                    raise _not_contained(begin)
                unconfirmed = False
                epoch = record.epoch
                continue
            if record.sequence != sequence + 1:
                what = f"is missing; record {record.sequence} comes next"
                raise damaged(sequence + 1, block.file, record.offset, what)
            if record.previous != digest or record.epoch < epoch:
                what = "does not continue the record before it"
                raise damaged(record.sequence, block.file, record.offset, what)
            sequence, digest, epoch = record.sequence, record.digest, record.epoch
            yield record
    if unconfirmed:
        raise _not_contained(begin)


def _not_contained(position: JournalPosition) -> JournalDamaged:
    what = "the journal does not contain this position: it is another journal's, or records were lost"
    return damaged(position.sequence, None, None, what, reason="position")


def _until(blocks: Iterator[RecordBlock], last: int) -> Iterator[RecordBlock]:
    for block in blocks:
        if block.records[-1].sequence <= last:
            yield block
            if block.records[-1].sequence == last:
                return
        else:
            yield RecordBlock(block.file, [record for record in block.records if record.sequence <= last])
            return


def _payloads(records: Iterator[JournalRecord]) -> Iterator[JournalRecord]:
    return (record for record in records if not record.is_takeover)
