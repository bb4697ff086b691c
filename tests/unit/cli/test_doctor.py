"""The doctor's checks, each as the plain function it is."""

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from raysignal.cli.doctor import (
    _compiled_in,
    check_agent,
    check_compiled,
    check_database,
    check_disk,
    check_doors,
    check_embeddings,
    check_keys,
    check_model,
    check_packages,
    check_policy,
    check_port,
    check_store,
    examine,
)
from raysignal.runtime.ports import free_port
from raysignal.runtime.processes import listener_on, own_listeners
from raysignal.runtime.settings import Settings
from tests.support.onnx_models import feed_forward, write_model


def test_packages_that_are_there_are_shown_with_their_versions():
    finding = check_packages(["httpx>=0.1", 'nothing-like-it>=1; extra == "test"'])
    assert finding.status == "ok"
    assert f"httpx {version('httpx')}" in finding.detail


@pytest.mark.parametrize("requirement", ["no-such-package-anywhere", "httpx>=999"])
def test_a_package_that_is_missing_or_too_old_fails_with_a_remedy(requirement):
    finding = check_packages([requirement])
    assert finding.status == "failed"
    assert requirement.partition(">")[0] in finding.detail
    assert finding.remedy


def test_secrets_are_reported_and_never_shown():
    finding = check_keys(Settings(api_key="hunter2-api", webhook_secret="hunter2-hook"))
    assert finding.status == "ok"
    assert "hunter2" not in str(finding)
    assert "RAYSIGNAL_HTTP__API_KEY is set" in finding.detail


def test_a_webhook_secret_without_a_key_is_a_warning():
    assert check_keys(Settings(webhook_secret="hunter2-hook")).status == "warning"


