import inspect

import orjson
import pytest
from starlette.exceptions import HTTPException

from raysignal.engine.core import errors
from raysignal.engine.core.errors import (
    AgentUnavailable,
    ChromaUnavailable,
    Fenced,
    IdentityConflict,
    InputTooLarge,
    InvalidField,
    JournalDamaged,
    LateSignal,
    ModelRefused,
    ModelUnavailable,
    NotFound,
    PortfolioConflict,
    PriceJump,
    RaysignalError,
    RowErrors,
    SettingsError,
    StoreError,
    StoreUnavailable,
    Unauthorized,
    UnreadableInput,
    UnsafeStore,
    UnsupportedMedia,
)
from raysignal.serve.problems import problem_of, problem_of_http, problem_unexpected

LATE = LateSignal("BTC", "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z")
FIELD = InvalidField("price", -1, "a number above 0")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnreadableInput("x"), 400),
        (Unauthorized("x"), 401),
        (NotFound("x"), 404),
        (LATE, 409),
        (IdentityConflict("a"), 409),
        (PortfolioConflict("x"), 409),
        (InputTooLarge("x"), 413),
        (UnsupportedMedia("x"), 415),
        (FIELD, 422),
        (PriceJump("BTC", 1.0, 100.0, 5.0), 422),
        (RowErrors([FIELD], 2), 422),
        (RowErrors([LATE, LATE], 2), 409),
        (RowErrors([LATE, FIELD], 2), 422),
        (StoreUnavailable("x"), 503),
        (AgentUnavailable("x"), 503),
        (ModelUnavailable("x"), 503),
        (ModelRefused("m", "x"), 422),
        (ChromaUnavailable("x"), 503),
        (Fenced("x"), 503),
        (JournalDamaged("x"), 500),
        (UnsafeStore("x"), 500),
        (StoreError("x"), 500),
        (SettingsError("x"), 500),
        (RaysignalError("x"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_error_has_its_status(error: RaysignalError, status: int) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert problem.body["status"] == status
    assert problem.body["detail"] == str(error)
    assert problem.body["type"].startswith("urn:raysignal:problem:")


def test_every_kind_of_error_in_the_tree_has_a_row_of_its_own_in_the_table() -> None:
    from raysignal.serve.problems import TABLE

    tree = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RaysignalError)
    }
    assert {kind for kind, _, _ in TABLE} == tree


def test_no_row_of_the_table_hides_a_later_one() -> None:
    from raysignal.serve.problems import TABLE

    for index, (kind, _, _) in enumerate(TABLE):
        assert not any(issubclass(kind, earlier) for earlier, _, _ in TABLE[:index])


def test_the_fields_of_an_error_stand_beside_the_standard_members() -> None:
    body = problem_of(FIELD).body
    assert body["field"] == "price"
    assert body["value"] == "-1"
    assert body["expected"] == "a number above 0"
    assert "row" not in body
    assert body["type"] == "urn:raysignal:problem:invalid-field"


def test_a_field_cannot_take_the_place_of_a_standard_member() -> None:
    assert problem_of(NotFound("gone", status=200, title="fine")).body["status"] == 404


def test_a_problem_goes_out_as_problem_json() -> None:
    response = problem_of(LATE).response()
    assert response.media_type == "application/problem+json"
    assert orjson.loads(response.body)["high_water_mark"] == "2025-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (Unauthorized("x"), "www-authenticate"),
        (StoreUnavailable("x"), "retry-after"),
        (AgentUnavailable("x"), "retry-after"),
        (ChromaUnavailable("x", retry_after_s=3), "retry-after"),
        (Fenced("x"), "retry-after"),
        (InputTooLarge("x"), "connection"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_what_the_caller_shall_do_stands_in_the_headers(error: RaysignalError, header: str) -> None:
    assert header in problem_of(error).headers


def test_a_wrong_method_names_the_right_ones() -> None:
    problem = problem_of_http(HTTPException(405, headers={"Allow": "POST"}))
    assert problem.status == 405
    assert problem.headers["Allow"] == "POST"


def test_an_unexpected_error_shows_its_id_and_nothing_else() -> None:
    body = problem_unexpected("abc123").body
    assert body["error_id"] == "abc123"
    assert set(body) == {"type", "title", "status", "detail", "error_id"}
