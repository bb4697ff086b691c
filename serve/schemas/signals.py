"""What posts of signals take and give."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from raysignal.serve.schemas.portfolios import PerformanceBody
from raysignal.serve.schemas.shared import Instant, PortfolioName, Share, Shown


class SignalBody(BaseModel):
    """One signal. Every field that is not named here is a feature; one that is null, NaN or empty is missing."""

    model_config = ConfigDict(extra="allow")

    timestamp: Annotated[
        str | float,
        Field(
            description="also `datetime` or `time`: ISO 8601 or M/D/YYYY H:MM, without a zone in the configured one; "
            "or seconds, ms, us or ns since 1970"
        ),
    ]
    # Two enumerations, because makers of typed clients leave out one of texts and numbers.
    signal: Annotated[
        Literal["SELL", "HOLD", "BUY", "CLOSE"] | Literal[-1, 0, 1],  # noqa: PYI030, RUF100
        Field(description='also `Signal` or `action`; any case, 1 or "1"'),
    ]
    price: Annotated[
        float, Field(ge=1e-15, le=1e15, description="also `close`; a number or a text that holds one")
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
    size: Annotated[
        float | None, Field(gt=0, le=1, description="share of equity; the policy's weight if missing")
    ] = None
    stop_loss: Annotated[
        float | None, Field(ge=1e-15, le=1e15, description="closes the position; below the price of a BUY")
    ] = None
    take_profit: Annotated[
        float | None, Field(ge=1e-15, le=1e15, description="closes the position; above the price of a BUY")
    ] = None
    trailing_stop_bps: Annotated[
        float | None, Field(ge=0.01, le=9999, description="closes the position so far behind its best price")
    ] = None
    confidence: Annotated[
        float | None, Field(ge=0, le=1, description="below the portfolio's `min_confidence` it is a HOLD")
    ] = None
    expires: Annotated[
        Instant | None, Field(description="closes the position at the first row that is as late or later")
    ] = None
    price_only: Annotated[bool, Field(description="a price without a signal, which is left out then")] = False


class DecisionBody(Shown):
    """What was decided, and by whom."""

    action: Literal["SELL", "HOLD", "BUY", "CLOSE"]
    by: str


class FillBody(Shown):
    """An executed change of position."""

    side: Literal["BUY", "SELL"]
    quantity: float
    price: float
    notional: float
    fee: float
    decided_by: Literal["this signal", "previous signal", "bracket"]


class ClosedBody(Shown):
    """The bracket that closed what was held before the row."""

    by: Literal["stop", "target", "trailing", "expiry"]
    price: Annotated[float, Field(description="slippage included")]
    reason: str


class ReceiptBody(Shown):
    """The receipt of one signal; the same for ever, but for `replayed`."""

    signal_id: str
    portfolio: PortfolioName
    ordinal: Annotated[int, Field(ge=0, description="its place in the portfolio's history")]
    symbol: str
    timestamp: Instant
    signal: Literal["SELL", "HOLD", "BUY", "CLOSE"]
    price: float
    replayed: Annotated[bool, Field(description="this signal had been taken in before")]
    decision: DecisionBody
    outcome: str
    reason: Annotated[str | None, Field(description="why nothing, or only half of it, was traded")]
    fill: Annotated[
        FillBody | None, Field(description="the last one at this row; its fee is that of all of them")
    ]
    closed: Annotated[
        ClosedBody | None, Field(description="there only where a bracket closed a position")
    ] = None
    signal_return: Annotated[Share, Field(alias="return")]
    performance: PerformanceBody


class RowErrorBody(Shown):
    """Why one row was refused."""

    row: Annotated[int | None, Field(description="its position in the input, from 0")]
    field: str | None
    value: Any
    expected: Any
    type: str
    detail: str


class BatchBody(Shown):
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
SIGNAL_REF = {"$ref": "#/components/schemas/SignalBody"}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "schema": {"type": "string", "maxLength": 128},
    "description": "the identity of a body without signal_id",
}
SIGNAL_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": SIGNAL_REF, "examples": SIGNAL_EXAMPLES},
        "text/plain": {
            "schema": {"type": "string"},
            "examples": {"webhook": {"summary": "JSON as text, as webhooks send it", "value": TEXT_EXAMPLE}},
        },
    },
}
HOOK_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        **SIGNAL_CONTENT["content"],
        "application/x-www-form-urlencoded": {
            "schema": {"type": "object", "additionalProperties": {"type": "string"}}
        },
    },
}
BATCH_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        kind: {
            "schema": {"type": "array", "items": SIGNAL_REF}
            if kind == "application/json"
            else {"type": "string"},
            "examples": {"example": {"summary": summary, "value": value}},
        }
        for kind, (summary, value) in BATCH_EXAMPLES.items()
    }
    | {"application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}}},
}
