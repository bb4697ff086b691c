"""Bringing the tables of a database up to date, by Alembic and under a lock.

A migration is a module `engine/database/migrations/versions/r<number>_<what>.py` with its number as `revision`; it is
never changed once it is in a release, and says its own tables, not those of `tables.py`, which move on.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from raysignal.engine.core.errors import DatabaseTooNew

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x7261_7973  # any number that only we use


def head_revision() -> str:
    """What the tables are like in this version of the code."""
    head = ScriptDirectory(FOLDER).get_current_head()
    assert head is not None
    return head


def upgrade(engine: Engine, shown: str, revision: str = "head") -> None:
    """Make the changes that are missing, all of them or none.

    Raises:
        DatabaseTooNew: the database knows changes that this code does not.
    """
    scripts = ScriptDirectory(FOLDER)
    with engine.connect() as connection:
        if _current(connection) == scripts.get_current_head() and revision == "head":
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Changes may take their time; another process that makes them is waited for as long as it takes.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # SQLite's own lock is held from BEGIN IMMEDIATE on.
        current = _current(connection)
        known = {script.revision for script in scripts.walk_revisions()}
        if current is not None and current not in known:
            raise DatabaseTooNew(
                f"{shown} is at schema {current}, which this version of raysignal (schema "
                f"{scripts.get_current_head()}) does not know; expected a version at least as new as the one "
                "that made it"
            )
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
        command.upgrade(config, revision)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
