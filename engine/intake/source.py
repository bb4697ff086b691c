"""The bytes of an input: what may be text at all, and how much of it is read at once."""

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.intake.single import BOM, unreadable

BLOCK_ROWS = 16_384
WINDOW = 32 * 1024 * 1024
LARGEST_WINDOW = 256 * 1024 * 1024

_MAGIC = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image",
    b"%PDF": "a PDF document", b"PK\x03\x04": "a ZIP archive, such as a spreadsheet",
    b"\x1f\x8b": "gzip data", b"\x28\xb5\x2f\xfd": "zstd data", b"PAR1": "Parquet", b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database", b"\xff\xfe\0\0": "UTF-32 text", b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}  # fmt: skip


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
        remedy = ", saved as UTF-8" if foreign.startswith("UTF-") else ""
        raise unreadable(f"the input is {foreign}; expected {expected}{remedy}")
    if b"\0" in head:
        raise unreadable(f"the input is binary, or text in UTF-16; expected {expected}, in UTF-8")
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
            said = f"the input is not UTF-8: byte {byte} is {source[byte]:#04x}"
            raise unreadable(f"{said}; save it as UTF-8, which Excel calls CSV UTF-8") from error
