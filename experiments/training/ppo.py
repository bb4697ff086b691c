"""Proximal policy optimisation (Schulman and others, 2017) of the recurrent policy, one seed at a time, on one core.

A round draws episodes side by side, lets the policy act in all of them at once, has the kernel say what that earned,
and learns from whole episodes, so that gradients go through the LSTM's memory. Rounds draw from generators of their own
(seed, round): where a training is cut into pieces decides nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.policy import Policy
from raysignal.experiments.training.environment import TrainingData
from raysignal.experiments.training.network import FIXED, Parameters, new_parameters, unroll
from raysignal.experiments.training.spec import TrainingSpec

DISCOUNT, TRACE = 0.95, 0.9
CLIP, ENTROPY, VALUE = 0.2, 0.01, 0.5
RATE, STEEPEST = 3e-3, 0.5
PASSES, PARTS = 3, 2
"""How often a round's episodes are learnt from, and in how many parts each time."""

_OPTIMISER = optax.chain(optax.clip_by_global_norm(STEEPEST), optax.adam(RATE))


@dataclass(frozen=True, slots=True)
class LearnerState:
    """A policy on its way: plain arrays, so that any worker can go on with it.

    Attributes:
        seed: of its generators.
        rounds: that are done.
        parameters: of the policy.
        optimiser: its moments.
        earned: of each round, the mean log growth of its episodes, in units of `TrainingData.volatility`.
    """

    seed: int
    rounds: int
    parameters: Parameters
    optimiser: Any
    earned: tuple[float, ...] = ()


def new_learner(spec: TrainingSpec, data: TrainingData, seed: int) -> LearnerState:
    """Before the first round."""
    parameters = new_parameters(seed, data.mean, data.scale, spec.hidden)
    return LearnerState(seed, 0, parameters, _OPTIMISER.init(_learnt(parameters)))


def learn(state: LearnerState, spec: TrainingSpec, data: TrainingData, rounds: int) -> LearnerState:
    """After so many rounds more."""
    for _ in range(rounds):
        state = _round(state, spec, data)
    return replace(state, **jax.device_get({"parameters": state.parameters, "optimiser": state.optimiser}))


def _round(state: LearnerState, spec: TrainingSpec, data: TrainingData) -> LearnerState:
    draws = np.random.default_rng([state.seed, state.rounds])
    rows = data.draw(spec.episodes, spec.episode_bars, draws)
    features, resets = data.features[rows], data.resets[rows].copy()
    resets[0] = True
    chosen, likelihood, values = _act(state.parameters, features, resets, state.seed, state.rounds)
    rewards = data.rewards(_charged(spec, state.rounds), rows, np.asarray(chosen))
    advantages, returns = generalised_advantages(rewards, np.asarray(values, np.float64))
    scale = float(advantages.std()) or 1.0
    advantages = (advantages - advantages.mean()) / scale
    parts = min(PARTS, spec.episodes)
    size = spec.episodes // parts
    order = np.concatenate(
        [draws.permutation(spec.episodes)[: parts * size].reshape(parts, size) for _ in range(PASSES)]
    )
    batch = (
        features[:-1], resets[:-1], chosen, likelihood, advantages.astype(np.float32), returns.astype(np.float32)
    )  # fmt: skip
    parameters, optimiser = _improve(state.parameters, state.optimiser, batch, order)
    earned = (*state.earned, float(rewards.sum(axis=0).mean()))
    return replace(state, rounds=state.rounds + 1, parameters=parameters, optimiser=optimiser, earned=earned)


def _charged(spec: TrainingSpec, rounds: int) -> Policy:
    """The accounts' policy in a round: costs grow until the middle of the training, when they are what they are.

    A policy that pays all of them from the beginning learns to do nothing before it has seen what there is to earn.
    """
    share = min(1.0, 2.0 * rounds / spec.rounds)
    policy = spec.policy
    return replace(policy, fee_bps=share * policy.fee_bps, slippage_bps=share * policy.slippage_bps)


def generalised_advantages(rewards: Float64Array, values: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Advantages and the values' targets, float64[T, n] each (Schulman and others, 2016).

    Args:
        rewards: float64[T, n].
        values: float64[T + 1, n]; the last stands for all that comes after the episode.
    """
    advantages = np.empty_like(rewards)
    ahead = np.zeros(rewards.shape[1])
    for step in range(len(rewards) - 1, -1, -1):
        error = rewards[step] + DISCOUNT * values[step + 1] - values[step]
        ahead = error + DISCOUNT * TRACE * ahead
        advantages[step] = ahead
    return advantages, advantages + values[:-1]


def _learnt(parameters: Parameters) -> Parameters:
    return {name: value for name, value in parameters.items() if name not in FIXED}


def _choose(
    parameters: Parameters, features: Any, resets: Any, seed: int, rounds: int
) -> tuple[Any, Any, Any]:
    logits, values = unroll(parameters, features, resets)
    chosen = jax.random.categorical(jax.random.fold_in(jax.random.key(seed), rounds), logits[:-1])
    return chosen, _likelihood(logits[:-1], chosen), values


def _likelihood(logits: Any, chosen: Any) -> Any:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[..., None], axis=-1)[..., 0]


def _loss(learnt: Parameters, fixed: Parameters, batch: Any) -> Any:
    features, resets, chosen, before, advantages, returns = batch
    logits, values = unroll(learnt | fixed, features, resets)
    ratio = jnp.exp(_likelihood(logits, chosen) - before)
    gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1.0 - CLIP, 1.0 + CLIP) * advantages)
    entropy = -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(axis=-1)
    return -gain.mean() + VALUE * ((values - returns) ** 2).mean() - ENTROPY * entropy.mean()


def _descend(parameters: Parameters, optimiser: Any, batch: Any, order: Any) -> tuple[Parameters, Any]:
    fixed = {name: parameters[name] for name in FIXED}

    def step(state: Any, episodes: Any) -> tuple[Any, None]:
        learnt, moments = state
        part = tuple(column[:, episodes] for column in batch)
        gradients = jax.grad(_loss)(learnt, fixed, part)
        updates, moments = _OPTIMISER.update(gradients, moments)
        return (optax.apply_updates(learnt, updates), moments), None

    (learnt, moments), _ = jax.lax.scan(step, (_learnt(parameters), optimiser), order)
    return learnt | fixed, moments


_act, _improve = jax.jit(_choose), jax.jit(_descend)
