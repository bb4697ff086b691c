"""Every operation of the OpenAPI document, fuzzed: no 500, no status or body that the document does not know."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

pytestmark = [pytest.mark.cluster]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


def test_every_answer_to_fuzzed_input_is_one_that_is_described(url: str) -> None:
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    fuzzed = 0
    for found in document.get_all_operations():

        @settings(
            max_examples=100,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=found.ok().as_strategy())
        def fuzz(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        fuzz()
        fuzzed += 1
    assert fuzzed >= 11
