"""`pipeline.yaml`: instruments, strategies, weights, risk, portfolio and venue of a decision path, checked whole."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raysignal.engine.core.errors import InvalidField, NotFound, SettingsError
from raysignal.engine.core.instants import check_interval, parse_bar
from raysignal.engine.core.policy import Policy, check_portfolio_name
from raysignal.engine.pipeline.aggregation import AggregationSettings
from raysignal.engine.risk.limits import RiskLimits
from raysignal.engine.strategies.features import FEATURES, parse_features
from raysignal.engine.strategies.registry import NAMES, make
from raysignal.engine.strategies.strategy import Strategy
from raysignal.runtime.setting_areas import of_this_setting

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InstrumentConfig(_Part):
    """What is traded."""

    symbol: Name = Field(description="the portfolio's name of it, such as BTC")
    market: str | None = Field(
        default=None,
        description="where its prices come from live, venue:symbol, such as binance-usdm:BTCUSDT; a backtest takes "
        "it or the symbol of its file",
    )


POSTED = "posted"
RESERVED = frozenset({"stop", "overruled", "flatten"})
"""Names that attribution has for what no strategy earned; see docs/weighing.md."""


class PostedSource(_Part):
    """Signals that are taken in by a portfolio of the service."""

    source: str = Field(description="who sends them")
    portfolio: str | None = Field(
        default=None, description="which portfolio they are posted to; the primary one"
    )


class StrategyConfig(_Part):
    """A rule that says which side it wants, or signals that are posted."""

    name: Name = Field(description="unique; whose votes and profits these are")
    kind: str = Field(
        description=f"one of {', '.join(NAMES)}; module:Class, a class of yours, which runs in this process; or "
        f"{POSTED}: signals that the service takes in"
    )
    bar: str = Field(
        description="length of the candles that it sees, such as 1m; posted: that positions are marked at"
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="of the kind, its defaults where none; posted: source and portfolio"
    )
    symbols: tuple[str, ...] = Field(default=(), description="on which symbols; none: all")

    @field_validator("bar")
    @classmethod
    def _a_length(cls, bar: str) -> str:
        with of_this_setting():
            check_interval(parse_bar(bar))
        return bar

    @model_validator(mode="after")
    def _a_strategy(self) -> Self:
        if self.posted is None:
            with of_this_setting():
                self.strategy()
        return self

    @property
    def posted(self) -> PostedSource | None:
        """Whose signals these are; None: a rule's own."""
        return PostedSource(**self.parameters) if self.kind == POSTED else None

    @property
    def interval_us(self) -> int:
        """Length of its candles."""
        return parse_bar(self.bar)

    def strategy(self) -> Strategy:
        """The rule itself, unless it is posted; `InvalidField` for a kind, parameter or value that cannot be."""
        return make(self.kind, self.parameters)


class VenueConfig(_Part):
    """Who fills orders."""

    kind: Literal["none", "paper"] = Field(
        default="none",
        description="none: the portfolio itself, at the candle's price; paper: the paper exchange",
    )
    fee_bps: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=10.0, description="of a fill's value, paper"
    )
    latency_ms: Annotated[float, Field(ge=0, le=60_000)] = Field(
        default=0.0, description="from an order to the book, paper"
    )
    spread_bps: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=2.0, description="between bid and ask where only candles are known, paper"
    )
    margin_bps: Annotated[float, Field(ge=0, le=5000)] = Field(
        default=50.0, description="kept free beside a position for fees and prices that move, paper"
    )
    limit_offset_bps: float | None = Field(
        default=None,
        gt=-5000,
        lt=5000,
        description="orders are limit orders so much worse than the decision's price; nothing: market orders",
    )


