"""When a service counts as started: as soon as every replica has answered, and no sooner."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.runtime.ports import free_port
from raysignal.serve.service import REPLICA_HEADER, fast_mode, wait_for_replicas


@contextmanager
def answering(name_of: Callable[[int], str | None]) -> Iterator[tuple[str, list[int]]]:
    """A server whose n-th answer comes from the replica of that name, or from none, and the numbers it gave."""
    given: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(len(given))
            name = name_of(given[-1])
            self.send_response(503 if name is None else 200)
            if name is not None:
                self.send_header(REPLICA_HEADER, name)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", given
        server.shutdown()
        thread.join()


def test_a_start_waits_until_every_replica_has_answered() -> None:
    with answering(lambda n: None if n < 2 else "b" if n == 6 else "a") as (url, given):
        wait_for_replicas(url, 2, time.monotonic() + 20.0)
    assert len(given) == 7


def test_one_replica_is_enough_where_one_is_configured() -> None:
    with answering(lambda _: "a") as (url, given):
        wait_for_replicas(url, 1, time.monotonic() + 20.0)
    assert len(given) == 1


@pytest.mark.parametrize(("name", "answered"), [("a", 1), (None, 0)])
def test_a_replica_that_does_not_come_is_said_with_how_many_did(name: str | None, answered: int) -> None:
    with (
        answering(lambda _: name) as (url, _),
        pytest.raises(StoreUnavailable, match=f"^{answered} of 2 replicas answered"),
    ):
        wait_for_replicas(url, 2, time.monotonic())


def test_a_port_where_nobody_listens_is_no_replica() -> None:
    with pytest.raises(StoreUnavailable, match=r"^0 of 1 replicas"):
        wait_for_replicas(f"http://127.0.0.1:{free_port()}", 1, time.monotonic())


def test_lines_of_other_processes_in_a_file_of_stderr_are_not_written_over(tmp_path: Path) -> None:
    program = (
        "import sys; from raysignal.serve.logs import open_log; from raysignal.serve.service import own_stderr; "
        "path = own_stderr(); "
        "open_log(path).warning('from a replica', text='x' * 200); print('from the service', file=sys.stderr)"
    )
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", program], stderr=log, check=True, timeout=60)
    first, second = (tmp_path / "log").read_text().splitlines()
    assert json.loads(first)["event"] == "from a replica"
    assert second == "from the service"


def test_a_proxy_of_the_environment_does_not_stand_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(lambda _: "r1") as (url, _):
        wait_for_replicas(url, 1, time.monotonic() + 60.0)


def test_every_variable_of_the_fast_mode_is_one_that_ray_reads(tmp_path: Path) -> None:
    package = Path(str(find_spec("ray").origin)).parent
    source = "".join(path.read_text() for path in (package / "serve" / "_private").glob("*.py"))
    assert [
        name for name in fast_mode(tmp_path) if name.startswith("RAY_SERVE_") and f'"{name}"' not in source
    ] == []
