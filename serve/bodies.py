"""The bodies of requests: how a long one is gathered off its connection, and how any is read.

uvicorn stops a connection at every 64 KiB of a body until the application has asked for more, wakes it for each
piece, and copies the piece for it. Whoever reads a batch wants all of it: where the length is stated, the lane
puts the pieces to where they belong as they come, and the body is there, once, when it is complete.
"""

import asyncio
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from raysignal.engine.core.errors import (
    InputTooLarge,
    InputTooSlow,
    RaysignalError,
    UnreadableInput,
    UnsupportedMedia,
)

GATHERED = "raysignal.body"
"""Where a request's scope holds the body that is gathered beside it."""


BODY_S = 30.0
"""How long any body may take, beside what its length takes at `SLOWEST_BYTES_S`."""
SLOWEST_BYTES_S = 64 * 1024


class PartialBody:
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


async def read_body(request: Request, limit: int, *, base_s: float = BODY_S) -> bytes | memoryview:
    """A request's body of at most `limit` bytes, which comes within `base_s` and the time that its length takes.

    Raises:
        InputTooLarge: it says that it is longer, or is.
        InputTooSlow: it did not come within its time.
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
    length = int(stated) if stated.isdigit() else limit
    allowed_s = base_s + length / SLOWEST_BYTES_S
    chunks, size = [], 0
    try:
        async with asyncio.timeout(allowed_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError as error:
        raise InputTooSlow(
            f"the body was not there within {allowed_s:.0f} s; expected its {length} bytes, or less in one request"
        ) from error
    except ClientDisconnect as error:
        raise UnreadableInput("the client went away before the end of the body") from error
    gathered: PartialBody | None = request.scope.get(GATHERED)
    return b"".join(chunks) if gathered is None else gathered.whole()


def _too_large(limit: int) -> RaysignalError:
    return InputTooLarge(f"the body is larger than {limit} bytes, the limit here", limit=limit)
