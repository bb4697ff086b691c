"""Settings: environment variables `RAYSIGNAL_*`, checked together, unknown ones refused.

`Settings()` reads the environment once; what needs a setting is handed the object. A setting of an area is the variable
`RAYSIGNAL_<AREA>__<NAME>`; the names from before there were areas are read, too.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from raysignal.engine.core.errors import InvalidField, SettingsError, shorten
from raysignal.engine.core.policy import Policy, check_portfolio_name
from raysignal.engine.database.addresses import default_address, kind_of
from raysignal.engine.journal.addresses import split_store
from raysignal.runtime.ray_address import check_ray_address
from raysignal.runtime.setting_aliases import POSTGRES, alias_value, aliases_given
from raysignal.runtime.setting_areas import (
    AgentSettings,
    FeedSettings,
    HttpSettings,
    InferenceSettings,
    IntakeSettings,
    JournalSettings,
    LlmSettings,
    PaperSettings,
    PipelineSettings,
    StreamSettings,
    of_this_setting,
)

PREFIX = "RAYSIGNAL_"
SEPARATOR = "__"

SECRETS_DIR = "RAYSIGNAL_SECRETS_DIR"
"""The variable that names a folder of secrets, as container runtimes mount it: a file `raysignal_api_key` there holds
what `RAYSIGNAL_API_KEY` would; what the environment says goes before."""
_READ_ELSEWHERE = frozenset({"RAYSIGNAL_MODEL_LOOPBACK_ONLY", "RAYSIGNAL_MODEL_TRACING", SECRETS_DIR})
"""Variables with the same prefix that are no settings of the service: see `agents.llm.models` for the first two."""


def default_store() -> str:
    """A folder under the working directory, as an address."""
    return (Path.cwd() / "raysignal-store").as_uri()


def default_portfolios() -> dict[str, dict[str, Any]]:
    """One portfolio, the plain policy."""
    return {"baseline": {}}


def default_database() -> SecretStr:
    """`DATABASE_URL`, else a file in the working directory; it may hold a password."""
    return SecretStr(default_address())


RENAMED: Mapping[str, tuple[str, str]] = {
    "store_shared": ("journal", "shared"),
    "shards": ("journal", "shards"),
    "snapshot_rows": ("journal", "snapshot_rows"),
    "flush_s": ("journal", "flush_s"),
    "timezone": ("intake", "timezone"),
    "symbol": ("intake", "symbol"),
    "source": ("intake", "source"),
    "max_price_jump": ("intake", "max_price_jump"),
    "max_future_s": ("intake", "max_future_s"),
    "max_signal_bytes": ("intake", "max_signal_bytes"),
    "max_batch_bytes": ("intake", "max_batch_bytes"),
    "host": ("http", "host"),
    "port": ("http", "port"),
    "ingress_replicas": ("http", "replicas"),
    "connections_per_client": ("http", "connections_per_client"),
    "api_key": ("http", "api_key"),
    "webhook_secret": ("http", "webhook_secret"),
    "webhook_strict": ("http", "webhook_strict"),
    "webhook_window_s": ("http", "webhook_window_s"),
    "allowed_hosts": ("http", "allowed_hosts"),
    "enhanced": ("agent", "portfolio"),
    "agent_priority": ("agent", "priority"),
    "horizon": ("agent", "horizon"),
    "settlement_lag_s": ("agent", "settlement_lag_s"),
    "gate_against": ("agent", "gate_against"),
    "gate_grey": ("agent", "gate_grey"),
    "gate_least": ("agent", "gate_least"),
    "neighbours": ("agent", "neighbours"),
    "breaker_limit_bps": ("agent", "breaker_limit_bps"),
    "chroma": ("agent", "chroma"),
    "model": ("llm", "model"),
    "model_url": ("llm", "url"),
    "model_prices": ("llm", "prices"),
    "model_budget": ("llm", "budget"),
    "model_per_minute": ("llm", "per_minute"),
    "model_deadline_s": ("llm", "deadline_s"),
    "feeds": ("feed", "instruments"),
    "feed_bar": ("feed", "bar"),
    "feed_fast": ("feed", "fast"),
    "feed_slow": ("feed", "slow"),
    "feed_basis": ("feed", "basis"),
    "feed_hosts": ("feed", "hosts"),
    "feed_portfolio": ("feed", "portfolio"),
    "paper_cash": ("paper", "cash"),
    "paper_fee_bps": ("paper", "fee_bps"),
    "paper_order": ("paper", "order"),
    "paper_offset_bps": ("paper", "offset_bps"),
    "paper_latency_ms": ("paper", "latency_ms"),
}
"""The names of settings from before there were areas, which are read still: to the area and the name in it."""

SECRETS = frozenset({("http", "api_key"), ("http", "webhook_secret"), ("database_url",)})
"""Settings that are never shown, hashed or handed to those who do not need them."""


class RenamedVariables(PydanticBaseSettingsSource):
    """Variables under names from before there were areas; and secrets of areas, which lie in files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: values are of areas."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        given: dict[str, dict[str, Any]] = {}
        environ = {name.upper(): value for name, value in os.environ.items()}
        folder = _secrets_folder()
        for old, (area, name) in RENAMED.items():
            if variable_of((area, name)) in environ:
                continue  # which counts, whatever the former one holds
            if (value := environ.get(variable_of((old,)))) is None and folder is not None:
                files = (folder / variable_of(path).lower() for path in ((area, name), (old,)))
                value = next((_text_of(file) for file in files if file.is_file()), None)
            if value is not None:
                given.setdefault(area, {})[name] = _decoded(
                    variable_of((old,)), value, _field_at((area, name))
                )
        return given


