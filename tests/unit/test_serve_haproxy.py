import json
from pathlib import Path

from serve.haproxy import ANSWER, http_answer, trimmed

CONFIG = """global
    log 127.0.0.1:514 local0 info
    maxconn 4096
defaults
    mode http
    option log-health-checks
    log global
    option httplog
    option redispatch 1
    errorfile 502 /tmp/x/500.http
    errorfile 503 /tmp/x/500.http
    balance leastconn
frontend prometheus
    bind :9101
    mode http
    http-request use-service prometheus-exporter if { path /metrics }
    no log
frontend http_frontend
    bind 127.0.0.1:8000
    use_backend http-raysignal if is_http-raysignal
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \'%[path]\' not found."
backend http-raysignal
    log global
    server replica 127.0.0.1:30000 check
listen stats
  bind *:8404
  stats enable
  stats uri /stats
"""


def lines(config: str) -> list[str]:
    return [line.strip() for line in trimmed(config, Path("/run/503.http")).splitlines()]


def test_the_ports_that_are_open_to_all_are_gone() -> None:
    kept = lines(CONFIG)
    assert [line for line in kept if line.startswith("bind")] == ["bind 127.0.0.1:8000"]
    assert not any("8404" in line or "9101" in line or line.startswith("stats uri") for line in kept)


def test_what_carries_the_requests_stays() -> None:
    kept = lines(CONFIG)
    for line in (
        "maxconn 4096",
        "option redispatch 1",
        "balance leastconn",
        "server replica 127.0.0.1:30000 check",
    ):
        assert line in kept
    assert "use_backend http-raysignal if is_http-raysignal" in kept


def test_requests_are_logged_by_the_service_alone() -> None:
    assert not any(line.startswith(("log ", "option httplog")) for line in lines(CONFIG))


def test_a_failure_is_answered_as_a_problem_and_not_as_rays_500() -> None:
    kept = lines(CONFIG)
    assert "errorfile 503 /run/503.http" in kept
    assert "errorfile 502 /run/503.http" in kept
    assert not any("500.http" in line for line in kept)


def test_replicas_do_not_watch_for_clients_that_hang_up() -> None:
    kept = lines(CONFIG)
    assert kept[kept.index("frontend http_frontend") + 1].endswith("x-request-disconnect-disabled ?1")


def test_a_request_before_the_application_is_there_may_be_sent_again() -> None:
    kept = lines(CONFIG)
    assert not any("404" in line for line in kept)
    place = kept.index("backend default_backend")
    assert kept[place + 1] == "http-request return status 503 errorfile /run/503.http"


def test_a_trimmed_configuration_can_be_trimmed_again() -> None:
    once = trimmed(CONFIG, Path("/run/503.http"))
    assert once.count("errorfile 503") == 1
    assert trimmed(once, Path("/run/503.http")).count("errorfile 503") == 1


def test_the_answer_is_well_formed_http() -> None:
    head, _, body = http_answer().partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    fields = dict(header.split(": ", 1) for header in headers)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert int(fields["Content-Length"]) == len(body.encode())
    assert fields["Content-Type"] == "application/problem+json"
    assert fields["Retry-After"]
    assert json.loads(body) == ANSWER
