"""The journal in S3: one object a commit.

    00000000000000000151.commit        the commit whose first record is number 151

An object is named for the first record in it and created with `If-None-Match: *`, so of all who want to write
record 151 one does. A new writer commits its takeover record as the next record after the last it finds; the
old writer's next commit wants the same name, gets a 412, and is fenced. Whoever is told that the name is taken
looks at the object: after a time-out it may be its own. To tell, a takeover record holds a token that no
other takeover has, and every later record's digest depends on it.

- The old writer commits between the new one's look and its takeover: the new one gets the 412, reads on and
  tries the next number. An old writer that keeps committing could make it lose many times; after a bound it
  gives up with `StoreUnavailable`.
- A PUT of the old writer that is still under way lands before the takeover, and is part of the history, or
  after it, and is refused: it wants the number that the takeover has.
- Two new writers at once: one gets the number; the other finds it there, reads on, and takes over from it.
- A crash before the takeover record: nothing happened. After it: the epoch holds nothing else.

An object is whole or absent, so nothing is torn: bytes that do not check are damage, and a number that is
missing is damage. Objects are read ahead by a few threads, at most 64 MiB or one commit at a time.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from raysignal.engine.core.errors import Fenced, StoreUnavailable
from raysignal.engine.journal.bucket import Bucket
from raysignal.engine.journal.frames import (
    GENESIS,
    LAST_OF_COMMIT,
    Bytes,
    JournalPosition,
    JournalRecord,
    encode_takeover,
    scan,
)
from raysignal.engine.journal.journal import JournalEnd, RecordBlock, damaged

_COMMIT = re.compile(r"(\d{20})\.commit")
_AHEAD_BYTES = 64 * 1024 * 1024
_TAKEOVER_TRIES = 1000
_NEAR = 1024


class _Entry(NamedTuple):
    first: int
    size: int

    @property
    def key(self) -> str:
        return _key(self.first)


class S3Store:
    """A `JournalStore` in a part of a bucket that is its own.

    Args:
        bucket: where the objects lie.
        token: bytes that are never the same twice, whoever asks; one is drawn for each takeover.
        readers: objects fetched at once by a replay; 1 fetches one after another in the caller's thread.
    """

    def __init__(self, bucket: Bucket, *, token: Callable[[], bytes], readers: int = 16) -> None:
        self.bucket = bucket
        self._token = token
        self._readers = readers

    def probe(self) -> None:
        """`UnsafeStore` unless the store enforces conditional writes."""
        self.bucket.probe()

    def take_over(self, hint: int) -> "S3Writer":
        """See `JournalStore.take_over`."""
        token = self._token()
        for _ in range(_TAKEOVER_TRIES):
            last = self._last_record(hint)
            epoch, before, after = (
                (0, GENESIS, 0) if last is None else (last.epoch, last.position, last.sequence)
            )
            frame, position = encode_takeover(epoch + 1, before, epoch, token)
            if self.bucket.create(_key(after + 1), b"".join(frame)):
                return S3Writer(self, epoch + 1, position)
            hint = after + 1
        raise StoreUnavailable(
            f"another writer keeps committing to s3://{self.bucket.name}/{self.bucket.prefix}"
        )

    def end(self, hint: int) -> JournalEnd:
        """See `JournalStore.end`."""
        last = self._last_record(hint)
        return JournalEnd(None) if last is None else JournalEnd(None, last.sequence)

    def read(self, start: int) -> Iterator[RecordBlock]:
        """See `JournalStore.read`."""
        entries = self._entries(self._commit_of(start))
        for entry, body in self._fetched(entries):
            records = self._decoded(entry, body, start)
            if records:
                yield RecordBlock(entry.key, records)

    def _entries(self, first: int) -> Iterator[_Entry]:
        """The commits that begin at record `first` or later, in order."""
        for entry in self.bucket.list(after=f"{first:020d}"):
            match = _COMMIT.fullmatch(entry.key)
            if match:
                yield _Entry(int(match[1]), entry.size)

    def _commit_of(self, sequence: int) -> int:
        """The first record of the commit that holds a record, or that would come before it."""
        low, step = sequence, _NEAR
        while low > 1:
            low = max(1, low - step)
            found = None
            for entry in self._entries(low):
                if entry.first > sequence:
                    break
                found = entry.first
            if found is not None:
                return found
            step *= 8
        return 1

    def _last_record(self, hint: int) -> JournalRecord | None:
        last = None
        for entry in self._entries(max(hint, 1)):
            last = entry
        if last is None and hint > 1:
            for entry in self._entries(self._commit_of(hint)):
                last = entry
        if last is None:
            return None
        return self._decoded(last, self.bucket.get(last.key), 0)[-1]

    def _fetched(self, entries: Iterator[_Entry]) -> Iterator[tuple[_Entry, bytes | None]]:
        if self._readers == 1:
            for entry in entries:
                yield entry, self.bucket.get(entry.key)
            return
        ahead: deque[tuple[_Entry, Future[bytes | None]]] = deque()
        held = 0
        pool = ThreadPoolExecutor(self._readers, "journal-read")
        try:
            for entry in entries:
                while ahead and (len(ahead) >= 2 * self._readers or held + entry.size > _AHEAD_BYTES):
                    oldest, future = ahead.popleft()
                    held -= oldest.size
                    yield oldest, future.result()
                ahead.append((entry, pool.submit(self.bucket.get, entry.key)))
                held += entry.size
            while ahead:
                oldest, future = ahead.popleft()
                yield oldest, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _decoded(self, entry: _Entry, body: bytes | None, start: int) -> list[JournalRecord]:
        if not body:
            raise damaged(
                entry.first, entry.key, 0, "the object is gone" if body is None else "the object is empty"
            )
        found = scan(body, start=start)
        reached = found.reached or entry.first - 1
        if found.fault is not None:
            raise damaged(reached + 1, entry.key, found.stopped, found.fault.reason)
        if found.records and found.records[0].sequence not in {entry.first, start}:
            raise damaged(entry.first, entry.key, 0, "the object holds other records than it is named for")
        if found.records and not found.records[-1].flags & LAST_OF_COMMIT:
            raise damaged(
                reached + 1, entry.key, found.stopped, "is missing; the object ends before its commit does"
            )
        return found.records


class S3Writer:
    """A `JournalWriter`: made by `S3Store.take_over` after the takeover record stands.

    Attributes:
        epoch: one more than that of the last record it found.
        position: after the takeover record.
    """

    def __init__(self, store: S3Store, epoch: int, position: JournalPosition) -> None:
        self._store = store
        self.epoch = epoch
        self.position = position

    def append(self, first: int, buffers: Sequence[Bytes]) -> None:
        """See `JournalWriter.append`."""
        bucket = self._store.bucket
        if not bucket.create(_key(first), b"".join(buffers)):
            raise self._fenced()

    def read(self, start: int) -> Iterator[RecordBlock]:
        """See `JournalWriter.read`."""
        return self._store.read(start)

    def check_current(self, next_sequence: int) -> None:
        """See `JournalWriter.check_current`."""
        body = self._store.bucket.get(_key(next_sequence))
        # What stands there may be a commit of this very writer that is being written now.
        if body is not None and any(record.epoch > self.epoch for record in scan(body).records):
            raise self._fenced()

    def close(self) -> None:
        """Nothing is held."""

    def _fenced(self) -> Fenced:
        bucket = self._store.bucket
        place = f"s3://{bucket.name}/{bucket.prefix}"
        return Fenced(f"another writer has taken over the journal {place} from epoch {self.epoch}")


def _key(first: int) -> str:
    return f"{first:020d}.commit"
