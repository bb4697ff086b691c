# mypy: disable-error-code="arg-type,assignment,no-any-return,operator,misc,return-value"
# mypy: disallow-untyped-decorators=False
"""Which change may go into a book, by each venue's own rule, compiled together with reading and applying it.

A change is applied, passed over because the book has it already (STALE), kept until a snapshot is there (WAIT), or it
says that something is missing (GAP, OLD): then the book is given up, never patched. What is passed over as stale is
only what is certain to be in the book: where a venue's ids can start anew (OKX, Bybit), that is the very message that
was applied last, since any other low id may come after a reset that was lost.

What is compiled here holds `reader` and `books` within it, and numba's cache looks at this file alone: after a change
of those, delete `__pycache__/*.nb?` (a fresh checkout has none).
"""

from numba import types

from raysignal.engine.core.arrays import Int64Array, UInt8Array
from raysignal.engine.core.raw import compiled_as
from raysignal.engine.market.books import (
    BEFORE,
    HEAD,
    LAST,
    STATE,
    UPDATE_ID,
    apply,
    best,
    clear,
)
from raysignal.engine.market.reader import READ, ROWS_AT, SLACK, levels_of, read
from raysignal.engine.market.shapes import STREAM_AT, RowSlot, Slot

# Rules: a chain of `pu` (Binance futures), ids without holes (Binance spot), a chain whose ids may start anew (OKX),
# a count whose snapshots replace (Bybit).
CHAIN, COUNT, RESETTING_CHAIN, REPLACED_COUNT = range(4)

# States of a book, in its head: not followed, empty until a snapshot, a snapshot that no change has met yet, live.
UNFOLLOWED, LOST, FRESH, LIVE = -1, 0, 1, 2

# Kinds of messages.
# TOP is a book of depth 1, kept like any other, whose changes are quotes; BEST the best prices as two arrays of one.
TRADES, AGGREGATES, QUOTES, BEST, TOP, DEPTH = 1, 2, 3, 4, 5, 6

# What became of a message.
(
    UNREAD, CHANGED, TRADED, QUOTED, STALE, GAP, OLD, CROSSED, WAIT, BEAT, ROOM, ELSEWHERE,
) = range(12)  # fmt: skip
FIELDS = 10
Found = tuple[int, int, int, int, int, int, int, int, int, int]

_KIND, _INSTRUMENT, _FIRST, _LAST, _PREVIOUS, _MS, _SNAPSHOT, _SEQUENCE, _BIDS, _ASKS, _ROWS = (
    int(slot) for slot in list(Slot)[:11]
)
_PRICE, _SIZE, _ID_START, _ID_STOP, _SIDE, _ROW_MS, _ASK_PRICE, _ASK_SIZE = (int(slot) for slot in RowSlot)
_REPLACE = 100

_bytes, _longs, _long = types.uint8[::1], types.int64[::1], types.int64
_found = types.UniTuple(_long, FIELDS)


@compiled_as(_long(_long, _long, _long, _long, _longs))
def verdict(rule: int, state: int, last: int, before: int, work: Int64Array) -> int:  # noqa: C901, PLR0911, PLR0912
    """What may be done with the change in `work`: CHANGED (apply it), _REPLACE, STALE, GAP, OLD, WAIT or BEAT."""
    first, upto, previous = work[_FIRST], work[_LAST], work[_PREVIOUS]
    if rule >= RESETTING_CHAIN and (work[_SNAPSHOT] or (rule == REPLACED_COUNT and upto == 1)):
        return _REPLACE
    if state == LOST:
        return WAIT
    if rule == COUNT:
        if upto <= last:
            return STALE
        if state == FRESH:
            return CHANGED if first <= last + 1 else OLD
        return CHANGED if first == last + 1 else GAP
    if rule == CHAIN:
        if state == FRESH:
            # The venue's text asks for U <= last; ids between pu and U belong to other symbols, so that pu is the
            # bound that loses nothing.
            if upto < last:
                return STALE
            return CHANGED if previous <= last else OLD
        if upto <= last:
            return STALE
        return CHANGED if previous == last else GAP
    if rule == RESETTING_CHAIN:
        if state == FRESH:
            if upto <= last:
                return STALE
            return CHANGED if previous <= last else OLD
        if previous == last:
            return BEAT if upto == previous else CHANGED
        return STALE if upto == last and previous == before else GAP
    if upto == last + 1:
        return CHANGED
    return STALE if upto == last else GAP


@compiled_as(_found(_longs, _longs, _longs, _long, _long, _long, _long))
def _result(
    work: Int64Array, heads: Int64Array, cells: Int64Array, status: int, book: int, expected: int, came: int
) -> tuple[int, ...]:
    """The book's best prices behind a status; without a change, what was expected and what came."""
    bid, bid_size, ask, ask_size = best(cells, heads, book)
    # Equal ones are a book that is locked: venues show that for moments, and it is right.
    if status == CHANGED and bid != 0 and ask != 0 and bid > ask:
        status = CROSSED
    return (
        status, work[_INSTRUMENT], heads[book + UPDATE_ID], bid, bid_size, ask, ask_size, 1000 * work[_MS],
        expected, came,
    )  # fmt: skip


