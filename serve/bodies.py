"""Bodies of requests that are read by hand: in bounded memory and time, and verified where they are signed."""

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request

from raysignal.engine.core.errors import (
    InputTooLarge,
    InputTooSlow,
    RaysignalError,
    UnreadableInput,
    UnsupportedMedia,
)
from raysignal.engine.intake.single import load_object
from raysignal.serve.problems import JSON

BODY_S = 30.0
"""How long any body may take, beside what its length takes at `SLOWEST_BYTES_S`."""
SLOWEST_BYTES_S = 64 * 1024
MAX_OBJECT_BYTES = 16 * 1024


async def read_body(request: Request, limit: int, *, base_s: float = BODY_S) -> bytes:
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
    return b"".join(chunks)


async def read_object(request: Request, limit: int = MAX_OBJECT_BYTES) -> dict[str, Any]:
    """The JSON object of a request, strictly: FastAPI's own reader takes keys that stand twice, and any length."""
    body = await read_body(request, limit)
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise UnsupportedMedia(f"the content type is {kind}; expected {JSON}", content_type=kind)
    return load_object(body)


def _too_large(limit: int) -> RaysignalError:
    return InputTooLarge(f"the body is larger than {limit} bytes, the limit here", limit=limit)
