"""The situation of a signal: what was known when it came, as numbers and categories that can be compared.

It works on whatever features a file has:

- numbers as they come, unless they only ever count up (a row number tells nothing but the time), and from the
  price of the signal's own symbol its returns and volatilities over several windows; each is measured by its
  standard deviation as of the time;
- categories: short texts, several in one field where commas part them, letters' case ignored. A field that
  ever holds a long text, or more than 64 different labels, is free text from then on and no category any more:
  what such texts told is in two numbers of their own (`agents.override.texts`);
- what is missing stays missing.

Nothing here looks ahead: a row's situation and the scale it is measured with depend on it and on the rows
before it alone, however the stream is cut into calls.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Float32Array, Float64Array, Int8Array, Int32Array, UInt64Array
from raysignal.engine.core.columns import SignalBatch, TextColumn

RETURN_WINDOWS = (1, 3, 6, 12, 24, 48)
VOLATILITY_WINDOWS = (6, 24, 72)
REGIMES = ("unknown", "quiet", "normal", "wild")
"""By volatility over 24 rows against the symbol's own so far: below 3/4 of it, between, above 4/3."""

MOST_FREE_TEXTS = 8
"""Fields of free text that are read, those that first became such; others are not."""
MOST_LABELS = 64
MOST_LABELS_A_FIELD = 8
LONGEST_LABEL = 32

MARK = "\0"
"""Derived names begin with it: no name sorts before, and no feature that is taken in begins so."""
_DERIVED = tuple(f"{MARK}return_{window:02d}" for window in RETURN_WINDOWS) + tuple(
    f"{MARK}volatility_{window:02d}" for window in VOLATILITY_WINDOWS
)
_OWN = (f"{MARK}action", f"{MARK}source", f"{MARK}symbol")
SOURCE = _OWN[1]
"""The category that is a signal's source."""
_RING = 128
_LONGEST_TEXT = MOST_LABELS_A_FIELD * (LONGEST_LABEL + 2) * 4  # bytes
_MOST_TEXTS = 16_384  # of a field whose labels are remembered; those of others are read again each time
_MOST_DEVIATION = 1e30  # what varies more, or less than one over it, is beyond single precision: not compared
_SCALE_FROM = 8  # values seen before a number is compared at all
_REGIME_FROM = 72  # returns seen before a symbol has a regime
_REGIME_WINDOW = VOLATILITY_WINDOWS.index(24)


def shown_name(name: str, given: Container[str]) -> str:
    """The name of a number or category as people and models read it.

    What was measured here is told apart from a feature of the same name.
    """
    if name[:1] != MARK:
        return name
    bare = name.removeprefix(MARK)
    return f"{bare} (measured)" if bare in given else bare


@dataclass(frozen=True, slots=True)
class Situations:
    """The situations of n consecutive signals; d numbers and c categories, sorted by name.

    Attributes:
        numbers: float32[d, n], less each name's first value; NaN where missing.
        scale: float32[n, d], one over the standard deviation as of the row; 0 where it is not known yet.
        standard: float32[d, n], the numbers standardised as of their own row, 0 where missing or not yet scaled.
        labels: uint64[c, n], a bit a label; 0 where missing.
        regime: int8[n], position in `REGIMES`.
    """

    number_names: tuple[str, ...]
    numbers: Float32Array
    scale: Float32Array
    standard: Float32Array
    label_names: tuple[str, ...]
    labels: UInt64Array
    regime: Int8Array

    def __len__(self) -> int:
        return len(self.regime)


@dataclass(slots=True)
class _Category:
    """The labels that a field has had so far, and what each of its texts amounts to."""

    bits: dict[str, int] = field(default_factory=dict)
    known: dict[bytes, int] = field(default_factory=dict)
    free_from: int | None = None  # the place in the stream from which on it is free text


