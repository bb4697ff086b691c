"""A service of one's own, or on a cluster: started, waited for, and put away with everything it started.

    with local_service(settings) as service:
        httpx.get(service.url + "/performance")

On exit the replicas stop taking requests, the actors flush what the history does not hold yet, and Ray ends;
Ctrl-C, SIGTERM and a start that fails half-way go the same way. A second signal cuts the waiting short: the
journal holds what is not flushed. Where `settings.ray_address` names a cluster, the application and its actors
are put away and the cluster stays.
"""

import asyncio
import errno
import fcntl
import logging
import os
import secrets
import socket
import stat
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from raysignal.engine.core.errors import SettingsError, StoreUnavailable
from raysignal.engine.core.hosts import reachable
from raysignal.runtime.local_cluster import (
    NAMESPACE,
    environment,
    import_ray,
    private_folder,
    start_ray,
    watched,
)
from raysignal.runtime.ports import free_port, listening_error
from raysignal.runtime.ray_address import refuse_silent_head
from raysignal.runtime.settings import Settings
from raysignal.serve.haproxy import PER_CLIENT_VARIABLE
from raysignal.serve.shutdown import ShutdownSignal
from raysignal.serve.startup import check_database, check_settings, check_store, held_store

if TYPE_CHECKING:
    from raysignal.runtime.agent_actors import Agent
    from raysignal.runtime.feed_actors import Feeds
    from raysignal.runtime.model_signals import ModelSignals
    from raysignal.runtime.pipeline_actors import Pipelines
    from raysignal.runtime.portfolio_actors import PortfolioClient

