# mypy: disable-error-code="no-any-return"
# mypy: disallow-untyped-decorators=False
"""Order books: every price with what rests there, exactly, in sorted int64 arrays.

A side has a row of keys in ascending order, best last, and a row of sizes: most changes happen near the best price,
where little has to move. A level that is taken away leaves its place with size 0: it often comes back, and a new one
nearby can have the place without moving thousands of others. The last place always holds something. A bid's key is its
price, an ask's is its price negated, so that both sides are the same code.

What is compiled here calls nothing of other modules, so that numba's cache is of this file alone.
"""

import numpy as np
import numpy.typing as npt
from numba import njit, types

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.market_events import Instrument

BID, ASK = 0, 1
_SIGNS = (1, -1)
_START_ROOM = 64
_NEARBY = 16

_rows, _long = types.int64[:, ::1], types.int64
_best = types.UniTuple(_long, 4)


@njit(_long(_rows, _long, _long, _long), cache=True, nogil=True)
def _find(side: Int64Array, count: int, key: int, near: int) -> int:
    """How many of the keys are below `key`; searched from `near` (0 to `count`) on, in growing steps."""
    low, high, step = 0, count, 1
    if near < count and side[0, near] < key:
        low = near + 1
        while low + step < count and side[0, low + step] < key:
            low += step + 1
            step *= 2
        high = min(low + step, count)
    else:
        high = near
        while high > step and side[0, high - step] >= key:
            high -= step
            step *= 2
        low = max(high - step, 0)
    while low < high:
        middle = (low + high) >> 1
        if side[0, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@njit(types.UniTuple(_long, 2)(_rows, _long, _long, _long, _long), cache=True, nogil=True)
def _set(side: Int64Array, count: int, key: int, size: int, near: int) -> tuple[int, int]:
    """One level changed, added or (size 0) taken away: how long the side is then, and where it was."""
    place = _find(side, count, key, near)
    if place < count and side[0, place] == key:
        side[1, place] = size
        while count > 0 and side[1, count - 1] == 0:
            count -= 1
        return count, min(place, count)
    if size == 0:
        return count, place
    # A place of nothing nearby is taken, and only what is between moves.
    free = place
    while free < count and free < place + _NEARBY and side[1, free] != 0:
        free += 1
    if free == count or side[1, free] != 0:
        back = place - 1
        while back > 0 and back > place - _NEARBY and side[1, back] != 0:
            back -= 1
        if back >= 0 and side[1, back] == 0:
            place -= 1
            for k in range(back, place):
                side[0, k] = side[0, k + 1]
                side[1, k] = side[1, k + 1]
            side[0, place] = key
            side[1, place] = size
            return count, place
        free = count
        count += 1
    for k in range(free, place, -1):
        side[0, k] = side[0, k - 1]
        side[1, k] = side[1, k - 1]
    side[0, place] = key
    side[1, place] = size
    return count, place


@njit(_best(_rows, _rows, types.int64[::1]), cache=True, nogil=True)
def _best_of(bids: Int64Array, asks: Int64Array, counts: Int64Array) -> tuple[int, int, int, int]:
    bid, bid_size, ask, ask_size = 0, 0, 0, 0
    if counts[0] > 0:
        bid, bid_size = bids[0, counts[0] - 1], bids[1, counts[0] - 1]
    if counts[1] > 0:
        ask, ask_size = -asks[0, counts[1] - 1], asks[1, counts[1] - 1]
    return bid, bid_size, ask, ask_size


@njit(_best(_rows, _rows, types.int64[::1], _rows, _rows), cache=True, nogil=True)
def _change(
    bids: Int64Array, asks: Int64Array, counts: Int64Array, more_bids: Int64Array, more_asks: Int64Array
) -> tuple[int, int, int, int]:
    """Levels into both sides, which have room for them; the best prices after it, or -1 (and nothing is changed)."""
    for levels in (more_bids, more_asks):
        for k in range(levels.shape[0]):
            if levels[k, 0] <= 0 or levels[k, 1] < 0:
                return -1, 0, 0, 0
    for number, side, levels, sign in ((0, bids, more_bids, 1), (1, asks, more_asks, -1)):
        count = counts[number]
        near = count  # changes come sorted: each is looked for where the one before it was
        for k in range(levels.shape[0]):
            count, near = _set(side, count, sign * levels[k, 0], levels[k, 1], near)
        counts[number] = count
    return _best_of(bids, asks, counts)


class OrderBook:
    """The order book of one instrument: prices in ticks, sizes in lots, both int64."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._sides = [np.zeros((2, _START_ROOM), np.int64) for _ in _SIGNS]
        self._counts = np.zeros(2, np.int64)

    def replace(self, bids: npt.ArrayLike, asks: npt.ArrayLike) -> None:
        """The whole book anew: (price, size) pairs, in any order; a price given twice keeps the last size."""
        self.clear()
        self.change(bids, asks)

    def clear(self) -> None:
        """Nothing rests any more."""
        self._counts[:] = 0

    def change(self, bids: npt.ArrayLike, asks: npt.ArrayLike) -> tuple[int, int, int, int]:
        """Levels as they are now, as (price, size) pairs; size 0 takes a level away. The best prices after it."""
        more_bids, more_asks = (np.asarray(levels, np.int64).reshape(-1, 2) for levels in (bids, asks))
        self._make_room(BID, len(more_bids))
        self._make_room(ASK, len(more_asks))
        best: tuple[int, int, int, int] = _change(*self._sides, self._counts, more_bids, more_asks)
        if best[0] < 0:
            raise ValueError("a level's price is above 0, its size 0 or more")
        return best

    def _make_room(self, side: int, more: int) -> None:
        held, count = self._sides[side], int(self._counts[side])
        if count + more <= held.shape[1]:
            return
        kept = held[:, :count][:, held[1, :count] != 0]
        self._counts[side] = count = kept.shape[1]
        self._sides[side] = np.zeros((2, 2 * (count + more)), np.int64)
        self._sides[side][:, :count] = kept

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size; 0 and 0 for an empty side."""
        best: tuple[int, int, int, int] = _best_of(*self._sides, self._counts)
        return best

    @property
    def crossed(self) -> bool:
        """Whether the best bid is above the best ask: no venue's book is ever so. (Equal: it is locked.)"""
        bid, _, ask, _ = self.best
        return bid > ask > 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many prices there are: bids, asks."""
        return len(self.levels(BID)[0]), len(self.levels(ASK)[0])

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        """Prices and sizes of a side (`BID` or `ASK`), best first, at most `count` of them; copies."""
        held = self._sides[side][:, : self._counts[side]][:, ::-1]
        held = held[:, held[1] != 0][:, :count]
        return _SIGNS[side] * held[0], held[1].copy()