class AliasedVariables(PydanticBaseSettingsSource):
    """Variables under names that other services have for them, see `runtime.setting_aliases`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: values are of areas."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name, path in aliases_given(os.environ, _is_set).items():
            value = alias_value(name, os.environ)
            if len(path) == 1:
                given[path[0]] = value
            else:
                given.setdefault(path[0], {})[path[1]] = value
        return given


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=SEPARATOR, extra="forbid", frozen=True, allow_inf_nan=False
    )

    store: str = Field(default_factory=default_store, description="`file:///dir` or `s3://bucket/prefix`")
    portfolios: dict[str, dict[str, Any]] = Field(
        default_factory=default_portfolios,
        description="the portfolios that exist from the start: name to policy, as JSON",
        examples=['{"baseline": {"fee_bps": 10}}'],
    )
    primary: str = Field(default="baseline", description="the portfolio that `POST /signal` goes to")
    ray_address: str | None = Field(default=None, description="the Ray cluster to join; none: a local one")
    database_url: SecretStr = Field(
        default_factory=default_database,
        description="where the live market keeps bars, signals and orders: `sqlite:///file` or "
        "`postgresql://user:password@host:port/name`; none: `DATABASE_URL`, else a file in the working directory",
    )
    journal: JournalSettings = JournalSettings()
    intake: IntakeSettings = IntakeSettings()
    http: HttpSettings = HttpSettings()
    agent: AgentSettings = AgentSettings()
    llm: LlmSettings = LlmSettings()
    inference: InferenceSettings = InferenceSettings()
    feed: FeedSettings = FeedSettings()
    paper: PaperSettings = PaperSettings()
    pipeline: PipelineSettings = PipelineSettings()
    stream: StreamSettings = StreamSettings()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(_secrets_dir=_secrets_folder(), **_in_areas(values))
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from error
        except UnreadableSetting as error:
            raise SettingsError(_no_json(error)) from error
        except InvalidField as error:
            raise SettingsError(str(error)) from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed in goes before the environment, that before names from before, files of secrets, aliases."""
        return (
            init_settings, env_settings, RenamedVariables(settings_cls), file_secret_settings,
            AliasedVariables(settings_cls),
        )  # fmt: skip

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        with of_this_setting():
            split_store(value)
        return value

    @field_validator("ray_address")
    @classmethod
    def _is_a_ray_address(cls, value: str | None) -> str | None:
        with of_this_setting():
            return value if value is None else check_ray_address(value)

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: SecretStr) -> SecretStr:
        with of_this_setting():
            kind_of(value.get_secret_value())
        return value

    @property
    def reserved_names(self) -> frozenset[str]:
        """Names of portfolios that no pipeline can have; `compare` is a path of the service."""
        return frozenset({*self.portfolios, self.agent.portfolio, self.inference.portfolio, "compare"})

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        names = ", ".join(self.portfolios)
        if self.primary not in self.portfolios:
            raise ValueError(f"primary is {self.primary!r}; expected one of portfolios: {names}")
        self.policies()
        if self.agent.portfolio in self.portfolios:
            raise ValueError(
                f"agent.portfolio is {self.agent.portfolio!r}, one of portfolios; expected another name: the agent "
                "decides for it"
            )
        if self.inference.portfolio == self.agent.portfolio:
            raise ValueError(
                f"inference.portfolio is {self.inference.portfolio!r}, the agent's; expected another name: nobody but "
                "the agent changes it"
            )
        if self.feed.portfolio and self.feed.portfolio not in self.portfolios:
            raise ValueError(
                f"feed.portfolio is {self.feed.portfolio!r}; expected one of portfolios: {names}"
            )
        return self

    def policies(self) -> dict[str, Policy]:
        """The configured portfolios with their policies."""
        try:
            return {
                check_portfolio_name(name): Policy.from_dict(values)
                for name, values in self.portfolios.items()
            }
        except InvalidField as error:
            raise SettingsError(f"{variable_of(('portfolios',))}: {error}") from error

    def without_secrets(self) -> dict[str, Any]:
        """Plain values, of which `Settings` makes these settings again, but for the secrets."""
        values = self.model_dump(mode="json")
        for *area, name in SECRETS:
            del (values[area[0]] if area else values)[name]
        return values

    def for_actors(self) -> dict[str, Any]:
        """What actors need of `without_secrets`: not where the service listens, which is no door without a secret."""
        values = self.without_secrets()
        del values["http"]
        return values

    def fingerprint(self) -> str:
        """A hash of every setting that is not a secret: equal settings, equal fingerprint."""
        return hashlib.sha256(json.dumps(self.without_secrets(), sort_keys=True).encode()).hexdigest()[:16]


