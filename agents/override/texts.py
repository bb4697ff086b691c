"""What free texts told so far: news, summaries, explanations, as two numbers of a signal's situation.

An `Embedder` makes a vector of the free texts of a row. Where signals with such texts were right, or wrong, or where
the price rose or fell after them, is learned from the outcomes known so far, component by component: the correlation
of each with the centred hits, of which what chance may give (`_CHANCE` standard errors) is taken off, nearer none
(soft thresholding, as in nearest shrunken centroids; Tibshirani et al., PNAS 99, 2002). What is left is a direction of
length 1, and a row's numbers are how far its texts lie along it:

    text_right    texts like these went with signals that were right (above 0) or wrong
    text_way      texts like these went with moves the signal's way (above 0) or against it

A row's numbers are made as of its instant and stay as they were; so what is learned later changes none of them, and
how well they told right from wrong is measured on outcomes that they did not know.

`HashedNgrams` needs no model: character n-grams, whatever the language, hashed into a fixed number of buckets with a
sign each (Weinberger et al., ICML 2009).
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numba import njit
from xxhash import xxh64_intdigest

from raysignal.agents.override.memory import places_of
from raysignal.agents.override.outcomes import Outcomes
from raysignal.agents.override.situations import MARK, Situations, no_moments, scale_numbers
from raysignal.engine.core.arrays import Float32Array, Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.columns import TextColumn

TEXT_NUMBERS = (f"{MARK}text_right", f"{MARK}text_way")
"""The numbers that texts become. They weigh nothing until they tell something (`relevance`)."""
LONGEST_TEXT = 4_096
"""Characters of a text that are read, from its beginning."""
BUCKETS = 4_096

_CHANCE = 1.5  # standard errors
_TELLS_FROM = 20  # outcomes with texts before a row has numbers
_COUNTS_FROM = 50.0  # pseudo-counts of a drift of half and half, as in `evidence`
_MOST_WAITING = 2_048  # rows whose vectors wait for their outcome; the oldest is given up
_AT_ONCE = 64  # rows that are embedded together
_PIECE = 64  # characters that are normalised together: the work grows with the square of the marks in a row
UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters that are not seen: soft hyphen, zero width, directions, joiners, variation selectors, tags."""


class Embedder(Protocol):
    """Makes vectors of texts. A row has the same vector however the stream is cut, and whatever comes after it."""

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        ...

    def embed(
        self, fields: Mapping[str, TextColumn], start: int, stop: int, *, first: int = 0
    ) -> Float32Array:
        """The vectors of some rows, float32[stop - start, dimensions], finite; 0 where a row has no text.

        Args:
            fields: columns of free text, by name.
            start: the first row.
            stop: the row behind the last.
            first: the place of the columns' row 0 in the stream.
        """
        ...


class HashedNgrams:
    """Character n-grams of 3 to 5, hashed: of each field the signed square roots of their counts, of length 1."""

    @property
    def dimensions(self) -> int:
        """See `Embedder`."""
        return BUCKETS

    def embed(
        self, fields: Mapping[str, TextColumn], start: int, stop: int, *, first: int = 0
    ) -> Float32Array:
        """See `Embedder.embed`."""
        del first
        vectors = np.zeros((stop - start, BUCKETS), np.float32)
        counts = np.zeros(BUCKETS, np.float32)
        for name, column in fields.items():
            seed = np.uint64(xxh64_intdigest(name.encode()))
            told = (np.diff(column.offsets[start : stop + 1]) > 0).tolist()
            for row in range(stop - start):
                if told[row]:
                    text = text_at(column, start + row).encode("utf-32-le")
                    _count_ngrams(np.frombuffer(text, np.uint32), seed, counts, vectors[row])
        return vectors


def text_at(column: TextColumn, row: int) -> str:
    """The text of a row, `normalised`."""
    start, stop = column.offsets[row], column.offsets[row + 1]
    return normalised(column.data[start : min(stop, start + 4 * LONGEST_TEXT)].tobytes())


def normalised(encoded: bytes) -> str:
    """The beginning of a text, as it is compared: NFKC, letters' case ignored, what is not seen left out, and a blank
    wherever there is a space of any kind or length; one before and one behind.
    """
    text = encoded[: 4 * LONGEST_TEXT].decode(errors="replace")[:LONGEST_TEXT]
    if text.isascii():
        text = text.lower()
    else:
        text = UNSEEN.sub("", text)
        parts, length = [], 0
        for at in range(0, len(text), _PIECE):
            parts.append(unicodedata.normalize("NFKC", text[at : at + _PIECE]))
            length += len(parts[-1])
            if length >= LONGEST_TEXT:
                break
        text = "".join(parts).casefold()
    return f" {' '.join(text.split())[:LONGEST_TEXT]} "


