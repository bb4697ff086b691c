"""Settled outcomes as the index takes them: what is refused."""

from typing import Any

import numpy as np
import pytest

from raysignal.agents.vectors import VectorRows
from raysignal.engine.core.errors import InvalidField


@pytest.mark.parametrize(
    "vectors", [np.ones(1, np.float32), np.ones((1, 2)), np.array([[1, np.nan]], np.float32)]
)
def test_vectors_that_do_not_fit_are_refused(vectors: Any) -> None:
    with pytest.raises(InvalidField, match="vectors"):
        VectorRows(0, vectors, [""], [{}])


@pytest.mark.parametrize(("texts", "facts"), [(["a", "b"], [{}]), (["a"], [])])
def test_rows_of_other_lengths_are_refused(texts: list[str], facts: list[Any]) -> None:
    with pytest.raises(InvalidField, match=r"rows is .*; expected 1, one a vector"):
        VectorRows(0, np.ones((1, 2), np.float32), texts, facts)
