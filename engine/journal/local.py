"""The journal in a local directory: appended segments, and claims by `link(2)`.

    epoch-0000000007                              a claim: somebody is, or was, the writer of epoch 7
    0000000007-00000000000000000151.segment       records of epoch 7, the first one is number 151

A claim is an empty file made by link(2), so one of many who want an epoch gets it; claims are never removed.
Every epoch writes segments of its own and never touches an older one. Its first segment begins with the
takeover record, which names the record it continues from (sequence number, digest and epoch). History is
read backwards from that: the newest epoch whose takeover record stands, the epoch that names, and so on. What
lies in an older epoch behind the record that was continued from, or in an epoch that nobody continued from,
was never acknowledged and does not count. So a torn tail is cut for good by the next takeover record, without
changing a file. A commit begins on a sector boundary (512 bytes; the padding is 0xFF), so that writing one
never rewrites a sector that holds an acknowledged one.

An old writer O of epoch e: append, sync, check that no claim of e + 1 exists, acknowledge.
A new writer N: claim e + 1, sync the directory, find the last record, sync that file, write the takeover
record in a new segment, sync it and the directory, check that no claim of e + 2 exists.

- O checks before N claims: O's append came before its check, so N, which reads after its claim, sees the
  record and continues from it. What was acknowledged is kept.
- O checks after N claims: O raises `Fenced` and acknowledges nothing. N may have seen the record, a part of
  it or none of it. Whole, it becomes part of the history although nobody was told so, as after any write whose
  fate is unknown; in part, it is a torn tail; later, it lies behind the record that N continued from. A roll
  into a new segment changes nothing: that segment's first number lies behind it as well.
- N reads what O wrote and did not sync: N syncs O's file before it builds on it, else a loss of power could
  take the record away from under the takeover record.
- Two new writers at once: link(2) gives epoch e + 1 to one, the other claims e + 2. When the first then makes
  its segment, before or after the other has read, its check finds the newer claim, and it has acknowledged
  nothing. If the other has read before, it continued from an older epoch than e + 1, which is left out.
- A crash between claim and takeover record: the epoch stays empty and the next one is taken. A crash while
  the takeover record is written: it is torn, and the epoch is empty as well.
- A crash after the takeover record: the epoch holds nothing else, and the next one continues from it.

Torn or damaged. Only the end of the newest epoch can be torn. Where the file ends before its last record
does, that was a torn write. Where the record is there in full length and its checksum is wrong, it was torn
only if a sector of it reads as zeros, and if no later commit stands behind it: a commit is begun only after
the one before was durable. Everything else is damage, and refuses. (A flipped bit in the last commit whose
payload itself holds an aligned sector of zeros is taken for torn; so do not journal zeros.)

All processes must see one file system that keeps link(2) and reads coherent: one machine, or a shared file
system that gives this.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from raysignal.engine.core.errors import Fenced, StoreError, StoreUnavailable, UnsafeStore
from raysignal.engine.journal.disk import AppendFile, Disk, RealDisk
from raysignal.engine.journal.frames import (
    GENESIS,
    HEADER_SIZE,
    Bytes,
    Fault,
    JournalRecord,
    begins_commit,
    encode_takeover,
    previous_epoch_of,
    scan,
)
from raysignal.engine.journal.journal import JournalEnd, RecordBlock, damaged

SECTOR = 512
SEGMENT_SIZE = 64 * 1024 * 1024

_CHUNK = 1024 * 1024
_CLAIM = re.compile(r"epoch-(\d{10})")
_SEGMENT = re.compile(r"(\d{10})-(\d{20})\.segment")

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class _Segment:
    epoch: int
    first: int

    @property
    def name(self) -> str:
        return f"{self.epoch:010d}-{self.first:020d}.segment"


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment as far as it counts: up to record `until`, or to its end where that is None."""

    segment: _Segment
    until: int | None


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise `StoreUnavailable` for what the disk raises."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"the store's disk failed: {error}") from error


