"""What every chat model keeps to, whoever serves it: each through LangChain, against a loopback of its API."""

import asyncio
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from raysignal.agents.llm.calls import DETAIL_LIMIT, Failure, ModelAnswer, ModelRequest, Usage
from raysignal.agents.llm.models import PROVIDERS, TRACING, ChatModel, ModelSettings
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import SettingsError
from raysignal.loopback.anthropic import AnthropicServer
from raysignal.loopback.chat_server import THOUGHT_TOKENS, Behaviour, ChatServer
from raysignal.loopback.gemini import GeminiServer
from raysignal.loopback.ollama import OllamaServer
from raysignal.loopback.openai import OpenAiServer
from tests.support.advising import KEY, request_of


@dataclass(frozen=True)
class Served:
    """A model, and the loopback that serves it."""

    model: str
    server: type[ChatServer]


SERVED = {
    "google": Served("gemini-3.5-flash", GeminiServer),
    "openai": Served("openai:gpt-5-mini", OpenAiServer),
    "anthropic": Served("anthropic:claude-sonnet-5-5", AnthropicServer),
    "ollama": Served("ollama:llama3.2:3b", OllamaServer),
}


@pytest.fixture(params=SERVED)
def served(request: pytest.FixtureRequest) -> Served:
    return SERVED[request.param]


@pytest.fixture
def server(served: Served) -> Iterator[ChatServer]:
    with served.server() as loopback:
        yield loopback


@pytest.fixture
def settings(served: Served, server: ChatServer) -> ModelSettings:
    return ModelSettings(served.model, base_url=server.url)


@pytest.fixture
def request_(settings: ModelSettings) -> ModelRequest:
    return request_of(settings=settings)


@pytest_asyncio.fixture
async def model(settings: ModelSettings) -> AsyncIterator[ChatModel]:
    chat = ChatModel(settings, KEY)
    await chat.warm()
    yield chat
    await chat.aclose()


def test_every_provider_keeps_to_this() -> None:
    assert set(SERVED) == set(PROVIDERS)


async def test_a_verdict_comes_back_with_what_was_sent_and_its_tokens(
    model: ChatModel, request_: ModelRequest
) -> None:
    answer = await model.call(request_, 10.0)
    assert isinstance(answer, ModelAnswer)
    assert answer.verdict.verdict == "hold"
    assert answer.raw["finish_reason"] in {"STOP", "stop", "end_turn"}
    assert answer.raw["model"] == "loopback"
    assert answer.usage is not None
    assert answer.usage.tokens_in > 100
    assert answer.usage.tokens_out > 10


REASONS = {
    Behaviour.QUOTA: Reason.MODEL_QUOTA,
    Behaviour.OVERLOADED: Reason.MODEL_UNAVAILABLE,
    Behaviour.UNAUTHENTICATED: Reason.MODEL_UNAVAILABLE,
    Behaviour.FORBIDDEN: Reason.MODEL_UNAVAILABLE,
    Behaviour.BAD_KEY: Reason.MODEL_UNAVAILABLE,
    Behaviour.REDIRECT: Reason.MODEL_UNAVAILABLE,
    Behaviour.RESET: Reason.MODEL_UNAVAILABLE,
    Behaviour.NOT_JSON: Reason.MODEL_UNREADABLE,
    Behaviour.HUGE: Reason.MODEL_UNREADABLE,
    Behaviour.BOMB: Reason.MODEL_UNREADABLE,
    Behaviour.BROTLI: Reason.MODEL_UNREADABLE,
    Behaviour.TRUNCATED: Reason.MODEL_TRUNCATED,
    Behaviour.CLOSED_EARLY: Reason.MODEL_TRUNCATED,
    Behaviour.THOUGHT_ONLY: Reason.MODEL_TRUNCATED,
    Behaviour.UNKNOWN_FINISH: Reason.MODEL_UNREADABLE,
    Behaviour.BLOCKED_OTHER: Reason.MODEL_BLOCKED,
    Behaviour.RECITATION: Reason.MODEL_BLOCKED,
    Behaviour.PROSE: Reason.MODEL_UNREADABLE,
    Behaviour.FENCED: Reason.MODEL_UNREADABLE,
    Behaviour.EXTRA_FIELD: Reason.MODEL_UNREADABLE,
    Behaviour.BLOCKED: Reason.MODEL_BLOCKED,
    Behaviour.SAFETY: Reason.MODEL_BLOCKED,
    Behaviour.EMPTY: Reason.MODEL_EMPTY,
}
SAID = {
    Behaviour.TRUNCATED: "has as many tokens as it may have",
    Behaviour.THOUGHT_ONLY: "thinking took all tokens",
    Behaviour.UNKNOWN_FINISH: "did not end by itself: lost_interest",
    Behaviour.BLOCKED_OTHER: "the prompt was refused: other",
    Behaviour.RECITATION: "the answer was withheld: recitation",
    Behaviour.HUGE: "the answer is longer than 1048576 bytes",
    Behaviour.BOMB: "the answer, decompressed, is longer than 1048576 bytes",
    Behaviour.BROTLI: "content encoding is 'br'",
    Behaviour.QUOTA: "you exceeded your current quota",
    Behaviour.FORBIDDEN: "the caller does not have permission",
    Behaviour.REDIRECT: "302 ",
    Behaviour.BAD_KEY: "api key (key) not valid",
}
"""What is said of some, in lower case; that of a redirect, which the key does not follow, is its status."""

