"""The memory's only read against a slow reference: exact, and never a look ahead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.agents.override.memory import OutcomeMemory
from raysignal.agents.override.outcomes import Horizon, Outcomes, Settler
from raysignal.agents.override.situations import Encoder, Situations
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField, LookAhead
from raysignal.engine.core.policy import Policy
from tests.support.effort import examples
from tests.support.override_streams import HORIZONS, MINUTE_US, POLICIES, Shape, rows_of, shapes

EXAMPLES, QUERIES = 125, 800  # 100 000 questions


def remembered(
    batch: SignalBatch, policy: Policy, horizon: Horizon, window: int = 250_000
) -> tuple[OutcomeMemory, Situations, Outcomes]:
    memory, encoder = OutcomeMemory(window), Encoder()
    situations = encoder.encode(batch)
    ordinal, stamps, _, action, price = rows_of(batch)
    symbol = encoder.codes(batch)
    memory.add(ordinal, stamps, symbol, action, situations)
    outcomes = Settler(policy, horizon).feed(ordinal, stamps, symbol, action, price)
    memory.settle(outcomes)
    return memory, situations, outcomes


def distances(situations: Situations, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """float32[n, n], from each row to each other, name by name in single precision."""
    n, one = len(situations), np.float32(1.0)
    total = np.zeros((n, n), np.float32)
    for name, values in enumerate(situations.numbers):
        weight = weights[0][name]
        inverse = situations.scale[:, name] * np.sqrt(weight)
        with np.errstate(over="ignore", invalid="ignore"):
            off = (values[None, :] - values[:, None]) * inverse[:, None]
            squares = np.minimum(off * off, np.float32(9.0) * weight)
        squares = np.where(np.isnan(off), np.float32(2.0) * weight, squares)
        lacks = (inverse == 0.0) | np.isnan(values)
        total += np.where(lacks[:, None], np.float32(0.0), squares)
    for name, masks in enumerate(situations.labels):
        both = np.bitwise_count(masks[None, :] & masks[:, None]).astype(np.float32)
        either = np.maximum(np.bitwise_count(masks[None, :] | masks[:, None]), 1).astype(np.float32)
        apart = np.float32(2.0) * weights[1][name] * (one - both / either)
        total += np.where((masks == 0)[:, None], np.float32(0.0), apart)
    return total


@settings(max_examples=examples(EXAMPLES))
@given(shapes(70, least=5), POLICIES, HORIZONS, st.integers(0, 2**32 - 1), st.sampled_from([3, 40, 250_000]))
def test_recall_is_exact_and_never_looks_ahead(shape, policy, horizon, seed, window):
    batch, draws = shape.batch(), np.random.default_rng(seed)
    memory, situations, outcomes = remembered(batch, policy, horizon, window)
    n, stamps = len(batch), batch.timestamp_us
    weights = (
        (1.0 + 50.0 * draws.random(len(situations.numbers))).astype(np.float32),
        (1.0 + 50.0 * draws.random(len(situations.labels))).astype(np.float32),
    )
    apart = distances(situations, weights)
    known, told = np.full(n, np.iinfo(np.int64).max), np.full(n, n)
    known[outcomes.ordinal], told[outcomes.ordinal] = outcomes.known_at_us, outcomes.exit

    for row, k, as_its_signal in zip(
        draws.integers(0, n, QUERIES).tolist(), draws.choice([1, 2, 7, 400], QUERIES).tolist(),
        (draws.random(QUERIES) < 0.5).tolist(), strict=True,
    ):  # fmt: skip
        as_of = int(stamps[row] if as_its_signal else draws.integers(stamps[0], stamps[-1] + 9 * MINUTE_US))
        before = row if as_its_signal else None
        found = memory.recall(situations, row, as_of, k, weights=weights, before=before)

        end = n if before is None else before
        seen = np.flatnonzero((known <= as_of) & (np.arange(n) < end) & (told <= end))
        seen = seen[seen >= max(0, end - window)]
        ranked = seen[np.lexsort((seen, apart[row, seen]))][:k]
        assert found.ordinal.tolist() == ranked.tolist()
        assert found.distance.tobytes() == apart[row, ranked].tobytes()
        # No label that was seen, from its signal to the instant it was known, goes on after the question.
        assert (known[found.ordinal] <= as_of).all()
        assert found.as_of_us == as_of


@pytest.fixture
def memory():
    return remembered(Shape(seed=5, rows=50).batch(), Policy(), Horizon.parse("2b"))


def test_what_was_recalled_too_early_is_refused(memory):
    told, situations, _ = memory
    found = told.recall(situations, 40, int(told.timestamp_us[40]), 5)
    told.known_at_us[found.ordinal[2]] += 10**15

    with pytest.raises(LookAhead, match="before it was known"):
        told.check(found)


def test_fewer_than_one_neighbour_cannot_be_asked_for(memory):
    told, situations, _ = memory

    with pytest.raises(InvalidField, match="k is 0"):
        told.recall(situations, 0, 0, 0)


def test_a_memory_without_outcomes_recalls_nothing():
    empty = OutcomeMemory()
    situations = Encoder().encode(Shape(seed=1, rows=3).batch())

    empty.add(np.arange(0), *np.zeros((2, 0), np.int64), np.zeros(0, np.int8), situations)
    empty.add(np.arange(3), np.arange(3), np.zeros(3, np.int32), np.ones(3, np.int8), situations)

    assert len(empty.recall(situations, 2, 10**18, 5).ordinal) == 0


def outcome(ordinal: int, leaves: int, known_at_us: int) -> Outcomes:
    one = np.array([ordinal])
    return Outcomes(
        one, np.array([leaves]), one, np.array([known_at_us]), np.ones(1, np.int8), np.ones(1),
        np.ones((1, 3)), np.ones((1, 3)), np.ones(1, np.int64),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "because"),
    [
        (outcome(3, 4, 3), "no later than its signal"),
        (outcome(3, 3, 9), "no later than its signal"),
        (outcome(3, 5, 9), "before the row that told it"),
        (outcome(1, 4, 9), "a second outcome"),
        (outcome(3, 4, 4), "after one that was known later"),
        (Outcomes.concat([outcome(2, 4, 9), outcome(3, 4, 8)]), "after one that was known later"),
    ],
)
def test_an_outcome_that_could_not_have_been_known_is_not_stored(given, because):
    memory = OutcomeMemory()
    situations = Encoder().encode(Shape(seed=1, rows=5, features=False).batch())
    memory.add(np.arange(5), np.arange(5), np.zeros(5, np.int32), np.ones(5, np.int8), situations)
    memory.settle(outcome(1, 3, 6))

    with pytest.raises(LookAhead, match=because):
        memory.settle(given)
    assert memory.settled == 1


@pytest.mark.parametrize("ordinal", [[1, 2, 3], [0, 1, 3], [0, 2, 1]])
def test_signals_that_do_not_go_on_from_the_last_one_are_not_taken(ordinal):
    memory, situations = OutcomeMemory(), Encoder().encode(Shape(seed=1, rows=3).batch())

    with pytest.raises(LookAhead, match="from 0 on"):
        memory.add(np.array(ordinal), np.arange(3), np.zeros(3, np.int32), np.ones(3, np.int8), situations)
    assert memory.count == 0
