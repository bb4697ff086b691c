"""Portfolios and their performance."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.intake.fields import name_of
from raysignal.serve.parameters import NO_PARAMETERS, Name, read_object
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import Line, State
from raysignal.serve.schemas.portfolios import (
    CompareBody,
    PolicyBody,
    PortfoliosBody,
    RenamedBody,
    StandingBody,
    SymbolBody,
)
from raysignal.serve.schemas.shared import object_content

router = APIRouter(dependencies=[NO_PARAMETERS], responses=problem_responses(503))
NOT_FOUND = problem_responses(404)
CHANGES = problem_responses(400, 408, 409, 413, 415)
COMPARE = "compare"
"""No portfolio can have this name: `GET /performance/compare` is the comparison."""

NamedPortfolio = Annotated[
    Name, Path(description="its name", openapi_examples={"one": {"value": "baseline"}})
]
NewPortfolio = Annotated[Name, Path(description="its name", openapi_examples={"one": {"value": "swing"}})]


@router.get("/portfolios", summary="Every portfolio", response_model=PortfoliosBody)
async def get_portfolios(replica: State) -> Any:
    return {"portfolios": await replica.standings()}


@router.put(
    "/portfolios/{name}",
    summary="Create a portfolio",
    status_code=201,
    response_model=StandingBody,
    responses={
        200: {"model": StandingBody, "description": "It is there, with this policy"},
        **CHANGES,
    },
    openapi_extra={"requestBody": object_content(PolicyBody, fee_bps=4.0, side="long-short")},
)
async def put_portfolio(
    name: NewPortfolio, replica: State, line: Line, request: Request, response: Response
) -> Any:
    replica.target(name)
    if name == COMPARE:
        raise InvalidField("portfolio", name, "another name: GET /performance/compare is the comparison")
    policy = Policy.from_dict(await read_object(request))
    standing, created = await replica.portfolios.create(name, policy)
    line["portfolio"] = name
    response.status_code = 201 if created else 200
    return standing.as_dict()


@router.post(
    "/portfolios/{name}/symbols",
    summary="Let a position go on under another name of its symbol",
    response_model=RenamedBody,
    responses={**NOT_FOUND, **CHANGES},
    openapi_extra={"requestBody": object_content(SymbolBody, formerly="BTCUSDT", symbol="binance:BTCUSDT")},
)
async def post_symbol(name: NamedPortfolio, replica: State, line: Line, request: Request) -> Any:
    replica.target(name)
    body = await read_object(request)
    for field in body.keys() - {"formerly", "symbol"}:
        raise InvalidField(field, body[field], "nothing but formerly and symbol")
    # As signals name them, without the blanks around.
    old, new = (name_of(field, field, body.get(field), None) for field in ("formerly", "symbol"))
    renamed = await replica.portfolios.rename_symbol(name, old, new)
    line["portfolio"] = name
    return {"portfolio": name, "formerly": old, "symbol": new, "renamed": renamed}


@router.get("/performance", summary="The primary portfolio", response_model=StandingBody)
async def get_performance(replica: State, line: Line) -> Any:
    return await get_performance_of(replica.settings.primary, replica, line)


@router.get(
    f"/performance/{COMPARE}",
    summary="The primary portfolio beside the enhanced one",
    response_model=CompareBody,
    responses=NOT_FOUND,
)
async def get_compare(replica: State) -> Any:
    figures = await replica.asked_agent().read("compare")
    baseline, enhanced = await asyncio.gather(
        replica.portfolios.standing(replica.settings.primary),
        replica.portfolios.standing(replica.settings.agent.portfolio),
    )
    return {
        "baseline": baseline.as_dict(), "enhanced": enhanced.as_dict(),
        "behind": max(0, baseline.count - enhanced.count), **figures,
    }  # fmt: skip


@router.get(
    "/performance/{portfolio}",
    summary="One portfolio",
    response_model=StandingBody,
    responses=NOT_FOUND,
)
async def get_performance_of(portfolio: NamedPortfolio, replica: State, line: Line) -> Any:
    line["portfolio"] = portfolio
    return await replica.standing(portfolio)
