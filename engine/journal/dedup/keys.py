"""Keys of 128 bits: an id's digest, mixed with its portfolio.

The bodies are numba's language: it checks their types when it compiles them.
"""
# mypy: disable-error-code="arg-type,assignment,no-any-return,operator", allow-untyped-decorators

from functools import lru_cache

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Int64Array, UInt64Array
from raysignal.engine.core.columns import TextColumn

_ODD = np.uint64(0xC2B2AE3D27D4EB4F)
_PORTFOLIO_SEED = 3


def portfolio_keys(key: UInt64Array, portfolio: str) -> UInt64Array:
    """`SignalBatch.key` of one portfolio's signals as keys among those of many: uint64[n, 2].

    One portfolio's distinct keys stay distinct: each half is mixed by a bijection that the name chooses.
    """
    keys: UInt64Array = _mix(np.ascontiguousarray(key, np.uint64), *_halves(portfolio))
    return keys


@lru_cache(maxsize=1024)
def _halves(portfolio: str) -> tuple[np.uint64, np.uint64]:
    name = TextColumn.of([portfolio])
    return name.digests(_PORTFOLIO_SEED)[0], name.digests(_PORTFOLIO_SEED + 1)[0]


@njit(cache=True, nogil=True)
def _mix(key: UInt64Array, high: int, low: int) -> UInt64Array:
    mixed = np.empty_like(key)
    for row in range(key.shape[0]):
        for half in range(2):
            value = key[row, half] ^ (high if half == 0 else low)
            value = (value ^ (value >> np.uint64(32))) * _ODD
            mixed[row, half] = value ^ (value >> np.uint64(29))
    return mixed


@njit(cache=True, nogil=True)
def first_in_batch(keys: UInt64Array) -> Int64Array:
    """For every row the index of the first row with the same key, int64[n]; mostly its own."""
    n = keys.shape[0]
    slots = 8
    while slots < 2 * n:
        slots *= 2
    mask = np.uint64(slots - 1)
    table = np.full(slots, -1, np.int64)
    first = np.empty(n, np.int64)
    for row in range(n):
        slot = keys[row, 0] & mask
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = row
                first[row] = row
                break
            if keys[other, 0] == keys[row, 0] and keys[other, 1] == keys[row, 1]:
                first[row] = other
                break
            slot = (slot + np.uint64(1)) & mask
    return first
