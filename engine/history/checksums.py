"""The checksum of a whole file of the history, which lies in its footer.

Parquet's own checksums are of pages; the headers of the pages and the footer, where the ledger lies, have none. So
the CRC-32 of all bytes is written into the metadata, where eight zeros stood when it was computed.
"""

import zlib

_KEY = b"raysignal.crc32"
_EMPTY = b"0" * 8
UNSEALED = {_KEY: _EMPTY}
"""The metadata of a file that `seal` completes."""


def seal(data: bytes) -> bytes:
    """The file with its checksum."""
    at = _place(data)
    assert at is not None
    assert data[at : at + len(_EMPTY)] == _EMPTY
    return data[:at] + b"%08x" % zlib.crc32(data) + data[at + len(_EMPTY) :]


def is_intact(data: bytes) -> bool:
    """Whether the file has a checksum, and has the bytes that it was made of."""
    at = _place(data)
    if at is None:
        return False
    said = data[at : at + len(_EMPTY)]
    found = zlib.crc32(data[at + len(_EMPTY) :], zlib.crc32(_EMPTY, zlib.crc32(memoryview(data)[:at])))
    return said == b"%08x" % found


def _place(data: bytes) -> int | None:
    # In the footer a key is followed by the head of its value: the type of the field, and the length.
    head = _KEY + bytes((0x18, len(_EMPTY)))
    at = data.rfind(head)
    return None if at < 0 else at + len(head)
