"""Trades and what they come to."""

from typing import Annotated, Literal

from pydantic import Field

from raysignal.engine.portfolio.trades import REASONS
from raysignal.serve.schemas.shared import Instant, PortfolioName, Share, Shown

TradeReason = Annotated[str, Field(description=f"one of {', '.join(REASONS)}")]


class TradeBody(Shown):
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
    slippage: Annotated[
        float | None,
        Field(
            description="of a pipeline: what fills cost against the prices decided at, in money; else absent"
        ),
    ] = None
    funding: Annotated[
        float | None, Field(description="of a pipeline: what the position paid as funding; else absent")
    ] = None
    pnl: Annotated[float, Field(description="after all fees and funding")]
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


class TradesBody(Shown):
    """A page of trades: closed ones in the order in which they closed, open ones in that of their opening."""

    portfolio: PortfolioName
    trades: list[TradeBody]
    cursor: Annotated[str | None, Field(description="for the next page; null when there is none now")]


class DistributionBody(Shown):
    """How many trades had a return in each bin; the outer bins hold what lies beyond them, too."""

    edges: Annotated[list[float], Field(description="one more than counts")]
    counts: list[int]


class TradeSummaryBody(Shown):
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
