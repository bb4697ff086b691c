"""Settings: environment variables `RAYSIGNAL_*`, checked together, unknown ones refused.

`Settings()` reads the environment once; what needs a setting is handed the object.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from raysignal.engine.core.errors import InvalidField, SettingsError, shorten
from raysignal.engine.core.hosts import is_loopback
from raysignal.engine.core.instants import check_interval, parse_bar, zone_named
from raysignal.engine.core.policy import Policy, check_portfolio_name
from raysignal.engine.database.addresses import default_address, kind_of
from raysignal.engine.journal.addresses import split_store
from raysignal.engine.market.venues.names import VENUE_NAMES
from raysignal.runtime.ray_address import check_ray_address

PREFIX = "RAYSIGNAL_"

SECRETS_DIR = "RAYSIGNAL_SECRETS_DIR"
"""The variable that names a folder of secrets, as container runtimes mount it: a file `raysignal_api_key` there holds
what `RAYSIGNAL_API_KEY` would; what the environment says goes before."""
_READ_ELSEWHERE = frozenset({"RAYSIGNAL_MODEL_LOOPBACK_ONLY", "RAYSIGNAL_MODEL_TRACING", SECRETS_DIR})
"""Variables with the same prefix that are no settings of the service: see `agents.llm.gemini` for the first two."""


def default_store() -> str:
    """A folder under the working directory, as an address."""
    return (Path.cwd() / "raysignal-store").as_uri()


def default_portfolios() -> dict[str, dict[str, Any]]:
    """One portfolio, the plain policy."""
    return {"baseline": {}}


def default_database() -> SecretStr:
    """`DATABASE_URL`, else a file in the working directory; it may hold a password."""
    return SecretStr(default_address())


SECRETS = frozenset({"api_key", "webhook_secret", "database_url"})
"""Settings that are never shown, hashed or handed to those who do not need them."""


class Settings(BaseSettings):
    """Everything that can be configured; each field is the variable `RAYSIGNAL_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, allow_inf_nan=False)

    store: str = Field(default_factory=default_store, description="`file:///dir` or `s3://bucket/prefix`")
    store_shared: bool = Field(
        default=False, description="a `file:` store that every node of the cluster sees at the same path"
    )
    shards: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1,
        description="portfolio actors; each writes a journal of its own; fixed once a store is made",
    )
    portfolios: dict[str, dict[str, Any]] = Field(
        default_factory=default_portfolios,
        description="the portfolios that exist from the start: name to policy, as JSON",
        examples=['{"baseline": {"fee_bps": 10}}'],
    )
    primary: str = Field(default="baseline", description="the portfolio that `POST /signal` goes to")
    timezone: str = Field(default="UTC", description="the zone that stamps without one are read in")
    symbol: str = Field(default="BTC", description="the symbol of a signal that names none")
    source: str = Field(default="default", description="the source of a signal that names none")
    max_price_jump: Annotated[float, Field(gt=1.0, le=1e12)] = Field(
        default=5.0, description="a price further than this factor from the symbol's last one is refused"
    )
    max_future_s: Annotated[float, Field(ge=0.0)] = Field(
        default=86_400.0, description="how far ahead of the clock a stamp may lie, in seconds"
    )
    max_signal_bytes: Annotated[int, Field(ge=256)] = Field(
        default=256 * 1024, description="largest body of `POST /signal`"
    )
    max_batch_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=256 * 1024 * 1024, description="largest body of `POST /signals`"
    )
    snapshot_rows: Annotated[int, Field(ge=1)] = Field(
        default=65_536,
        description="signals between two snapshots of an actor; bounds the replay at a restart",
    )
    flush_s: Annotated[float, Field(gt=0.0)] = Field(
        default=30.0, description="how long processed signals wait before they are written as Parquet"
    )
    ingress_replicas: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="HTTP replicas; two survive the loss of one without an outage"
    )
    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=8000, description="the port to listen on")
    connections_per_client: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=512,
        description="connections that one client address may have at once; a proxy before the service is one address",
    )
    api_key: SecretStr | None = Field(
        default=None, description="bearer token that every request must carry; needed off loopback"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="secret of the HMAC-SHA256 signature that a webhook may carry instead"
    )
    webhook_strict: bool = Field(
        default=False,
        description="take `X-Signature-V2` alone, which signs more than the body; unset, `X-Signature` is taken, too",
    )
    webhook_window_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = Field(
        default=300.0,
        description="how far the time of an `X-Signature-V2` may be from this machine's, in seconds",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names, beside those of loopback, under which a service without a key is reached and whose pages "
        'may post to it, as JSON: `["trading.local"]`',
        examples=['["trading.local"]'],
    )
    ray_address: str | None = Field(default=None, description="the Ray cluster to join; none: a local one")

    enhanced: str = Field(
        default="enhanced",
        description="the portfolio that follows the primary one and that the agent decides for; empty: no agent",
    )
    agent_priority: Literal["idle", "normal"] = Field(
        default="idle",
        description="`idle`: the agent decides in what time the processor has left, and stands still where it has "
        "none; `normal`: it takes its share beside those who post",
    )
    horizon: str = Field(
        default="6b",
        description="how long a signal is followed until it is judged: rows of its symbol (`6b`), a time (`90m`), "
        "or `close`",
    )
    settlement_lag_s: Annotated[float, Field(ge=0.0, le=1e8)] = Field(
        default=0.0, description="how much later than its horizon's end an outcome becomes known, in seconds"
    )
    gate_against: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(
        default=0.9, description="probability of being worse than drift from which a signal is overruled"
    )
    gate_grey: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(
        default=0.75, description="the same probability from which a model is asked; at most `gate_against`"
    )
    gate_least: Annotated[float, Field(gt=0.0)] = Field(
        default=25.0, description="independent precedents below which every signal stands"
    )
    neighbours: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=400, description="past signals that are compared with a new one, at most"
    )
    breaker_limit_bps: Annotated[float, Field(le=0.0)] = Field(
        default=-15.0,
        description="the agent is turned off when overruling gained less than this a signal, for certain, in bp",
    )
    model: str = Field(default="gemini-3.5-flash", description="the model that is asked in unclear cases")
    model_url: str | None = Field(
        default=None, description="another host that speaks the Gemini API; none: Google"
    )
    model_prices: str | None = Field(
        default=None,
        description="a TOML file of list prices; none: the one of `agents/llm/gemini_prices.toml`",
    )
    model_budget: Annotated[int, Field(ge=0)] = Field(default=1000, description="calls a UTC day, at most")
    model_per_minute: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="calls a minute, at most; none: as fast as they come"
    )
    model_deadline_s: Annotated[float, Field(gt=0.0, le=600.0)] = Field(
        default=8.0, description="seconds that a model has for a decision; then the signal stands"
    )
    chroma: str | None = Field(
        default=None,
        description="where Chroma keeps the vectors of past signals: a directory, or `http://host:port`; none: a "
        "folder beside the store",
    )

    database_url: SecretStr = Field(
        default_factory=default_database,
        description="where the live market keeps bars, signals and orders: `sqlite:///file` or "
        "`postgresql://user:password@host:port/name`; none: `DATABASE_URL`, else a file in the working directory",
    )

    feeds: tuple[str, ...] = Field(
        default=(),
        description='instruments that are followed live, as JSON: `["binance-usdm:BTCUSDT"]`; the symbols '
        "of a venue share an actor",
        examples=['["binance-usdm:BTCUSDT"]'],
    )
    feed_bar: str = Field(default="1d", description="the length of the bars, 1s to 1d")
    feed_fast: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=50, description="bars of the crossover's fast moving average"
    )
    feed_slow: Annotated[int, Field(ge=2, le=100_000)] = Field(
        default=200, description="bars of its slow one; more than `feed_fast`"
    )
    feed_basis: Literal["trades", "mids"] = Field(
        default="trades", description="what bars are made of: `trades`, or `mids` of best bid and ask"
    )
    feed_hosts: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="other addresses of venues, as JSON: venue to `stream` (`ws://host:port`) and `rest` "
        "(`http://host:port`)",
        examples=['{"bybit": {"stream": "ws://127.0.0.1:9000", "rest": "http://127.0.0.1:9000"}}'],
    )
    feed_portfolio: str | None = Field(
        default=None, description="the portfolio that crossings are posted to; none: the primary one"
    )
    paper_cash: Annotated[float, Field(ge=0.0, le=1e15)] = Field(
        default=10_000.0,
        description="what a paper account begins with, one a venue and symbol; 0: nothing is traded",
    )
    paper_fee_bps: Annotated[float, Field(ge=0.0, le=1000.0)] = Field(
        default=10.0, description="fee of the paper exchange on every fill, basis points"
    )
    paper_order: Literal["market", "limit"] = Field(
        "market",
        description="what a paper order is: `market`, or a `limit` order that rests for an hour at most",
    )
    paper_offset_bps: Annotated[float, Field(gt=-10_000.0, lt=10_000.0)] = Field(
        0.0,
        description="how much worse than the signal's price the limit of a paper order is; below 0: better",
    )
    paper_latency_ms: Annotated[float, Field(ge=0.0, le=60_000.0)] = Field(
        default=50.0, description="how long an order takes to the paper exchange's book, in milliseconds"
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(_secrets_dir=_secrets_folder(), **values)
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from error
        except UnreadableSetting as error:
            raise SettingsError(_no_json(error)) from error
        except InvalidField as error:
            raise SettingsError(str(error)) from error

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        try:
            split_store(value)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("ray_address")
    @classmethod
    def _is_a_ray_address(cls, value: str | None) -> str | None:
        try:
            return value if value is None else check_ray_address(value)
        except SettingsError as error:
            raise ValueError(str(error)) from None

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        zone_named(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: SecretStr) -> SecretStr:
        try:
            kind_of(value.get_secret_value())
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("api_key", "webhook_secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError(
                "expected a secret, which is not empty; leave the variable away where there is none"
            )
        return value

    @field_validator("symbol", "source")
    @classmethod
    def _is_one_that_signals_have(cls, value: str, info: ValidationInfo) -> str:
        from raysignal.engine.intake.fields import name_of  # noqa: PLC0415 - compiled code, for those who set it

        assert info.field_name is not None
        try:
            return name_of(info.field_name, PREFIX + info.field_name.upper(), value, None)
        except InvalidField as error:
            raise ValueError(str(error)) from None

    @field_validator("allowed_hosts")
    @classmethod
    def _are_host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*", name):
                raise ValueError(
                    f"has {name!r}; expected names of hosts in lower case, without scheme and port"
                )
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.primary not in self.portfolios:
            raise ValueError(
                f"primary is {self.primary!r}; expected one of portfolios: {', '.join(self.portfolios)}"
            )
        self.policies()
        if self.enhanced:
            check_portfolio_name(self.enhanced)
        if self.enhanced in self.portfolios:
            raise ValueError(
                f"enhanced is {self.enhanced!r}, one of portfolios; expected another name: the agent decides for it"
            )
        if self.gate_grey > self.gate_against:
            raise ValueError(
                f"gate_grey is {self.gate_grey}; expected at most gate_against, {self.gate_against}"
            )
        self._check_feeds()
        if not is_loopback(self.host) and self.api_key is None and self.webhook_secret is None:
            raise ValueError(
                f"host is {self.host!r}, which others can reach; expected {PREFIX}API_KEY or "
                f"{PREFIX}WEBHOOK_SECRET to be set, or a loopback address"
            )
        return self

    def _check_feeds(self) -> None:
        """Raise `ValueError` for feeds that cannot be; which symbols a venue has is the venue's business."""
        for name in self.feeds:
            venue, found, symbol = name.partition(":")
            if not (venue and found and symbol):
                raise ValueError(f"feeds has {name!r}; expected venue:symbol, such as binance-usdm:BTCUSDT")
            _check_venue("feeds", name, venue)
        if len(set(self.feeds)) != len(self.feeds):
            raise ValueError(f"feeds is {list(self.feeds)}; expected each instrument once")
        check_interval(parse_bar(self.feed_bar))
        if self.feed_fast >= self.feed_slow:
            raise ValueError(f"feed_fast is {self.feed_fast}; expected less than feed_slow, {self.feed_slow}")
        for venue, hosts in self.feed_hosts.items():
            _check_venue("feed_hosts", venue, venue)
            if set(hosts) != {"stream", "rest"}:
                raise ValueError(f"feed_hosts of {venue!r} has {sorted(hosts)}; expected stream and rest")
        if self.feed_portfolio and self.feed_portfolio not in self.portfolios:
            raise ValueError(
                f"feed_portfolio is {self.feed_portfolio!r}; expected one of portfolios: {', '.join(self.portfolios)}"
            )

    def policies(self) -> dict[str, Policy]:
        """The configured portfolios with their policies."""
        return {
            check_portfolio_name(name): Policy.from_dict(values) for name, values in self.portfolios.items()
        }

    def fingerprint(self) -> str:
        """A hash of every setting that is not a secret: equal settings, equal fingerprint."""
        values = self.model_dump(mode="json", exclude=set(SECRETS))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the environment; a `RAYSIGNAL_` variable that is none of them raises `SettingsError`."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in environ if environ is not None else os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known | _READ_ELSEWHERE:
            raise SettingsError(f"{name} is no setting; expected one of {', '.join(sorted(known))}")
    return Settings(**overrides)


def _secrets_folder() -> Path | None:
    if not (named := os.environ.get(SECRETS_DIR)):
        return None
    if not Path(named).is_dir():
        raise SettingsError(
            f"{SECRETS_DIR} is {named!r}, which is no folder; expected one with files such as raysignal_api_key"
        )
    return Path(named)


def _check_venue(setting: str, given: str, venue: str) -> None:
    if venue not in VENUE_NAMES:
        raise ValueError(
            f"{setting} has {given!r}, and {venue!r} is no venue; expected one of {', '.join(VENUE_NAMES)}"
        )


def _no_json(error: UnreadableSetting) -> str:
    """What to say of a variable that holds no JSON. Its exception names the field in its text alone."""
    for name, field in Settings.model_fields.items():
        if field.examples and f'"{name}"' in str(error):
            given = {key.upper(): value for key, value in os.environ.items()}.get(PREFIX + name.upper(), "")
            return f"{PREFIX}{name.upper()} is {shorten(given)}; expected JSON, such as {field.examples[0]}"
    return str(error)


def _sentence(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        place = f"{PREFIX}{name.upper()}" if name else ""
        said = item["msg"]
        if item["type"] == "value_error":
            said = said.removeprefix("Value error, ")
        elif item["loc"] and str(item["loc"][0]) not in SECRETS:
            place, said = f"{place} is {shorten(item['input'])}", said[0].lower() + said[1:]
        parts.append(f"{place}: {said}" if place else said)
    return "; ".join(parts)
