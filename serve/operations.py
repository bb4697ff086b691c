"""Every operation of the API as a value: what OpenAPI shows of it, and which handler answers it."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from raysignal.serve import schemas
from raysignal.serve.metrics import CONTENT_TYPE
from raysignal.serve.problems import PROBLEM_JSON

JSON = "application/json"

MEANING = {
    400: "not what the content type says, or cut off",
    401: "no credentials, or wrong ones",
    403: "for another host, or from a page of another program",
    404: "no such portfolio or signal",
    408: "the body did not come to its end within its time",
    409: "the state refuses it (late, or the same identity with other content); nothing changed",
    413: "the body is over the limit",
    415: "a content type that is not taken",
    422: "a field, a row or a parameter cannot be used; nothing changed",
    500: "the service failed; the answer has the id of its log line",
    503: "not durable now; the same request may be sent again, and cannot count twice",
}

Parameter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        handler: the name of the method of `Routes` that answers.
        answers: the body of each status that is no problem; None: not JSON.
        problems: statuses that may come beside 422 and 500, which may always.
        body: OpenAPI's request body.
        signed: a webhook's signature is taken in place of the key.
        open: nobody is asked for credentials.
    """

    method: str
    path: str
    handler: str
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: dict[str, Any] | None = None
    signed: bool = False
    open: bool = False

    def responses(self, *, secured: bool) -> dict[int | str, dict[str, Any]]:
        """Every status it may answer with, as OpenAPI has it."""
        described: dict[int | str, dict[str, Any]] = {
            status: _answer(model) for status, model in self.answers.items()
        }
        slow = {408} if self.body is not None else set()
        asked = {401} if not self.open else set()
        refusals = {*self.problems, 422, 500} | slow | (asked if secured else {403})
        return described | {status: _problem(status) for status in sorted(refusals)}


