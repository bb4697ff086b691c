"""What the decisions of an arm earn, and the fee at which they would break even.

Two questions, two answers. A *trade* here is what the outcomes are scored by: it opens flat at a signal and ends with
its horizon, so trades overlap and each has the same stake. The *account* trades only where its side changes, holds
until the opposite signal, and compounds. One may break even at a fee at which the other loses.
"""

from dataclasses import dataclass

import numpy as np

from raysignal.agents.verdicts import Verdict, decided
from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.experiments.comparison.results import SignalStream

MOST_FEE_BPS = 1000.0
"""The highest fee that a policy can have."""
_LEAST_SHARE = 1e-300  # of the initial cash; an account without any has no logarithm


@dataclass(frozen=True, slots=True)
class Earnings:
    """What the decisions of one arm earn.

    Attributes:
        trades: judged signals whose decision opens a position.
        gross_bps, net_bps: their mean before and after costs, bp of a trade's stake; None without a trade.
        break_even_fee_bps: the fee on every fill at which that mean is 0, the slippage as it is; None without a
            trade, and where they do not earn at a fee of 0 either.
        account_break_even_fee_bps: the fee at which the account that is filled at the next bar ends with the cash
            that it began with, at most `MOST_FEE_BPS`; None where it does not earn at a fee of 0 either.
    """

    trades: int
    gross_bps: float | None
    net_bps: float | None
    break_even_fee_bps: float | None
    account_break_even_fee_bps: float | None


@dataclass(frozen=True, slots=True)
class HoldGain:
    """What holding the signals of one side would have gained on average over following them.

    Attributes:
        side: `BUY` or `SELL`.
        judged: signals of this side with an outcome.
        gain_bps: mean over them, bp per signal; None without any.
        costs_bps: how much of it is costs that were not paid; the rest is what the average signal lost before costs.
    """

    side: str
    judged: int
    gain_bps: float | None
    costs_bps: float | None


def earnings_of(stream: SignalStream, verdict: Int8Array) -> Earnings:
    """The earnings of n decisions about a stream; `verdict` is int8[n]."""
    action = decided(stream.action, verdict)
    gross = np.take_along_axis(stream.gross_bps, verdict[:, None].astype(np.intp), axis=1)[:, 0]
    net = np.take_along_axis(stream.net_bps, verdict[:, None].astype(np.intp), axis=1)[:, 0]
    opens = np.abs(action) == 1 if stream.policy.side == "long-short" else action == 1
    rows = np.flatnonzero(stream.judged & opens)
    account = account_break_even_fee_bps(stream, action)
    if not len(rows):
        return Earnings(0, None, None, None, account)
    long = action[rows] > 0
    fee = trades_break_even_fee_bps(
        gross[rows][long], gross[rows][~long], slippage_bps=stream.policy.slippage_bps
    )
    return Earnings(len(rows), float(gross[rows].mean()), float(net[rows].mean()), fee, account)


def trades_break_even_fee_bps(
    long_bps: Float64Array, short_bps: Float64Array, *, slippage_bps: float
) -> float | None:
    """The fee at which trades of equal stakes earn nothing on average; None where they earn nothing at a fee of 0.

    With the fee f of a fill as a share, k = (1 - f) / (1 + f), a = (1 - s) / (1 + s) of the slippage s, and r the exit
    price over the entry price, `agents.override.payoff` gives r * a * k - 1 for a long trade and k - r / a for a short
    one. Their sum is linear in k, so that its root is exact.

    Args:
        long_bps: float64[l], what long trades earn before costs.
        short_bps: float64[s], the same of short ones.
        slippage_bps: of every fill.
    """
    a = (1.0 - slippage_bps / 1e4) / (1.0 + slippage_bps / 1e4)
    spent = len(long_bps) + float((1.0 - short_bps / 1e4).sum()) / a
    taken = a * float((1.0 + long_bps / 1e4).sum()) + len(short_bps)
    if not taken > spent:
        return None
    k = spent / taken
    return float(1e4 * (1.0 - k) / (1.0 + k))


def account_break_even_fee_bps(stream: SignalStream, action: Int8Array) -> float | None:
    """The fee at which an account that follows these actions at the next bar ends where it began; see `Earnings`."""
    if not len(stream):
        return None
    rows = LedgerRows.empty(len(stream))
    terms = None if stream.terms is None else stream.terms.done(stream.action, action)

    def growth(fee_bps: float) -> float:
        """The logarithm of the last equity over the initial cash."""
        policy = Policy.from_dict(stream.policy.as_dict() | {"fill": "next", "fee_bps": fee_bps})
        ledger = Ledger(policy)
        ledger.ensure_symbols(len(stream.symbols))
        ledger.run(stream.timestamp_us, stream.symbol, action, stream.price, rows, terms=terms)
        return float(np.log(max(_LEAST_SHARE, rows.equity[-1] / policy.initial_cash)))

    if not growth(0.0) > 0.0:
        return None
    if growth(MOST_FEE_BPS) >= 0.0:
        return MOST_FEE_BPS
    from scipy.optimize import brentq  # noqa: PLC0415 - slow to import

    return float(brentq(growth, 0.0, MOST_FEE_BPS, xtol=1e-6))


def hold_gains(stream: SignalStream) -> tuple[HoldGain, ...]:
    """What holding a signal would have gained, of BUYs and of SELLs."""
    return tuple(_hold_gain(stream, side, name) for side, name in ((1, "BUY"), (-1, "SELL")))


def _hold_gain(stream: SignalStream, side: int, name: str) -> HoldGain:
    rows = np.flatnonzero(stream.judged & (stream.action == side))
    if not len(rows):
        return HoldGain(name, 0, None, None)
    net, gross = stream.net_bps[rows], stream.gross_bps[rows]
    gain = float((net[:, Verdict.HOLD] - net[:, Verdict.APPROVE]).mean())
    return HoldGain(
        name, len(rows), gain, gain - float((gross[:, Verdict.HOLD] - gross[:, Verdict.APPROVE]).mean())
    )
