"""How a service starts and ends: nothing is left behind, whatever happens; a port that is in use is said."""

import socket
from pathlib import Path

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from raysignal.serve.service import local_service, own_stderr, reachable, refuse_used_port


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
