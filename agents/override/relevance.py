"""What has told right from wrong so far, number by number and category by category.

It weighs more in what is called alike: a number's weight is `1 + max(0, t^2 - 1)`,
with `t^2 = n r^2 / (1 - r^2)` of its correlation r with the centred hits of all known outcomes; a category's
the same with the F statistic of its labels in the place of `t^2`; a row that has several labels belongs to each
by an equal share. Where nothing tells, all weigh about 1; but what free texts told (`agents.override.texts`) weighs
only `max(0, t^2 - 1)`, nothing until it tells something.
"""

import numpy as np
from numba import njit

from raysignal.agents.override.memory import ones, places_of
from raysignal.agents.override.situations import MOST_LABELS
from raysignal.agents.override.texts import TEXT_NUMBERS
from raysignal.engine.core.arrays import BoolArray, Float32Array, Float64Array, UInt64Array

_ANY = MOST_LABELS  # the column of rows that have any label
_TELLS_FROM = 50  # outcomes that a name must have had before its weight is not 1


class Relevance:
    """Running sums over the outcomes known so far.

    Attributes:
        by_number: float64[d, 6]: count, means of the number and of the centred hits, sums of squares of both,
            sum of products.
        by_label: float64[c, 3, 65]: by label, and last by row that has any, the rows (of several labels a share to
            each), the hits and their squares.
        of_texts: bool[d], the number is one of `TEXT_NUMBERS`.
    """

    __slots__ = ("_label_names", "_number_names", "by_label", "by_number", "of_texts")

    def __init__(self) -> None:
        self.by_number = np.zeros((0, 6))
        self.by_label = np.zeros((0, 3, MOST_LABELS + 1))
        self.of_texts = np.zeros(0, np.bool_)
        self._number_names: tuple[str, ...] = ()
        self._label_names: tuple[str, ...] = ()

    def keep_up(self, number_names: tuple[str, ...], label_names: tuple[str, ...]) -> None:
        """Make room for names that are new; they are sorted, and none is ever taken away."""
        if self._number_names != number_names:
            wider = np.zeros((len(number_names), 6))
            wider[places_of(self._number_names, number_names)] = self.by_number
            self.by_number, self._number_names = wider, number_names
            self.of_texts = np.array([name in TEXT_NUMBERS for name in number_names], np.bool_)
        if self._label_names != label_names:
            more = np.zeros((len(label_names), 3, MOST_LABELS + 1))
            more[places_of(self._label_names, label_names)] = self.by_label
            self.by_label, self._label_names = more, label_names

    def weights(self) -> tuple[Float32Array, Float32Array]:
        """What the numbers, float32[d], and the categories, float32[c], weigh now."""
        numbers, labels = np.ones(len(self.by_number), np.float32), np.ones(len(self.by_label), np.float32)
        weigh(self.by_number, self.of_texts, self.by_label, numbers, labels)
        return numbers, labels


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def relate(
    hit: float,
    row: int,
    numbers: Float32Array,
    labels: UInt64Array,
    by_number: Float64Array,
    by_label: Float64Array,
) -> None:
    """Take along how a centred hit goes with each number and label of its signal."""
    for name in range(len(by_number)):
        value = float(numbers[name, row])
        if not np.isfinite(value):
            continue
        sums = by_number[name]
        sums[0] += 1.0
        off, off_hit = value - sums[1], hit - sums[2]
        sums[1] += off / sums[0]
        sums[2] += off_hit / sums[0]
        sums[3] += off * (value - sums[1])
        sums[4] += off_hit * (hit - sums[2])
        sums[5] += off * (hit - sums[2])
    for name in range(len(by_label)):
        mask = labels[name, row]
        if mask == 0:
            continue
        by = by_label[name]
        by[0, _ANY] += 1.0
        by[1, _ANY] += hit
        by[2, _ANY] += hit * hit
        share = 1.0 / float(ones(mask))
        for label in range(MOST_LABELS):
            if (mask >> np.uint64(label)) & np.uint64(1):
                by[0, label] += share
                by[1, label] += share * hit
                by[2, label] += share * hit * hit


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def weigh(
    by_number: Float64Array,
    of_texts: BoolArray,
    by_label: Float64Array,
    weights: Float32Array,
    label_weights: Float32Array,
) -> None:
    """What each name weighs by what it has told so far."""
    for name in range(len(by_number)):
        sums = by_number[name]
        weights[name] = 0.0 if of_texts[name] else 1.0
        if sums[0] >= _TELLS_FROM and sums[3] > 0.0 and sums[4] > 0.0:
            squared = sums[5] * sums[5] / (sums[3] * sums[4])
            told = (sums[0] - 2.0) * squared / max(1.0 - squared, 1e-9)
            weights[name] += max(0.0, told - 1.0)
    for name in range(len(by_label)):
        by = by_label[name]
        label_weights[name] = 1.0
        rows, mean = by[0, _ANY], by[1, _ANY] / max(by[0, _ANY], 1.0)
        total = by[2, _ANY] - rows * mean * mean
        between = 0.0
        kinds = 0
        for label in range(MOST_LABELS):
            if by[0, label] > 0.0:
                kinds += 1
                off = by[1, label] / by[0, label] - mean
                between += by[0, label] * off * off
        if rows >= max(_TELLS_FROM, 2 * kinds) and kinds > 1 and total > 0.0:
            within = max(total - between, 1e-9 * total) / (rows - kinds)
            label_weights[name] = 1.0 + max(0.0, between / (kinds - 1.0) / within - 1.0)