@compiled_as(_found(_long, _long, _long, _longs, _longs, _longs))
def settle(  # noqa: C901, PLR0911 - a kind each
    capacity: int, rule: int, tops: int, work: Int64Array, heads: Int64Array, cells: Int64Array
) -> tuple[int, ...]:
    """What a message that has been read into `work` means for the books.

    Args:
        capacity: bytes of the text that `work` is made for.
        rule: the venue's.
        tops: the row of the first book of depth 1.
        work: the message.
        heads: the shelf's.
        cells: the shelf's.

    Returns:
        A status, the instrument's row, and
        for CHANGED, CROSSED, GAP and all of books: update id, bid, its size, ask, its size, the venue's clock in µs,
        the id that was expected, the id that came;
        for QUOTED: the same; for TRADED: price, size, side, where the id begins and ends, the clock, rows.
    """
    kind, row = work[_KIND], work[_INSTRUMENT]
    levels, room = levels_of(capacity)
    if kind <= AGGREGATES:
        at = ROWS_AT
        return (
            TRADED, row, work[at + _PRICE], work[at + _SIZE], work[at + _SIDE], work[at + _ID_START],
            work[at + _ID_STOP], 1000 * work[at + _ROW_MS], max(work[_ROWS], 1), 0,
        )  # fmt: skip
    if kind == QUOTES:
        at = ROWS_AT
        return (
            QUOTED, row, work[_LAST], work[at + _PRICE], work[at + _SIZE], work[at + _ASK_PRICE],
            work[at + _ASK_SIZE], 1000 * work[_MS], 0, 0,
        )  # fmt: skip
    if kind == BEST:
        bid, bid_size, ask, ask_size = 0, 0, 0, 0
        if work[_BIDS]:
            bid, bid_size = work[levels], work[levels + room]
        if work[_ASKS]:
            ask, ask_size = work[levels + 2 * room], work[levels + 3 * room]
        return QUOTED, row, work[_LAST], bid, bid_size, ask, ask_size, 1000 * work[_MS], 0, 0
    book = HEAD * (row + tops if kind == TOP else row)
    state, last = heads[book + STATE], heads[book + LAST]
    if state == UNFOLLOWED:
        return ELSEWHERE, row, 0, 0, 0, 0, 0, 0, 0, 0
    status = verdict(rule, state, last, heads[book + BEFORE], work)
    expected, came = last, work[_PREVIOUS]
    if rule == COUNT:
        expected, came = last + 1, work[_FIRST]
    elif rule == REPLACED_COUNT:
        expected, came = last + 1, work[_LAST]
    if status == _REPLACE:
        clear(heads, book)
        status = CHANGED
    if status != CHANGED:
        return _result(work, heads, cells, status, book, expected, came)
    if not apply(cells, heads, book, work, levels, room, work[_BIDS], work[_ASKS]):
        return ROOM, row, 0, 0, 0, 0, 0, 0, 0, 0
    heads[book + STATE] = LIVE
    heads[book + LAST] = work[_LAST]
    heads[book + BEFORE] = work[_PREVIOUS]
    heads[book + UPDATE_ID] = work[_SEQUENCE] if rule == REPLACED_COUNT else work[_LAST]
    found = _result(work, heads, cells, CHANGED, book, expected, came)
    if kind == TOP and found[0] == CHANGED:
        _, row, update_id, bid, bid_size, ask, ask_size, us, _, _ = found
        return QUOTED, row, update_id, bid, bid_size, ask, ask_size, us, 0, 0
    return found


@compiled_as(_found(_bytes, _long, _long, _long, _longs, _longs, _longs, _longs))
def take(
    text: UInt8Array,
    size: int,
    rule: int,
    tops: int,
    table: Int64Array,
    work: Int64Array,
    heads: Int64Array,
    cells: Int64Array,
) -> tuple[int, ...]:
    """A message from its bytes into the book: `read`, then `settle`; UNREAD if the slow lane has to read it."""
    if read(text, size, table[STREAM_AT], -1, table, work) != READ:
        return UNREAD, 0, 0, 0, 0, 0, 0, 0, 0, 0
    return settle(text.shape[0] - SLACK, rule, tops, work, heads, cells)


@compiled_as(_found(_long, _longs, _longs, _longs))
def begin(capacity: int, work: Int64Array, heads: Int64Array, cells: Int64Array) -> tuple[int, ...]:
    """The snapshot that has been read into `work` becomes the book."""
    book = HEAD * work[_INSTRUMENT]
    levels, room = levels_of(capacity)
    clear(heads, book)
    if not apply(cells, heads, book, work, levels, room, work[_BIDS], work[_ASKS]):
        return ROOM, work[_INSTRUMENT], 0, 0, 0, 0, 0, 0, 0, 0
    heads[book + STATE] = FRESH
    heads[book + LAST] = work[_LAST]
    heads[book + BEFORE] = -1
    heads[book + UPDATE_ID] = work[_LAST]
    return _result(work, heads, cells, CHANGED, book, 0, 0)


def warm() -> None:
    """Nothing: importing this module has compiled all of it, the reader and the books."""
