"""A backtest: candles of a file or of a made-up market through the very stages that run live.

Strategies say the same however bars are cut, so they are given bars in pieces (`StrategyStage.prepare`), and what they
say is said at its candle. Everything after that goes event by event.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import BookSummary, Candle, ContractSummary, FundingRateSettled
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.strategies import StrategyStage
from raysignal.engine.strategies.strategy import Bars

PIECE = 65_536
"""Bars that strategies are given at once."""


@dataclass(frozen=True, slots=True)
class CandleSeries:
    """The candles of one symbol and length, in time."""

    symbol: str
    interval_us: int
    bars: Bars


def run_backtest(
    driver: PathDriver,
    strategies: StrategyStage,
    series: Sequence[CandleSeries],
    after: Callable[[], None] = lambda: None,
    funding: Sequence[FundingRateSettled] = (),
) -> None:
    """Play `series`, merged by time, shorter candles first.

    Args:
        driver: of the path, with `strategies` in it.
        strategies: given the bars in pieces.
        series: of every symbol and length that a strategy sees.
        after: called after each candle, for who gives the driver more inputs.
        funding: rates of contracts, in time; each is settled once the candles that end by then are over.
    """
    rates = deque(funding)
    for candle in merged(series, strategies.prepare):
        while rates and rates[0].at_us < candle.at_us:
            driver.take(rates.popleft())
        driver.take(candle)
        after()
    driver.settle()


def merged(series: Sequence[CandleSeries], prepare: Callable[[str, int, Bars], None]) -> Iterator[Candle]:
    """The candles of all series by time, then length, then symbol; `prepare` is given pieces before they come."""
    if not series:
        return
    cursors = [
        _Cursor(each, prepare) for each in sorted(series, key=lambda one: (one.interval_us, one.symbol))
    ]
    stamps = np.concatenate([each.bars.known_at_us for each in (cursor.series for cursor in cursors)])
    owners = np.repeat(np.arange(len(cursors)), [len(cursor.series.bars) for cursor in cursors])
    for owner in owners[np.argsort(stamps, kind="stable")].tolist():
        yield cursors[owner].next()


class _Cursor:
    """Where a series is; its bars as Python numbers, a piece at a time."""

    def __init__(self, series: CandleSeries, prepare: Callable[[str, int, Bars], None]) -> None:
        self.series = series
        self._prepare = prepare
        self._begin = 0
        self._rows: Iterator[tuple[Any, ...]] = iter(())

    def next(self) -> Candle:
        row = next(self._rows, None)
        if row is None:
            piece = self.series.bars.slice(self._begin, self._begin + PIECE)
            self._begin += len(piece)
            self._prepare(self.series.symbol, self.series.interval_us, piece)
            columns = (piece.known_at_us, piece.open, piece.high, piece.low, piece.close, piece.volume)
            summaries = _books(piece), _contracts(piece)
            self._rows = zip(*(column.tolist() for column in columns), *summaries, strict=True)
            row = next(self._rows)
        at_us, opened, high, low, close, volume, book, contract = row
        return Candle(
            at_us=at_us, symbol=self.series.symbol, interval_us=self.series.interval_us, open=opened, high=high,
            low=low, close=close, volume=volume, book=book, contract=contract,
        )  # fmt: skip


def _books(bars: Bars) -> Iterable[BookSummary | UnsetType]:
    """The book at each bar."""
    if bars.book is None:
        return repeat(UNSET, len(bars))
    known: BoolArray = np.logical_not(np.isnan(bars.book).any(axis=1))
    return (
        BookSummary(*row) if is_known else UNSET
        for row, is_known in zip(bars.book.tolist(), known.tolist(), strict=True)
    )


def _contracts(bars: Bars) -> Iterable[ContractSummary | UnsetType]:
    """The state of the contract at each bar, of which parts may not be known."""
    if bars.contract is None:
        return repeat(UNSET, len(bars))
    known: BoolArray = np.logical_not(np.isnan(bars.contract).all(axis=1))
    return (
        ContractSummary(*row) if is_known else UNSET
        for row, is_known in zip(bars.contract.tolist(), known.tolist(), strict=True)
    )


def _resampled(contract: Float64Array, starts: Int64Array, lasts: Int64Array) -> Float64Array:
    """States at the ends of longer candles, and what was liquidated in them."""
    return np.concatenate([contract[lasts, :4], np.add.reduceat(contract[:, 4:], starts)], axis=1)


def resample(bars: Bars, from_us: int, to_us: int) -> Bars:
    """Longer candles of shorter ones, ending at whole multiples of their length; the last is left out if not over.

    Raises:
        InvalidField: the longer length is no multiple of the shorter one.
    """
    if to_us == from_us:
        return bars
    if to_us % from_us:
        raise InvalidField(
            "bar", to_us / 1e6, f"a multiple of {from_us / 1e6:g} s, the candles that there are"
        )
    end_us = (bars.known_at_us - 1) // to_us * to_us + to_us
    starts = np.flatnonzero(np.concatenate([[True], end_us[1:] != end_us[:-1]]))
    lasts = np.concatenate([starts[1:], [len(bars)]]) - 1
    longer = Bars(
        end_us[lasts], bars.open[starts], np.maximum.reduceat(bars.high, starts),
        np.minimum.reduceat(bars.low, starts), bars.close[lasts], np.add.reduceat(bars.volume, starts),
        None if bars.book is None else bars.book[lasts],
        None if bars.contract is None else _resampled(bars.contract, starts, lasts),
    )  # fmt: skip
    return longer if bars.known_at_us[-1] == end_us[-1] else longer.slice(0, len(longer) - 1)
