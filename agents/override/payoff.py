"""What a signal's trade earns for every verdict about it, under a portfolio's fees, slippage and side.

    verdict   approve        flip            hold
    BUY       long           short or out    out
    SELL      short or out   long            out

The formulas are those of the kernel (`engine.portfolio.kernel`) for a position that is opened by a portfolio without
any and closed again: a test holds them against the ledger itself.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.policy import Policy


@dataclass(frozen=True, slots=True)
class VerdictPayoff:
    """What a stake of 1 earns under a policy when the price goes from 1 to `ratio`.

    Attributes:
        policy: fees, slippage, side.
    """

    policy: Policy

    def verdicts(self, side: Int8Array, move_bps: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Gross and net basis points of each verdict, two of float64[m, 3], for moves of m signals.

        A BUY spends the whole stake, fee included; the stake of a short is its notional and the fee of selling.
        """
        gross, net = np.zeros((2, len(move_bps), 3))
        _verdicts(np.array(side, np.int8), np.array(move_bps, np.float64), *self.costs, gross, net)
        return gross, net

    @property
    def costs(self) -> tuple[float, float, bool]:
        """Fee and slippage as fractions, and whether a SELL goes short: how compiled code reads a policy."""
        policy = self.policy
        return policy.fee_bps / 1e4, policy.slippage_bps / 1e4, policy.side == "long-short"


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def earned_long(move_bps: float, fee: float, slippage: float) -> float:
    """Net basis points of buying and selling after such a move; the stake is all that is spent."""
    ratio = 1.0 + move_bps / 1e4
    left = ratio * (1.0 - slippage) * (1.0 - fee) / ((1.0 + slippage) * (1.0 + fee))
    return float((left - 1.0) * 1e4)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def earned_short(move_bps: float, fee: float, slippage: float) -> float:
    """Net basis points of selling and buying back; the stake is the notional and the fee of selling."""
    ratio = 1.0 + move_bps / 1e4
    taken, paid = (1.0 - slippage) * (1.0 - fee), ratio * (1.0 + slippage) * (1.0 + fee)
    return float((taken - paid) / ((1.0 - slippage) * (1.0 + fee)) * 1e4)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _verdicts(
    side: Int8Array,
    move_bps: Float64Array,
    fee: float,
    slippage: float,
    shorts: bool,
    gross: Float64Array,
    net: Float64Array,
) -> None:
    for row in range(len(move_bps)):
        move = move_bps[row]
        long, short = (0, 1) if side[row] > 0 else (1, 0)  # approve and flip
        gross[row, long], net[row, long] = move, earned_long(move, fee, slippage)
        if shorts:
            gross[row, short], net[row, short] = -move, earned_short(move, fee, slippage)
