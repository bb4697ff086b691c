import hashlib
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from raysignal.experiments.validation.cases import CELLS, OTHERS, STANDARD
from raysignal.experiments.validation.shapes import SHAPES, shaped
from raysignal.experiments.validation.table import Criterion, Proportion
from raysignal.experiments.validation.verdicts import ALL, tries

LEVELS = {
    "side": ("long-short", "long-flat"), "fee_bps": (0.0, 10.0, 30.0), "drift": (0.0, 0.2, -0.2), "symbols": (1, 4),
    "buy_share": (0.5, 0.7), "tails": (4.0, 2.5), "bar": ("10m", "1d"),
    "breaker": (True, False),
}  # fmt: skip


def test_each_pair_of_levels_meets_in_a_cell():
    missing = [
        (one, level, other, beside)
        for one, other in combinations(LEVELS, 2)
        for level, beside in product(LEVELS[one], LEVELS[other])
        if not any(getattr(cell, one) == level and getattr(cell, other) == beside for cell in CELLS)
    ]
    assert not missing


def test_both_sides_of_the_standard_stream_are_cells():
    assert STANDARD in CELLS
    assert replace(STANDARD, side="long-flat") in CELLS


def test_names_of_cases_are_distinct():
    assert len({case.name for case in ALL}) == len(CELLS) + len(OTHERS)


def test_every_case_is_tried_with_and_without_an_effect():
    planned = tries(seeds=3, standard_seeds=5)
    assert {(one.case, one.effect) for one in planned} == {
        (case, effect) for case in range(len(ALL)) for effect in (True, False)
    }
    assert sum(one.case == 0 and one.effect for one in planned) == 5
    assert len(set(planned)) == len(planned)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_score_of_a_shape_tells_right_from_wrong_only_where_it_is_planted(shape):
    gaps = {}
    for effect in (True, False):
        batch = shaped(shape, 1, 3_000, effect)
        score = batch.numbers["score"]
        right = np.zeros(len(batch))
        for code in range(len(batch.symbols)):
            rows = np.flatnonzero(batch.symbol == code)
            later = batch.price[rows[6:]] / batch.price[rows[:-6]] - 1.0
            right[rows[:-6]] = np.sign(batch.action[rows[:-6]] * later)
        gaps[effect] = score[right > 0].mean() - score[right < 0].mean()
    assert gaps[True] == pytest.approx(0.6, abs=0.15)
    assert gaps[False] == pytest.approx(0.0, abs=0.15)


def test_a_seed_gives_the_same_stream_again():
    one, again, other = (shaped("sticky signals", seed, 300, True) for seed in (1, 1, 2))

    def digest(batch):
        return hashlib.sha256(batch.encode()).hexdigest()

    assert digest(one) == digest(again) != digest(other)


def test_a_rate_has_wilsons_interval():
    # 5 of 100: Wilson's interval in printed tables is 0.0215 to 0.1118.
    assert Proportion(5, 100).interval == pytest.approx((0.0215, 0.1118), abs=1e-4)
    assert Proportion(0, 0).interval == (0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "holds"),
    [
        (0.94, 0.95, True, False),
        (0.08, 0.07, False, False),
        (0.07, 0.07, False, True),
        (np.nan, 0.07, False, False),
    ],
)
def test_a_criterion_that_is_missed_fails(value, bound, at_least, holds):
    criterion = Criterion("x", value, bound, at_least)
    assert criterion.holds is holds
    assert str(criterion).startswith("holds" if holds else "FAILS")
