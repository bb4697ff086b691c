"""Signals that are right as often as one wants, on a market that they do not touch.

The signal of a row is chosen after looking at the price its horizon later: with the given probability it
says what will happen, else the opposite. The prices are made first and from other random streams, so a
signal's quality can be changed, or made to depend on nothing, without moving a price or a feature.
"""

from dataclasses import dataclass

import numpy as np

from raysignal.data.draws import Draws
from raysignal.data.market import GeneratedBars
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """The signals of one market.

    Attributes:
        action: int8[n], -1, 0 or 1.
        probability: float64[n], with which a BUY or SELL of the row is right.
        judged: bool[n], there is a BUY or SELL, and its horizon ends within the file.
        right: bool[n], judged, and the price went where the signal said.
    """

    action: Int8Array
    probability: Float64Array
    judged: BoolArray
    right: BoolArray


def make_calls(
    market: GeneratedBars,
    *,
    edge: tuple[float, ...],
    horizon_us: int,
    hold_share: float,
    buy_share: float,
    seed: int,
    symbol: int,
) -> Calls:
    """Signals for every bar of `market`.

    Args:
        market: what happens.
        edge: the probability that a signal is right, for each regime.
        horizon_us: how far it looks: to the first bar that opens this long after its own, or later.
        hold_share: the probability that a row says HOLD instead.
        buy_share: the share of BUY among the others, where the price rises as often as it falls.
        seed: of the whole file.
        symbol: position of the symbol in it.
    """
    n = len(market.price)
    draws = Draws(seed, symbol, 5)
    by_luck, says_right, holds = draws.uniform(n), draws.uniform(n), draws.uniform(n)
    probability = np.array(edge, np.float64)[market.regime]
    end = np.searchsorted(market.opened_us, market.opened_us + horizon_us)
    settles = end < n
    change = market.price[np.minimum(end, n - 1)] - market.price
    happens = np.where(change > 0, 1, -1)
    hears = np.where(says_right < probability + happens * (buy_share - 0.5), happens, -happens)
    speaks = np.where(settles & (change != 0), hears, np.where(by_luck < buy_share, 1, -1))
    action = np.where(holds < hold_share, 0, speaks).astype(np.int8)
    judged = settles & (action != 0)
    return Calls(action, probability, judged, judged & (action * change > 0))
