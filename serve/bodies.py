"""The bodies of requests: how a long one is gathered off its connection, and how any is read.

uvicorn stops a connection at every 64 KiB of a body until the application has asked for more, wakes it for each
piece, and copies the piece for it. Whoever reads a batch wants all of it: where the length is stated, the lane
puts the pieces to where they belong as they come, and the body is there, once, when it is complete.
"""

from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from engine.errors import InputTooLarge, RaysignalError, UnreadableInput, UnsupportedMedia

GATHERED = "raysignal.body"
"""Where a request's scope holds the body that is gathered beside it."""


class Gathered:
    """A body of `length` bytes, as far as it has come."""

    __slots__ = ("_bytes", "_come")

    def __init__(self, length: int) -> None:
        # Large arrays of numpy lie in large pages, which cost a tenth to come by of what bytes of Python cost.
        buffer: Any = np.empty(length, np.uint8)
        self._bytes = memoryview(buffer)
        self._come = 0

    def add(self, piece: bytes) -> None:
        """The next piece; all of them together are never longer than was said."""
        end = self._come + len(piece)
        self._bytes[self._come : end] = piece
        self._come = end

    def whole(self) -> memoryview:
        """The body, which is complete."""
        assert self._come == len(self._bytes)
        return self._bytes


async def read_body(request: Request, limit: int) -> bytes | memoryview:
    """A request's body of at most `limit` bytes.

    Raises:
        InputTooLarge: it says that it is longer, or is.
        UnsupportedMedia: it is compressed.
        UnreadableInput: the client went away before its end.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedMedia(
            f"the content encoding is {encoding}; expected none", content_encoding=encoding
        )
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise UnreadableInput("the client went away before the end of the body") from error
    gathered: Gathered | None = request.scope.get(GATHERED)
    return b"".join(chunks) if gathered is None else gathered.whole()


def _too_large(limit: int) -> RaysignalError:
    return InputTooLarge(f"the body is larger than {limit} bytes, the limit here", limit=limit)
