# mypy: disable-error-code="arg-type,assignment,no-any-return,operator,misc,return-value"
# mypy: disallow-untyped-decorators=False
"""Order books: every price with what rests there, exactly, in sorted int64 arrays.

`BookSet` holds the books of one connection in one array, so that compiled code reaches any of them; `OrderBook` is one
of them as the rest of the system sees it. A side is a run of keys in ascending order, best last, and a run of sizes:
most changes happen near the best price, where little has to move. A level that is taken away leaves its place with
size 0: it often comes back, and a new one nearby can have the place without moving thousands of others. The last
place of a run always holds something. A bid's key is its price, an ask's is its price negated, so that both sides are
the same code.

A change that does not fit leaves the book as it was (`apply` says so); `BookSet.make_room` then gives it more.
"""

import numpy as np
import numpy.typing as npt
from numba import types

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.raw import compiled_as, move_words

BID, ASK = 0, 1

# A book's row in `BookSet.heads`.
BID_AT, BID_ROOM, BID_COUNT, ASK_AT, ASK_ROOM, ASK_COUNT = range(6)
STATE, LAST, BEFORE, UPDATE_ID = 6, 7, 8, 9  # what trackers keep, see venues/sequence.py
HEAD = 12
_SIDE = 3
_START_ROOM = 64
_NEARBY = 16

_longs, _long, _pair = types.int64[::1], types.int64, types.UniTuple(types.int64, 2)


