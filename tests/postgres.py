"""A PostgreSQL for the tests: in a temporary folder, on a socket in it, gone when they are.

with postgres_server() as server:
    address = server.empty_database()
"""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

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
    # Not pytest's own folder: a socket's path has room for a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            # pgserver locks a file in the user's runtime folder, and warns when it is imported where there is none.
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            warnings.simplefilter("ignore")
            import pgserver

            server = pgserver.get_server(folder / "data", cleanup_mode="stop")
        with server:
            host = str(server.get_postmaster_info().socket_dir)
            for setting in ("fsync = off", "full_page_writes = off"):
                server.psql(f"ALTER SYSTEM SET {setting}")
            server.psql("SELECT pg_reload_conf()")
            yield Postgres(host, server.get_pid())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
