"""The Ray that an experiment runs on: one that is there, one that is named, or one of its own."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OBJECT_STORE_BYTES = 512 * 1024 * 1024


@contextmanager
def ray_session(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """A session on the cluster of that address; None: a Ray of this process's own, which ends with it.

    A session that this process has already is used and left as it is.

    Args:
        address: such as `host:6379`, or `auto`.
        cpus: of a Ray of one's own; None: all there are.
    """
    import ray  # noqa: PLC0415 - half a second; only who runs an experiment pays it

    if ray.is_initialized():
        yield
        return
    if address is not None:
        ray.init(address=address, namespace="raysignal", log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A short path: Ray keeps unix sockets below it, whose paths hold 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
    try:
        ray.init(
            address="local",
            num_cpus=cpus or os.cpu_count() or 1,
            num_gpus=0,
            include_dashboard=False,
            namespace="raysignal",
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
