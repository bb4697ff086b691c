"""The past: processed signals page by page, and why each was traded or not."""

import asyncio
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Path, Query

from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action
from raysignal.serve.history import HistoryQuery, read_rows
from raysignal.serve.logs import ids_shown
from raysignal.serve.parameters import HistoryParameters, PortfolioParameters
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import Line, State
from raysignal.serve.schemas.history import DecisionPage, HistoryBody

router = APIRouter(responses=problem_responses(404, 503))


@router.get(
    "/history",
    summary="Processed signals, oldest first, page by page",
    response_model=HistoryBody,
)
async def get_history(asked: Annotated[HistoryParameters, Query()], replica: State, line: Line) -> Any:
    zone = replica.reading().zone
    wanted = HistoryQuery(
        replica.taking_signals(asked.portfolio),
        start_us=None if asked.start is None else parse_instant(asked.start, zone, field="from"),
        end_us=None if asked.end is None else parse_instant(asked.end, zone, field="to"),
        action=Action[asked.action] if asked.action else None,
        symbol=asked.symbol,
    )
    after = wanted.after(asked.cursor)
    line["portfolio"] = wanted.portfolio
    recent = await replica.portfolios.recent(wanted.portfolio)
    rows, more = await asyncio.to_thread(
        read_rows, replica.blobs, recent, wanted, after=after, limit=asked.limit
    )
    cursor = None if more is None else wanted.cursor(more)
    return {"portfolio": wanted.portfolio, "rows": rows, "cursor": cursor}


@router.get(
    "/decisions/{signal_id:path}",  # an id may hold slashes
    summary="Why a signal was traded, or not",
    response_model=DecisionPage,
    response_model_exclude_unset=True,
)
async def get_decision(
    signal_id: Annotated[
        str, Path(min_length=1, description="its identity", openapi_examples={"one": {"value": "alert-0001"}})
    ],
    asked: Annotated[PortfolioParameters, Query()],
    replica: State,
    line: Line,
) -> Any:
    portfolio = replica.taking_signals(asked.portfolio)
    line |= {"portfolio": portfolio} | ids_shown([signal_id])
    found = await replica.portfolios.find(portfolio, signal_id)
    features = found.batch.signal(0).features
    explanation = orjson.loads(found.decided.explanation) if found.decided.explanation else None
    if explanation is not None:
        explanation["similar"] = f"/memory/similar?{urlencode({'signal_id': signal_id})}"
    return {
        "receipt": found.receipt(),
        # Versions before kept what was sent under the name of a secret.
        "features": {name: value for name, value in features.items() if not is_secret_name(name)},
        "explanation": explanation,
        "policy": found.policy.as_dict(),
        "sequence": found.sequence,
        "record_row": found.record_row,
    }
