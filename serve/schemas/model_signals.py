"""Generated signals, positions made of them, and the model behind them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from raysignal.engine.intake.field_rules import MAX_PRICE, MIN_PRICE
from raysignal.serve.schemas.shared import NAME_PATTERN, Instant, PortfolioName, Share, Shown
from raysignal.serve.schemas.trades import TradeBody

Word = Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]
Stamp = Annotated[
    str | float | None, Field(description="a time as of `POST /signal`; now if missing, or null")
]
Bar = Annotated[
    str | None,
    Field(
        pattern="^[0-9]{1,15}(s|m|h|d)$",
        description="the length of the stored bars that are used, such as 5m; the model's, else that of the feeds, "
        "else the shortest that the symbol has",
    ),
]
Episode = Annotated[bool | None, Field(description="a model with memory is to forget what came before")]
Identity = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=128,
        pattern=NAME_PATTERN,
        description="its identity; else the Idempotency-Key header, else derived from model, symbol and time",
    ),
]
Number = float | None
ModelState = Annotated[
    Literal["placeholder", "ready", "unavailable"],
    Field(description="ready: a model speaks; unavailable: the one that is configured cannot be used"),
]


class GenerateBody(BaseModel):
    """A price, and indicators under their names; more of them may be given, also with parameters, as `rsi(7)`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number]

    symbol: Word
    close_price: Annotated[float, Field(ge=MIN_PRICE, le=MAX_PRICE)]
    timestamp: Stamp = None
    signal_id: Identity = None
    episode_start: Episode = None
    bar: Bar = None
    rsi: Annotated[Number, Field(ge=0, le=100)] = None
    macd: Number = None
    macd_signal: Number = None
    bollinger_low: Number = None
    bollinger_high: Number = None
    ema: Number = None
    atr: Annotated[Number, Field(ge=0)] = None


class GenerateFromBarsBody(BaseModel):
    """Which bars of the database a signal is wanted of."""

    model_config = ConfigDict(extra="forbid")

    symbol: Annotated[Word, Field(description="`venue:symbol`, or the symbol where one venue has it")]
    timestamp: Annotated[Stamp, Field(description="of the last bar that had ended then; now if missing")] = (
        None
    )
    signal_id: Identity = None
    episode_start: Episode = None
    bar: Bar = None


class ModelSignalBody(Shown):
    """A generated signal."""

    signal_id: str
    timestamp: Instant
    symbol: str
    action: Literal["BUY", "SELL", "HOLD"]
    confidence: Annotated[float, Field(ge=0, le=1, description="probability of the likeliest action")]
    entry_price: float
    stop_loss: Annotated[float | None, Field(description="null for HOLD, and where no ATR is known")]
    take_profit: Annotated[float | None, Field(description="likewise")]
    position_size: Annotated[Share, Field(description="of equity; 0 for HOLD")]
    risk_reward_ratio: Annotated[
        float | None, Field(description="distance of the target over that of the stop")
    ]
    model_version: Annotated[str, Field(description="name and version, or PLACEHOLDER")]
    placeholder: Annotated[bool, Field(description="no model said this: a fixed rule did")]
    reasoning: Annotated[list[str], Field(description="sentences that are true of the numbers used")]
    latency_ms: Annotated[float, Field(ge=0, description="of the model and its record")]


class ModelSignalsBody(Shown):
    """A page of generated signals, the latest first."""

    portfolio: PortfolioName
    signals: list[ModelSignalBody]
    cursor: Annotated[str | None, Field(description="for the page before; null when there is none")]


class ActivePositionBody(TradeBody):
    """An open position at its last price, with the levels that its signal named."""

    stop_loss: float | None
    take_profit: float | None


class ActivePositionsBody(Shown):
    """The open positions of the portfolio of generated signals."""

    portfolio: PortfolioName
    positions: list[ActivePositionBody]
    unrealised_pnl: Annotated[float, Field(description="of all of them, after fees")]


class ClosedPositionsBody(Shown):
    """A page of closed positions in the order in which they closed."""

    portfolio: PortfolioName
    positions: list[TradeBody]
    cursor: Annotated[str | None, Field(description="for the next page; null when there is none now")]


class LatencyBody(BaseModel):
    """Of the last requests, milliseconds."""

    model_config = ConfigDict(extra="allow")

    p50: float | None
    p99: float | None


class ModelStatisticsBody(Shown):
    """What became of generated signals, and how quickly they were made."""

    portfolio: PortfolioName
    signals: Annotated[
        dict[Literal["BUY", "SELL", "HOLD"], int], Field(description="on record of the model, by action")
    ]
    trades: Annotated[int, Field(description="closed positions")]
    win_rate: Annotated[float | None, Field(description="share of them with a profit after fees")]
    pnl: Annotated[float, Field(description="of closed positions, after fees")]
    fees: Annotated[float, Field(description="of closed positions")]
    open: int
    unrealised_pnl: float
    equity: float | None
    total_return: Share | None
    requests: Annotated[dict[str, int], Field(description="by what became of them, since the model began")]
    latency_ms: Annotated[LatencyBody, Field(description="of requests in the model's actor, record included")]
    inference_ms: Annotated[LatencyBody, Field(description="of the model alone, a batch each")]


class RootBody(Shown):
    """What this service is, and where its parts are."""

    service: Literal["raysignal"]
    version: str
    documentation: str
    openapi: str
    health: str
    signals: Annotated[dict[str, str], Field(description="what there is of generated signals, by path")]
    model: ModelState


class HealthBody(Shown):
    """Alive, and whether signals are generated."""

    status: Literal["ok"]
    model: ModelState


GENERATE_EXAMPLE: dict[str, Any] = {
    "symbol": "USDCOP", "close_price": 4250.5, "rsi": 35.5, "macd": -2.3, "macd_signal": -1.8,
}  # fmt: skip
