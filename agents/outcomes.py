"""What signals turned out to be worth: each one scored over a horizon, for every verdict about it.

The trade that is scored begins flat at the signal's own fill (under the policy fill `next` at the price of the
symbol's next row) and ends at the horizon's end, under the portfolio's fees, slippage and side. So an outcome
says what the signal was worth, whatever the portfolio happened to hold; under `long-flat` a SELL is worth
staying out.

    verdict   approve        flip            hold
    BUY       long           short or out    out
    SELL      short or out   long            out

An outcome is known from the instant of the row that ends its horizon, plus the settlement lag, and from no
earlier row on: rows are processed in order, so what a later row told cannot be known before it. HOLD signals
are not scored.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from engine.digests import Floats, Ints
from engine.errors import InvalidField
from engine.instants import parse_bar
from engine.policy import Policy

Codes = npt.NDArray[np.int32]
Actions = npt.NDArray[np.int8]

NEVER_US = np.iinfo(np.int64).max
MOST_BARS = 10_000
_BARS = re.compile(r"(\d{1,6})b")


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long a signal is followed.

    Attributes:
        kind: `bars` (rows of its symbol), `time`, or `close` (until its symbol's first signal of the other side).
        bars: how many, for `bars`.
        time_us: how long, for `time`; it ends with the first row that is as late or later.
        lag_us: how much later than its end an outcome becomes known.
    """

    kind: Literal["bars", "time", "close"] = "bars"
    bars: int = 6
    time_us: int = 0
    lag_us: int = 0

    @classmethod
    def parse(cls, text: str, *, lag_us: int = 0) -> Self:
        """`6b` (bars), `90m` or `1d` (time), `close`; anything else raises `InvalidField`."""
        if text == "close":
            return cls("close", 0, 0, lag_us)
        if match := _BARS.fullmatch(text):
            bars = int(match[1])
            if not 1 <= bars <= MOST_BARS:
                raise InvalidField("horizon", text, f"1b to {MOST_BARS}b")
            return cls("bars", bars, 0, lag_us)
        try:
            return cls("time", 0, parse_bar(text), lag_us)
        except InvalidField as error:
            raise InvalidField(
                "horizon", text, "bars such as 6b, a time such as 90m or 1d, or close"
            ) from error

    def __str__(self) -> str:
        if self.kind == "bars":
            return f"{self.bars}b"
        return "close" if self.kind == "close" else f"{self.time_us // 1_000_000}s"


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

    ordinal: Ints
    exit: Ints
    decided_at_us: Ints
    known_at_us: Ints
    side: Actions
    move_bps: Floats
    gross_bps: Floats
    net_bps: Floats
    overlap: Ints

    def __len__(self) -> int:
        return len(self.ordinal)

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Several in their order."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__)
        )

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """bool[m]: the price went where the signal said."""
        result: npt.NDArray[np.bool_] = self.side * self.move_bps > 0.0
        return result


@dataclass(frozen=True, slots=True)
class Worth:
    """What a stake of 1 earns under a policy when the price goes from 1 to `ratio`.

    Attributes:
        policy: fees, slippage, side.
    """

    policy: Policy

    def long(self, ratio: Floats) -> Floats:
        """Net return of buying and selling; the stake is all that is spent, fee included."""
        fee, slip = self.policy.fee_bps / 1e4, self.policy.slippage_bps / 1e4
        return ratio * (1.0 - slip) * (1.0 - fee) / ((1.0 + slip) * (1.0 + fee)) - 1.0

    def short(self, ratio: Floats) -> Floats:
        """Net return of selling and buying back; the stake is the notional and the fee of selling."""
        fee, slip = self.policy.fee_bps / 1e4, self.policy.slippage_bps / 1e4
        taken = (1.0 - slip) * (1.0 - fee)
        result: Floats = (taken - ratio * (1.0 + slip) * (1.0 + fee)) / ((1.0 - slip) * (1.0 + fee))
        return result

    def verdicts(self, side: Actions, move_bps: Floats) -> tuple[Floats, Floats]:
        """Gross and net basis points of each verdict, two of float64[m, 3], for moves of m signals."""
        ratio = 1.0 + move_bps / 1e4
        shorts = self.policy.side == "long-short"
        out = np.zeros(len(ratio))
        long_net, short_net = self.long(ratio) * 1e4, self.short(ratio) * 1e4 if shorts else out
        short_gross = -move_bps if shorts else out
        bought = side > 0
        gross = [np.where(bought, move_bps, short_gross), np.where(bought, short_gross, move_bps), out]
        net = [np.where(bought, long_net, short_net), np.where(bought, short_net, long_net), out]
        return np.stack(gross, axis=1), np.stack(net, axis=1)


