"""The instrument on data whose truth is known, in small; `make validate` is the whole."""

import numpy as np
import pytest

from experiments import validate
from experiments.cluster import ray_session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SEEDS = 3
ROWS = 4000


@pytest.fixture(scope="module")
def found() -> list[validate.Found]:
    with ray_session(None, cpus=2):
        return validate.run(SEEDS, ROWS, told=lambda *_: None)


def test_a_planted_effect_is_found_on_every_seed_tried(found):
    planted = [each.assessments["memory"] for each in found if each.effect]
    assert len(planted) == SEEDS
    assert all(one.uplift.above_zero and one.selection.above_zero for one in planted)


def test_overrides_by_lot_select_nothing(found):
    helps = [each.assessments["random"].judgment is validate.Judgment.HELPS for each in found]
    assert sum(helps) <= 1  # of 6, each with a chance of 2.5 %


def test_a_dealt_memory_selects_on_average_next_to_nothing(found):
    def mean(arm):
        return np.mean([each.assessments[arm].parts.selection_bps for each in found if each.effect])

    assert abs(mean("shuffled")) < 0.5 * mean("memory")


def test_nothing_is_found_where_nothing_is(found):
    nulls = [one.assessments["memory"] for one in found if not one.effect]
    assert sum(one.judgment is validate.Judgment.HELPS for one in nulls) <= 1


def test_tries_do_not_depend_on_where_they_ran(found):
    again = validate.try_seed(validate.FIRST_SEED, ROWS, effect=True)
    assert again.assessments == found[0].assessments


def test_a_criterion_that_is_missed_fails():
    assert not validate.Criterion("x", 0.94, 0.95, at_least=True).holds
    assert not validate.Criterion("x", 0.08, 0.07, at_least=False).holds
    assert validate.Criterion("x", 0.07, 0.07, at_least=False).holds
