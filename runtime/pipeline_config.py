"""The schema of `pipeline.yaml`: instruments, strategies, weights, who decides, risk, portfolio, venue."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raysignal.agents.override.outcomes import Horizon
from raysignal.engine.core.errors import InvalidField, shorten
from raysignal.engine.core.instants import check_interval, parse_bar
from raysignal.engine.core.policy import Policy, check_portfolio_name
from raysignal.engine.market.venues.names import VENUE_NAMES, is_spot
from raysignal.engine.pipeline.aggregation import AggregationSettings
from raysignal.engine.risk.limits import RiskLimits
from raysignal.engine.strategies.features import FEATURES, parse_features
from raysignal.engine.strategies.registry import NAMES, make
from raysignal.engine.strategies.strategy import Strategy
from raysignal.runtime.setting_areas import of_this_setting

if TYPE_CHECKING:
    from raysignal.agents.inference.strategy import ModelStrategy

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

    @field_validator("market")
    @classmethod
    def _a_market(cls, market: str | None) -> str | None:
        venue, _, symbol = (market or "").partition(":")
        if market is not None and (venue not in VENUE_NAMES or not symbol):
            raise ValueError(f"expected venue:symbol, the venue one of {', '.join(VENUE_NAMES)}")
        return market

    @property
    def place(self) -> tuple[str, str]:
        """Venue and symbol of the market; empty where there is none."""
        venue, _, symbol = (self.market or "").partition(":")
        return venue, symbol


POSTED, MODEL = "posted", "model"
RESERVED = frozenset({"stop", "overruled", "flatten"})
"""Names that attribution has for what no strategy earned; see docs/weighing.md."""


class PostedSource(_Part):
    """Signals that are taken in by a portfolio of the service."""

    source: str = Field(min_length=1, description="who sends them")
    portfolio: str | None = Field(
        default=None, description="which portfolio they are posted to; the primary one"
    )

    @field_validator("portfolio")
    @classmethod
    def _a_name(cls, portfolio: str | None) -> str | None:
        with of_this_setting():
            return None if portfolio is None else check_portfolio_name(portfolio)


class StrategyConfig(_Part):
    """A rule that says which side it wants, or signals that are posted."""

    name: Name = Field(description="unique; whose votes and profits these are")
    kind: str = Field(
        description=f"one of {', '.join(NAMES)}; module:Class, a class of yours, which runs in this process; "
        f"{MODEL}: an ONNX policy; or {POSTED}: signals that the service takes in"
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
        try:
            if self.posted is None:
                with of_this_setting():
                    self.strategy()
        except ValidationError as error:  # of what is posted
            raise ValueError(sentences(error, PostedSource)) from None
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
        return self.model() if self.kind == MODEL else make(self.kind, self.parameters)

    def model(self) -> "ModelStrategy":
        """The model of a strategy of that kind; raises as `strategy`."""
        from raysignal.agents.inference.strategy import ModelStrategy  # noqa: PLC0415 - brings the stores' clients

        return ModelStrategy.of(self.parameters, self.bar, self.interval_us)


class VenueConfig(_Part):
    """Who fills orders."""

    kind: Literal["none", "paper"] = Field(
        default="none",
        description="none: the portfolio itself, at the candle's price; paper: the paper exchange",
    )
    fee_bps: Annotated[float, Field(strict=True, ge=0, le=1000)] = Field(
        default=10.0, description="of a fill's value, paper"
    )
    latency_ms: Annotated[float, Field(strict=True, ge=0, le=60_000)] = Field(
        default=0.0, description="from an order to the book, paper"
    )
    spread_bps: Annotated[float, Field(strict=True, ge=0, le=1000)] = Field(
        default=2.0, description="between bid and ask where only candles are known, paper"
    )
    margin_bps: Annotated[float, Field(strict=True, ge=0, le=5000)] = Field(
        default=50.0, description="kept free beside a position for fees and prices that move, paper"
    )
    limit_offset_bps: float | None = Field(
        default=None,
        strict=True,
        gt=-5000,
        lt=5000,
        description="orders are limit orders so much worse than the decision's price; nothing: market orders",
    )


class MemoryConfig(_Part):
    """What may overrule a signal: a memory of what earlier ones turned out to be worth."""

    horizon: str = Field(
        default="20b",
        description="over which a signal is judged: bars of the shortest candles (20b), a time (90m) or close",
    )
    least: Annotated[float, Field(strict=True, gt=0, le=1e6)] = Field(
        default=25.0, description="independent precedents below which it overrules nothing"
    )
    against: Annotated[float, Field(strict=True, ge=0.5, lt=1)] = Field(
        default=0.9,
        description="probability that the signal is worse than drift from which it overrules",
    )
    wait_s: Annotated[float, Field(strict=True, gt=0, le=600)] = Field(
        default=10.0, description="decide review: how long an answer may take from the candle's end on"
    )

    @field_validator("horizon")
    @classmethod
    def _a_horizon(cls, horizon: str) -> str:
        with of_this_setting():
            Horizon.parse(horizon)
        return horizon


class PipelineConfig(_Part):
    """A decision path; see docs/pipeline.md."""

    name: str = Field(description="of the portfolio")
    instruments: tuple[InstrumentConfig, ...] = Field(description="what is traded")
    strategies: tuple[StrategyConfig, ...] = Field(description="who says something of them")
    features: tuple[str, ...] = Field(
        default=(),
        description=f"what each signal says of its candles beside its side, such as rsi(14): {', '.join(FEATURES)}",
    )
    aggregation: dict[str, Any] = Field(
        default_factory=dict, description="how strategies are weighed: method equal or hit_rate, threshold, …"
    )
    decide: Literal["none", "memory", "review"] = Field(
        default="none",
        description="who may overrule a signal; none: nobody; memory: what earlier ones turned out to be worth; "
        "review: that, and a language model where it is unclear",
    )
    memory: MemoryConfig = Field(
        default_factory=MemoryConfig, description="of decide memory and review: horizon, least, against, …"
    )
    risk: dict[str, Any] = Field(
        default_factory=dict,
        description="limits; nothing: none, but at a paper exchange a leverage of 1, unless another is set",
    )
    portfolio: dict[str, Any] = Field(
        default_factory=dict, description="its policy: initial_cash, fee_bps, side, …"
    )
    venue: VenueConfig = Field(default_factory=VenueConfig, description="who fills orders")

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        with of_this_setting():
            return check_portfolio_name(name, "name")

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
        with of_this_setting():
            for name in ("instruments", "strategies"):
                if not getattr(self, name):
                    raise InvalidField(name, [], "at least one")
            _check_once("symbol", self.symbols)
            _check_once("market", [each.market for each in self.instruments if each.market])
            _check_once("name of a strategy", [each.name for each in self.strategies])
            for strategy in self.strategies:
                self._check_strategy(strategy)
            for symbol in self.symbols:
                self._check_bars(symbol)
            for scope, known in (
                ("symbols", self.symbols),
                ("strategies", [one.name for one in self.strategies]),
            ):
                for name in self.risk.get(scope) or ():
                    if name not in known:
                        raise InvalidField(f"name in risk.{scope}", name, f"one of {', '.join(known)}")
            self._check_effects()
        if self.venue.kind == "paper" and self.risk.get("leverage") is None:
            self.risk["leverage"] = 1.0  # each venue's account has the portfolio's cash; together it is once
        return self

    def _check_strategy(self, strategy: StrategyConfig) -> None:
        if strategy.name in RESERVED:
            raise InvalidField(
                "name of a strategy", strategy.name, "another: what no strategy earned is told under it"
            )
        _check_once(f"symbols of {strategy.name}", strategy.symbols)
        for symbol in strategy.symbols:
            if symbol not in self.symbols:
                raise InvalidField(f"symbol of {strategy.name}", symbol, f"one of {', '.join(self.symbols)}")

    def _check_bars(self, symbol: str) -> None:
        speaking = [each for each in self.strategies if symbol in self.symbols_of(each)]
        if not speaking:
            raise InvalidField("symbol", symbol, "one of which a strategy speaks; no strategy names it")
        shortest = min(speaking, key=lambda each: each.interval_us)
        for each in speaking:
            if each.interval_us % shortest.interval_us:
                raise InvalidField(
                    f"bar of {each.name}", each.bar,
                    f"a multiple of {shortest.bar}, the shortest of {symbol}, of which longer candles are made",
                )  # fmt: skip

    def _check_effects(self) -> None:
        """Refuse what is said and would do nothing."""
        paper = self.venue.kind == "paper"
        idle = _IDLE_ANYWHERE | (_IDLE_ON_PAPER if paper else {})
        for name, instead in idle.items():
            if name in self.portfolio:
                raise InvalidField(f"portfolio.{name}", self.portfolio[name], f"nothing: {instead}")
        for name, instead in ({} if paper else _IDLE_WITHOUT_VENUE).items():
            if name in self.venue.model_fields_set:
                value = getattr(self.venue, name)
                raise InvalidField(f"venue.{name}", value, f"nothing beside venue.kind none: {instead}")
        for each in self.instruments:
            if paper and self.policy.side == "long-short" and is_spot(*each.place):
                raise InvalidField(
                    "portfolio.side", "long-short",
                    f"long-flat: {each.market} is spot, which cannot be sold short; or a perpetual of {each.symbol}",
                )  # fmt: skip
        self._check_decide()

    def _check_decide(self) -> None:
        """Refuse what would do nothing with this `decide`."""
        if self.decide == "none" and self.memory.model_fields_set:
            raise InvalidField(
                "memory", dict(self.memory), "nothing beside decide: none, use decide: memory or review"
            )
        if self.decide == "memory" and "wait_s" in self.memory.model_fields_set:
            raise InvalidField(
                "memory.wait_s", self.memory.wait_s, "nothing beside decide: memory, which answers at once"
            )
        if self.decide != "none":
            return
        scopes = {"": self.risk} | {
            f"{scope}.{name}.": limits
            for scope in ("symbols", "strategies")
            for name, limits in (self.risk.get(scope) or {}).items()
        }
        for scope, limits in scopes.items():
            if limits.get("stale_model_s") is not None:
                raise InvalidField(
                    f"risk.{scope}stale_model_s", limits["stale_model_s"],
                    "nothing: with decide: none no model is asked, and nothing would ever be opened",
                )  # fmt: skip

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is traded."""
        return tuple(each.symbol for each in self.instruments)

    def symbols_of(self, strategy: StrategyConfig) -> tuple[str, ...]:
        """On which symbols a strategy speaks."""
        return strategy.symbols or self.symbols

    def intervals_us(self, symbol: str) -> tuple[int, ...]:
        """Lengths of the candles that strategies see of a symbol, the shortest first."""
        found = {each.interval_us for each in self.strategies if symbol in self.symbols_of(each)}
        return tuple(sorted(found))

    @property
    def book_features(self) -> tuple[str, ...]:
        """The features that are of the order book."""
        return tuple(each.name for each in parse_features(self.features) if each.reads_book)

    @property
    def contract_features(self) -> tuple[str, ...]:
        """The features that are of what a venue says of a contract."""
        return tuple(each.name for each in parse_features(self.features) if each.reads_contract)

    @property
    def models(self) -> dict[str, str]:
        """Of each strategy that is a model: its digest."""
        return {each.name: each.model().policy.digest for each in self.strategies if each.kind == MODEL}

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


