"""What the API takes and gives, as the OpenAPI document shows it.

These models describe; they do not validate. Bodies are read once, by `engine.intake`, which says more about a
bad row than a schema could, and answers are written as they are. That both keep to what is written here is
checked by tests that send every example and fuzz every operation.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from raysignal.engine.core.policy import MAX_CASH, MAX_LEVEL_BPS, MAX_PERIODS_PER_YEAR, MIN_CASH
from raysignal.engine.portfolio.trades import REASONS

Instant = Annotated[
    str, Field(examples=["2025-02-24T00:10:00Z"], description="ISO 8601, UTC, to the microsecond")
]
Share = Annotated[float, Field(description="a share, not percent: 0.01 is one percent")]
PortfolioName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,62}$", examples=["baseline"])]


NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"
"""No control characters, and something that is no blank."""


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


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


class PolicyBody(_Shown):
    """What a portfolio does with a signal; missing members take these values."""

    initial_cash: Annotated[float, Field(ge=MIN_CASH, le=MAX_CASH)] = 10_000.0
    fee_bps: Annotated[float, Field(ge=0, le=1000)] = 10.0
    slippage_bps: Annotated[float, Field(ge=0, le=1000)] = 0.0
    side: Literal["long-flat", "long-short"] = "long-flat"
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    fill: Literal["signal", "next"] = "signal"
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    stop_bps: Annotated[float, Field(ge=0, le=MAX_LEVEL_BPS)] = 0.0
    take_bps: Annotated[float, Field(ge=0, le=MAX_LEVEL_BPS)] = 0.0
    trail_bps: Annotated[float, Field(ge=0, le=MAX_LEVEL_BPS)] = 0.0
    calendar: Annotated[
        Literal["observed", "365x24", "252-sessions"], Field(description="how many periods a year has")
    ] = "observed"
    periods_per_year: Annotated[
        float | None,
        Field(gt=0, le=MAX_PERIODS_PER_YEAR, description="that number itself, whatever the calendar"),
    ] = None


class SymbolBody(_Shown):
    """Another name of a symbol, under which an open position goes on."""

    formerly: Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]
    symbol: Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]


class RenamedBody(SymbolBody):
    """Whether there was something to rename: a position under the old name, and none known under the new one."""

    portfolio: PortfolioName
    renamed: bool


class BuyAndHoldBody(_Shown):
    """The same figures for buying at the first price and keeping it."""

    total_return: Share
    sharpe: float | None
    sortino: float | None
    max_drawdown: Share
    calmar: float | None
    sharpe_per_period: float | None
    sortino_per_period: float | None
    return_over_drawdown: float | None


class PerformanceBody(_Shown):
    """Cumulative performance; a figure that is not defined yet is null.

    Sharpe, Sortino and Calmar are of a year, and null for fewer than 30 returns or less than a week. A period is an
    instant: all signals of one stamp. Once ruined, an account has no ratios, and its largest drawdown is 1.
    """

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
    sharpe_per_period: float | None
    sortino_per_period: float | None
    return_over_drawdown: Annotated[
        float | None, Field(description="total return over largest drawdown, as Calmar is without the year")
    ]
    periods: Annotated[int, Field(description="instants, of which each has a return")]
    period_s: Annotated[float | None, Field(description="their mean spacing in seconds")]
    ruined: Annotated[bool, Field(description="equity was not above zero at some time")]
    periods_per_year: Annotated[float | None, Field(description="what annual figures rest on")]
    calendar: Annotated[
        Literal["observed", "365x24", "252-sessions", "given"],
        Field(description="what says so: the policy's calendar, or its periods_per_year"),
    ]
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

    action: Literal["SELL", "HOLD", "BUY", "CLOSE"]
    by: str


class FillBody(_Shown):
    """An executed change of position."""

    side: Literal["BUY", "SELL"]
    quantity: float
    price: float
    notional: float
    fee: float
    decided_by: Literal["this signal", "previous signal", "bracket"]


class ClosedBody(_Shown):
    """The bracket that closed what was held before the row."""

    by: Literal["stop", "target", "trailing", "expiry"]
    price: Annotated[float, Field(description="slippage included")]
    reason: str


class ReceiptBody(_Shown):
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


TradeReason = Annotated[str, Field(description=f"one of {', '.join(REASONS)}")]


class TradeBody(_Shown):
    """A position from its opening to its close; of an open one, P&L and return are those of the last price."""

    status: Literal["open", "closed"]
    symbol: str
    side: Literal["long", "short"]
    quantity: Annotated[float, Field(description="opened in all")]
    entry_time: Instant
    entry_price: Annotated[float, Field(description="mean of the fills, slippage included")]
    exit_time: Instant | None
    exit_price: float | None
    fees: float
    pnl: Annotated[float, Field(description="after all fees")]
    trade_return: Annotated[Share, Field(alias="return", description="P&L on quantity * entry price")]
    bars: Annotated[int, Field(ge=0, description="rows of the symbol after the opening one")]
    mfe: Annotated[Share, Field(ge=0, description="best excursion of the price from the entry price")]
    mae: Annotated[Share, Field(le=0, description="worst excursion")]
    entry_reason: TradeReason
    exit_reason: TradeReason | None
    entry_signal_id: Annotated[str | None, Field(description="the signal that asked for it; null: none did")]
    exit_signal_id: str | None
    entry_ordinal: Annotated[int, Field(ge=0, description="the row of the portfolio's history")]
    exit_ordinal: int | None


class TradesBody(_Shown):
    """A page of trades: closed ones in the order in which they closed, open ones in that of their opening."""

    portfolio: PortfolioName
    trades: list[TradeBody]
    cursor: Annotated[str | None, Field(description="for the next page; null when there is none now")]


class DistributionBody(_Shown):
    """How many trades had a return in each bin; the outer bins hold what lies beyond them, too."""

    edges: Annotated[list[float], Field(description="one more than counts")]
    counts: list[int]


class TradeSummaryBody(_Shown):
    """What the closed trades of a portfolio come to; null where a figure is not defined."""

    portfolio: PortfolioName
    trades: Annotated[int, Field(description="closed ones")]
    pnl: float
    fees: float
    win_rate: Annotated[float | None, Field(description="share with a profit after fees")]
    profit_factor: Annotated[float | None, Field(description="gross profit / gross loss")]
    expectancy: Annotated[float | None, Field(description="mean P&L of a trade")]
    mean_return: float | None
    mean_bars: Annotated[float | None, Field(description="rows of the symbol that a trade was held for")]
    longest_losing_streak: Annotated[int, Field(description="trades with a loss, one after the other")]
    open: Annotated[int, Field(description="open trades")]
    unrealised_pnl: Annotated[float, Field(description="of the open ones, at their last prices")]
    distribution: Annotated[DistributionBody | None, Field(description="of returns; null without a trade")]
    last: Annotated[list[TradeBody], Field(description="the last to close, the latest first")]
    best: Annotated[list[TradeBody], Field(description="by P&L")]
    worst: list[TradeBody]
    held: Annotated[list[TradeBody], Field(description="the first open ones")]


Basis = Annotated[float | None, Field(description="basis points; null where there is no number")]
Word = Literal["approve", "flip", "hold"]


class NeighbourBody(_Shown):
    """A past signal that the decision rests on, and what became of it."""

    signal_id: str
    signal: Literal["SELL", "BUY"]
    right: Annotated[bool, Field(description="the price went its way")]
    net_bps: Annotated[
        dict[Word, float], Field(description="what each verdict would have earned, after costs")
    ]
    age_s: float
    distance: Annotated[float, Field(description="in standard deviations")]


class OpinionBody(_Shown):
    """What a model said, or why it did not."""

    verdict: Word
    reason: str
    confidence: float | None
    cited: Annotated[list[str], Field(description="ids of neighbours")]
    rationale: str
    request_hash: str
    usd: float | None
    tokens_in: int | None
    tokens_out: int | None


class ExplanationBody(_Shown):
    """What a decision of the agent rests on; of a HOLD signal only verdict, by and reason."""

    verdict: Word
    by: Literal["signal", "gate", "model"]
    reason: str
    inputs: Annotated[
        dict[str, dict[str, float | str]] | None,
        Field(description="numbers in standard deviations, and categories, as they were compared"),
    ] = None
    statistics: dict[str, float | None] | None = None
    neighbours: Annotated[list[NeighbourBody] | None, Field(description="the nearest, nearest first")] = None
    allowed: Annotated[list[Word] | None, Field(description="what a model could have answered")] = None
    opinion: OpinionBody | None = None
    similar: Annotated[str | None, Field(description="where past outcomes like this signal are")] = None


class DecisionPage(_Shown):
    """Why a signal was traded, or not."""

    receipt: ReceiptBody
    features: dict[str, float | str]
    explanation: Annotated[
        ExplanationBody | None,
        Field(description="what an agent's decision rests on; null where the signal was left to itself"),
    ]
    policy: PolicyBody
    sequence: Annotated[int, Field(description="the journal record that holds it")]
    record_row: Annotated[int, Field(description="its row in that record")]


class RefusalBody(_Shown):
    """A signal that was refused."""

    at: Instant
    reason: Annotated[str, Field(description="the name of the error", examples=["LateSignal"])]
    status: Annotated[int, Field(description="of the answer; 200 where the other rows of a batch were taken")]
    entrance: Annotated[str, Field(examples=["/signal", "/signals", "/hooks"])]
    hook: str | None
    source: str | None
    portfolio: str | None
    row: Annotated[int | None, Field(description="its place in a batch")]
    field: str | None
    value: str | None
    expected: str | None
    detail: Annotated[str, Field(description="the sentence that the sender got")]
    sample: Annotated[
        str | None, Field(description="the beginning of the body, without secrets and long words")
    ]


class RefusalsBody(_Shown):
    """What was refused lately, the latest first."""

    counts: Annotated[
        dict[str, int], Field(description="by reason, since the actor that keeps them has started")
    ]
    kept: Annotated[int, Field(description="refusals that are kept, at most 1000")]
    refusals: list[RefusalBody]


class StatusBody(_Shown):
    """Alive, or ready."""

    status: Literal["ok"]
    sequence: Annotated[list[int] | None, Field(description="last durable record of every shard")] = None
    agent_behind: Annotated[
        int | None,
        Field(description="signals that the agent has not decided yet; null: no agent, or not known"),
    ] = None


class MeanBody(_Shown):
    """A mean per signal with its 95 % interval, over the latest signals; null where they are too few for one."""

    mean_bps: Basis
    low_bps: Basis
    high_bps: Basis
    n: int


class OverruledBody(_Shown):
    """How many signals were overruled, and how many of them are judged by now."""

    flip: int
    hold: int
    judged: int


class CompareBody(_Shown):
    """The primary portfolio and the one that the agent decides for, on the same signals."""

    baseline: StandingBody
    enhanced: StandingBody
    behind: Annotated[int, Field(description="signals that the enhanced portfolio has not taken in yet")]
    signals: Annotated[int, Field(description="signals that the figures below rest on: those that both have")]
    difference: Annotated[
        MeanBody,
        Field(description="return of the enhanced portfolio less that of the primary one, per signal"),
    ]
    uplift: Annotated[
        MeanBody,
        Field(description="what a judged signal earned as decided, less what it would have earned approved"),
    ]
    overruled: OverruledBody


class CohortBody(_Shown):
    """The judged signals of one name in one dimension."""

    dimension: Annotated[
        str, Field(examples=["source", "symbol", "side", "regime", "hour", "category.mood", "range.volume"])
    ]
    name: str
    n: int
    right: int
    accuracy: float
    accuracy_low: Annotated[
        float | None, Field(description="null where too little is known of the dependence")
    ]
    accuracy_high: float | None
    drift: Annotated[
        float,
        Field(
            description="the accuracy of signals about the same symbols with the same sides that know nothing"
        ),
    ]
    effective_n: float
    net_bps: Basis
    net_bps_low: Basis
    net_bps_high: Basis
    p_value: float
    q_value: Annotated[float, Field(description="p_value, corrected for how many cohorts were looked at")]
    flag: Literal["good", "bad"] | None


class AccuracyBody(_Shown):
    """How often the latest signals were right."""

    n: Annotated[int, Field(description="judged signals")]
    right: int
    up_share: float | None
    down_share: float | None
    cohorts: list[CohortBody]


class PatternsBody(_Shown):
    """Cohorts that differ from the drift by more than chance, the surest first."""

    n: Annotated[int, Field(description="judged signals")]
    patterns: list[CohortBody]


class BreakerBody(_Shown):
    """What turns the agent off when overruling costs more than the limit."""

    open: bool
    trip: dict[str, int | float] | None
    judged: int
    mean_bps: Basis
    lower_bps: Basis
    limit_bps: float


class ModelBody(_Shown):
    """The model that is asked in unclear cases."""

    name: str
    why_off: Annotated[str | None, Field(description="why it is not asked")]
    trouble: Annotated[str | None, Field(description="what has to be changed before its answers can be used")]
    budget: Annotated[int, Field(description="calls a UTC day")]
    left: int | None
    opinions: Annotated[dict[str, int], Field(description="by reason, since the agent began")]


class EmbeddingsBody(_Shown):
    """The model that embeds free texts; its calls count as those of the model do."""

    name: str
    why_off: Annotated[str | None, Field(description="why it is not asked")]
    trouble: Annotated[str | None, Field(description="why the latest texts were not embedded")]
    texts: Annotated[
        dict[str, int], Field(description="since the agent began: `embedded`, or why they were not")
    ]


class ChromaBody(_Shown):
    """How the vector index stands; no decision waits for it."""

    place: str
    collection: str
    state: Literal["ready", "unavailable", "closed"]
    count: int
    behind: int
    reason: str
    rebuilt: Annotated[str, Field(description="why it was last built from nothing")]


class NetBody(_Shown):
    """What each verdict would have earned, in basis points after costs."""

    approve: float
    flip: float
    hold: float


class SimilarOutcomeBody(_Shown):
    """A past signal and what became of it."""

    signal_id: str
    symbol: str
    source: str
    side: Literal["SELL", "BUY"]
    regime: Literal["unknown", "quiet", "normal", "wild"]
    right: Annotated[bool, Field(description="the price went its way")]
    net_bps: NetBody
    decided_at: Instant
    known_at: Annotated[Instant, Field(description="when its outcome was known; never after `as_of`")]
    distance: Annotated[
        float | None,
        Field(description="between the numbers of both, standardised; null for a search by text"),
    ]


class SimilarBody(_Shown):
    """Past outcomes like a signal, the nearest first; by text, the latest known first."""

    as_of: Annotated[Instant, Field(description="nothing that was known later is shown")]
    by: Literal["signal", "features", "text"]
    hits: list[SimilarOutcomeBody]
    behind: Annotated[int, Field(description="settled outcomes that Chroma does not hold yet")]


class TextBody(_Shown):
    """Words that must all be in the texts among a past signal's features; the letters' case is ignored."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]


