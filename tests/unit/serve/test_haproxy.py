"""The configuration that HAProxy runs with, as text; `tests/contract/test_haproxy.py` runs it."""

import json
import os
from pathlib import Path

import pytest

from raysignal.serve.haproxy import (
    UNAVAILABLE,
    check_place,
    connections_within,
    http_answer,
    own_config,
    write_answers,
)
from tests.support.haproxy_config import CONFIG


def own(config: str = CONFIG, *, connections: int = 4096) -> str:
    return own_config(config, Path("/run"), connections=connections, per_client=512)


def lines(*, connections: int = 4096) -> list[str]:
    return [line.strip() for line in own(connections=connections).splitlines()]


def test_the_ports_that_are_open_to_all_are_gone() -> None:
    kept = lines()
    assert [line for line in kept if line.startswith("bind")] == ["bind 127.0.0.1:8000"]
    assert not any("8404" in line or "9101" in line or line.startswith("stats uri") for line in kept)


def test_the_socket_that_commands_haproxy_is_its_owners_alone() -> None:
    sockets = [line for line in lines() if line.startswith("stats socket")]
    assert len(sockets) == 1
    assert " mode 600 level admin " in sockets[0]


def test_what_carries_the_requests_stays() -> None:
    kept = lines()
    for line in ("option redispatch 1", "balance leastconn", "timeout connect 5s"):
        assert line in kept
    assert any(line.startswith("server replica 127.0.0.1:30000 check") for line in kept)
    assert "use_backend http-raysignal if is_http-raysignal" in kept


def test_nothing_stands_in_for_replicas_that_are_gone() -> None:
    assert "backup" in CONFIG
    assert not any("backup" in line for line in lines())


def test_requests_are_logged_by_the_service_alone() -> None:
    assert not any(line.startswith(("log ", "option httplog")) for line in lines())


def test_a_failure_is_answered_as_a_problem_and_not_as_rays_500() -> None:
    kept = lines()
    for status in (500, 502, 503, 504):
        assert f"errorfile {status} /run/503.http" in kept
    assert not any("500.http" in line for line in kept)


def test_replicas_do_not_watch_for_clients_that_hang_up() -> None:
    assert "http-request set-header x-request-disconnect-disabled ?1" in lines()


def test_a_request_before_or_after_the_application_is_there_may_be_sent_again() -> None:
    kept = lines()
    assert not any("404" in line for line in kept)
    place = kept.index("backend default_backend")
    assert kept[place + 1] == "http-request return status 503 errorfile /run/503.http"


def test_clients_have_seconds_and_not_an_hour() -> None:
    timeouts = [line for line in lines() if line.startswith("timeout") and "connect" not in line]
    assert timeouts == ["timeout client 30s", "timeout http-request 10s", "timeout http-keep-alive 30s"]


def test_a_configuration_that_was_made_before_is_made_again_and_not_twice() -> None:
    assert sorted(own(own()).splitlines()) == sorted(own().splitlines())
    again = own(own(connections=100)).splitlines()
    assert [line.strip() for line in again if "maxconn" in line] == ["maxconn 4096"]


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(64, 16), (1024, 345), (4096, 1574), (20_000, 7168), (10**9, 7168)]
)
def test_connections_fit_the_file_descriptors(descriptors: int, connections: int) -> None:
    assert connections_within(descriptors) == connections


def test_no_client_can_have_more_than_half_of_the_connections() -> None:
    assert "tcp-request connection reject if { sc0_conn_cur gt 172 }" in lines(connections=345)
    assert "tcp-request connection reject if { sc0_conn_cur gt 512 }" in lines()


def test_the_answers_are_well_formed_http(tmp_path: Path) -> None:
    write_answers(tmp_path)
    for status in (408, 503):
        head, _, body = (tmp_path / f"{status}.http").read_bytes().decode().partition("\r\n\r\n")
        first, *headers = head.split("\r\n")
        fields = dict(header.split(": ", 1) for header in headers)
        assert first.startswith(f"HTTP/1.1 {status} ")
        assert int(fields["Content-Length"]) == len(body.encode())
        assert fields["Content-Type"] == "application/problem+json"
        assert json.loads(body)["status"] == status
        assert ("Retry-After" in fields) == (status == 503)
    assert json.loads(http_answer(UNAVAILABLE).partition("\r\n\r\n")[2]) == UNAVAILABLE


def placed(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "haproxy.cfg"
    path.write_text("global\n")
    return path


def test_a_configuration_of_the_users_own_is_taken(tmp_path: Path) -> None:
    path = placed(tmp_path / "own")
    check_place(path)
    path.parent.chmod(0o700)
    check_place(path)


@pytest.mark.parametrize("part", ["haproxy.cfg", "node", "made by another"])
def test_a_configuration_that_another_user_can_change_is_refused(tmp_path: Path, part: str) -> None:
    path = placed(tmp_path / "made by another" / "node")
    opened = {"haproxy.cfg": path, "node": path.parent, "made by another": path.parent.parent}[part]
    opened.chmod(opened.stat().st_mode | 0o002)
    with pytest.raises(
        SystemExit, match=f"another user can change .*{part}; expected RAY_SERVE_HAPROXY_CONFIG"
    ):
        check_place(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user, which root alone can")
def test_a_folder_that_another_user_made_is_refused(tmp_path: Path) -> None:
    path = placed(tmp_path / "haproxy-serve" / "node")
    os.chown(tmp_path / "haproxy-serve", 65_534, 65_534)
    with pytest.raises(SystemExit, match="haproxy-serve; expected"):
        check_place(path)


def test_a_stand_in_waits_for_the_first_client_of_the_broadcast_until_there_was_a_replica(
    tmp_path: Path,
) -> None:
    stream = CONFIG.replace("backend http-raysignal\n", "backend http-raysignal-ws\n")
    asleep = "".join(line for line in stream.splitlines(keepends=True) if "server replica" not in line)

    def stand_ins(config: str) -> list[str]:
        kept = own_config(config, tmp_path, connections=4096, per_client=512)
        return [line.strip() for line in kept.splitlines() if line.endswith(" backup")]

    assert stand_ins(asleep) == ["server fallback 127.0.0.1:30001 check backup"]
    assert stand_ins(stream) == []
    assert stand_ins(asleep) == []  # killed: clients come back to a new replica, not to the stand-in
