"""The situation of a signal: what was known when it came, as numbers and categories that can be compared.

It works on whatever features a file has:

- numbers as they come, unless they only ever count up (a row number tells nothing but the time), and from the
  price of the signal's own symbol its returns and volatilities over several windows; each is measured by its
  standard deviation as of the time;
- categories: short texts, several in one field where commas part them, letters' case ignored. A field that
  ever holds a long text, or more than 64 different labels, is free text from then on and compared no more;
- what is missing stays missing.

Nothing here looks ahead: a row's situation and the scale it is measured with depend on it and on the rows
before it alone, however the stream is cut into calls.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.columns import SignalBatch, TextColumn
from engine.digests import Floats, Words

Codes = npt.NDArray[np.int32]
Singles = npt.NDArray[np.float32]

RETURN_WINDOWS = (1, 3, 6, 12, 24, 48)
VOLATILITY_WINDOWS = (6, 24, 72)
REGIMES = ("unknown", "quiet", "normal", "wild")
"""By volatility over 24 rows against the symbol's own so far: below 3/4 of it, between, above 4/3."""

MOST_LABELS = 64
MOST_LABELS_A_FIELD = 8
LONGEST_LABEL = 32

# Derived names begin with a character that no sorted feature name comes before.
_DERIVED = tuple(f"\0return_{window:02d}" for window in RETURN_WINDOWS) + tuple(
    f"\0volatility_{window:02d}" for window in VOLATILITY_WINDOWS
)
_RING = 128
_SCALE_FROM = 8  # values seen before a number is compared at all
_REGIME_FROM = 72  # returns seen before a symbol has a regime
_REGIME_WINDOW = VOLATILITY_WINDOWS.index(24)


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
    numbers: Singles
    scale: Singles
    standard: Singles
    label_names: tuple[str, ...]
    labels: Words
    regime: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.regime)


@dataclass(slots=True)
class _Number:
    """A number over the stream: the first value it had; of all values less it the count, the mean, the sum of
    squares, the last one, and how often one was not above the one before.
    """

    first: float = np.nan
    moments: Floats = field(default_factory=lambda: np.zeros(5))


@dataclass(slots=True)
class _Category:
    """The labels that a field has had so far, and what each of its texts amounts to."""

    bits: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    free: bool = False


class Encoder:
    """Turns a stream of signals into situations."""

    __slots__ = ("_categories", "_numbers", "_prices", "_symbols", "_volatility")

    def __init__(self) -> None:
        self._numbers = {name: _Number() for name in _DERIVED}
        self._categories: dict[str, _Category] = {name: _Category() for name in _OWN}
        self._symbols: dict[str, int] = {}
        self._prices = np.zeros((0, _RING + 1))  # count, then the last prices of each symbol, a ring
        self._volatility = np.zeros((0, 3))  # moments of all returns of each symbol

    def codes(self, batch: SignalBatch) -> Codes:
        """int32[n], a code a symbol that stays the same over all calls; new ones in the order of their rows."""
        table = np.zeros(len(batch.symbols), np.int32)
        for code in dict.fromkeys(batch.symbol.tolist()):
            table[code] = self._symbols.setdefault(batch.symbols[code], len(self._symbols))
        return table[batch.symbol]

    def symbols(self) -> list[str]:
        """The symbols by their codes."""
        return list(self._symbols)

    def encode(self, batch: SignalBatch) -> Situations:
        """The situations of the next n signals of the stream, which are in time order."""
        n = len(batch)
        symbol = self.codes(batch)
        derived, regime = self._from_prices(symbol, batch.price)
        values = dict(zip(_DERIVED, derived, strict=True)) | batch.numbers
        for name in batch.numbers:
            self._numbers.setdefault(name, _Number())
        names = tuple(sorted(self._numbers))
        numbers = np.full((len(names), n), np.nan, np.float32)
        scale = np.zeros((n, len(names)), np.float32)
        standard = np.zeros((len(names), n), np.float32)
        for position, name in enumerate(names):
            number = self._numbers[name]
            if name not in values:
                # It may have values again: what it has had still tells its scale.
                scale[:, position] = _inverse(number.moments)
                continue
            column = values[name]
            if np.isnan(number.first):
                found = column[~np.isnan(column)]
                number.first = float(found[0]) if len(found) else np.nan
            _scale(
                column,
                number.first,
                number.moments,
                numbers[position],
                scale[:, position],
                standard[position],
            )
        label_names, labels = self._labels(batch)
        return Situations(names, numbers, scale, standard, label_names, labels, regime)

    def describe(self, situations: Situations, row: int) -> dict[str, str]:
        """The categories of one row in words, by field; labels joined with commas."""
        told = {}
        for position, name in enumerate(situations.label_names):
            mask = int(situations.labels[position, row])
            if mask and name not in _OWN:
                told[name] = ", ".join(
                    label for label, bit in self._categories[name].bits.items() if mask & bit
                )
        return told

    def _from_prices(self, symbol: Codes, price: Floats) -> tuple[Floats, npt.NDArray[np.int8]]:
        missing = len(self._symbols) - len(self._prices)
        if missing > 0:
            self._prices = np.concatenate([self._prices, np.zeros((missing, _RING + 1))])
            self._volatility = np.concatenate([self._volatility, np.zeros((missing, 3))])
        derived = np.full((len(_DERIVED), len(price)), np.nan)
        regime = np.zeros(len(price), np.int8)
        _derive(symbol, np.ascontiguousarray(price), self._prices, self._volatility, derived, regime)
        return derived, regime

    def _labels(self, batch: SignalBatch) -> tuple[tuple[str, ...], Words]:
        n = len(batch)
        for name in batch.texts:
            self._categories.setdefault(name, _Category())
        names = tuple(sorted(self._categories))
        labels = np.zeros((len(names), n), np.uint64)
        codes: tuple[npt.NDArray[Any], ...] = (batch.action, batch.source, batch.symbol)
        own = dict(zip(_OWN, codes, strict=True))
        words = dict(zip(_OWN, (("0", "1", "-1"), batch.sources, batch.symbols), strict=True))
        for position, name in enumerate(names):
            category = self._categories[name]
            if name in own:
                table = np.zeros(len(words[name]), np.uint64)
                for code in dict.fromkeys(own[name].tolist()):
                    table[code] = _bit_of(category, words[name][code])
                labels[position] = table[own[name]]
            elif name in batch.texts and not category.free:
                _read(category, batch.texts[name], labels[position])
        return names, labels


