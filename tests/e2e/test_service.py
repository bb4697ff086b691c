"""How a service starts and ends: nothing is left behind, whatever happens; a port that is in use is said."""

import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from engine.errors import SettingsError
from engine.history.query import query
from engine.journal.journal import verify
from engine.journal.stores import open_stores
from engine.settings import Settings
from serve.service import local_service, own_stderr, reachable, refuse_used_port
from tests.cluster.processes import titled
from tests.e2e.conftest import ended, started
from tests.ports import free_port

pytestmark = [pytest.mark.cluster]

ROWS = [{"timestamp": f"2025-02-24T00:{n:02d}:00Z", "signal": (-1) ** n, "price": 100 + n} for n in range(40)]


def family(root: int) -> list[int]:
    """The processes that descend from `root`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_gone(processes: list[int]) -> bool:
    deadline = time.monotonic() + 60.0
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        os.sched_yield()
    return not any(alive(process) for process in processes)


def test_a_service_that_was_ended_by_sigterm_leaves_nothing_behind_and_all_is_there(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    settings = {"store": store, "port": free_port()}
    process, url = started(tmp_path / "log", settings)
    children = family(process.pid)
    assert len(children) > 5
    # However busy the machine is, it does not wait behind everybody else's processes.
    assert {
        os.getpriority(os.PRIO_PROCESS, replica) for replica in titled(process.pid, "ray::ServeReplica")
    } == {0}
    # It says that it is ready when the proxy knows both replicas; each request has a connection of its own.
    assert len({httpx.get(f"{url}/healthz", timeout=30.0).headers["x-replica"] for _ in range(16)}) == 2
    before = httpx.post(f"{url}/signals", json=ROWS, timeout=30.0).json()
    assert before["accepted"] == 40
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    ended(process)
    assert all_gone(children)
    assert not list(Path("/tmp").glob(f"rs-*/session_*_{process.pid}"))

    # What is served from it again, `test_cli_service` says.
    rows = query(store, "SELECT ordinal FROM history WHERE portfolio = 'baseline' ORDER BY ordinal")
    assert rows["ordinal"].to_pylist() == list(range(40))
    assert verify(open_stores(store).journal_store("shard=0000")).sequence >= before["sequence"]


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SettingsError, match=f"port {port}"),
            local_service(Settings(store=tmp_path.as_uri(), port=port)),
        ):
            pytest.fail("it started")


def test_a_free_port_is_not_refused() -> None:
    refuse_used_port("127.0.0.1", free_port())
    refuse_used_port("localhost", free_port())


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_a_url_names_a_host_that_can_be_reached(host: str, shown: str) -> None:
    assert reachable(host) == shown


def test_lines_can_be_written_to_the_stderr_of_another_process() -> None:
    path = own_stderr()
    assert path is None or path.startswith("/proc/")
