"""The environments of a training: rewards are the kernel's, and nothing of the test is in what is trained on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.training.environment import TrainingData, account, resets_of, rewards_of
from raysignal.experiments.training.spec import TrainingSpec
from tests.support.sweep_markets import market

POLICIES = st.builds(
    Policy,
    fee_bps=st.floats(0.0, 100.0),
    slippage_bps=st.floats(0.0, 50.0),
    side=st.sampled_from(["long-flat", "long-short"]),
    weight=st.floats(0.1, 1.0),
    fill=st.sampled_from(["signal", "next"]),
)
STEPS = st.lists(st.tuples(st.floats(-0.05, 0.05), st.sampled_from([-1, 0, 1])), min_size=1, max_size=40)


@given(policy=POLICIES, steps=STEPS, begin=st.integers(0, 3))
def test_the_rewards_of_an_episode_are_the_growth_of_the_kernels_account(policy, steps, begin):
    growth = [0.0] * begin + [step for step, _ in steps] + [0.01]
    stamps = np.arange(1, len(growth) + 1, dtype=np.int64) * 60_000_000
    where = Market("BTC", Bars.of_closes(stamps, 100.0 * np.exp(np.cumsum(growth))))
    actions = np.array([action for _, action in steps], np.int8)
    actions[-1] = 0 if policy.fill == "next" else actions[-1]  # nothing waits for the bar after the last

    rewards = rewards_of(where, policy, actions, begin)

    replayed = account(where, policy, np.append(actions, np.int8(0)), begin)
    assert policy.initial_cash * np.exp(rewards.sum()) == pytest.approx(replayed.equity[-1], rel=1e-9)


def test_an_action_is_charged_with_its_own_fee_and_given_the_move_after_it():
    stamps = np.arange(1, 4, dtype=np.int64) * 60_000_000
    where = Market("BTC", Bars.of_closes(stamps, np.array([100.0, 110.0, 99.0])))
    rewards = rewards_of(where, Policy(side="long-short", fee_bps=100.0), np.array([1, 0], np.int8), 0)
    assert np.exp(rewards) == pytest.approx([1.1 / 1.01, 0.9])


def test_nothing_that_is_trained_on_depends_on_the_test_or_the_embargo():
    spec = TrainingSpec(episode_bars=32, embargo=10)
    where = market(600)
    data = TrainingData.of(where, spec)
    assert (data.train_end, data.test_begin) == (410, 420)
    assert data.first == 20
    later = where.bars.close.copy()
    later[data.train_end :] *= np.linspace(1.0, 3.0, len(later) - data.train_end)
    other = TrainingData.of(replace(where, bars=Bars.of_closes(where.bars.known_at_us, later)), spec)
    for name in ("mean", "scale", "first", "volatility"):
        assert np.array_equal(getattr(other, name), getattr(data, name))
    assert np.array_equal(other.features[: data.train_end], data.features[: data.train_end], equal_nan=True)

    rows = data.draw(2_000, spec.episode_bars, np.random.default_rng(0))
    assert (rows.min(), rows.max()) == (data.first, data.train_end - 1)
    assert (np.diff(rows, axis=0) == 1).all()


def test_a_policy_forgets_over_a_gap_and_at_the_first_bar():
    stamps = np.cumsum([60, 60, 600, 60, 601, 60, 60]) * 1_000_000
    assert resets_of(stamps) == (60_000_000, pytest.approx([1, 0, 0, 0, 1, 0, 0]))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"features": ()}, "features is 'none'"),
        ({"features": ("rsi(14)", "rsi")}, "each once"),
        ({"features": ("mood",)}, "feature is 'mood'"),
        ({"hidden": 0}, "hidden is 0"),
        ({"seeds": 1}, "seeds is 1; expected a whole number from 2"),
        ({"test": 1.0}, "test is 1.0"),
        ({"episode_bars": 400}, "bars is '380 to train on'; expected more than an episode of 400"),
        ({"embargo": 700}, "purge is 700"),
        ({"features": ("vwap",)}, "features is 'vwap.20.'; expected one that is known"),
        ({"features": ("returns(500)",)}, "known within the 400 bars"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(members, said):
    with pytest.raises(InvalidField, match=said):
        TrainingData.of(market(600), TrainingSpec(**{"episode_bars": 32, **members}))


def test_a_feature_that_never_changes_is_refused():
    stamps = np.arange(1, 301, dtype=np.int64) * 60_000_000
    still = Market("BTC", Bars.of_closes(stamps, np.full(300, 100.0)))
    with pytest.raises(InvalidField, match=r"features is 'returns\(1\)'"):
        TrainingData.of(still, TrainingSpec(features=("returns",), episode_bars=8))