class Settler:
    """Scores a stream of signals as its rows come in; however they are cut into calls, the outcomes are the same.

    Args:
        policy: the portfolio's fill and cost model.
        horizon: how long a signal is followed.
    """

    __slots__ = ("_fill_next", "_rows", "_worth", "horizon")

    def __init__(self, policy: Policy, horizon: Horizon) -> None:
        self.horizon = horizon
        self._worth = Worth(policy)
        self._fill_next = int(policy.fill == "next")
        self._rows = _Rows.none()

    def feed(
        self, ordinal: Ints, timestamp_us: Ints, symbol: Codes, action: Actions, price: Floats
    ) -> Outcomes:
        """Take the next n rows of the stream in; what they settled, in the order of the rows that did.

        Args:
            ordinal: int64[n], increasing over all calls.
            timestamp_us: int64[n], never decreasing, strictly increasing within a symbol.
            symbol: int32[n], codes that stay the same over all calls.
            action: int8[n].
            price: float64[n].
        """
        new = _Rows(ordinal, timestamp_us, symbol, action, price, np.zeros(len(ordinal), np.bool_))
        rows = _Rows.concat(self._rows, new).by_symbol()
        last = np.searchsorted(rows.symbol, rows.symbol, side="right")  # the end of each row's own symbol
        place = np.arange(len(rows))
        entry = place + self._fill_next
        leaves = self._exits(rows, place, entry, last)
        waits = (rows.action != 0) & ~rows.done
        settled = np.flatnonzero(waits & (leaves < last))
        settled = settled[np.lexsort((rows.ordinal[settled], rows.ordinal[leaves[settled]]))]
        outcomes = self._scored(rows, settled, entry[settled], leaves[settled])
        rows.done[settled] = True
        self._rows = rows.pending()
        return outcomes

    def _exits(self, rows: "_Rows", place: Ints, entry: Ints, last: Ints) -> Ints:
        """The place of the row that settles each row; at or beyond `last` where none does yet."""
        if self.horizon.kind == "bars":
            return entry + self.horizon.bars
        if self.horizon.kind == "time":
            exits = last.copy()
            for start in np.flatnonzero(np.diff(rows.symbol, prepend=-1)).tolist():
                part = slice(start, int(last[start]))
                ready = np.arange(part.start, part.stop)[entry[part] < part.stop]
                due = rows.timestamp_us[entry[ready]] + self.horizon.time_us
                exits[ready] = start + np.searchsorted(rows.timestamp_us[part], due)
            return exits
        exits = np.full(len(place), len(place), np.int64)
        for side in (1, -1):
            ends = np.where(rows.action == -side, place, len(place))
            following = np.append(np.minimum.accumulate(ends[::-1])[::-1][1:], len(place))
            exits = np.where(rows.action == side, following + self._fill_next, exits)
        return exits

    def _scored(self, rows: "_Rows", settled: Ints, entry: Ints, leaves: Ints) -> Outcomes:
        side = rows.action[settled]
        move_bps = (rows.price[leaves] / rows.price[entry] - 1.0) * 1e4
        gross, net = self._worth.verdicts(side, move_bps)
        return Outcomes(
            ordinal=rows.ordinal[settled],
            exit=rows.ordinal[leaves],
            decided_at_us=rows.timestamp_us[settled],
            known_at_us=rows.timestamp_us[leaves] + self.horizon.lag_us,
            side=side,
            move_bps=move_bps,
            gross_bps=gross,
            net_bps=net,
            overlap=leaves - settled,
        )


@dataclass(slots=True)
class _Rows:
    """Rows of a stream; `done` are those whose own signal is settled."""

    ordinal: Ints
    timestamp_us: Ints
    symbol: Codes
    action: Actions
    price: Floats
    done: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ordinal)

    @classmethod
    def none(cls) -> Self:
        kinds: tuple[Any, ...] = (np.int64, np.int64, np.int32, np.int8, np.float64, np.bool_)
        return cls(*(np.empty(0, kind) for kind in kinds))

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        return self.ordinal, self.timestamp_us, self.symbol, self.action, self.price, self.done

    @classmethod
    def concat(cls, one: Self, other: Self) -> Self:
        return cls(*(np.concatenate(pair) for pair in zip(one._columns(), other._columns(), strict=True)))

    def take(self, places: Ints) -> Self:
        return type(self)(*(column[places] for column in self._columns()))

    def by_symbol(self) -> Self:
        return self.take(np.lexsort((self.ordinal, self.symbol)))

    def pending(self) -> Self:
        """The rows that later ones are measured with: from the first unsettled signal of each symbol on."""
        waits = (self.action != 0) & ~self.done
        _, group = np.unique(self.symbol, return_inverse=True)
        first = np.full(int(group.max(initial=-1)) + 1, NEVER_US)
        np.minimum.at(first, group[waits], self.ordinal[waits])
        return self.take(np.flatnonzero(self.ordinal >= first[group]))
