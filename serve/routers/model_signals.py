"""Signals of a model (`/api/signals/`), under the paths that users of such services know, and what the root says.

A generated signal is an ordinary signal of a portfolio: what is read here is read from its history and its trades.
"""

import asyncio
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from raysignal.agents.inference.signals import SOURCE, generated_signal, is_generated
from raysignal.agents.inference.values import ModelSignal
from raysignal.engine.core.errors import NotFound, RaysignalError
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.portfolio.receipts import RecentRows
from raysignal.engine.portfolio.trade_files import TradeReader
from raysignal.engine.portfolio.trade_summary import trade_rows
from raysignal.serve.cursors import PageQuery
from raysignal.serve.history import HistoryQuery, newest_rows
from raysignal.serve.model_signals import read_asked
from raysignal.serve.parameters import (
    NO_PARAMETERS,
    ModelHistoryParameters,
    ModelPositionParameters,
    Parameters,
    SymbolParameters,
    read_object,
)
from raysignal.serve.problems import JSON, problem_responses
from raysignal.serve.replica import Line, ReplicaState, State
from raysignal.serve.routers.signals import SignalRoute
from raysignal.serve.schemas.model import ActiveModelBody
from raysignal.serve.schemas.model_signals import (
    GENERATE_EXAMPLE,
    ActivePositionsBody,
    ClosedPositionsBody,
    GenerateBody,
    GenerateFromBarsBody,
    HealthBody,
    ModelSignalBody,
    ModelSignalsBody,
    ModelStatisticsBody,
    RootBody,
)
from raysignal.serve.schemas.shared import object_content
from raysignal.serve.schemas.signals import IDEMPOTENCY_KEY

open_router = APIRouter(dependencies=[NO_PARAMETERS])
"""What nobody is asked for credentials for."""
router = APIRouter(prefix="/api/signals", responses=problem_responses(503))
quick_router = APIRouter(
    prefix="/api/signals", route_class=SignalRoute, responses=problem_responses(400, 408, 409, 413, 415, 503)
)
"""What is asked often, and is routed first."""
_HEALTH_S = 2.0


@open_router.get(
    "/",
    summary="What this service is; a browser is led to its documentation",
    response_model=RootBody,
    responses={307: {"description": "to the documentation, for whoever takes HTML first"}},
)
async def get_root(replica: State, request: Request) -> Any:
    # A program that takes anything gets JSON; a browser names text/html first.
    if request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip() == "text/html":
        return RedirectResponse("/docs", 307)
    return {
        "service": "raysignal",
        "version": version("raysignal"),
        "documentation": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
        "signals": {f"{method} {path}": summary for method, path, summary in _operations()},
        "model": await _model_state(replica),
    }


@open_router.get("/health", summary="Alive, and whether a model speaks", response_model=HealthBody)
async def get_health(replica: State) -> Any:
    return {"status": "ok", "model": await _model_state(replica)}


async def _model_state(replica: ReplicaState) -> str:
    """Whether a model speaks; one that has not been needed yet is not begun for this."""
    try:
        async with asyncio.timeout(_HEALTH_S):
            info = await replica.asked_models().standing()
    except (RaysignalError, TimeoutError):
        return "unavailable"
    if info is None or info["placeholder"]:
        return "placeholder"
    return "ready" if info["speaks"] else "unavailable"


@router.get(
    "/latest",
    summary="The last generated signal",
    response_model=ModelSignalBody,
    responses=problem_responses(404),
)
async def get_latest_signal(asked: Annotated[SymbolParameters, Query()], replica: State) -> Any:
    signals: list[ModelSignal] = []
    recent = await _recent(replica)
    more = None if recent is None else recent.first + sum(map(len, recent.tables))
    while recent is not None and more is not None and not signals:
        signals, more = await _page(
            replica, recent, HistoryQuery(recent.portfolio, symbol=asked.symbol), more, 1
        )
    if not signals:
        about = "" if asked.symbol is None else f" for {asked.symbol}"
        raise NotFound(
            f"no signal has been generated{about} yet; expected one of POST /api/signals/generate",
            field="symbol", value=asked.symbol,
        )  # fmt: skip
    return signals[0].as_dict()


