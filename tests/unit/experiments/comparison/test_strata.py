import numpy as np
import pytest

from raysignal.experiments.comparison.strata import mean_from_on, mean_within, rows_by, strata_of


def test_signals_of_one_symbol_and_side_are_a_stratum():
    symbol, action = np.repeat([3, 7], 240).astype(np.int32), np.tile([1, -1], 240).astype(np.int8)
    strata = strata_of(symbol, action)
    assert sorted(np.bincount(strata).tolist()) == [120, 120, 120, 120]
    assert all(len(set(zip(symbol[rows], action[rows], strict=True))) == 1 for rows in rows_by(strata))


def test_symbols_with_few_signals_share_a_stratum_a_side():
    symbol = np.concatenate([np.zeros(150), [1, 2, 3, 1]]).astype(np.int32)
    action = np.concatenate([np.ones(150), [1, 1, -1, -1]]).astype(np.int8)
    strata = strata_of(symbol, action)
    assert strata[150] == strata[151] != strata[152] == strata[153]
    assert len({*strata.tolist()}) == 3
    assert strata.min() == 0


def test_no_signals_have_no_strata():
    empty = strata_of(np.zeros(0, np.int32), np.zeros(0, np.int8))
    assert rows_by(empty) == []
    assert mean_within(np.zeros((0, 2)), empty).shape == mean_from_on(np.zeros((0, 2)), empty).shape == (0, 2)


def test_means_of_a_stratum_and_of_what_is_left_of_it():
    values = np.array([[1.0], [10.0], [3.0], [20.0], [5.0]])
    strata = np.array([0, 1, 0, 1, 0])
    assert mean_within(values, strata)[:, 0] == pytest.approx([3.0, 15.0, 3.0, 15.0, 3.0])
    assert mean_from_on(values, strata)[:, 0] == pytest.approx([3.0, 15.0, 4.0, 20.0, 5.0])
