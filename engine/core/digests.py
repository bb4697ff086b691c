"""Digests of names and of columns: XXH64 and what is built from it.

Names are digested by the `xxhash` package. Columns have an XXH64 of their own, compiled: a call of the package a row
takes longer than all else that is done to read a CSV file.

The compiled bodies are numba's language: it checks their types when it compiles them.
"""

from collections.abc import Iterable

import numba as nb
import numpy as np
from xxhash import xxh64_intdigest

from raysignal.engine.core.arrays import (
    BoolArray,
    Float64Array,
    Int8Array,
    Int64Array,
    UInt8Array,
    UInt64Array,
)
from raysignal.engine.core.raw import compiled, copy_bytes, half_word_at, word_at

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


def digest_names(names: Iterable[str], seed: int) -> UInt64Array:
    """XXH64 of every name, uint64[n]."""
    return np.array([xxh64_intdigest(name.encode(), seed) for name in names], np.uint64)


@nb.njit(inline="always", cache=True)
def _rotl(value: int, bits: int) -> int:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@nb.njit(inline="always", cache=True)
def _round(lane: int, word: int) -> int:
    return _rotl(lane + word * _P2, 31) * _P1


@nb.njit(inline="always", cache=True)
def _avalanche(value: int) -> int:
    value = (value ^ (value >> np.uint64(33))) * _P2
    value = (value ^ (value >> np.uint64(29))) * _P3
    return value ^ (value >> np.uint64(32))


@nb.njit(inline="always", cache=True)
def _absorb(state: int, word: int) -> int:
    return _rotl(state ^ _round(np.uint64(0), word), 27) * _P1 + _P4


@compiled
def xxh64(data: UInt8Array, start: int, stop: int, seed: int) -> int:
    """XXH64 of `data[start:stop]`."""
    seed = np.uint64(seed)
    at = start
    if stop - start >= 32:
        a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while at + 32 <= stop:
            a = _round(a, word_at(data, at))
            b = _round(b, word_at(data, at + 8))
            c = _round(c, word_at(data, at + 16))
            d = _round(d, word_at(data, at + 24))
            at += 32
        state = _rotl(a, 1) + _rotl(b, 7) + _rotl(c, 12) + _rotl(d, 18)
        for lane in (a, b, c, d):
            state = (state ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        state = seed + _P5
    state += np.uint64(stop - start)
    while at + 8 <= stop:
        state = _absorb(state, word_at(data, at))
        at += 8
    if at + 4 <= stop:
        word = np.uint64(half_word_at(data, at))
        state = _rotl(state ^ (word * _P1), 23) * _P2 + _P3
        at += 4
    while at < stop:
        state = _rotl(state ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    return _avalanche(state)


@nb.njit(cache=True, nogil=True)
def digest_twice(data: UInt8Array, offsets: Int64Array) -> UInt64Array:
    n = offsets.shape[0] - 1
    digests = np.empty((n, 2), np.uint64)
    for i in range(n):
        digests[i, 0] = xxh64(data, offsets[i], offsets[i + 1], np.uint64(0))
        digests[i, 1] = xxh64(data, offsets[i], offsets[i + 1], np.uint64(1))
    return digests


@nb.njit(cache=True, nogil=True)
def gather_texts(data: UInt8Array, offsets: Int64Array, indices: Int64Array) -> tuple[UInt8Array, Int64Array]:
    gathered = np.empty(indices.shape[0] + 1, np.int64)
    gathered[0] = 0
    for i in range(indices.shape[0]):
        gathered[i + 1] = gathered[i] + offsets[indices[i] + 1] - offsets[indices[i]]
    out = np.empty(gathered[-1], np.uint8)
    for i in range(indices.shape[0]):
        start = offsets[indices[i]]
        copy_bytes(out, gathered[i], data, start, gathered[i + 1] - gathered[i])
    return out, gathered


@nb.njit(cache=True, nogil=True)
def derive_ids(
    data: UInt8Array,
    offsets: Int64Array,
    source: UInt64Array,
    symbol: UInt64Array,
    timestamp_us: Int64Array,
    action: Int8Array,
) -> tuple[UInt8Array, Int64Array, BoolArray]:
    """Where an id is empty, 32 hexadecimal digits of a 128-bit digest of what identifies the signal."""
    n = offsets.shape[0] - 1
    derived = np.zeros(n, np.bool_)
    new_offsets = np.empty(n + 1, np.int64)
    new_offsets[0] = 0
    for i in range(n):
        length = offsets[i + 1] - offsets[i]
        derived[i] = length == 0
        new_offsets[i + 1] = new_offsets[i] + (32 if length == 0 else length)
    out = np.empty(new_offsets[n], np.uint8)
    for i in range(n):
        at = new_offsets[i]
        if not derived[i]:
            copy_bytes(out, at, data, offsets[i], offsets[i + 1] - offsets[i])
            continue
        for half in range(2):
            state = _P5 + np.uint64(half)
            state = _absorb(state, source[i])
            state = _absorb(state, symbol[i])
            state = _absorb(state, np.uint64(timestamp_us[i]))
            state = _avalanche(_absorb(state, np.uint64(action[i] + 1)))
            for k in range(16):
                digit = (state >> np.uint64(60 - 4 * k)) & np.uint64(15)
                out[at + 16 * half + k] = digit + (48 if digit < 10 else 87)
    return out, new_offsets, derived


@nb.njit(cache=True, nogil=True)
def digest_core(
    source: UInt64Array, symbol: UInt64Array, timestamp_us: Int64Array, action: Int8Array, price: Float64Array
) -> UInt64Array:
    n = timestamp_us.shape[0]
    bits = price.view(np.uint64)
    digests = np.empty(n, np.uint64)
    for i in range(n):
        state = _absorb(_P5, source[i])
        state = _absorb(state, symbol[i])
        state = _absorb(state, np.uint64(timestamp_us[i]))
        state = _absorb(state, np.uint64(action[i] + 1))
        digests[i] = _avalanche(_absorb(state, bits[i]))
    return digests


@nb.njit(cache=True, nogil=True)
def add_numbers(digests: UInt64Array, name: int, values: Float64Array) -> None:
    bits = values.view(np.uint64)
    for i in range(values.shape[0]):
        if not np.isnan(values[i]):
            # Zero has two signs and one meaning.
            word = bits[i] if values[i] != 0.0 else np.uint64(0)
            digests[i] += _avalanche(_absorb(_absorb(_P1, np.uint64(name)), word))


@nb.njit(cache=True, nogil=True)
def add_texts(digests: UInt64Array, name: int, data: UInt8Array, offsets: Int64Array) -> None:
    for i in range(digests.shape[0]):
        if offsets[i + 1] > offsets[i]:
            word = xxh64(data, offsets[i], offsets[i + 1], np.uint64(1))
            digests[i] += _avalanche(_absorb(_absorb(_P2, np.uint64(name)), word))
