import numpy as np
import pytest

from agents.verdicts import Verdict
from experiments.uplift import decompose, selection_of, uplift_of
from tests.experiment_streams import net_of, outcomes


def test_an_uplift_worked_by_hand():
    # Signals make +10, -10, +20, -20 bp before costs of 5.
    gross, net = net_of(np.ones(4), np.array([10.0, -10.0, 20.0, -20.0]), cost_bps=5.0)
    verdict = np.array([Verdict.APPROVE, Verdict.HOLD, Verdict.APPROVE, Verdict.FLIP], np.int8)
    assert uplift_of(verdict, net) == pytest.approx([0.0, 15.0, 0.0, 40.0])
    parts = decompose(verdict, net, gross)
    assert parts.uplift_bps == pytest.approx(13.75)
    # At random, one of four would have been held, and have saved its cost of 5; a flip costs the same.
    assert parts.costs_bps == pytest.approx(5.0 / 4)
    assert parts.direction_bps == pytest.approx(0.0)
    assert parts.selection_bps == pytest.approx(12.5)
    assert selection_of(verdict, net).mean() == pytest.approx(12.5)


def test_overruling_everything_is_no_selection():
    gross, net = net_of(np.ones(50), outcomes(np.random.default_rng(1), 50) - 20.0)
    parts = decompose(np.full(50, Verdict.HOLD, np.int8), net, gross)
    assert parts.selection_bps == pytest.approx(0.0, abs=1e-9)
    assert parts.costs_bps == pytest.approx(6.0)
    assert parts.direction_bps == pytest.approx(-gross[:, Verdict.APPROVE].mean())