READY_TIMEOUT_S = 180.0
"""How long replicas may take to answer after Ray Serve calls them running, on a machine that is busy otherwise."""
REPLICA_HEADER = "X-Replica"
"""Which replica answered `GET /healthz`."""
_HURRIED_CLOSE_S = 0.1
_AGENT_CLOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs.

    Attributes:
        url: where it listens, without a slash at the end.
        desk: the way to its portfolios that does not lead through HTTP.
        settings: what it runs with.
    """

    url: str
    desk: "PortfolioClient"
    settings: Settings


def fast_mode(folder: Path) -> dict[str, str]:
    """Ray Serve's fast mode, as environment variables; they must be set before a cluster starts.

    Several services may run on one machine, so each gets files and inner ports of its own.

    Args:
        folder: for HAProxy's files and sockets; its path must be short.
    """
    replicas_from = 20_000 + 200 * secrets.randbelow(60)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(128 * 1024),
        # For sockets of the broadcast: a HAProxy that was replaced keeps those that it has so long.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "600",
        # On a busy machine a proxy takes longer than Ray's 5 s and 30 s, after which it is killed as it starts.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas_from),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas_from + 199),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        # Ray runs its workers at 15, where two busy processes of anybody else's leave them next to nothing.
        "RAY_worker_niceness": "0",
    }


@contextmanager
def local_service(
    settings: Settings,
    *,
    log_path: str | None = None,
    stop: ShutdownSignal | None = None,
    take_over: Callable[[str], None] | None = None,
) -> Iterator[Service]:
    """A running service.

    Args:
        settings: its settings; `ray_address` is the cluster to join, none starts one.
        log_path: where the request log goes, see `serve.logs.open_log`; None: the stderr of this process for
            a cluster of its own, the stderr of the replicas for one that is joined.
        stop: who notes SIGINT and SIGTERM, already entered; then they do not disturb the body, which has to
            look. None: within the body, too, they raise.
        take_over: called with who works on the store, whose end is then waited for; None: the start is refused.

    Raises:
        KeyboardInterrupt: told to end before it was ready; `SystemExit(143)` for SIGTERM without a `stop`.
        SettingsError: the port is in use, or the settings do not fit the file system, the store or the cluster.
        StoreHeld: another service works on the store.
        StoreError: the store or the database cannot be used; nothing was started.
        StoreUnavailable: the service did not become ready.
    """
    with ExitStack() as stack:
        heeding = stop is None
        stop = stop or stack.enter_context(ShutdownSignal())
        check_settings(settings, log_path)
        url = f"http://{reachable(settings.http.host)}:{settings.http.port}"
        stack.enter_context(
            held_store(settings.store, doing=f"listening on {url}", stop=stop, take_over=take_over)
        )
        check_store(settings)
        check_database(settings)
        if settings.ray_address is None:
            refuse_used_port(settings.http.host, settings.http.port)
            stack.enter_context(_own_cluster(settings, stop))
            log_path = log_path or own_stderr()
        else:
            refuse_silent_head(settings.ray_address)
            stack.enter_context(_joined_cluster(settings.ray_address, stop))
        service = stack.enter_context(_deployed(settings, url, log_path, stop))
        if heeding:
            with stop.interruptible():
                yield service
        else:
            yield service


def refuse_used_port(host: str, port: int) -> None:
    """Raise `SettingsError` if somebody listens there: two would share it, and callers reach either."""
    if (error := listening_error(host, port)) is None:
        return
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        raise SettingsError(
            f"host is {host!r} ({error.strerror}); expected an address of this machine: set RAYSIGNAL_HTTP__HOST"
        ) from error
    raise SettingsError(
        f"port {port} of {host} cannot be listened on ({error.strerror}); expected a free one: set "
        "RAYSIGNAL_HTTP__PORT"
    ) from error


def own_stderr() -> str | None:
    """This process's stderr as other processes of the machine can open it; None where there is no way.

    Where it is a file, this process appends to it from now on, as the others do: at a place of its own (`2> file`) it
    would write over their lines.
    """
    if stat.S_ISREG(os.fstat(2).st_mode):
        fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_APPEND)
    path = f"/proc/{os.getpid()}/fd/2"
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    except OSError:
        return None
    return path


@contextmanager
def _own_cluster(settings: Settings, stop: ShutdownSignal) -> Iterator[None]:
    stop.check()
    ray = import_ray()
    if ray.is_initialized():
        raise SettingsError(
            "this process is already connected to Ray; expected none, or RAYSIGNAL_RAY_ADDRESS"
        )
    with private_folder() as folder:
        wrapper = folder / "haproxy"
        haproxy = Path(__file__).with_name("haproxy.py")
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{haproxy}" "$@"\n')
        wrapper.chmod(0o700)
        own = {
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
            PER_CLIENT_VARIABLE: str(settings.http.connections_per_client),
        }
        with environment(fast_mode(folder) | own):
            try:
                # Cut off half-way it would leave processes that nobody knows: it is waited for.
                with stop.unchallenged(), stop.hurriable():
                    start_ray(folder, cpus=max(os.cpu_count() or 1, 2))
                stop.check()
                with watched(stop.lose):
                    yield
            finally:
                ray.shutdown()


@contextmanager
def _joined_cluster(address: str, stop: ShutdownSignal) -> Iterator[None]:
    import ray  # noqa: PLC0415 - half a second; only who starts a service pays it

    mine = not ray.is_initialized()
    try:
        if mine:
            with stop.unchallenged(), stop.interruptible():
                ray.init(
                    address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
                )
        yield
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _deployed(settings: Settings, url: str, log_path: str | None, stop: ShutdownSignal) -> Iterator[Service]:
    from ray import serve  # noqa: PLC0415 - reads the environment when it is imported
    from ray.exceptions import RayActorError  # noqa: PLC0415 - needs Ray

    from raysignal.runtime.agent_actors import Agent  # noqa: PLC0415 - needs Ray
    from raysignal.runtime.clients import connect_feeds, connect_pipelines  # noqa: PLC0415 - needs Ray
    from raysignal.runtime.model_signals import ModelSignals  # noqa: PLC0415 - needs Ray
    from raysignal.runtime.portfolio_actors import PortfolioClient  # noqa: PLC0415 - needs Ray
    from raysignal.serve.app import APP_NAME, build  # noqa: PLC0415 - needs Ray Serve
    from raysignal.serve.stream.deployment import APPLICATIONS, build_stream  # noqa: PLC0415 - needs Ray Serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    stays = settings.ray_address is not None
    joined_idle = stays and not serve.status().proxies
    # Where Ray Serve runs already, it keeps the address that it was started with.
    host = settings.http.host if joined_idle or not stays else None
    desk = PortfolioClient.connect(settings)
    agent: Agent | None = None
    feeds: Feeds | None = None
    pipelines: Pipelines | None = None
    models: ModelSignals | None = None
    try:
        stop.check()
        agent = Agent.connect(settings, os.environ)
        feeds = connect_feeds(settings)
        taken: list[str] = []
        if settings.pipeline.files:
            with stop.interruptible():
                asyncio.run(desk.ready(within_s=None))
                taken = [standing.portfolio for standing in asyncio.run(desk.standings())]
        pipelines = connect_pipelines(settings, taken)
        models = ModelSignals.connect(settings)
        # Ray Serve waits a minute for its proxy, and not for one that it starts anew; here is where it ends.
        with suppress(TimeoutError, RayActorError):
            serve.start(
                http_options={
                    "host": settings.http.host,
                    "port": settings.http.port,
                    "request_timeout_s": None,
                },
                logging_config={"log_level": "WARNING"},
            )
        _check_controller()
        with stop.interruptible():
            # What keeps a store from opening is said by its actor; Ray Serve would say that a deployment failed.
            asyncio.run(desk.ready(within_s=None))
            with suppress(TimeoutError):
                serve.run_many(
                    [
                        serve.RunTarget(build(settings, log_path=log_path, host=host), APP_NAME, "/"),
                        *(
                            serve.RunTarget(stream, name, APPLICATIONS[name])
                            for name, stream in build_stream(settings, log_path=log_path, host=host).items()
                        ),
                    ]
                )
            wait_for_replicas(url, settings.http.replicas, time.monotonic() + READY_TIMEOUT_S)
            asyncio.run(models.warm())
            asyncio.run(desk.ready(within_s=None))
        yield Service(url, desk, settings)
    except BaseException:
        # What went wrong first is what its user has to read, whatever else goes wrong on the way out.
        with suppress(Exception):
            _put_away(desk, agent, (feeds, pipelines, models), stop, serves=joined_idle, stays=stays)
        raise
    _put_away(desk, agent, (feeds, pipelines, models), stop, serves=joined_idle, stays=stays)


def _check_controller() -> None:
    from ray import serve  # noqa: PLC0415 - as above
    from ray.exceptions import RayActorError  # noqa: PLC0415 - as above

    with suppress(RayActorError):
        if serve.status().proxies:
            return
    raise StoreUnavailable("Ray Serve's controller ended while it was starting; try it again")


def _put_away(
    desk: "PortfolioClient",
    agent: "Agent | None",
    senders: "tuple[Feeds | None, Pipelines | None, ModelSignals | None]",
    stop: ShutdownSignal,
    *,
    serves: bool,
    stays: bool,
) -> None:
    """First nobody comes in any more, then what is there is written, then the actors end; `serves`: Ray Serve, too.

    `stays` says whether the cluster does.
    """
    from ray import serve  # noqa: PLC0415 - as above
    from ray.exceptions import RayError  # noqa: PLC0415 - as above

    from raysignal.serve.app import APP_NAME  # noqa: PLC0415 - as above
    from raysignal.serve.stream.deployment import begun_streams  # noqa: PLC0415 - as above

    if not stop.lost:
        # The broadcast first: it asks the portfolios on and on, which would begin anew.
        with suppress(RuntimeError, RayError, KeyboardInterrupt), stop.hurriable():
            for name in begun_streams(idle=stays):
                serve.delete(name)
        with suppress(RuntimeError, RayError, KeyboardInterrupt), stop.hurriable():
            serve.delete(APP_NAME)
    if stop.lost:
        return  # with the cluster went all that could be told to end
    if serves:
        with suppress(RuntimeError, RayError):
            serve.shutdown()  # type: ignore[no-untyped-call]
    for each in senders:
        if each is not None:
            with suppress(RayError, KeyboardInterrupt), stop.hurriable():
                asyncio.run(each.stop())
    if agent is not None:
        _stop_agent(agent, stop)
    _close(desk, stop)


def _stop_agent(agent: "Agent", stop: ShutdownSignal) -> None:
    """Let the agent decide what is there; who is in a hurry leaves it to the next start."""
    try:
        with stop.hurriable():
            asyncio.run(agent.stop(0.0 if stop.hurried else _AGENT_CLOSE_S))
    except KeyboardInterrupt:
        if not stop.hurried:
            raise


def _close(desk: "PortfolioClient", stop: ShutdownSignal) -> None:
    """Flush and end the actors; who is in a hurry does not wait for the flush: the journal has it."""
    try:
        with stop.hurriable():
            asyncio.run(asyncio.wait_for(desk.close(), _HURRIED_CLOSE_S if stop.hurried else None))
    except (KeyboardInterrupt, TimeoutError):
        if not stop.hurried:
            raise


def wait_for_replicas(url: str, count: int, deadline: float) -> None:
    """Wait until so many replicas have answered there, each on a connection of its own.

    The proxy closes idle connections whenever it is told of another replica: who waited for the first one alone
    would hand out an address that drops its callers once more.

    Args:
        url: of the service, as its callers reach it.
        count: how many replicas are configured.
        deadline: `time.monotonic()`.

    Raises:
        StoreUnavailable: there were fewer by then.
    """
    seen: set[str] = set()
    pause = threading.Event()
    while len(seen) < count:
        name = _replica_at(url + "/healthz")
        known = name is None or name in seen
        if name is not None:
            seen.add(name)
        if known and time.monotonic() > deadline:
            raise StoreUnavailable(
                f"{len(seen)} of {count} replicas answered at {url} within {READY_TIMEOUT_S:g} s"
            )
        if known:
            pause.wait(0.02)


def _replica_at(url: str) -> str | None:
    """The name of the replica that answers, empty if it tells none; None: nobody answers."""
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says
    try:
        with directly.open(url, timeout=2.0) as answer:
            if answer.status != HTTPStatus.OK:
                return None
            name: str = answer.headers.get(REPLICA_HEADER, "")
            return name
    except OSError:
        return None
