"""The ledger as one would write it on paper: slow, obvious, and what the compiled kernel is held against.

Money follows the same order of operations as the kernel, so every column of its rows must be equal bit for
bit. Figures are computed from the full lists of equities and returns, in two passes, with exact sums;
buy-and-hold in exact fractions. There the kernel, which keeps running accumulators, must agree to 1e-9.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.core.policy import Policy

YEAR_US = 365 * 24 * 60 * 60 * 1_000_000
WEEK_US = 7 * 24 * 60 * 60 * 1_000_000


CLOSE = 2


@dataclass(frozen=True)
class Said:
    """What a signal says beside its action, and its bar's range."""

    size: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing_stop_bps: float | None = None
    confidence: float | None = None
    expires: int | None = None
    high: float | None = None
    low: float | None = None


NOTHING_SAID = Said()


@dataclass
class Held:
    """One symbol of the portfolio."""

    quantity: float = 0.0
    paid: float = 0.0
    price: float = 0.0
    waiting: int = 0
    waiting_said: Said = NOTHING_SAID
    stop: float | None = None
    target: float | None = None
    trail: float | None = None
    best: float = 0.0
    expires: int | None = None

    @property
    def value(self) -> float:
        return self.quantity * self.price


@dataclass
class ReferenceLedger:
    policy: Policy
    symbols: dict[int, Held] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    profits: list[float] = field(default_factory=list)
    hold_returns: list[Fraction] = field(default_factory=list)
    first_prices: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cash = self.equity = self.peak = self.policy.initial_cash
        self.fees = self.notional = self.realised = 0.0
        self.trades = 0
        self.exposed_us = 0

    @property
    def fee(self) -> float:
        return self.policy.fee_bps / 10_000

    def take(  # noqa: C901, PLR0912 - a row's events in their order
        self, timestamp_us: int, symbol: int, action: int, price: float, said: Said = NOTHING_SAID
    ) -> dict[str, Any]:
        """One signal; gives its row, also kept in `rows`."""
        now = max([timestamp_us, *self.times[-1:]])
        if self.times and now > self.times[-1]:
            self.peak = max(self.peak, self.equity)
        if self.times and any(held.quantity for held in self.symbols.values()):
            self.exposed_us += now - self.times[-1]
        self.times.append(now)
        self.hold_returns.append(self._hold_return(symbol, price))

        held = self.symbols.setdefault(symbol, Held())
        held.price = price
        row: dict[str, Any] = {
            "fill_quantity": 0.0, "fill_price": math.nan, "fee": 0.0, "exit_price": 0.0,
            "closed_by": CloseReason.SIGNAL,
        }  # fmt: skip
        high = max(price, said.high or price)
        low = min(price, said.low or price)
        if said.high and said.low and (price > said.high * 1.000_001 or price * 1.000_001 < said.low):
            high = low = price  # they are of another price
        # No bar is as wide as that: what stands there is no price.
        high = price if high > price * 10.0 else high
        low = price if low < price / 10.0 else low
        was_held = held.quantity
        if was_held:
            self._meet(symbol, timestamp_us, price, high, low, row)
        doubted = action != 0 and said.confidence is not None and said.confidence < self.policy.min_confidence
        if doubted:
            action = 0
        before_order = held.quantity
        if self.policy.fill == "signal":
            row["outcome"] = row["executed"] = self._order(symbol, action, price, row, said)
            if doubted:
                row["outcome"] = row["executed"] = "LOW_CONFIDENCE"
        else:
            told = held.waiting_said
            if told.expires is not None and timestamp_us >= told.expires:
                row["executed"] = "EXPIRED"
            else:
                row["executed"] = self._order(symbol, held.waiting, price, row, told)
            held.waiting, held.waiting_said = 0, NOTHING_SAID
            row["outcome"] = "LOW_CONFIDENCE" if doubted else self._refusal(held, action)
            if row["outcome"] is None:
                row["outcome"] = "PENDING"
                held.waiting, held.waiting_said = action, said
        if held.quantity and held.quantity == before_order and held.trail:
            held.best = max(held.best, high) if held.quantity > 0 else min(held.best, low)
        # Of what came and went in one row, the sum of both halves, as the kernel has it.
        if row["closed_by"] != CloseReason.SIGNAL:
            row["fill_quantity"] = held.quantity - was_held

        before = self.equity
        self.equity = self.cash + (self._rest(symbol) + held.value)
        row |= {
            "cash": self.cash,
            "position": held.quantity,
            "equity": self.equity,
            "signal_return": self.equity / before - 1 if before > 0 else 0.0,
            "realised_pnl": self.realised,
            "drawdown": min(1 - self.equity / max(self.peak, self.equity), 1.0),
        }
        self.rows.append(row)
        return row

    def levels(self) -> list[float]:
        """Initial cash, and the equity at the end of each instant, the last one as it is."""
        return [self.policy.initial_cash, *last_of_each(self.times, [row["equity"] for row in self.rows])]

    def _meet(
        self, symbol: int, now: int, price: float, high: float, low: float, row: dict[str, Any]
    ) -> None:
        """Close what is held where the row's prices reach its bracket."""
        held = self.symbols[symbol]
        side = 1 if held.quantity > 0 else -1
        stops = [] if held.stop is None else [(held.stop, CloseReason.STOP)]
        if held.trail:
            stops.append((held.best * (1 - side * held.trail), CloseReason.TRAILING))
        # The level that is reached first; of equal ones the fixed stop, which stands first.
        stops.sort(key=lambda each: -side * each[0])
        levels = [(*stop, side) for stop in stops[:1]]
        if held.target is not None:
            levels.append((held.target, CloseReason.TARGET, -side))
        for level, reason, falling in levels:
            reached = low <= level if falling > 0 else high >= level
            if reached:
                self._exit(symbol, level if low <= level <= high else price, reason, row)
                return
        if held.expires is not None and now >= held.expires:
            self._exit(symbol, price, CloseReason.EXPIRY, row)

    def _exit(self, symbol: int, price: float, reason: CloseReason, row: dict[str, Any]) -> None:
        held = self.symbols[symbol]
        slippage = self.policy.slippage_bps / 10_000
        fill_price = price * (1 - slippage) if held.quantity > 0 else price * (1 + slippage)
        self.notional += abs(held.quantity * fill_price)
        fee = self._close(held, fill_price)
        self.trades += 1
        self.fees += fee
        row |= {"fill_price": fill_price, "fee": fee, "exit_price": fill_price, "closed_by": reason}

    def _order(self, symbol: int, action: int, price: float, row: dict[str, Any], said: Said) -> str:
        held = self.symbols[symbol]
        refusal = self._refusal(held, action)
        if refusal is not None:
            return refusal
        closing = action == CLOSE
        if closing:
            action = -1 if held.quantity > 0 else 1
        slippage = self.policy.slippage_bps / 10_000
        fill_price = price * (1 + slippage) if action > 0 else price * (1 - slippage)
        start = held.quantity
        fee = self._close(held, fill_price) if start else 0.0
        opens = not closing and (action > 0 or self.policy.side == "long-short")
        opened, refusal = self._open(symbol, action, fill_price, said.size) if opens else (0.0, None)
        if held.quantity == start:
            return refusal or "unreachable"
        self.trades += 1
        self.fees += fee + opened
        row |= {
            "fill_quantity": held.quantity - start,
            "fill_price": fill_price,
            "fee": row["fee"] + (fee + opened),
        }
        if held.quantity:
            self._guard(held, price, said)
        self.notional += abs(start * fill_price) + abs(held.quantity * fill_price)
        if not start:
            return "OPENED"
        if held.quantity:
            return "FLIPPED"
        return "CLOSED_ONLY" if opens else "CLOSED"

    def _guard(self, held: Held, price: float, said: Said) -> None:
        """The bracket of a position that was opened at a row's price: the signal's levels, else the policy's."""
        side = 1.0 if held.quantity > 0 else -1.0
        policy = self.policy
        held.stop, held.target = said.stop_loss, said.take_profit
        held.trail = None if said.trailing_stop_bps is None else said.trailing_stop_bps / 10_000
        if held.stop is None and policy.stop_bps:
            held.stop = price * (1 - side * (policy.stop_bps / 10_000))
        if held.target is None and policy.take_bps:
            held.target = price * (1 + side * (policy.take_bps / 10_000))
        if held.trail is None and policy.trail_bps:
            held.trail = policy.trail_bps / 10_000
        # A level that the price has passed already is the price: a long's stop is never above it.
        nearest, farthest = (min, max) if held.quantity > 0 else (max, min)
        held.stop = held.stop and nearest(held.stop, price)
        held.target = held.target and farthest(held.target, price)
        held.best = price
        held.expires = said.expires

    def _refusal(self, held: Held, action: int) -> str | None:
        if action == 0:
            return "HOLD"
        if action == CLOSE:
            return None if held.quantity else "NOTHING_TO_CLOSE"
        if action * held.quantity > 0:
            return "ALREADY_HELD"
        if action < 0 and held.quantity == 0 and self.policy.side == "long-flat":
            return "NOTHING_TO_SELL"
        return None

    def _close(self, held: Held, fill_price: float) -> float:
        value = held.quantity * fill_price
        fee = abs(value) * self.fee
        proceeds = value - fee
        self.cash += proceeds
        self.profits.append(proceeds - held.paid)
        self.realised += proceeds - held.paid
        held.quantity = held.paid = 0.0
        held.stop = held.target = held.trail = held.expires = None
        return fee

    def _open(
        self, symbol: int, action: int, fill_price: float, size: float | None
    ) -> tuple[float, str | None]:
        held = self.symbols[symbol]
        equity = self.cash + self._rest(symbol)
        shorts = 0.0
        for other in sorted(self.symbols):
            if other != symbol:
                shorts += max(-self.symbols[other].value, 0.0)
        budget = min((size or self.policy.weight) * equity, self.cash - 2 * shorts)
        if equity <= 0:
            return 0.0, "INSOLVENT"
        if equity > 1e250:
            return 0.0, "TOO_LARGE"
        if budget <= 1e-9 * equity:
            return 0.0, "NO_CASH"
        quantity = budget / (fill_price * (1 + self.fee))
        notional = quantity * fill_price
        fee = notional * self.fee
        held.quantity = action * quantity
        held.paid = budget if action > 0 else fee - notional
        self.cash -= held.paid
        return fee, None

    def _rest(self, symbol: int) -> float:
        rest = 0.0
        for other in sorted(self.symbols):
            if other != symbol:
                rest += self.symbols[other].value
        return rest

    def _hold_return(self, symbol: int, price: float) -> Fraction:
        """Exact return of buy-and-hold: one unit of money in each symbol from its first price on."""

        def stake(other: int) -> Fraction:
            return Fraction(self.symbols[other].price) / Fraction(self.first_prices[other])

        self.first_prices.setdefault(symbol, price)
        rest = sum((stake(other) for other in self.symbols if other != symbol), Fraction(0))
        before = rest + (stake(symbol) if symbol in self.symbols else 1)
        return (rest + Fraction(price) / Fraction(self.first_prices[symbol])) / before - 1

    def figures(self) -> dict[str, Any]:
        """What `Performance.as_dict()` should say."""
        levels = self.levels()
        n = len(levels) - 1
        elapsed_us = self.times[-1] - self.times[0]
        lost = math.fsum(-profit for profit in self.profits if profit < 0)
        won = math.fsum(profit for profit in self.profits if profit > 0)
        hold_levels = [Fraction(1)]
        for change in self.hold_returns:
            hold_levels.append(hold_levels[-1] * (1 + change))
        held = [Fraction(1), *last_of_each(self.times, hold_levels[1:])]
        ruined = any(row["equity"] <= 0 for row in self.rows)
        mean_equity = math.fsum(levels[1:]) / n
        return {
            "signals": len(self.rows),
            "initial_cash": self.policy.initial_cash,
            "cash": self.cash,
            "equity": self.equity,
            "signal_return": self.rows[-1]["signal_return"],
            "realised_pnl": self.realised,
            "unrealised_pnl": math.fsum(held.value - held.paid for held in self.symbols.values()),
            "fees": self.fees,
            "trades": self.trades,
            "closed_trades": len(self.profits),
            "win_rate": sum(profit > 0 for profit in self.profits) / len(self.profits)
            if self.profits
            else None,
            "profit_factor": won / lost if lost > 1e-14 * self.notional and not ruined else None,
            "drawdown": self.rows[-1]["drawdown"],
            "exposure": self.exposed_us / elapsed_us if elapsed_us else None,
            "turnover": None if ruined else self.notional / mean_equity,
            "periods": n,
            "period_s": elapsed_us / (n - 1) / 1e6 if n > 1 else None,
            "periods_per_year": (n - 1) * YEAR_US / elapsed_us if n > 1 else None,
            "calendar": "observed",
            "ruined": ruined,
            "buy_and_hold": ratios([float(level) for level in held], growths(held), elapsed_us, ruined=False),
        } | ratios(levels, growths(levels), elapsed_us, ruined=ruined)


