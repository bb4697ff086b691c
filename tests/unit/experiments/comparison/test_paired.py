from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.intervals import mean_interval
from raysignal.agents.verdicts import Verdict
from raysignal.experiments.comparison.paired import (
    Judgment,
    assess,
    assess_arms,
    detectable,
    holm,
    judge,
    one_sided_level,
)
from tests.support.experiment_streams import a_stream, an_arm, gathered, net_of, outcomes, some_arms


def test_holm_worked_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


@pytest.mark.parametrize(
    ("shift", "p_greater", "p_less", "judgment"),
    [
        (+9.0, 0.01, 0.99, Judgment.HELPS),
        (+9.0, 0.06, 0.94, Judgment.NO_DIFFERENCE),
        (+0.0, 0.01, 0.99, Judgment.NO_DIFFERENCE),
        (-9.0, 0.99, 0.01, Judgment.HURTS),
        (-9.0, 0.94, 0.06, Judgment.NO_DIFFERENCE),
    ],
)
def test_interval_and_test_must_agree(shift, p_greater, p_less, judgment):
    interval = mean_interval(40.0 * np.random.default_rng(1).standard_normal(100) + shift * 3.0)
    assert judge(interval, p_greater, p_less) is judgment


def test_more_claims_ask_for_a_larger_effect():
    assert one_sided_level(1) == 0.025  # the interval leaves no more
    assert one_sided_level(5) == 0.01
    assert detectable(1.0, 1) == pytest.approx(1.96 + 0.8416, abs=1e-3)
    assert detectable(2.0, 5) == pytest.approx(2 * (2.3263 + 0.8416), abs=1e-3)


def test_an_arm_that_overrules_nothing_makes_no_difference():
    stream = a_stream(300)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory")]
    (found,) = assess_arms(stream, arms)
    assert found.judgment is Judgment.NO_DIFFERENCE
    assert found.uplift.estimate == 0.0
    assert np.isnan(found.uplift.low)
    assert (found.p_greater, found.p_less) == (1.0, 1.0)
    assert found.override_rate == 0.0
    assert found.detectable_bps is None
    assert found.returns_bps["next"].estimate == 0.0


def test_an_arm_that_looks_ahead_helps_and_its_opposite_hurts():
    stream = a_stream(600)
    gross = np.nan_to_num(stream.gross_bps[:, Verdict.APPROVE])
    lost = np.where(gross < 0.0, Verdict.HOLD, Verdict.APPROVE)
    won = np.where(gross > 0.0, Verdict.HOLD, Verdict.APPROVE)
    arms = [
        an_arm(stream, "baseline", "baseline"),
        an_arm(stream, "seer", "memory", lost),
        an_arm(stream, "fool", "model", won),
    ]
    seer, fool = assess_arms(stream, arms)
    assert seer.judgment is Judgment.HELPS
    assert fool.judgment is Judgment.HURTS
    assert seer.returns_bps["signal"].above_zero
    assert seer.overridden == {"flip": 0, "hold": int((stream.judged & (gross < 0.0)).sum())}


@pytest.mark.parametrize(("overruled", "judgment"), [(9, Judgment.NO_DIFFERENCE), (10, Judgment.HELPS)])
def test_a_few_lucky_overrides_show_nothing(overruled, judgment):
    gross, net = net_of(np.ones(200), outcomes(np.random.default_rng(1), 200, phi=0.0))
    verdict = np.zeros(200, np.int8)
    verdict[np.argsort(net[:, Verdict.APPROVE])[:overruled]] = Verdict.HOLD
    found = assess(verdict, net, gross, timestamp_us=np.arange(200))
    assert found.selection.above_zero
    assert found.p_greater <= 0.05
    assert found.judgment is judgment
    assert found.enough is (judgment is Judgment.HELPS)