class TextScores:
    """What texts told, as of each row of a stream; however it is cut into calls, the numbers are the same."""

    __slots__ = (
        "_direction", "_drift", "_embedder", "_free", "_means", "_moments", "_outcomes", "_stale", "_sums", "_targets",
        "_vectors", "_waiting",
    )  # fmt: skip

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        d = embedder.dimensions
        self._moments = no_moments(len(TEXT_NUMBERS))
        self._sums = np.zeros((2 + len(TEXT_NUMBERS), d))  # of the components, their squares, their products
        self._targets = np.zeros((len(TEXT_NUMBERS) + 1, 2))  # of each target sum and squares; last the count
        self._direction, self._means = np.zeros((len(TEXT_NUMBERS), d)), np.zeros(len(TEXT_NUMBERS))
        self._stale = False
        self._drift: dict[int, tuple[int, int, int]] = {}  # of a symbol: up moves, down moves, outcomes
        self._vectors = np.zeros((0, d), np.float32)
        self._waiting: dict[int, tuple[int, int]] = {}  # row: its place among the vectors, its symbol
        self._free: list[int] = []
        self._outcomes: list[tuple[int, int, int, int, float]] = []

    def extend(
        self,
        situations: Situations,
        fields: Mapping[str, TextColumn],
        outcomes: Outcomes,
        *,
        first: int,
        timestamp_us: Int64Array,
        symbol: Int32Array,
        action: Int8Array,
    ) -> Situations:
        """The situations of the next n rows with what their texts told; as they are where none had a text yet.

        Args:
            situations: of the rows.
            fields: their free texts, empty where a field was not free text yet.
            outcomes: what the rows settled; each is used from its own row and instant on.
            first: the first row's place in the stream.
            timestamp_us: int64[n].
            symbol: int32[n].
            action: int8[n].
        """
        if not fields and not len(self._vectors):
            return situations
        n = len(situations)
        self._outcomes += zip(
            outcomes.ordinal.tolist(), outcomes.exit.tolist(), outcomes.known_at_us.tolist(), outcomes.side.tolist(),
            outcomes.move_bps.tolist(), strict=True,
        )  # fmt: skip
        values = np.full((n, len(TEXT_NUMBERS)), np.nan)
        instants, symbols, sides = timestamp_us.tolist(), symbol.tolist(), action.tolist()
        for start in range(0, n, _AT_ONCE):
            stop = min(start + _AT_ONCE, n)
            vectors = self._embedder.embed(fields, start, stop, first=first)
            for row, vector in zip(range(start, stop), vectors, strict=True):
                self._learn(first + row, instants[row])
                if sides[row] and vector.any():
                    self._measure(vector, sides[row], values[row])
                    self._keep(first + row, symbols[row], vector)
        return _joined(situations, np.ascontiguousarray(values.T), self._moments)

    def _learn(self, row: int, instant_us: int) -> None:
        """Take in the outcomes that are known at a row."""
        used = 0
        for ordinal, leaves, known_at_us, side, move_bps in self._outcomes:
            if leaves > row or known_at_us > instant_us:
                break
            used += 1
            kept = self._waiting.pop(ordinal, None)
            if kept is None:
                continue
            place, symbol = kept
            self._free.append(place)
            ups, downs, seen = self._drift.get(symbol, (0, 0, 0))
            share = ((ups if side > 0 else downs) + 0.5 * _COUNTS_FROM) / (seen + _COUNTS_FROM)
            hit = (1.0 if side * move_bps > 0.0 else 0.0) - share
            self._drift[symbol] = ups + (move_bps > 0.0), downs + (move_bps < 0.0), seen + 1
            _take_in(self._vectors[place], hit, side * hit, self._sums, self._targets)
            self._stale = True
        if used:
            del self._outcomes[:used]

    def _measure(self, vector: Float32Array, side: int, values: Float64Array) -> None:
        if self._targets[-1, 0] < _TELLS_FROM:
            return
        if self._stale:
            _point(self._sums, self._targets, self._direction, self._means)
            self._stale = False
        _project(vector, self._direction, self._means, values)
        values[1] *= side

    def _keep(self, row: int, symbol: int, vector: Float32Array) -> None:
        """Until its outcome is known; where too many wait, the oldest is given up."""
        if not self._free:
            held = len(self._vectors)
            if held < _MOST_WAITING:
                more = np.zeros((max(_AT_ONCE, held), vector.shape[0]), np.float32)
                self._vectors = np.concatenate([self._vectors, more])
                self._free += range(len(self._vectors) - 1, held - 1, -1)
            else:
                self._free.append(self._waiting.pop(next(iter(self._waiting)))[0])
        place = self._free.pop()
        self._vectors[place] = vector
        self._waiting[row] = place, symbol


