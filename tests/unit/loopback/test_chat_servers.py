"""The loopback servers of chat models: as programs, and as servers that refuse what their originals refuse."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from raysignal.agents.llm.calls import response_schema
from raysignal.agents.llm.prompting import data_in, load_prompt
from raysignal.loopback.anthropic import AnthropicServer
from raysignal.loopback.chat_server import Behaviour, ChatServer, verdict_from
from raysignal.loopback.gemini import GeminiServer
from raysignal.loopback.ollama import OllamaServer
from raysignal.loopback.openai import OpenAiServer
from tests.support.advising import BRIEF

EMBED = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
PROMPT = load_prompt().render(BRIEF)
SCHEMA = response_schema(PROMPT)
PLAIN_SCHEMA = SCHEMA | {"properties": {"verdict": {"enum": ["approve", "hold"]}}, "required": ["verdict"]}
SYSTEM = {"role": "system", "content": PROMPT.system}
USER = {"role": "user", "content": PROMPT.user}


@dataclass(frozen=True)
class Spoken:
    """A server with a request that it answers."""

    server: type[ChatServer]
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Changes to the body with which it is refused."""


def format_of(**changes: Any) -> dict[str, Any]:
    named = {"name": "verdict", "strict": True, "schema": SCHEMA} | changes
    return {"type": "json_schema", "json_schema": named}


CONFIG = {
    "maxOutputTokens": 100, "responseMimeType": "application/json", "responseJsonSchema": PLAIN_SCHEMA,
}  # fmt: skip
OPTIONS = {"num_predict": 100, "num_ctx": 8_192}
SPOKEN = {
    "gemini": Spoken(
        GeminiServer,
        "/v1beta/models/gemini-3.5-flash:generateContent",
        {"x-goog-api-key": "k"},
        {
            "contents": [{"role": "user", "parts": [{"text": PROMPT.user}]}],
            "systemInstruction": {"parts": [{"text": PROMPT.system}]},
            "generationConfig": CONFIG,
        },
        [
            {"tools": []}, {"contents": []}, {"systemInstruction": {}},
            {"generationConfig": CONFIG | {"temperature": 3}},
            {"generationConfig": CONFIG | {"maxOutputTokens": 0}},
            {"generationConfig": CONFIG | {"responseMimeType": "text/plain"}},
            {"generationConfig": CONFIG | {"responseJsonSchema": {"type": "string"}}},
            {"generationConfig": CONFIG | {"top": "k"}},
        ],
    ),
    "openai": Spoken(
        OpenAiServer,
        "/chat/completions",
        {"authorization": "Bearer k"},
        {
            "model": "gpt-5-mini", "messages": [SYSTEM, USER], "max_completion_tokens": 100,
            "response_format": format_of(),
        },
        [
            {"tools": []}, {"messages": [USER]}, {"messages": [SYSTEM]}, {"max_completion_tokens": 0},
            {"temperature": 0}, {"model": "gpt-4.1", "reasoning_effort": "low"}, {"stream": True},
            {"response_format": {"type": "json_object"}}, {"response_format": format_of(strict=False)},
            {"response_format": format_of(schema=SCHEMA | {"required": []})},
        ],
    ),
    "anthropic": Spoken(
        AnthropicServer,
        "/v1/messages",
        {"x-api-key": "k", "anthropic-version": "2023-06-01"},
        {
            "model": "claude-sonnet-5-5", "system": PROMPT.system, "messages": [USER], "max_tokens": 100,
            "output_config": {"format": {"type": "json_schema", "schema": PLAIN_SCHEMA}},
        },
        [
            {"temperature": 0}, {"system": ""}, {"messages": [SYSTEM, USER]}, {"max_tokens": 0}, {"stream": True},
            {"output_config": {}}, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ],
    ),
    "ollama": Spoken(
        OllamaServer,
        "/api/chat",
        {},
        {
            "model": "llama3.2", "messages": [SYSTEM, USER], "stream": False, "format": SCHEMA, "options": OPTIONS,
        },
        [
            {"model": ""}, {"messages": [USER]}, {"stream": True}, {"format": "json"},
            {"options": OPTIONS | {"num_predict": 0}}, {"options": OPTIONS | {"num_ctx": 50}},
        ],
    ),
}  # fmt: skip


@contextmanager
def serving(name: str) -> Iterator[tuple[ChatServer, httpx.Client]]:
    spoken = SPOKEN[name]
    with spoken.server() as loopback, httpx.Client(base_url=loopback.url, headers=spoken.headers) as client:
        yield loopback, client


@pytest.mark.parametrize("name", SPOKEN)
def test_a_well_formed_request_is_answered(name: str) -> None:
    with serving(name) as (server, client):
        answer = client.post(SPOKEN[name].path, json=SPOKEN[name].body)
        assert answer.status_code == 200
        assert '\\"hold\\"' in answer.text
        assert server.requests == [SPOKEN[name].body]


@pytest.mark.parametrize(
    ("name", "changes"), [(name, changes) for name, each in SPOKEN.items() for changes in each.refused]
)
def test_what_the_original_refuses_is_refused_and_not_counted(name: str, changes: dict[str, Any]) -> None:
    with serving(name) as (server, client):
        answer = client.post(SPOKEN[name].path, json=SPOKEN[name].body | changes)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert server.calls == 0


