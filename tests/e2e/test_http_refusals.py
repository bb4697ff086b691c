"""Bad input of every kind: its status, its problem, and a state that did not change."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

pytestmark = [pytest.mark.cluster]

GOOD = {"timestamp": "2025-02-24T00:10:00Z", "signal": 1, "price": 100.0}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def as_json(**changed: Any) -> bytes:
    return json.dumps(GOOD | changed).encode()


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "unreadable-input"),
    "not JSON": (b"BUY BTC", 400, "unreadable-input"),
    "half an object": (b'{"signal": 1', 400, "unreadable-input"),
    "not UTF-8": (b'{"signal": "\xff\xfe"}', 400, "unreadable-input"),
    "nested deeply": (b"[" * 100_000 + b"]" * 100_000, 400, "unreadable-input"),
    "nested in a feature": (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, 400, "unreadable-input"),
    "a list": (b"[]", 400, "unreadable-input"),
    "a number": (b"1", 400, "unreadable-input"),
    "null": (b"null", 400, "unreadable-input"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(64), 400, "unreadable-input"),
    "duplicate keys": (
        b'{"price": 1, "price": 2, "signal": 1, "timestamp": "2025-02-24"}',
        422,
        "invalid-field",
    ),
    "two names of one field": (as_json(close=101.0), 422, "invalid-field"),
    "no fields": (b"{}", 422, "invalid-field"),
    "no price": (json.dumps(without("price")).encode(), 422, "invalid-field"),
    "no signal": (json.dumps(without("signal")).encode(), 422, "invalid-field"),
    "no time": (json.dumps(without("timestamp")).encode(), 422, "invalid-field"),
    "NaN price": (as_json(price=float("nan")), 422, "invalid-field"),
    "infinite price": (as_json(price=float("inf")), 422, "invalid-field"),
    "negative price": (as_json(price=-1.0), 422, "invalid-field"),
    "zero price": (as_json(price=0), 422, "invalid-field"),
    "huge price": (b'{"timestamp": "2025-02-24", "signal": 1, "price": 1e999}', 422, "invalid-field"),
    "a price of many digits": (as_json().replace(b"100.0", b"9" * 10_000), 422, "invalid-field"),
    "true as a price": (as_json(price=True), 422, "invalid-field"),
    "a price in words": (as_json(price="cheap"), 422, "invalid-field"),
    "a price with thousands separators": (as_json(price="95,439.8"), 422, "invalid-field"),
    "signal 2": (as_json(signal=2), 422, "invalid-field"),
    "signal maybe": (as_json(signal="maybe"), 422, "invalid-field"),
    "signal 0.5": (as_json(signal=0.5), 422, "invalid-field"),
    "signal true": (as_json(signal=True), 422, "invalid-field"),
    "a list as a signal": (as_json(signal=[1]), 422, "invalid-field"),
    "no time at all": (as_json(timestamp="yesterday"), 422, "invalid-field"),
    "a number that is no time": (as_json(timestamp=20250224), 422, "invalid-field"),
    "the 30th of February": (as_json(timestamp="2025-02-30T00:00:00Z"), 422, "invalid-field"),
    "the far future": (as_json(timestamp="2150-01-01T00:00:00Z"), 422, "invalid-field"),
    "the far past": (as_json(timestamp="1812-01-01T00:00:00Z"), 422, "invalid-field"),
    "an infinite feature": (as_json(mood=float("inf")), 422, "invalid-field"),
    "an object as a feature": (as_json(mood={"a": 1}), 422, "invalid-field"),
    "a list as a feature": (as_json(mood=[1, 2]), 422, "invalid-field"),
    "half a surrogate": (
        b'{"timestamp":"2025-02-24","signal":1,"price":1,"mood":"\\ud800"}',
        422,
        "invalid-field",
    ),
    "an id that is too long": (as_json(signal_id="x" * 129), 422, "invalid-field"),
    "an id with a newline": (as_json(signal_id="a\nb"), 422, "invalid-field"),
    "a number as a symbol": (as_json(symbol=7), 422, "invalid-field"),
    "over the limit": (as_json(note="x" * 300_000), 413, "input-too-large"),
}


@pytest.fixture
def unchanged(http: httpx.Client, portfolio: str) -> Iterator[None]:
    """The portfolio holds one signal, and afterwards holds it still."""
    first = {"timestamp": "2025-02-24T00:00:00Z", "signal": "BUY", "price": 100.0}
    http.post("/signal", json=first, params={"portfolio": portfolio}).raise_for_status()
    before = http.get(f"/performance/{portfolio}").json()
    yield
    after = http.get(f"/performance/{portfolio}").json()
    for state in (before, after):
        state.pop("sequence")
    assert after == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_gets_its_problem_and_changes_nothing(
    http: httpx.Client, portfolio: str, case: str
) -> None:
    body, status, slug = BODIES[case]
    answer = http.post(
        "/signal", content=body, params={"portfolio": portfolio}, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:raysignal:problem:{slug}"
    assert problem["status"] == status
    assert problem["detail"]
    if slug == "invalid-field":
        assert problem["field"]
        assert problem["expected"]


BATCHES: dict[str, tuple[str, bytes, int]] = {
    "a CSV that is a PNG": ("text/csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, 400),
    "a Parquet that is a CSV": ("application/vnd.apache.parquet", b"datetime,close,Signal\n", 400),
    "half a Parquet": ("application/vnd.apache.parquet", b"PAR1" + bytes(100), 400),
    "an array cut off": ("application/json", b'[{"signal": 1}', 400),
    "nested deeply": ("application/json", b"[" * 100_000, 400),
    "a line that is not JSON": ("application/x-ndjson", as_json() + b"\nBUY\n", 422),
    "a CSV without a price": ("text/csv", b"datetime,Signal\n2025-02-24,1\n", 422),
    "an unknown content type": ("image/png", b"\x89PNG", 415),
    "form data": ("multipart/form-data; boundary=x", b"--x--", 415),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("case", BATCHES)
def test_a_bad_batch_gets_its_problem_and_changes_nothing(
    http: httpx.Client, portfolio: str, case: str
) -> None:
    kind, body, status = BATCHES[case]
    answer = http.post(
        "/signals", content=body, params={"portfolio": portfolio}, headers={"Content-Type": kind}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.usefixtures("unchanged")
def test_one_bad_row_of_100_000_refuses_the_batch_and_is_named(http: httpx.Client, portfolio: str) -> None:
    lines = [
        b'{"timestamp":"2025-%02d-%02dT%02d:%02d:%02dZ","signal":0,"price":100}'
        % (3 + n // 86_400 // 28, 1 + n // 86_400 % 28, n // 3600 % 24, n // 60 % 60, n % 60)
        for n in range(100_000)
    ]
    lines[77_777] = lines[77_777].replace(b"100}", b"-100}")
    answer = http.post(
        "/signals", content=b"\n".join(lines), params={"portfolio": portfolio},
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["refused"], problem["rows"]) == (1, 100_000)
    assert problem["errors"][0]["row"] == 77_777
    assert problem["errors"][0]["field"] == "price"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("kind", ["application/xml", "multipart/form-data", "text/csv"])
def test_a_signal_of_another_content_type_is_415(http: httpx.Client, portfolio: str, kind: str) -> None:
    answer = http.post(
        "/signal", content=as_json(), params={"portfolio": portfolio}, headers={"Content-Type": kind}
    )
    assert answer.status_code == 415
    assert answer.json()["type"] == "urn:raysignal:problem:unsupported-media"


@pytest.mark.usefixtures("unchanged")
def test_a_compressed_body_is_415(http: httpx.Client, portfolio: str) -> None:
    answer = http.post(
        "/signal", content=as_json(), params={"portfolio": portfolio}, headers={"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 415


@pytest.mark.usefixtures("unchanged")
def test_a_body_over_the_limit_that_does_not_say_its_length_is_413(
    http: httpx.Client, portfolio: str
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    answer = http.post(
        "/signal",
        content=chunks(),
        params={"portfolio": portfolio},
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/signal", "porfolio=x"),
        ("/signal", "portfolio=NO/../PE"),
        ("/signal", "accept_price_jump=yes"),
        ("/signals", "on_error=ignore"),
        ("/signals", "receipts=1"),
        ("/signals", "on_error=skip&on_error=refuse"),
    ],
)
def test_a_parameter_that_is_not_known_or_not_right_is_422(http: httpx.Client, path: str, query: str) -> None:
    answer = http.post(f"{path}?{query}", json=GOOD)
    assert answer.status_code == 422
    assert answer.json()["field"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing/here", 404),
        ("GET", "/signal", 405),
        ("DELETE", "/signals", 405),
        ("PATCH", "/portfolios/x", 405),
        ("OPTIONS", "/signal", 405),
        ("POST", "/signal/", 404),
        ("GET", "/performance/NOBODY", 422),
        ("GET", "/performance/nobody", 404),
        ("GET", "/history?portfolio=nobody", 404),
        ("GET", "/history?cursor=abc", 422),
        ("GET", "/history?limit=0", 422),
        ("GET", "/history?from=now", 422),
        ("GET", "/history?action=SHORT", 422),
        ("GET", "/decisions/nothing-like-it", 404),
    ],
)
def test_what_is_not_there_or_not_allowed_is_a_problem_too(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert answer.headers["allow"]


def test_what_is_no_http_is_turned_away(url: str) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), 5.0) as connection:
        connection.sendall(b"\x16\x03\x01 this is no request\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 400")


def test_a_client_that_hangs_up_in_the_middle_changes_nothing(
    url: str, http: httpx.Client, portfolio: str
) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), 5.0) as connection:
        connection.sendall(
            f"POST /signal?portfolio={portfolio} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(as_json())}\r\n\r\n".encode()
            + as_json()[:20]
        )
    assert http.get(f"/performance/{portfolio}").json()["signals"] == 0
