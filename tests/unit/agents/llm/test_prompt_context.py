import math
import pickle
from typing import Any

import pytest

from raysignal.agents.llm.prompt_context import Precedent
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import InvalidField
from tests.support.advising import BRIEF, PRECEDENTS, context


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", 0),
        ("action", 2),
        ("price", 0.0),
        ("price", math.nan),
        ("price", math.inf),
        ("allowed", ()),
        ("allowed", (Verdict.FLIP, Verdict.HOLD)),
        ("allowed", (Verdict.APPROVE, Verdict.APPROVE)),
        ("precedents", (PRECEDENTS[0], PRECEDENTS[0])),
    ],
)
def test_a_brief_that_cannot_be_asked_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        context(**{field: value})
    assert refused.value.fields["field"] == field


@pytest.mark.parametrize(
    "values",
    [
        ("", 1, True, (0.0, 0.0, 0.0), 0.0, 0.0),
        ("a", 0, True, (0.0, 0.0, 0.0), 0.0, 0.0),
        ("a", 1, True, (0.0, 0.0), 0.0, 0.0),
        ("a", 1, True, (0.0, math.nan, 0.0), 0.0, 0.0),
        ("a", 1, True, (0.0, 0.0, 0.0), -1.0, 0.0),
        ("a", 1, True, (0.0, 0.0, 0.0), 0.0, math.inf),
    ],
)
def test_a_precedent_that_is_not_settled_and_past_is_refused(values: Any) -> None:
    with pytest.raises(InvalidField):
        Precedent(*values)


def test_a_brief_keeps_what_it_was_given_when_the_giver_changes_its_own() -> None:
    numbers = {"rsi": 1.0}
    kept = context(numbers=numbers)
    numbers["rsi"] = 2.0
    assert kept.numbers == {"rsi": 1.0}


def test_a_brief_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(BRIEF)) == BRIEF
