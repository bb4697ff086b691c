"""The verdict on streams whose truth is known, in small: every case a few times. `make validate` is the whole."""

import numpy as np
import pytest
from scipy.stats import binom

from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.validation import verdicts
from raysignal.experiments.validation.cases import STANDARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEEDS = 1


@pytest.fixture(scope="module")
def tried() -> list[verdicts.StreamAssessment]:
    return verdicts.run_tries(verdicts.tries(seeds=SEEDS, standard_seeds=4), workers=2)


def said(tried, arm, judgment, *, effect):
    own = [one.assessments[arm].judgment is judgment for one in tried if one.effect is effect]
    return sum(own), len(own)


@pytest.mark.parametrize("arm", ["memory", "random", "shuffled"])
@pytest.mark.parametrize("judgment", [Judgment.HELPS, Judgment.HURTS])
def test_where_nothing_is_nothing_is_found(tried, arm, judgment):
    count, streams = said(tried, arm, judgment, effect=False)
    assert streams == SEEDS * len(verdicts.ALL)
    assert binom.sf(count - 1, streams, verdicts.MOST_HELPED) > 1e-3


def test_the_planted_effect_of_the_standard_stream_is_found(tried):
    planted = [one.assessments["memory"] for one in tried if one.effect and one.case == STANDARD.case.name]
    assert len(planted) == 4
    assert sum(one.judgment is Judgment.HELPS for one in planted) >= 3
    assert all(one.uplift.above_zero for one in planted)


def test_an_effect_is_found_on_many_streams_that_carry_one(tried):
    count, streams = said(tried, "memory", Judgment.HELPS, effect=True)
    assert count > streams / 3  # daily bars say little in 4 000 rows


def test_a_dealt_memory_selects_on_average_next_to_nothing(tried):
    def mean(arm):
        return np.mean([one.assessments[arm].parts.selection_bps for one in tried if one.effect])

    assert abs(mean("shuffled")) < 0.3 * mean("memory")


def test_tries_do_not_depend_on_where_they_ran(tried):
    assert verdicts.run_try(verdicts.StreamTrial(0, 1, False)).assessments == tried[0].assessments


def test_every_case_and_criterion_is_shown(tried):
    for effect in (True, False):
        lines = verdicts.table(tried, effect=effect)
        assert len(lines) == 2 + len(verdicts.ALL)
    assert {one.what.split(",")[0] for one in verdicts.criteria(tried)} == {"null", "effect"}
