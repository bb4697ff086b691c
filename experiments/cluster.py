"""The Ray that an experiment runs on: one that is there, one that is named, or one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from raysignal.engine.core.errors import RaysignalError, SettingsError
from raysignal.runtime.local_cluster import NAMESPACE, local_ray
from raysignal.runtime.ray_address import EXPECTED_RAY_ADDRESS, refuse_silent_head


class WorkerFailed(RaysignalError):
    """A task or an actor of an experiment ended before it was done."""


@contextmanager
def worker_errors(sentence: str, remedy: str) -> Iterator[None]:
    """Within, what Ray raises where a worker has ended is `WorkerFailed`, with the last line of what Ray says."""
    from ray.exceptions import RayError  # noqa: PLC0415 - as below

    try:
        yield
    except RayError as error:
        raise WorkerFailed(f"{sentence} ({_last_line(error)}); {remedy}") from error


def live_nodes() -> int:
    """How many nodes of the cluster that this process is connected to are alive."""
    import ray  # noqa: PLC0415 - as below

    return len([node for node in ray.nodes() if node["Alive"]])  # type: ignore[no-untyped-call]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _join(address: str) -> None:
    import ray  # noqa: PLC0415 - as below

    refuse_silent_head(address)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise SettingsError(
            f"the Ray cluster at {address} cannot be joined: {_last_line(error)}; expected {EXPECTED_RAY_ADDRESS}, and "
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