@pytest.mark.parametrize(("span", "known"), [(66, True), (67, False)])
def test_a_file_of_fewer_than_ten_horizons_carries_no_interval(span, known):
    gross, net = net_of(np.ones(600), outcomes(np.random.default_rng(1), 600, phi=0.0))
    verdict = np.where(gross[:, Verdict.APPROVE] < 0.0, Verdict.HOLD, Verdict.APPROVE).astype(np.int8)
    at = np.arange(600)
    found = assess(verdict, net, gross, timestamp_us=at, known_at_us=at + span)
    assert (found.selection.is_known, found.uplift.is_known) == (known, known)
    assert found.judgment is (Judgment.HELPS if known else Judgment.NO_DIFFERENCE)
    assert found.selection.estimate == assess(verdict, net, gross, timestamp_us=at).selection.estimate
    assert (found.detectable_bps is not None) is known


def test_only_judged_signals_count():
    stream = a_stream(300)
    verdict = np.full(300, Verdict.HOLD, np.int8)
    found = assess(verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us)
    assert found.judged == int(stream.judged.sum()) < found.signals == 300
    none = np.zeros(300, bool)
    nothing = assess(verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us, judged=none)
    assert nothing.judgment is Judgment.NO_DIFFERENCE
    assert nothing.as_dict()["uplift"]["estimate"] is None
    assert nothing.parts.uplift_bps == 0.0


def test_what_is_found_about_an_arm_does_not_depend_on_arms_that_claim_nothing():
    stream = a_stream(600)
    arms = some_arms(stream)
    alone = assess_arms(stream, arms[:2])
    beside = assess_arms(stream, [arms[0], arms[4], arms[3], arms[1]])
    assert beside[-1] == alone[0]


def test_p_values_are_corrected_over_the_arms_that_claim_to_help():
    stream = a_stream(400)
    arms = some_arms(stream)
    found = {one.arm: one for one in assess_arms(stream, arms)}
    raw = {one.arm: one.p_greater for arm in arms[1:] for one in assess_arms(stream, [arms[0], arm])}
    names = "memory", "memory + Gemini"
    assert [found[name].p_greater for name in names] == holm([raw[name] for name in names])
    assert found["random"].p_greater == raw["random"]


def test_a_fill_that_only_one_of_the_two_has_is_not_compared():
    stream = a_stream(100)
    arm = an_arm(stream, "memory", "memory")
    base = an_arm(stream, "baseline", "baseline")
    base = replace(base, signal_return={"signal": base.signal_return["signal"]})
    (found,) = assess_arms(stream, [base, arm])
    assert set(found.returns_bps) == {"signal"}


def test_what_would_have_been_shown_is_never_less_than_the_interval_reaches():
    draws = np.random.default_rng(11)
    for n in (150, 250, 600):
        gross, net = net_of(np.ones(n), outcomes(draws, n, phi=0.9))
        verdict = np.where(gathered(draws, n, stay=0.98), Verdict.FLIP, Verdict.APPROVE).astype(np.int8)
        found = assess(verdict, net, gross, timestamp_us=np.arange(n))
        if found.detectable_bps is not None:
            assert found.detectable_bps > found.selection.estimate - found.selection.low
        assert (found.detectable_bps is None) == (not found.enough or np.isnan(found.selection.low))


def test_a_preference_for_one_side_is_no_skill():
    stream = a_stream(600)
    net = stream.net_bps.copy()
    net[stream.action == 1, Verdict.HOLD] += 40.0  # holding a BUY is worth 40 bp more than holding a SELL
    stream = replace(stream, net_bps=net)
    held = np.where(gathered(np.random.default_rng(5), 600, rate=0.4) & (stream.action == 1), Verdict.HOLD, 0)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory", held)]
    (found,) = assess_arms(stream, arms)
    assert found.uplift.above_zero
    assert found.judgment is Judgment.NO_DIFFERENCE
    one_stratum = assess(
        arms[1].verdict,
        stream.net_bps,
        stream.gross_bps,
        timestamp_us=stream.timestamp_us,
        judged=stream.judged,
    )
    assert one_stratum.selection.estimate > found.selection.estimate + 1.0
