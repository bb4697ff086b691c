"""The model that generates signals: which one speaks; another loaded, tried in shadow, promoted, rolled back."""

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.intake.field_names import is_unicode
from raysignal.serve.bodies import read_object
from raysignal.serve.parameters import NO_PARAMETERS
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import Line, State
from raysignal.serve.schemas.model import ActiveModelBody, DigestBody, LoadBody, ShadowBody
from raysignal.serve.schemas.shared import object_content

router = APIRouter(
    prefix="/v1/model", responses=problem_responses(404, 409, 503), dependencies=[NO_PARAMETERS]
)
_BODIES = problem_responses(400, 408, 413, 415)
_LOCATION = "a folder by its full path, or s3://bucket/prefix, of at most 1024 characters"
_DIGEST = "the 64 characters of a digest, as GET /v1/model has it; null: the placeholder"


@router.get(
    "", summary="Which model speaks, and which spoke before or runs in shadow", response_model=ActiveModelBody
)
async def get_model(replica: State) -> Any:
    return await replica.asked_models().info()


@router.post(
    "/load",
    summary="Let another model speak, once it has passed every check",
    response_model=ActiveModelBody,
    responses=_BODIES,
    openapi_extra={"requestBody": object_content(LoadBody, location="/srv/models/usdcop-7")},
)
async def post_load(replica: State, line: Line, request: Request) -> Any:
    location = await _location(request, line)
    if location is None:
        raise InvalidField("location", None, _LOCATION)
    return await replica.asked_models().load(location)


@router.post(
    "/shadow",
    summary="Step another model beside the one that speaks; null: none any more",
    response_model=ActiveModelBody,
    responses=_BODIES,
    openapi_extra={"requestBody": object_content(ShadowBody, location="/srv/models/usdcop-8")},
)
async def post_shadow(replica: State, line: Line, request: Request) -> Any:
    return await replica.asked_models().shadow(await _location(request, line))


@router.post(
    "/promote",
    summary="Let the model in shadow speak, with the state that it has",
    response_model=ActiveModelBody,
    responses=_BODIES,
    openapi_extra={"requestBody": object_content(DigestBody, digest="0" * 64)},
)
async def post_promote(replica: State, line: Line, request: Request) -> Any:
    return await replica.asked_models().promote(await _digest(request, line))


@router.post(
    "/roll-back",
    summary="Let the model speak again that spoke before",
    response_model=ActiveModelBody,
    responses=_BODIES,
    openapi_extra={"requestBody": object_content(DigestBody, digest="0" * 64)},
)
async def post_roll_back(replica: State, line: Line, request: Request) -> Any:
    return await replica.asked_models().roll_back(await _digest(request, line))


async def _field(request: Request, name: str, expected: str) -> str | None:
    """The only field of a body; None: it is null."""
    body = await read_object(request)
    for field in body.keys() - {name}:
        raise InvalidField(field, body[field], f"nothing but {name}")
    value = body.get(name, "")
    if value is not None and not (value and isinstance(value, str) and is_unicode(value)):
        raise InvalidField(name, body.get(name), expected)
    return value


async def _digest(request: Request, line: dict[str, Any]) -> str:
    """The digest that a body names; empty: that of the placeholder."""
    digest = await _field(request, "digest", _DIGEST) or ""
    if digest and not re.fullmatch("[0-9a-f]{64}", digest):
        raise InvalidField("digest", digest, _DIGEST)
    line["model"] = digest
    return digest


async def _location(request: Request, line: dict[str, Any]) -> str | None:
    """Where a body says that the model lies; None: it says null."""
    location = await _field(request, "location", _LOCATION)
    if location is not None and (
        len(location) > 1024
        or not location.isprintable()
        or not ("://" in location or Path(location).is_absolute())
    ):
        raise InvalidField("location", location, _LOCATION)
    line["model"] = location
    return location
