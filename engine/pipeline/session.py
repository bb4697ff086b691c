"""A session on disk: what came to a decision path, in order, and what it led to; and whether a replay does the same.

    <folder>/pipeline.yaml     the configuration
    <folder>/session.json      version, instruments, what the venue asks of orders
    <folder>/events-0001.zst   frames: market messages as they came, path inputs, and what they led to; another file
                               a run that went on

Frames stand in the one order in which they were processed. A frame is its length (4 bytes, little endian), its CRC-32,
a letter, and its bytes: `M` a market message (series, nanoseconds, raw), `I` an input of the path, `O` an event that
followed. A torn end, as after a kill, is left out.
"""

import fcntl
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pyarrow as pa

from raysignal.engine.core.errors import Fenced, NotFound, UnreadableInput
from raysignal.engine.core.events import decode_event, encode_event
from raysignal.engine.pipeline.driver import EventLog

CONFIG, ABOUT = "pipeline.yaml", "session.json"
_HEAD = struct.Struct("<IIc")
_MARKET = struct.Struct("<Hq")
MESSAGE, INPUT, OUTPUT = b"M", b"I", b"O"


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
    """Writes a session's frames. A context manager.

    Args:
        folder: of the session; the frames go to a new file in it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = len(event_files(folder)) + 1
        self._file = pa.output_stream(str(folder / f"events-{number:04d}.zst"), compression="zstd")

    def message(self, series: int, received_ns: int, raw: bytes) -> None:
        """A message of a market connection, before anything is made of it."""
        self._write(MESSAGE, _MARKET.pack(series, received_ns) + raw)

    def input(self, event: Any) -> None:
        """An input of the path."""
        self._write(INPUT, encode_event(event))

    def output(self, event: Any) -> None:
        """What an input or a message led to."""
        self._write(OUTPUT, encode_event(event))

    def flush(self) -> None:
        """What was written so far can be read, whatever becomes of this process."""
        self._file.flush()

    def close(self) -> None:
        """All of it is on disk."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, kind: bytes, data: bytes) -> None:
        self._file.write(_HEAD.pack(len(data), zlib.crc32(data), kind) + data)


def event_files(folder: Path) -> list[Path]:
    """The files of a session's frames, in order."""
    return sorted(folder.glob("events-*.zst"))


def read_frames(folder: Path) -> Iterator[Frame]:
    """The frames of a session, in order.

    Raises:
        NotFound: there is no session.
        UnreadableInput: a frame that is damaged, by its number in its file.
    """
    files = event_files(folder)
    if not files:
        raise NotFound(f"{folder} holds no events-0001.zst; expected the folder of a recorded session")
    for path in files:
        yield from _frames_of(path)


def _frames_of(path: Path) -> Iterator[Frame]:
    number = 0
    with pa.input_stream(str(path), compression="zstd") as file:
        while True:
            try:
                head = file.read(_HEAD.size)
                data = file.read(_HEAD.unpack(head)[0]) if len(head) == _HEAD.size else b""
            except OSError:
                return  # the last block of the compressed stream is torn
            if len(head) < _HEAD.size:
                return
            length, crc, kind = _HEAD.unpack(head)
            if len(data) < length:
                return
            number += 1
            if zlib.crc32(data) != crc or kind not in {MESSAGE, INPUT, OUTPUT}:
                raise UnreadableInput(f"{path}: frame {number} is damaged; expected what was recorded")
            yield Frame(kind, data)


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
    """

    def __init__(self, also: EventLog | None = None) -> None:
        self._also = also
        self.difference: ParityDifference | None = None
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
        """The session is over. What its torn end lacks is no difference."""
        self._made.clear()

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
    except msgspec.DecodeError:
        return data