@compiled_as(_long(_longs, _long, _long, _long, _long))
def _find(cells: Int64Array, at: int, count: int, key: int, near: int) -> int:
    """How many of the keys are below `key`; searched from `near` (0 to `count`) on, in growing steps."""
    step = 1
    if near < count and cells[at + near] < key:
        low = near + 1
        high = low
        while high < count and cells[at + high] < key:
            low = high + 1
            high += step
            step *= 2
        high = min(high, count)
    else:
        high = near
        low = near - 1
        while low >= 0 and cells[at + low] >= key:
            high = low
            low -= step
            step *= 2
        low = max(low + 1, 0)
    while low < high:
        middle = (low + high) >> 1
        if cells[at + middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@compiled_as(_pair(_longs, _long, _long, _long, _long, _long, _long))
def _set(
    cells: Int64Array, at: int, room: int, count: int, key: int, size: int, near: int
) -> tuple[int, int]:
    """One level changed, added or (size 0) taken away: how long the run is then, and where it was."""
    sizes = at + room
    place = _find(cells, at, count, key, near)
    if place < count and cells[at + place] == key:
        cells[sizes + place] = size
        if size == 0 and place == count - 1:
            while count > 0 and cells[sizes + count - 1] == 0:
                count -= 1
        return count, min(place, count)
    if size == 0:
        return count, place
    # A place of nothing nearby is taken, and only what is between moves.
    for free in range(place, min(place + _NEARBY, count)):
        if cells[sizes + free] == 0:
            move_words(cells, at + place + 1, at + place, free - place)
            move_words(cells, sizes + place + 1, sizes + place, free - place)
            cells[at + place] = key
            cells[sizes + place] = size
            return count, place
    for free in range(place - 1, max(place - _NEARBY, 0) - 1, -1):
        if cells[sizes + free] == 0:
            place -= 1
            move_words(cells, at + free, at + free + 1, place - free)
            move_words(cells, sizes + free, sizes + free + 1, place - free)
            cells[at + place] = key
            cells[sizes + place] = size
            return count, place
    move_words(cells, at + place + 1, at + place, count - place)
    move_words(cells, sizes + place + 1, sizes + place, count - place)
    cells[at + place] = key
    cells[sizes + place] = size
    return count + 1, place


@compiled_as(_long(_longs, _long, _long, _long))
def _close(cells: Int64Array, at: int, room: int, count: int) -> int:
    """Take the places of nothing out of a run; how long it is then."""
    kept = 0
    for k in range(count):
        if cells[at + room + k] != 0:
            cells[at + kept] = cells[at + k]
            cells[at + room + kept] = cells[at + room + k]
            kept += 1
    return kept


@compiled_as(types.boolean(_longs, _longs, _long, _longs, _long, _long, _long, _long))
def apply(
    cells: Int64Array,
    heads: Int64Array,
    book: int,
    levels: Int64Array,
    at: int,
    room: int,
    bids: int,
    asks: int,
) -> bool:
    """Changes into the book whose head begins at `book`; False, and nothing changed, if they may not fit.

    `levels` holds four runs of `room` from `at` on: bid prices, bid sizes, ask prices, ask sizes.
    """
    if heads[book + BID_COUNT] + bids > heads[book + BID_ROOM]:
        return False
    if heads[book + ASK_COUNT] + asks > heads[book + ASK_ROOM]:
        return False
    for side in range(2):
        place = book + _SIDE * side
        begin, space, count = heads[place], heads[place + 1], heads[place + 2]
        prices = at + 2 * room * side
        near = count  # changes come sorted: each is looked for where the one before it was
        for k in range(asks if side else bids):
            key = -levels[prices + k] if side else levels[prices + k]
            count, near = _set(cells, begin, space, count, key, levels[prices + room + k], near)
        heads[place + 2] = count
    return True


@compiled_as(types.void(_longs, _long))
def clear(heads: Int64Array, book: int) -> None:
    """Empty the book whose head begins at `book`."""
    heads[book + BID_COUNT] = 0
    heads[book + ASK_COUNT] = 0


@compiled_as(types.UniTuple(_long, 4)(_longs, _longs, _long))
def best(cells: Int64Array, heads: Int64Array, book: int) -> tuple[int, int, int, int]:
    """Best bid, its size, best ask, its size; 0 and 0 for an empty side."""
    bid, bid_size, ask, ask_size = 0, 0, 0, 0
    count = heads[book + BID_COUNT]
    if count > 0:
        at = heads[book + BID_AT] + count - 1
        bid, bid_size = cells[at], cells[at + heads[book + BID_ROOM]]
    count = heads[book + ASK_COUNT]
    if count > 0:
        at = heads[book + ASK_AT] + count - 1
        ask, ask_size = -cells[at], cells[at + heads[book + ASK_ROOM]]
    return bid, bid_size, ask, ask_size


@compiled_as(_long(_longs, _long, _long, _long, _long, _long, _long, _longs, _longs))
def _walk(
    cells: Int64Array,
    at: int,
    room: int,
    count: int,
    sign: int,
    size: int,
    limit: int,
    prices: Int64Array,
    sizes: Int64Array,
) -> int:
    """Take up to `size` from the best on, `size` 0 all there is; how many levels it took, at most `prices` holds."""
    taken, rest = 0, size
    for k in range(count - 1, -1, -1):
        if taken == prices.shape[0] or (size > 0 and rest <= 0):
            break
        if limit > 0 and cells[at + k] < sign * limit:
            break
        there = cells[at + room + k]
        if there == 0:
            continue
        prices[taken] = sign * cells[at + k]
        sizes[taken] = min(rest, there) if size > 0 else there
        rest -= there
        taken += 1
    return taken


class BookSet:
    """The books of one connection, in the order of `instruments`.

    `cells` and `heads` (int64) are what compiled callers of `apply` hand on; `cells` is another array after
    `make_room`.
    """

    def __init__(self, instruments: list[Instrument]) -> None:
        self.instruments = instruments
        count = len(instruments)
        self.heads = np.zeros(HEAD * max(count, 1), np.int64)
        self.cells = np.zeros(4 * _START_ROOM * max(count, 1), np.int64)
        self._used = 0
        for row in range(count):
            for side in (BID, ASK):
                self._place(HEAD * row + _SIDE * side, _START_ROOM)

    def _place(self, head: int, room: int) -> None:
        """Give a side a new run of cells; what it held moves there."""
        if self._used + 2 * room > len(self.cells):
            larger = np.zeros(2 * (self._used + 2 * room), np.int64)
            larger[: self._used] = self.cells[: self._used]
            self.cells = larger
        at, old, count = self.heads[head : head + 3].tolist()
        for part in range(2):
            source = at + part * old
            target = self._used + part * room
            self.cells[target : target + count] = self.cells[source : source + count]
        self.heads[head : head + 2] = self._used, room
        self._used += 2 * room

    def make_room(self, row: int, bids: int, asks: int) -> None:
        """Let a book take so many more levels a side."""
        for side, more in ((BID, bids), (ASK, asks)):
            head = HEAD * row + _SIDE * side
            at, room, count = self.heads[head : head + 3].tolist()
            if count + more <= room:
                continue
            self.heads[head + 2] = count = _close(self.cells, at, room, count)
            if 2 * (count + more) > room:
                self._place(head, 2 * (count + more))
        self._tidy()

    def _tidy(self) -> None:
        """Close the holes that moved sides left, once they are most of the array."""
        live = int(sum(self.heads[HEAD * row + _SIDE * side + 1] for row in range(len(self.instruments))
                       for side in (BID, ASK)))  # fmt: skip
        if self._used <= 4 * live:
            return
        before, self._used = self.cells, 0
        self.cells = np.zeros(4 * live, np.int64)
        for row in range(len(self.instruments)):
            for side in (BID, ASK):
                head = HEAD * row + _SIDE * side
                at, room, count = self.heads[head : head + 3].tolist()
                for part in range(2):
                    source, target = at + part * room, self._used + part * room
                    self.cells[target : target + count] = before[source : source + count]
                self.heads[head] = self._used
                self._used += 2 * room

    def book(self, row: int) -> "OrderBook":
        """The book of an instrument; the same one for as long as the shelf lives."""
        return OrderBook(self.instruments[row], self, row)


class OrderBook:
    """The order book of one instrument: prices in ticks, sizes in lots, both int64.

    Alone (`OrderBook(instrument)`) it has a shelf of its own; a tracker's books share one.
    """

    def __init__(self, instrument: Instrument, shelf: BookSet | None = None, row: int = 0) -> None:
        self.instrument = instrument
        self._shelf = shelf if shelf is not None else BookSet([instrument])
        self._row = row

    def replace(self, bids: npt.ArrayLike, asks: npt.ArrayLike) -> None:
        """The whole book anew: (price, size) pairs, in any order; a price given twice keeps the last size."""
        clear(self._shelf.heads, HEAD * self._row)
        self.change(bids, asks)

    def clear(self) -> None:
        """Nothing rests any more."""
        clear(self._shelf.heads, HEAD * self._row)

    def change(self, bids: npt.ArrayLike, asks: npt.ArrayLike) -> None:
        """Levels as they are now, as (price, size) pairs; size 0 takes a level away, if it is there."""
        sides = [np.asarray(levels, np.int64).reshape(-1, 2) for levels in (bids, asks)]
        if any((levels[:, 0] <= 0).any() or (levels[:, 1] < 0).any() for levels in sides):
            raise ValueError("a level's price is above 0, its size 0 or more")
        room = max(len(levels) for levels in sides)
        runs = np.zeros((4, room), np.int64)
        for side, levels in enumerate(sides):
            runs[2 * side : 2 * side + 2, : len(levels)] = levels.T
        shelf = self._shelf
        counts = len(sides[0]), len(sides[1])
        if not apply(shelf.cells, shelf.heads, HEAD * self._row, runs.ravel(), 0, room, *counts):
            shelf.make_room(self._row, *counts)
            apply(shelf.cells, shelf.heads, HEAD * self._row, runs.ravel(), 0, room, *counts)

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size; 0 and 0 for an empty side."""
        found: tuple[int, int, int, int] = best(self._shelf.cells, self._shelf.heads, HEAD * self._row)
        return found

    @property
    def crossed(self) -> bool:
        """Whether the best bid is above the best ask: no venue's book is ever so. (Equal: it is locked.)"""
        bid, _, ask, _ = self.best
        return bid != 0 and ask != 0 and bid > ask

    @property
    def counts(self) -> tuple[int, int]:
        """How many prices there are: bids, asks."""
        return len(self.levels(BID)[0]), len(self.levels(ASK)[0])

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        """Prices and sizes of a side (`BID` or `ASK`), best first, at most `count` of them; copies."""
        return self._taken(side, 0, 0, count)

    def _taken(self, side: int, size: int, limit: int, most: int | None) -> tuple[Int64Array, Int64Array]:
        at, room, there = self._shelf.heads[HEAD * self._row + _SIDE * side :][:3].tolist()
        most = there if most is None else min(most, there)
        prices, sizes = np.empty(most, np.int64), np.empty(most, np.int64)
        sign = 1 if side == BID else -1
        taken = _walk(self._shelf.cells, at, room, there, sign, size, limit, prices, sizes)
        return prices[:taken], sizes[:taken]

    def walk(self, side: int, size: int, limit: int = 0) -> tuple[Int64Array, Int64Array]:
        """What an order that takes `size` lots from a side gets: prices and sizes, best first.

        A buyer takes from `ASK`, a seller from `BID`. `limit` is the worst price that is taken; 0: any. The sizes
        add up to less than `size` where the book (within the limit) does not have it.
        """
        if size <= 0 or limit < 0:
            raise ValueError("size is above 0, limit 0 or more")
        return self._taken(side, size, limit, None)
