"""What a grid is made of, and what is refused before anything starts."""

import pickle

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.sweeps.space import MOST, Axis, Space

SMA = ["sma_fast=5:15:5", "sma_slow=10,20"]


def test_steps_are_exact_and_both_ends_are_in():
    assert Axis.parse("fee_bps=0:1:0.1").values == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert Axis.parse("sma_fast=5:20:5").values == (5, 10, 15, 20)
    assert Axis.parse("side=long-flat,long-short").values == ("long-flat", "long-short")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fee_bps", "name=start:stop:step"),
        ("fee_bps=", "name=start:stop:step"),
        ("=1,2", "name=start:stop:step"),
        ("fee_bps=0:20", "three numbers"),
        ("fee_bps=0:x:1", "three numbers"),
        ("fee_bps=20:0:1", "not below the start"),
        ("fee_bps=0:20:0", "step above 0"),
        ("fee_bps=0:nan:1", "not below the start"),
        ("fee_bps=0:1e12:1", "at most"),
        ("fee_bps=1,2,1", "each value once"),
    ],
)
def test_an_axis_that_cannot_be_is_refused_with_what_was_expected(text, expected):
    with pytest.raises(InvalidField, match=expected):
        Axis.parse(text)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (["nonsense=1,2"], "nonsense"),
        (["sma_fast=50", "sma_slow=20"], "^sma_fast is 50; expected fewer bars than slow"),
        (["sma_fast=5", "sma_slow=20,30", "sma_fast=6"], "given twice"),
        (["sma_fast=5", "sma_slow=20", "weight=0.5,2"], "weight is 2"),
        (["sma_fast=5", "sma_slow=20", "gate_against=0.9"], "gate_against"),
        (
            ["fee_bps=0:999:1", "slippage_bps=0:999:1", "weight=0.001:1:0.001"],
            "of 1,000,000,000 configurations",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid, said):
    with pytest.raises(InvalidField, match=said):
        Space.of(None, grid)


def test_every_place_is_one_combination_and_the_columns_say_the_same():
    space = Space.of(None, [*SMA, "fee_bps=0,10", "weight=0.5,1"], ["side=long-short"])
    assert space.strategy == "sma"
    assert (space.size, space.senseless) == (4 * 4, 2 * 4)  # 10/10 and 15/10 make no sense
    places = [space[number] for number in range(space.size)]
    assert len({tuple(place.parameters.items()) for place in places}) == space.size
    assert space.columns() == {
        name: [place.parameters[name] for place in places]
        for name in ("sma_fast", "sma_slow", "fee_bps", "weight")
    }
    for place in places:
        assert place.parameters["sma_fast"] < place.parameters["sma_slow"]
        assert (place.policy.fee_bps, place.policy.weight) == (
            place.parameters["fee_bps"],
            place.parameters["weight"],
        )
        assert place.policy.side == "long-short"
    with pytest.raises(InvalidField, match="from 0 to 15"):
        space[space.size]


def test_neighbours_in_number_share_their_strategy():
    space = Space.of("sma", [*SMA, "fee_bps=0:9:1"])
    assert all(space[number].strategy is space[0].strategy for number in range(10))
    assert space[10].strategy is not space[0].strategy


def test_what_travels_is_what_was_asked_for():
    space = Space.of(None, [*SMA, "fee_bps=0:9:1"])
    _ = space.size
    again = pickle.loads(pickle.dumps(space))
    assert again == space
    assert len(pickle.dumps(space)) < 1_000
    assert again[7].parameters == space[7].parameters


def test_the_largest_grid_is_taken_and_one_more_is_not() -> None:
    assert len(Space.of("signals", ["weight=0.001:1:0.001", f"initial_cash=1:{MOST // 1000}:1"])) == MOST
    with pytest.raises(InvalidField, match="at most"):
        Space.of("signals", ["weight=0.001:1:0.001", f"initial_cash=1:{MOST // 1000 + 1}:1"])
