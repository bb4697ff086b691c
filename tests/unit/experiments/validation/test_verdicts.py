"""The verdict on streams whose truth is known: the standard one; with `make long` every case once.

`make validate` tries every case many times.
"""

import numpy as np
import pytest
from scipy.stats import binom

from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.validation import verdicts
from raysignal.experiments.validation.cases import STANDARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEEDS = 1


def test_a_planted_effect_is_found_and_nothing_where_there_is_none():
    standard = [case.name for case in verdicts.ALL].index(STANDARD.case.name)
    pair = [verdicts.run_try(verdicts.StreamTrial(standard, 1, effect)) for effect in (True, False)]
    planted, null = (one.assessments for one in pair)
    assert planted["memory"].judgment is Judgment.HELPS
    assert planted["memory"].uplift.above_zero
    assert abs(planted["shuffled"].parts.selection_bps) < 0.3 * planted["memory"].parts.selection_bps
    assert Judgment.HELPS not in {arm.judgment for arm in null.values()}
    for effect in (True, False):
        assert len(verdicts.table(pair, effect=effect)) == 3
    assert {one.what.split(",")[0] for one in verdicts.criteria(pair)} == {"null", "effect"}


@pytest.fixture(scope="module")
def tried() -> list[verdicts.StreamAssessment]:
    return verdicts.run_tries(verdicts.tries(seeds=SEEDS, standard_seeds=4), workers=2)


def said(tried, arm, judgment, *, effect):
    own = [one.assessments[arm].judgment is judgment for one in tried if one.effect is effect]
    return sum(own), len(own)


@pytest.mark.long
@pytest.mark.parametrize("arm", ["memory", "random", "shuffled"])
@pytest.mark.parametrize("judgment", [Judgment.HELPS, Judgment.HURTS])
def test_where_nothing_is_nothing_is_found(tried, arm, judgment):
    count, streams = said(tried, arm, judgment, effect=False)
    assert streams == SEEDS * len(verdicts.ALL)
    assert binom.sf(count - 1, streams, verdicts.MOST_HELPED) > 1e-3


@pytest.mark.long
def test_the_planted_effect_of_the_standard_stream_is_found(tried):
    planted = [one.assessments["memory"] for one in tried if one.effect and one.case == STANDARD.case.name]
    assert len(planted) == 4
    assert sum(one.judgment is Judgment.HELPS for one in planted) >= 3
    assert all(one.uplift.above_zero for one in planted)


@pytest.mark.long
def test_an_effect_is_found_on_many_streams_that_carry_one(tried):
    count, streams = said(tried, "memory", Judgment.HELPS, effect=True)
    assert count > streams / 3  # daily bars say little in 4 000 rows


@pytest.mark.long
def test_a_dealt_memory_selects_on_average_next_to_nothing(tried):
    def mean(arm):
        return np.mean([one.assessments[arm].parts.selection_bps for one in tried if one.effect])

    assert abs(mean("shuffled")) < 0.3 * mean("memory")


@pytest.mark.long
def test_tries_do_not_depend_on_where_they_ran(tried):
    assert verdicts.run_try(verdicts.StreamTrial(0, 1, False)).assessments == tried[0].assessments


@pytest.mark.long
def test_every_case_and_criterion_is_shown(tried):
    for effect in (True, False):
        lines = verdicts.table(tried, effect=effect)
        assert len(lines) == 2 + len(verdicts.ALL)
    assert {one.what.split(",")[0] for one in verdicts.criteria(tried)} == {"null", "effect"}