HANGING = (Behaviour.SLOW, Behaviour.DRIP)
ANSWERING = (Behaviour.ANSWER, Behaviour.GZIPPED, Behaviour.THOUGHT, Behaviour.TWO_PARTS)
JUDGED_LATER = (Behaviour.UNKNOWN_EVIDENCE, Behaviour.NO_EVIDENCE, Behaviour.OBEDIENT)
"""Verdicts, as far as the wire knows: see the tests of the adviser."""


def spoken(behaviours: Any) -> list[Any]:
    """Providers with the behaviours that their APIs have words for."""
    cases = product(SERVED.items(), behaviours)
    return [
        pytest.param(name, behaviour, id=f"{name}-{behaviour}")
        for (name, each), behaviour in cases
        if behaviour not in each.server.api.unspoken
    ]


def test_every_behaviour_has_a_case() -> None:
    assert {*REASONS, *HANGING, *ANSWERING, *JUDGED_LATER} == set(Behaviour)


@pytest.mark.parametrize(("served", "behaviour"), spoken(REASONS), indirect=["served"])
async def test_each_way_to_fail_has_its_reason_and_sentence_after_one_attempt(
    server: ChatServer, model: ChatModel, request_: ModelRequest, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    failure = await model.call(request_, 10.0)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.sent) == (REASONS[behaviour], True)
    assert failure.detail
    assert SAID.get(behaviour, "") in failure.detail.lower()
    assert KEY not in failure.detail
    assert KEY not in str(failure.raw)
    assert server.calls == 1


