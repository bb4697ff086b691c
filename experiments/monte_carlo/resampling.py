"""Other histories of the same account: its trades in another order, or its returns in other blocks."""

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows
from raysignal.engine.core.policy import Policy


def shuffled(growths: Float64Array, draws: np.random.Generator) -> Float64Array:
    """The same trades in another order: the end is the same, the way there is not."""
    found: Float64Array = draws.permutation(growths)
    return found


def drawn(growths: Float64Array, draws: np.random.Generator) -> Float64Array:
    """As many trades, each drawn from all of them."""
    found: Float64Array = growths[draws.integers(0, len(growths), len(growths))]
    return found


def stationary(returns: Float64Array, block: float, draws: np.random.Generator) -> Float64Array:
    """The stationary bootstrap (Politis & Romano, J. of the American Statistical Association 89, 1994).

    Blocks of geometric length with that mean, wrapped around the end.
    """
    found: Float64Array = returns[stationary_places(len(returns), block, draws)]
    return found


def stationary_places(n: int, block: float, draws: np.random.Generator) -> Int64Array:
    """Where each of n values is taken from, int64[n]; see `stationary`."""
    begins = draws.random(n) < 1.0 / block
    begins[0] = True
    starts = draws.integers(0, n, n)
    places = np.arange(n)
    last = np.maximum.accumulate(np.where(begins, places, 0))
    return np.asarray((starts[last] + places - last) % n, np.int64)


def block_length(returns: Float64Array) -> float:
    """The mean block length that suits how dependent the returns are (Politis & White, 2004, by `arch`)."""
    from arch.bootstrap import optimal_block_length  # noqa: PLC0415 - a second to import

    if len(returns) < 8 or float(returns.std()) <= 1e-14:
        return 1.0
    found = float(optimal_block_length(returns)["stationary"].iloc[0])
    return float(np.clip(found, 1.0, len(returns) / 3.0)) if np.isfinite(found) else 1.0


def trade_growths(rows: LedgerRows, policy: Policy) -> Float64Array:
    """What each trade made of the equity, from its opening to its closing, both fees included.

    A flip closes one trade and opens the next at the same price: its bar counts once. Between trades the account is
    cash, which earns nothing, so the product of the growths is the account's own. A trade that is still open is
    closed at the last price; one in which equity falls to 0 or below is the last, and its growth is 0.

    Args:
        rows: what the ledger did at each bar of one symbol.
        policy: of that ledger.

    Returns:
        float64[trades], in their order.

    Raises:
        InvalidField: there is no trade.
    """
    level = solvent(rows.equity)
    side = np.sign(rows.position)
    # Where a bracket closed a trade, the same row may have opened another on the same side.
    turned = (side != np.append(0.0, side[:-1])) | (rows.closed_by != CloseReason.SIGNAL)
    opens = np.flatnonzero(turned & (side != 0.0) & (level > 0.0))
    if not len(opens):
        raise InvalidField("trades", 0, "at least one that was opened")
    # What opening spent, back in cash: a long its price, a short less than nothing, and both their fee.
    position, price = rows.position[opens], rows.fill_price[opens]
    before = rows.cash[opens] + (position + np.abs(position) * policy.fee_bps / 1e4) * price
    growths: Float64Array = np.append(before[1:], level[-1]) / before
    return growths


def compounded(growths: Float64Array) -> Float64Array:
    """Equity over its beginning, after each of these growths."""
    return np.asarray(np.cumprod(growths), np.float64)


def solvent(level: Float64Array) -> Float64Array:
    """Equity that stays at 0 from where it first is at or below it: nothing is opened any more."""
    found: Float64Array = np.where(np.minimum.accumulate(level) > 0.0, level, 0.0)
    return found