class LocalStore:
    """A `JournalStore` in one directory of its own, which is made when it is missing.

    Args:
        directory: where the claims and segments lie.
        disk: how the files are reached; a simulated one in the simulation.
        segment_size: bytes after which the next commit begins a new segment.
    """

    def __init__(
        self, directory: Path, disk: Disk | None = None, *, segment_size: int = SEGMENT_SIZE
    ) -> None:
        self.directory = directory
        self.disk: Disk = RealDisk() if disk is None else disk
        self.segment_size = segment_size

    def probe(self) -> None:
        """`UnsafeStore` unless link(2) works here and refuses a name that is taken."""
        with disk_errors():
            self.disk.make_dir(self.directory)
            probe_link(self.disk, self.directory)

    def take_over(self, hint: int) -> "LocalWriter":  # noqa: ARG002 - the end is found without it
        """See `JournalStore.take_over`."""
        with disk_errors():
            self.disk.make_dir(self.directory)
            epoch = self._claim_next()
            last = self._last_record()
            if last is not None:
                self.disk.sync(self.directory / last[0].name)
                self.disk.sync_dir(self.directory)
            return LocalWriter(self, epoch, None if last is None else last[1])

    def end(self, hint: int) -> JournalEnd:  # noqa: ARG002 - the end is found without it
        """See `JournalStore.end`."""
        with disk_errors():
            files = len(_segments(self.disk.list(self.directory)))
            found = self._last_record()
            if found is None:
                return JournalEnd(files)
            segment, last = found
            end = last.offset + HEADER_SIZE + len(last.payload)
            cut = self.disk.size(self.directory / segment.name) - (end + -end % SECTOR)
            return JournalEnd(files, last.sequence, max(cut, 0), segment.name)

    def read(self, start: int) -> Iterator[RecordBlock]:
        """See `JournalStore.read`."""
        return self.read_epoch(start, None)

    def read_epoch(self, start: int, epoch: int | None) -> Iterator[RecordBlock]:
        """The history that `epoch` continues (None: the newest), from record `start` on."""
        with disk_errors():
            parts = self._parts(epoch, start)
            while len(parts) > 1 and parts[1].segment.first <= start:
                parts.pop(0)
            for part in parts:
                yield from self._blocks(part, start)

    def claim(self, epoch: int) -> Path:
        """The file that says an epoch is taken."""
        return self.directory / f"epoch-{epoch:010d}"

    def _claim_next(self) -> int:
        while True:
            names = self.disk.list(self.directory)
            taken = [int(match[1]) for name in names if (match := _CLAIM.fullmatch(name))]
            written = [segment.epoch for segment in _segments(names)]
            epoch = max([0, *taken, *written]) + 1
            if link_new(self.disk, self.claim(epoch), ()):
                return epoch

    def _last_record(self) -> tuple[_Segment, JournalRecord] | None:
        parts = self._parts(None, None)
        if not parts:
            return None
        # A segment that a crash left empty is the last one of its epoch; the record before it is the last.
        for part in reversed(parts):
            last = None
            for block in self._blocks(part, 0):
                last = block.records[-1]
            if last is not None:
                return part.segment, last
        return None

    def _parts(self, tip: int | None, start: int | None) -> list[_Part]:
        """The segments that make up a history, oldest first.

        They reach back to the beginning, or to the epoch that holds record `start`; with `start` None only
        the newest epoch is given.
        """
        by_epoch: dict[int, list[_Segment]] = {}
        for segment in _segments(self.disk.list(self.directory)):
            by_epoch.setdefault(segment.epoch, []).append(segment)
        takeover = None
        for epoch in sorted(by_epoch, reverse=True) if tip is None else [tip]:
            takeover = self._takeover(by_epoch.get(epoch, []))
            if takeover is not None:
                break
        parts: list[_Part] = []
        until: int | None = None
        while takeover is not None:
            segments = by_epoch[takeover.epoch]
            counted = [segment for segment in segments if until is None or segment.first <= until]
            ends = [*(segment.first - 1 for segment in counted[1:]), until]
            parts[:0] = [_Part(segment, end) for segment, end in zip(counted, ends, strict=True)]
            before, until = previous_epoch_of(takeover), takeover.sequence - 1
            if before == 0 or start is None or takeover.sequence <= start:
                break
            takeover = self._takeover(by_epoch.get(before, []))
            if takeover is None:
                what = f"is missing; epoch {before}, which epoch {parts[0].segment.epoch} continues, is not there"
                raise damaged(until, parts[0].segment.name, 0, what)
        return parts

    def _takeover(self, segments: list[_Segment]) -> JournalRecord | None:
        """The record that begins an epoch; None if it was never written in full."""
        if not segments:
            return None
        first = segments[0]
        data = self.disk.read(self.directory / first.name, 0, SECTOR)
        found = scan(data, align=SECTOR)
        if found.records:
            record = found.records[0]
            if not record.is_takeover or (record.epoch, record.sequence) != (first.epoch, first.first):
                raise damaged(
                    first.first, first.name, 0, "is not the takeover record that its file is named for"
                )
            return record
        if len(segments) > 1 or not self._is_torn(first, 0, first.first, found.fault):
            raise damaged(first.first, first.name, 0, _reason(found.fault))
        return None

    def _blocks(self, part: _Part, start: int) -> Iterator[RecordBlock]:
        """The records of one segment from `start` on; every block holds at least one."""
        segment, until = part.segment, part.until
        path = self.directory / segment.name
        size = self.disk.size(path)
        at, wanted, reached = 0, _CHUNK, segment.first - 1
        while at < size:
            data = self.disk.read(path, at, wanted)
            found = scan(data, at, start=start, align=SECTOR)
            reached = max(reached, found.reached)
            records = found.records
            if until is not None and reached >= until:
                records = [record for record in records if record.sequence <= until]
            if records:
                yield RecordBlock(segment.name, records)
            if until is not None and reached >= until:
                return
            wanted = _CHUNK
            if (fault := found.fault) is not None:
                wanted = max(_CHUNK, fault.needed or 0)
                if fault.needed is None or at + len(data) >= size:
                    if until is None and self._is_torn(segment, found.stopped, reached + 1, fault):
                        return
                    raise damaged(reached + 1, segment.name, found.stopped, fault.reason)
            at = found.stopped
        if until is not None:
            raise damaged(reached + 1, segment.name, at, f"is missing; the file should reach record {until}")

    def _is_torn(self, segment: _Segment, at: int, sequence: int, fault: Fault | None) -> bool:
        """Whether what stands at `at`, where record `sequence` should be, is the rest of a torn write."""
        if fault is None or fault.needed is not None:
            return True
        path = self.directory / segment.name
        begin = at - at % SECTOR
        data = self.disk.read(path, begin, self.disk.size(path) - begin)
        # The sector in which the record begins, if it is shared, holds the end of one that was read well.
        inside = range(SECTOR if at > begin else 0, len(data), SECTOR)
        for sector in inside:
            later = begins_commit(data, sector)
            if later is not None and later > sequence:
                return False
        # Zeros behind the frame are of a later write that tore; they do not excuse this one.
        own = [sector for sector in inside if sector < at + fault.extent - begin]
        return any(not data[sector : sector + SECTOR].strip(b"\0") for sector in own)