def setting_fields() -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting, in order: its name, or its area and its name, and what pydantic knows of it."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (((name, inner), each) for inner, each in field.annotation.model_fields.items())
        else:
            yield (name,), field


def variable_of(path: Iterable[str]) -> str:
    """The variable of a setting."""
    return PREFIX + SEPARATOR.join(path).upper()


def renamed_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable of the environment that has another name by now."""
    names = {variable_of((old,)): variable_of(path) for old, path in RENAMED.items()}
    return [f"{name} is {names[name.upper()]} by now" for name in sorted(environ) if name.upper() in names]


def aliased_variables(environ: Mapping[str, str], given: Iterable[str] = ()) -> list[str]:
    """A sentence for each setting that is read from an alias, without its value.

    Args:
        environ: the environment.
        given: names of settings that options have set, which go before.
    """
    options = {RENAMED.get(name, (name,)) for name in given}
    read: dict[tuple[str, ...], list[str]] = {}
    for name, path in aliases_given(environ, lambda path: path in options or _is_set(path)).items():
        read.setdefault(path, []).append(name)
    return [f"{variable_of(path)} from {', '.join(names)}" for path, names in read.items()]


def _is_set(path: tuple[str, ...]) -> bool:
    """Whether a setting has a value under its own name, in the environment or in a file of secrets."""
    names = {variable_of(path)} | {variable_of((old,)) for old, new in RENAMED.items() if new == path}
    folder = _secrets_folder()
    present = {name.upper() for name in os.environ}
    if folder is not None:
        present |= {file.name.upper() for file in folder.iterdir() if file.is_file()}
    return not names.isdisjoint(present)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the environment; a `RAYSIGNAL_` variable that is none of them raises `SettingsError`."""
    known = _known_variables() | _READ_ELSEWHERE
    for name in environ if environ is not None else os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            present = sorted(variable_of(path) for path, _ in setting_fields())
            nearest = _nearest(name.upper(), present)
            raise SettingsError(
                f"{name} is no setting{nearest and f', {nearest} is'}; expected one of {', '.join(present)}"
            )
    return Settings(**overrides)


