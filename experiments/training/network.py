"""The policy: an LSTM over normalised features with a head for the actions and one for the value, in plain JAX.

The cell is that of Hochreiter and Schmidhuber (Neural Computation 9, 1997) with a forget gate (Gers and others, 2000):

    i, f, g, o = split(x W + h U + b);  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')

What leaves the training has the same arithmetic in ONNX, see `export`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from raysignal.engine.core.arrays import BoolArray, Float32Array, Float64Array

Parameters = dict[str, Any]
"""float32 arrays by name: input [F, 4H], recurrent [H, 4H], bias [4H], policy [H, 3], policy_bias [3], value [H, 1],
value_bias [1], and mean and scale [F], which are not learnt."""

FIXED = ("mean", "scale")
MOST = 10.0
"""Normalised features beyond so many standard deviations are cut to it."""

_ACTIONS = 3
_SMALL = 0.01  # of the policy's head at the beginning, so that all actions are as likely


def new_parameters(seed: int, mean: Float32Array, scale: Float32Array, hidden: int) -> Parameters:
    """Those that a training begins with: orthogonal recurrence, forget gates open, all actions alike."""
    draws = np.random.default_rng(seed)

    def uniform(rows: int, columns: int) -> Float64Array:
        bound = (6.0 / (rows + columns)) ** 0.5  # Glorot and Bengio, 2010
        return draws.uniform(-bound, bound, (rows, columns))

    rotations = [np.linalg.qr(draws.standard_normal((hidden, hidden)))[0] for _ in range(4)]
    bias = np.zeros(4 * hidden)
    bias[hidden : 2 * hidden] = 1.0
    drawn = {
        "input": uniform(len(mean), 4 * hidden),
        "recurrent": np.concatenate(rotations, axis=1),
        "bias": bias,
        "policy": _SMALL * uniform(hidden, _ACTIONS),
        "policy_bias": np.zeros(_ACTIONS),
        "value": uniform(hidden, 1),
        "value_bias": np.zeros(1),
        "mean": mean,
        "scale": scale,
    }
    return {name: np.asarray(value, np.float32) for name, value in drawn.items()}


def unroll(parameters: Parameters, features: Any, resets: Any) -> tuple[Any, Any]:
    """Logits [T, n, 3] and values [T, n] of T steps of n rows, from an empty state on.

    Args:
        parameters: see there.
        features: float32[T, n, F], as they are.
        resets: bool[T, n], where the state is emptied before the step.
    """
    normal = jnp.clip((features - parameters["mean"]) / parameters["scale"], -MOST, MOST)
    driven = normal @ parameters["input"] + parameters["bias"]

    def step(state: Any, given: Any) -> tuple[Any, Any]:
        h, c = state
        drive, reset = given
        keep = 1.0 - reset[:, None]
        gates = drive + (keep * h) @ parameters["recurrent"]
        enter, forget, new, out = jnp.split(gates, 4, axis=1)
        c = jax.nn.sigmoid(forget) * (keep * c) + jax.nn.sigmoid(enter) * jnp.tanh(new)
        h = jax.nn.sigmoid(out) * jnp.tanh(c)
        return (h, c), h

    empty = jnp.zeros((features.shape[1], parameters["recurrent"].shape[0]))
    _, h = jax.lax.scan(step, (empty, empty), (driven, resets.astype(jnp.float32)))
    logits = h @ parameters["policy"] + parameters["policy_bias"]
    return logits, (h @ parameters["value"] + parameters["value_bias"])[..., 0]


def _probabilities(parameters: Parameters, features: Any, resets: Any) -> Any:
    logits, _ = unroll(parameters, features[:, None], resets[:, None])
    return jax.nn.softmax(logits[:, 0])


_run = jax.jit(_probabilities)


def probabilities(parameters: Parameters, features: Float32Array, resets: BoolArray) -> Float32Array:
    """Of HOLD, BUY and SELL at the T bars of one stream, float32[T, 3]."""
    return np.asarray(_run(parameters, features, resets))
