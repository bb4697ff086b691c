"""The Ray that an experiment runs on: one that is there, one that is named, or one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.local_cluster import NAMESPACE, local_ray


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
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
        return
    with local_ray(cpus=cpus or os.cpu_count() or 1):
        yield
