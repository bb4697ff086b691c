"""Structured logs: JSON lines, one a request, on stderr or on the file that is named.

A line says what was asked, how it went, how long it took and which signals it was about; never a header, a
body or a secret.
"""

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from raysignal.engine.core.errors import StoreError

SHOWN_IDS = 10
FLUSH_S = 0.05


def open_log(path: str | None) -> FilteringBoundLogger:
    """A logger for the life of the process; `path` None is stderr.

    A file is appended to, line by line, so that several processes can share it. It may be the stderr of the
    program that started the service, `/proc/<pid>/fd/2`: lines then reach it as they are, and not through the
    log collector of Ray, which reads, ships and prefixes each.
    """
    if path is None:
        return json_logger(sys.stderr.buffer)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return json_logger(os.fdopen(descriptor, "ab", buffering=0))


def json_logger(stream: BinaryIO) -> FilteringBoundLogger:
    """A logger that writes each event as a JSON object on a line of its own."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(stream),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    ).bind()  # bound once, and not at each line
    return logger


class StoreLog:
    """The lines about a store that fails: one when it begins to, with the cause, and one when it works again.

    In between, requests that meet the failure have no line of their own: they say nothing new, and a busy sender
    would fill the disk that the log lies on, too.
    """

    def __init__(self, log: FilteringBoundLogger, replica: str) -> None:
        self._log = log
        self._replica = replica
        self._met = 0

    def failed(self, error: StoreError) -> bool:
        """Note a request that met the failure; whether it is the first, which is logged with its cause."""
        self._met += 1
        if self._met == 1:
            self._log.warning(
                "store_failed", cause=str(error), problem=type(error).__name__, replica=self._replica
            )
        return self._met == 1

    def worked(self) -> None:
        """Note a signal that was made durable."""
        if self._met:
            self._log.warning("store_works_again", requests_failed=self._met, replica=self._replica)
            self._met = 0


class _Lines:
    """Writes the lines of a short while with one call; a reader that has gone away does not stop the service.

    A call a line would cost a busy replica a tenth of its time. Warnings and worse are written at once.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []

    def info(self, line: bytes) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.error(line)
            return
        if not self._waiting:
            loop.call_later(FLUSH_S, self._flush)
        self._waiting.append(line)

    def error(self, line: bytes) -> None:
        self._waiting.append(line)
        self._flush()

    warning = critical = error

    def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        # Whoever reads it has gone, or its disk is full: requests are answered all the same.
        with suppress(OSError):
            self._stream.write(b"\n".join([*lines, b""]))
            self._stream.flush()


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return orjson.dumps(dict(event), default=str)


def ids_shown(signal_ids: list[str]) -> dict[str, Any]:
    """The ids of a request as fields of its line: the first few, and how many there are."""
    if len(signal_ids) == 1:
        return {"signal_id": signal_ids[0]}
    return {"signal_ids": signal_ids[:SHOWN_IDS], "rows": len(signal_ids)}
