"""Operations of the OpenAPI document, fuzzed: no 500, no status or body that the document does not know.

What the document allows is taken and what it forbids is refused, but where no schema can tell: that the stamps of
signals go on, that a text is CSV or JSON, that a cursor is one of a page, that a name has nothing invisible.
"""

from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

ANSWERS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
BEYOND_SCHEMAS = {
    "POST /v1/model/load",
    "POST /v1/model/shadow",
    "POST /v1/model/promote",
    "POST /v1/model/roll-back",
    "POST /portfolios/{name}/symbols",
    "POST /signal",
    "POST /signals",
    "POST /hooks/{token}",
    "GET /history",
    "GET /v1/trades",
    "GET /memory/similar",
    "POST /memory/similar",
    "POST /api/signals/generate",
    "POST /api/signals/generate-from-db",
    "GET /api/signals/latest",
    "GET /api/signals/history",
    "GET /api/signals/positions/closed",
}
WAITS_FOR_CHROMA = {
    "GET /memory/similar",
    "POST /memory/similar",
    "POST /memory/rebuild",
}  # 503 until it is there
SKIPS_ROWS = "POST /signals"  # with on_error=skip it takes what is right beside what is wrong


def fuzzed(
    url: str, portfolio: str, positive: bool, examples: int, wanted: Callable[[str], bool] = lambda _: True
) -> int:
    """Call each operation whose path is wanted with so many generated inputs; how many operations there were.

    Args:
        url: of the service.
        portfolio: that signals are posted to.
        positive: what the document allows; else what it forbids.
        examples: of an operation.
        wanted: tells by a path.
    """
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    mode = GenerationMode.POSITIVE if positive else GenerationMode.NEGATIVE
    count = 0
    for found in document.get_all_operations():
        operation = found.ok()
        if not wanted(operation.path):
            continue
        if not positive and not (operation.path_parameters or operation.query or operation.body):
            continue  # there is nothing that could be wrong
        checks: list[Any] = [*ANSWERS]
        if operation.label in WAITS_FOR_CHROMA:
            checks.remove(not_a_server_error)
        if not positive and operation.label != SKIPS_ROWS:
            checks.append(negative_data_rejection)
        if positive and operation.label not in BEYOND_SCHEMAS | WAITS_FOR_CHROMA:
            checks.append(positive_data_acceptance)

        # What is posted goes to a portfolio of its own: the agent remembers all that the primary one was sent.
        posts = operation.method == "post" and any(one.name == "portfolio" for one in operation.query)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def fuzz(case: Any) -> None:
            # Called before the loop goes on.
            if posts:  # noqa: B023
                case.query = {"portfolio": portfolio} | dict(case.query or {})
            case.call_and_validate(checks=checks, timeout=90.0)  # noqa: B023

        fuzz()
        count += 1
    return count