class EvidenceBody(_Shown):
    """Whether there is enough evidence for the gate to speak, as of the latest BUY or SELL signal."""

    effective: Annotated[float, Field(description="independent precedents of that signal")]
    least: Annotated[float, Field(description="so many are asked for")]
    known: Annotated[int, Field(description="outcomes that were known then")]
    speaks_after: Annotated[
        int | None,
        Field(
            description="about so many more BUY and SELL signals; 0: it may speak; null: not known, or never"
        ),
    ]
    sentence: str


class AgentBody(_Shown):
    """How the agent stands; with `on` false there is only `why`."""

    on: bool
    why: str | None
    trouble: Annotated[str | None, Field(description="what it is waiting for")] = None
    primary: str | None = None
    portfolio: str | None = None
    mode: Literal["gate", "gate and model", "gate and reviewer"] | None = None
    model: ModelBody | None = None
    embeddings: Annotated[EmbeddingsBody | None, Field(description="null: texts are hashed")] = None
    horizon: str | None = None
    signals: Annotated[int | None, Field(description="of the primary portfolio")] = None
    behind: Annotated[int | None, Field(description="of them, not decided yet")] = None
    settled: Annotated[int | None, Field(description="outcomes that the memory holds")] = None
    evidence: EvidenceBody | None = None
    decisions: Annotated[dict[str, int] | None, Field(description="by reason, since the agent began")] = None
    breaker: BreakerBody | None = None
    chroma: ChromaBody | None = None
    pid: int | None = None


