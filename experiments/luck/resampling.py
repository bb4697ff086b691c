"""Other histories of the same account: its trades in another order, or its returns in other blocks."""

import numpy as np

from engine.account import Floats
from engine.errors import InvalidField


def shuffled(growths: Floats, draws: np.random.Generator) -> Floats:
    """The same trades in another order: the end is the same, the way there is not."""
    found: Floats = draws.permutation(growths)
    return found


def drawn(growths: Floats, draws: np.random.Generator) -> Floats:
    """As many trades, each drawn from all of them."""
    found: Floats = growths[draws.integers(0, len(growths), len(growths))]
    return found


def stationary(returns: Floats, block: float, draws: np.random.Generator) -> Floats:
    """The stationary bootstrap (Politis & Romano, J. of the American Statistical Association 89, 1994).

    Blocks of geometric length with that mean, wrapped around the end.
    """
    n = len(returns)
    begins = draws.random(n) < 1.0 / block
    begins[0] = True
    starts = draws.integers(0, n, n)
    last = np.maximum.accumulate(np.where(begins, np.arange(n), 0))
    found: Floats = returns[(starts[last] + np.arange(n) - last) % n]
    return found


def block_length(returns: Floats) -> float:
    """The mean block length that suits how dependent the returns are (Politis & White, 2004, by `arch`)."""
    from arch.bootstrap import optimal_block_length  # noqa: PLC0415 - a second to import

    if len(returns) < 8 or float(returns.std()) <= 1e-14:
        return 1.0
    found = float(optimal_block_length(returns)["stationary"].iloc[0])
    return float(np.clip(found, 1.0, len(returns) / 3.0)) if np.isfinite(found) else 1.0


def trade_growths(position: Floats, equity: Floats, initial: float) -> Floats:
    """What each trade made of the equity: its equity when it was closed over that before it was opened.

    Args:
        position: float64[n] after each bar.
        equity: float64[n] after each bar.
        initial: before the first.

    Raises:
        InvalidField: there is no closed trade.
    """
    side = np.sign(position)
    before = np.concatenate([[0.0], side[:-1]])
    ends = np.flatnonzero((before != 0.0) & (side != before))
    opens = np.flatnonzero((side != 0.0) & (side != before))
    if not len(ends):
        raise InvalidField("trades", 0, "at least one that was closed")
    opens = opens[: len(ends)]
    at_open = np.where(opens > 0, equity[np.maximum(opens - 1, 0)], initial)
    growths: Floats = equity[ends] / at_open
    return growths