class LocalWriter:
    """A `JournalWriter`: made by `LocalStore.take_over`, which has claimed `epoch` and found the last record.

    Attributes:
        epoch: the one that was claimed.
        position: after the takeover record.
    """

    def __init__(self, store: LocalStore, epoch: int, last: JournalRecord | None) -> None:
        self._store = store
        self.epoch = epoch
        # Made once: each commit asks for them.
        self._claim, self._next_claim = store.claim(epoch), store.claim(epoch + 1)
        self._file: AppendFile | None = None
        self._segment = store.directory
        self._size = 0
        before = GENESIS if last is None else last.position
        takeover, self.position = encode_takeover(epoch, before, 0 if last is None else last.epoch, b"")
        try:
            self.append(self.position.sequence, takeover)
        except StoreError:
            self.close()
            raise

    def append(self, first: int, buffers: Sequence[Bytes]) -> None:
        """See `JournalWriter.append`."""
        with disk_errors():
            self._append(first, buffers)

    def read(self, start: int) -> Iterator[RecordBlock]:
        """See `JournalWriter.read`."""
        return self._store.read_epoch(start, self.epoch)

    def check_current(self, next_sequence: int) -> None:  # noqa: ARG002 - the claims tell without it
        """See `JournalWriter.check_current`."""
        with disk_errors():
            self._check_not_fenced()

    def close(self) -> None:
        """See `JournalWriter.close`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, first: int, buffers: Sequence[Bytes]) -> None:
        disk, directory = self._store.disk, self._store.directory
        size = sum(memoryview(buffer).nbytes for buffer in buffers)
        padding = -size % SECTOR
        begins = self._file is None or self._size >= self._store.segment_size
        if begins:
            self.close()
            self._segment = directory / _Segment(self.epoch, first).name
            self._file, self._size = disk.open_append(self._segment), 0
        assert self._file is not None
        try:
            self._file.append([*buffers, b"\xff" * padding])
        except OSError:
            if begins:
                self._drop_empty(self._segment)
            raise
        self._file.sync()
        if begins:
            disk.sync_dir(directory)
        self._size += size + padding
        self._check_not_fenced()
        self._check_whole()

    def _drop_empty(self, path: Path) -> None:
        """Remove a segment that nothing was written to: a full disk would fill with one a try."""
        with suppress(OSError):
            if self._store.disk.size(path) == 0:
                self.close()
                self._store.disk.unlink(path)

    def _check_not_fenced(self) -> None:
        store = self._store
        if store.disk.exists(self._next_claim):
            raise Fenced(
                f"another writer has taken over the journal {store.directory} from epoch {self.epoch}"
            )
        if not store.disk.exists(self._claim):
            raise StoreUnavailable(f"the journal's directory {store.directory} was removed under its writer")

    def _check_whole(self) -> None:
        """Whoever removed or cut the segment under its writer would take what is appended to it along."""
        if (size := self._store.disk.size(self._segment)) != self._size:
            raise StoreUnavailable(
                f"the journal's file {self._segment} has {size} bytes; expected {self._size}, as its writer left it: "
                "somebody else changed it"
            )


def link_new(disk: Disk, path: Path, content: Sequence[Bytes]) -> bool:
    """Make a durable file with this content if the name is free; whether it was."""
    temporary = disk.temporary(path)
    file = disk.open_append(temporary)
    try:
        file.append(content)
        file.sync()
        disk.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        file.close()
        disk.unlink(temporary)
        disk.sync_dir(path.parent)
    return True


def probe_link(disk: Disk, directory: Path) -> None:
    """`UnsafeStore` unless link(2) works in a directory and refuses a name that is taken."""
    path = disk.temporary(directory / "probe")
    try:
        made = link_new(disk, path, (b"first",))
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        refused = f"{directory} is on a file system without hard links ({error}); fencing a second writer needs them"
        raise UnsafeStore(refused) from error
    again = [link_new(disk, path, (content,)) for content in (b"first", b"other")]
    kept = disk.read(path, 0, 16) == b"first"
    disk.unlink(path)
    if not made or any(again) or not kept:
        raise UnsafeStore(
            f"{directory} is on a file system where link(2) replaces a name that is taken, so two writers could "
            "both believe they own the journal"
        )


def _segments(names: Sequence[str]) -> list[_Segment]:
    found = (_SEGMENT.fullmatch(name) for name in names)
    return [_Segment(int(match[1]), int(match[2])) for match in found if match]


def _reason(fault: Fault | None) -> str:
    return "is empty" if fault is None else fault.reason
