"""The guard before the ledger: which rows come too late, and which carry a price not to be believed.

A damaged thousands separator makes a price a thousand times too large, and one such tick ruins an equity
curve for good. So a price further than a factor from the symbol's last accepted one is refused, unless the
caller says that it is meant.

The body is numba's language: it checks the types when it compiles it.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array

OK, LATE, JUMP = 0, 1, 2

NO_SIGNAL_YET_US = np.iinfo(np.int64).min
"""The high-water mark of a symbol that has had no signal."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the guard says about n rows, and the marks that each was measured against.

    Attributes:
        verdict: int8[n], `OK`, `LATE` or `JUMP`.
        high_water_us: int64[n], the instant that a late row was before; `NO_SIGNAL_YET_US` where there was none.
        last_price: float64[n], the price that a jump was measured from; NaN where there was none.
    """

    verdict: Int8Array
    high_water_us: Int64Array
    last_price: Float64Array


def check(
    timestamp_us: Int64Array,
    symbol_code: Int32Array,
    price: Float64Array,
    skip: BoolArray,
    high_water: Int64Array,
    last_price: Float64Array,
    limit: float,
    accept_jump: bool,
) -> Verdicts:
    """Judge the rows of a batch in their order, as if each accepted one had been processed before the next.

    A row is late when it is before its symbol's high-water mark (rows of one instant follow each other), else a jump
    when `max(price / last, last / price) > limit`. Rows refused and rows skipped move neither mark. The marks
    handed in are left as they are: the ledger moves its own when it takes the accepted rows in.

    Args:
        timestamp_us: int64[n], sorted.
        symbol_code: int32[n], positions in the marks.
        price: float64[n], finite and > 0.
        skip: bool[n], rows known to be replays; they are `OK`.
        high_water: int64[S], the last instant processed, `NO_SIGNAL_YET_US` before the first.
        last_price: float64[S], the last price accepted, NaN (or 0) before the first.
        limit: the largest factor that is believed, > 1.
        accept_jump: jumps are meant; only lateness is judged.
    """
    return Verdicts(
        *_judge(timestamp_us, symbol_code, price, skip, high_water, last_price, float(limit), accept_jump)
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def check_price_jump(
    timestamp_us: int, price: float, latest_us: int, last: float, limit: float, accept_jump: bool
) -> int:
    """The verdict about one row, from the marks of its symbol."""
    if timestamp_us < latest_us:
        return LATE
    if last > 0.0 and not accept_jump and max(price / last, last / price) > limit:
        return JUMP
    return OK


@njit(cache=True, nogil=True, error_model="numpy")
def _judge(
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
        if verdict[row] == OK:
            latest[symbol] = timestamp_us[row]
            reference[symbol] = price[row]
    return verdict, met_high_water, met_price
