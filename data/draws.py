"""Random numbers that are the same to the bit on every machine and with every numpy.

numpy promises the raw stream of PCG64 for ever, but not what `Generator` makes of it, and `exp`, `log` and
`cos` differ in the last bit between processors. So everything here is made of raw 64-bit words by integer
arithmetic and the operations that IEEE 754 rounds correctly: + - * / and the square root.
"""

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int64Array, UInt64Array

_LOWEST = 2.0**-54
_NEWTON_STEPS = 6
_SMALLEST = 2.0**-30  # of a squared radius
_ROOT_STEPS = 100
DEGREES = (4.0, 2.5)
"""Degrees of freedom that fat-tailed numbers can have."""


class Draws:
    """One independent stream: a seed and a path of small numbers that says what it is for."""

    def __init__(self, seed: int, *path: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=path))

    def words(self, n: int) -> UInt64Array:
        """Raw words, uint64[n]."""
        raw: UInt64Array = np.asarray(self._bits.random_raw(n), np.uint64)
        return raw

    def uniform(self, n: int) -> Float64Array:
        """Multiples of 2**-53 in [0, 1), float64[n]."""
        return (self.words(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, limit: int, n: int) -> Int64Array:
        """Whole numbers from 0 to `limit` - 1, int64[n]; a small `limit` has a small bias."""
        scaled = (self.words(n) >> np.uint64(32)) * np.uint64(limit)
        return (scaled >> np.uint64(32)).astype(np.int64)

    def fat_tailed(self, n: int, cut: float, degrees: float = 4.0) -> Float64Array:
        """Student's t with one of `DEGREES` of freedom, scaled to variance 1 and cut at ± `cut`, float64[n]."""
        drawn = self._t_of_4(n) if degrees == 4.0 else self._t_of_2_5(n)
        return np.asarray(drawn / np.sqrt(np.float64(degrees / (degrees - 2.0))), np.float64).clip(-cut, cut)

    def _t_of_4(self, n: int) -> Float64Array:
        """By the quantile function: with s = t / sqrt(t² + 4), F(t) = 1/2 + 3s/4 - s³/4, and with e = 1 - |s|
        and q the smaller tail, 3e² - e³ = 4q, which Newton's method solves from below (convex for e < 1).
        """
        u = self.uniform(n)
        q = np.maximum(np.minimum(u, 1.0 - u), _LOWEST)
        e = np.sqrt(4.0 * q / 3.0)
        for _ in range(_NEWTON_STEPS):
            e -= (e * e * (3.0 - e) - 4.0 * q) / (3.0 * e * (2.0 - e))
        t = 2.0 * (1.0 - e) / np.sqrt(e * (2.0 - e))
        return np.where(u < 0.5, -t, t)

    def _t_of_2_5(self, n: int) -> Float64Array:
        """By the polar method (Bailey, Mathematics of Computation 62, 1994), whose power is a fifth root here.

        With (u, v) in the unit disc and w = u² + v², t = u * sqrt(2.5 * (w^(-4/5) - 1) / w).
        """
        found = np.empty(0)
        while len(found) < n:
            u, v = 2.0 * self.uniform(2 * n).reshape(2, n) - 1.0
            w = u * u + v * v
            inside = (w <= 1.0) & (w > _SMALLEST)
            w, root = w[inside], np.ones(int(inside.sum()))
            for _ in range(_ROOT_STEPS):  # Newton's method, from above
                fourth = root * root * root * root
                root = (4.0 * root + w * w * w * w / fourth) / 5.0
            found = np.concatenate([found, u[inside] * np.sqrt(2.5 * (1.0 / root - 1.0) / w)])
        return found[:n]


def running(values: Float64Array, weight: float, start: float) -> Float64Array:
    """The exponential average x[i] = x[i-1] + weight * (values[i] - x[i-1]) from `start`, float64[n]."""
    average, out = start, []
    for value in values.tolist():
        average += weight * (value - average)
        out.append(average)
    return np.array(out, np.float64)


def position_in_blocks(draws: Draws, rows: int, block: int) -> Int64Array:
    """One position drawn in each full block of `block` rows: int64[rows // block], rising."""
    blocks = rows // block
    positions: Int64Array = np.arange(blocks, dtype=np.int64) * block + draws.below(block, blocks)
    return positions
