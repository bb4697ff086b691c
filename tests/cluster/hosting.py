"""A whole service with its cluster, as its users start it: in a process of its own, which can be killed."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import processes
from tests.cluster.waiting import until
from tests.support.starting import one_start_at_a_time

_START_TIMEOUT_S = 200.0
_END_TIMEOUT_S = 60.0
_ROOT = Path(__file__).parents[2]


class Host:
    """A service, its process and all that descends from it.

    Args:
        settings: of the service; also an attribute.
        log: where its stderr goes.
        environment: what its processes find there beside what this one does.
    """

    def __init__(
        self, settings: dict[str, Any], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self._environment = dict(environment or {})
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['port']}"

    @property
    def store(self) -> str:
        return str(self.settings["store"])

    def start(self) -> None:
        """Return once the service is ready."""
        with one_start_at_a_time():
            self._start()

    def _start(self) -> None:
        with self._log.open("a") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.host", json.dumps(self.settings)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=_ROOT,
                env={
                    name: value
                    for name, value in os.environ.items()
                    if not name.startswith(("RAYSIGNAL_", "RAY_"))
                }
                | self._environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_TIMEOUT_S)
        if not (ready and self._process.stdout.readline().strip()):
            self.kill()
            pytest.fail(f"the service did not start: {self._log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it as its users do."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        finally:
            self.kill()

    def actors(self) -> list[int]:
        """The processes of the portfolio actors."""
        return self._titled("ray::PortfolioActor")

    async def actor(self) -> int:
        """The process of the only portfolio actor, once there is one: after a death it takes a while to come back."""
        await until(lambda: len(self.actors()) == 1, "there is one portfolio actor")
        return self.actors()[0]

    def agents(self) -> list[int]:
        """The process of the agent."""
        return self._titled("ray::OverrideActor")

    def replicas(self) -> list[int]:
        """The processes of the HTTP edge."""
        return self._titled("ray::ServeReplica:raysignal:Edge")

    def kill(self) -> None:
        """kill -9 of the process and of all that descends from it: of the whole cluster."""
        process, self._process = self._process, None
        if process is None:
            return
        everyone = [process.pid, *processes.descendants(process.pid)]
        folders = {folder for pid in everyone if (folder := _temp_dir(pid))}
        for pid in everyone:
            processes.send(pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _titled(self, beginning: str) -> list[int]:
        return [] if self._process is None else processes.titled(self._process.pid, beginning)


def _temp_dir(pid: int) -> str:
    """The folder of a cluster, as its raylet was told."""
    _, found, rest = processes.title(pid).partition("--temp_dir=")
    return rest.partition(" ")[0] if found else ""
