"""Addresses of databases, and databases that cannot be opened."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from raysignal.engine.core.errors import SettingsError, StoreError, StoreUnavailable
from raysignal.engine.database.addresses import default_address, kind_of, shown_address, sqlite_path
from raysignal.engine.database.database import open_database

SECRET = "p4ssw0rd"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("sqlite:///market.db", "sqlite"),
        ("sqlite:////var/lib/market.db", "sqlite"),
        ("postgres://host/name", "postgresql"),
        ("postgresql://user:password@host:5432/name?sslmode=require", "postgresql"),
        ("postgresql+psycopg://host/name", "postgresql"),
        (" POSTGRES://host/name ", "postgresql"),
    ],
)
def test_an_address_says_its_kind(address, kind):
    assert kind_of(address) == kind


@pytest.mark.parametrize(
    "address",
    [
        "",
        "market.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/file",
        "sqlite:///file?mode=ro",
        f"mysql://user:{SECRET}@host/name",
        f"postgresql+asyncpg://user:{SECRET}@host/name",
        f"postgres://user:{SECRET}/@host/name",
        f"postgres://user:a@b@host:{SECRET}/name",
        f"user:{SECRET}@host",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(address):
    with pytest.raises(SettingsError, match="expected") as caught:
        kind_of(address)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"postgres://user:{SECRET}@host:5432/name", "postgresql://user@host:5432/name"),
        (
            f"postgres://host/name?password={SECRET}&sslmode=require",
            "postgresql://host/name?password=…&sslmode=require",
        ),
        ("postgres:///name?host=/run", "postgresql:///name?host=/run"),
        ("sqlite:///market.db", "sqlite:///market.db"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert shown_address(address) == shown


def test_the_path_of_a_file_is_relative_or_absolute():
    assert sqlite_path("sqlite:///a/b.db") == Path("a/b.db")
    assert sqlite_path("sqlite:////a/b.db") == Path("/a/b.db")


def test_the_default_is_the_common_variable_or_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_address({"DATABASE_URL": "postgres://host/name"}) == "postgres://host/name"
    assert sqlite_path(default_address({"DATABASE_URL": " "})) == tmp_path / "raysignal-market.db"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="no folder"):
        open_database(f"sqlite:///{tmp_path}/missing/market.db")


def test_a_file_that_is_no_database_is_an_error_of_the_store(tmp_path):
    (tmp_path / "market.db").write_bytes(b"something else" * 100)
    with pytest.raises(StoreError, match="file is not a database") as caught:
        open_database(f"sqlite:///{tmp_path}/market.db")
    assert type(caught.value) is StoreError


def test_a_server_that_is_not_there_is_unavailable_and_the_password_is_not_told():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = taken.getsockname()[1]
        with pytest.raises(StoreUnavailable) as caught:
            open_database(f"postgresql://user:{SECRET}@127.0.0.1:{port}/name")
    told, error = "", caught.value
    while error is not None:
        told, error = told + str(error) + repr(error), error.__cause__ or error.__context__
    assert "refused" in told
    assert SECRET not in told


def test_a_file_that_somebody_else_has_locked_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr("raysignal.engine.database.database.WAIT_S", 0.01)
    address = f"sqlite:///{tmp_path}/market.db"
    database = open_database(address)
    with closing(sqlite3.connect(tmp_path / "market.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"), database.writing():
            pass
    with database.writing():
        pass
    database.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_under_a_database_is_noticed_and_one_put_back_goes_on(tmp_path, replaced):
    path = tmp_path / "market.db"
    database = open_database(f"sqlite:///{path}")
    with database.writing():
        path.rename(tmp_path / "aside.db")
        path.with_name("aside.db").rename(path)
    path.rename(tmp_path / "aside.db")
    said = "is not there any more"
    if replaced:
        path.write_bytes(b"")
        said = "is another file"
    for opened in (database.writing, database.reading):
        with pytest.raises(StoreUnavailable, match=said), opened():
            pass
    assert path.exists() == replaced  # nothing makes a new one in its place
    path.unlink(missing_ok=True)
    (tmp_path / "aside.db").rename(path)
    with database.writing():
        pass
    database.close()


def test_a_commit_to_a_file_that_was_removed_meanwhile_is_not_taken_for_stored(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/market.db")
    with pytest.raises(StoreUnavailable, match="not there any more"), database.writing():
        (tmp_path / "market.db").unlink()
    database.close()


def test_every_commit_reaches_the_disk_and_foreign_keys_are_kept(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/market.db")
    with database.reading() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("synchronous", "foreign_keys", "journal_mode")
        }
    database.close()
    assert settings == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal"}
