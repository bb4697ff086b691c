"""Whatever is asked, and whatever Chroma answers: no outcome is shown that was not known at `as_of`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.similar_queries import Careless, InProcess, Remembered, remembered, run

pytest.importorskip("chromadb_rust_bindings")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Remembered:
    return remembered(tmp_path_factory.mktemp("world"), 240)


@pytest.fixture(scope="module")
def index(known: Remembered) -> InProcess:
    return InProcess(known.rows)


@given(st.integers(0, 2**32))
def test_what_chroma_finds_was_known_then(known: Remembered, index: InProcess, seed: int) -> None:
    _, refused = run(known, index, 5, np.random.default_rng(seed))
    assert refused == 0


@given(st.integers(0, 2**32))
def test_what_an_index_that_answers_anything_finds_was_known_then_or_is_not_shown(
    known: Remembered, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    index = Careless(known.rows, draws)
    _, refused = run(known, index, 20, draws)
    assert refused == index.rebuilt