@pytest.mark.parametrize(("served", "behaviour"), spoken(ANSWERING), indirect=["served"])
async def test_an_answer_may_be_compressed_come_in_parts_and_beside_a_thought(
    server: ChatServer, model: ChatModel, request_: ModelRequest, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    answer = await model.call(request_, 10.0)
    assert isinstance(answer, ModelAnswer), answer
    assert answer.verdict.verdict == "hold"


async def test_thoughts_are_charged_as_output(
    server: ChatServer, model: ChatModel, request_: ModelRequest
) -> None:
    plain = await model.call(request_, 10.0)
    server.behave(Behaviour.THOUGHT)
    thought = await model.call(request_, 10.0)
    server.behave(Behaviour.THOUGHT_ONLY)
    only = await model.call(request_, 10.0)
    assert plain.usage is not None
    assert thought.usage == Usage(plain.usage.tokens_in, plain.usage.tokens_out + THOUGHT_TOKENS)
    assert only.usage == Usage(plain.usage.tokens_in, ModelSettings().max_output_tokens)


@pytest.mark.parametrize("behaviour", HANGING)
async def test_a_server_that_never_ends_its_answer_is_left_at_the_deadline(
    server: ChatServer, model: ChatModel, request_: ModelRequest, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    failure = await model.call(request_, 0.3)
    assert isinstance(failure, Failure)
    assert failure.reason == Reason.MODEL_TIMEOUT
    assert failure.usage is None


@pytest.mark.parametrize("seconds", [7, 53])
@pytest.mark.parametrize("behaviour", [Behaviour.QUOTA, Behaviour.OVERLOADED])
async def test_a_server_that_asks_to_wait_is_heard_and_nothing_is_charged(
    server: ChatServer, model: ChatModel, request_: ModelRequest, behaviour: Behaviour, seconds: int
) -> None:
    server.behave(behaviour)
    server.retry_after_s = seconds
    failure = await model.call(request_, 10.0)
    assert isinstance(failure, Failure)
    assert (failure.retry_after_s, failure.usage) == (seconds, Usage(0, 0))


async def test_where_nobody_listens_nothing_was_sent(served: Served) -> None:
    with served.server() as gone:
        settings = ModelSettings(served.model, base_url=gone.url)
    model = ChatModel(settings, KEY)
    await model.warm()
    failure = await model.call(request_of(settings=settings), 10.0)
    await model.aclose()
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.sent, failure.usage) == (Reason.MODEL_UNAVAILABLE, False, Usage(0, 0))


async def test_a_request_that_the_provider_would_refuse_is_refused_by_its_loopback_too(
    server: ChatServer, model: ChatModel, request_: ModelRequest
) -> None:
    failure = await model.call(replace(request_, schema={"type": "array"}), 10.0)
    assert isinstance(failure, Failure)
    assert failure.reason == Reason.MODEL_UNAVAILABLE
    assert failure.detail.startswith("400 ")
    assert server.calls == 0


PROXIES = ("http_proxy", "https_proxy", "all_proxy")
ELSEWHERE = (
    "GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_PROXY", "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_URL", "ANTHROPIC_PROXY", "OLLAMA_HOST", "LANGSMITH_GATEWAY",
)  # fmt: skip


@pytest.mark.parametrize("variables", [PROXIES, ELSEWHERE], ids=["proxies", "addresses"])
async def test_the_environment_leads_the_key_to_no_other_host(
    settings: ModelSettings,
    request_: ModelRequest,
    monkeypatch: pytest.MonkeyPatch,
    variables: tuple[str, ...],
) -> None:
    for name in variables:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    model = ChatModel(settings, KEY)
    await model.warm()
    assert isinstance(await model.call(request_, 10.0), ModelAnswer)
    await model.aclose()


def test_one_model_serves_one_event_loop_after_another(
    settings: ModelSettings, request_: ModelRequest
) -> None:
    model = ChatModel(settings, KEY)

    async def once() -> object:
        await model.warm()
        answer = await model.call(request_, 10.0)
        await model.aclose()
        return answer

    assert asyncio.run(once()) == asyncio.run(once())


# What each request says


async def asked(name: str, **changes: Any) -> tuple[ModelRequest, dict[str, Any]]:
    """A request, and its body as the loopback of a provider got it."""
    with SERVED[name].server() as loopback:
        settings = replace(ModelSettings(SERVED[name].model, base_url=loopback.url), **changes)
        model, request = ChatModel(settings, KEY), request_of(settings=settings)
        await model.warm()
        assert isinstance(await model.call(request, 10.0), ModelAnswer)
        await model.aclose()
        return request, loopback.requests[0]


async def test_a_request_to_google_says_everything_that_its_hash_covers() -> None:
    request, body = await asked("google")
    assert body["systemInstruction"]["parts"] == [{"text": request.system}]
    assert body["contents"] == [{"parts": [{"text": request.user}], "role": "user"}]
    config = body["generationConfig"]
    assert config["responseJsonSchema"] == request.schema
    assert config["responseMimeType"] == "application/json"
    assert config["temperature"] == 0.0
    assert config["maxOutputTokens"] == 2_048
    assert config["thinkingConfig"] == {"thinking_level": "LOW"}


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("openai:gpt-5-mini", {"reasoning_effort": "low"}),
        ("openai:gpt-4.1", {"temperature": 0.0}),
        ("openai:meta-llama/Llama-3.3-70B", {"temperature": 0.0}),
        ("openai:gpt-5-chat-latest", {}),
    ],
)
async def test_a_request_to_openai_says_everything_that_its_hash_covers(
    model: str, sent: dict[str, Any]
) -> None:
    request, body = await asked("openai", model=model)
    assert body == {
        "model": model.removeprefix("openai:"),
        "messages": [
            {"role": "system", "content": request.system}, {"role": "user", "content": request.user},
        ],
        "max_completion_tokens": 2_048,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": dict(request.schema)},
        },
        "stream": False,
    } | sent  # fmt: skip


