"""A Ray of this process's own, which no other user of the machine reaches, and which ends with it."""

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from raysignal.engine.core.errors import SettingsError

NAMESPACE = "raysignal"
OBJECT_STORE_BYTES = 512 * 1024 * 1024
_PREFIX = "rs-"
_LOCK = "owner"
_MAKING_S = 600.0
_MODE = "RAY_AUTH_MODE"
_DAEMONS = frozenset({"raylet", "gcs_server"})
_LOOK_S = 0.5
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's switch for machines where open ports are a nuisance: a Ray of one node then listens on loopback alone. Read
when Ray is imported; where that has happened before, Ray listens on all addresses, and its token keeps others out."""


@contextmanager
def local_ray(*, cpus: int) -> Iterator[None]:
    """A Ray to which this process is connected, see `start_ray`; it ends with the context."""
    ray = import_ray()
    with private_folder() as folder:
        try:
            start_ray(folder, cpus=cpus)
            yield
        finally:
            ray.shutdown()


def import_ray() -> ModuleType:
    """Ray, for a process that starts one of its own. It takes half a second at first."""
    with environment(ON_LOOPBACK):
        import ray  # noqa: PLC0415 - only who works with Ray pays for it
    return ray


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that its owner alone enters, gone afterwards; what processes that were killed left goes too.

    Ray opens the folder that it is given to everybody, so it gets one inside, see `start_ray`. What Ray runs, such as a
    proxy, lies beside that one. The path is short, because Ray keeps sockets below it, whose paths hold 107 bytes.
    """
    parent = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    unlocked = folder / "new"
    with unlocked.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        unlocked.rename(folder / _LOCK)  # only now: who finds it without a lock takes its owner for dead
        for left in parent.glob(f"{_PREFIX}*"):
            if _is_left(left):
                shutil.rmtree(left, ignore_errors=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """With these variables in the environment, and as it was before afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start_ray(folder: Path, *, cpus: int) -> None:
    """Start Ray, and connect this process to it; `ray.shutdown` ends it.

    Its ports answer whoever knows the token in the user's `~/.ray/auth_token`, and nobody else.

    Args:
        folder: of `private_folder`.
        cpus: processors that its workers may use.

    Raises:
        SettingsError: `RAY_AUTH_MODE` asks for a Ray that obeys everybody who reaches its ports.
    """
    ray = import_ray()
    mode = os.environ.get(_MODE, "token")
    if mode.lower() != "token":
        raise SettingsError(
            f"{_MODE} is {mode!r}; expected token, or unset: without a token whoever reaches a port of Ray, as every "
            "user of this machine does, runs commands as this user"
        )
    _protect_token()
    with environment({"RAY_USAGE_STATS_ENABLED": "0"} | ON_LOOPBACK):
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=0,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder / "ray"),
        )
    if os.environ.get(_MODE, "").lower() != "token":
        ray.shutdown()
        raise SettingsError(
            f"Ray {ray.__version__} started without a token; expected a version that asks for one"
        )


@contextmanager
def watched(lost: Callable[[str], None]) -> Iterator[None]:
    """Within, `lost` is called from a thread when a process has ended that this process's own cluster rests on."""
    daemons = {
        pid: name for pid, name, parent, _ in _processes() if parent == os.getpid() and name in _DAEMONS
    }
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            for pid, name in daemons.items():
                found = _process(Path(f"/proc/{pid}/stat"))
                if found is None or found[3] == "Z":
                    lost(f"Ray's {name} (pid {pid}) has ended")
                    return

    looking = threading.Thread(target=look, name="watched cluster", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def _processes() -> Iterator[tuple[int, str, int, str]]:
    """Pid, name, parent and state of every process; none where the kernel does not tell."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if (found := _process(stat)) is not None:
            yield found


def _process(stat: Path) -> tuple[int, str, int, str] | None:
    """The same of one process; None: it has ended."""
    try:
        head, _, tail = stat.read_text().rpartition(")")
    except OSError:
        return None
    state, parent, *_ = tail.split()
    return int(stat.parent.name), head.partition("(")[2], int(parent), state


def _is_left(folder: Path) -> bool:
    """Whether the folder is this user's, and whoever made it is dead.

    Without a lock it is being made, or a part of Ray that ended later than the rest made it anew.
    """
    with suppress(OSError):
        status = folder.stat()
        if status.st_uid != os.geteuid():
            return False
        if not (folder / _LOCK).exists():
            return time.time() - status.st_mtime > _MAKING_S
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _protect_token() -> None:
    """Make the file of the token that Ray reads, readable for its owner alone: Ray makes it readable for everybody."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    folder = Path.home() / ".ray"
    path = folder / "auth_token"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        folder.chmod(0o700)
        path.chmod(0o600)
    except OSError as error:
        raise SettingsError(
            f"the token that Ray asks for cannot be kept at {path} ({error.strerror}); expected HOME to be a folder of "
            "this user's own, or RAY_AUTH_TOKEN_PATH to name a file that holds one"
        ) from error
