"""The agent's terms and what is said of it; the edge of a service without one."""

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.runtime import agent_settings
from raysignal.runtime.agent_settings import (
    announcement,
    check_agent_settings,
    embeddings_of,
    model_of,
    terms_of,
    why_off,
)
from raysignal.runtime.settings import Settings
from tests.support.one_replica import replica, speaking_to


def test_the_default_settings_are_the_default_terms():
    own = terms_of(Settings())
    assert (own.primary, own.portfolio) == ("baseline", "enhanced")
    assert own.rules == type(own.rules)()
    assert own.breaker == type(own.breaker)()


@pytest.mark.parametrize("horizon", ["", "0b", "99999b", "six bars", "-5m"])
def test_a_horizon_that_cannot_be_is_refused_by_name(horizon):
    with pytest.raises(SettingsError, match="RAYSIGNAL_AGENT__HORIZON"):
        terms_of(Settings(horizon=horizon))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", "no such model!"),
        ("model", "mistral:large"),
        ("url", "ftp://x"),
        ("url", "http://1.2.3.4"),
        ("prices", "/no/such/file"),
    ],
)
def test_a_model_that_cannot_be_is_refused_by_name(setting, value):
    with pytest.raises(SettingsError, match=f"RAYSIGNAL_LLM__{setting.upper()}:"):
        model_of(Settings(llm={setting: value}))


@pytest.mark.parametrize("place", ["ftp://x", "://x", "chroma://host:8001"])
def test_a_place_of_chroma_with_another_scheme_is_refused(place):
    with pytest.raises(
        SettingsError, match=rf"CHROMA: is '{place}'; expected a directory, or http://host:port"
    ):
        Settings(agent={"chroma": place})


@pytest.mark.parametrize(
    ("place", "taken"),
    [
        ("HTTP://Host:8001", "http://Host:8001"),
        ("https://host", "https://host"),
        ("data/vectors", "data/vectors"),
    ],
)
def test_a_place_of_chroma_is_a_directory_or_a_server(place, taken):
    assert Settings(agent={"chroma": place}).agent.chroma == taken


@pytest.mark.parametrize(
    "values",
    [
        {"enhanced": "baseline"},
        {"enhanced": "Not A Name"},
        {"gate_grey": 0.95},
        {"breaker_limit_bps": 1.0},
        {"neighbours": 0},
    ],
)
def test_settings_of_the_agent_are_checked(values):
    with pytest.raises(SettingsError):
        Settings(**values)


@pytest.mark.parametrize(("value", "texts"), [("true", True), ("0", False), ("off", False)])
def test_whether_free_texts_are_compared_is_a_setting(monkeypatch, value, texts):
    assert terms_of(Settings()).rules.texts is True
    monkeypatch.setenv("RAYSIGNAL_AGENT__TEXTS", value)
    assert terms_of(Settings()).rules.texts is texts


def test_a_setting_of_texts_that_is_no_yes_or_no_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_AGENT__TEXTS", "gemini")
    with pytest.raises(SettingsError, match="RAYSIGNAL_AGENT__TEXTS"):
        Settings()


def test_who_embeds_free_texts_is_a_setting(monkeypatch):
    assert embeddings_of(Settings()) is None
    monkeypatch.setenv("RAYSIGNAL_AGENT__EMBEDDINGS", "gemini-embedding-001")
    asked = embeddings_of(Settings(llm={"url": "http://127.0.0.1:1"}))
    assert (asked.name, asked.url) == ("gemini-embedding-001", "http://127.0.0.1:1")
    elsewhere = Settings(llm={"model": "ollama:llama3.2", "url": "http://127.0.0.1:1"})
    assert embeddings_of(elsewhere).url == "https://generativelanguage.googleapis.com"

    assert "texts are not embedded (GOOGLE_API_KEY or GEMINI_API_KEY is not set)" in announcement(
        Settings(), {}
    )
    told = announcement(Settings(), {"GEMINI_API_KEY": "secret"})
    assert "texts are embedded by gemini-embedding-001" in told
    assert "secret" not in told


@pytest.mark.parametrize("model", ["no name", "openai:text-embedding-3-small"])
def test_a_model_that_cannot_embed_is_refused_by_name(model):
    with pytest.raises(SettingsError, match="RAYSIGNAL_AGENT__EMBEDDINGS:"):
        check_agent_settings(Settings(agent={"embeddings": model}))


def test_texts_that_are_left_out_are_not_embedded():
    with pytest.raises(SettingsError, match=r"'gemini-embedding-001'; expected agent\.texts"):
        Settings(agent={"embeddings": "gemini-embedding-001", "texts": False})


def test_it_is_said_who_decides():
    assert "the gate decides alone" in announcement(Settings(), {})
    assert "gemini" in announcement(Settings(), {"GEMINI_API_KEY": "secret"})
    assert "secret" not in announcement(Settings(), {"GEMINI_API_KEY": "secret"})
    named = Settings(llm={"model": "openai:gpt-5-mini"})
    assert "the gate decides alone (OPENAI_API_KEY is not set)" in announcement(
        named, {"GEMINI_API_KEY": "secret"}
    )
    assert "gpt-5-mini of OpenAI in unclear cases" in announcement(named, {"OPENAI_API_KEY": "secret"})
    assert "llama3.2 of Ollama" in announcement(Settings(llm={"model": "ollama:llama3.2"}), {})
    assert announcement(Settings(enhanced=""), {}) == "off: RAYSIGNAL_AGENT__PORTFOLIO is empty"


def test_without_the_extra_there_is_no_agent_and_it_says_why(monkeypatch):
    monkeypatch.setattr(agent_settings, "find_spec", lambda _name: None)
    assert "pip install raysignal[agents]" in str(why_off(Settings()))


async def test_a_service_without_an_agent_says_so(tmp_path):
    async with replica(tmp_path, enhanced="") as one, speaking_to(one) as client:
        answer = await client.get("/agent")
        assert answer.json() == {"on": False, "why": "RAYSIGNAL_AGENT__PORTFOLIO is empty"}
        for method, path in (
            ("GET", "/memory/accuracy"),
            ("GET", "/memory/patterns"),
            ("GET", "/performance/compare"),
            ("POST", "/agent/reset"),
        ):
            refused = await client.request(method, path)
            assert (refused.status_code, "no agent" in refused.json()["detail"]) == (404, True)