_OWN = ("\0action", "\0source", "\0symbol")


def _bit_of(category: _Category, label: str) -> int:
    # More sources or symbols than bits share them: they are still told apart from most others.
    return category.bits.setdefault(label, 1 << (len(category.bits) % MOST_LABELS))


def _read(category: _Category, column: TextColumn, labels: Words) -> None:
    """The labels of a field, row by row, up to the row that makes it free text."""
    longest = MOST_LABELS_A_FIELD * (LONGEST_LABEL + 2) * 4
    too_long = np.flatnonzero(np.diff(column.offsets) > longest)
    stop = int(too_long[0]) if len(too_long) else len(column)
    category.free = bool(len(too_long))
    for row in np.flatnonzero(np.diff(column.offsets[: stop + 1])).tolist():
        text = column[row]
        mask = category.known.get(text)
        if mask is None:
            mask = _mask(category, text)
            if mask is None:
                category.free = True
                return
            category.known[text] = mask
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


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _inverse(moments: Floats) -> float:
    """One over the standard deviation; 0 where there is none yet, and for what only counts up."""
    if moments[0] < _SCALE_FROM or moments[2] <= 0.0 or moments[4] == 0.0:
        return 0.0
    deviation = np.sqrt(moments[2] / (moments[0] - 1.0))
    return float(1.0 / deviation) if deviation > 1e-12 * abs(moments[1]) else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scale(
    values: Floats, first: float, moments: Floats, numbers: Singles, scale: Singles, standard: Singles
) -> None:
    """Take values in one by one (Welford): less the first one, their scale as of each, and standardised."""
    for row in range(len(values)):
        value = values[row] - first
        if not np.isnan(value):
            moments[4] += moments[0] > 0.0 and value <= moments[3]
            moments[3] = value
            moments[0] += 1.0
            delta = value - moments[1]
            moments[1] += delta / moments[0]
            moments[2] += delta * (value - moments[1])
            numbers[row] = value
        inverse = _inverse(moments)
        scale[row] = inverse
        if not np.isnan(value):
            standard[row] = (value - moments[1]) * inverse


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _derive(
    symbol: Codes,
    price: Floats,
    prices: Floats,
    volatility: Floats,
    derived: Floats,
    regime: npt.NDArray[np.int8],
) -> None:
    """Log returns and volatilities of each row's symbol over the windows, and its regime."""
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
