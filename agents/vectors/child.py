"""The owner's end of the child process that holds Chroma: calls with a deadline, and nothing that can be fatal."""

import os
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from raysignal.engine.core.errors import ChromaUnavailable

_GRACE_S = 2.0  # for the answer to arrive after the child's own alarm
_STUCK = struct.pack("ll", 60, 0)  # for one piece of a call or an answer to go through the socket
_CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE}
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that Chroma has."""

    call_s: float = 60.0  # to be imported and to open a collection, or for one batch written or read
    query_s: float = 10.0  # for one question


class ChromaFailed(ChromaUnavailable):
    """Chroma raised, did not answer in time, or its process died; the child that was asked has ended.

    `fields["crashed"]`: whether the process ended itself as damaged files make it (SIGSEGV and its kind).
    """


class Child:
    """A running child, which holds a lock's file open, if given; at the first failure it is ended for good."""

    def __init__(self, lock: int | None) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
                [sys.executable, "-m", __package__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()] if lock is None else [theirs.fileno(), lock],
                cwd="/",  # chromadb reads `.env` where it is started
                env=_environment(),
                process_group=0,  # Ctrl-C is for the owner, which then closes in order
            )
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, _STUCK)
        self._connection = Connection(ours.detach())

    def call(self, method: str, seconds: float, *arguments: Any) -> Any:
        """The answer to one call.

        Raises:
            ChromaFailed: no answer, or a bad one; the child is gone.
        """
        try:
            self._connection.send((method, seconds, arguments))
            if not self._connection.poll(seconds + _GRACE_S):
                raise TimeoutError
            done, result = self._connection.recv()
        except (OSError, EOFError) as error:
            raise self._ended(method, seconds) from error
        if not done:
            self.end()
            raise ChromaFailed(f"Chroma's {method} failed: {result}", crashed=False)
        return result

    def end(self) -> None:
        """End it at once; nothing if it has ended."""
        self._connection.close()
        self.process.kill()
        self.process.wait()

    def _ended(self, method: str, seconds: float) -> ChromaFailed:
        try:
            code = self.process.wait(_GRACE_S / 4)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        if code in {None, -signal.SIGALRM}:
            return ChromaFailed(f"Chroma's {method} gave no answer within {seconds:g} s", crashed=False)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ChromaFailed(f"Chroma's process ended in {method}: {how}", crashed=code in _CRASHES)


def _environment() -> dict[str, str]:
    """What the child sees: chromadb takes settings from names as common as `ENVIRONMENT` and from proxies."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "ANONYMIZED_TELEMETRY": "False",
        "OTEL_SDK_DISABLED": "true",
    }
