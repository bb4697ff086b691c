"""Events of the decision path that are no market data: what one stage says to the next. Frozen, encoded by msgspec.

    Trade, BookChange, Quote (`engine.core.market_events`)
      -> Candle -> StrategySignal -> AggregatedSignal -> PositionDecision -> RiskVerdict -> PlannedOrder
      -> OrderFill -> TradeAttribution

Each has an identity that follows from what it is about and never from when or where it was made, so an event that is
delivered twice is known. Its sequence is its place in the stream that it is read from (`engine.pipeline.bus`).
Instants are UTC microseconds; prices and equity are in the quote currency; sides are 1 long, -1 short, 0 flat.
"""

from enum import StrEnum

import msgspec


class PathEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all have.

    Attributes:
        at_us: when it was known, the market's time.
        symbol: the portfolios' name of the instrument; empty: all of them.
    """

    at_us: int
    symbol: str

    @property
    def identity(self) -> str:
        """Unique among the events of its kind."""
        return f"{self.symbol}:{self.at_us}"


class BookSummary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The best prices of an order book and what rests there, sizes as `Candle.volume`; 0: an empty side."""

    bid: float
    bid_size: float
    ask: float
    ask_size: float


class ContractSummary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was known of a contract; NaN: not known. Sizes as `Candle.volume`.

    Attributes:
        funding_rate, mark, index, open_interest: as the venue said them last; see `ContractState`.
        longs, shorts: that were liquidated within the candle.
    """

    funding_rate: float
    mark: float
    index: float
    open_interest: float
    longs: float
    shorts: float


class Candle(PathEvent, frozen=True, kw_only=True, tag="candle", gc=False):
    """What happened in one interval, known at its end, `at_us`.

    Attributes:
        interval_us: its length.
        volume: in the base currency; NaN: not known.
        complete: all of its time was seen. Candles before it may be missing; strategies notice.
        book: the order book at its end; unset: not known, or no feature reads it.
        contract: of a contract, its state at the end; unset as `book` is.
    """

    interval_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool = True
    book: BookSummary | msgspec.UnsetType = msgspec.UNSET
    contract: ContractSummary | msgspec.UnsetType = msgspec.UNSET

    @property
    def identity(self) -> str:
        """By symbol, length and end."""
        return f"{self.symbol}:{self.interval_us}:{self.at_us}"


class CandleBackfill(PathEvent, frozen=True, kw_only=True, tag="backfill"):
    """Candles that were missed, as the venue gives them afterwards; they come too late to be traded on.

    Attributes:
        interval_us: their length.
        candles: in time, each complete.
    """

    interval_us: int
    candles: tuple[Candle, ...]

    @property
    def identity(self) -> str:
        """By symbol, length and instant."""
        return f"{self.symbol}:{self.interval_us}:{self.at_us}"


class StrategySignal(PathEvent, frozen=True, kw_only=True, tag="strategy_signal"):
    """One strategy says which side it wants from a bar on (or a posted signal does).

    Attributes:
        strategy: its name in the configuration; of a posted signal: its source.
        side: 1, -1 or 0.
        price: the bar's close.
        interval_us: of the bars that it follows; 0 for a posted signal.
        signal_id: of a posted signal; empty for a strategy's own.
        confidence: 0 to 1; how far it is to count, beside its weight.
        features: named values that were known then.
        more: another of the same candle follows; they are weighed together.
        ordinal: of a posted signal: its row in the portfolio that it was taken in by; -1: a strategy's own.
    """

    strategy: str
    side: int
    price: float
    interval_us: int = 0
    signal_id: str = ""
    confidence: float = 1.0
    features: dict[str, float] = {}
    more: bool = False
    ordinal: int = -1

    @property
    def identity(self) -> str:
        """Of the posted signal, or by strategy, symbol and bar."""
        return self.signal_id or f"{self.strategy}:{self.symbol}:{self.interval_us}:{self.at_us}"


class Vote(msgspec.Struct, frozen=True):
    """What one strategy stands for in an aggregated signal; `weight` is its share, all together are 1."""

    strategy: str
    side: int
    weight: float
    confidence: float = 1.0


class AggregatedSignal(PathEvent, frozen=True, kw_only=True, tag="aggregated_signal"):
    """What the strategies of a symbol want together, after one of them spoke.

    Attributes:
        score: sum of weight times side times confidence over its votes, -1 to 1.
        side: the side that the score asks for; 0: none that is strong enough (`aggregation.wanted_side`).
        price: of the bar or the posted signal that it follows.
        votes: one a strategy that has spoken on this symbol, in the order of the configuration.
        method: by whose weights: `equal`, `hit_rate`.
        equal_score: what equal weights would say, the control.
    """

    score: float
    side: int
    price: float
    votes: tuple[Vote, ...]
    method: str
    equal_score: float = 0.0


class DecisionQuestion(PathEvent, frozen=True, kw_only=True, tag="question"):
    """Is this aggregated signal to be followed? Answered by a `DecisionAnswer` until `deadline_us`, or by nobody.

    Attributes:
        number: of the path's questions, from 1 on; several can be asked at one instant.
    """

    signal: AggregatedSignal
    deadline_us: int
    number: int

    @property
    def identity(self) -> str:
        """By symbol, instant and number."""
        return f"{self.symbol}:{self.at_us}:{self.number}"


NOBODY = "nobody"


class DecisionAnswer(PathEvent, frozen=True, kw_only=True, tag="verdict"):
    """The answer to a question.

    Attributes:
        question: the number of it.
        side: the side that is to be taken; None: the signal stands.
        reason: why, as a word that can be counted, such as `evidence_against`.
        by: who decided: `gate`, `model`; `signal`, where nothing spoke against it; `NOBODY`, where no answer came.
        explanation: what it rests on, in words.
    """

    question: int
    side: int | None
    reason: str
    by: str
    explanation: str = ""

    @property
    def identity(self) -> str:
        """By symbol and question."""
        return f"{self.symbol}:{self.question}"


class PositionDecision(PathEvent, frozen=True, kw_only=True, tag="decision"):
    """The position that is wanted of a symbol, and who wanted it.

    Attributes:
        side: 1, -1 or 0.
        size: share of the portfolio's equity, 0 to 1; 0 exactly where `side` is.
        price: at which it was decided.
        votes: of the aggregated signal.
        reason: `signal` where nobody was asked, else that of the answer.
        number: of the path's decisions; those that risk makes itself count down from -1.
    """

    side: int
    size: float
    price: float
    votes: tuple[Vote, ...] = ()
    reason: str = "signal"
    number: int = 0

    @property
    def identity(self) -> str:
        """By symbol, instant and number: several can be made at one instant."""
        return f"{self.symbol}:{self.at_us}:{self.number}"


class RiskOutcome(StrEnum):
    """What risk says to a decision."""

    ALLOW = "allow"
    REDUCE = "reduce"
    REFUSE = "refuse"


class RiskVerdict(PathEvent, frozen=True, kw_only=True, tag="risk_verdict"):
    """What of a decision may be carried out.

    Attributes:
        decision: what was asked for.
        outcome: `reduce`: less than that, but nearer to it than what is held.
        target: quantity that is to be held, in the base currency; below 0: short. What is held now, if refused.
        reasons: one sentence for each limit that had something to say, with its name, figure and bound.
    """

    decision: PositionDecision
    outcome: RiskOutcome
    target: float
    reasons: tuple[str, ...] = ()


class PlannedOrder(PathEvent, frozen=True, kw_only=True, tag="order"):
    """An order on its way to the venue; what it is and how far it has come has `engine.core.orders`.

    Attributes:
        client_id: `engine.core.orders.client_id`.
        side: 1 or -1.
        quantity, limit_price: as texts of decimals, in the venue's units (contracts); no limit: a market order.
        decided_price: the price of the decision, for the slippage.
    """

    client_id: str
    side: int
    quantity: str
    limit_price: str | None
    decided_price: float

    @property
    def identity(self) -> str:
        """The client id."""
        return self.client_id


class OrderEnded(PathEvent, frozen=True, kw_only=True, tag="order_ended"):
    """An order that nothing more is filled of: `state` is a final one of `engine.core.orders`, `reason` why."""

    client_id: str
    state: str
    reason: str = ""

    @property
    def identity(self) -> str:
        """The client id."""
        return self.client_id


class OrderFill(PathEvent, frozen=True, kw_only=True, tag="fill"):
    """One execution of an order, or the kernel's own.

    Attributes:
        ordinal: the venue's count of fills of the account; the kernel's rows' own.
        side: 1 or -1.
        quantity, price, fee: as texts of decimals; the quantity in the base currency, the fee in the quote currency.
        decided_price: of the decision that led to it.
    """

    client_id: str
    ordinal: int
    side: int
    quantity: str
    price: str
    fee: str
    decided_price: float

    @property
    def identity(self) -> str:
        """Of the order, and its place in the account."""
        return f"{self.client_id}:{self.ordinal}"


class FundingRateSettled(PathEvent, frozen=True, kw_only=True, tag="funding_rate"):
    """What longs paid shorts, where the market does not say it itself; `rate`: a share of their value, as a text."""

    rate: str


class FundingPayment(PathEvent, frozen=True, kw_only=True, tag="funding"):
    """What a position at the venue paid as funding; texts of decimals.

    Attributes:
        rate: of the position's value that longs pay shorts.
        price: that it was valued at.
        quantity: that was held, in the base currency; below 0: short.
        amount: in the quote currency; below 0: it was received.
    """

    rate: str
    price: str
    quantity: str
    amount: str


class TradeAttribution(PathEvent, frozen=True, kw_only=True, tag="attribution"):
    """The profit of a closed trade, shared out.

    Attributes:
        opened_us: when the position was opened; it was closed at `at_us`.
        pnl: after fees; the sum of `shares` to 1e-9.
        shares: by strategy.
        turnover: what was bought and sold for it, in the quote currency, by strategy.
    """

    opened_us: int
    pnl: float
    shares: dict[str, float]
    turnover: dict[str, float] = {}


class CommandKind(StrEnum):
    """What a person may tell the path to do."""

    HALT = "halt"  # nothing but what makes positions smaller
    FLATTEN = "flatten"  # halt, and close every position
    RESET = "reset"  # trade again


class Command(PathEvent, frozen=True, kw_only=True, tag="command"):
    """A person's order to the path; `reason` may not be empty."""

    command: CommandKind
    who: str
    reason: str

    @property
    def identity(self) -> str:
        """By what is told, by whom and when."""
        return f"{self.command}:{self.who}:{self.at_us}"