@router.get(
    "/history", summary="Generated signals, the latest first, page by page", response_model=ModelSignalsBody
)
async def get_signal_history(
    asked: Annotated[ModelHistoryParameters, Query()], replica: State, line: Line
) -> Any:
    portfolio = line["portfolio"] = replica.settings.inference.portfolio
    zone = replica.reading().zone
    wanted = HistoryQuery(
        portfolio,
        start_us=None if asked.start is None else parse_instant(asked.start, zone, field="from"),
        end_us=None if asked.end is None else parse_instant(asked.end, zone, field="to"),
        action=Action[asked.action] if asked.action else None,
        symbol=asked.symbol,
    )
    before = None if asked.cursor is None else wanted.after(asked.cursor)
    recent = await _recent(replica)
    if recent is None:
        return {"portfolio": portfolio, "signals": [], "cursor": None}
    signals, more = await _page(replica, recent, wanted, before, asked.limit)
    cursor = None if more is None else wanted.cursor(more)
    return {"portfolio": portfolio, "signals": [each.as_dict() for each in signals], "cursor": cursor}


@quick_router.post(
    "/generate",
    summary="A signal of the model, from a price and what indicators are given",
    response_model=ModelSignalBody,
    openapi_extra={
        "parameters": [IDEMPOTENCY_KEY],
        "requestBody": object_content(GenerateBody, **GENERATE_EXAMPLE),
    },
)
async def post_generate(request: Request, parameters: Annotated[Parameters, Query()]) -> Response:  # noqa: ARG001 - none
    return await _generated(request, from_bars=False)


@quick_router.post(
    "/generate-from-db",
    summary="A signal of the model at the end of the last bar in the database",
    response_model=ModelSignalBody,
    responses=problem_responses(404),
    openapi_extra={
        "parameters": [IDEMPOTENCY_KEY],
        "requestBody": object_content(GenerateFromBarsBody, symbol="binance-usdm:BTCUSDT"),
    },
)
async def post_generate_from_db(request: Request, parameters: Annotated[Parameters, Query()]) -> Response:  # noqa: ARG001 - none
    return await _generated(request, from_bars=True)


async def _generated(request: Request, *, from_bars: bool) -> Response:
    replica: ReplicaState = request.app.state.replica
    line = request.state.line
    line["portfolio"] = replica.settings.inference.portfolio
    body = await read_object(request, replica.settings.intake.max_signal_bytes)
    asked = read_asked(body, replica.reading(), request.headers.get("idempotency-key"), from_bars=from_bars)
    generate = replica.generator.generate_from_bars if from_bars else replica.generator.generate
    signal = await generate(asked)
    line |= {"signal_id": signal.signal_id, "placeholder": signal.placeholder}
    return Response(orjson.dumps(signal.as_dict()), media_type=JSON)


@router.get(
    "/positions/active", summary="Open positions at their last prices", response_model=ActivePositionsBody
)
async def get_active_positions(asked: Annotated[SymbolParameters, Query()], replica: State) -> Any:
    recent = await _recent(replica)
    positions: list[dict[str, Any]] = []
    if recent is not None:
        reader = TradeReader(replica.blobs, recent.portfolio, recent)
        positions = trade_rows(await asyncio.to_thread(reader.open, symbol=asked.symbol))
        levels = await asyncio.gather(*(_levels(replica, each["entry_signal_id"]) for each in positions))
        positions = [each | own for each, own in zip(positions, levels, strict=True)]
    return {
        "portfolio": replica.settings.inference.portfolio,
        "positions": positions,
        "unrealised_pnl": float(np.sum([each["pnl"] for each in positions])),
    }


