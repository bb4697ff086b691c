"""From the error tree to HTTP, once: status, RFC 9457 problem+json, headers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from raysignal.engine.core.errors import (
    AgentUnavailable,
    CassetteMiss,
    ChromaUnavailable,
    Conflict,
    DatabaseTooNew,
    EventsLost,
    ExchangeUnreachable,
    Fenced,
    Forbidden,
    IdentityConflict,
    ImpossibleTransition,
    InputError,
    InputTooLarge,
    InputTooSlow,
    InvalidField,
    JournalBehind,
    JournalDamaged,
    LateSignal,
    LookAhead,
    NotFound,
    OrderError,
    OrderRejected,
    PortfolioConflict,
    PriceJump,
    RaysignalError,
    RowErrors,
    SettingsError,
    StaleSignal,
    StoreError,
    StoreHeld,
    StoreUnavailable,
    StrategyFailed,
    StreamFull,
    Unauthorized,
    UnexplainedDifference,
    UnreadableInput,
    UnsafeStore,
    UnsupportedMedia,
    VenueRefusal,
    WrongDateOrder,
)

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1

# The first row that an error is an instance of says its status and title: the particular before the general. Of rows,
# all of which the state refused, it is 409. 401 comes with WWW-Authenticate, 503 with Retry-After (the same request may
# succeed, and cannot count twice); after 408 and 413 the connection is closed.
TABLE: tuple[tuple[type[RaysignalError], int, str], ...] = (
    (UnreadableInput, 400, "The input is not what it says it is"),
    (UnsupportedMedia, 415, "This content type is not taken"),
    (InputTooSlow, 408, "The request did not come to its end"),
    (InputTooLarge, 413, "The input is over a limit"),
    (StaleSignal, 422, "The signal is too old"),
    (WrongDateOrder, 422, "The order of month and day is wrong"),
    (InvalidField, 422, "A field cannot be used"),
    (PriceJump, 422, "The price is too far from the last one"),
    (VenueRefusal, 422, "The venue refuses what it was asked"),
    (CassetteMiss, 422, "The replay has no record of this question"),
    (RowErrors, 422, "Rows of the batch cannot be used"),
    (InputError, 422, "The input cannot be used"),
    (IdentityConflict, 409, "The signal was taken in before, with other content"),
    (LateSignal, 409, "The signal is before the last one of its symbol"),
    (PortfolioConflict, 409, "The portfolio exists with another policy"),
    (Conflict, 409, "The state does not allow it"),
    (NotFound, 404, "There is no such thing"),
    (Unauthorized, 401, "A key is needed"),
    (Forbidden, 403, "The request is for another host, or from a page of another program"),
    (StreamFull, 503, "A stream of the bus is full"),
    (StoreUnavailable, 503, "The store does not answer"),
    (AgentUnavailable, 503, "The agent does not answer"),
    (ChromaUnavailable, 503, "The index of past outcomes cannot be searched now"),
    (Fenced, 503, "Another writer has taken over"),
    (StoreHeld, 503, "Another process works on the store"),
    (JournalBehind, 500, "The journal lacks records that were acknowledged"),
    (JournalDamaged, 500, "The journal is damaged"),
    (EventsLost, 500, "The bus has lost events"),
    (DatabaseTooNew, 500, "The database is from a later version"),
    (UnsafeStore, 500, "The store is not safe to write to"),
    (StoreError, 500, "The store failed"),
    (OrderRejected, 409, "The exchange does not take the order"),
    (ExchangeUnreachable, 503, "The exchange does not answer"),
    (ImpossibleTransition, 500, "An order cannot go from this state to that one"),
    (UnexplainedDifference, 500, "The stored orders and the exchange disagree"),
    (OrderError, 500, "An order failed"),
    (SettingsError, 500, "The settings cannot be used"),
    (StrategyFailed, 422, "The strategy failed"),
    (LookAhead, 500, "Something was about to be used before it was known"),
    (RaysignalError, 500, "Something went wrong"),
)

MEANINGS = {
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

_CONFLICTS = frozenset(kind.__name__ for kind in (Conflict, IdentityConflict, LateSignal, PortfolioConflict))


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as it goes out: a status, a body of plain JSON values, headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The problem as an answer."""
        return Response(
            orjson.dumps(self.body), self.status, headers=self.headers or None, media_type=PROBLEM_JSON
        )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problems of these statuses, as OpenAPI describes answers."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}


def problem_of(error: RaysignalError) -> Problem:
    """The problem that an error of the tree is; the error's fields stand beside the standard members."""
    status, title = next((status, title) for kind, status, title in TABLE if isinstance(error, kind))
    if isinstance(error, RowErrors) and _all_conflicts(error.fields):
        status = 409
    body = _body(_slug(type(error)), title, status, str(error))
    body |= {name: value for name, value in error.fields.items() if value is not None and name not in body}
    headers: dict[str, str] = {}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="raysignal"'
    elif status == 503:
        headers["retry-after"] = str(error.fields.get("retry_after_s", RETRY_AFTER_S))
    elif status in {408, 413}:
        headers["connection"] = "close"
    return Problem(status, body, headers)


def problem_of_http(error: HTTPException) -> Problem:
    """The problem that the routing raised: no such path, no such method."""
    phrase = HTTPStatus(error.status_code).phrase
    body = _body(phrase.lower().replace(" ", "-"), phrase, error.status_code, str(error.detail))
    return Problem(error.status_code, body, dict(error.headers or {}))


def problem_unexpected(error_id: str) -> Problem:
    """What nobody foresaw: the log says more under the same id, the caller learns nothing of the inside."""
    detail = f"an unexpected error; the log of the service has it under {error_id}"
    return Problem(500, _body("unexpected", "An unexpected error", 500, detail) | {"error_id": error_id})


def _body(slug: str, title: str, status: int, detail: str) -> dict[str, Any]:
    return {"type": f"urn:raysignal:problem:{slug}", "title": title, "status": status, "detail": detail}


def _slug(kind: type[RaysignalError]) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)[1:]


def _all_conflicts(fields: Mapping[str, Any]) -> bool:
    errors = fields.get("errors") or []
    return bool(errors) and all(entry["type"] in _CONFLICTS for entry in errors)
