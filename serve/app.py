"""The deployment: replicas of the HTTP edge in front of the portfolio actors. `serve run serve.app:app` starts it.

`app` reads the environment (`RAYSIGNAL_*`) when it is called, on the cluster; nothing happens at import.
"""

import gc
import os
import sys
from typing import Any

import ray
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from ray.job_submission import JobSubmissionClient
from ray.serve.schema import ServeInstanceDetails
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.private_files import restrict_new_files
from raysignal.runtime.clients import ServiceClients
from raysignal.runtime.settings import Settings, load_settings
from raysignal.serve.access import Credentials, check_host, refuse_open_door
from raysignal.serve.api import build_api
from raysignal.serve.haproxy import MAX_CONNECTIONS, connections_within, descriptors, descriptors_for
from raysignal.serve.logs import StoreLog, open_log
from raysignal.serve.replica import ReplicaState, warm_requests

APP_NAME = "raysignal"
MAX_ONGOING = 1024


class Edge:
    """One replica: the clients of the actors, and the application over them.

    Args:
        settings: of the service.
        log_path: as in `serve.logs.open_log`.
        host: the address that Ray Serve was started with; None: it is asked for.
    """

    def __init__(self, settings: Settings, log_path: str | None, host: str | None) -> None:
        restrict_new_files()
        # Batches are read on a thread; single signals shall not wait long for the interpreter.
        sys.setswitchinterval(0.001)
        access = Credentials.of(settings)
        host = host or published_host()
        refuse_open_door(host, access)
        check_host(settings.http.host, host)
        warm_requests()
        log, name = open_log(log_path), serve.get_replica_context().replica_id.unique_id
        warn_of_few_descriptors(log, descriptors())
        clients = ServiceClients.connect(settings, os.environ)
        replica = ReplicaState(
            settings,
            clients.portfolios,
            clients.blobs,
            access,
            clients.agent,
            clients.feeds,
            clients.pipelines,
            clients.models,
            name,
        )
        self._api = build_api(replica, log=log, store_log=StoreLog(log, name))
        # What is loaded by now stays: searching it for garbage would hold everyone up for a tenth of a second.
        gc.freeze()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._api


def warn_of_few_descriptors(log: FilteringBoundLogger, allowed: int) -> None:
    """Say in the log where the limit of open files leaves fewer connections than HAProxy would take."""
    connections = connections_within(allowed)
    if connections < MAX_CONNECTIONS:
        log.warning(
            "few_file_descriptors", allowed=allowed, connections=connections,
            detail=f"{allowed} open files allow {connections} connections; for {MAX_CONNECTIONS}, raise the hard "
            f"limit to {descriptors_for(MAX_CONNECTIONS)}: ulimit -n, or --ulimit nofile= of a container",
        )  # fmt: skip


def build(settings: Settings, *, log_path: str | None = None, host: str | None = None) -> serve.Application:
    """The application of these settings, of `Edge`'s arguments; `log_path` is on the replicas' machine."""
    deployment: Any = serve.deployment(
        serve.ingress()(Edge),
        name="Edge",
        num_replicas=settings.http.replicas,
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=5,
        graceful_shutdown_wait_loop_s=0.1,
        # One line a request is written by `ErrorMiddleware`, with more in it.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    application: serve.Application = deployment.bind(settings, log_path, host)
    return application


def app(args: dict[str, Any]) -> serve.Application:
    """The application of the environment's settings; `args` are settings that go before those."""
    return build(load_settings(os.environ, **args))


def published_host() -> str | None:
    """The address that Ray Serve listens on, as the cluster's dashboard publishes it; None: it does not."""
    try:
        dashboard = JobSubmissionClient(ray.get_runtime_context().gcs_address).get_address()
        details = ServeInstanceDetails(**ServeSubmissionClient(dashboard).get_serve_details())
    except (OSError, RuntimeError):
        return None
    # With RAY_ADDRESS in the environment, that may have been another cluster.
    ours = serve.get_replica_context().replica_id.unique_id
    deployments = (each for app in details.applications.values() for each in app.deployments.values())
    listed = any(replica.replica_id == ours for each in deployments for replica in each.replicas)
    if not listed or details.http_options is None:
        return None
    return details.http_options.host or "0.0.0.0"  # noqa: S104 - that is what Ray Serve takes None for
