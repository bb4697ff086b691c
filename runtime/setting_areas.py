"""The areas of the settings: each checks what concerns itself alone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from raysignal.engine.core.errors import InvalidField, SettingsError
from raysignal.engine.core.hosts import is_loopback
from raysignal.engine.core.instants import check_interval, parse_bar, zone_named
from raysignal.engine.core.policy import check_portfolio_name
from raysignal.engine.market.venues.names import VENUE_NAMES


@contextmanager
def of_this_setting() -> Iterator[None]:
    """Within, what a rule of the project refuses is refused by pydantic, which knows the name of the setting."""
    try:
        yield
    except (InvalidField, SettingsError) as error:
        raise ValueError(str(error)) from None


class _Area(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class JournalSettings(_Area):
    """How what was taken in is kept."""

    shared: bool = Field(
        default=False, description="a `file:` store that every node of the cluster sees at the same path"
    )
    shards: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1,
        description="portfolio actors; each writes a journal of its own; fixed once a store is made",
    )
    snapshot_rows: Annotated[int, Field(ge=1)] = Field(
        default=65_536,
        description="signals between two snapshots of an actor; bounds the replay at a restart",
    )
    flush_s: Annotated[float, Field(gt=0.0)] = Field(
        default=30.0, description="how long processed signals wait before they are written as Parquet"
    )


class IntakeSettings(_Area):
    """How signals are read, and which are refused."""

    timezone: str = Field(default="UTC", description="the zone that stamps without one are read in")
    symbol: str = Field(default="BTC", description="the symbol of a signal that names none")
    source: str = Field(default="default", description="the source of a signal that names none")
    day_first: bool = Field(
        default=False,
        description="dates with slashes say the day before the month, as `--day-first` does for a file",
    )
    max_price_jump: Annotated[float, Field(gt=1.0, le=1e12)] = Field(
        default=5.0, description="a price further than this factor from the symbol's last one is refused"
    )
    max_future_s: Annotated[float, Field(ge=0.0)] = Field(
        default=86_400.0,
        description="how far ahead of the clock a stamp may lie, in seconds; until such a stamp has passed, an agent "
        "whose horizon is a time settles nothing",
    )
    max_age_s: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None,
        description="how old a signal may be that is posted, in seconds; none: any age. A hook has its own",
    )
    symbols: dict[str, str] = Field(
        default_factory=dict,
        description='other names of symbols, as JSON: `{"BINANCE:BTCUSDT.P": "BTC"}`; they are kept under the second',
        examples=['{"BINANCE:BTCUSDT.P": "BTC"}'],
    )
    max_signal_bytes: Annotated[int, Field(ge=256)] = Field(
        default=256 * 1024, description="largest body of `POST /signal`"
    )
    max_batch_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=256 * 1024 * 1024, description="largest body of `POST /signals`"
    )

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        with of_this_setting():
            zone_named(value)
        return value

    @field_validator("symbol", "source")
    @classmethod
    def _is_one_that_signals_have(cls, value: str, info: ValidationInfo) -> str:
        from raysignal.engine.intake.fields import name_of  # noqa: PLC0415 - compiled code, for those who set it

        assert info.field_name is not None
        with of_this_setting():
            return name_of(info.field_name, info.field_name, value, None)

    @field_validator("symbols")
    @classmethod
    def _are_names_of_symbols(cls, value: dict[str, str]) -> dict[str, str]:
        from raysignal.engine.intake.fields import name_of  # noqa: PLC0415 - as above

        with of_this_setting():
            return {
                name_of("symbol", "symbols", one, None): name_of("symbol", "symbols", other, None)
                for one, other in value.items()
            }


class HttpSettings(_Area):
    """Where the service listens, and who may ask."""

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=8000, description="the port to listen on")
    replicas: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="HTTP replicas; two survive the loss of one without an outage"
    )
    connections_per_client: Annotated[int, Field(ge=1, le=7168)] = Field(
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

    @field_validator("api_key", "webhook_secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError(
                "expected a secret, which is not empty; leave the variable away where there is none"
            )
        return value

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
    def _is_closed_to_others(self) -> Self:
        if not is_loopback(self.host) and self.api_key is None and self.webhook_secret is None:
            raise ValueError(
                f"http.host is {self.host!r}, which others can reach; expected http.api_key or http.webhook_secret to "
                "be set, or a loopback address"
            )
        return self


class AgentSettings(_Area):
    """The agent that overrules single signals."""

    portfolio: str = Field(
        default="enhanced",
        description="the portfolio that follows the primary one and that the agent decides for; empty: no agent",
    )
    priority: Literal["idle", "normal"] = Field(
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
    policy: Literal["grey", "review"] = Field(
        default="grey",
        description="what a model is asked about: `grey`, what the gate leaves grey; `review`, every signal that the "
        "gate did not decide, as soon as there are a few precedents",
    )
    review_least: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=5, description="settled precedents from which the reviewer is asked"
    )
    review_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0,
        description="share of the signals it could be asked about that the reviewer is asked about",
    )
    review_pick: Literal["uncertain", "spaced"] = Field(
        default="uncertain", description="which these are: the most uncertain ones, or evenly spaced ones"
    )
    review_allow: Literal["hold", "flip"] = Field(
        default="flip", description="whether the reviewer may only hold a signal, or flip it, too"
    )
    overruled_share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.25,
        description="share of the BUYs and SELLs so far up to which the reviewer may overrule; while it is used up "
        "signals stand, and it is not asked (`overruled_enough`)",
    )
    texts: bool = Field(
        default=True,
        description="compare free texts, such as news and summaries, by what texts like them told so far",
    )
    embeddings: str | None = Field(
        default=None,
        description="the model of the Gemini API that embeds free texts, such as gemini-embedding-001; its calls count "
        "as those of the model do; none: texts are hashed on this machine",
    )
    breaker_limit_bps: Annotated[float, Field(le=0.0)] = Field(
        default=-15.0,
        description="the agent is turned off when overruling gained less than this a signal, for certain, in bp",
    )
    chroma: str | None = Field(
        default=None,
        description="where Chroma keeps the vectors of past signals: a directory, or `http://host:port`; none: a "
        "folder beside the store",
    )

    @field_validator("portfolio")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        with of_this_setting():
            return check_portfolio_name(value) if value else value

    @field_validator("chroma")
    @classmethod
    def _is_a_directory_or_a_server(cls, value: str | None) -> str | None:
        scheme, found, rest = (value or "").partition("://")
        if not found:
            return value
        if scheme.lower() not in {"http", "https"}:
            raise ValueError(f"is {value!r}; expected a directory, or http://host:port or https://host:port")
        return f"{scheme.lower()}://{rest}"

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.gate_grey > self.gate_against:
            raise ValueError(
                f"agent.gate_grey is {self.gate_grey}; expected at most agent.gate_against, {self.gate_against}"
            )
        if self.embeddings and not self.texts:
            raise ValueError(
                f"agent.embeddings is {self.embeddings!r}; expected agent.texts to be on beside it"
            )
        return self


class LlmSettings(_Area):
    """The language model that is asked in unclear cases."""

    model: str = Field(
        default="gemini-3.5-flash",
        description="the model that is asked in unclear cases: a name of Gemini's, or one behind `openai:`, "
        "`anthropic:` or `ollama:`",
    )
    url: str | None = Field(
        default=None,
        description="another host that speaks the API of the model's provider; none: the provider",
    )
    prices: str | None = Field(
        default=None,
        description="a TOML file of list prices; none: the one of `agents/llm/model_prices.toml`",
    )
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=2048, description="tokens of an answer at most, thinking included"
    )
    thinking_level: Literal["minimal", "low", "medium", "high"] = Field(
        default="low",
        description="how much the model thinks before it answers; sent to models that take it",
    )
    budget: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="calls a UTC day, at most, those that embed texts among them"
    )
    per_minute: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="calls a minute, at most; none: as fast as they come"
    )
    deadline_s: Annotated[float, Field(gt=0.0, le=600.0)] = Field(
        default=8.0, description="seconds that a model has for a decision; then the signal stands"
    )


class PipelineSettings(_Area):
    """The decision paths that run in the service."""

    files: tuple[str, ...] = Field(
        default=(),
        description='pipelines that run live, an actor each, as JSON: `["pipeline.yaml"]`; see docs/pipeline.md',
        examples=['["pipeline.yaml"]'],
    )
    folder: str = Field(
        default="raysignal-pipelines",
        description="where their sessions lie, a folder each; of several nodes one that all find",
    )
    raw: bool = Field(
        default=False,
        description="keep every message of the market in new sessions, too, so that a replay begins with them",
    )


class InferenceSettings(_Area):
    """The model that signals are generated by, see docs/model-signals.md."""

    model: str | None = Field(
        default=None,
        description="a folder or `s3://bucket/prefix` with `model.onnx` and `card.json`; none: placeholder signals, "
        "marked as such",
    )
    portfolio: str = Field(
        default="model", description="the portfolio that generated signals go to; made at the first of them"
    )
    confidence: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.65, description="probability of the likeliest action below which a generated signal is HOLD"
    )
    position_size: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.02, description="share of equity of a generated BUY or SELL"
    )
    stop_atr: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=2.0, description="distance of a generated stop loss, in average true ranges (14 bars)"
    )
    target_atr: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=3.0, description="distance of a generated take profit, in average true ranges (14 bars)"
    )

    @field_validator("portfolio")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        with of_this_setting():
            return check_portfolio_name(value)

    @field_validator("model")
    @classmethod
    def _from_here(cls, value: str | None) -> str | None:
        """Processes with other working directories find the same folder."""
        if value is not None and not value.strip():
            raise ValueError("expected a folder or s3://bucket/prefix, or no such variable")
        return value if value is None or "://" in value else str(Path(value).absolute())


class StreamSettings(_Area):
    """The broadcast at `/ws/signals` and `/v1/stream`, see docs/stream.md."""

    start: Literal["first_use", "always", "off"] = Field(
        default="first_use",
        description="when its replicas start: `first_use` at the first client, `always` with the service, or `off`",
    )
    replicas: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="replicas of each of the two, of up to 8 192 clients each"
    )
    heartbeat_s: Annotated[float, Field(gt=0.0, le=20.0)] = Field(
        default=10.0, description="seconds between two heartbeats"
    )
    slow_s: Annotated[float, Field(gt=0.0, le=600.0)] = Field(
        default=10.0,
        description="seconds for which a client may read nothing; then it is closed with code 4408",
    )
    slow_bytes: Annotated[int, Field(ge=4096)] = Field(
        default=4 * 1024 * 1024,
        description="how far a client may fall behind what it was sent live; then it is closed with code 4408",
    )
    recent_bytes: Annotated[int, Field(ge=65_536)] = Field(
        default=32 * 1024 * 1024,
        description="the last messages that a replica keeps in memory; earlier ones are read from the store",
    )


class FeedSettings(_Area):
    """What is followed live."""

    instruments: tuple[str, ...] = Field(
        default=(),
        description='instruments that are followed live, as JSON: `["binance-usdm:BTCUSDT"]`; the symbols '
        "of a venue share an actor",
        examples=['["binance-usdm:BTCUSDT"]'],
    )
    bar: str = Field(default="1d", description="the length of the bars, 1s to 1d")
    fast: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=50, description="bars of the crossover's fast moving average"
    )
    slow: Annotated[int, Field(ge=2, le=100_000)] = Field(
        default=200, description="bars of its slow one; more than `fast`"
    )
    basis: Literal["trades", "mids"] = Field(
        default="trades", description="what bars are made of: `trades`, or `mids` of best bid and ask"
    )
    hosts: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="other addresses of venues, as JSON: venue to `stream` (`ws://host:port`) and `rest` "
        "(`http://host:port`)",
        examples=['{"bybit": {"stream": "ws://127.0.0.1:9000", "rest": "http://127.0.0.1:9000"}}'],
    )
    portfolio: str | None = Field(
        default=None, description="the portfolio that crossings are posted to; none: the primary one"
    )
    post_bars: bool = Field(
        default=True,
        description="post each bar as a price with its high and low, too, so that stops and targets of positions in "
        "venue:symbol, and of generated signals, are met within bars: a row of the journal and the history a bar",
    )

    @field_validator("bar")
    @classmethod
    def _is_a_bar(cls, value: str) -> str:
        with of_this_setting():
            check_interval(parse_bar(value))
        return value

    @model_validator(mode="after")
    def _can_be_followed(self) -> Self:
        """Which symbols a venue has is the venue's business."""
        for name in self.instruments:
            venue, found, symbol = name.partition(":")
            if not (venue and found and symbol):
                raise ValueError(
                    f"feed.instruments has {name!r}; expected venue:symbol, such as binance-usdm:BTCUSDT"
                )
            _check_venue("feed.instruments", name, venue)
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError(f"feed.instruments is {list(self.instruments)}; expected each once")
        if self.fast >= self.slow:
            raise ValueError(f"feed.fast is {self.fast}; expected less than feed.slow, {self.slow}")
        for venue, hosts in self.hosts.items():
            _check_venue("feed.hosts", venue, venue)
            if set(hosts) != {"stream", "rest"}:
                raise ValueError(f"feed.hosts of {venue!r} has {sorted(hosts)}; expected stream and rest")
        return self


class PaperSettings(_Area):
    """The paper accounts that follow a feed."""

    cash: Annotated[float, Field(ge=0.0, le=1e15)] = Field(
        default=10_000.0,
        description="what a paper account begins with, one a venue and symbol; 0: nothing is traded",
    )
    fee_bps: Annotated[float, Field(ge=0.0, le=1000.0)] = Field(
        default=10.0, description="fee of the paper exchange on every fill, basis points"
    )
    order: Literal["market", "limit"] = Field(
        "market",
        description="what a paper order is: `market`, or a `limit` order that rests for an hour at most",
    )
    offset_bps: Annotated[float, Field(gt=-10_000.0, lt=10_000.0)] = Field(
        0.0,
        description="how much worse than the signal's price the limit of a paper order is; below 0: better",
    )
    latency_ms: Annotated[float, Field(ge=0.0, le=60_000.0)] = Field(
        default=50.0, description="how long an order takes to the paper exchange's book, in milliseconds"
    )


def _check_venue(setting: str, given: str, venue: str) -> None:
    if venue not in VENUE_NAMES:
        raise ValueError(
            f"{setting} has {given!r}, and {venue!r} is no venue; expected one of {', '.join(VENUE_NAMES)}"
        )
