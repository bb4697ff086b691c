"""Three Ray nodes on one machine, each with a gate of its own between it and the S3 server."""

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
import ray
from ray.cluster_utils import Cluster

from raysignal.runtime.local_cluster import NAMESPACE
from raysignal.runtime.ports import free_port
from tests.support.servers import CREDENTIALS, Fate, FaultyProxy
from tests.support.starting import one_start_at_a_time

# Loopback, but not 127.0.0.1, which Ray takes for a wish to be told the address of a real interface.
_ADDRESS = "127.0.0.2"
# The head gives a node up after about four seconds of silence.
_SYSTEM_CONFIG = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


class Answer(NamedTuple):
    """What the server answered to a request that was let through."""

    method: str
    key: str
    status: int


class Gate(FaultyProxy):
    """A proxy that can also be shut for PUTs: they wait, and go on to the server when it is opened."""

    def __init__(self, target: str) -> None:
        self.answers: list[Answer] = []
        self.waiting = threading.Event()
        self._opened = threading.Event()
        self._opened.set()
        super().__init__(target)

    def shut(self) -> None:
        self.waiting.clear()
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    def lead_to(self, url: str) -> None:
        """Pass requests on to another server from now on."""
        self.target = urlsplit(url).netloc

    def break_down(self) -> None:
        """Answer every request with 500 until `plan` says otherwise."""
        refused: list[Fate] = ["refuse"] * 100_000
        self.plan(*refused, methods=("GET", "PUT", "HEAD", "DELETE"))

    def next_fate(self, method: str) -> Fate:
        if method == "PUT" and not self._opened.is_set():
            self.waiting.set()
            self._opened.wait(60)
        return super().next_fate(method)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(super()._handler()):  # type: ignore[misc]
            def passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                answer: tuple[int, list[tuple[str, str]], bytes] = super().passed_on(body)
                gate.answers.append(Answer(self.command, unquote(urlsplit(self.path).path), answer[0]))
                return answer

        return Handler


@dataclass(frozen=True, slots=True)
class Node:
    """One of the nodes.

    Attributes:
        id: as Ray names it.
        raylet: the process.
        gate: its way to the S3 server.
    """

    id: str
    raylet: int
    gate: Gate


@dataclass(slots=True)
class Nodes:
    """The nodes; the tests are connected to the first."""

    cluster: Cluster
    server: str
    all: list[Node]
    _stack: ExitStack
    _folder: Path

    def add(self, **more: Any) -> Node:
        gate = self._stack.enter_context(Gate(self.server))
        environment = CREDENTIALS | {"AWS_ENDPOINT_URL_S3": gate.url, "AWS_ENDPOINT_URL": gate.url}
        made = self.cluster.add_node(
            num_cpus=1,
            node_ip_address=_ADDRESS,
            temp_dir=str(self._folder),
            include_dashboard=False,
            include_log_monitor=False,
            no_monitor=True,
            object_store_memory=80 * 1024 * 1024,
            env_vars=environment,
            **more,
        )
        node = Node(made.node_id, made.all_processes["raylet"][0].process.pid, gate)
        self.all.append(node)
        return node

    def of(self, node_id: str) -> Node:
        return next(node for node in self.all if node.id == node_id)

    @property
    def first(self) -> Node:
        return self.all[0]

    def alive(self) -> set[str]:
        every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return {node["NodeID"] for node in every if node["Alive"]}

    def drop(self, node: Node) -> None:
        """End what is left of a node, and forget it."""
        made = next(made for made in self.cluster.worker_nodes if made.node_id == node.id)
        self.cluster.remove_node(made, allow_graceful=False)
        self.all.remove(node)
        node.gate.open()


@contextmanager
def three_nodes(server: str) -> Iterator[Nodes]:
    """A cluster of three, to which this process is connected; its actors reach the S3 server through gates."""
    # A short path: Ray keeps unix sockets below it, whose paths hold 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # Where Ray notes the address of the newest cluster: not where a user's `ray.init()` would find this one.
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("RAY_TMPDIR", str(folder))
        (folder / "ray").mkdir()
        cluster = Cluster(shutdown_at_exit=False)
        stack.callback(cluster.shutdown)
        nodes = Nodes(cluster, server, [], stack, folder)
        # Ray tries the port even without a dashboard, and leaves a socket open when somebody has it.
        with one_start_at_a_time():
            nodes.add(_system_config=_SYSTEM_CONFIG, dashboard_port=free_port())
            ray.init(
                address=cluster.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR,
                _node_ip_address=_ADDRESS,
            )  # fmt: skip
            stack.callback(ray.shutdown)
            nodes.add()
            nodes.add()
        yield nodes
