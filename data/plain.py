"""Large plain files, fast: timestamp, symbol, price and signal, in CSV, NDJSON or Parquet.

For loads and benchmarks. The price is a bounded random walk and the signals are drawn at random: there is
nothing to find in them (`data.generator` makes files with something to find). Rows are made in chunks, and
their text as one matrix of bytes without a Python object a row, so memory does not grow with the file.
The same seed gives the same rows in every format.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.data import phrases
from raysignal.data.byte_rows import decimal, digits, joined, stamps, without_leading_zeros, words
from raysignal.data.checks import check_symbols, check_whole
from raysignal.data.draws import Draws
from raysignal.engine.core.arrays import Int64Array, UInt8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import LATEST_US, MICROSECONDS, parse_bar, parse_instant

PlainFormat = Literal["csv", "ndjson", "parquet"]

_START_US = parse_instant("2025-01-06T00:00:00Z")
_MOST_ROWS = 1_000_000_000
_CHUNK = 200_000
_MILLISECOND_US = 1_000

_LOWEST_CENTS, _HIGHEST_CENTS = 20_000_00, 99_999_99
_FIRST_CENTS = 60_000_00
_CENTS_A_SECOND = 200.0  # standard deviation of the price's move within a second
_LARGEST_STEP = 500_00  # cents: one standard deviation of the coarsest bars


def write_plain(
    path: str | Path,
    rows: int,
    seed: int,
    *,
    format: PlainFormat = "csv",  # noqa: A002 - the word that its callers know
    symbols: tuple[str, ...] = ("BTC",),
    bar: str = "1s",
    features: bool = False,
) -> None:
    """Write `rows` signals, oldest first, the symbols in turn within a bar.

    Args:
        path: the file; replaced if it is there.
        rows: 1 to a thousand million, in all.
        seed: 0 or more.
        format: `csv`, `ndjson` or `parquet`.
        symbols: distinct names.
        bar: the time between two signals of a symbol, in whole milliseconds, such as `1s` or `10m`.
        features: also the dataset's numbers and labels: mvrv_btc_momentum, spot_volume_daily_sum, sentiment,
            index, dominant_sentiment, intensity.

    Raises:
        InvalidField: one of these is not as said, or the last bar would lie beyond the year 2200.
    """
    check_whole("rows", rows, 1, _MOST_ROWS)
    check_whole("seed", seed, 0, 2**63 - 1)
    check_symbols(symbols)
    if format not in get_args(PlainFormat):
        raise InvalidField("format", format, "csv, ndjson or parquet")
    bar_us = parse_bar(bar)
    if bar_us % _MILLISECOND_US:
        raise InvalidField("bar", bar, "whole milliseconds")
    if _START_US + rows // len(symbols) * bar_us > LATEST_US:
        raise InvalidField("rows", rows, f"bars of {bar} that end before the year 2200")
    with _writer(Path(path), format, symbols, in_seconds=bar_us % MICROSECONDS == 0) as writer:
        for chunk in _chunks(rows, seed, symbols, bar_us, features=features):
            writer.write(chunk)


@dataclass(frozen=True, slots=True, eq=False)
class _Features:
    momentum: Int64Array  # millionths
    volume: Int64Array
    mood: Int64Array
    level: Int64Array  # position in phrases.SENTIMENTS and in _DOMINANT
    intensity: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    instant_us: Int64Array
    symbol: Int64Array
    cents: Int64Array
    signal: Int64Array
    features: _Features | None


_DOMINANT = ("PANIC", "FEAR", "CONFUSION", "OPTIMISM", "FOMO")


def _chunks(
    rows: int, seed: int, symbols: tuple[str, ...], bar_us: int, *, features: bool
) -> Iterator[_Chunk]:
    count = len(symbols)
    draws, extra = Draws(seed, 0, 100), Draws(seed, 0, 101)
    step = min(_LARGEST_STEP, max(1, int(_CENTS_A_SECOND * math.sqrt(bar_us / MICROSECONDS))))
    walked = np.zeros(count, np.int64)
    bars_a_chunk = max(1, _CHUNK // count)
    for first in range(0, rows, bars_a_chunk * count):
        n = bars_a_chunk * count
        steps = _bell(draws, n).reshape(bars_a_chunk, count) * step // 4
        steps += draws.below(101, n).reshape(bars_a_chunk, count) - 50
        path = walked + np.cumsum(steps, axis=0)
        walked = path[-1]
        kept = min(n, rows - first)
        row = np.arange(first, first + kept)
        signal = draws.below(3, n)[:kept] - 1
        yield _Chunk(
            instant_us=_START_US + row // count * bar_us,
            symbol=row % count,
            cents=_folded(path).ravel()[:kept],
            signal=signal,
            features=_features(extra, n, kept) if features else None,
        )


def _bell(draws: Draws, n: int) -> Int64Array:
    """The number of ones in 64 random bits, less 32: nearly normal with a standard deviation of 4."""
    return np.bitwise_count(draws.words(n)).astype(np.int64) - 32


def _folded(path: Int64Array) -> Int64Array:
    """A walk reflected at both bounds of the price."""
    width = _HIGHEST_CENTS - _LOWEST_CENTS
    folded: Int64Array = _LOWEST_CENTS + np.abs(
        (path + _FIRST_CENTS - _LOWEST_CENTS + width) % (2 * width) - width
    )
    return folded


def _features(draws: Draws, n: int, kept: int) -> _Features:
    mood = (50 + 3 * _bell(draws, n))[:kept].clip(10, 95)
    level = np.searchsorted(phrases.SENTIMENT_FROM, mood, side="right") - 1
    return _Features(
        momentum=(_bell(draws, n) * 1_500 + draws.below(1_500, n))[:kept],
        volume=(5_000_000_000 + draws.below(2**31, n) * 4)[:kept],
        mood=mood,
        level=level.astype(np.int64),
        intensity=(5 + draws.below(5, n))[:kept],
    )


class _Writer(Protocol):
    def write(self, chunk: _Chunk) -> None: ...


def _writer(
    path: Path,
    format: PlainFormat,  # noqa: A002 - as above
    symbols: tuple[str, ...],
    *,
    in_seconds: bool,
) -> AbstractContextManager[_Writer]:
    if format == "parquet":
        return _ParquetWriter(path, symbols)
    return _TextWriter(path, symbols, json=format == "ndjson", in_seconds=in_seconds)


class _ParquetWriter:
    """timestamp[us, UTC], string, double, int8, and the features as double, int64 and string."""

    def __init__(self, path: Path, symbols: tuple[str, ...]) -> None:
        self._path, self._symbols = path, symbols
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, chunk: _Chunk) -> None:
        columns = {
            "timestamp": pa.array(chunk.instant_us, pa.timestamp("us", "UTC")),
            "symbol": _named(chunk.symbol, self._symbols),
            "price": chunk.cents / 100,
            "signal": pa.array(chunk.signal.astype(np.int8)),
        }
        if chunk.features is not None:
            values = chunk.features
            columns |= {
                "mvrv_btc_momentum": values.momentum / 1_000_000,
                "spot_volume_daily_sum": values.volume,
                "sentiment": _named(values.level, phrases.SENTIMENTS),
                "index": values.mood,
                "dominant_sentiment": _named(values.level, _DOMINANT),
                "intensity": values.intensity,
            }
        table = pa.table(columns)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema)
        self._file.write_table(table)


def _named(codes: Int64Array, names: tuple[str, ...]) -> pa.Array:
    return pa.array(names).take(pa.array(codes))


class _TextWriter:
    """CSV with a header, or NDJSON; lines end with LF."""

    def __init__(self, path: Path, symbols: tuple[str, ...], *, json: bool, in_seconds: bool) -> None:
        self._file = path.open("wb")
        self._symbols, self._json, self._in_seconds = symbols, json, in_seconds
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: _Chunk) -> None:
        fields = self._fields(chunk)
        if not self._json and not self._started:
            self._file.write(",".join(name for name, _, _ in fields).encode() + b"\n")
        self._started = True
        pieces: list[bytes | UInt8Array] = []
        for position, (name, quoted, values) in enumerate(fields):
            lead = "," if position else ""
            if self._json:
                quote = '"' if quoted else ""
                pieces += [
                    f'{"" if position else "{"}{lead}"{name}":{quote}'.encode(),
                    values,
                    quote.encode(),
                ]
            else:
                pieces += [lead.encode(), values]
        pieces.append(b"}\n" if self._json else b"\n")
        self._file.write(joined(pieces, len(chunk.signal)))

    def _fields(self, chunk: _Chunk) -> list[tuple[str, bool, UInt8Array]]:
        """Name, whether JSON quotes it, and the text of every row, padded with NUL."""
        fields = [
            ("timestamp", True, stamps(chunk.instant_us, in_seconds=self._in_seconds)),
            ("symbol", True, words(chunk.symbol, self._symbols)),
            ("price", False, decimal(chunk.cents, whole=5, places=2)),
            ("signal", False, words(chunk.signal + 1, ("-1", "0", "1"))),
        ]
        if chunk.features is not None:
            values = chunk.features
            sign = words((values.momentum < 0).astype(np.int64), ("", "-"))
            fields += [
                ("mvrv_btc_momentum", False,
                 np.hstack([sign, decimal(np.abs(values.momentum), whole=1, places=6)])),
                ("spot_volume_daily_sum", False, without_leading_zeros(digits(values.volume, 12))),
                ("sentiment", True, words(values.level, phrases.SENTIMENTS)),
                ("index", False, digits(values.mood, 2)),
                ("dominant_sentiment", True, words(values.level, _DOMINANT)),
                ("intensity", False, digits(values.intensity, 1)),
            ]  # fmt: skip
        return fields
