"""What the API takes and gives, as the OpenAPI document shows it.

These models describe; they do not validate. Bodies are read once, by `engine.intake`, which says more about a
bad row than a schema could, and answers are written as they are. That both keep to what is written here is
checked by tests that send every example and fuzz every operation.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Instant = Annotated[
    str, Field(examples=["2025-02-24T00:10:00Z"], description="ISO 8601, UTC, to the microsecond")
]
Share = Annotated[float, Field(description="a share, not percent: 0.01 is one percent")]
PortfolioName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,62}$", examples=["baseline"])]


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignalBody(BaseModel):
    """One signal. Every field that is not named here is a feature; one that is null, NaN or empty is missing."""

    model_config = ConfigDict(extra="allow")

    timestamp: Annotated[
        str,
        Field(
            description="also `datetime` or `time`: ISO 8601 or M/D/YYYY H:MM; without a zone, the configured one"
        ),
    ]
    signal: Annotated[
        Literal[-1, 0, 1, "SELL", "HOLD", "BUY"],
        Field(description='also `Signal` or `action`; any case, 1 or "1"'),
    ]
    price: Annotated[
        float, Field(gt=0, le=1e15, description="also `close`; a number or a text that holds one")
    ]
    symbol: Annotated[str, Field(description="also `ticker`; the configured one if missing")] = "BTC"
    source: Annotated[str, Field(description="who made it")] = "default"
    signal_id: Annotated[
        str,
        Field(
            description="its identity; else the Idempotency-Key header, else derived from source, symbol, "
            "timestamp and signal"
        ),
    ] = ""


class PolicyBody(_Shown):
    """What a portfolio does with a signal; missing members take these values."""

    initial_cash: Annotated[float, Field(gt=0, le=1e15)] = 10_000.0
    fee_bps: Annotated[float, Field(ge=0, le=1000)] = 10.0
    slippage_bps: Annotated[float, Field(ge=0, le=1000)] = 0.0
    side: Literal["long-flat", "long-short"] = "long-flat"
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    fill: Literal["signal", "next"] = "signal"


class BuyAndHoldBody(_Shown):
    """The same figures for buying at the first price and keeping it."""

    total_return: Share
    sharpe: float | None
    sortino: float | None
    max_drawdown: Share
    calmar: float | None


class PerformanceBody(_Shown):
    """Cumulative performance; a figure that is not defined yet is null."""

    signals: int
    initial_cash: float
    cash: float
    equity: float
    total_return: Share
    signal_return: Share
    realised_pnl: float
    unrealised_pnl: float
    fees: float
    trades: int
    closed_trades: int
    win_rate: float | None
    profit_factor: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: Share
    drawdown: Share
    calmar: float | None
    exposure: float | None
    turnover: float | None
    buy_and_hold: BuyAndHoldBody


class StandingBody(_Shown):
    """A portfolio as it stands, after journal record `sequence`, which is durable."""

    portfolio: PortfolioName
    policy: PolicyBody
    symbols: list[str]
    signals: int
    as_of: Instant | None
    sequence: int
    performance: PerformanceBody


class PortfoliosBody(_Shown):
    """Every portfolio, by name."""

    portfolios: list[StandingBody]


class DecisionBody(_Shown):
    """What was decided, and by whom."""

    action: Literal["SELL", "HOLD", "BUY"]
    by: str


class FillBody(_Shown):
    """An executed change of position."""

    side: Literal["BUY", "SELL"]
    quantity: float
    price: float
    notional: float
    fee: float
    decided_by: Literal["this signal", "previous signal"]


class ReceiptBody(_Shown):
    """The receipt of one signal; the same for ever, but for `replayed`."""

    signal_id: str
    portfolio: PortfolioName
    ordinal: Annotated[int, Field(ge=0, description="its place in the portfolio's history")]
    symbol: str
    timestamp: Instant
    signal: Literal["SELL", "HOLD", "BUY"]
    price: float
    replayed: Annotated[bool, Field(description="this signal had been taken in before")]
    decision: DecisionBody
    outcome: str
    reason: Annotated[str | None, Field(description="why nothing, or only half of it, was traded")]
    fill: FillBody | None
    signal_return: Annotated[Share, Field(alias="return")]
    performance: PerformanceBody


class RowErrorBody(_Shown):
    """Why one row was refused."""

    row: Annotated[int | None, Field(description="its position in the input, from 0")]
    field: str | None
    value: Any
    expected: Any
    type: str
    detail: str


class BatchBody(_Shown):
    """What became of a batch."""

    portfolio: PortfolioName
    rows: Annotated[int, Field(description="rows of the input")]
    accepted: Annotated[int, Field(description="processed now")]
    replayed: Annotated[int, Field(description="taken in before, not counted again")]
    refused: int
    errors: Annotated[list[RowErrorBody], Field(description="the first 100 refused rows")]
    signals: Annotated[int, Field(description="signals of the portfolio, after the batch")]
    as_of: Instant | None
    sequence: int
    performance: PerformanceBody
    receipts: Annotated[list[ReceiptBody] | None, Field(description="on request, in time order")] = None


class HistoryBody(_Shown):
    """A page of processed signals, oldest first."""

    portfolio: PortfolioName
    rows: list[dict[str, Any]]
    cursor: Annotated[str | None, Field(description="for the next page; null when there is none now")]


class DecisionPage(_Shown):
    """Why a signal was traded, or not."""

    receipt: ReceiptBody
    features: dict[str, float | str]
    policy: PolicyBody
    sequence: Annotated[int, Field(description="the journal record that holds it")]
    record_row: Annotated[int, Field(description="its row in that record")]


class StatusBody(_Shown):
    """Alive, or ready."""

    status: Literal["ok"]
    sequence: Annotated[list[int] | None, Field(description="last durable record of every shard")] = None


class ProblemBody(BaseModel):
    """RFC 9457; beside the standard members, what the error is about: field, value, expected, row, errors."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


