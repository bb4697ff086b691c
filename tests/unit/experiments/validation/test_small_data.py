"""Shrinkage on and off: the figures are those of the arm, and what is asked of them."""

import numpy as np
import pytest

from raysignal.experiments.validation import small_data
from raysignal.experiments.validation.small_data import RECALLS, GateFigures, criteria, table, try_stream


def figures(uplift: float, first: int) -> GateFigures:
    return GateFigures(uplift, 0.5, 0.1, first, 0.6, helps=False)


def test_a_stream_is_tried_with_shrinkage_and_without():
    found = {name: try_stream(3, recall, effect=True, rows=500) for name, recall in RECALLS.items()}

    assert found["with shrinkage"] != found["without"]
    assert found["with shrinkage"] == try_stream(3, RECALLS["with shrinkage"], effect=True, rows=500)
    assert all(1 <= one.first_right <= 500 for one in found.values())


def test_where_nothing_is_overruled_the_first_right_override_is_behind_the_last_row():
    found = try_stream(1, RECALLS["without"], effect=True, rows=60)

    assert (found.override_rate, found.first_right) == (0.0, 60)
    assert np.isnan(found.right)


@pytest.mark.parametrize(("first", "holds"), [(100, [True, True]), (150, [True, False])])
def test_what_is_asked_is_a_ratio_of_mean_uplifts_and_of_median_firsts(first, holds):
    tried = {
        ("with shrinkage", True): [figures(4.0, first), figures(4.0, first), figures(1.0, 900)],
        ("without", True): [figures(2.0, 200), figures(2.0, 200), figures(2.0, 1_000)],
    }

    found = criteria(tried)

    assert [one.value for one in found] == [1.5, 200 / first]
    assert [one.holds for one in found] == holds
    assert len(table(tried)) == 3


def test_the_status_says_whether_it_holds(capsys):
    status = small_data.main(["--seeds", "1", "--rows", "500"])

    printed = capsys.readouterr().out
    assert "with shrinkage, effect" in printed
    assert status == ("FAILS" in printed)