@router.get("/positions/closed", summary="Closed positions, page by page", response_model=ClosedPositionsBody)
async def get_closed_positions(asked: Annotated[ModelPositionParameters, Query()], replica: State) -> Any:
    portfolio = replica.settings.inference.portfolio
    wanted = ClosedQuery(portfolio, asked.symbol)
    after = wanted.after(asked.cursor)
    recent = await _recent(replica)
    if recent is None:
        return {"portfolio": portfolio, "positions": [], "cursor": None}
    reader = TradeReader(replica.blobs, portfolio, recent)
    trades = await asyncio.to_thread(reader.closed, symbol=asked.symbol, after=after, limit=asked.limit + 1)
    shown = trades.slice(0, asked.limit)
    cursor = wanted.cursor(shown["exit_ordinal"][-1].as_py()) if len(trades) > len(shown) else None
    return {"portfolio": portfolio, "positions": trade_rows(shown), "cursor": cursor}


@router.get(
    "/statistics",
    summary="What became of generated signals, and how quickly they are made",
    response_model=ModelStatisticsBody,
    dependencies=[NO_PARAMETERS],
)
async def get_statistics(replica: State) -> Any:
    portfolio = replica.settings.inference.portfolio
    recent, statistics = await asyncio.gather(_recent(replica), replica.asked_models().statistics())
    answer: dict[str, Any] = {
        "portfolio": portfolio, "signals": statistics["signals"], "trades": 0, "win_rate": None,
        "pnl": 0.0, "fees": 0.0, "open": 0, "unrealised_pnl": 0.0, "equity": None, "total_return": None,
        "requests": statistics["counts"],
        "latency_ms": statistics["latency_ms"], "inference_ms": statistics["inference_ms"],
    }  # fmt: skip
    if recent is not None:
        reader = TradeReader(replica.blobs, portfolio, recent)
        summary, standing = await asyncio.gather(
            asyncio.to_thread(reader.summary), replica.portfolios.standing(portfolio)
        )
        performance = standing.as_dict()["performance"]
        answer |= {
            name: summary[name] for name in ("trades", "win_rate", "pnl", "fees", "open", "unrealised_pnl")
        }
        answer |= {name: performance[name] for name in ("equity", "total_return")}
    return answer


@router.get(
    "/model/info",
    summary="The model that speaks, and what it needs",
    response_model=ActiveModelBody,
    dependencies=[NO_PARAMETERS],
)
async def get_model_info(replica: State) -> Any:
    return await replica.asked_models().info()


@dataclass(frozen=True, slots=True)
class ClosedQuery(PageQuery):
    """Which closed positions are asked for; None: of any symbol."""

    symbol: str | None


async def _recent(replica: ReplicaState) -> RecentRows | None:
    """What is not in the history of the portfolio yet; None: it has not been made, since nothing was generated."""
    try:
        return await replica.portfolios.recent(replica.settings.inference.portfolio)
    except NotFound:
        return None


async def _levels(replica: ReplicaState, signal_id: str | None) -> dict[str, float | None]:
    """Stop and target of the signal that opened a position."""
    if signal_id is None:
        return {"stop_loss": None, "take_profit": None}
    taken = (await replica.portfolios.find(replica.settings.inference.portfolio, signal_id)).batch.signal(0)
    return {"stop_loss": taken.stop_loss, "take_profit": taken.take_profit}


async def _page(
    replica: ReplicaState, recent: RecentRows, wanted: HistoryQuery, before: int | None, limit: int
) -> tuple[list[ModelSignal], int | None]:
    """Generated signals, the latest first, and before which row there may be more."""
    rows, more = await asyncio.to_thread(
        newest_rows, replica.blobs, recent, wanted, source=SOURCE, before=before, limit=limit
    )
    taken = [
        Signal(
            row["symbol"], parse_instant(row["timestamp"]), Action[row["signal"]], row["price"], row["source"],
            row["signal_id"], row["features"], size=row.get("size"), stop_loss=row.get("stop_loss"),
            take_profit=row.get("take_profit"), confidence=row.get("confidence"),
        )
        for row in rows
    ]  # fmt: skip
    return [generated_signal(each) for each in taken if is_generated(each)], more


def _operations() -> list[tuple[str, str, str]]:
    """Method, path and summary of what stands here."""
    return [
        (method, route.path, route.summary or "")
        for route in (*quick_router.routes, *router.routes)
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