# Examples, each of which works as it stands, in this order, on a fresh service.

SIGNAL_EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": {
        "summary": "Plain names",
        "value": {"timestamp": "2025-02-24T00:10:00Z", "signal": "BUY", "price": 95439.81},
    },
    "dataset": {
        "summary": "A row of a signal file as it stands, with features",
        "value": {
            "": 1,
            "datetime": "2/24/2025 0:20",
            "close": 95521.4,
            "mvrv_btc_momentum": -0.0038,
            "Signal": -1,
            "sentiment": "Fear",
            "intensity": 6,
        },
    },
    "identified": {
        "summary": "With an identity and a symbol of its own",
        "value": {
            "signal_id": "alert-0001",
            "symbol": "ETH",
            "source": "desk",
            "timestamp": "2025-02-24T00:10:00Z",
            "signal": "HOLD",
            "price": 2650.5,
        },
    },
}

TEXT_EXAMPLE = '{"ticker": "SOL", "time": "2025-02-24T00:10:00Z", "action": "buy", "close": 168.25}'

BATCH_EXAMPLES: dict[str, tuple[str, Any]] = {
    "application/json": (
        "A JSON array",
        [
            {"timestamp": "2025-02-25T00:00:00Z", "signal": "BUY", "price": 96020.1, "symbol": "BTC"},
            {"timestamp": "2025-02-25T00:10:00Z", "signal": "SELL", "price": 96100.7, "symbol": "BTC"},
        ],
    ),
    "application/x-ndjson": (
        "One object a line",
        (
            '{"timestamp": "2025-02-26T00:00:00Z", "signal": 1, "price": 96020.1}\n'
            '{"timestamp": "2025-02-26T00:10:00Z", "signal": -1, "price": 96100.7}\n'
        ),
    ),
    "text/csv": (
        "A signal file",
        "datetime,close,Signal,sentiment\n2/27/2025 0:00,96020.1,1,Fear\n2/27/2025 0:10,96100.7,-1,Greed\n",
    ),
}

POLICY_EXAMPLE: dict[str, Any] = {"fee_bps": 4.0, "side": "long-short"}