def _joined(situations: Situations, values: Float64Array, moments: Float64Array) -> Situations:
    """Situations with the numbers of their texts, standardised as of each row."""
    n = len(situations)
    numbers, scale = np.full(values.shape, np.nan, np.float32), np.zeros((n, len(values)), np.float32)
    standard = np.zeros(values.shape, np.float32)
    scale_numbers(values, moments, numbers, scale, standard)
    before = situations.number_names
    names = tuple(sorted((*before, *TEXT_NUMBERS)))
    order = np.empty(len(names), np.int64)
    order[places_of(before, names)] = np.arange(len(before))
    order[places_of(TEXT_NUMBERS, names)] = len(before) + np.arange(len(TEXT_NUMBERS))
    return Situations(
        names,
        np.concatenate([situations.numbers, numbers])[order],
        np.ascontiguousarray(np.concatenate([situations.scale, scale], axis=1)[:, order]),
        np.concatenate([situations.standard, standard])[order],
        situations.label_names,
        situations.labels,
        situations.regime,
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_ngrams(codes: Any, seed: Any, counts: Float32Array, vector: Float32Array) -> None:
    """Add the n-grams of a text to a vector. `counts` comes and goes filled with 0."""
    mask = np.uint64(len(counts) - 1)
    for start in range(len(codes)):
        word = seed
        for at in range(start, min(start + 5, len(codes))):
            word = (word ^ np.uint64(codes[at])) * np.uint64(0x9E3779B97F4A7C15)
            word ^= word >> np.uint64(29)
            if at - start >= 2:
                mixed = word * np.uint64(0xBF58476D1CE4E5B9)
                mixed ^= mixed >> np.uint64(32)
                counts[mixed & mask] += 1.0 if (mixed >> np.uint64(40)) & np.uint64(1) else -1.0
    total = 0.0
    for bucket in range(len(counts)):
        total += abs(counts[bucket])
    if total > 0.0:
        length = np.sqrt(total)
        for bucket in range(len(counts)):
            count = counts[bucket]
            if count != 0.0:
                root = np.sqrt(abs(count)) / length
                vector[bucket] += root if count > 0.0 else -root
                counts[bucket] = 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take_in(vector: Float32Array, hit: float, way: float, sums: Float64Array, targets: Float64Array) -> None:
    """Take along how the components of a row's texts go with its centred hit, and with the way the price went."""
    targets[2, 0] += 1.0
    targets[0, 0] += hit
    targets[0, 1] += hit * hit
    targets[1, 0] += way
    targets[1, 1] += way * way
    for component in range(len(vector)):
        value = float(vector[component])
        sums[0, component] += value
        sums[1, component] += value * value
        sums[2, component] += value * hit
        sums[3, component] += value * way


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _point(sums: Float64Array, targets: Float64Array, direction: Float64Array, means: Float64Array) -> None:
    """Where the texts of signals that were right lie, and those of rises: a direction each, of length 1, or 0.

    A component counts by its correlation beyond chance, in its own standard deviations; `means` are what the mean
    text has along each direction.
    """
    n, d = targets[2, 0], len(sums[0])
    chance = _CHANCE / np.sqrt(n)
    inverse, beyond = np.empty(d), np.empty(d)
    for component in range(d):
        square = sums[0, component] * sums[0, component] / n
        own = sums[1, component] - square
        inverse[component] = 1.0 / np.sqrt(own) if own > 1e-9 * sums[1, component] else 0.0
    for target in range(len(direction)):
        hits = targets[target, 0] / n
        spread = targets[target, 1] - targets[target, 0] * hits
        measure = 1.0 / np.sqrt(spread) if spread > 1e-9 * targets[target, 1] else 0.0
        own_direction = direction[target]
        for component in range(d):
            together = sums[2 + target, component] - sums[0, component] * hits
            related = together * inverse[component] * measure
            beyond[component] = max(related - chance, 0.0) + min(related + chance, 0.0)
            own_direction[component] = beyond[component] * inverse[component]
        total, mean = 0.0, 0.0
        for component in range(d):
            total += beyond[component] * beyond[component]
            mean += own_direction[component] * sums[0, component]
        length = np.sqrt(n / total) if total > 0.0 else 0.0
        for component in range(d):
            own_direction[component] *= length
        means[target] = mean * length / n


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _project(
    vector: Float32Array, direction: Float64Array, means: Float64Array, values: Float64Array
) -> None:
    for target in range(len(direction)):
        along = -means[target]
        for component in range(len(vector)):
            along += direction[target, component] * vector[component]
        values[target] = along
