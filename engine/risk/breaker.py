"""Breaker of a portfolio or an account: driven by its equity with open positions, latched until a person resets it.

    ACTIVE    decisions are limited by the limits alone
    REDUCING  positions are only made smaller: a part (`reduce_from_share`) of a bound on losses was reached
    HALTED    the same, and, where `flatten` was asked for, what is held is closed: a bound was reached, or a person
              said so

It goes down this list by itself, and up by `CommandKind.RESET` alone.

A bound counts as reached when all but a billionth of it is lost (`_NEARLY`): a loss of exactly 2 % is one, however its
figures were rounded. The day's opening equity is the last one that was known before the UTC day began, so that what is
lost over a gap counts for the day on which it shows; at first, and after a reset, it is the equity then.
"""

import math
from enum import StrEnum
from typing import NamedTuple

import msgspec

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import Alarm, Command, CommandKind
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.risk.limits import RiskLimits

_NEARLY = 1.0 - 1e-9


class TradingState(StrEnum):
    """What may be traded."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a breaker knows; money in the quote currency.

    Attributes:
        flatten: whether what is held is to be closed.
        since_us: when it came to this state; 0: from the start.
        who, reason: of the person that brought it there; by itself: `breaker`, and what was reached.
        day_end_us: of the UTC day that `day_open_equity` is of.
        equity: the last one that was known.
        day_open_equity, peak_equity: what losses are counted from. None, all three: none was known yet.
    """

    trading: TradingState = TradingState.ACTIVE
    flatten: bool = False
    since_us: int = 0
    who: str = ""
    reason: str = ""
    day_end_us: int = 0
    equity: float | None = None
    day_open_equity: float | None = None
    peak_equity: float | None = None


class _LossFloor(NamedTuple):
    """A limit on losses: the equity that they are counted from, and the one at or below which it is reached."""

    name: str
    start: float
    limit: float
    floor: float

    def sentence(self, equity: float, bound: str) -> str:
        """Name, figure and bound."""
        lost = self.start - equity
        if self.name != "daily_loss_money" and self.start > 0.0:
            lost /= self.start
        return f"{self.name} is {lost:.10g}, equity {equity:.10g} of {self.start:.10g}; {bound} {self.limit:.10g}"


def _kept(share: float, part: float) -> float:
    """Of an equity, where a part of a share of it is lost."""
    return 1.0 - share * part * _NEARLY


