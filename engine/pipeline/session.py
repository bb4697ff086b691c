"""A session on disk: what came to a decision path, in order, and what it led to; and whether a replay does the same.

    <folder>/pipeline.yaml     the configuration
    <folder>/session.json      version, instruments, what the venue asks of orders
    <folder>/events-0001.zst   frames: market messages as they came, path inputs, and what they led to; another file
                               a run that went on

Frames stand in the one order in which they were processed: `M` a market message (series, nanoseconds, raw), `I` an
input of the path, `O` an event that followed, `E` the end of a run that was ended. They lie in blocks, compressed by
zstd; a block never parts an input from what it led to. A block's head is its length, that of its frames, and a CRC-32
that goes on from that of the block before it, over all files: so a block that was changed, left out or exchanged is
damage. A file that ends within a block, as after a kill, has a torn end, which is left out.
"""

import asyncio
import fcntl
import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pyarrow as pa

from raysignal.engine.core.errors import Fenced, NotFound, UnreadableInput
from raysignal.engine.core.events import decode_event, encode_event
from raysignal.engine.pipeline.driver import EventLog

CONFIG, ABOUT = "pipeline.yaml", "session.json"
_HEAD = struct.Struct("<Ic")
_BLOCK = struct.Struct("<III")
_MARKET = struct.Struct("<Hq")
_BLOCK_BYTES = 256 * 1024
_MOST_BYTES = 256 * 1024 * 1024
MESSAGE, INPUT, OUTPUT, END = b"M", b"I", b"O", b"E"
_KINDS = frozenset({MESSAGE, INPUT, OUTPUT, END})
_NAME = re.compile(r"events-(\d+)\.zst")


class Frame(NamedTuple):
    """One frame: its letter, and its bytes."""

    kind: bytes
    data: bytes


class SessionLock:
    """The folder of a session, for one writer. A context manager.

    Raises:
        Fenced: another one writes there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = (folder / "lock").open("wb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise Fenced(f"another process writes the session in {folder}; expected one at a time") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class SessionWriter:
    """Writes a session's frames. A context manager, whose regular end is the session's.

    Args:
        folder: of the session; the frames go to a new file in it.

    Raises:
        UnreadableInput: the files that are there are damaged.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = event_files(folder)
        self._crc = last_crc(files)
        number = _number(files[-1]) + 1 if files else 1
        # Without a buffer: what a full disk did not take must not be written later, behind another file's back.
        self._file = (folder / f"events-{number:04d}.zst").open("xb", buffering=0)
        self._frames = bytearray()

    def message(self, series: int, received_ns: int, raw: bytes) -> None:
        """A message of a market connection, before anything is made of it."""
        self._begin()
        self._put(MESSAGE, _MARKET.pack(series, received_ns) + raw)

    def input(self, event: Any) -> None:
        """An input of the path."""
        self._begin()
        self._put(INPUT, encode_event(event))

    def output(self, event: Any) -> None:
        """What an input or a message led to."""
        self._put(OUTPUT, encode_event(event))

    def flush(self, *, durable: bool = False) -> None:
        """What was written so far can be read whatever becomes of this process; durable: also of this machine.

        Raises:
            OSError: the disk does not take it; nothing is lost if it is called again and does.
        """
        if self._frames:
            stored = pa.compress(self._frames, codec="zstd", asbytes=True)
            crc = zlib.crc32(stored, self._crc)
            self._append(_BLOCK.pack(len(stored), len(self._frames), crc) + stored)
            self._crc = crc
            self._frames.clear()
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """All of it is on disk, and nothing more comes of this run."""
        with self._file:
            self._put(END, b"")
            self.flush(durable=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None or kind is asyncio.CancelledError:
            self.close()
        else:
            with self._file:
                self.flush()

    def _begin(self) -> None:
        if len(self._frames) >= _BLOCK_BYTES:
            self.flush()

    def _append(self, block: bytes) -> None:
        """A whole block, or nothing of it where the disk does not take it: the next one follows the last whole one."""
        begin, left = self._file.tell(), memoryview(block)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(begin)
            self._file.seek(begin)
            raise

    def _put(self, kind: bytes, data: bytes) -> None:
        self._frames += _HEAD.pack(len(data), kind) + data


def event_files(folder: Path) -> list[Path]:
    """The files of a session's frames, in order."""
    return sorted((path for path in folder.glob("events-*.zst") if _NAME.fullmatch(path.name)), key=_number)


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found[1])


