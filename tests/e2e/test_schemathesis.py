"""Every operation of the OpenAPI document, fuzzed: no 500, no status or body that the document does not know."""

import pytest

from tests.e2e.fuzzing import fuzzed

pytestmark = [pytest.mark.cluster]


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("positive", [True, False])
def test_every_answer_to_fuzzed_input_is_one_that_is_described(
    url: str, portfolio: str, positive: bool, examples: int
) -> None:
    assert fuzzed(url, portfolio, positive, examples) >= (11 if positive else 6)
