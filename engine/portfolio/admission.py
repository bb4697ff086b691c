"""What each submitted row is, found out before anything changes: new, seen before, or to be refused and why.

A damaged thousands separator makes a price a thousand times too large, and one such tick ruins an equity curve for
good. So a price further than a factor from the symbol's last accepted one is refused, unless the caller says that it is
meant. Reports of files, which have no identities yet, ask `check_prices` alone.

The bodies are numba's language: it checks the types when it compiles them.
"""
# mypy: allow-untyped-decorators

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timezone
from enum import IntEnum
from zoneinfo import ZoneInfo

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import (
    BoolArray,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    UInt64Array,
)
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import IdentityConflict, LateSignal, PriceJump, RaysignalError
from raysignal.engine.core.instants import MICROSECONDS, clock_change_at, format_instant
from raysignal.engine.journal.dedup import DedupIndex, first_in_batch
from raysignal.engine.portfolio.portfolio import Portfolio
from raysignal.engine.portfolio.receipts import RowResult

ERRORS_KEPT = 1000
"""So many refused rows get a sentence of their own; all are counted."""
_HOUR_US = 3_600 * MICROSECONDS


class AdmissionCode(IntEnum):
    """What a row is; what is above `DUPLICATE` is refused."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2
    LATE = 3
    JUMP = 4


# The findings as plain integers, for the compiled code, and what reads it row by row.
_NEW, _DUPLICATE, _CONFLICT, _LATE, _JUMP = (int(finding) for finding in AdmissionCode)
_REFUSALS = {_CONFLICT: IdentityConflict.__name__, _LATE: LateSignal.__name__, _JUMP: PriceJump.__name__}


@dataclass(frozen=True, slots=True)
class AdmissionCodes:
    """The findings about n rows.

    Attributes:
        finding: int8[n], a `AdmissionCode` each.
        ordinal: int64[n], the row's place in the portfolio's history once the fresh rows are processed, or the
            place of the row that it repeats; -1 when it is refused.
        counts: how many rows each `AdmissionCode` has.
        codes: as `Portfolio.codes` gives them.
        first: int64[n], the first row of the submission with its identity; mostly itself.
        high_water_us, last_price: int64[n] and float64[n], the marks that each row was measured against.
        limit: the largest believable factor between two prices.
    """

    finding: Int8Array
    ordinal: Int64Array
    counts: Sequence[int]
    codes: tuple[Int32Array, list[str]]
    first: Int64Array
    high_water_us: Int64Array
    last_price: Float64Array
    limit: float

    def rows(self, finding: AdmissionCode) -> Int64Array:
        """The rows that are found to be so."""
        return np.flatnonzero(self.finding == finding.value)

    @property
    def taken(self) -> Int8Array:
        """int8[n], a `RowResult` each."""
        if not any(self.counts[_CONFLICT:]):
            return self.finding  # what is not refused is called alike
        return np.minimum(self.finding, np.int8(RowResult.REFUSED))

    @property
    def refused(self) -> dict[str, int]:
        """How many rows are refused, by the name of their error."""
        return {name: count for finding, name in _REFUSALS.items() if (count := self.counts[finding])}

    def errors(
        self, batch: SignalBatch, positions: Int64Array | None, zone: ZoneInfo | timezone = UTC
    ) -> dict[int, RaysignalError]:
        """The sentences for the first refused rows, by row.

        Args:
            batch: what was judged.
            zone: that stamps without one were read in: its clocks may have gone back.
            positions: int64[n], the rows' places in the caller's input, named in errors; None: do not name any.
        """
        errors: dict[int, RaysignalError] = {}
        if not any(self.counts[_CONFLICT:]):
            return errors
        for index in np.flatnonzero(self.finding > _DUPLICATE)[:ERRORS_KEPT].tolist():
            row = None if positions is None else int(positions[index])
            # What repeats a refused row met the marks that that one met.
            met = int(self.first[index])
            symbol = batch.symbols[batch.symbol[index]]
            if self.finding[index] == _CONFLICT:
                remark = clock_change_at(int(batch.timestamp_us[index]), zone)
                errors[index] = IdentityConflict(batch.signal_id[index], row, remark=remark)
            elif self.finding[index] == _LATE:
                late, mark = int(batch.timestamp_us[index]), int(self.high_water_us[met])
                remark = clock_change_at(late, zone) if mark - late < _HOUR_US else ""
                errors[index] = LateSignal(
                    symbol, format_instant(late), format_instant(mark), row, remark=remark
                )
            else:
                price, last = float(batch.price[index]), float(self.last_price[met])
                errors[index] = PriceJump(symbol, price, last, self.limit, row)
        return errors


def admit(
    portfolio: Portfolio,
    batch: SignalBatch,
    keys: UInt64Array,
    identities: DedupIndex,
    *,
    limit: float,
    accept_price_jump: bool,
) -> AdmissionCodes:
    """Judge rows in time order as if each accepted one had been processed before the next; nothing changes.

    Of one instant, the first to come is the first in order: only what is before the last one is late.

    Args:
        portfolio: whose marks they are measured against.
        batch: the rows.
        keys: uint64[n, 2], their identities in this portfolio.
        identities: who has been seen.
        limit: the largest believable factor between two prices of a symbol.
        accept_price_jump: believe every price.
    """
    n = len(batch)
    symbol, new = portfolio.codes(batch)
    high_water, last_price = portfolio.marks(len(new))
    ordinal, content = identities.lookup(keys)
    finding, counts = np.empty(n, np.int8), np.zeros(len(AdmissionCode), np.int64)
    met_high_water, met_price = np.empty(n, np.int64), np.empty(n, np.float64)
    first = first_in_batch(keys)
    _judge(
        batch.timestamp_us, symbol, batch.price, batch.content, first, content, high_water, last_price, float(limit),
        accept_price_jump, portfolio.count, ordinal, finding, met_high_water, met_price, counts,
    )  # fmt: skip
    return AdmissionCodes(
        finding, ordinal, counts.tolist(), (symbol, new), first, met_high_water, met_price, limit
    )


@dataclass(frozen=True, slots=True)
class PriceVerdicts:
    """What the guard says about n rows, and the marks that each was measured against.

    Attributes:
        verdict: int8[n], `AdmissionCode`: NEW, LATE or JUMP.
        high_water_us: int64[n], the instant that a late row was before; `NO_SIGNAL_YET_US` where there was none.
        last_price: float64[n], the price that a jump was measured from; NaN where there was none.
    """

    verdict: Int8Array
    high_water_us: Int64Array
    last_price: Float64Array


def check_prices(
    timestamp_us: Int64Array,
    symbol_code: Int32Array,
    price: Float64Array,
    skip: BoolArray,
    high_water: Int64Array,
    last_price: Float64Array,
    limit: float,
    accept_jump: bool,
) -> PriceVerdicts:
    """Judge the rows of a batch in their order, as if each accepted one had been processed before the next.

    A row is late when it is before its symbol's high-water mark (rows of one instant follow each other), else a jump
    when `max(price / last, last / price) > limit`. Rows refused and rows skipped move neither mark. The marks
    handed in are left as they are: the ledger moves its own when it takes the accepted rows in.

    Args:
        timestamp_us: int64[n], sorted.
        symbol_code: int32[n], positions in the marks.
        price: float64[n], finite and > 0.
        skip: bool[n], rows known to be replays; they are NEW.
        high_water: int64[S], the last instant processed, `NO_SIGNAL_YET_US` before the first.
        last_price: float64[S], the last price accepted, NaN (or 0) before the first.
        limit: the largest factor that is believed, > 1.
        accept_jump: jumps are meant; only lateness is judged.
    """
    return PriceVerdicts(
        *_check(timestamp_us, symbol_code, price, skip, high_water, last_price, float(limit), accept_jump)
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def check_price_jump(
    timestamp_us: int, price: float, latest_us: int, last: float, limit: float, accept_jump: bool
) -> int:
    """The verdict about one row, from the marks of its symbol."""
    if timestamp_us < latest_us:
        return _LATE
    if last > 0.0 and not accept_jump and max(price / last, last / price) > limit:
        return _JUMP
    return _NEW


@njit(cache=True, nogil=True, error_model="numpy")
def _check(
    timestamp_us: Int64Array,
    symbol_code: Int32Array,
    price: Float64Array,
    skip: BoolArray,
    high_water: Int64Array,
    last_price: Float64Array,
    limit: float,
    accept_jump: bool,
) -> tuple[Int8Array, Int64Array, Float64Array]:
    n = timestamp_us.shape[0]
    latest = high_water.copy()
    reference = last_price.copy()
    verdict = np.zeros(n, np.int8)
    met_high_water = np.empty(n, np.int64)
    met_price = np.empty(n, np.float64)
    for row in range(n):
        symbol = symbol_code[row]
        last = reference[symbol]
        met_high_water[row] = latest[symbol]
        met_price[row] = last if last > 0.0 else np.nan
        if skip[row]:
            continue
        verdict[row] = check_price_jump(
            timestamp_us[row], price[row], latest[symbol], last, limit, accept_jump
        )
        if verdict[row] == _NEW:
            latest[symbol] = timestamp_us[row]
            reference[symbol] = price[row]
    return verdict, met_high_water, met_price


@njit(cache=True, nogil=True, error_model="numpy")
def _judge(
    timestamp_us: Int64Array,
    symbol_code: Int32Array,
    price: Float64Array,
    content: UInt64Array,
    first: Int64Array,
    known_content: UInt64Array,
    high_water: Int64Array,
    last_price: Float64Array,
    limit: float,
    accept_jump: bool,
    count: int,
    ordinal: Int64Array,
    finding: Int8Array,
    met_high_water: Int64Array,
    met_price: Float64Array,
    counts: Int64Array,
) -> None:
    latest = high_water.copy()
    reference = last_price.copy()
    for row in range(finding.shape[0]):
        symbol = symbol_code[row]
        met_high_water[row] = latest[symbol]
        met_price[row] = reference[symbol]
        twin = first[row]
        if ordinal[row] >= 0:
            found = _DUPLICATE if known_content[row] == content[row] else _CONFLICT
        elif twin < row:
            # What repeats a row that is refused is refused as that one is.
            found = max(finding[twin], _DUPLICATE) if content[twin] == content[row] else _CONFLICT
            ordinal[row] = ordinal[twin]
        else:
            found = check_price_jump(
                timestamp_us[row], price[row], latest[symbol], reference[symbol], limit, accept_jump
            )
            if found == _NEW:
                latest[symbol] = timestamp_us[row]
                reference[symbol] = price[row]
                ordinal[row] = count + counts[_NEW]
        if found > _DUPLICATE:
            ordinal[row] = -1
        finding[row] = found
        counts[found] += 1
