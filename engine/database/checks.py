"""Whether a database can be used, found out within seconds and without changing anything in it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
from alembic.script import ScriptDirectory

from raysignal.engine.core.errors import DatabaseTooNew, SettingsError, StoreError, StoreUnavailable
from raysignal.engine.database.addresses import POSTGRESQL, SQLITE, kind_of, shown_address, sqlite_path
from raysignal.engine.database.migrate import FOLDER, head_revision

_PATIENCE_S = 2
_VERSION = "SELECT version_num FROM alembic_version"


def check_address(address: str) -> str:
    """Look at the database of an address; one that is not there yet is not made.

    Returns:
        What was found, as a sentence for people, without the password.

    Raises:
        SettingsError: the address cannot be used.
        StoreUnavailable: no server answers, or the file cannot be written.
        StoreError: it is no database.
        DatabaseTooNew: a later version of raysignal has changed its tables.
    """
    shown = shown_address(address)
    revision = (
        _sqlite(sqlite_path(address), shown) if kind_of(address) == SQLITE else _postgresql(address, shown)
    )
    if revision is None:
        return f"{shown} has no tables yet; the first feed makes them"
    if revision == head_revision():
        return f"{shown} has the tables of this version"
    if revision not in {script.revision for script in ScriptDirectory(FOLDER).walk_revisions()}:
        raise DatabaseTooNew(
            f"{shown} is at schema {revision}, which this version of raysignal (schema {head_revision()}) does not "
            "know; expected a version at least as new as the one that made it"
        )
    return f"{shown} has the tables of an earlier version; the first feed changes them"


def _sqlite(path: Path, shown: str) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        raise SettingsError(
            f"there is no folder {folder} for the database {path.name}; make it, or name another file"
        )
    if path.is_dir():
        raise StoreError(f"{shown} is a folder; expected a file, or a path where one can be made")
    # SQLite writes files of its own beside the database.
    place = path if path.exists() else folder
    if not (os.access(folder, os.W_OK | os.X_OK) and os.access(place, os.W_OK)):
        raise StoreUnavailable(f"{shown} cannot be written: no permission at {place}")
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)
        ) as connection:
            known = connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            found = connection.execute(_VERSION).fetchone() if known else None
    except sqlite3.Error as error:
        raise StoreError(f"{shown}: {error}") from error
    return None if found is None else str(found[0])


def _postgresql(address: str, shown: str) -> str | None:
    plain = f"{POSTGRESQL}://{address.strip().partition('://')[2]}"
    try:
        with psycopg.connect(plain, connect_timeout=_PATIENCE_S, autocommit=True) as connection:
            connection.execute(f"SET statement_timeout = {_PATIENCE_S * 1000}")
            known = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            found = connection.execute(_VERSION).fetchone() if known and known[0] else None
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StoreUnavailable(f"{shown}: {said}") from error
    return None if found is None else str(found[0])
