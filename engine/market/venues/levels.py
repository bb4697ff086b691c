# mypy: disable-error-code="assignment"
# mypy: disallow-untyped-decorators=False
"""Levels of a book as venues write them: a JSON list of `["price","size"]`, to which some venues add two more texts.

A market says hundreds of them a second and most of what a feed does is to read them, so that they are read from the
bytes by a compiled function that knows this one shape. Whatever it does not know msgspec and `exact` decide; where both
answer they say the same. It calls nothing of other modules, so that numba's cache is of this file alone.
"""

from typing import Annotated

import numpy as np
from msgspec import Meta, Raw
from msgspec.json import Decoder
from numba import njit, types

from raysignal.engine.core.arrays import Int64Array, UInt8Array
from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.market.venues.numbers import exact

# Bytes of the shortest level, `["1","0"]`, are more than this.
_LEAST_BYTES = 8
_POWERS = np.array([10**power for power in range(19)], np.int64)
_QUOTE, _COMMA, _POINT, _ZERO, _OPEN, _CLOSE = (int(byte) for byte in b'",.0[]')

_LEVELS = Decoder(list[Annotated[list[str], Meta(min_length=2, max_length=4)]])

_text, _long = types.Array(types.uint8, 1, "C", readonly=True), types.int64


@njit(types.UniTuple(_long, 2)(_text, _long, _long), cache=True, nogil=True)
def _decimal(text: UInt8Array, at: int, decimals: int) -> tuple[int, int]:
    """The decimal that begins at `at`, as a count of its last place, and where it ends; (0, -1) if it is not plain."""
    start, value = at, 0
    while at - start < 18:
        digit = np.int64(text[at]) ^ _ZERO  # above 9 for all but digits
        if digit > 9:
            break
        value = 10 * value + digit
        at += 1
    if at == start or at - start + decimals > 18:
        return 0, -1
    left = decimals
    if text[at] == _POINT:
        at += 1
        start = at
        while left > 0:
            digit = np.int64(text[at]) ^ _ZERO
            if digit > 9:
                break
            value = 10 * value + digit
            left -= 1
            at += 1
        while text[at] == _ZERO:
            at += 1
        if at == start:
            return 0, -1
    return value * _POWERS[left], at


@njit(_long(_text, _long, _long, types.int64[:, ::1]), cache=True, nogil=True)
def _read(text: UInt8Array, price_decimals: int, size_decimals: int, levels: Int64Array) -> int:  # noqa: C901, PLR0911
    """Levels into `levels`, which has room for all that the text can hold; how many, -1 if it is written otherwise.

    `text` is a whole JSON list, so that what follows the shape as far as it goes ends within it.
    """
    if text[1] == _CLOSE:
        return 0
    at, count = 0, 0
    while True:
        if text[at + 1] != _OPEN or text[at + 2] != _QUOTE:
            return -1
        price, at = _decimal(text, at + 3, price_decimals)
        if at < 0 or price == 0 or text[at] != _QUOTE or text[at + 1] != _COMMA or text[at + 2] != _QUOTE:
            return -1
        size, at = _decimal(text, at + 3, size_decimals)
        if at < 0 or text[at] != _QUOTE:
            return -1
        at += 1
        for _ in range(2):
            if text[at] == _COMMA and text[at + 1] == _QUOTE:
                at += 2
                while (np.int64(text[at]) ^ _ZERO) <= 9:
                    at += 1
                if text[at] != _QUOTE:
                    return -1
                at += 1
        if text[at] != _CLOSE:
            return -1
        levels[count, 0] = price
        levels[count, 1] = size
        count += 1
        at += 1
        if text[at] != _COMMA:
            return count if text[at] == _CLOSE else -1


def read_levels(raw: Raw, price_decimals: int, size_decimals: int) -> Int64Array:
    """Levels in ticks and lots, a row each; `UnreadableInput` for one that is not exact or costs nothing."""
    text = np.frombuffer(raw, np.uint8)
    levels = np.empty((len(text) // _LEAST_BYTES, 2), np.int64)
    count = _read(text, price_decimals, size_decimals, levels) if len(text) > 1 and text[0] == _OPEN else -1
    return levels[:count] if count >= 0 else _read_plainly(raw, price_decimals, size_decimals)


def _read_plainly(raw: Raw, price_decimals: int, size_decimals: int) -> Int64Array:
    levels = [
        (exact(level[0], price_decimals), exact(level[1], size_decimals)) for level in _LEVELS.decode(raw)
    ]
    if any(price == 0 for price, _ in levels):
        raise UnreadableInput("a level's price is 0")
    return np.array(levels, np.int64).reshape(-1, 2)