@pytest.mark.parametrize(
    ("model", "effort"), [("claude-sonnet-5-5", {"effort": "low"}), ("claude-haiku-4-5", {})]
)
async def test_a_request_to_anthropic_says_everything_that_its_hash_covers(
    model: str, effort: dict[str, str]
) -> None:
    request, body = await asked("anthropic", model=f"anthropic:{model}")
    form = body["output_config"].pop("format")
    assert body == {
        "model": model,
        "max_tokens": 2_048,
        "system": request.system,
        "messages": [{"role": "user", "content": request.user}],
        "output_config": effort,
    }
    assert form["type"] == "json_schema"
    assert form["schema"]["properties"]["verdict"]["enum"] == request.schema["properties"]["verdict"]["enum"]


async def test_a_request_to_ollama_says_everything_that_its_hash_covers() -> None:
    request, body = await asked("ollama")
    assert body["model"] == "llama3.2:3b"
    assert [each["content"] for each in body["messages"]] == [request.system, request.user]
    assert body["format"] == request.schema
    assert body["options"] == {"num_predict": 2_048, "num_ctx": 8_192, "temperature": 0.0}


# What is Google's alone


async def test_a_mistake_of_ours_raises_before_anything_is_sent() -> None:
    with GeminiServer() as server:
        model = ChatModel(ModelSettings(base_url=server.url), KEY)
        await model.warm()
        with pytest.raises(Exception, match="temperature"):
            await model.call(replace(request_of(), settings={"temperature": "hot"}), 10.0)
        await model.aclose()
        assert server.calls == 0


async def test_an_environment_that_asks_for_vertex_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    model = ChatModel(ModelSettings(base_url="http://127.0.0.1:9"), KEY)
    with pytest.raises(SettingsError, match="GOOGLE_GENAI_USE_VERTEXAI"):
        await model.warm()


# Who else is told


_ASKS = """
import asyncio, sys
from raysignal.agents.llm.models import ChatModel, ModelSettings
from langchain_core.tracers.langchain import wait_for_all_tracers
from tests.support.advising import KEY, request_of

async def main():
    settings = ModelSettings(base_url=sys.argv[1])
    model = ChatModel(settings, KEY)
    await model.warm()
    print(type(await model.call(request_of(settings=settings), 20.0)).__name__)
    await model.aclose()

asyncio.run(main())
wait_for_all_tracers()
"""


class Refusing(http.server.BaseHTTPRequestHandler):
    """Refuses with a long text that has the key where its detail is cut off."""

    def do_POST(self) -> None:
        body = b"x" * (DETAIL_LIMIT - 20) + KEY.encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def test_no_part_of_a_key_is_told_where_a_refusal_is_cut_off(settings: ModelSettings) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        model = ChatModel(replace(settings, base_url=f"http://127.0.0.1:{server.server_port}"), KEY)
        await model.warm()
        failure = await model.call(request_of(settings=model.settings), 10.0)
        await model.aclose()
        server.shutdown()
    assert isinstance(failure, Failure)
    assert failure.detail.startswith("500 ")
    assert KEY[:6] not in failure.detail


class Collector(http.server.BaseHTTPRequestHandler):
    """LangSmith, as far as it is told something."""

    def do_GET(self) -> None:
        self._answered(b"")

    def do_POST(self) -> None:
        self._answered(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answered(self, body: bytes) -> None:
        self.server.told.append(self.path.encode() + body)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def told_langsmith(environment: dict[str, str]) -> list[bytes]:
    """What LangSmith is told of a question that a process of its own asks: it reads the environment once."""
    with GeminiServer() as server, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as langsmith:
        langsmith.told = told = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=langsmith.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        wishes = {
            "LANGSMITH_TRACING": "true", "LANGCHAIN_TRACING_V2": "true", "LANGCHAIN_TRACING": "true",
            "LANGSMITH_API_KEY": "a-key", "LANGSMITH_ENDPOINT": f"http://127.0.0.1:{langsmith.server_port}",
        }  # fmt: skip
        answer = subprocess.run(
            [sys.executable, "-c", _ASKS, server.url], capture_output=True, text=True, check=False,
            env=os.environ | wishes | environment,
        )  # fmt: skip
        langsmith.shutdown()
        thread.join()
    assert answer.stdout.strip() == "ModelAnswer", answer.stderr
    return told


@pytest.mark.slow
def test_prompts_go_to_nobody_else() -> None:
    assert told_langsmith({}) == []


@pytest.mark.slow
def test_prompts_go_to_langsmith_if_it_is_asked_for() -> None:
    told = told_langsmith({TRACING: "1"})
    assert any(b"breakout on the daily chart" in each for each in told)
