"""The deployments of the broadcast: replicas apart from those of the other routes, since clients stay.

Each of the two addresses is an application of its own. Its replicas start with the service, or at the first client:
Ray Serve then keeps that client's request until there is one.
"""

import sys
import time
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from raysignal.engine.core.private_files import restrict_new_files
from raysignal.runtime.bootstrap import build_stores
from raysignal.runtime.clients import connect_feeds, connect_pipelines
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings
from raysignal.serve.access import Credentials, refuse_open_door
from raysignal.serve.api import ErrorMiddleware
from raysignal.serve.app import published_host
from raysignal.serve.logs import StoreLog, open_log
from raysignal.serve.refusals import RefusalReporter
from raysignal.serve.stream.app import StreamApp
from raysignal.serve.stream.hub import StreamHub
from raysignal.serve.stream.source import ServiceSource

APPLICATIONS = {"raysignal-ws": "/ws", "raysignal-stream": "/v1/stream"}
"""Names of applications, and what addresses begin with that are theirs."""
MAX_CLIENTS = 8192
_NEVER_S = 1e9


class StreamReplica:
    """One replica of the broadcast; its arguments are those of `serve.app.Edge`."""

    def __init__(self, settings: Settings, log_path: str | None, host: str | None) -> None:
        restrict_new_files()
        sys.setswitchinterval(0.001)
        access = Credentials.of(settings)
        refuse_open_door(host or published_host(), access)
        portfolios = PortfolioClient.connect(settings)
        name = serve.get_replica_context().replica_id.unique_id
        source = ServiceSource(
            name,
            portfolios,
            build_stores(settings).blobs,
            settings.journal.shards,
            connect_feeds(settings),
            connect_pipelines(settings),
        )
        self._hub = StreamHub(source, settings.stream, now_us=_now_us, clock=time.monotonic)
        log = open_log(log_path)
        self._app = ErrorMiddleware(
            StreamApp(self._hub, access), access=access, log=log, store_log=StoreLog(log, name),
            refusals=RefusalReporter(portfolios, _now_us), name=name,
        )  # fmt: skip

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app


def build_stream(
    settings: Settings, *, log_path: str | None = None, host: str | None = None
) -> dict[str, serve.Application]:
    """The applications of these settings by their name; none where the broadcast is off."""
    if settings.stream.start == "off":
        return {}
    replicas = settings.stream.replicas
    deployment: Any = serve.deployment(
        serve.ingress()(StreamReplica),
        name="Stream",
        max_ongoing_requests=MAX_CLIENTS,
        # All replicas at the first client, and none goes again: it would take its clients along.
        autoscaling_config={
            "min_replicas": 0 if settings.stream.start == "first_use" else replicas,
            "max_replicas": replicas,
            "target_ongoing_requests": 1,
            "upscale_delay_s": 0.0,
            "downscale_delay_s": _NEVER_S,
        },
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1.0,  # how soon a replica that was killed is missed: its clients wait for the next one
        graceful_shutdown_timeout_s=1,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return {name: deployment.bind(settings, log_path, host) for name in APPLICATIONS}


def begun_streams(*, idle: bool) -> list[str]:
    """The applications of the broadcast that there are and have replicas; with `idle`, those without as well.

    To end one takes a second, which an idle one that goes with its cluster does not need.
    """
    known = serve.status().applications
    return [
        name for name in APPLICATIONS
        if name in known and (idle or any(each.replica_states for each in known[name].deployments.values()))
    ]  # fmt: skip


def _now_us() -> int:
    return time.time_ns() // 1000
