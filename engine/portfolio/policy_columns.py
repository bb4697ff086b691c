"""A policy as compiled code reads it: `float64[POLICY_SIZE]`, rates as fractions, and its columns."""

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.policy import Policy

(
    FEE, GROSS, ABOVE, BELOW, WEIGHT, SHORTS, NEXT, MIN_CONFIDENCE, STOP, TAKE, TRAIL,
) = range(11)  # fmt: skip
POLICY_SIZE = 11


def policy_vector(policy: Policy) -> Float64Array:
    """The policy in its columns."""
    fee = policy.fee_bps / 10_000.0
    slippage = policy.slippage_bps / 10_000.0
    shorts = policy.side == "long-short"
    at_next = policy.fill == "next"
    levels = policy.stop_bps / 10_000.0, policy.take_bps / 10_000.0, policy.trail_bps / 10_000.0
    return np.array(
        [
            fee, 1.0 + fee, 1.0 + slippage, 1.0 - slippage, policy.weight, shorts, at_next, policy.min_confidence,
            *levels,
        ]
    )  # fmt: skip