def _nearest(name: str, present: Sequence[str]) -> str:
    """The setting that a name which is none was meant for: of the same name in other areas, or much like it."""
    last = SEPARATOR + name.rpartition(SEPARATOR)[2]
    elsewhere = [each for each in present if each.endswith(last)]
    return " or ".join(elsewhere or get_close_matches(name, present, 1))


def _secrets_folder() -> Path | None:
    if not (named := os.environ.get(SECRETS_DIR)):
        return None
    if not Path(named).is_dir():
        raise SettingsError(
            f"{SECRETS_DIR} is {named!r}, which is no folder; expected one with files such as raysignal_api_key"
        )
    known = _known_variables()
    try:
        files = list(Path(named).iterdir())
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR} is {named!r}, which cannot be read: {error.strerror}") from error
    for file in files:
        if file.name.upper().startswith(PREFIX) and file.is_file():
            if file.name.upper() not in known:
                raise SettingsError(
                    f"{file} is named after no setting; expected a name such as raysignal_http__api_key"
                )
            _text_of(file)
    return Path(named)


def _known_variables() -> set[str]:
    """Those of all settings, and former names."""
    return {variable_of(path) for path, _ in setting_fields()} | {variable_of((old,)) for old in RENAMED}


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{file} cannot be read: {why}; expected the text of a setting") from error


def _in_areas(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, of which some have the names from before there were areas."""
    placed: dict[str, Any] = {name: value for name, value in values.items() if name not in RENAMED}
    for old in values.keys() & RENAMED.keys():
        area, name = RENAMED[old]
        placed[area] = {**dict(placed.get(area) or {}), name: values[old]}
    return placed


def _field_at(path: tuple[str, ...]) -> FieldInfo:
    return next(field for known, field in setting_fields() if known == path)


def _decoded(variable: str, value: str, field: FieldInfo) -> Any:
    """A value of the environment; JSON where the setting is a collection, which is one with examples."""
    if not field.examples:
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise SettingsError(
            f"{variable} is {shorten(value)}; expected JSON, such as {field.examples[0]}"
        ) from error


def _no_json(error: UnreadableSetting) -> str:
    """What to say of a variable that holds no JSON. Its exception names the field in its text alone."""
    environ = {name.upper(): value for name, value in os.environ.items()}
    for path, field in setting_fields():
        if (value := environ.get(variable_of(path))) is not None:
            try:
                _decoded(variable_of(path), value, field)
            except SettingsError as sentence:
                return str(sentence)
    return str(error)


def _sentence(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        path = tuple(str(part) for part in item["loc"])
        place, said = variable_given(path), item["msg"]
        if item["type"] == "extra_forbidden":
            said = "there is no such setting"  # its value may be a secret under a name that is misspelt
        elif item["type"] == "value_error":
            said = said.removeprefix("Value error, ")
            # What is said of several settings of an area names them.
            if any(path == known[:-1] for known, _ in setting_fields()):
                place = ""
        elif path and path[:2] not in SECRETS and path[:1] not in SECRETS:
            place, said = f"{place} is {shorten(item['input'])}", said[0].lower() + said[1:]
        parts.append(f"{place}: {said}" if place else said)
    return "; ".join(parts)


def variable_given(path: tuple[str, ...]) -> str:
    """The variable of a setting that was refused, under the name that it was given by."""
    if not path:
        return ""
    # What lies deeper, such as a portfolio, is a part of the variable's value.
    place = path[:2] if any(known[:-1] == path[:1] for known, _ in setting_fields()) else path[:1]
    given = {name.upper() for name in os.environ}
    older = (variable_of((old,)) for old, new in RENAMED.items() if new == place)
    if variable_of(place) not in given and (old := next(older, None)) in given:
        return str(old)
    if not _is_set(place):
        aliases = [name for name, of in aliases_given(os.environ, _is_set).items() if of == place]
        if aliases:
            return aliases[0] if aliases[0] not in POSTGRES else ", ".join(aliases)
    return variable_of(place)