class Encoder:
    """Turns a stream of signals into situations.

    A feature that has no name, or one that begins as those of derived numbers do, is left out: nobody outside
    shall put a value in the place of what was measured here.
    """

    __slots__ = ("_categories", "_count", "_moments", "_number_names", "_prices", "_symbols", "_volatility")

    def __init__(self) -> None:
        self._count = 0
        self._number_names = _DERIVED
        self._moments = no_moments(len(_DERIVED))
        self._categories: dict[str, _Category] = {name: _Category() for name in _OWN}
        self._symbols: dict[str, int] = {}
        self._prices = np.zeros((0, _RING + 1))  # count, then the last prices of each symbol, a ring
        self._volatility = np.zeros((0, 3))  # moments of all returns of each symbol

    def codes(self, batch: SignalBatch) -> Int32Array:
        """int32[n], a code a symbol that stays the same over all calls; new ones in the order of their rows."""
        table = np.zeros(len(batch.symbols), np.int32)
        for code in dict.fromkeys(batch.symbol.tolist()):
            table[code] = self._symbols.setdefault(batch.symbols[code], len(self._symbols))
        return table[batch.symbol]

    def rename(self, old: str, new: str) -> None:
        """A symbol goes on under another name; nothing happens where the old one is not known, or the new one is."""
        if old in self._symbols and new not in self._symbols:
            self._symbols = {new if name == old else name: code for name, code in self._symbols.items()}

    def first_values(self) -> dict[str, float]:
        """The first value of each number that was given, which `Situations.numbers` are told less."""
        firsts = self._moments[:, _FIRST].tolist()
        return {
            name: first
            for name, first in zip(self._number_names, firsts, strict=True)
            if name[:1] > MARK and not np.isnan(first)
        }

    def symbols(self) -> list[str]:
        """The symbols by their codes."""
        return list(self._symbols)

    def encode(self, batch: SignalBatch) -> Situations:
        """The situations of the next n signals of the stream, which are in time order."""
        n = len(batch)
        symbol = self.codes(batch)
        given = {name: values for name, values in batch.numbers.items() if name[:1] > MARK}
        self._make_room(given)
        names = self._number_names
        values = np.full((len(names), n), np.nan)
        for position, name in enumerate(names):
            if name in given:
                values[position] = given[name]
        regime = np.zeros(n, np.int8)
        price = np.array(batch.price, np.float64)  # a copy: it may lie in memory that cannot be written
        _derive(symbol, price, self._prices, self._volatility, values, regime)
        numbers = np.full((len(names), n), np.nan, np.float32)
        scale = np.zeros((n, len(names)), np.float32)
        standard = np.zeros((len(names), n), np.float32)
        scale_numbers(values, self._moments, numbers, scale, standard)
        label_names, labels = self._labels(batch)
        self._count += n
        return Situations(names, numbers, scale, standard, label_names, labels, regime)

    def free_texts(self, batch: SignalBatch) -> dict[str, TextColumn]:
        """The free texts of the signals that were encoded last, by field, empty where it was a category still."""
        since = {name: category.free_from for name, category in self._categories.items()}
        return _free_texts(batch, self._count - len(batch), since)

    def coming_free_texts(self, batch: SignalBatch) -> dict[str, TextColumn]:
        """What `free_texts` will be of the signals that are encoded next; nothing is changed."""
        since = {name: category.free_from for name, category in self._categories.items()}
        for name, column in batch.texts.items():
            if name[:1] > MARK and since.get(name) is None:
                known = self._categories.get(name)
                trial = _Category(bits={} if known is None else dict(known.bits))
                _read(trial, column, np.zeros(len(batch), np.uint64), self._count)
                since[name] = trial.free_from
        return _free_texts(batch, self._count, since)

    def describe(self, situations: Situations, row: int, *, own: bool = False) -> dict[str, str]:
        """The categories of one row in words, by field; labels joined with commas.

        Args:
            situations: of some signals.
            row: which of them.
            own: with action, source and symbol, too, whose names begin with a mark.
        """
        told = {}
        for position, name in enumerate(situations.label_names):
            mask = int(situations.labels[position, row])
            if mask and (own or name not in _OWN):
                told[name] = ", ".join(
                    label for label, bit in self._categories[name].bits.items() if mask & bit
                )
        return told

    def _make_room(self, given: Iterable[str]) -> None:
        """For symbols and numbers that are new."""
        missing = len(self._symbols) - len(self._prices)
        if missing > 0:
            self._prices = np.concatenate([self._prices, np.zeros((missing, _RING + 1))])
            self._volatility = np.concatenate([self._volatility, np.zeros((missing, 3))])
        before = self._number_names
        if not set(given).issubset(before):
            self._number_names = tuple(sorted({*before, *given}))
            moments = no_moments(len(self._number_names))
            moments[[self._number_names.index(name) for name in before]] = self._moments
            self._moments = moments

    def _labels(self, batch: SignalBatch) -> tuple[tuple[str, ...], UInt64Array]:
        for name in batch.texts:
            if name not in self._categories and name[:1] > MARK:
                self._categories[name] = _Category()
                self._categories = dict(sorted(self._categories.items()))
        names = tuple(self._categories)
        labels = np.zeros((len(names), len(batch)), np.uint64)
        own = (
            (batch.side, ("0", "1", "-1")), (batch.source, batch.sources), (batch.symbol, batch.symbols)
        )  # fmt: skip
        for position, (name, category) in enumerate(self._categories.items()):
            if position < len(_OWN):
                codes, words = own[position]
                table = np.zeros(len(words), np.uint64)
                for code in dict.fromkeys(codes.tolist()):
                    table[code] = _bit_of(category, words[code])
                labels[position] = table[codes]
            elif name in batch.texts and category.free_from is None:
                _read(category, batch.texts[name], labels[position], self._count)
        return names, labels