def last_of_each(times: list[int], values: list[Any]) -> list[Any]:
    """The last of the values of each instant; `times` do not fall."""
    return list(dict(zip(times, values, strict=True)).values())


def growths(levels: list[Any]) -> list[float]:
    """The return of each period; 0 where there was nothing to earn it on."""
    return [float(after / before - 1) if before > 0 else 0.0 for before, after in pairwise(levels)]


def ratios(
    levels: list[float], returns: list[float], elapsed_us: int, *, ruined: bool
) -> dict[str, float | None]:
    """Return, Sharpe, Sortino, largest drawdown and Calmar, from the whole lists."""
    n = len(returns)
    peak, worst = levels[0], 1.0 if ruined else 0.0
    for level in levels:
        peak = max(peak, level)
        worst = max(worst, min(1 - level / peak, 1.0))
    level = levels[-1] / levels[0]
    sharpe = sortino = calmar = over_drawdown = None
    long = n >= 30 and elapsed_us >= WEEK_US
    if n >= 2 and not ruined:
        mean = math.fsum(returns) / n
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in returns) / (n - 1))
        below = math.sqrt(math.fsum(min(value, 0) ** 2 for value in returns) / n)
        sharpe = mean / deviation if deviation > 1e-14 else None
        sortino = mean / below if below > 1e-14 else None
    if worst > 1e-14 and not ruined:
        over_drawdown = (level - 1) / worst
        try:
            growth = level ** (YEAR_US / elapsed_us) - 1 if long else math.inf
        except OverflowError:
            growth = math.inf
        calmar = growth / worst if growth <= 1000 else None
    a_year = math.sqrt(YEAR_US / (elapsed_us / (n - 1))) if long else 0.0
    return {
        "total_return": level - 1,
        "sharpe": sharpe * a_year if long and sharpe is not None else None,
        "sortino": sortino * a_year if long and sortino is not None else None,
        "max_drawdown": worst,
        "calmar": calmar,
        "sharpe_per_period": sharpe,
        "sortino_per_period": sortino,
        "return_over_drawdown": over_drawdown,
    }
