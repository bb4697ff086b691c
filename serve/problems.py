"""From the error tree to HTTP, once: status, RFC 9457 problem+json, headers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from raysignal.engine.core import errors
from raysignal.engine.core.errors import RaysignalError

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1

# The first row that an error is an instance of says its status and title: the particular before the general. Of rows,
# all of which the state refused, it is 409. 401 comes with WWW-Authenticate, 503 with Retry-After (the same request may
# succeed, and cannot count twice); after 408 and 413 the connection is closed.
TABLE: tuple[tuple[type[RaysignalError], int, str], ...] = (
    (errors.UnreadableInput, 400, "The input is not what it says it is"),
    (errors.UnsupportedMedia, 415, "This content type is not taken"),
    (errors.InputTooSlow, 408, "The request did not come to its end"),
    (errors.InputTooLarge, 413, "The input is over a limit"),
    (errors.StaleSignal, 422, "The signal is too old"),
    (errors.WrongDateOrder, 422, "The order of month and day is wrong"),
    (errors.InvalidField, 422, "A field cannot be used"),
    (errors.PriceJump, 422, "The price is too far from the last one"),
    (errors.VenueRefusal, 422, "The venue refuses what it was asked"),
    (errors.CassetteMiss, 422, "The replay has no record of this question"),
    (errors.ModelRefused, 422, "The model cannot be used"),
    (errors.RowErrors, 422, "Rows of the batch cannot be used"),
    (errors.InputError, 422, "The input cannot be used"),
    (errors.IdentityConflict, 409, "The signal was taken in before, with other content"),
    (errors.LateSignal, 409, "The signal is before the last one of its symbol"),
    (errors.PortfolioConflict, 409, "The portfolio exists with another policy"),
    (errors.Conflict, 409, "The state does not allow it"),
    (errors.NotFound, 404, "There is no such thing"),
    (errors.Unauthorized, 401, "A key is needed"),
    (errors.Forbidden, 403, "The request is for another host, or from a page of another program"),
    (errors.StreamFull, 503, "A stream of the bus is full"),
    (errors.StoreUnavailable, 503, "The store does not answer"),
    (errors.ModelUnavailable, 503, "No model of signals speaks now"),
    (errors.AgentUnavailable, 503, "The agent does not answer"),
    (errors.ChromaUnavailable, 503, "The index of past outcomes cannot be searched now"),
    (errors.Fenced, 503, "Another writer has taken over"),
    (errors.StoreHeld, 503, "Another process works on the store"),
    (errors.JournalBehind, 500, "The journal lacks records that were acknowledged"),
    (errors.JournalDamaged, 500, "The journal is damaged"),
    (errors.EventsLost, 500, "The bus has lost events"),
    (errors.DatabaseTooNew, 500, "The database is from a later version"),
    (errors.UnsafeStore, 500, "The store is not safe to write to"),
    (errors.StoreError, 500, "The store failed"),
    (errors.OrderRejected, 409, "The exchange does not take the order"),
    (errors.ExchangeUnreachable, 503, "The exchange does not answer"),
    (errors.ImpossibleTransition, 500, "An order cannot go from this state to that one"),
    (errors.UnexplainedDifference, 500, "The stored orders and the exchange disagree"),
    (errors.OrderError, 500, "An order failed"),
    (errors.SettingsError, 500, "The settings cannot be used"),
    (errors.StrategyFailed, 422, "The strategy failed"),
    (errors.LookAhead, 500, "Something was about to be used before it was known"),
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

_CONFLICTS = frozenset(
    kind.__name__
    for kind in (errors.Conflict, errors.IdentityConflict, errors.LateSignal, errors.PortfolioConflict)
)


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
    if isinstance(error, errors.RowErrors) and _all_conflicts(error.fields):
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
    refused = fields.get("errors") or []
    return bool(refused) and all(entry["type"] in _CONFLICTS for entry in refused)
