"""What holds for every arm: the parts add up, nothing is gained by names, and chance is called chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raysignal.agents.verdicts import Verdict
from raysignal.experiments.comparison.calibration import calibrate
from raysignal.experiments.comparison.paired import Judgment, assess, holm
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.comparison.uplift import decompose, uplift_of
from tests.support.experiment_streams import gathered, net_of, outcomes

bps = st.floats(-1e4, 1e4, allow_subnormal=False)
p_values = st.lists(st.floats(1e-6, 1.0), max_size=8)


@st.composite
def judged(draw, least=1):
    n = draw(st.integers(least, 40))
    gross = draw(arrays.arrays(np.float64, (n, 3), elements=bps))
    costs = draw(arrays.arrays(np.float64, (n, 3), elements=st.floats(0.0, 50.0)))
    return draw(arrays.arrays(np.int8, n, elements=st.integers(0, 2))), gross, gross - costs


@given(judged())
def test_the_parts_of_an_uplift_add_up_to_it(rows):
    verdict, gross, net = rows
    parts = decompose(verdict, net, gross, np.arange(len(net)) % 3)
    assert parts.uplift_bps == pytest.approx(uplift_of(verdict, net).mean(), abs=1e-6)
    assert parts.selection_bps + parts.costs_bps + parts.direction_bps == pytest.approx(
        parts.uplift_bps, abs=1e-6
    )


@given(judged(), bps)
def test_what_every_override_of_a_stratum_gains_alike_is_no_selection(rows, more):
    verdict, gross, net = rows
    strata = np.arange(len(net)) % 2
    dearer = net + np.array([0.0, more, -more]) * np.where(strata, 1.0, 0.5)[:, None]
    before, after = (decompose(verdict, each, gross, strata) for each in (net, dearer))
    assert after.selection_bps == pytest.approx(before.selection_bps, abs=1e-6)


@given(p_values)
def test_a_correction_never_lowers_a_p_value_and_keeps_their_order(values):
    adjusted = holm(values)
    assert all(own <= corrected <= 1.0 for own, corrected in zip(values, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[index] for index in np.argsort(values, kind="stable")]
    if values:
        assert min(adjusted) == pytest.approx(min(1.0, min(values) * len(values)))


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_the_parts_of_a_brier_score_add_up_to_it(forecasts, bins):
    p, right = (np.array(values) for values in zip(*forecasts, strict=True))
    found = calibrate(p.astype(float), right.astype(bool), bins=bins)
    total = found.reliability - found.resolution + found.uncertainty
    assert total + found.within_variance - found.within_covariance == pytest.approx(found.brier, abs=1e-12)
    assert sum(one.n for one in found.bins) == len(forecasts)


@pytest.mark.parametrize(
    ("phi", "stay", "kinds"),
    [(0.3, 0.9, (Verdict.HOLD,)), (0.0, 0.7, (Verdict.FLIP, Verdict.HOLD)), (0.5, 0.95, (Verdict.FLIP,))],
    ids=["holds in clusters", "both kinds", "long clusters of flips"],
)
def test_verdicts_that_know_nothing_are_rarely_taken_for_skill(phi, stay, kinds):
    repetitions, n = 100, 600
    below, helps, hurts = 0, 0, 0
    for seed in range(repetitions):
        draws = np.random.default_rng([seed, 17])
        side = np.where(gathered(draws, n, rate=0.5, stay=stay), 1, -1)
        gross, net = net_of(side, outcomes(draws, n, phi=phi))
        overruled = gathered(draws, n, rate=0.25, stay=stay, warm_up=n // 8)
        verdict = np.where(overruled, draws.choice(kinds, n), Verdict.APPROVE).astype(np.int8)
        found = assess(
            verdict,
            net,
            gross,
            timestamp_us=np.arange(n),
            strata=strata_of(np.zeros(n, np.int32), side.astype(np.int8)),
        )
        below += found.p_greater <= 0.05
        helps += found.judgment is Judgment.HELPS
        hurts += found.judgment is Judgment.HURTS
    # With a level of 6 % more than 16 of 100 has a probability of 1e-5, with 4 % more than 13.
    assert below <= 16
    assert helps <= 13
    assert hurts <= 13
