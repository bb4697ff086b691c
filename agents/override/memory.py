"""The memory of outcomes: what happened after the signals that were most like this one, as of an instant.

`OutcomeMemory.recall` is the only read. It ranks exactly, by the distance between situations, and sees an
outcome from its `known_at` on and never before. As an outcome is known only after its horizon has ended, no
label that is seen overlaps the horizon of the signal that asks.

The distance between a signal and a past one is a weighted sum: over all numbers of the squared difference in
standard deviations as of the signal that asks, at most 9, and over all categories of twice the share of labels
that they do not have in common (Jaccard). What the one that asks lacks counts nothing; what the past one lacks
counts as much as if the two had nothing to do with each other, 2. Equally distant ones: the earlier first.
The weights say what has told right from wrong so far (`agents.override.evidence`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from raysignal.agents.override.outcomes import NOT_KNOWN_US, Outcomes
from raysignal.agents.override.situations import Situations
from raysignal.engine.core.arrays import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    UInt64Array,
)
from raysignal.engine.core.errors import InvalidField, LookAhead

WINDOW = 250_000
"""So many past signals are searched; older ones are forgotten."""

_FURTHEST = 9.0
_UNRELATED = 2.0
_BLOCK = 4096
_SPARE = 2048


@dataclass(frozen=True, slots=True)
class RecalledOutcomes:
    """The outcomes most like a signal, as of its instant.

    Attributes:
        as_of_us: nothing later was seen.
        ordinal: int64[k], places in the stream, by distance.
        distance: float32[k].
    """

    as_of_us: int
    ordinal: Int64Array
    distance: Float32Array


class OutcomeMemory:
    """Situations and outcomes of a stream of signals, in columns.

    Rows are added in the order of the stream (`add`), and each may be given its outcome later (`settle`).

    Args:
        window: so many of the latest signals are searched.
    """

    __slots__ = (
        "action", "count", "exit", "known_at_us", "label_names", "labels", "move_bps", "net_bps", "number_names",
        "numbers", "overlap", "queue", "regime", "sequence", "settled", "side", "symbol", "timestamp_us", "varies",
        "window",
    )  # fmt: skip

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.count = 0
        self.settled = 0
        self.number_names: tuple[str, ...] = ()
        self.label_names: tuple[str, ...] = ()
        self.numbers: Float32Array = np.empty((0, 0), np.float32)
        self.labels: UInt64Array = np.empty((0, 0), np.uint64)
        self.varies = np.zeros(0, np.bool_)  # a category: not all rows have the same labels
        self.timestamp_us: Int64Array = np.empty(0, np.int64)
        self.symbol: Int32Array = np.empty(0, np.int32)
        self.action: Int8Array = np.empty(0, np.int8)
        self.regime: Int8Array = np.empty(0, np.int8)
        self.known_at_us: Int64Array = np.empty(0, np.int64)
        self.exit: Int64Array = np.empty(0, np.int64)
        self.side: Int8Array = np.empty(0, np.int8)
        self.overlap: Int64Array = np.empty(0, np.int64)
        self.move_bps: Float64Array = np.empty(0)
        self.net_bps: Float64Array = np.empty((0, 3))
        self.queue: Int64Array = np.empty(0, np.int64)
        self.sequence: Int64Array = np.empty(0, np.int64)

    def add(
        self,
        ordinal: Int64Array,
        timestamp_us: Int64Array,
        symbol: Int32Array,
        action: Int8Array,
        situations: Situations,
    ) -> None:
        """Take the next n signals in; their outcomes are not known yet.

        Args:
            ordinal: int64[n], which must go on from the last one.
            timestamp_us: int64[n].
            symbol: int32[n], the encoder's codes.
            action: int8[n].
            situations: of the n signals.

        Raises:
            LookAhead: the ordinals do not go on from the last one.
        """
        n = len(ordinal)
        if n == 0:
            return
        if ordinal[0] != self.count or ordinal[-1] != self.count + n - 1:
            raise LookAhead(
                f"signals {ordinal[0]} to {ordinal[-1]} were given to a memory that expects {n} signals from "
                f"{self.count} on"
            )
        self._make_room(self.count + n, situations)
        new = slice(self.count, self.count + n)
        self.numbers[places_of(situations.number_names, self.number_names), new] = situations.numbers
        self.labels[places_of(situations.label_names, self.label_names), new] = situations.labels
        self.varies |= (self.labels[:, new] != self.labels[:, :1]).any(axis=1)
        self.timestamp_us[new] = timestamp_us
        self.symbol[new] = symbol
        self.action[new] = action
        self.regime[new] = situations.regime
        self.count += n

    def settle(self, outcomes: Outcomes) -> None:
        """Give signals their outcomes, in the order in which these become known.

        Raises:
            LookAhead: an outcome that is known no later than its signal, or sooner than the one before it; that a
                row told which is not here yet; or that a signal had already.
        """
        if not len(outcomes):
            return
        at, queued = outcomes.ordinal, slice(self.settled, self.settled + len(outcomes))
        known = outcomes.known_at_us
        if (outcomes.exit >= self.count).any():
            raise LookAhead("an outcome was stored before the row that told it")
        if not ((known > self.timestamp_us[at]) & (outcomes.exit > at)).all():
            raise LookAhead("an outcome was known no later than its signal")
        if (self.known_at_us[at] != NOT_KNOWN_US).any():
            raise LookAhead("a signal was given a second outcome")
        if self.settled and known[0] < self.known_at_us[self.queue[self.settled - 1]]:
            raise LookAhead("an outcome was stored after one that was known later")
        if (known[1:] < known[:-1]).any():
            raise LookAhead("an outcome was stored after one that was known later")
        self.known_at_us[at] = known
        self.exit[at] = outcomes.exit
        self.overlap[at] = outcomes.overlap
        self.side[at] = outcomes.side
        self.move_bps[at] = outcomes.move_bps
        self.net_bps[at] = outcomes.net_bps
        self.queue[queued] = at
        self.settled += len(outcomes)

    def recall(
        self,
        situations: Situations,
        row: int,
        as_of_us: int,
        k: int,
        *,
        weights: tuple[Float32Array, Float32Array] | None = None,
        before: int | None = None,
    ) -> RecalledOutcomes:
        """The k known outcomes whose signals were most like a row of `situations`, as of an instant.

        Args:
            situations: of this memory's encoder.
            row: which of them.
            as_of_us: outcomes known later are not seen.
            k: at most so many.
            weights: of the numbers and of the categories, by this memory's names; None: all the same.
            before: only what rows up to this place of the stream told is seen; None: all rows there are.

        Raises:
            InvalidField: `k` is below 1.
            LookAhead: what was found was not known then; a defect, and checked all the same.
        """
        if k < 1:
            raise InvalidField("k", k, "1 or more")
        limit = self.count if before is None else before
        numbers, scale = np.zeros((2, len(self.number_names)), np.float32)
        labels = np.zeros(len(self.label_names), np.uint64)
        places = places_of(situations.number_names, self.number_names)
        numbers[places], scale[places] = situations.numbers[:, row], situations.scale[row]
        labels[places_of(situations.label_names, self.label_names)] = situations.labels[:, row]
        if weights is None:
            weights = np.ones(len(numbers), np.float32), np.ones(len(labels), np.float32)
        found, distance = np.empty(k, np.int64), np.empty(k, np.float32)
        start = max(0, min(limit, self.count) - self.window)
        used = nearest(
            self.numbers, self.labels, self.varies, self.known_at_us, self.exit, start, min(limit, self.count),
            limit, as_of_us, numbers, scale, labels, *weights, np.empty(_BLOCK, np.float32), found, distance,
        )  # fmt: skip
        order = np.lexsort((found[:used], distance[:used]))
        recalled = RecalledOutcomes(as_of_us, found[order], distance[order])
        self.check(recalled)
        return recalled

    def check(self, recalled: RecalledOutcomes) -> None:
        """Raise `LookAhead` if anything recalled was not known at the instant it was recalled for."""
        late = recalled.ordinal[self.known_at_us[recalled.ordinal] > recalled.as_of_us]
        if len(late):
            raise LookAhead(f"the outcome of signal {late[0]} was recalled before it was known")

    def _make_room(self, count: int, situations: Situations) -> None:
        numbers = tuple(sorted({*self.number_names, *situations.number_names}))
        labels = tuple(sorted({*self.label_names, *situations.label_names}))
        capacity = len(self.timestamp_us)
        room = capacity if count <= capacity else max(1024, 2 * capacity, count)
        if (numbers, labels, room) == (self.number_names, self.label_names, capacity):
            return
        # A fresh table each time: what a name lacked is missing, and an outcome not settled is never known.
        wider = np.full((len(numbers), room), np.nan, np.float32)
        wider[places_of(self.number_names, numbers), :capacity] = self.numbers
        masks = np.zeros((len(labels), room), np.uint64)
        masks[places_of(self.label_names, labels), :capacity] = self.labels
        varies = np.zeros(len(labels), np.bool_)
        varies[places_of(self.label_names, labels)] = self.varies
        self.numbers, self.labels, self.varies = wider, masks, varies
        self.number_names, self.label_names = numbers, labels
        for name, missing in _MISSING.items():
            column = getattr(self, name)
            longer = np.full((room, *column.shape[1:]), missing, column.dtype)
            longer[:capacity] = column
            setattr(self, name, longer)


_MISSING = {
    "timestamp_us": 0, "symbol": 0, "action": 0, "regime": 0, "known_at_us": NOT_KNOWN_US, "exit": NOT_KNOWN_US,
    "side": 0, "overlap": 0, "move_bps": np.nan, "net_bps": np.nan, "queue": 0, "sequence": 0,
}  # fmt: skip


def places_of(some: tuple[str, ...], names: tuple[str, ...]) -> Int64Array:
    """int64[len(some)], where each stands in `names`; both are sorted."""
    if some == names:
        return np.arange(len(names))
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in some], np.int64)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def ones(word: np.uint64) -> np.uint64:
    """How many bits are set."""
    x = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _measure(
    numbers: Float32Array,
    labels: UInt64Array,
    varies: BoolArray,
    start: int,
    stop: int,
    query: Float32Array,
    scale: Float32Array,
    masks: UInt64Array,
    number_weights: Float32Array,
    label_weights: Float32Array,
    out: Float32Array,
) -> None:
    """The distances of rows `start` to `stop`, name by name, so that the processor takes several rows at once."""
    n = stop - start
    out[:n] = 0.0
    for name in range(len(query)):
        value, weight = query[name], number_weights[name]
        inverse = scale[name] * np.sqrt(weight)
        if inverse == 0.0 or np.isnan(value):
            continue
        furthest, unrelated = np.float32(_FURTHEST) * weight, np.float32(_UNRELATED) * weight
        column = numbers[name, start:stop]
        for row in range(n):
            x = (column[row] - value) * inverse
            y = x * x
            y = min(y, furthest)
            out[row] += y if x == x else unrelated  # noqa: PLR0124 - NaN is not itself
    for name in range(len(masks)):
        mask = masks[name]
        if mask == 0 or (not varies[name] and mask == labels[name, 0]):
            continue
        unrelated = np.float32(_UNRELATED) * label_weights[name]
        marks = labels[name, start:stop]
        for row in range(n):
            other = marks[row]
            if other != mask:
                shared = np.float32(ones(other & mask)) / np.float32(ones(other | mask))
                out[row] += unrelated * (np.float32(1.0) - shared)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _kth(values: Float32Array, n: int, k: int) -> Any:
    """The k-th smallest of the first n values, counted from 1; they are put in another order (Hoare's FIND)."""
    low, high, place = 0, n - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while pivot < values[right]:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if place <= right:
            high = right
        elif place >= left:
            low = left
        else:
            break
    return values[place]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _narrow(rows: Int64Array, distances: Float32Array, n: int, k: int, scratch: Float32Array) -> Any:
    """Keep the k nearest of n rows, in their order, the earlier of equally distant ones; the furthest distance."""
    scratch[:n] = distances[:n]
    furthest = _kth(scratch, n, k)
    spare = k
    for at in range(n):
        spare -= distances[at] < furthest
    kept = 0
    for at in range(n):
        d = distances[at]
        if d < furthest or (d == furthest and spare > 0):
            spare -= d == furthest
            rows[kept], distances[kept] = rows[at], d
            kept += 1
    return furthest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def nearest(
    numbers: Float32Array,
    labels: UInt64Array,
    varies: BoolArray,
    known_at_us: Int64Array,
    exits: Int64Array,
    start: int,
    stop: int,
    before: int,
    as_of_us: int,
    query: Float32Array,
    scale: Float32Array,
    masks: UInt64Array,
    number_weights: Float32Array,
    label_weights: Float32Array,
    block: Float32Array,
    found: Int64Array,
    distance: Float32Array,
) -> int:
    """The nearest rows from `start` to `stop` whose outcomes are known, in their order; how many there are.

    `found` and `distance` are filled; of equally distant rows the earlier stay. Candidates are gathered and
    narrowed down to k now and then: where each row is nearer than those before, a heap of k costs ten times more.
    """
    k = len(found)
    room = k + max(k, _SPARE)
    rows = np.empty(room, np.int64)
    distances, scratch = np.empty(room, np.float32), np.empty(room, np.float32)
    n = 0
    narrowed, furthest = False, np.float32(0.0)
    for first in range(start, stop, len(block)):
        last = min(first + len(block), stop)
        _measure(
            numbers, labels, varies, first, last, query, scale, masks, number_weights, label_weights, block
        )
        for row in range(first, last):
            d = block[row - first]
            if narrowed and d >= furthest:
                continue
            if known_at_us[row] > as_of_us or exits[row] > before:
                continue
            rows[n], distances[n] = row, d
            n += 1
            if n == room:
                furthest = _narrow(rows, distances, n, k, scratch)
                narrowed, n = True, k
    if n > k:
        _narrow(rows, distances, n, k, scratch)
        n = k
    found[:n], distance[:n] = rows[:n], distances[:n]
    return n