class FeedHealthBody(BaseModel):
    """`starting`: wait. `failed`: see why. `ready`: act on it. `stale`: being mended. `dead`: begun anew."""

    model_config = ConfigDict(extra="allow")

    state: Literal["starting", "failed", "ready", "stale", "dead"]
    reason: str


class FeedBody(BaseModel):
    """One feed: its health, books, clock, latencies by stage, and what its crossover and its paper account did."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(description="venue:symbol")]
    health: FeedHealthBody
    trouble: Annotated[str | None, Field(description="why it is not running; null: it is")]


class FeedsBody(_Shown):
    """Every live feed of the service."""

    feeds: list[FeedBody]


class ResetBody(_Shown):
    """What the breaker was before."""

    was_open: bool


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

# Bodies that are read by hand, as OpenAPI describes them.

READ_BY_HAND = (SignalBody, PolicyBody, SymbolBody, TextBody, ProblemBody)
"""What handlers do not declare, so that FastAPI does not know of it."""

_SIGNAL = {"$ref": "#/components/schemas/SignalBody"}
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
        "application/json": {"schema": _SIGNAL, "examples": SIGNAL_EXAMPLES},
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
SIMILAR_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"anyOf": [{"$ref": "#/components/schemas/TextBody"}, _SIGNAL]},
            "examples": {
                "signal": {
                    "summary": "Outcomes like a signal",
                    "value": SIGNAL_EXAMPLES["identified"]["value"],
                },
                "text": {"summary": "Outcomes by the words of their texts", "value": {"text": "fear rates"}},
            },
        }
    },
}
BATCH_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        kind: {
            "schema": {"type": "array", "items": _SIGNAL}
            if kind == "application/json"
            else {"type": "string"},
            "examples": {"example": {"summary": summary, "value": value}},
        }
        for kind, (summary, value) in BATCH_EXAMPLES.items()
    }
    | {"application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}}},
}


def object_content(model: type[BaseModel], **example: Any) -> dict[str, Any]:
    """A JSON object of that model."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
