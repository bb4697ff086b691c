"""Merging sorted runs into one, holding a few thousand records of each at a time.

The compiled body is numba's language: it checks its types when it compiles it.
"""
# mypy: disable-error-code="arg-type,assignment,no-any-return,operator", allow-untyped-decorators

from collections.abc import Iterator, Sequence

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Int64Array, UInt64Array
from raysignal.engine.journal.dedup.window import HIGH, LOW, RECORD_WORDS

_OUT_RECORDS = 32_768


def merge(streams: Sequence[Iterator[UInt64Array]]) -> Iterator[UInt64Array]:
    """The records of sorted streams as one sorted stream; of those with the same key one is kept."""
    blocks = [next(stream, None) for stream in streams]
    room = max((block.shape[0] for block in blocks if block is not None), default=0)
    held = np.zeros((len(streams), room, RECORD_WORDS), np.uint64)
    at = np.zeros(len(streams), np.int64)
    have = np.zeros(len(streams), np.int64)
    last = np.zeros(2, np.uint64)
    state = np.zeros(2, np.int64)  # records in `out`; whether `last` holds a key
    out = np.empty((_OUT_RECORDS, RECORD_WORDS), np.uint64)
    for index, block in enumerate(blocks):
        if block is not None:
            held[index, : block.shape[0]] = block
            have[index] = block.shape[0]
    while have.any():
        empty = _merge_some(held, at, have, out, last, state)
        if empty < 0:
            yield out[: state[0]].copy()
            state[0] = 0
            continue
        block = next(streams[empty], None)
        at[empty] = 0
        have[empty] = 0
        if block is not None:
            held[empty, : block.shape[0]] = block
            have[empty] = block.shape[0]
    if state[0]:
        yield out[: state[0]].copy()


@njit(cache=True, nogil=True)
def _merge_some(
    held: UInt64Array,
    at: Int64Array,
    have: Int64Array,
    out: UInt64Array,
    last: UInt64Array,
    state: Int64Array,
) -> int:
    """Merge until a stream has to be read on (its index) or `out` is full (-1)."""
    while state[0] < out.shape[0]:
        best = -1
        for index in range(held.shape[0]):
            if have[index] == 0:
                continue
            if best < 0:
                best = index
                continue
            high, best_high = held[index, at[index], HIGH], held[best, at[best], HIGH]
            if high < best_high or (
                high == best_high and held[index, at[index], LOW] < held[best, at[best], LOW]
            ):
                best = index
        high, low = held[best, at[best], HIGH], held[best, at[best], LOW]
        if state[1] == 0 or high != last[0] or low != last[1]:
            out[state[0]] = held[best, at[best]]
            state[0] += 1
            state[1] = 1
            last[0] = high
            last[1] = low
        at[best] += 1
        if at[best] == have[best]:
            return best
    return -1
