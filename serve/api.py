"""The application: routing, the OpenAPI document, and problems for whatever the routing itself refuses."""

from functools import cache
from importlib.metadata import version
from secrets import token_hex
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from raysignal.engine.core.errors import RaysignalError
from raysignal.runtime.settings import Settings
from raysignal.serve import schemas
from raysignal.serve.access import SIGNATURE_FORM, SIGNATURE_HEADER, SIGNATURE_V2_HEADER
from raysignal.serve.middleware import LINE, noted_problem
from raysignal.serve.operations import OPERATIONS, Operation
from raysignal.serve.page import docs_page
from raysignal.serve.problems import Problem, problem_of_http, problem_unexpected
from raysignal.serve.routes import Routes

_MODELS: tuple[type[BaseModel], ...] = (
    schemas.SignalBody, schemas.PolicyBody, schemas.StandingBody, schemas.PortfoliosBody, schemas.ReceiptBody,
    schemas.BatchBody, schemas.HistoryBody, schemas.DecisionPage, schemas.StatusBody, schemas.ProblemBody,
    schemas.CompareBody, schemas.AccuracyBody, schemas.PatternsBody, schemas.AgentBody, schemas.ResetBody,
    schemas.FeedsBody, schemas.RenamedBody, schemas.SymbolBody,
)  # fmt: skip


def build_api(routes: Routes, settings: Settings) -> FastAPI:
    """The application around the handlers, with `/openapi.json` and `/docs`."""
    secured = settings.api_key is not None or settings.webhook_secret is not None
    api = FastAPI(
        title="raysignal",
        version=version("raysignal"),
        description="Trading signals in exactly once, portfolios on a Ray cluster, performance out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for operation in OPERATIONS:
        path = operation.path.replace("{signal_id}", "{signal_id:path}")  # an id may hold slashes
        handler = getattr(routes, operation.handler)
        api.add_api_route(
            path,
            handler,
            methods=[operation.method],
            summary=operation.summary,
            operation_id=_operation_id(operation),
            responses=operation.responses(secured=secured),
            status_code=min(operation.answers),
            response_class=Response,
            openapi_extra=_extra(operation, settings, secured=secured),
        )
        if operation.method == "GET":
            # The server leaves the body out; what is described is GET.
            api.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)
    own_document = api.openapi

    @cache
    def document() -> dict[str, Any]:
        return _completed(own_document(), settings)

    async def get_docs(_request: Request) -> Response:
        return Response(docs_page(document()), media_type="text/html")

    api.openapi = document  # type: ignore[method-assign]
    api.add_api_route("/", routes.get_root, methods=["GET", "HEAD"], include_in_schema=False)
    api.add_api_route("/docs", get_docs, methods=["GET", "HEAD"], include_in_schema=False)
    api.add_exception_handler(RaysignalError, _refuse)
    api.add_exception_handler(HTTPException, _refuse_route)
    api.add_exception_handler(Exception, _answer_unexpected)
    return api


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RaysignalError)
    return noted_problem(error, request.scope[LINE]).response()


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(problem_of_http(error), request)


def _told(problem: Problem, request: Request) -> Response:
    request.scope[LINE]["problem"] = problem.body["type"]
    return problem.response()


async def _answer_unexpected(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again once this is sent; `ErrorMiddleware` then logs it under the same id.
    error_id = request.scope[LINE]["error_id"] = token_hex(8)
    return problem_unexpected(error_id).response()


def _operation_id(operation: Operation) -> str:
    one = operation.path.endswith("}") and operation.method == "GET"
    return f"{operation.handler}_of" if one and operation.handler == "get_performance" else operation.handler


def _extra(operation: Operation, settings: Settings, *, secured: bool) -> dict[str, Any]:
    extra: dict[str, Any] = {"parameters": list(operation.parameters)}
    if operation.body is not None:
        extra["requestBody"] = operation.body
    if secured and not operation.open:
        extra["security"] = [{"key": []}] if settings.api_key is not None else []
        if operation.signed and settings.webhook_secret is not None:
            extra["security"] += [{name: []} for name in _signatures(settings)]
    return extra


def _signatures(settings: Settings) -> dict[str, str]:
    """The signatures that are taken: name of the scheme to header."""
    names = {"signature_v2": SIGNATURE_V2_HEADER, "signature": SIGNATURE_HEADER}
    return {"signature_v2": SIGNATURE_V2_HEADER} if settings.webhook_strict else names


def _completed(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """FastAPI's document with the schemas that it could not know of, and the ways to prove who one is."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    components = document.setdefault("components", {})
    components["schemas"] = definitions["$defs"]
    schemes: dict[str, Any] = {}
    if settings.api_key is not None:
        schemes["key"] = {"type": "http", "scheme": "bearer"}
    if settings.webhook_secret is not None:
        for name, header in _signatures(settings).items():
            form = SIGNATURE_FORM[header]
            schemes[name] = {"type": "apiKey", "in": "header", "name": header, "description": form}
    if schemes:
        components["securitySchemes"] = schemes
    return document