def _free_texts(batch: SignalBatch, first: int, since: Mapping[str, int | None]) -> dict[str, TextColumn]:
    """The free texts of signals, by field.

    Args:
        batch: the signals.
        first: the first one's place in the stream.
        since: from which place on a field is free text; None: it is not.
    """
    free = sorted((place, name) for name, place in since.items() if place is not None)
    return {
        name: _from_row(batch.texts[name], max(0, place - first))
        for place, name in free[:MOST_FREE_TEXTS]
        if name in batch.texts
    }


def no_moments(numbers: int) -> Float64Array:
    moments = np.zeros((numbers, 6))
    moments[:, _FIRST] = np.nan
    return moments


def _bit_of(category: _Category, label: str) -> int:
    # More sources or symbols than bits share them: they are still told apart from most others.
    return category.bits.setdefault(label, 1 << (len(category.bits) % MOST_LABELS))


def _from_row(column: TextColumn, row: int) -> TextColumn:
    """A column with the texts before a row left out."""
    return TextColumn(column.data, np.maximum(column.offsets, column.offsets[row])) if row else column


def _read(category: _Category, column: TextColumn, labels: UInt64Array, first: int) -> None:
    """The labels of a field, row by row, up to the row that makes it free text; `first` is the first row's place."""
    for row, (start, stop) in enumerate(pairwise(column.offsets.tolist())):
        if start == stop:
            continue
        mask = None
        if stop - start <= _LONGEST_TEXT:
            text = column.data[start:stop].tobytes()
            mask = category.known.get(text)
            if mask is None:
                mask = _mask(category, text.decode())
                if mask is not None and len(category.known) < _MOST_TEXTS:
                    category.known[text] = mask
        if mask is None:
            category.free_from = first + row
            category.known.clear()
            return
        labels[row] = mask


def _mask(category: _Category, text: str) -> int | None:
    """The bits of a text's labels; None if it is no category's."""
    parts = [part.strip().casefold() for part in text.split(",")]
    if len(parts) > MOST_LABELS_A_FIELD or any(len(part) > LONGEST_LABEL for part in parts):
        return None
    mask = 0
    for part in parts:
        if part and part not in category.bits:
            if len(category.bits) == MOST_LABELS:
                return None
            category.bits[part] = 1 << len(category.bits)
        mask |= category.bits.get(part, 0)
    return mask


