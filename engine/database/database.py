"""A database that is open: transactions, and what can go wrong with them in the words of `engine.core.errors`.

    with database.writing() as connection: ...     all of it or nothing, durable once the block is left
    with database.reading() as connection: ...     one view of the data, changes nothing

Both give SQLAlchemy connections and are safe from many threads and processes. A writer that has to wait for another
waits; it does so at its beginning, so that in SQLite no transaction can fail half-way for want of the lock.

When a commit is not confirmed it may have happened. `StoreUnavailable` says: do the same again. So every write is
one that can be repeated: an insert that lets an existing row be, or an update that says what it expects to find.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from raysignal.engine.core.errors import SettingsError, StoreError, StoreUnavailable
from raysignal.engine.database.addresses import SQLITE, kind_of, shown_address, sqlite_path
from raysignal.engine.database.migrate import upgrade

WAIT_S = 15.0
"""How long a statement waits for a lock, a connection or a server before it is given up."""

_READING = "raysignal_reading"
_WAL_TRIES, _WAL_WAIT_S = 200, 0.05
_POOL = 5

# Primary result codes of SQLite that no repetition mends; all the others are states that pass.
_SQLITE_BROKEN = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
}
# Classes of SQLSTATE that pass: connection, rolled back, resources, operator, system.
_PASSING_STATES = ("08", "40", "53", "55", "57", "58")


class Database:
    """An open database; made by `open_database`.

    Attributes:
        kind: `sqlite` or `postgresql`.
        shown: its address without the password.
    """

    def __init__(self, engine: Engine, kind: str, shown: str, path: Path | None = None) -> None:
        self.kind = kind
        self.shown = shown
        self._engine = engine
        self._path = path
        self._file = None if path is None else _file_at(path)
        level = {} if kind == SQLITE else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = engine.execution_options(**{_READING: True}, **level)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed when the block ends, undone when it raises.

        Raises:
            StoreUnavailable: the database did not answer within `WAIT_S`, or is not there. What was to be written
                may be written; the same again is right.
            StoreError: it refuses, by a constraint or because it is damaged; nothing is written.
        """
        self._check_file()
        with self._errors(), self._engine.begin() as connection:
            yield connection
        # What was committed to a file that is not there any more will not be found again.
        self._check_file()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the data: what others commit meanwhile is not seen. Raises what `writing` does."""
        self._check_file()
        with self._errors(), self._reader.connect() as connection:
            yield connection

    def rows(self, statement: Select[Any]) -> list[dict[str, Any]]:
        """What is selected, by the names of the columns. Raises what `writing` does."""
        with self.reading() as connection:
            return rows_of(connection, statement)

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`, alike in both databases."""
        return sqlite.insert(table) if self.kind == SQLITE else postgresql.insert(table)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def _check_file(self) -> None:
        """`StoreUnavailable` if SQLite's file was removed or replaced: open connections would not notice it."""
        if self._path is None or (found := _file_at(self._path)) == self._file:
            return
        happened = (
            "is not there any more" if found is None else "is another file than the one that was opened"
        )
        raise StoreUnavailable(
            f"{self.shown}: the file {happened}, so what is written is lost. Put the one that was opened back, or "
            "start the service anew"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with database_errors(self.shown):
            yield


def rows_of(connection: Connection, statement: Select[Any]) -> list[dict[str, Any]]:
    """What is selected, by the names of the columns."""
    return [
        {str(name): value for name, value in row.items()} for row in connection.execute(statement).mappings()
    ]


def open_database(address: str) -> Database:
    """Open a database, and bring its tables up to date.

    Several processes may do so at once: one of them makes the changes, the others wait for it.

    Raises:
        SettingsError: the address cannot be used; it is shown without its password.
        StoreUnavailable: the database is not there.
        DatabaseTooNew: it was made by a later version of raysignal.
    """
    kind = kind_of(address)
    shown = shown_address(address)
    path = sqlite_path(address).absolute() if kind == SQLITE else None
    engine = _postgresql_engine(address, shown) if path is None else _sqlite_engine(path)
    try:
        with database_errors(shown):
            upgrade(engine, shown)
    except BaseException:
        engine.dispose()
        raise
    return Database(engine, kind, shown, path)


@contextmanager
def database_errors(shown: str) -> Iterator[None]:
    """Turns SQLAlchemy's errors into those of the tree, with the address as it may be shown."""
    try:
        yield
    except NoConnectionFree as error:
        raise StoreUnavailable(f"{shown} has no connection free within {WAIT_S:g} s") from error
    except DBAPIError as error:
        # The driver's words, without the statement: that is for the developer, who finds it in the cause.
        raise _in_the_tree(error.orig or error, shown, lost=error.connection_invalidated) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{shown}: {error}") from error


def _in_the_tree(cause: BaseException, shown: str, *, lost: bool = False) -> StoreError:
    said = (str(cause).strip().splitlines() or [""])[0]
    kind = StoreUnavailable if lost or _passes(cause) else StoreError
    return kind(f"{shown}: {type(cause).__name__}: {said}")


def _passes(cause: BaseException) -> bool:
    """Whether the same may succeed later."""
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return code & 0xFF not in _SQLITE_BROKEN
    state = getattr(cause, "sqlstate", None)
    if state is None:
        # psycopg has no state where the server was not reached, or did not let us in.
        return type(cause).__name__ in {"OperationalError", "InterfaceError", "ConnectionTimeout"}
    return str(state).startswith(_PASSING_STATES)


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file lies there; None: none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    return found.st_dev, found.st_ino


def _sqlite_engine(path: Path) -> Engine:
    if not path.parent.is_dir():
        raise SettingsError(f"there is no folder {path.parent} for the database {path.name}")
    _use_write_ahead_log(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": WAIT_S},
        pool_size=_POOL,
        pool_timeout=WAIT_S,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        # Transactions begin where we say, not where sqlite3 sees the first change.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        # Every commit reaches the disk: an order that was said to be stored is.
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # The lock is taken at once: a reader that became a writer could find others in its way and would fail.
        reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(address: str, shown: str) -> Engine:
    try:
        url = make_url(f"postgresql+psycopg://{address.strip().partition('://')[2]}")
    except (ArgumentError, ValueError):
        raise SettingsError(f"{shown} cannot be used as a database address") from None
    limit = f"{WAIT_S:g}s"
    return create_engine(
        url.difference_update_query(("connect_timeout",)),
        connect_args={
            "connect_timeout": int(url.query.get("connect_timeout", 5)),  # type: ignore[arg-type]
            "application_name": "raysignal",
            "options": f"-c lock_timeout={limit} -c statement_timeout={limit}",
        },
        pool_size=_POOL,
        pool_timeout=WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,
    )


def _use_write_ahead_log(path: Path) -> None:
    """Readers and the writer do not wait for each other. The file remembers it.

    Changing over needs the file for itself, and SQLite does not always wait for that: we do.
    """
    for attempt in range(1, _WAL_TRIES + 1):
        try:
            with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as connection:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.Error as error:
            if not _passes(error) or attempt == _WAL_TRIES:
                raise _in_the_tree(error, str(path)) from error
            Event().wait(_WAL_WAIT_S)
            continue
        if mode != "wal":
            raise StoreError(f"{path} cannot have a write-ahead log; expected a local disk")
        return
