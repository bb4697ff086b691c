"""The backends that every store contract is tried on; a new one joins by a line in `_BACKENDS` or `_DATABASES`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.database.database import Database, open_database
from raysignal.engine.journal.blobs import BlobStore, DiskBlobs, S3Blobs
from raysignal.engine.journal.bucket import Bucket, s3_client
from raysignal.engine.journal.journal import JournalStore
from raysignal.engine.journal.local import LocalStore
from raysignal.engine.journal.s3 import S3Store
from tests.support.postgres import Postgres, postgres_server
from tests.support.servers import CREDENTIALS, Server, moto_server

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Backend:
    """One kind of store. `journal()` gives a store of the same journal each time, as each process has its own."""

    journal: Callable[[], JournalStore]
    blobs: Callable[[], BlobStore]


@pytest.fixture(scope="package")
def moto() -> Iterator[Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="package")
def make_client() -> Iterator[Callable[..., Any]]:
    """Makes S3 clients that are closed with the session."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)

        def make(url: str, **options: float) -> Any:
            made.append(s3_client(url, **options))
            return made[-1]

        yield make
        for client in made:
            client.close()


@pytest.fixture(scope="package")
def s3(moto: Server, make_client: Callable[..., Any]) -> Any:
    client = make_client(moto.url)
    client.create_bucket(Bucket="results")
    return client


@pytest.fixture
def prefix() -> str:
    """A part of the bucket that no other test uses."""
    return f"test-{next(_numbers)}/"


def _local(request: pytest.FixtureRequest) -> Backend:
    path: Path = request.getfixturevalue("tmp_path")
    return Backend(lambda: LocalStore(path / "journal", segment_size=2048), lambda: DiskBlobs(path / "blobs"))


def _s3(request: pytest.FixtureRequest) -> Backend:
    bucket = Bucket(request.getfixturevalue("s3"), "results", request.getfixturevalue("prefix"), page=7)
    return Backend(
        lambda: S3Store(bucket.under("journal/"), token=_token, readers=4), lambda: S3Blobs(bucket)
    )


def _token() -> bytes:
    return next(_numbers).to_bytes(16, "little")


_BACKENDS = {"local": _local, "s3": _s3}


@pytest.fixture(params=sorted(_BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return _BACKENDS[request.param](request)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, for as long as the tests run."""
    with postgres_server() as server:
        yield server


def _sqlite(request: pytest.FixtureRequest) -> str:
    path: Path = request.getfixturevalue("tmp_path")
    return f"sqlite:///{path / 'market.db'}"


def _postgresql(request: pytest.FixtureRequest) -> str:
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_database()


_DATABASES = {"sqlite": _sqlite, "postgresql": _postgresql}


@pytest.fixture(params=sorted(_DATABASES))
def address(request: pytest.FixtureRequest) -> str:
    """The address of a database of its own, which is empty."""
    return _DATABASES[request.param](request)


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """A database of its own, open, with empty tables."""
    opened = open_database(address)
    yield opened
    opened.close()
