"""The agent: how it stands, what its memory knows, and its breaker."""

from typing import Any

from fastapi import APIRouter

from raysignal.runtime.agent_settings import why_off
from raysignal.serve.parameters import NO_PARAMETERS
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import State
from raysignal.serve.schemas.agent import AccuracyBody, AgentBody, PatternsBody, ResetBody

router = APIRouter(dependencies=[NO_PARAMETERS], responses=problem_responses(503))
NO_AGENT = problem_responses(404)


@router.get(
    "/agent",
    summary="How the agent stands",
    response_model=AgentBody,
    response_model_exclude_unset=True,
)
async def get_agent(replica: State) -> Any:
    if replica.agent is None:
        return {"on": False, "why": why_off(replica.settings)}
    return await replica.agent.status()


@router.post("/agent/reset", summary="Close the breaker", response_model=ResetBody, responses=NO_AGENT)
async def post_agent_reset(replica: State) -> Any:
    return {"was_open": await replica.asked_agent().reset()}


@router.get(
    "/memory/accuracy",
    summary="How often signals were right, by what they have in common",
    response_model=AccuracyBody,
    responses=NO_AGENT,
)
async def get_accuracy(replica: State) -> Any:
    return await replica.asked_agent().read("accuracy")


@router.get(
    "/memory/patterns",
    summary="What has been right or wrong more often than the drift explains",
    response_model=PatternsBody,
    responses=NO_AGENT,
)
async def get_patterns(replica: State) -> Any:
    return await replica.asked_agent().read("patterns")