# Of each number over the stream: its first value; of all values less that one the count, the mean, the sum of
# squares, the last one, and how often one was not above the one before.
_FIRST, _COUNT, _MEAN, _SQUARES, _LAST, _NOT_ABOVE = range(6)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _inverse(moments: Float64Array) -> float:
    """One over the standard deviation; 0 where there is none yet, and for what only counts up."""
    if moments[_COUNT] < _SCALE_FROM or moments[_SQUARES] <= 0.0 or moments[_NOT_ABOVE] == 0.0:
        return 0.0
    deviation = np.sqrt(moments[_SQUARES] / (moments[_COUNT] - 1.0))
    if not (1e-12 * abs(moments[_MEAN]) < deviation < _MOST_DEVIATION and deviation > 1.0 / _MOST_DEVIATION):
        return 0.0
    return float(1.0 / deviation)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scale_numbers(
    values: Float64Array,
    all_moments: Float64Array,
    numbers: Float32Array,
    scale: Float32Array,
    standard: Float32Array,
) -> None:
    """Take values in one by one (Welford): less the first one, their scale as of each, and standardised."""
    for name in range(len(values)):
        moments = all_moments[name]
        for row in range(values.shape[1]):
            if np.isnan(moments[_FIRST]):
                moments[_FIRST] = values[name, row]
            value = values[name, row] - moments[_FIRST]
            if not np.isnan(value):
                moments[_NOT_ABOVE] += moments[_COUNT] > 0.0 and value <= moments[_LAST]
                moments[_LAST] = value
                moments[_COUNT] += 1.0
                delta = value - moments[_MEAN]
                moments[_MEAN] += delta / moments[_COUNT]
                moments[_SQUARES] += delta * (value - moments[_MEAN])
                numbers[name, row] = value
            inverse = _inverse(moments)
            scale[row, name] = inverse
            if inverse > 0.0 and not np.isnan(value):
                standard[name, row] = (value - moments[_MEAN]) * inverse


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _derive(
    symbol: Int32Array,
    price: Float64Array,
    prices: Float64Array,
    volatility: Float64Array,
    derived: Float64Array,
    regime: Int8Array,
) -> None:
    """Log returns and volatilities of each row's symbol over the windows, and its regime.

    `derived` is filled from its first line on, in the order of `_DERIVED`.
    """
    for row in range(len(price)):
        ring = prices[symbol[row]]
        moments = volatility[symbol[row]]
        count = int(ring[0])
        ring[1 + count % _RING] = np.log(price[row])
        count += 1
        ring[0] = count
        now = count - 1
        if count > 1:
            change = ring[1 + now % _RING] - ring[1 + (now - 1) % _RING]
            moments[0] += 1.0
            delta = change - moments[1]
            moments[1] += delta / moments[0]
            moments[2] += delta * (change - moments[1])
        for index in range(len(RETURN_WINDOWS)):
            window = RETURN_WINDOWS[index]
            if now >= window:
                derived[index, row] = ring[1 + now % _RING] - ring[1 + (now - window) % _RING]
        for index in range(len(VOLATILITY_WINDOWS)):
            window = VOLATILITY_WINDOWS[index]
            if now >= window:
                mean = (ring[1 + now % _RING] - ring[1 + (now - window) % _RING]) / window
                squares = 0.0
                for back in range(window):
                    step = ring[1 + (now - back) % _RING] - ring[1 + (now - back - 1) % _RING]
                    squares += (step - mean) * (step - mean)
                deviation = np.sqrt(squares / (window - 1.0))
                derived[len(RETURN_WINDOWS) + index, row] = np.log(deviation + 1e-9)
                if index == _REGIME_WINDOW and moments[0] >= _REGIME_FROM:
                    usual = np.sqrt(moments[2] / (moments[0] - 1.0))
                    regime[row] = 1 if deviation < 0.75 * usual else 3 if deviation > usual / 0.75 else 2