@pytest.mark.parametrize("name", SPOKEN)
def test_a_request_that_is_no_json_is_refused(name: str) -> None:
    with serving(name) as (server, client):
        assert client.post(SPOKEN[name].path, content=b"{").status_code == 400
        assert client.post(SPOKEN[name].path, json=[]).status_code == 400
        assert client.post("/elsewhere", json=SPOKEN[name].body).status_code == 404
        assert server.calls == 0


@pytest.mark.parametrize(("name", "status"), [("gemini", 403), ("openai", 401), ("anthropic", 401)])
def test_a_request_without_a_key_is_refused(name: str, status: int) -> None:
    with serving(name) as (server, _):
        answer = httpx.post(server.url + SPOKEN[name].path, json=SPOKEN[name].body)
        assert answer.status_code == status
        assert server.calls == 0


def test_a_running_server_is_told_how_to_behave_and_says_what_it_did() -> None:
    with serving("gemini") as (_, client):
        told = client.post("/control", json={"behaviour": "quota", "every": 2})
        assert told.json() == {"calls": 0, "behaviour": "quota", "every": 2}
        spoken = SPOKEN["gemini"]
        statuses = [client.post(spoken.path, json=spoken.body).status_code for _ in range(4)]
        assert statuses == [200, 429, 200, 429]
        assert client.get("/control").json()["calls"] == 4
        assert client.post("/control", json={"behaviour": "sulk"}).status_code == 400
        assert client.post("/control", json=["quota"]).status_code == 400
        assert client.get("/").status_code == 404


def test_a_server_does_nothing_that_its_api_has_no_words_for() -> None:
    with serving("ollama") as (server, client):
        assert client.post("/control", json={"behaviour": "blocked"}).status_code == 400
        with pytest.raises(ValueError, match="no words for blocked"):
            server.behave("blocked")


def test_a_refusal_for_quota_says_when_to_come_back() -> None:
    for name, spoken in SPOKEN.items():
        with serving(name) as (server, client):
            server.behave(Behaviour.QUOTA)
            answer = client.post(spoken.path, json=spoken.body)
            assert answer.status_code == 429
            if name == "gemini":
                (detail,) = answer.json()["error"]["details"]
                assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
            else:
                assert answer.headers["retry-after"] == "7"


def test_the_verdict_follows_from_the_precedents() -> None:
    data = data_in(PROMPT.user)
    assert verdict_from(data, ("approve", "flip", "hold"))["verdict"] == "hold"
    assert verdict_from(data, ("approve", "flip"))["verdict"] == "approve"
    assert verdict_from(data, ("approve",))["evidence"] == ["E2"]


def embedding_requests(*texts: str) -> dict[str, Any]:
    return {
        "requests": [{"content": {"parts": [{"text": text}]}, "outputDimensionality": 768} for text in texts]
    }


def test_texts_are_embedded_in_googles_format_and_like_ones_alike() -> None:
    asked = embedding_requests("withdrawals are halted", "they halted withdrawals", "un marché calme")
    with serving("gemini") as (server, client):
        answer = client.post(EMBED, json=asked)
        assert server.requests == [asked]

    one, other, third = (np.array(each["values"]) for each in answer.json()["embeddings"])
    assert len(one) == 768
    assert one @ other > 0.3 > one @ third


@pytest.mark.parametrize(
    "body",
    [
        [], {"requests": None}, {"requests": []}, {"requests": [{}]}, embedding_requests(""),
        embedding_requests(*["a text"] * 101), {"requests": [{"content": {"parts": [{"text": "a text"}]}}]},
    ],
)  # fmt: skip
def test_what_google_would_not_embed_is_refused_and_not_counted(body: Any) -> None:
    with serving("gemini") as (server, client):
        assert client.post(EMBED, json=body).status_code == 400
        assert httpx.post(server.url + EMBED, json=embedding_requests("a text")).status_code == 403
        assert server.calls == 0


def test_embedding_misbehaves_on_request() -> None:
    with serving("gemini") as (server, client):
        server.behave("quota", every=2)
        asked = embedding_requests("a text", "another")
        assert [client.post(EMBED, json=asked).status_code for _ in range(2)] == [200, 429]
        server.behave("truncated")
        with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
            client.post(EMBED, json=asked).json()
        server.behave("extra_field")
        values = client.post(EMBED, json=asked).json()["embeddings"][0]["values"]
        assert len(values) == asked["requests"][0]["outputDimensionality"] + 1
        server.behave("empty")
        assert client.post(EMBED, json=asked).json() == {}


def test_texts_are_embedded_only_where_the_original_does() -> None:
    with serving("openai") as (_, client):
        assert client.post(EMBED, json=embedding_requests("a text")).status_code == 404


def test_a_tie_leaves_the_signal_as_it_is() -> None:
    data = {"precedents": {"E1": {"net_bps": {"approve": 1.0, "flip": 1.0}}}}
    assert verdict_from(data, ("approve", "flip"))["verdict"] == "approve"


@pytest.mark.parametrize("name", SPOKEN)
def test_the_program_serves_until_it_is_interrupted(name: str) -> None:
    program = [sys.executable, "-m", f"raysignal.loopback.{name}", "--port", "0", "--behaviour", "forbidden"]
    spoken = SPOKEN[name]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3].rstrip(",")
            assert httpx.post(url + spoken.path, json=spoken.body, headers=spoken.headers).status_code == 403
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
