"""Every `curl` of the documents, sent as it stands to the service; only host and portfolio are the test's own."""

import re
import shlex
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.cluster]

ROOT = Path(__file__).parents[2]
DOCUMENTS = "".join((ROOT / name).read_text() for name in ("README.md", "docs/http.md", "docs/feeds.md"))
HOST = "http://127.0.0.1:8000"
PORTFOLIO = "readme"


def request_of(command: str) -> httpx.Request:
    """What a `curl` command would send, as far as the documents use it."""
    program, *words = shlex.split(command.replace("\\\n", " "))
    assert program == "curl"
    method, headers, body, address = "GET", {}, None, ""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                name, value = words.pop(0).split(": ", 1)
                headers[name] = value
            case "-d" | "--data-binary":
                body = words.pop(0)
            case word:
                assert word.startswith(HOST), f"an option that this test does not know: {word}"
                address = word
    return httpx.Request(method, address, headers=headers, content=body)


def examples() -> list[str]:
    return [
        block.strip() for block in re.findall(r"^```bash\n(.*?)^```", DOCUMENTS, re.MULTILINE | re.DOTALL)
    ]


def test_every_example_works_in_its_order(url: str) -> None:
    answers: dict[str, httpx.Response] = {}
    with httpx.Client(timeout=30) as client:
        client.put(f"{url}/portfolios/{PORTFOLIO}", json={}).raise_for_status()
        for command in examples():
            request = request_of(command)
            own = str(request.url).removeprefix(HOST)
            path = own.partition("?")[0]
            params = dict(request.url.params)
            if path in {"/signal", "/signals", "/history"} or path.startswith("/decisions"):
                params["portfolio"] = PORTFOLIO
            answer = client.request(
                request.method, url + path, params=params, headers=dict(request.headers) | {"host": "127.0.0.1"},
                content=request.content,
            )  # fmt: skip
            # The agent remembers what the primary portfolio was sent, and that is not what is posted here.
            away = path.startswith("/memory/") and answer.status_code in {404, 503}
            assert answer.is_success or away, f"{command}\n{answer.status_code} {answer.text}"
            answers[f"{request.method} {path}"] = answer
    assert answers["POST /signals"].json()["accepted"] == 2
    assert [row["signal"] for row in answers["GET /history"].json()["rows"]] == ["SELL", "SELL", "SELL"]
    decision = answers["GET /decisions/alert-77"].json()
    assert decision["receipt"]["signal_id"] == "alert-77"


def test_the_documents_show_every_endpoint(url: str) -> None:
    shown = set(re.findall(re.escape(HOST) + r"(/[^\s\"'?]*)", DOCUMENTS))
    offered = httpx.get(f"{url}/openapi.json", timeout=30).json()["paths"]
    for path in offered:
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
        assert any(pattern.fullmatch(own) for own in shown), f"no document shows {path}"
