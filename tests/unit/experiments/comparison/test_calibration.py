import numpy as np
import pytest

from raysignal.experiments.comparison.calibration import calibrate, calibration_of
from tests.support.experiment_streams import a_stream, an_arm


def test_a_calibration_worked_by_hand():
    found = calibrate(np.array([0.25, 0.25, 0.75, 0.75, np.nan]), np.array([False, True, True, True, True]))
    assert found.n == 4
    assert found.base_rate == 0.75
    assert found.brier == pytest.approx((0.0625 + 0.5625 + 0.0625 + 0.0625) / 4)
    assert found.uncertainty == pytest.approx(0.1875)
    assert [(one.low, one.n, one.right, one.mean_p) for one in found.bins] == [
        (0.2, 2, 1, 0.25),
        (0.7, 2, 2, 0.75),
    ]
    assert found.reliability == pytest.approx((0.25**2 + 0.25**2) / 2)
    assert found.resolution == pytest.approx(0.25**2)
    assert found.within_variance == found.within_covariance == 0.0
    assert np.isnan(found.bins[0].share_low)  # four rows do not say how they depend


def test_certainty_falls_into_the_last_bin():
    found = calibrate(np.array([1.0, 0.0]), np.array([True, False]))
    assert [one.high for one in found.bins] == [0.1, 1.0]
    assert found.brier == 0.0
    assert found.skill == 1.0


def test_skill_is_not_defined_where_all_were_right():
    assert calibrate(np.array([0.4, 0.6]), np.array([True, True])).skill is None


def test_without_a_probability_there_is_no_calibration():
    stream = a_stream(50)
    assert calibrate(np.array([np.nan]), np.array([True])) is None
    assert calibration_of(stream, an_arm(stream, "baseline", "baseline")) is None


def test_only_judged_signals_count():
    stream = a_stream(100)
    arm = an_arm(stream, "memory", "memory")
    assert calibration_of(stream, arm).n == int((stream.judged & ~np.isnan(arm.p_right)).sum())


def test_a_probability_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"p_right is .*1.2.*; expected 0 to 1"):
        calibrate(np.array([0.5, 1.2]), np.array([True, True]))
