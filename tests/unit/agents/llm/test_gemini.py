"""Gemini through LangChain, against the loopback server."""

import asyncio
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from raysignal.agents.llm.calls import Failure, ModelAnswer, Usage
from raysignal.agents.llm.gemini import (
    LOOPBACK_ONLY,
    TRACING,
    GeminiModel,
    ModelSettings,
    NoModel,
    api_key_in,
)
from raysignal.agents.llm.prices import Price
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField, SettingsError
from raysignal.loopback.gemini import THOUGHT_TOKENS, Behaviour, GeminiServer
from tests.support.advising import KEY, request_of


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as loopback:
        yield loopback


@pytest_asyncio.fixture
async def model(server: GeminiServer) -> AsyncIterator[GeminiModel]:
    gemini = GeminiModel(ModelSettings(base_url=server.url), KEY)
    await gemini.warm()
    yield gemini
    await gemini.aclose()


async def test_a_verdict_comes_back_with_what_was_sent_and_its_tokens(model: GeminiModel) -> None:
    answer = await model.call(request_of(), 10.0)
    assert isinstance(answer, ModelAnswer)
    assert answer.verdict.verdict == "hold"
    assert answer.raw["finish_reason"] == "STOP"
    assert answer.usage is not None
    assert answer.usage.tokens_in > 100


async def test_the_request_says_everything_that_its_hash_covers(
    server: GeminiServer, model: GeminiModel
) -> None:
    request = request_of()
    await model.call(request, 10.0)
    (body,) = server.requests
    assert body["systemInstruction"]["parts"] == [{"text": request.system}]
    assert body["contents"] == [{"parts": [{"text": request.user}], "role": "user"}]
    config = body["generationConfig"]
    assert config["responseJsonSchema"] == request.schema
    assert config["responseMimeType"] == "application/json"
    assert config["temperature"] == 0.0
    assert config["maxOutputTokens"] == 2_048
    assert config["thinkingConfig"] == {"thinking_level": "LOW"}


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


@pytest.mark.parametrize(("behaviour", "reason"), REASONS.items(), ids=str)
async def test_each_way_to_fail_has_its_reason_after_one_attempt(
    server: GeminiServer, model: GeminiModel, behaviour: Behaviour, reason: Reason
) -> None:
    server.behave(behaviour)
    failure = await model.call(request_of(), 10.0)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.sent) == (reason, True)
    assert KEY not in failure.detail
    assert server.calls == 1


@pytest.mark.parametrize("behaviour", [Behaviour.GZIPPED, Behaviour.THOUGHT, Behaviour.TWO_PARTS])
async def test_an_answer_may_be_compressed_come_in_parts_and_beside_a_thought(
    server: GeminiServer, model: GeminiModel, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    answer = await model.call(request_of(), 10.0)
    assert isinstance(answer, ModelAnswer)
    assert answer.verdict.verdict == "hold"


async def test_thoughts_are_charged_as_output(server: GeminiServer, model: GeminiModel) -> None:
    plain = await model.call(request_of(), 10.0)
    server.behave(Behaviour.THOUGHT)
    thought = await model.call(request_of(), 10.0)
    server.behave(Behaviour.THOUGHT_ONLY)
    only = await model.call(request_of(), 10.0)
    assert plain.usage is not None
    assert thought.usage == Usage(plain.usage.tokens_in, plain.usage.tokens_out + THOUGHT_TOKENS)
    assert only.usage == Usage(plain.usage.tokens_in, ModelSettings().max_output_tokens)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour.TRUNCATED, "has as many tokens as it may have"),
        (Behaviour.THOUGHT_ONLY, "thinking took all tokens"),
        (Behaviour.UNKNOWN_FINISH, "ended with LOST_INTEREST, expected STOP"),
        (Behaviour.BLOCKED_OTHER, "the prompt was refused: OTHER"),
        (Behaviour.RECITATION, "the answer was withheld: RECITATION"),
        (Behaviour.HUGE, "the answer is longer than 1048576 bytes"),
        (Behaviour.BOMB, "the answer, decompressed, is longer than 1048576 bytes"),
        (Behaviour.BROTLI, "content encoding is 'br'"),
    ],
)
async def test_it_is_said_why_an_answer_cannot_be_used(
    server: GeminiServer, model: GeminiModel, behaviour: Behaviour, said: str
) -> None:
    server.behave(behaviour)
    failure = await model.call(request_of(), 10.0)
    assert isinstance(failure, Failure)
    assert said in failure.detail


