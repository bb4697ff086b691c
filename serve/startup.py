"""What would keep a service from running, looked at before anything of it starts.

    check_settings(settings, log_path)       the agent's terms, the request log
    with held_store(store, doing=...): ...   nobody else on this machine works on the store meanwhile
    check_store(settings)                    it can be written, and is kept in as many shards as the settings say
    check_database(settings)                 where there are feeds: it is there, and this version knows its tables

Each raises the sentence that its user has to read. Found by an actor or a replica instead, it would come after a
minute, and as what Ray Serve says of a deployment that failed.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from urllib.parse import unquote

from raysignal.engine.core.errors import SettingsError, StoreError, StoreHeld, StoreUnavailable
from raysignal.engine.journal.addresses import split_store
from raysignal.engine.journal.blobs import JOURNAL_FOLDER
from raysignal.engine.journal.disk import RealDisk
from raysignal.engine.journal.layout import check_layout
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.agent_settings import check_agent_settings
from raysignal.runtime.settings import PREFIX, Settings
from raysignal.serve.shutdown import ShutdownSignal

LOCK_NAME = "service.lock"
_LOOK_EVERY_S = 0.2
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def check_settings(settings: Settings, log_path: str | None = None) -> None:
    """What the settings cannot say of themselves, because it is the agent's or the file system's.

    Raises:
        SettingsError: the agent cannot work with its settings, the request log cannot be written, or what the feeds
            need is not installed.
    """
    check_agent_settings(settings)
    if log_path is not None:
        _check_log(log_path)


def _check_log(path: str) -> None:
    try:
        # A pipe that nobody reads would hold up whoever opens it: it is refused instead.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600))
    except OSError as error:
        raise SettingsError(
            f"the request log {path!r} cannot be written ({error.strerror}); expected a file in a folder that exists"
        ) from error


@contextmanager
def held_store(
    store: str,
    *,
    doing: str,
    stop: ShutdownSignal | None = None,
    take_over: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Within, nobody else on this machine works on the store: two services would take each other's actors away.

    A lock of the operating system, which goes with the process however it ends. Services of other machines, and those
    that share a bucket, are kept apart by the journal, where the one that starts last takes over.

    Args:
        store: its address.
        doing: what this process does with it; who comes after is told.
        stop: cuts the waiting short.
        take_over: called with who holds it, whose end is then waited for; None: it is refused.

    Raises:
        StoreHeld: somebody else holds it.
        StoreUnavailable: its folder cannot be made or written.
    """
    root = store_folder(store)
    if root is None:
        yield
        return
    path = root / JOURNAL_FOLDER / LOCK_NAME
    with _store_errors(store):
        RealDisk().make_dir(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            holder = _holder(descriptor)
            if take_over is None:
                raise StoreHeld(store, holder)
            take_over(holder)
            while not _locked(descriptor):
                if stop is not None:
                    stop.check()
                Event().wait(_LOOK_EVERY_S)
        with _store_errors(store):
            _write_holder(descriptor, doing)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        # A file system without locks: the journal alone keeps writers apart, as between machines.
    return True


def _write_holder(descriptor: int, doing: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing, "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as it has said so."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {said['pid']} of {said['host']} ({said['doing']}, since {said['since']})"
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"


@contextmanager
def _store_errors(store: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        at = f" at {error.filename}" if error.filename else ""
        raise StoreUnavailable(
            f"the store {store} cannot be written ({error.strerror}{at}); expected a folder of this user, or a path "
            f"where one can be made: set {PREFIX}STORE"
        ) from error


def store_folder(store: str) -> Path | None:
    """The folder of a `file:` store; None for one in a bucket."""
    parts = split_store(store)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def check_store(settings: Settings) -> None:
    """Raise if the store cannot be written, does not keep writers apart, or is kept in another number of shards.

    Raises:
        SettingsError, JournalDamaged: see `check_layout`.
        StoreError: see `Stores.probe`.
    """
    stores = open_stores(settings.store)
    try:
        stores.probe()
    except StoreUnavailable as error:
        raise StoreUnavailable(f"the store {settings.store} cannot be used: {error}") from error
    check_layout(stores, settings.journal.shards)


def check_database(settings: Settings) -> None:
    """Raise if there are feeds, and what they need is not installed, or their database is not there.

    Raises:
        SettingsError: the extra `feeds` is missing, or the address cannot be used.
        StoreError: the database does not answer, or a later version has changed its tables.
    """
    if not settings.feed.instruments:
        return
    try:
        from raysignal.engine.database.checks import check_address  # noqa: PLC0415 - needs the extra `feeds`
    except ImportError as error:
        raise SettingsError(
            f"{PREFIX}FEED__INSTRUMENTS is {list(settings.feed.instruments)}, but {error.name} is not installed; "
            "expected the extra: pip install 'raysignal[feeds]'"
        ) from error
    try:
        check_address(settings.database_url.get_secret_value())
    except StoreError as error:
        raise type(error)(f"{PREFIX}DATABASE_URL: {error}") from error
