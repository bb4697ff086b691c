"""How a model is named, what is sent to it, what it costs, and who cannot be asked."""

import subprocess
import sys

import pytest

from raysignal.agents.llm import models
from raysignal.agents.llm.calls import Usage
from raysignal.agents.llm.models import LOOPBACK_ONLY, ChatModel, ModelSettings, NoModel, why_not_asked
from raysignal.agents.llm.prices import Price
from raysignal.engine.core.errors import InvalidField, SettingsError
from tests.support.advising import KEY, request_of


@pytest.mark.parametrize(
    ("model", "provider", "name", "full_name"),
    [
        ("gemini-3.5-flash", "google", "gemini-3.5-flash", "gemini-3.5-flash"),
        ("google:gemini-3.5-flash", "google", "gemini-3.5-flash", "gemini-3.5-flash"),
        ("openai:gpt-5-mini", "openai", "gpt-5-mini", "openai:gpt-5-mini"),
        ("anthropic:claude-opus-5-5", "anthropic", "claude-opus-5-5", "anthropic:claude-opus-5-5"),
        ("ollama:hf.co/a/b:Q4", "ollama", "hf.co/a/b:Q4", "ollama:hf.co/a/b:Q4"),
    ],
)
def test_a_model_is_named_with_its_provider_or_is_googles(
    model: str, provider: str, name: str, full_name: str
) -> None:
    settings = ModelSettings(model)
    assert (settings.provider.name, settings.name, settings.full_name) == (provider, name, full_name)
    assert request_of(settings=settings).model == full_name


@pytest.mark.parametrize("model", ["", "models/x y", "llama3.2:3b", "openai:", "google:a/b", "OpenAI:gpt-5"])
def test_a_name_that_cannot_be_is_refused_with_the_providers_that_there_are(model: str) -> None:
    with pytest.raises(InvalidField, match="google:, openai:, anthropic:, ollama:"):
        ModelSettings(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "models/x y"), ("temperature", 2.5), ("thinking_level", "deep"), ("max_output_tokens", 0),
        ("base_url", "ftp://host"), ("base_url", "host:80"), ("base_url", "http://example.com"),
        ("base_url", "https://[::1"), ("base_url", "http://127.0.0.1:99999"), ("base_url", "http://127.0.0.1:0"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_names_itself(field: str, value: object) -> None:
    with pytest.raises(InvalidField) as refused:
        ModelSettings(**{field: value})  # type: ignore[arg-type]
    assert refused.value.fields["field"] == field


def test_an_address_with_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidField, match="without a user and a password") as refused:
        ModelSettings(base_url="https://user:hunter2@models.example")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gemini-2.5-flash", {"max_output_tokens", "temperature"}),
        ("gemini-3.5-flash", {"max_output_tokens", "temperature", "thinking_level"}),
        ("gemini-3.5-flash-lite", {"max_output_tokens", "thinking_level"}),
        ("gemini-3.8-flash", {"max_output_tokens", "thinking_level"}),
        ("gemini-flash-latest", {"max_output_tokens", "temperature"}),
        ("openai:gpt-4o", {"max_tokens", "temperature"}),
        ("openai:o4-mini", {"max_tokens", "reasoning_effort"}),
        ("openai:gpt-6.1-sol", {"max_tokens", "reasoning_effort"}),
        ("openai:gpt-5.3-chat-latest", {"max_tokens"}),
        ("anthropic:claude-sonnet-4-6", {"max_tokens"}),
        ("anthropic:claude-opus-5-5", {"max_tokens", "reasoning_effort"}),
        ("ollama:llama3.2", {"num_predict", "num_ctx", "temperature"}),
    ],
)
def test_only_what_a_model_takes_is_sent(model: str, sent: set[str]) -> None:
    assert set(request_of(settings=ModelSettings(model)).settings) == sent


