"""How much of the processor Chroma is given."""

import pytest

from raysignal.agents.override.outcome_vectors import EVERY_S, pause_s


def test_while_signals_come_in_chroma_works_a_twentieth_of_the_time():
    assert pause_s(0.5, left=4_000, quiet_s=0.1) == pytest.approx(9.5)


def test_what_it_fell_behind_is_made_good_at_once_when_nothing_comes_in():
    assert pause_s(0.5, left=4_000, quiet_s=EVERY_S) == 0.0


@pytest.mark.parametrize("quiet_s", [0.0, 60.0])
def test_an_index_that_is_whole_is_looked_at_now_and_then(quiet_s):
    assert pause_s(0.01, left=0, quiet_s=quiet_s) == EVERY_S