class PathRestarted(PathEvent, frozen=True, kw_only=True, tag="restarted"):
    """The process that runs the path began again: connections, candles that were open and paper orders are gone."""


class Alarm(PathEvent, frozen=True, kw_only=True, tag="alarm"):
    """Something a person should look at."""

    code: str
    message: str

    @property
    def identity(self) -> str:
        """By what it is about."""
        return f"{self.code}:{self.symbol}:{self.at_us}"


PathInput = (
    Candle | CandleBackfill | StrategySignal | DecisionAnswer | OrderFill | OrderEnded | FundingPayment
    | FundingRateSettled | Command | PathRestarted
)  # fmt: skip
"""What comes to the path from outside: enough to make everything else again."""

PathOutput = (
    Candle | StrategySignal | AggregatedSignal | DecisionQuestion | DecisionAnswer | PositionDecision | RiskVerdict
    | PlannedOrder | OrderFill | OrderEnded | FundingPayment | TradeAttribution | Alarm
)  # fmt: skip
"""What its stages say."""

encode_event = msgspec.msgpack.Encoder(order="deterministic").encode
"""An event as bytes; the same event always as the same ones."""

_DECODER: msgspec.msgpack.Decoder[PathInput | PathOutput] = msgspec.msgpack.Decoder(PathInput | PathOutput)


def decode_event(data: bytes) -> PathInput | PathOutput:
    """The event that `encode_event` wrote; `msgspec.ValidationError` for other bytes."""
    return _DECODER.decode(data)
