"""The loopback server as a program and as a server that refuses what Google refuses."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from raysignal.agents.llm.prompting import data_in, load_prompt
from raysignal.loopback.gemini import Behaviour, GeminiServer, fault_in, verdict_from
from tests.support.advising import BRIEF

PATH = "/v1beta/models/gemini-3.5-flash:generateContent"
EMBED = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
HEADERS = {"x-goog-api-key": "k"}


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as loopback:
        yield loopback


def body(**config: Any) -> dict[str, Any]:
    return {
        "contents": [{"role": "user", "parts": [{"text": load_prompt().render(BRIEF).user}]}],
        "systemInstruction": {"parts": [{"text": "decide"}]},
        "generationConfig": {
            "maxOutputTokens": 100,
            "responseMimeType": "application/json",
            "responseJsonSchema": {
                "type": "object", "properties": {"verdict": {"enum": ["approve", "hold"]}},
            },
        } | config,
    }  # fmt: skip


def test_a_well_formed_request_is_answered_in_googles_format(server: GeminiServer) -> None:
    answer = httpx.post(server.url + PATH, json=body(), headers=HEADERS)
    assert answer.status_code == 200
    (candidate,) = answer.json()["candidates"]
    assert candidate["finishReason"] == "STOP"
    assert '"hold"' in candidate["content"]["parts"][0]["text"]
    assert answer.json()["usageMetadata"]["promptTokenCount"] > 0


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        (PATH, body(), {}, 403),
        (PATH, [], HEADERS, 400),
        (PATH, body() | {"tools": []}, HEADERS, 400),
        (PATH, body() | {"contents": []}, HEADERS, 400),
        (PATH, body() | {"systemInstruction": {}}, HEADERS, 400),
        (PATH, body(temperature=3), HEADERS, 400),
        (PATH, body(maxOutputTokens=0), HEADERS, 400),
        (PATH, body(responseMimeType="text/plain"), HEADERS, 400),
        (PATH, body(responseJsonSchema={"type": "string"}), HEADERS, 400),
        (PATH, body(top="k"), HEADERS, 400),
        ("/v1/models/x:streamGenerateContent", body(), HEADERS, 404),
    ],
)
def test_what_google_refuses_is_refused_in_googles_format_and_not_counted(
    server: GeminiServer, path: str, content: Any, headers: dict[str, str], status: int
) -> None:
    answer = httpx.post(server.url + path, json=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status
    assert answer.json()["error"]["status"] in {"INVALID_ARGUMENT", "PERMISSION_DENIED", "NOT_FOUND"}
    assert server.calls == 0


def test_a_request_that_is_no_json_is_refused(server: GeminiServer) -> None:
    assert httpx.post(server.url + PATH, content=b"{", headers=HEADERS).status_code == 400


def test_texts_are_embedded_in_googles_format_and_like_ones_alike(server: GeminiServer) -> None:
    asked = [
        {"content": {"parts": [{"text": text}]}, "outputDimensionality": 768}
        for text in ("withdrawals are halted", "they halted withdrawals", "un marché calme")
    ]
    answer = httpx.post(server.url + EMBED, json={"requests": asked}, headers=HEADERS)
    one, other, third = (np.array(each["values"]) for each in answer.json()["embeddings"])

    assert len(one) == 768
    assert one @ other > 0.3 > one @ third


@pytest.mark.parametrize("requests", [None, [], [{}], [{"content": {"parts": [{"text": ""}]}}]])
def test_what_google_would_not_embed_is_refused(server: GeminiServer, requests: Any) -> None:
    answer = httpx.post(server.url + EMBED, json={"requests": requests}, headers=HEADERS)

    assert answer.status_code == 400


def test_a_running_server_is_told_how_to_behave_and_says_what_it_did(server: GeminiServer) -> None:
    told = httpx.post(server.url + "/control", json={"behaviour": "quota", "every": 2})
    assert told.json() == {"calls": 0, "behaviour": "quota", "every": 2}
    statuses = [httpx.post(server.url + PATH, json=body(), headers=HEADERS).status_code for _ in range(4)]
    assert statuses == [200, 429, 200, 429]
    assert httpx.get(server.url + "/control").json()["calls"] == 4
    assert httpx.post(server.url + "/control", json={"behaviour": "sulk"}).status_code == 400
    assert httpx.get(server.url + "/").status_code == 404


def test_a_refusal_for_quota_says_when_to_come_back(server: GeminiServer) -> None:
    server.behave(Behaviour.QUOTA)
    (detail,) = httpx.post(server.url + PATH, json=body(), headers=HEADERS).json()["error"]["details"]
    assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}


def test_the_verdict_follows_from_the_precedents() -> None:
    data = data_in(load_prompt().render(BRIEF).user)
    assert verdict_from(data, ("approve", "flip", "hold"))["verdict"] == "hold"
    assert verdict_from(data, ("approve", "flip"))["verdict"] == "approve"
    assert verdict_from(data, ("approve",))["evidence"] == ["E2"]


def test_a_tie_leaves_the_signal_as_it_is() -> None:
    data = {"precedents": {"E1": {"net_bps": {"approve": 1.0, "flip": 1.0}}}}
    assert verdict_from(data, ("approve", "flip"))["verdict"] == "approve"


def test_a_good_request_has_no_fault() -> None:
    assert fault_in(body(), "k") is None


def test_the_program_serves_until_it_is_interrupted() -> None:
    program = [sys.executable, "-m", "raysignal.loopback.gemini", "--port", "0", "--behaviour", "forbidden"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3].rstrip(",")
            assert httpx.post(url + PATH, json=body(), headers=HEADERS).status_code == 403
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
