"""Settings under the names of other services: read where the own name is unset, said, and refused by the name given."""

from pathlib import Path

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.runtime.setting_aliases import ALIASES, POSTGRES
from raysignal.runtime.settings import RENAMED, aliased_variables, load_settings, setting_fields, variable_of


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [variable_of(path) for path, _ in setting_fields()] + [variable_of((old,)) for old in RENAMED]
    for name in [*own, *ALIASES, *POSTGRES, "DATABASE_URL", "RAYSIGNAL_SECRETS_DIR"]:
        monkeypatch.delenv(name, raising=False)


def said(monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...] = (), **environ: str) -> list[str]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return aliased_variables(environ, given)


def test_every_alias_is_read_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(
        monkeypatch, MODEL_PATH="/models/ppo", CONFIDENCE_THRESHOLD="0.7", POSITION_SIZE_PCT="0.05",
        ATR_MULTIPLIER_SL="1.5", ATR_MULTIPLIER_TP="4", SIGNAL_SERVICE_PORT="8003",
    )  # fmt: skip
    settings = load_settings()
    model = settings.inference
    assert (model.model, model.confidence, model.position_size) == ("/models/ppo", 0.7, 0.05)
    assert (model.stop_atr, model.target_atr, settings.http.port) == (1.5, 4.0, 8003)
    assert lines == [
        "RAYSIGNAL_INFERENCE__MODEL from MODEL_PATH",
        "RAYSIGNAL_INFERENCE__CONFIDENCE from CONFIDENCE_THRESHOLD",
        "RAYSIGNAL_INFERENCE__POSITION_SIZE from POSITION_SIZE_PCT",
        "RAYSIGNAL_INFERENCE__STOP_ATR from ATR_MULTIPLIER_SL",
        "RAYSIGNAL_INFERENCE__TARGET_ATR from ATR_MULTIPLIER_TP",
        "RAYSIGNAL_HTTP__PORT from SIGNAL_SERVICE_PORT",
    ]


@pytest.mark.parametrize("own", ["RAYSIGNAL_HTTP__PORT", "RAYSIGNAL_PORT"])
def test_the_own_name_goes_before_an_alias(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    assert said(monkeypatch, **{own: "9000", "SIGNAL_SERVICE_PORT": "8003"}) == []
    assert load_settings().http.port == 9000


def test_an_option_and_a_file_of_secrets_go_before_an_alias(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert said(monkeypatch, given=("port",), SIGNAL_SERVICE_PORT="8003") == []
    assert load_settings(port=9000).http.port == 9000
    (tmp_path / "raysignal_http__port").write_text("9001")
    monkeypatch.setenv("RAYSIGNAL_SECRETS_DIR", str(tmp_path))
    assert said(monkeypatch, SIGNAL_SERVICE_PORT="8003") == []
    assert load_settings().http.port == 9001


def test_an_alias_that_is_empty_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, MODEL_PATH="", SIGNAL_SERVICE_PORT=" ", POSTGRES_HOST="") == []
    settings = load_settings()
    assert (settings.inference.model, settings.http.port) == (None, 8000)


def test_the_parts_of_an_address_are_put_together_and_the_password_is_not_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = said(
        monkeypatch, POSTGRES_HOST="db.local", POSTGRES_PORT="5433", POSTGRES_DB="market", POSTGRES_USER="kim",
        POSTGRES_PASSWORD="s3/c@ret",
    )  # fmt: skip
    settings = load_settings()
    address = settings.database_url.get_secret_value()
    assert address == "postgresql://kim:s3%2Fc%40ret@db.local:5433/market"
    assert lines == [f"RAYSIGNAL_DATABASE_URL from {', '.join(POSTGRES)}"]
    assert "s3" not in repr(settings) + str(lines)


def test_of_an_address_only_the_host_is_needed_and_without_it_nothing_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(monkeypatch, POSTGRES_DB="market", POSTGRES_PASSWORD="s3cret") == []
    assert load_settings().database_url.get_secret_value().startswith("sqlite:///")
    monkeypatch.delenv("POSTGRES_DB")
    monkeypatch.delenv("POSTGRES_PASSWORD")
    monkeypatch.setenv("POSTGRES_HOST", "::1")
    assert load_settings().database_url.get_secret_value() == "postgresql://postgres@[::1]:5432/postgres"


@pytest.mark.parametrize("own", ["DATABASE_URL", "RAYSIGNAL_DATABASE_URL"])
def test_a_whole_address_goes_before_its_parts(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    assert said(monkeypatch, **{own: "postgres://host/own", "POSTGRES_HOST": "other"}) == []
    assert load_settings().database_url.get_secret_value() == "postgres://host/own"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "POSITION_SIZE_PCT",
            "2",
            "POSITION_SIZE_PCT is '2'; expected a share of equity below 1, such as 0.02",
        ),
        ("POSITION_SIZE_PCT", "1", "POSITION_SIZE_PCT is '1'; expected a share of equity below 1"),
        ("POSITION_SIZE_PCT", "0", "POSITION_SIZE_PCT is '0'"),
        ("POSITION_SIZE_PCT", "2%", "POSITION_SIZE_PCT is '2%'"),
        ("POSITION_SIZE_PCT", "nan", "POSITION_SIZE_PCT is 'nan'"),
        ("CONFIDENCE_THRESHOLD", "65", "CONFIDENCE_THRESHOLD is '65'"),
        ("ATR_MULTIPLIER_SL", "-1", "ATR_MULTIPLIER_SL is '-1'"),
        ("SIGNAL_SERVICE_PORT", "http", "SIGNAL_SERVICE_PORT is 'http'"),
        ("POSTGRES_HOST", "user@db", "POSTGRES_HOST is 'user@db'; expected the name or address of a host"),
        ("POSTGRES_HOST", "db:5432", "POSTGRES_HOST is 'db:5432'; expected the name or address of a host"),
        ("POSTGRES_HOST", "db\nx", "expected the name or address of a host alone"),
        ("POSTGRES_HOST", "one,two", "POSTGRES_HOST is 'one,two'; expected the name or address of a host"),
        ("RAYSIGNAL_INFERENCE__MODEL", "", "expected a folder or s3://bucket/prefix, or no such variable"),
        ("RAYSIGNAL_INFERENCE__MODEL", " ", "expected a folder or s3://bucket/prefix, or no such variable"),
    ],
)
def test_a_refusal_names_the_alias_that_was_set(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert sentence in str(caught.value)


def test_a_port_of_postgres_that_cannot_be_is_refused_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("POSTGRES_HOST", "db"), ("POSTGRES_PORT", "70000"), ("POSTGRES_PASSWORD", "s3cret")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="POSTGRES_PORT is '70000'; expected a port") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_all_of_the_equity_is_said_by_the_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSIGNAL_INFERENCE__POSITION_SIZE", "1")
    assert load_settings().inference.position_size == 1.0
