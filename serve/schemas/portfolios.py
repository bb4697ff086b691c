"""Portfolios, their policies and figures."""

from typing import Annotated, Literal

from pydantic import Field

from raysignal.engine.core.policy import MAX_CASH, MAX_LEVEL_BPS, MAX_PERIODS_PER_YEAR, MIN_CASH
from raysignal.serve.schemas.shared import NAME_PATTERN, Basis, Instant, PortfolioName, Share, Shown


class PolicyBody(Shown):
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


class SymbolBody(Shown):
    """Another name of a symbol, under which an open position goes on."""

    formerly: Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]
    symbol: Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]


class RenamedBody(SymbolBody):
    """Whether there was something to rename: a position under the old name, and none known under the new one."""

    portfolio: PortfolioName
    renamed: bool


class BuyAndHoldBody(Shown):
    """The same figures for buying at the first price and keeping it."""

    total_return: Share
    sharpe: float | None
    sortino: float | None
    max_drawdown: Share
    calmar: float | None
    sharpe_per_period: float | None
    sortino_per_period: float | None
    return_over_drawdown: float | None


class PerformanceBody(Shown):
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


class StandingBody(Shown):
    """A portfolio as it stands, after journal record `sequence`, which is durable.

    Of a pipeline's portfolio, `signals` and `sequence` count its prices and fills.
    """

    portfolio: PortfolioName
    policy: PolicyBody
    symbols: list[str]
    signals: int
    as_of: Instant | None
    sequence: int
    performance: PerformanceBody


class PortfoliosBody(Shown):
    """Every portfolio, by name."""

    portfolios: list[StandingBody]


class MeanBody(Shown):
    """A mean per signal with its 95 % interval, over the latest signals; null where they are too few for one."""

    mean_bps: Basis
    low_bps: Basis
    high_bps: Basis
    n: int


class OverruledBody(Shown):
    """How many signals were overruled, and how many of them are judged by now."""

    flip: int
    hold: int
    judged: int


class CompareBody(Shown):
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
