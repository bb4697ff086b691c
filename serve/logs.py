"""Structured logs: JSON lines, one a request, on stderr or on the file that is named.

A line says what was asked, how it went, how long it took and which signals it was about; never a header, a
body or a secret.
"""

import os
import sys
from typing import Any, BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

SHOWN_IDS = 10


def open_log(path: str | None) -> FilteringBoundLogger:
    """A logger of JSON lines; `path` None is stderr.

    A file is appended to, line by line, so that several processes can share it. It may be the stderr of the
    program that started the service, `/proc/<pid>/fd/2`: lines then reach it as they are, and not through the
    log collector of Ray, which reads, ships and prefixes each.
    """
    stream: BinaryIO = sys.stderr.buffer
    if path is not None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        stream = os.fdopen(descriptor, "ab", buffering=0)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(stream),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    )
    return logger


class _Lines:
    """Writes a line with one call; a reader that has gone away does not stop the service."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def msg(self, line: bytes) -> None:
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except BrokenPipeError:
            pass

    info = warning = error = critical = msg


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return orjson.dumps(dict(event), default=str)


def ids_shown(signal_ids: list[str]) -> dict[str, Any]:
    """The ids of a request as fields of its line: the first few, and how many there are."""
    if len(signal_ids) == 1:
        return {"signal_id": signal_ids[0]}
    return {"signal_ids": signal_ids[:SHOWN_IDS], "rows": len(signal_ids)}
