"""A histogram with logarithmic buckets: an observation costs a fraction of a microsecond, a percentile is good to 1/8.

Every doubling is cut into eight, so that a bucket is at most an eighth wide, from 1 ns to above a year.
"""

from collections.abc import Sequence

_CUT = 3  # bits: eight buckets a doubling
_BUCKETS = 64 << _CUT


class Histogram:
    """Durations in nanoseconds; what is below zero counts as zero, and is counted apart.

    Attributes:
        count: observations.
        total_ns: their sum.
        most_ns: the largest.
        below_zero: how many were below zero: a clock was not where it was thought to be.
    """

    __slots__ = ("_buckets", "below_zero", "count", "most_ns", "total_ns")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = self.total_ns = self.most_ns = self.below_zero = 0

    def observe(self, duration_ns: int) -> None:
        """One more."""
        if duration_ns < 0:
            self.below_zero += 1
            duration_ns = 0
        self.count += 1
        self.total_ns += duration_ns
        if duration_ns > self.most_ns:  # noqa: PLR1730 - a call of max() costs as much as all the rest
            self.most_ns = duration_ns
        bits = duration_ns.bit_length()
        if bits > _CUT:
            bits -= _CUT
            self._buckets[((bits - 1) << _CUT) + (duration_ns >> (bits - 1))] += 1
        else:
            self._buckets[duration_ns] += 1

    def percentile_ns(self, share: float) -> int | None:
        """The upper bound of the bucket that holds it, at most the largest value; None without observations."""
        if not self.count:
            return None
        rank, below = max(1, -int(-share * self.count // 1)), 0
        for index, held in enumerate(self._buckets):
            below += held
            if below >= rank:
                return min(upper_bound_ns(index), self.most_ns)
        return self.most_ns

    def counts_below(self, bounds_ns: Sequence[int]) -> list[int]:
        """How many were at most each bound, as Prometheus counts; a bucket that holds a bound is counted above it."""
        counts, below, index = [], 0, 0
        for bound in bounds_ns:
            while index < _BUCKETS and upper_bound_ns(index) <= bound:
                below += self._buckets[index]
                index += 1
            counts.append(below)
        return counts

    def summary(self) -> dict[str, float | int | None]:
        """Counts, and microseconds."""
        p50, p99 = self.percentile_ns(0.5), self.percentile_ns(0.99)
        return {
            "count": self.count,
            "p50_us": None if p50 is None else p50 / 1000,
            "p99_us": None if p99 is None else p99 / 1000,
            "most_us": self.most_ns / 1000,
            "below_zero": self.below_zero,
        }


def upper_bound_ns(index: int) -> int:
    """The largest value that a bucket holds."""
    if index < 1 << (_CUT + 1):
        return index
    shift = (index >> _CUT) - 1
    return (((index & ((1 << _CUT) - 1)) + (1 << _CUT) + 1) << shift) - 1