def test_a_call_costs_what_its_tokens_cost_and_an_unknown_price_is_not_nothing() -> None:
    usage = Usage(1_000_000, 100_000)
    assert ModelSettings("m", prices={"m": Price(1.5, 9.0)}).usd(usage) == pytest.approx(2.4)
    assert ModelSettings("m-001", prices={"m": Price(1.5, 9.0)}).usd(usage) == pytest.approx(2.4)
    assert ModelSettings("other").usd(usage) is None
    assert ModelSettings("openai:gemini-3.5-flash").usd(usage) is None
    assert ModelSettings().usd(None) is None
    assert ModelSettings("other").usd(Usage(0, 0)) == 0.0
    assert ModelSettings("ollama:llama3.2").usd(usage) == 0.0


@pytest.mark.parametrize("model", ["openai:gpt-5-mini-2025-08-07", "anthropic:claude-haiku-4-5-20251001"])
def test_a_dated_model_costs_what_it_costs_without_its_date(model: str) -> None:
    assert ModelSettings(model).price is not None


@pytest.mark.parametrize(
    ("model", "environ", "key"),
    [
        ("gemini-3.5-flash", {"GOOGLE_API_KEY": " a ", "GEMINI_API_KEY": "b"}, "a"),
        ("gemini-3.5-flash", {"GOOGLE_API_KEY": "", "GEMINI_API_KEY": "b"}, "b"),
        ("gemini-3.5-flash", {"OPENAI_API_KEY": "a"}, None),
        ("openai:gpt-5", {"OPENAI_API_KEY": "a", "GEMINI_API_KEY": "b"}, "a"),
        ("anthropic:claude-opus-5-5", {"ANTHROPIC_API_KEY": "a"}, "a"),
        ("anthropic:claude-opus-5-5", {}, None),
        ("ollama:llama3.2", {}, ""),
        ("ollama:llama3.2", {"OLLAMA_API_KEY": "a"}, "a"),
    ],
)
def test_the_key_is_looked_for_where_the_provider_has_it(
    model: str, environ: dict[str, str], key: str | None
) -> None:
    assert ModelSettings(model).key_in(environ) == key


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ModelSettings("openai:gpt-5", base_url="http://127.0.0.1:1")
    assert why_not_asked(settings, KEY) is None
    assert why_not_asked(settings, None) == "OPENAI_API_KEY is not set"
    monkeypatch.setattr(models, "find_spec", lambda _name: None)
    with pytest.raises(
        SettingsError, match=r"openai:gpt-5 cannot be asked: .*pip install raysignal\[openai\]"
    ):
        ChatModel(settings, KEY)


@pytest.mark.parametrize("settings", [ModelSettings(), ModelSettings(base_url="https://example.com")])
def test_no_test_can_build_a_model_that_is_elsewhere(settings: ModelSettings) -> None:
    with pytest.raises(SettingsError, match=LOOPBACK_ONLY):
        ChatModel(settings, KEY)


@pytest.mark.parametrize("key", [None, "", "two words", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str | None) -> None:
    with pytest.raises(SettingsError, match="GOOGLE_API_KEY or GEMINI_API_KEY") as refused:
        ChatModel(ModelSettings(base_url="http://127.0.0.1:1"), key)
    assert "line" not in str(refused.value)


def test_a_key_goes_to_no_other_machine_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOOPBACK_ONLY)
    settings = ModelSettings("ollama:llama3.2", base_url="http://10.0.0.7:11434")
    ChatModel(settings, None)
    with pytest.raises(SettingsError, match="expected https"):
        ChatModel(settings, KEY)


async def test_a_replay_has_a_model_that_cannot_be_asked() -> None:
    with pytest.raises(SettingsError):
        await NoModel(ModelSettings()).call(request_of(), 1.0)


def test_langchain_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, raysignal.agents.llm.adviser; names = 'langchain', 'google', 'openai', 'httpx2'; "
    code += "sys.exit(any(name.split('.')[0].startswith(names) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
