"""The Ray that an experiment runs on: one that is there, one that is named, or one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from raysignal.engine.core.errors import SettingsError
from raysignal.runtime.local_cluster import NAMESPACE, local_ray
from raysignal.runtime.ray_address import EXPECTED_RAY_ADDRESS, refuse_silent_head


def _join(address: str) -> None:
    import ray  # noqa: PLC0415 - as below

    refuse_silent_head(address)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SettingsError(
            f"the Ray cluster at {address} cannot be joined: {lines[-1]}; expected {EXPECTED_RAY_ADDRESS}, and "
            "RAY_AUTH_MODE=token with its token where it asks for one"
        ) from error


@contextmanager
def ray_session(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """A session on the cluster of that address; None: a Ray of this process's own, which ends with it.

    A session that this process has already is used and left as it is.

    Args:
        address: such as `host:6379`, or `auto`.
        cpus: of a Ray of one's own; None: all there are.

    Raises:
        SettingsError: no cluster is there, or it does not let this process in.
    """
    import ray  # noqa: PLC0415 - half a second; only who runs an experiment pays it

    if ray.is_initialized():
        yield
        return
    if address is not None:
        _join(address)
        try:
            yield
        finally:
            ray.shutdown()
        return
    with local_ray(cpus=cpus or os.cpu_count() or 1):
        yield
