"""A PostgreSQL for the tests: in a temporary folder, on a socket in it, gone when they are.

    with postgres_server() as server:
        address = server.empty_database()

A process of its own starts it, reads its standard input and ends it when that does, so that it cannot outlive the
tests however they end.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import psycopg

_numbers = count(1)


class Postgres:
    """A running server.

    Attributes:
        folder: where its socket is; clients give it as `host`.
        pid: the process of the postmaster.
    """

    def __init__(self, folder: str, pid: int) -> None:
        self.folder = folder
        self.pid = pid
        self._command: list[str] = []
        self._user = 0
        self._again: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """At once, as when its machine fails; what was committed stays."""
        postmaster = psutil.Process(self.pid)
        self._command, self._user = postmaster.cmdline(), postmaster.uids().real
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(15)

    def start(self) -> None:
        """Again, as it was."""
        process = subprocess.Popen(self._command, user=self._user, stderr=subprocess.DEVNULL)
        self.pid, self._again = process.pid, process

    def end(self) -> None:
        """If it was started again, it is this process's own."""
        if self._again is not None:
            self._again.send_signal(signal.SIGQUIT)
            self._again.wait(15)

    def address(self, name: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres:unused@/{name}?host={self.folder}"

    def empty_database(self) -> str:
        """The address of a database that is made now."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(
            host=self.folder, user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.address(name)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline().split()
        assert len(said) == 2, "PostgreSQL did not start"
        server = Postgres(said[0], int(said[1]))
        yield server
        server.end()
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _serve() -> None:
    # Not pytest's folder: a socket's path has room for a hundred characters.
    folder = tempfile.mkdtemp(prefix="raysignal-pg-")
    # pgserver locks a file in the user's runtime folder, and where there is none it warns and makes one.
    os.environ["XDG_RUNTIME_DIR"] = folder
    warnings.simplefilter("ignore")
    import pgserver

    pid = None
    try:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode=None)
        pid = server.get_pid()
        for setting in ("fsync = off", "full_page_writes = off"):
            server.psql(f"ALTER SYSTEM SET {setting}")
        server.psql("SELECT pg_reload_conf()")
        print(server.get_postmaster_info().socket_dir, pid, flush=True)
        sys.stdin.buffer.read()
    finally:
        if pid is not None:
            _end(pid)
        shutil.rmtree(folder, ignore_errors=True)
        # What pgserver would do at the end has been done, and would make the folder anew.
        os._exit(0)


def _end(pid: int) -> None:
    """At once: nobody needs what it holds."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        postmaster = psutil.Process(pid)
        os.kill(pid, signal.SIGQUIT)
        postmaster.wait(15)


if __name__ == "__main__":
    _serve()
