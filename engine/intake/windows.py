# mypy: disable-error-code="no-any-return,operator"
# mypy: disallow-untyped-decorators=False
"""Going through bytes by windows: private copies that a scanner may resolve escapes in."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InputTooLarge
from raysignal.engine.core.raw import compiled, copy_bytes, word_at
from raysignal.engine.intake.single import BOM, unreadable

BLOCK_ROWS = 16_384
WINDOW = 32 * 1024 * 1024
_LARGEST_WINDOW = 256 * 1024 * 1024
_PIECE = 16 * 1024
_HIGHS = np.uint64(0x8080808080808080)

_MAGIC = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image",
    b"%PDF": "a PDF document", b"PK\x03\x04": "a ZIP archive, such as a spreadsheet",
    b"\x1f\x8b": "gzip data", b"\x28\xb5\x2f\xfd": "zstd data", b"PAR1": "Parquet", b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database", b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text",
}  # fmt: skip


@dataclass(slots=True, eq=False)
class InputWindow:
    """A piece of the source from `at` on; `final` if it reaches to its end."""

    at: int
    source: UInt8Array
    data: UInt8Array
    final: bool


class Windows:
    """Windows over `source`, each beginning where the scanner left off.

    The scanner says after each window how far it came (`advance`); what it consumed is checked to be UTF-8.
    """

    def __init__(self, source: UInt8Array, at: int, size: int = WINDOW) -> None:
        self._source = source
        self.at = at
        self._size = size
        self._last = -1
        self._ascii_until = 0

    def next(self) -> InputWindow | None:
        """The next window, larger if the last one did not hold a whole row; None at the end of the source.

        Raises:
            InputTooLarge: a row that no window holds.
        """
        if self.at >= len(self._source):
            return None
        if self.at == self._last:
            self._size *= 2
            if self._size > _LARGEST_WINDOW:
                raise InputTooLarge(f"the row at byte {self.at} does not end within {self._size // 2} bytes")
        self._last = self.at
        piece = self._source[self.at : self.at + self._size]
        data = np.empty(len(piece), np.uint8)
        if _copy_text(piece, data):
            self._ascii_until = self.at + len(piece)
        return InputWindow(self.at, piece, data, final=self.at + self._size >= len(self._source))

    def advance(self, to: int) -> None:
        """Everything before `to` has been read."""
        if to > self._ascii_until:
            check_unicode(self._source, self.at, to)
        self.at = to


@compiled
def _copy_text(source: UInt8Array, data: UInt8Array) -> bool:
    """Copy the bytes; whether all of them are ASCII."""
    seen = np.uint64(0)
    size = source.shape[0]
    for at in range(0, size, _PIECE):
        count = min(_PIECE, size - at)
        copy_bytes(data, at, source, at, count)
        # While they are near: going through all of them once more would cost as much as the copy.
        for k in range(count // 8):
            seen |= word_at(source, at + 8 * k)
        for k in range(count // 8 * 8, count):
            seen |= np.uint64(source[at + k])
    return (seen & _HIGHS) == 0


def as_bytes(body: bytes | bytearray | memoryview) -> UInt8Array:
    """The bytes as a read-only array, not copied."""
    source = np.frombuffer(body, np.uint8)
    source.flags.writeable = False
    return source


def text_start(source: UInt8Array, expected: str) -> int:
    """Where text begins, after a byte order mark.

    Raises:
        UnreadableInput: there is nothing, or something that is known not to be text; `expected` says what
            should have been there.
    """
    head = source[:4096].tobytes()
    if foreign := next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None):
        raise unreadable(f"the input is {foreign}; expected {expected}")
    if b"\0" in head:
        raise unreadable(f"the input is binary; expected {expected}")
    if not head.strip() and not source.tobytes().strip():
        raise unreadable(f"the input is empty; expected {expected}")
    return len(BOM) if head.startswith(BOM) else 0


def check_unicode(source: UInt8Array, start: int, stop: int) -> None:
    """Raises `UnreadableInput`, naming the byte, if `source[start:stop]` is not UTF-8."""
    ends = pa.py_buffer(np.array([0, stop - start], np.int64))
    try:
        pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(source[start:stop])).validate(full=True)
    except pa.ArrowInvalid:
        try:
            source[start:stop].tobytes().decode()
        except UnicodeDecodeError as error:
            byte = start + error.start
            raise unreadable(f"the input is not UTF-8: byte {byte} is {source[byte]:#04x}") from error