def ref(model: type[BaseModel]) -> dict[str, str]:
    """The reference to a model's schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _answer(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {
            "description": "text",
            "content": {CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string"}}},
        }
    description = (model.__doc__ or "").partition(".")[0]
    return {"description": description, "content": {JSON: {"schema": ref(model)}}}


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": MEANING[status],
        "content": {PROBLEM_JSON: {"schema": ref(schemas.ProblemBody)}},
    }


def _parameter(place: str, name: str, schema: dict[str, Any], text: str, **more: Any) -> Parameter:
    return {
        "in": place,
        "name": name,
        "schema": schema,
        "description": text,
        "required": place == "path",
    } | more


def _query(name: str, schema: dict[str, Any], text: str) -> Parameter:
    return _parameter("query", name, schema, text)


_NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"}
_INSTANT = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-"}
_FLAG = {"type": "boolean", "default": False}
_PORTFOLIO = _query("portfolio", _NAME, "the portfolio; the primary one if missing")
_ACCEPT = _query("accept_price_jump", _FLAG, "believe prices however far they are from the last one")
_KEY = _parameter(
    "header",
    "Idempotency-Key",
    {"type": "string", "maxLength": 128},
    "the identity of a body without signal_id",
)


def _signal_body() -> dict[str, Any]:
    content = {"schema": ref(schemas.SignalBody), "examples": schemas.SIGNAL_EXAMPLES}
    plain = {
        "schema": {"type": "string"},
        "examples": {
            "webhook": {"summary": "JSON as text, as webhooks send it", "value": schemas.TEXT_EXAMPLE}
        },
    }
    return {"required": True, "content": {JSON: content, "text/plain": plain}}


def _batch_body() -> dict[str, Any]:
    content: dict[str, Any] = {}
    for kind, (summary, value) in schemas.BATCH_EXAMPLES.items():
        schema = {"type": "array", "items": ref(schemas.SignalBody)} if kind == JSON else {"type": "string"}
        content[kind] = {"schema": schema, "examples": {"example": {"summary": summary, "value": value}}}
    content["application/vnd.apache.parquet"] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}


def _policy_body() -> dict[str, Any]:
    return {
        "required": True,
        "content": {JSON: {"schema": ref(schemas.PolicyBody), "example": schemas.POLICY_EXAMPLE}},
    }


def _symbol_body() -> dict[str, Any]:
    return {
        "required": True,
        "content": {JSON: {"schema": ref(schemas.SymbolBody), "example": schemas.SYMBOL_EXAMPLE}},
    }


OPERATIONS = (
    Operation(
        "POST", "/signal", "post_signal", "Take one signal in",
        {200: schemas.ReceiptBody}, (400, 404, 409, 413, 415, 503),
        (_PORTFOLIO, _ACCEPT, _KEY), _signal_body(), signed=True,
    ),
    Operation(
        "POST", "/signals", "post_signals", "Take a batch of signals in",
        {200: schemas.BatchBody}, (400, 404, 409, 413, 415, 503),
        (
            _PORTFOLIO,
            _query("on_error", {"enum": ["refuse", "skip"], "default": "refuse"}, "all or nothing, or what can be"),
            _ACCEPT,
            _query("receipts", _FLAG, "send every row's receipt along"),
        ),
        _batch_body(), signed=True,
    ),
    Operation(
        "GET", "/portfolios", "get_portfolios", "Every portfolio", {200: schemas.PortfoliosBody}, (503,),
    ),
    Operation(
        "PUT", "/portfolios/{name}", "put_portfolio", "Create a portfolio",
        {201: schemas.StandingBody, 200: schemas.StandingBody}, (400, 409, 413, 415, 503),
        (_parameter("path", "name", _NAME, "its name", example="swing"),), _policy_body(),
    ),
    Operation(
        "POST", "/portfolios/{name}/symbols", "post_symbol", "Let a position go on under another name of its symbol",
        {200: schemas.RenamedBody}, (400, 404, 409, 413, 415, 503),
        (_parameter("path", "name", _NAME, "the portfolio", example="baseline"),), _symbol_body(),
    ),
    Operation(
        "GET", "/performance", "get_performance", "The primary portfolio",
        {200: schemas.StandingBody}, (503,),
    ),
    Operation(
        "GET", "/performance/compare", "get_compare", "The primary portfolio beside the enhanced one",
        {200: schemas.CompareBody}, (404, 503),
    ),
    Operation(
        "GET", "/performance/{portfolio}", "get_performance", "One portfolio",
        {200: schemas.StandingBody}, (404, 503),
        (_parameter("path", "portfolio", _NAME, "its name", example="baseline"),),
    ),
    Operation(
        "GET", "/history", "get_history", "Processed signals, oldest first, page by page",
        {200: schemas.HistoryBody}, (404, 503),
        (
            _PORTFOLIO,
            _query("from", _INSTANT, "no earlier than this"),
            _query("to", _INSTANT, "earlier than this"),
            _query("action", {"enum": ["SELL", "HOLD", "BUY"]}, "these signals only"),
            _query("symbol", {"type": "string", "minLength": 1}, "this symbol only"),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1000}, "rows a page"),
            _query("cursor", {"type": "string"}, "from the page before"),
        ),
    ),
    Operation(
        "GET", "/decisions/{signal_id}", "get_decision", "Why a signal was traded, or not",
        {200: schemas.DecisionPage}, (404, 503),
        (
            _parameter("path", "signal_id", {"type": "string", "minLength": 1}, "its identity", example="alert-0001"),
            _PORTFOLIO,
        ),
    ),
    Operation(
        "GET", "/memory/accuracy", "get_accuracy", "How often signals were right, by what they have in common",
        {200: schemas.AccuracyBody}, (404, 503),
    ),
    Operation(
        "GET", "/memory/patterns", "get_patterns", "What has been right or wrong more often than the drift explains",
        {200: schemas.PatternsBody}, (404, 503),
    ),
    Operation(
        "GET", "/agent", "get_agent", "How the agent stands", {200: schemas.AgentBody}, (503,),
    ),
    Operation(
        "POST", "/agent/reset", "post_agent_reset", "Close the breaker",
        {200: schemas.ResetBody}, (404, 503),
    ),
    Operation(
        "GET", "/feed", "get_feed", "How the live feeds stand", {200: schemas.FeedsBody},
    ),
    Operation("GET", "/healthz", "get_healthz", "Alive", {200: schemas.StatusBody}, open=True),
    Operation("GET", "/readyz", "get_readyz", "Able to commit", {200: schemas.StatusBody}, (503,)),
    Operation("GET", "/metrics", "get_metrics", "Counts for Prometheus", {200: None}, (503,)),
)  # fmt: skip