_IDLE_ANYWHERE = {
    "min_confidence": "signals count by their confidence; use aggregation.threshold",
    "calendar": "a path shows no annual figures",
    "periods_per_year": "a path shows no annual figures",
}
"""Members of a policy that a path has no use for, and what is used instead."""
_IDLE_ON_PAPER = {
    "fee_bps": "the paper exchange takes fees; use venue.fee_bps",
    "slippage_bps": "the paper exchange fills at its book; use venue.spread_bps",
    "fill": "orders meet the next book; use venue.latency_ms",
    **dict.fromkeys(
        ("stop_bps", "take_bps", "trail_bps"),
        "the paper exchange has no stops; use venue.kind none, or risk.drawdown_share",
    ),
}
_IDLE_WITHOUT_VENUE = {
    "fee_bps": "use portfolio.fee_bps",
    "latency_ms": "use portfolio.fill next",
    "spread_bps": "use portfolio.slippage_bps",
    "margin_bps": "fees are set aside already; use portfolio.weight to keep more",
    "limit_offset_bps": "there are no orders; use venue.kind paper",
}

_KINDS: Mapping[str, Any] = {"aggregation": AggregationSettings, "risk": RiskLimits, "portfolio": Policy}


def _check_once(field: str, names: Sequence[str]) -> None:
    """`InvalidField` for a name that stands twice."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidField(field, name, "each once: it stands twice")


def built(kind: Any, values: Mapping[str, Any]) -> Any:
    """Limits, a policy or another frozen dataclass of plain values.

    Raises:
        InvalidField: a name that it has not, or a value that cannot be.
    """
    if kind is RiskLimits:
        return RiskLimits.from_mapping(values)
    known = [field.name for field in fields(kind)]
    for name, value in values.items():
        if name not in known:
            raise InvalidField(name, value, f"one of {', '.join(known)}")
    return kind(**values)


_PARTS: Mapping[str, type[_Part]] = {
    "instruments": InstrumentConfig, "strategies": StrategyConfig, "venue": VenueConfig, "memory": MemoryConfig,
}  # fmt: skip
_WORDS = {
    "Input should be": "expected", "String should": "expected it to", "a valid dictionary": "a mapping",
    "a valid tuple": "a list", "a valid string": "a text", "a valid": "a",
}  # fmt: skip
"""Of pydantic, and of a person who writes YAML."""


def sentences(error: ValidationError, part: type[_Part]) -> str:
    """Errors of pydantic as field, value and what was expected; `part`: of which they are."""
    return "; ".join(_sentence(each, part) for each in error.errors())


def _sentence(error: Any, part: type[_Part]) -> str:
    place = ".".join(str(each) for each in error["loc"])
    said = str(error["msg"]).removeprefix("Value error, ").partition(" or instance of ")[0]
    if error["type"] == "value_error" and "; expected" in said:
        return f"{place}: {said}" if place else said  # names its field and value itself
    if error["type"] in {"missing", "extra_forbidden"}:
        known = (part if len(error["loc"]) == 1 else _PARTS[error["loc"][0]]).model_fields
        if error["type"] == "missing":
            return f"{place} is not there; expected one: {known[error['loc'][-1]].description}"
        said = f"expected one of {', '.join(known)}"
    for words, plain in _WORDS.items():
        said = said.replace(words, plain)
    return f"{place} is {shorten(error['input'])}; {said}"