class PipelineConfig(_Part):
    """A decision path; see docs/pipeline.md."""

    name: str = Field(description="of the portfolio")
    instruments: tuple[InstrumentConfig, ...] = Field(min_length=1, description="what is traded")
    strategies: tuple[StrategyConfig, ...] = Field(min_length=1, description="who says something of them")
    features: tuple[str, ...] = Field(
        default=(),
        description=f"what each signal says of its candles beside its side, such as rsi(14): {', '.join(FEATURES)}",
    )
    aggregation: dict[str, Any] = Field(
        default_factory=dict, description="how strategies are weighed: method equal or hit_rate, threshold, …"
    )
    decide: Literal["none"] = Field(default="none", description="who may overrule a signal; none: nobody")
    risk: dict[str, Any] = Field(default_factory=dict, description="limits; nothing: none")
    portfolio: dict[str, Any] = Field(
        default_factory=dict, description="its policy: initial_cash, fee_bps, side, …"
    )
    venue: VenueConfig = Field(default_factory=VenueConfig, description="who fills orders")

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        with of_this_setting():
            return check_portfolio_name(name)

    @field_validator("features")
    @classmethod
    def _features(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        with of_this_setting():
            parse_features(features)
        return features

    @field_validator("aggregation", "risk", "portfolio")
    @classmethod
    def _members(cls, values: dict[str, Any], info: Any) -> dict[str, Any]:
        with of_this_setting():
            built(_KINDS[info.field_name], values)
        return values

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        symbols = [each.symbol for each in self.instruments]
        for what, names in (("symbol", symbols), ("name", [each.name for each in self.strategies])):
            for place, name in enumerate(names):
                if name in names[:place]:
                    raise ValueError(f"{what} is {name!r} twice; expected each once")
        for strategy in self.strategies:
            if strategy.name in RESERVED:
                raise ValueError(
                    f"name is {strategy.name!r}; expected another: what no strategy earned is told under it"
                )
            for symbol in strategy.symbols:
                if symbol not in symbols:
                    raise ValueError(
                        f"strategy {strategy.name} names symbol {symbol!r}; expected one of {', '.join(symbols)}"
                    )
        return self

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is traded."""
        return tuple(each.symbol for each in self.instruments)

    def symbols_of(self, strategy: StrategyConfig) -> tuple[str, ...]:
        """On which symbols a strategy speaks."""
        return strategy.symbols or self.symbols

    def intervals_us(self, symbol: str) -> tuple[int, ...]:
        """Lengths of the candles that strategies see of a symbol, the shortest first; a day where none sees it."""
        found = {each.interval_us for each in self.strategies if symbol in self.symbols_of(each)}
        return tuple(sorted(found))

    @property
    def policy(self) -> Policy:
        """Of the portfolio."""
        return Policy.from_dict(self.portfolio)

    @property
    def weighing(self) -> AggregationSettings:
        """Of the aggregation."""
        made: AggregationSettings = built(AggregationSettings, self.aggregation)
        return made

    @property
    def limits(self) -> RiskLimits:
        """Of risk."""
        made: RiskLimits = built(RiskLimits, self.risk)
        return made


_KINDS: Mapping[str, Any] = {"aggregation": AggregationSettings, "risk": RiskLimits, "portfolio": Policy}


def built(kind: Any, values: Mapping[str, Any]) -> Any:
    """A frozen dataclass of plain values; `InvalidField` for a name that it has not, or a value that cannot be."""
    own = getattr(kind, "of", None)
    if own is not None:
        return own(values)
    known = [field.name for field in fields(kind)]
    for name, value in values.items():
        if name not in known:
            raise InvalidField(name, value, f"one of {', '.join(known)}")
    return kind(**values)


def read_config(path: Path) -> PipelineConfig:
    """The configuration that a file says.

    Raises:
        NotFound: there is no such file.
        SettingsError: every field that cannot be, with its place, its value and what was expected.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there; expected a pipeline.yaml, see docs/pipeline.md")
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    if not isinstance(said, dict):
        raise SettingsError(f"{path} holds {type(said).__name__}; expected name, instruments, strategies, …")
    try:
        return PipelineConfig(**said)
    except ValidationError as error:
        raise SettingsError(f"{path}: " + "; ".join(_sentence(each) for each in error.errors())) from error


def _sentence(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "the whole"
    said = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    value = "" if isinstance(given, dict | list | BaseModel) else f" is {given!r}"
    return f"{place}{value}: {said}"
