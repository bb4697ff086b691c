"""When the rows that wait for the history go back and forth between days."""

from types import SimpleNamespace

import numpy as np
import pytest

from raysignal.engine.core.instants import DAY_US
from raysignal.engine.portfolio.portfolio import RowSpan


@pytest.mark.parametrize(
    ("batches", "alternates"),
    [
        ([[]], False),
        ([[1], []], False),
        ([[1, 1], [], [1, 2], [2, 3]], False),
        ([[1], [2], [1]], True),
        ([[1], [2], [], [1]], True),
        ([[1, 2, 1]], True),  # first and last are of one day
        ([[2], [1, 2]], True),  # back to the day before, by way of another
        ([[2], [2, 1], [1]], False),
        ([[3, 1, 2]], False),
    ],
)
def test_rows_alternate_once_they_come_back_to_a_day(batches, alternates):
    stretch = RowSpan(0, b"")
    for days in batches:
        stamps = np.array(days, np.int64) * DAY_US + 5
        stretch.keep(SimpleNamespace(batch=SimpleNamespace(timestamp_us=stamps)))
    assert stretch.alternates is alternates
    assert stretch.dates == {day for days in batches for day in days}
