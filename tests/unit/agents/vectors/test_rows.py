"""Settled outcomes as columns: what is refused, what is left out, and that a part is a part."""

from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.agents.vectors import VectorRows
from raysignal.agents.vectors.rows import same_facts
from raysignal.engine.core.errors import InvalidField

values = st.one_of(
    st.none(), st.text(max_size=4), st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans()
)


def rows(**facts: Any) -> VectorRows:
    count = len(next(iter(facts.values()), [0]))
    return VectorRows(3, np.ones((count, 2), np.float32), {"known_at_us": [5] * count} | facts)


@given(st.lists(st.tuples(values, values), max_size=6), st.data())
def test_parts_of_rows_hold_together_what_the_whole_does(pairs: list[Any], data: st.DataObject) -> None:
    whole = rows(left=[left for left, _ in pairs], right=[right for _, right in pairs])
    middle = data.draw(st.integers(whole.start, whole.stop))
    parts = [whole.part(whole.start, middle), whole.part(middle, whole.stop)]
    assert parts[0].metadata() + parts[1].metadata() == whole.metadata()
    assert (parts[0].stop, parts[1].start, parts[1].stop) == (middle, middle, whole.stop)


@given(st.lists(values, min_size=1, max_size=6))
def test_facts_are_of_four_plain_types_or_left_out(column: list[Any]) -> None:
    for value, facts in zip(column, rows(value=column).metadata(), strict=True):
        if value is None or value == "" or (isinstance(value, float) and not np.isfinite(value)):
            assert facts == {"known_at_us": 5}
        else:
            assert type(facts["value"]) is type(value)
            assert facts["value"] == value


def test_values_of_numpy_and_of_enumerations_become_plain() -> None:
    class Session(StrEnum):
        ASIA = "asia"

    mixed = rows(
        a=[np.int8(-1)], b=[np.float32(0.5)], c=[np.True_], d=np.array([2**53 + 1]), e=[Session.ASIA]
    )
    (facts,) = mixed.metadata()
    assert facts == {"known_at_us": 5, "a": -1, "b": 0.5, "c": True, "d": 2**53 + 1, "e": "asia"}
    assert {type(value) for value in facts.values()} == {int, float, bool, str}


def test_text_without_utf_8_is_replaced() -> None:
    assert rows(note=["a\ud800b"]).metadata() == [{"known_at_us": 5, "note": "a?b"}]


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"known_at_us": [5, 6]}, "known_at_us"),
        ({"known_at_us": [None]}, "known_at_us"),
        ({"known_at_us": [5.0]}, "known_at_us"),
        ({"known_at_us": [5], "chroma:document": ["x"]}, "facts"),
        ({"right": [True]}, "facts"),
    ],
)
def test_facts_that_do_not_fit_are_refused_by_name(facts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        VectorRows(0, np.ones((1, 2), np.float32), facts)
    assert raised.value.fields["field"] == field


@pytest.mark.parametrize(
    "vectors", [np.ones(2, np.float32), np.ones((1, 2)), np.array([[1, np.nan]], np.float32)]
)
def test_vectors_that_do_not_fit_are_refused(vectors: Any) -> None:
    with pytest.raises(InvalidField, match="vectors"):
        VectorRows(0, vectors, {"known_at_us": [5]})


def test_rows_do_not_start_below_the_first_ordinal() -> None:
    with pytest.raises(InvalidField, match="start"):
        VectorRows(-1, np.ones((1, 2), np.float32), {"known_at_us": [5]})


def test_same_facts_allows_the_last_digit_of_a_float_and_nothing_else() -> None:
    settled = [{"gross_bps": -10.725597945701633, "right": True, "action": 1}]
    assert same_facts([settled[0] | {"gross_bps": -10.725597945701631}], settled)
    for other in ({"gross_bps": -10.7255979457}, {"right": False}, {"action": -1}, {"more": 1}):
        assert not same_facts([settled[0] | other], settled)
    assert not same_facts([{"right": True, "action": 1}], settled)
    assert not same_facts([], settled)