def test_s3_without_credentials_fails(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    assert check_keys(Settings(store="s3://bucket")).status == "failed"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    found = check_keys(Settings(store="s3://bucket"))
    assert found.status == "ok"
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("model", "environment", "said"),
    [
        ("gemini-3.5-flash", {}, "the gate decides alone"),
        ("gemini-3.5-flash", {"GOOGLE_API_KEY": " "}, "the gate decides alone"),
        ("gemini-3.5-flash", {"OPENAI_API_KEY": "hunter2"}, "the gate decides alone"),
        (
            "gemini-3.5-flash",
            {"GEMINI_API_KEY": "hunter2"},
            "GEMINI_API_KEY is set: gemini-3.5-flash of Google",
        ),
        ("gemini-3.5-flash", {"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "hunter2"}, "GOOGLE_API_KEY is set"),
        ("openai:gpt-5", {"OPENAI_API_KEY": "hunter2"}, "OPENAI_API_KEY is set: gpt-5 of OpenAI is asked"),
        ("anthropic:claude-opus-5-5", {}, "ANTHROPIC_API_KEY is not set"),
        ("ollama:llama3.2", {}, "no key is needed: llama3.2 of Ollama is asked"),
    ],
)
def test_the_key_of_a_model_is_named_by_its_variable_and_never_shown(model, environment, said):
    finding = check_model(Settings(llm={"model": model}), environment)
    assert finding.status == "ok"
    assert said in finding.detail
    assert "hunter2" not in str(finding)


def test_a_model_whose_package_is_missing_is_a_warning_with_a_remedy(monkeypatch):
    monkeypatch.setattr("raysignal.agents.llm.models.find_spec", lambda _name: None)
    finding = check_model(Settings(llm={"model": "ollama:llama3.2"}), {})
    assert finding.status == "warning"
    assert "pip install raysignal[ollama]" in finding.detail


def test_the_model_that_generates_signals_is_checked_as_a_service_does(tmp_path):
    folder = write_model(tmp_path / "model", feed_forward())
    finding = check_policy(str(folder))
    assert (finding.status, finding.detail) == ("ok", f"policy 1 of {folder} can be used")
    (folder / "model.onnx").write_bytes(b"another")
    finding = check_policy(str(folder))
    assert finding.status == "warning"
    assert "SHA-256" in finding.detail
    assert finding.remedy


def test_texts_that_nobody_can_embed_are_a_warning_with_a_remedy():
    settings = Settings(agent={"embeddings": "gemini-embedding-001"})
    finding = check_embeddings(settings, {})
    assert (finding.status, "GEMINI_API_KEY is not set" in finding.detail) == ("warning", True)
    assert "RAYSIGNAL_AGENT__EMBEDDINGS" in finding.remedy
    finding = check_embeddings(settings, {"GOOGLE_API_KEY": "hunter2"})
    assert finding.status == "ok"
    assert "hunter2" not in str(finding)


def test_what_agents_rest_on_can_be_imported_or_is_a_warning_with_a_remedy():
    assert check_agent().status == "ok"
    finding = check_agent(["json", "no_such_module_anywhere"])
    assert finding.status == "warning"
    assert "no_such_module_anywhere cannot be imported" in finding.detail
    assert finding.remedy


@pytest.mark.slow
def test_what_is_compiled_of_the_engine_and_of_the_agents_is_looked_at():
    check_compiled()  # where the cache is cold, or another test has compiled something, it says so
    engine, agents = (len(_compiled_in(part)) for part in ("raysignal.engine", "raysignal.agents"))
    assert engine > 20
    assert agents > 15
    assert f"{agents} of agents" in check_compiled().detail or check_compiled().status == "warning"


def test_agents_that_cannot_be_imported_are_no_failure_of_what_is_compiled():
    finding = check_compiled(["no_such_package_anywhere"])
    assert finding.status == "ok"
    assert "no_such_package_anywhere cannot be tried" in finding.detail


def test_a_free_port_is_free():
    assert check_port(Settings(port=free_port())).status == "ok"


@pytest.mark.slow
def test_a_used_port_fails_and_names_who_has_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        finding = check_port(Settings(port=port))
        assert finding.status == "failed"
        assert f"(pid {os.getpid()})" in finding.detail
    assert listener_on(port) is None


def test_a_port_that_another_process_has_is_told_by_its_pid():
    program = (
        "import socket, sys\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        port = int(other.stdout.readline())
        told = listener_on(port)
        other.stdin.close()
    assert told is not None
    assert f"(pid {other.pid})" in told


def test_room_is_measured_where_the_store_will_be(tmp_path):
    finding = check_disk((tmp_path / "not" / "yet" / "there").as_uri())
    assert "free for store" in finding.detail
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("name", ["store", "not/yet/there"])
def test_a_store_that_is_not_there_can_be_made_and_is_not(tmp_path, name):
    found = check_store((tmp_path / name).as_uri())
    assert found.status == "ok"
    assert "holds no signals yet" in found.detail
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_left_as_it_is_by_the_check(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "layout.json").write_text('{"shards": 2}')
    before = sorted(tmp_path.rglob("*"))
    found = check_store(tmp_path.as_uri())
    assert found.status == "ok"
    assert "is kept in 2 shards" in found.detail
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_with_a_damaged_layout_fails_and_names_the_file(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "layout.json").write_text("{")
    found = check_store(tmp_path.as_uri())
    assert found.status == "failed"
    assert "state/layout.json" in found.detail


@pytest.mark.parametrize(
    ("feeds", "address", "status"),
    [
        (("binance:BTCUSDT",), "market.db", "ok"),
        (("binance:BTCUSDT",), "nowhere/market.db", "failed"),
        ((), "nowhere/market.db", "warning"),
        ((), "market.db", "ok"),
    ],
)
def test_the_database_is_checked_and_not_made(tmp_path, feeds, address, status):
    found = check_database(Settings(feeds=feeds, database_url=f"sqlite:///{tmp_path / address}"))
    assert found.status == status
    assert (found.remedy is None) == (status == "ok")
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_the_extra_is_a_failure_only_where_there_are_feeds(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "raysignal.engine.database.checks", raising=False)
    address = f"sqlite:///{tmp_path / 'market.db'}"
    assert check_database(Settings(database_url=address)).status == "warning"
    found = check_database(Settings(database_url=address, feeds=("binance:BTCUSDT",)))
    assert (found.status, found.remedy) == ("failed", "pip install 'raysignal[feeds]'")


def test_a_store_that_cannot_be_written_fails_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    finding = check_store((tmp_path / "file").as_uri())
    assert finding.status == "failed"
    assert finding.remedy


def test_a_store_of_no_kind_fails():
    assert check_store("ftp://elsewhere").status == "failed"


def test_settings_that_cannot_be_used_end_the_examination(monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_HTTP__PORT", "none")
    findings = list(examine({}))
    assert [finding.name for finding in findings] == ["packages", "settings"]
    assert findings[-1].status == "failed"
    assert "RAYSIGNAL_HTTP__PORT" in findings[-1].detail


def test_examining_leaves_the_working_directory_as_it_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check_disk(Settings().store)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("address", "shown", "alone"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "0.0.0.0", False),
        ("::1", "::1", True),
        ("::", "::", False),
    ],
)
def test_what_listens_is_told_with_its_address_and_whom_it_answers(address, shown, alone):
    program = (
        "import socket, sys; s = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ':' in sys.argv[1] "
        "else socket.AF_INET); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, address, "raysignal"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        port = int(process.stdout.readline())
        own = f"(pid {process.pid})"
        (found,) = [each for each in own_listeners() if each.port == port and own in each.process]
        assert (found.host, found.on_loopback) == (shown, alone)
        assert found.process.endswith(f"(pid {process.pid})")
        assert (f"at {shown} port {port}" in check_doors().detail) is not alone
        process.stdin.close()


@pytest.mark.parametrize(
    ("variable", "value"), [("RAYSIGNAL_AGENT__HORIZON", "zzz"), ("RAYSIGNAL_LLM__PRICES", "/no/such.toml")]
)
def test_what_serve_would_refuse_of_the_agent_is_found(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    _, found = examine({})
    assert (found.name, found.status) == ("settings", "failed")
    assert variable in found.detail
