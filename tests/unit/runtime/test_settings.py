"""Settings: from the environment, checked together."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.engine.core.hosts import is_loopback
from raysignal.runtime.setting_areas import HttpSettings
from raysignal.runtime.settings import (
    PREFIX,
    RENAMED,
    Settings,
    load_settings,
    renamed_variables,
    setting_fields,
    variable_of,
)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [variable_of(path) for path, _ in setting_fields()] + [
        variable_of((old,)) for old in RENAMED
    ]:
        monkeypatch.delenv(name, raising=False)


def test_without_an_environment_there_is_a_working_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.store == (tmp_path / "raysignal-store").as_uri()
    assert list(settings.policies()) == ["baseline"]
    assert is_loopback(settings.http.host)


def test_a_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSIGNAL_HTTP__PORT", "9000")
    monkeypatch.setenv("RAYSIGNAL_PORTFOLIOS", json.dumps({"baseline": {}, "short": {"side": "long-short"}}))
    settings = load_settings()
    assert settings.http.port == 9000
    assert settings.policies()["short"].side == "long-short"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP__PORT", "0"),
        ("HTTP__PORT", "x"),
        ("JOURNAL__SHARDS", "0"),
        ("INTAKE__MAX_PRICE_JUMP", "1"),
        ("INTAKE__TIMEZONE", "Mars/Olympus"),
        ("INTAKE__SYMBOL", " "),
        ("PORTFOLIOS", '{"baseline": {"fee": 1}}'),
        ("PORTFOLIOS", '{"Base Line": {}}'),
        ("PORTFOLIOS", "{}"),
        ("PRIMARY", "other"),
        ("HTTP__HOST", "0.0.0.0"),
        ("DATABASE_URL", "mysql://host/name"),
        ("DATABASE_URL", "market.db"),
        ("RAY_ADDRESS", "x"),
        ("RAY_ADDRESS", "host:port"),
        ("RAY_ADDRESS", "http://host:6379/path"),
        ("FEED__INSTRUMENTS", '["kraken:XBT"]'),
        ("FEED__INSTRUMENTS", '["binance"]'),
        ("FEED__INSTRUMENTS", '["binance:BTCUSDT", "binance:BTCUSDT"]'),
        ("FEED__HOSTS", '{"kraken": {"stream": "ws://127.0.0.1:1", "rest": "http://127.0.0.1:1"}}'),
        ("STORE", "./raysignal-store"),
        ("STORE", "ftp://elsewhere"),
        ("STORE", "s3://"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError):
        load_settings()


def test_a_refusal_names_the_variable_and_the_value() -> None:
    with pytest.raises(SettingsError, match=r"RAYSIGNAL_HTTP__PORT is 0: .*greater than or equal to 1"):
        Settings(port=0)


@pytest.mark.parametrize(
    ("name", "value", "example"),
    [
        ("FEED__INSTRUMENTS", "binance:BTCUSDT", r'\["binance-usdm:BTCUSDT"\]'),
        ("PORTFOLIOS", "{baseline: {}}", '{"baseline": '),
        ("INTAKE__SYMBOLS", "BTC", '{"BINANCE:BTCUSDT.P": "BTC"}'),
        ("FEED__HOSTS", "x", '{"bybit": '),
        ("HTTP__ALLOWED_HOSTS", "a.local", r'\["trading.local"\]'),
    ],
)
def test_a_setting_that_is_no_json_is_refused_with_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, example: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError, match=f"{PREFIX}{name} is '{value}'; expected JSON, such as {example}"):
        load_settings()


def test_examples_of_settings_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {variable_of(path): field.examples[0] for path, field in setting_fields() if field.examples}
    for name, example in shown.items():
        monkeypatch.setenv(name, example)
    assert {name.removeprefix(PREFIX) for name in shown} == {
        "PORTFOLIOS", "FEED__INSTRUMENTS", "FEED__HOSTS", "HTTP__ALLOWED_HOSTS", "INTAKE__SYMBOLS",
        "PIPELINE__FILES",
    }  # fmt: skip
    assert load_settings().feed.instruments == ("binance-usdm:BTCUSDT",)


@pytest.mark.parametrize("value", ["7s", "2d", "500ms", "7h"])
def test_a_bar_that_does_not_divide_a_day_is_refused_before_anything_starts(value: str) -> None:
    with pytest.raises(SettingsError, match="bar"):
        Settings(feed_bar=value)


@pytest.mark.parametrize("path", [path for path, field in setting_fields() if field.annotation is float])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_is_finite(path: tuple[str, str], value: float) -> None:
    area, name = path
    with pytest.raises(SettingsError, match=variable_of(path)):
        Settings(**{area: {name: value}})


@pytest.mark.parametrize("name", ["symbol", "source"])
@pytest.mark.parametrize("value", ["", " ", "a" * 65, "a\nb"])
def test_the_name_of_who_names_none_is_one_that_signals_may_have(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{PREFIX}INTAKE__{name.upper()}.*at most 64"):
        Settings(**{name: value})


def test_a_refusal_shows_no_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(api_key=["hunter2"])  # type: ignore[arg-type]
    assert "RAYSIGNAL_HTTP__API_KEY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["RAYSIGNAL_PROT", "raysignal_prot"])
def test_a_variable_that_is_no_setting_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="is no setting"):
        load_settings({name: "1"})


def test_variables_of_others_are_none_of_ours() -> None:
    assert load_settings({"PATH": "/bin", "RAY_ADDRESS": "auto"}).http.port == 8000


@pytest.mark.parametrize("secret", ["api_key", "webhook_secret"])
def test_off_loopback_a_secret_is_needed(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"expected http\.api_key or http\.webhook_secret"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", **{secret: "s3cret"}).http.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback_is_what_only_this_machine_can_reach(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


@pytest.mark.parametrize("address", ["auto", "head:6379", "10.0.0.1:6379", "[::1]:6379", "ray://head:10001"])
def test_the_address_of_a_cluster_is_a_host_with_its_port_or_auto(address: str) -> None:
    assert Settings(ray_address=address).ray_address == address


def test_equal_settings_have_equal_fingerprints_and_secrets_do_not_count() -> None:
    one = Settings(store="file:///a")
    assert one.fingerprint() == Settings(store="file:///a", api_key="k").fingerprint()
    assert one.fingerprint() != Settings(store="file:///b").fingerprint()
    assert "k3y" not in repr(Settings(api_key="k3y"))


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_the_database_is_named_by_its_own_variable_else_by_the_common_one_else_it_is_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert Settings().database_url.get_secret_value() == f"sqlite:///{tmp_path / 'raysignal-market.db'}"
    monkeypatch.setenv("DATABASE_URL", "postgres://host/common")
    assert Settings().database_url.get_secret_value() == "postgres://host/common"
    monkeypatch.setenv("RAYSIGNAL_DATABASE_URL", "postgres://host/own")
    assert Settings().database_url.get_secret_value() == "postgres://host/own"


def test_the_password_of_the_database_is_neither_shown_nor_counted() -> None:
    settings = Settings(database_url="postgresql://user:s3cret@host/name")
    assert "s3cret" not in repr(settings) + settings.model_dump_json()
    assert settings.fingerprint() == Settings().fingerprint()
    with pytest.raises(SettingsError) as caught:
        Settings(database_url="postgresql://user:s3c/ret@host/name")
    assert "s3c" not in str(caught.value)
    assert "RAYSIGNAL_DATABASE_URL" in str(caught.value)


@pytest.mark.parametrize("name", ["raysignal_http__api_key", "raysignal_api_key"])
def test_secrets_lie_in_files_of_a_folder_and_the_environment_goes_before(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("from-a-file\n")
    (tmp_path / "raysignal_database_url").write_text("postgres://host/from-a-file")
    monkeypatch.setenv("RAYSIGNAL_SECRETS_DIR", str(tmp_path))
    assert load_settings().http.api_key.get_secret_value() == "from-a-file"
    assert load_settings().database_url.get_secret_value() == "postgres://host/from-a-file"
    monkeypatch.setenv(name.upper(), "from-the-environment")
    assert load_settings().http.api_key.get_secret_value() == "from-the-environment"


@pytest.mark.parametrize("name", ["raysignal_api_key", "raysignal_http__api_key", "raysignal_database_url"])
def test_a_secret_that_is_no_text_is_refused_by_its_file(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"\xff\xfe")
    monkeypatch.setenv("RAYSIGNAL_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=rf"{name} cannot be read: it is not UTF-8"):
        Settings()


@pytest.mark.parametrize("name", ["raysignal_http__apikey", "raysignal_http"])
def test_a_file_that_is_named_after_no_setting_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("t0psecret")
    monkeypatch.setenv("RAYSIGNAL_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=f"{name} is named after no setting") as refused:
        Settings()
    assert "t0psecret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RAYSIGNAL_AGENT__MODEL", ", RAYSIGNAL_INFERENCE__MODEL or RAYSIGNAL_LLM__MODEL is;"),
        ("RAYSIGNAL_HTTP_PORT", ", RAYSIGNAL_HTTP__PORT is;"),
        ("RAYSIGNAL_QQQQQQQQQQ", "no setting; expected"),
    ],
)
def test_the_setting_that_was_meant_is_named(name: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=meant):
        load_settings({name: "x"})


def test_a_value_under_a_name_that_is_misspelt_is_not_shown(monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_HTTP", '{"apikey": "t0psecret"}')
    with pytest.raises(SettingsError, match="RAYSIGNAL_HTTP__APIKEY: there is no such setting") as refused:
        Settings()
    assert "t0psecret" not in str(refused.value)


def test_a_former_name_counts_only_where_the_present_one_is_not_set(monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_FEEDS", "garbage")
    monkeypatch.setenv("RAYSIGNAL_FEED__INSTRUMENTS", '["okx:BTC-USDT"]')
    assert Settings().feed.instruments == ("okx:BTC-USDT",)


def test_an_area_and_one_of_its_former_names_go_together():
    settings = Settings(http=HttpSettings(port=1234), host="localhost")
    assert (settings.http.port, settings.http.host) == (1234, "localhost")


def test_a_folder_of_secrets_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_SECRETS_DIR", str(tmp_path / "away"))
    with pytest.raises(SettingsError, match=r"RAYSIGNAL_SECRETS_DIR is .*away', which is no folder"):
        load_settings()


@pytest.mark.parametrize(("old", "path"), RENAMED.items())
def test_a_name_from_before_there_were_areas_is_of_a_setting_that_there_is(
    old: str, path: tuple[str, str]
) -> None:
    assert path in dict(setting_fields())
    assert (old,) not in dict(setting_fields())


def test_a_setting_under_its_former_name_is_read_and_the_new_one_goes_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAYSIGNAL_HORIZON", "90m")
    monkeypatch.setenv("RAYSIGNAL_FEEDS", '["binance-usdm:BTCUSDT"]')
    monkeypatch.setenv("RAYSIGNAL_AGENT__NEIGHBOURS", "7")
    settings = load_settings()
    assert (settings.agent.horizon, settings.agent.neighbours) == ("90m", 7)
    assert settings.feed.instruments == ("binance-usdm:BTCUSDT",)
    monkeypatch.setenv("RAYSIGNAL_AGENT__HORIZON", "6b")
    assert load_settings().agent.horizon == "6b"
    assert Settings(horizon="close").agent.horizon == "close"


def test_a_former_name_is_said_with_the_present_one() -> None:
    assert renamed_variables({"RAYSIGNAL_PORT": "1", "RAYSIGNAL_STORE": "x", "PATH": "y"}) == [
        "RAYSIGNAL_PORT is RAYSIGNAL_HTTP__PORT by now"
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RAYSIGNAL_PORT", "0", "RAYSIGNAL_PORT is '0'"),
        ("RAYSIGNAL_HTTP__PORT", "0", "RAYSIGNAL_HTTP__PORT is '0'"),
        ("RAYSIGNAL_FEEDS", "x", "RAYSIGNAL_FEEDS is 'x'; expected JSON, such as"),
        ("RAYSIGNAL_FEED__INSTRUMENTS", "x", "RAYSIGNAL_FEED__INSTRUMENTS is 'x'; expected JSON, such as"),
    ],
)
def test_a_refusal_names_the_variable_that_was_set(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said):
        load_settings()


def test_what_actors_are_handed_makes_the_same_settings_without_secrets() -> None:
    settings = Settings(horizon="90m", api_key="k3y", database_url="postgresql://user:s3cret@host/name")
    assert "k3y" not in str(settings.for_actors()) + str(settings.without_secrets())
    assert "s3cret" not in str(settings.without_secrets())
    assert Settings(**settings.for_actors()).agent == settings.agent


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"portfolios": {"baseline": {"fee_bps": "x"}}}, r"RAYSIGNAL_PORTFOLIOS: fee_bps is 'x'"),
        ({"portfolios": {"A b": {}, "baseline": {}}}, r"RAYSIGNAL_PORTFOLIOS: portfolio is 'A b'"),
        ({"portfolios": {"baseline": 3}}, r"^RAYSIGNAL_PORTFOLIOS is 3: input should be a valid dictionary"),
        ({"feed": {"bar": "7x"}}, r"RAYSIGNAL_FEED__BAR: bar is '7x'"),
        ({"agent": {"portfolio": "a b"}}, r"RAYSIGNAL_AGENT__PORTFOLIO: portfolio is 'a b'"),
    ],
)
def test_a_value_that_a_rule_refuses_names_its_variable(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings(**values)
