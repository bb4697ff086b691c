"""Trades: positions from their opening to their close, page by page, and what they come to."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from raysignal.engine.portfolio.trade_files import TradeReader
from raysignal.engine.portfolio.trade_summary import trade_rows
from raysignal.serve.cursors import PageQuery
from raysignal.serve.parameters import TradeParameters, TradesOfParameters
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import Line, ReplicaState, State
from raysignal.serve.schemas.trades import TradesBody, TradeSummaryBody

router = APIRouter(prefix="/v1/trades", responses=problem_responses(404, 503))


@dataclass(frozen=True, slots=True)
class TradeQuery(PageQuery):
    """Which trades are asked for; None: of any symbol."""

    status: Literal["closed", "open"]
    symbol: str | None


@router.get(
    "",
    summary="Closed trades as they closed, or open ones at their last prices, page by page",
    response_model=TradesBody,
    response_model_exclude_unset=True,
)
async def get_trades(asked: Annotated[TradeParameters, Query()], replica: State, line: Line) -> Any:
    wanted = TradeQuery(replica.named(asked.portfolio), asked.status, asked.symbol)
    after = wanted.after(asked.cursor)
    line["portfolio"] = wanted.portfolio
    trades = await _trades(replica, wanted, after, asked.limit + 1)
    key = "exit_ordinal" if asked.status == "closed" else "entry_ordinal"
    shown = trades[: asked.limit]
    cursor = wanted.cursor(shown[-1][key]) if len(trades) > len(shown) else None
    return {"portfolio": wanted.portfolio, "trades": shown, "cursor": cursor}


@router.get(
    "/summary",
    summary="What the trades come to: statistics, distribution, the last, best and worst",
    response_model=TradeSummaryBody,
    response_model_exclude_unset=True,
)
async def get_trade_summary(asked: Annotated[TradesOfParameters, Query()], replica: State, line: Line) -> Any:
    portfolio = line["portfolio"] = replica.named(asked.portfolio)
    if replica.is_pipeline(portfolio):
        found = await replica.asked_pipelines().ask(portfolio, "trade_summary", symbol=asked.symbol)
        del found["pipeline"]
        return {"portfolio": portfolio} | found
    reader = await _reader(replica, portfolio)
    return {"portfolio": portfolio} | await asyncio.to_thread(reader.summary, asked.symbol)


async def _trades(replica: ReplicaState, wanted: TradeQuery, after: int, limit: int) -> list[dict[str, Any]]:
    if replica.is_pipeline(wanted.portfolio):
        found = await replica.asked_pipelines().ask(
            wanted.portfolio, "trades", status=wanted.status, symbol=wanted.symbol, after=after, limit=limit
        )
        rows: list[dict[str, Any]] = found["trades"]
        return rows
    reader = await _reader(replica, wanted.portfolio)
    read = reader.closed if wanted.status == "closed" else reader.open
    return trade_rows(await asyncio.to_thread(read, symbol=wanted.symbol, after=after, limit=limit))


async def _reader(replica: ReplicaState, portfolio: str) -> TradeReader:
    return TradeReader(replica.blobs, portfolio, await replica.portfolios.recent(portfolio))