class RiskBreaker:
    """Takes every equity (`mark`) and every command; says what may be traded."""

    __slots__ = (
        "_day_end_us", "_day_open", "_equity", "_floor", "_kept_of_peak", "_limits", "_peak", "_reason", "_since_us",
        "_who", "flatten", "trading",
    )  # fmt: skip

    def __init__(self, limits: RiskLimits) -> None:
        self._limits = limits
        self.trading, self.flatten = TradingState.ACTIVE, False
        self._since_us, self._who, self._reason = 0, "", ""
        self._day_end_us = 0
        self._equity: float | None = None
        self._day_open = self._peak = 0.0
        self._floor = -math.inf
        self._kept_of_peak: float | None = None
        self._set_floor()

    @property
    def state(self) -> BreakerState:
        """As it is told."""
        return BreakerState(
            trading=self.trading, flatten=self.flatten, since_us=self._since_us, who=self._who, reason=self._reason,
            day_end_us=self._day_end_us, equity=self._equity,
            day_open_equity=None if self._equity is None else self._day_open,
            peak_equity=None if self._equity is None else self._peak,
        )  # fmt: skip

    @property
    def reason(self) -> str:
        """Why it is in this state."""
        return self._reason

    def mark(self, equity: float, now_us: int) -> Alarm | None:
        """Take the equity with open positions at their last prices; the alarm, if that changes what may be traded.

        An equity that is no finite number halts. Marks come in the order of their instants.
        """
        if now_us >= self._day_end_us:
            self._begin_day(equity, now_us)
        if self._floor < equity < math.inf:
            self._equity = equity
            if equity > self._peak:
                self._peak = equity
                if self._kept_of_peak is not None:
                    self._floor = max(self._floor, equity * self._kept_of_peak)
            return None
        return self._lost(equity, now_us)

    def command(self, command: Command) -> bool:
        """Do what a person says; whether it changed anything. A reset counts losses from the last equity on.

        Raises:
            InvalidField: it names nobody or no reason, or a symbol.
        """
        check_command(command)
        if command.command is CommandKind.RESET:
            if self.trading is TradingState.ACTIVE:
                return False
            self._day_open = self._peak = self._equity or 0.0
            self._enter(TradingState.ACTIVE, command.at_us, command.who, command.reason)
            return True
        flatten = self.flatten or command.command is CommandKind.FLATTEN
        if self.trading is TradingState.HALTED and flatten == self.flatten:
            return False
        self._enter(TradingState.HALTED, command.at_us, command.who, command.reason, flatten=flatten)
        return True

    def _begin_day(self, equity: float, now_us: int) -> None:
        if self._equity is None:
            if not math.isfinite(equity):
                return
            self._equity = self._peak = equity
        self._day_end_us = now_us // DAY_US * DAY_US + DAY_US
        self._day_open = self._equity
        self._set_floor()

    def _floors(self, part: float) -> list[_LossFloor]:
        """Where a part of each limit that is set is lost."""
        limits, floors = self._limits, []
        if self._equity is None:
            return []
        if limits.daily_loss_share is not None:
            floor = self._day_open * _kept(limits.daily_loss_share, part)
            floors.append(_LossFloor("daily_loss_share", self._day_open, limits.daily_loss_share, floor))
        if limits.daily_loss_money is not None:
            floor = self._day_open - limits.daily_loss_money * part * _NEARLY
            floors.append(_LossFloor("daily_loss_money", self._day_open, limits.daily_loss_money, floor))
        if limits.drawdown_share is not None:
            floor = self._peak * _kept(limits.drawdown_share, part)
            floors.append(_LossFloor("drawdown_share", self._peak, limits.drawdown_share, floor))
        return floors

    def _set_floor(self) -> None:
        """The equity at or below which what may be traded changes."""
        self._floor, self._kept_of_peak = -math.inf, None
        if self.trading is TradingState.HALTED:
            return
        part = self._limits.reduce_from_share if self.trading is TradingState.ACTIVE else None
        part = 1.0 if part is None else part
        if self._limits.drawdown_share is not None:
            self._kept_of_peak = _kept(self._limits.drawdown_share, part)
        self._floor = max((each.floor for each in self._floors(part)), default=-math.inf)

    def _lost(self, equity: float, now_us: int) -> Alarm | None:
        """The equity is at or below the floor, or no finite number."""
        if not math.isfinite(equity):
            if self.trading is TradingState.HALTED:
                return None
            return self._trip(TradingState.HALTED, f"equity is {equity}; a finite number", now_us)
        self._equity = equity
        halting = [each.sentence(equity, "at most") for each in self._floors(1.0) if equity <= each.floor]
        if halting:
            return self._trip(TradingState.HALTED, "; ".join(halting), now_us)
        part = self._limits.reduce_from_share or 1.0
        reducing = [
            each.sentence(equity, f"reduces from {each.limit * part:.10g}, halts at")
            for each in self._floors(part)
            if equity <= each.floor
        ]
        return self._trip(TradingState.REDUCING, "; ".join(reducing), now_us)

    def _trip(self, state: TradingState, reason: str, now_us: int) -> Alarm:
        flatten = self._limits.flatten and state is TradingState.HALTED
        self._enter(state, now_us, "breaker", reason, flatten=flatten)
        return Alarm(at_us=now_us, symbol="", code=f"risk_{state}", message=f"trading is {state}: {reason}")

    def _enter(
        self, state: TradingState, at_us: int, who: str, reason: str, *, flatten: bool = False
    ) -> None:
        self.trading, self.flatten = state, flatten
        self._since_us, self._who, self._reason = at_us, who, reason
        self._set_floor()


def check_command(command: Command) -> None:
    """Raise `InvalidField` where a command names nobody or no reason, or a symbol."""
    for name in ("who", "reason"):
        if not getattr(command, name).strip():
            raise InvalidField(
                name, getattr(command, name), "who it is that says so, and why: neither may be empty"
            )
    if command.symbol:
        raise InvalidField("symbol", command.symbol, "none: trading is halted and reset for all symbols")
