"""The check of whole decision paths finds every strategy that sees the future, and passes the honest ones."""

import pytest

from raysignal.experiments.validation.path_leaks import RULES, validate_paths


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seeds", [1, pytest.param(3, marks=pytest.mark.long)])
def test_paths_that_see_the_future_are_found_and_their_honest_twins_pass(seeds: int) -> None:
    results = validate_paths(seeds, workers=1)  # `make validate` tries 100 seeds
    assert [each.rule for each in results] == list(RULES)
    assert [each.wrong for each in results] == [()] * len(RULES)
    assert all(each.holds for each in results)
