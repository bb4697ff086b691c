"""What signals turned out to be worth: each one scored over a horizon, for every verdict about it.

The trade that is scored begins flat at the signal's own fill (under the policy fill `next` at the price of the
symbol's next row) and ends at the horizon's end, under the portfolio's fees, slippage and side. So an outcome
says what the signal was worth, whatever the portfolio happened to hold; under `long-flat` a SELL is worth
staying out.

    verdict   approve        flip            hold
    BUY       long           short or out    out
    SELL      short or out   long            out

Where the signal has a bracket (its own, or the policy's), its trade ends with that, if it is met before the horizon's
end: by the kernel's own rule, and at the price at which the kernel would close, also where a row of the signal's own
instant meets it. A bracket counts where the signal opens
a position, so not for a SELL under `long-flat`. What expires before the row at which it would be filled is not scored,
nor is what the portfolio's `min_confidence` makes a HOLD.

An outcome is known from the instant of the row that ends its horizon, plus the settlement lag, and from no
earlier row on: rows are processed in order, so what a later row told cannot be known before it. HOLD and CLOSE are
not scored; CLOSE ends a horizon that lasts until the side is left.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numba import njit

from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, parse_bar
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import (
    CONFIDENCE,
    EXPIRES,
    STOP_LOSS,
    TAKE_PROFIT,
    TERMS,
    TRAILING,
    SignalTerms,
)
from raysignal.engine.portfolio import account as held
from raysignal.engine.portfolio import policy_columns as by
from raysignal.engine.portfolio.account import BRACKET_SIZE
from raysignal.engine.portfolio.fills import CLOSE, crossed, follow, guard, reach, said
from raysignal.engine.portfolio.policy_columns import policy_vector

NOT_KNOWN_US = np.iinfo(np.int64).max
MOST_BARS = 10_000
MOST_TIME_US = 3_660 * DAY_US
_KINDS = ("bars", "time", "close")
_BARS = re.compile(r"(\d{1,6})b")


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long a signal is followed.

    Attributes:
        kind: `bars` (rows of its symbol), `time`, or `close` (until its symbol's first signal of the other side).
        bars: how many, for `bars`.
        time_us: how long, for `time`; it ends with the first row that is as late or later.
        lag_us: how much later than its end an outcome becomes known; 0 or more.

    Raises:
        InvalidField: a value outside of these: a horizon that ends where it begins would know its own end.
    """

    kind: Literal["bars", "time", "close"] = "bars"
    bars: int = 6
    time_us: int = 0
    lag_us: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InvalidField("horizon", self.kind, f"one of {', '.join(_KINDS)}")
        if self.kind == "bars" and not 1 <= self.bars <= MOST_BARS:
            raise InvalidField("horizon", f"{self.bars}b", f"1b to {MOST_BARS}b")
        if self.kind == "time" and not 1 <= self.time_us <= MOST_TIME_US:
            raise InvalidField("horizon", self.time_us, f"1 to {MOST_TIME_US} microseconds, about ten years")
        if not 0 <= self.lag_us <= MOST_TIME_US:
            raise InvalidField(
                "settlement_lag", self.lag_us, f"0 to {MOST_TIME_US} microseconds, about ten years"
            )

    @classmethod
    def parse(cls, text: str, *, lag_us: int = 0) -> Self:
        """`6b` (bars), `90m` or `1d` (time), `close`; anything else raises `InvalidField`."""
        if text == "close":
            return cls("close", 0, 0, lag_us)
        if match := _BARS.fullmatch(text):
            return cls("bars", int(match[1]), 0, lag_us)
        try:
            time_us = parse_bar(text)
        except InvalidField as error:
            raise InvalidField(
                "horizon", text, "bars such as 6b, a time such as 90m or 1d, or close"
            ) from error
        return cls("time", 0, time_us, lag_us)

    def __str__(self) -> str:
        if self.kind == "bars":
            return f"{self.bars}b"
        if self.kind == "close":
            return "close"
        whole = self.time_us % 1_000_000 == 0
        return f"{self.time_us // 1_000_000}s" if whole else f"{self.time_us}us"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """m settled signals, in the order in which they became known.

    Attributes:
        ordinal: int64[m], the signal's place in the stream.
        exit: int64[m], the place of the row that settled it.
        decided_at_us: int64[m], the signal's instant.
        known_at_us: int64[m], from when on the outcome may be used; after `decided_at_us`.
        side: int8[m], 1 for BUY, -1 for SELL.
        move_bps: float64[m], how far the price went from entry to exit, in basis points of the entry.
        gross_bps, net_bps: float64[m, 3], what each `Verdict` would have earned on its stake, before and after
            fees and slippage.
        overlap: int64[m], rows of its symbol from the signal to its exit.
    """

    ordinal: Int64Array
    exit: Int64Array
    decided_at_us: Int64Array
    known_at_us: Int64Array
    side: Int8Array
    move_bps: Float64Array
    gross_bps: Float64Array
    net_bps: Float64Array
    overlap: Int64Array

    def __len__(self) -> int:
        return len(self.ordinal)

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Several in their order."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__)
        )

    def take(self, rows: Int64Array) -> Self:
        """The named ones, in that order."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def right(self) -> BoolArray:
        """bool[m]: the price went where the signal said."""
        result: BoolArray = self.side * self.move_bps > 0.0
        return result


class Settler:
    """Scores a stream of signals as its rows come in; however they are cut into calls, the outcomes are the same.

    Within a symbol the first to come is the first to be settled, whatever the horizon. So what is not settled
    yet waits in a queue a symbol, and a row costs the same however many wait. Where some of them have brackets, a row
    looks at all that wait.

    Args:
        policy: the portfolio's fill and cost model.
        horizon: how long a signal is followed.
    """

    __slots__ = (
        "_brackets",
        "_entry_price",
        "_fill_next",
        "_free",
        "_policy",
        "_queues",
        "_waiting",
        "_worth",
        "horizon",
    )

    def __init__(self, policy: Policy, horizon: Horizon) -> None:
        self.horizon = horizon
        self._worth = VerdictPayoff(policy)
        self._fill_next = int(policy.fill == "next")
        self._queues = np.zeros((0, _QUEUE), np.int64)
        self._waiting = np.zeros((0, _WAITING), np.int64)
        self._entry_price = np.zeros(0)
        self._policy = policy
        self._brackets = np.zeros((0, BRACKET_SIZE))
        self._free = np.array([_NONE, 0])  # the first place that is free, and how many are taken

    def feed(
        self,
        ordinal: Int64Array,
        timestamp_us: Int64Array,
        symbol: Int32Array,
        action: Int8Array,
        price: Float64Array,
        terms: SignalTerms | None = None,
        *,
        bar: BoolArray | None = None,
    ) -> Outcomes:
        """Take the next n rows of the stream in; what they settled, in the order of the rows that did.

        Args:
            ordinal: int64[n], increasing over all calls.
            timestamp_us: int64[n], never decreasing. A signal is settled by a later instant, never by a row of its own.
            symbol: int32[n], codes that stay the same over all calls.
            action: int8[n].
            price: float64[n].
            terms: what the signals say beside their action, and the ranges of their bars.
            bar: bool[n], which rows a horizon in bars counts, and under fill `next` fill what was asked for before;
                others are of the bar before. None: all.
        """
        # Copies: a batch may lie in memory that cannot be written, which would be another type to compile for.
        rows = (
            np.array(ordinal, np.int64), np.array(timestamp_us, np.int64), np.array(symbol, np.int32),
            np.array(action, np.int8), np.array(price, np.float64),
        )  # fmt: skip
        n = len(rows[0])
        self._make_room(n, int(rows[2].max(initial=-1)) + 1)
        horizon = self.horizon
        whole, move_bps = np.empty((5, self._free[1] + n), np.int64), np.empty(self._free[1] + n)
        side = np.empty(len(move_bps), np.int8)
        told = SignalTerms() if terms is None else terms
        said = (
            np.empty((0, len(TERMS))) if told.values is None else np.array(told.values, np.float64),
            *(np.empty(0) if one is None else np.array(one, np.float64) for one in (told.high, told.low)),
        )
        counted = np.ones(n, np.bool_) if bar is None else np.array(bar, np.bool_)
        careful = self._policy.has_bracket or told.values is not None or bool(self._brackets.any())
        settled = _feed(
            *rows, *said, policy_vector(self._policy), careful, _KINDS.index(horizon.kind), horizon.bars,
            horizon.time_us, self._fill_next, self._queues, self._waiting, self._entry_price, self._brackets,
            self._free, whole, side, move_bps, counted,
        )  # fmt: skip
        at, until, decided, left, overlap = whole[:, :settled].copy()
        side, move_bps = side[:settled].copy(), move_bps[:settled].copy()
        gross, net = self._worth.verdicts(side, move_bps)
        return Outcomes(at, until, decided, left + horizon.lag_us, side, move_bps, gross, net, overlap)

    def _make_room(self, more: int, symbols: int) -> None:
        missing = symbols - len(self._queues)
        if missing > 0:
            empty = np.zeros((missing, _QUEUE), np.int64)
            empty[:, [_HEAD, _TAIL]] = _NONE
            self._queues = np.concatenate([self._queues, empty])
        before, needed = len(self._waiting), int(self._free[1]) + more
        if needed > before:
            room = max(64, 2 * before, needed)
            places = np.zeros((room - before, _WAITING), np.int64)
            places[:, _NEXT] = np.arange(before + 1, room + 1)
            places[-1, _NEXT] = self._free[0]
            self._free[0] = before
            self._waiting = np.concatenate([self._waiting, places])
            self._entry_price = np.concatenate([self._entry_price, np.zeros(room - before)])
            self._brackets = np.concatenate([self._brackets, np.zeros((room - before, BRACKET_SIZE))])


_NONE = -1
# A symbol's queue: its first and its last place, bars so far, the last action, whether rows came since the last bar.
_HEAD, _TAIL, _ROWS, _LAST_ACTION, _BETWEEN, _QUEUE = range(6)
# A place: the signal's ordinal, instant, action and number within its symbol, when it was entered, how a row of its own
# instant ended it.
_ORDINAL, _DECIDED, _SIDE, _NUMBER, _ENTERED, _ENDED, _NEXT, _WAITING = range(8)
_IN_BARS, _IN_TIME, _IN_CLOSE = range(3)
_EXPIRED = 3  # before it could be filled
_BY_SIDE, _BY_BRACKET = 1, 2  # the latter at the price that stands for the bracket's next stop then


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _end_within(kind: int, waiting: Int64Array, queue: Int64Array, now: int, ends: int) -> None:
    """Mark the signals that a row of their own instant ends: a later one will settle them."""
    tail = queue[_TAIL]
    if kind != _IN_CLOSE or tail == _NONE or waiting[tail, _DECIDED] != now:
        return
    place = queue[_HEAD]
    while place != _NONE:
        ended = ends == CLOSE or waiting[place, _SIDE] == -ends
        if ended and waiting[place, _DECIDED] == now and waiting[place, _ENDED] == 0:
            waiting[place, _ENDED] = _BY_SIDE
        place = waiting[place, _NEXT]


# numba caches by the date of this file alone, so what it is compiled from shows here (a test says what): d5a2649a.


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _begin(side: int, price: float, policy: Float64Array, bracket: Float64Array) -> None:
    """Set the bracket of a trade at its entry, where it opens a position."""
    if side > 0 or policy[by.SHORTS] != 0.0:
        guard(
            np.float64(side), price, bracket[held.NEXT_STOP], bracket[held.NEXT_TARGET], bracket[held.NEXT_TRAIL],
            bracket[held.NEXT_EXPIRES], policy, bracket,
        )  # fmt: skip
    bracket[held.NEXT_SIZE :] = 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _feed(  # noqa: C901, PLR0912, PLR0915 - a row's events in their order
    ordinal: Int64Array, timestamp_us: Int64Array, symbol: Int32Array, action: Int8Array, price: Float64Array, terms:
    Float64Array, highs: Float64Array, lows: Float64Array, policy: Float64Array, careful: bool, kind: int, bars: int,
    time_us: int, fill_next: int, queues: Int64Array, waiting: Int64Array, entry_price: Float64Array, brackets:
    Float64Array, free: Int64Array, whole: Int64Array, side: Int8Array, move_bps: Float64Array, bar: BoolArray,
) -> int:  # fmt: skip
    """Settle what each row settles, then let its own signal wait; how many outcomes there are."""
    settled = 0
    for row in range(len(ordinal)):
        queue = queues[symbol[row]]
        now, at = timestamp_us[row], price[row]
        high, low = reach(at, highs, lows, row)
        number = queue[_ROWS] if bar[row] else queue[_ROWS] - 1
        tail = queue[_TAIL]
        if fill_next and bar[row] and tail != _NONE and waiting[tail, _NUMBER] == number - 1:
            # Mostly the last one alone is filled here; several, where some were asked for between two bars.
            place = tail if queue[_BETWEEN] == 0 else queue[_HEAD]
            while place != _NONE:
                if waiting[place, _NUMBER] == number - 1:
                    waiting[place, _ENTERED] = now
                    entry_price[place] = at
                    if careful:
                        if now >= brackets[place, held.NEXT_EXPIRES] > 0.0:
                            waiting[place, _ENDED] = _EXPIRED
                        _begin(waiting[place, _SIDE], at, policy, brackets[place])
                place = waiting[place, _NEXT]
            queue[_BETWEEN] = 0
        told: Any = np.int64(action[row])
        if told != 0 and len(terms) > 0 and terms[row, CONFIDENCE] < policy[by.MIN_CONFIDENCE]:
            told = np.int64(0)
        # What ends the followed side of a `close`: this row's action, or under `next` the one before its bar.
        ends = told
        if fill_next:
            ends = queue[_LAST_ACTION] if bar[row] else 0
        _end_within(kind, waiting, queue, now, ends)
        place, before = queue[_HEAD], _NONE
        while place != _NONE:
            signal = waiting[place]
            following = signal[_NEXT]
            left = at
            over = False
            same_instant = now == signal[_DECIDED]  # what a signal was worth is known in a later one
            filled = not fill_next or signal[_NUMBER] < number
            expired = signal[_ENDED] == _EXPIRED
            if careful and signal[_ENDED] == _BY_BRACKET:
                over, left = not same_instant, brackets[place, held.NEXT_STOP]
            elif careful and signal[_NUMBER] + fill_next < number:
                met, level = crossed(signal[_SIDE], at, high, low, np.float64(now), brackets[place])
                if met == 0:
                    follow(signal[_SIDE], high, low, brackets[place])
                elif same_instant:
                    if signal[_ENDED] == 0:
                        signal[_ENDED], brackets[place, held.NEXT_STOP] = _BY_BRACKET, level
                else:
                    over, left = True, level
            if over or same_instant or not filled:
                pass
            elif kind == _IN_BARS:
                over = number - signal[_NUMBER] >= bars + fill_next
            elif kind == _IN_TIME:
                over = now - signal[_ENTERED] >= time_us
            else:
                over = signal[_SIDE] == -ends or ends == CLOSE or signal[_ENDED] == _BY_SIDE
            if over and not expired:
                whole[0, settled], whole[1, settled] = signal[_ORDINAL], ordinal[row]
                whole[2, settled], whole[3, settled] = signal[_DECIDED], now
                whole[4, settled] = max(1, number - signal[_NUMBER])
                side[settled] = signal[_SIDE]
                move_bps[settled] = (left / entry_price[place] - 1.0) * 1e4
                settled += 1
            if over or expired:
                if before == _NONE:
                    queue[_HEAD] = following
                else:
                    waiting[before, _NEXT] = following
                if following == _NONE:
                    queue[_TAIL] = before
                brackets[place] = 0.0
                signal[_NEXT] = free[0]
                free[0] = place
                free[1] -= 1
            elif not careful:
                break
            else:
                before = place
            place = following
        if told not in (0, CLOSE):
            place = free[0]
            signal = waiting[place]
            free[0] = signal[_NEXT]
            free[1] += 1
            signal[_ORDINAL], signal[_DECIDED], signal[_ENTERED] = ordinal[row], now, now
            signal[_SIDE], signal[_NUMBER], signal[_ENDED], signal[_NEXT] = told, number, 0, _NONE
            entry_price[place] = at
            if careful:
                bracket = brackets[place]
                if len(terms) > 0:
                    bracket[held.NEXT_STOP] = said(terms, row, STOP_LOSS)
                    bracket[held.NEXT_TARGET] = said(terms, row, TAKE_PROFIT)
                    bracket[held.NEXT_TRAIL] = said(terms, row, TRAILING) / 10_000.0
                    bracket[held.NEXT_EXPIRES] = said(terms, row, EXPIRES)
                if not fill_next:
                    _begin(told, at, policy, bracket)
            if queue[_TAIL] == _NONE:
                queue[_HEAD] = place
            else:
                waiting[queue[_TAIL], _NEXT] = place
            queue[_TAIL] = place
        if bar[row] or told != 0:
            queue[_LAST_ACTION] = told
        queue[_BETWEEN] = queue[_BETWEEN] | (0 if bar[row] else 1)
        queue[_ROWS] = number + 1
    return settled
