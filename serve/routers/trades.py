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
)
async def get_trades(asked: Annotated[TradeParameters, Query()], replica: State, line: Line) -> Any:
    wanted = TradeQuery(replica.named(asked.portfolio), asked.status, asked.symbol)
    after = wanted.after(asked.cursor)
    line["portfolio"] = wanted.portfolio
    reader = await _reader(replica, wanted.portfolio)
    read = reader.closed if asked.status == "closed" else reader.open
    trades = await asyncio.to_thread(read, symbol=asked.symbol, after=after, limit=asked.limit + 1)
    key = "exit_ordinal" if asked.status == "closed" else "entry_ordinal"
    shown = trades.slice(0, asked.limit)
    cursor = wanted.cursor(shown[key][-1].as_py()) if len(trades) > len(shown) else None
    return {"portfolio": wanted.portfolio, "trades": trade_rows(shown), "cursor": cursor}


@router.get(
    "/summary",
    summary="What the trades come to: statistics, distribution, the last, best and worst",
    response_model=TradeSummaryBody,
)
async def get_trade_summary(asked: Annotated[TradesOfParameters, Query()], replica: State, line: Line) -> Any:
    portfolio = line["portfolio"] = replica.named(asked.portfolio)
    reader = await _reader(replica, portfolio)
    return {"portfolio": portfolio} | await asyncio.to_thread(reader.summary, asked.symbol)


async def _reader(replica: ReplicaState, portfolio: str) -> TradeReader:
    return TradeReader(replica.blobs, portfolio, await replica.portfolios.recent(portfolio))
