"""Clusters and services that tests start, one after another."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / ".pytest_cache"


@contextmanager
def one_start_at_a_time() -> Iterator[None]:
    """Within, no other test starts a cluster: each keeps two processors busy, and Ray has deadlines for its parts."""
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "starting").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
