"""`chroma run` as a process of the test's own, which can be stopped and started again."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from raysignal.runtime.ports import free_port


@dataclass(slots=True)
class Server:
    path: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = _chroma_run(self.path, self.port)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    port = free_port()
    server = Server(path, port, _chroma_run(path, port))
    try:
        yield server
    finally:
        server.end()


def _chroma_run(path: Path, port: int) -> subprocess.Popen[bytes]:
    command = [Path(sys.executable).with_name("chroma"), "run", "--path", path, "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return process
        threading.Event().wait(0.02)
    pytest.fail(f"chroma run ended with {process.returncode}")
