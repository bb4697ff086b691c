"""The live pipelines: weights, profits by strategy, risk, orders, fills and positions."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from raysignal.serve.schemas.shared import Instant, PortfolioName, Share, Shown

SideName = Literal["BUY", "SELL"]
Decimals = Annotated[str, Field(description="a decimal number, exactly", examples=["0.25"])]


class PipelineBody(Shown):
    """One pipeline."""

    name: PortfolioName
    trouble: Annotated[str | None, Field(description="why it is not running; null: it is")]
    venues: list[dict[str, Any]]
    session: Annotated[str | None, Field(description="the folder of its session")]
    pid: int | None
    node: Annotated[str | None, Field(description="the Ray node that its actor runs on")] = None


class PipelinesBody(Shown):
    """Every pipeline of the service."""

    pipelines: list[PipelineBody]


class OfPipelineBody(Shown):
    """What an answer is of."""

    pipeline: PortfolioName


class SymbolWeightsBody(BaseModel):
    """How the strategies of one symbol are weighed; `equal_…`: what equal weights say, the control."""

    model_config = ConfigDict(extra="allow")

    symbol: str
    method: str
    score: Annotated[float, Field(ge=-1, le=1)]
    side: Literal[-1, 0, 1]
    equal_score: float
    equal_side: Literal[-1, 0, 1]


class AggregationBody(OfPipelineBody):
    """By symbol, with the last changes of weights and their reasons."""

    symbols: list[SymbolWeightsBody]


class StrategyRecordBody(Shown):
    """What a strategy was worth, over trades that it had a share in; money in the quote currency, after fees."""

    strategy: str
    trades: int
    hit_rate: Share
    payoff: float | None
    contribution: float
    expectancy: float
    turnover: float


class AttributionBody(OfPipelineBody):
    """By strategy; contributions add up to the profit of all closed trades."""

    strategies: list[StrategyRecordBody]


class PipelineDecisionBody(Shown):
    """The position that was wanted. Sides are 1 long, -1 short, 0 flat."""

    at: Instant
    symbol: str
    signal: Annotated[Literal[-1, 0, 1], Field(description="the side that the strategies wanted together")]
    side: Annotated[
        Literal[-1, 0, 1], Field(description="the side that was decided, short only where it may be")
    ]
    size: Share
    price: float
    by: Annotated[
        str,
        Field(
            description="signal: nothing spoke against it; gate or model: the agent; nobody: no answer; risk"
        ),
    ]
    reason: str
    explanation: str


class DecisionsBody(OfPipelineBody):
    """The oldest first; `reasons` counts all of them."""

    decide: Literal["none", "memory", "review"]
    reasons: dict[str, int]
    memory: dict[str, Any] | None
    decisions: list[PipelineDecisionBody]


class OrderBody(Shown):
    """An order of the path."""

    client_id: str
    at: Instant
    symbol: str
    side: SideName
    quantity: Decimals
    limit_price: Decimals | None
    decided_price: float
    state: str
    reason: str
    fills: int
    ended: Instant | None


class OrdersBody(OfPipelineBody):
    """The oldest first."""

    orders: list[OrderBody]


class OrderFillBody(Shown):
    """A fill; `slippage`: what its distance from the decided price cost, in the quote currency."""

    client_id: str
    ordinal: int
    at: Instant
    symbol: str
    side: SideName
    quantity: Decimals
    price: Decimals
    fee: Decimals
    decided_price: float
    slippage: float


class FillsBody(OfPipelineBody):
    """The oldest first."""

    fills: list[OrderFillBody]


class PositionBody(Shown):
    """A position, at the symbol's last price; below 0: short."""

    symbol: str
    quantity: float
    price: float
    at: Instant
    value: float


class FundingBody(Shown):
    """What a position paid as funding, in the quote currency; below 0: it was received."""

    at: Instant
    symbol: str
    rate: Decimals
    price: Decimals
    quantity: Decimals
    amount: Decimals


class PositionsBody(OfPipelineBody):
    """Cash, positions and what they are worth together."""

    cash: float
    equity: float
    positions: list[PositionBody]
    funding: Annotated[list[FundingBody], Field(description="the last payments, the oldest first")]


class RiskBody(OfPipelineBody):
    """The breaker, the limits, and the last decisions that were reduced or refused."""

    state: Literal["active", "reducing", "halted"]
    flatten: bool
    who: str
    reason: str
    since: Instant | None
    equity: float | None
    day_open_equity: float | None
    peak_equity: float | None
    limits: dict[str, Any]
    verdicts: list[dict[str, Any]]
    alarms: list[dict[str, Any]]


class CommandBody(Shown):
    """A person's order to risk."""

    who: Annotated[str, Field(min_length=1, pattern=r"\S", description="who says so")]
    reason: Annotated[str, Field(min_length=1, pattern=r"\S", description="and why")]


class HaltBody(CommandBody):
    """Nothing but what makes positions smaller."""

    flatten: Annotated[bool, Field(description="close what is held, too")] = False