@pytest.mark.parametrize("behaviour", [Behaviour.SLOW, Behaviour.DRIP])
async def test_a_server_that_never_ends_its_answer_is_left_at_the_deadline(
    server: GeminiServer, model: GeminiModel, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    failure = await model.call(request_of(), 0.3)
    assert isinstance(failure, Failure)
    assert failure.reason == Reason.MODEL_TIMEOUT
    assert failure.usage is None


@pytest.mark.parametrize("seconds", [7, 53])
@pytest.mark.parametrize("behaviour", [Behaviour.QUOTA, Behaviour.OVERLOADED])
async def test_a_server_that_asks_to_wait_is_heard_and_nothing_is_charged(
    server: GeminiServer, model: GeminiModel, behaviour: Behaviour, seconds: int
) -> None:
    server.behave(behaviour)
    server.retry_after_s = seconds
    failure = await model.call(request_of(), 10.0)
    assert isinstance(failure, Failure)
    assert (failure.retry_after_s, failure.usage) == (seconds, Usage(0, 0))


async def test_the_key_follows_no_redirect(server: GeminiServer, model: GeminiModel) -> None:
    server.behave(Behaviour.REDIRECT)
    failure = await model.call(request_of(), 10.0)
    assert isinstance(failure, Failure)
    assert failure.detail.startswith("302 ")


async def test_where_nobody_listens_nothing_was_sent() -> None:
    with GeminiServer() as gone:
        settings = ModelSettings(base_url=gone.url)
    model = GeminiModel(settings, KEY)
    failure = await model.call(request_of(), 10.0)
    await model.aclose()
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.sent, failure.usage) == (Reason.MODEL_UNAVAILABLE, False, Usage(0, 0))


async def test_a_request_that_google_would_refuse_is_refused_by_the_loopback_too(model: GeminiModel) -> None:
    from dataclasses import replace

    failure = await model.call(replace(request_of(), schema={"type": "array"}), 10.0)
    assert isinstance(failure, Failure)
    assert failure.reason == Reason.MODEL_UNAVAILABLE
    assert "400 INVALID_ARGUMENT: responseJsonSchema" in failure.detail


async def test_a_mistake_of_ours_raises_before_anything_is_sent(
    server: GeminiServer, model: GeminiModel
) -> None:
    from dataclasses import replace

    with pytest.raises(Exception, match="temperature"):
        await model.call(replace(request_of(), settings={"temperature": "hot"}), 10.0)
    assert server.calls == 0


async def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    model = GeminiModel(ModelSettings(base_url=server.url), KEY)
    assert isinstance(await model.call(request_of(), 10.0), ModelAnswer)
    await model.aclose()