def read_frames(folder: Path) -> Iterator[Frame]:
    """The frames of a session, in order.

    Raises:
        NotFound: there is no session.
        UnreadableInput: a file that is missing, or a block that is damaged, by its number in its file.
    """
    files = event_files(folder)
    if not files:
        raise NotFound(f"{folder} holds no events-0001.zst; expected the folder of a recorded session")
    crc = 0
    for path in files:
        for frames, block_crc in _blocks(path, crc):
            crc = block_crc
            yield from _frames_of(path, frames)


def last_crc(files: Sequence[Path]) -> int:
    """Where the chain of blocks stands after these files; raises as `read_frames`."""
    crc = 0
    for path in files:
        for _, block_crc in _blocks(path, crc):
            crc = block_crc
    return crc


def _blocks(path: Path, crc: int) -> Iterator[tuple[bytes, int]]:
    """The frames of each block, and the CRC after it; a torn end is left out."""
    number = 0
    with path.open("rb") as file:
        while len(head := file.read(_BLOCK.size)) == _BLOCK.size:
            length, whole, block_crc = _BLOCK.unpack(head)
            number += 1
            if max(length, whole) > _MOST_BYTES:
                raise _damaged(path, number)
            stored = file.read(length)
            if len(stored) < length:
                return
            crc = zlib.crc32(stored, crc)
            if crc != block_crc:
                raise _damaged(path, number)
            try:
                yield pa.decompress(stored, decompressed_size=whole, codec="zstd", asbytes=True), crc
            except OSError as error:
                raise _damaged(path, number) from error


def _frames_of(path: Path, frames: bytes) -> Iterator[Frame]:
    place = 0
    while place < len(frames):
        length, kind = _HEAD.unpack_from(frames, place)
        place += _HEAD.size + length
        if kind not in _KINDS or place > len(frames):
            raise UnreadableInput(f"{path} has a frame of no known kind; expected what was recorded")
        yield Frame(kind, frames[place - length : place])


def _damaged(path: Path, number: int) -> UnreadableInput:
    return UnreadableInput(
        f"{path}: block {number} is damaged, or blocks or files before it are missing; expected what was recorded"
    )


def market_message(data: bytes) -> tuple[int, int, bytes]:
    """Series, nanoseconds and raw bytes of a frame of a market message."""
    series, received_ns = _MARKET.unpack_from(data)
    return series, received_ns, data[_MARKET.size :]


class ParityDifference(NamedTuple):
    """Where a replay parts from its session.

    Attributes:
        number: of the event among those that followed, from 1 on.
        after: the number of the frame that was played last, from 1 on.
        recorded, replayed: the events; None: there was none.
    """

    number: int
    after: int
    recorded: Any
    replayed: Any


class ParityCheck:
    """An `EventLog` that holds what follows against what was recorded, byte for byte.

    `expect` is called with each frame of an output, `playing` before each message or input.

    Args:
        also: told the same; None: nobody.

    Attributes:
        whole: whether the session ends with the end of its last run; else that was killed, or its end is cut off.
    """

    def __init__(self, also: EventLog | None = None) -> None:
        self._also = also
        self.difference: ParityDifference | None = None
        self.whole = False
        self.events = 0
        self._frame = 0
        self._made: deque[tuple[bytes, Any]] = deque()

    def input(self, event: Any) -> None:
        """An input is what it is."""
        if self._also is not None:
            self._also.input(event)

    def output(self, event: Any) -> None:
        """What the replay led to."""
        self._made.append((encode_event(event), event))
        if self._also is not None:
            self._also.output(event)

    @property
    def waiting(self) -> list[Any]:
        """What was made and is not in the session: something only where its end is torn."""
        return [event for _, event in self._made]

    def playing(self, frame: int) -> None:
        """A message or an input is next: everything that was made before has been recorded, or differs."""
        if self._made and self.difference is None:
            self.difference = ParityDifference(self.events + 1, self._frame, None, self._made[0][1])
        self._frame = frame

    def ended(self) -> None:
        """The session is over: an event that was made and is not in it is a difference."""
        self.playing(0)

    def expect(self, data: bytes) -> None:
        """An event that was recorded."""
        if self.difference is not None:
            return
        self.events += 1
        made, event = self._made.popleft() if self._made else (b"", None)
        if made != data:
            self.difference = ParityDifference(self.events, self._frame, _readable(data), event)


def _readable(data: bytes) -> Any:
    try:
        return decode_event(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data