async def test_the_environment_leads_the_key_to_no_other_host(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://127.0.0.1:9")
    model = GeminiModel(ModelSettings(base_url=server.url), KEY)
    assert isinstance(await model.call(request_of(), 10.0), ModelAnswer)
    await model.aclose()


async def test_an_environment_that_asks_for_vertex_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    model = GeminiModel(ModelSettings(base_url="http://127.0.0.1:9"), KEY)
    with pytest.raises(SettingsError, match="GOOGLE_GENAI_USE_VERTEXAI"):
        await model.warm()


def test_one_model_serves_one_event_loop_after_another(server: GeminiServer) -> None:
    model = GeminiModel(ModelSettings(base_url=server.url), KEY)

    async def once() -> object:
        answer = await model.call(request_of(), 10.0)
        await model.aclose()
        return answer

    assert asyncio.run(once()) == asyncio.run(once())


@pytest.mark.parametrize("settings", [ModelSettings(), ModelSettings(base_url="https://example.com")])
def test_no_test_can_build_a_model_that_is_elsewhere(settings: ModelSettings) -> None:
    with pytest.raises(SettingsError, match=LOOPBACK_ONLY):
        GeminiModel(settings, KEY)


@pytest.mark.parametrize("key", [None, "", "two words", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str | None) -> None:
    with pytest.raises(SettingsError) as refused:
        GeminiModel(ModelSettings(base_url="http://127.0.0.1:1"), key)
    assert "line" not in str(refused.value)


def test_the_key_is_googles_first_and_geminis_second() -> None:
    assert api_key_in({"GOOGLE_API_KEY": " a ", "GEMINI_API_KEY": "b"}) == "a"
    assert api_key_in({"GOOGLE_API_KEY": "", "GEMINI_API_KEY": "b"}) == "b"
    assert api_key_in({}) is None


async def test_a_replay_has_a_model_that_cannot_be_asked() -> None:
    with pytest.raises(SettingsError):
        await NoModel(ModelSettings()).call(request_of(), 1.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "models/x y"), ("temperature", 2.5), ("thinking_level", "deep"), ("max_output_tokens", 0),
        ("base_url", "ftp://host"), ("base_url", "host:80"), ("base_url", "http://example.com"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_names_itself(field: str, value: object) -> None:
    with pytest.raises(InvalidField) as refused:
        ModelSettings(**{field: value})  # type: ignore[arg-type]
    assert refused.value.fields["field"] == field


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gemini-2.5-flash", {"temperature"}),
        ("gemini-3.5-flash", {"temperature", "thinking_level"}),
        ("gemini-3.5-flash-lite", {"thinking_level"}),
        ("gemini-3.8-flash", {"thinking_level"}),
        ("gemini-flash-latest", {"temperature"}),
    ],
)
def test_only_what_a_model_takes_is_sent(model: str, sent: set[str]) -> None:
    assert set(ModelSettings(model).generation()) == {"max_output_tokens"} | sent


def test_a_call_costs_what_its_tokens_cost_and_an_unknown_price_is_not_nothing() -> None:
    usage = Usage(1_000_000, 100_000)
    assert ModelSettings("m", prices={"m": Price(1.5, 9.0)}).usd(usage) == pytest.approx(2.4)
    assert ModelSettings("m-001", prices={"m": Price(1.5, 9.0)}).usd(usage) == pytest.approx(2.4)
    assert ModelSettings("other").usd(usage) is None
    assert ModelSettings().usd(None) is None
    assert ModelSettings("other").usd(Usage(0, 0)) == 0.0


def test_langchain_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, raysignal.agents.llm.adviser; "
    code += "sys.exit(any('langchain' in name or 'google' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


_ASKS = """
import asyncio, sys
from raysignal.agents.llm.gemini import GeminiModel, ModelSettings
from langchain_core.tracers.langchain import wait_for_all_tracers
from tests.support.advising import KEY, request_of

async def main():
    model = GeminiModel(ModelSettings(base_url=sys.argv[1]), KEY)
    print(type(await model.call(request_of(), 20.0)).__name__)
    await model.aclose()

asyncio.run(main())
wait_for_all_tracers()
"""


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


@pytest.mark.slow
@pytest.mark.parametrize("asked_for", [False, True])
def test_prompts_go_to_nobody_else_unless_it_is_asked_for(server: GeminiServer, asked_for: bool) -> None:
    """In a process of its own: LangSmith reads the environment once."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as langsmith:
        langsmith.told = told = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=langsmith.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        environment = {
            "LANGSMITH_TRACING": "true", "LANGCHAIN_TRACING_V2": "true", "LANGCHAIN_TRACING": "true",
            "LANGSMITH_API_KEY": "a-key", "LANGSMITH_ENDPOINT": f"http://127.0.0.1:{langsmith.server_port}",
        }  # fmt: skip
        answer = subprocess.run(
            [sys.executable, "-c", _ASKS, server.url], capture_output=True, text=True, check=False,
            env=os.environ | environment | ({TRACING: "1"} if asked_for else {}),
        )  # fmt: skip
        langsmith.shutdown()
        thread.join()
    assert answer.stdout.strip() == "ModelAnswer", answer.stderr
    assert any(b"breakout on the daily chart" in each for each in told) == asked_for
    assert bool(told) == asked_for
