"""What a portfolio of the path holds and is worth.

`KernelPortfolio` fills decisions itself, by the kernel, as the service's portfolios and the sweeps do.
`VenuePortfolio` books what a venue filled, at its prices and fees. Either is the one P&L of its portfolio, and tells a
`FillLedger` of it, which has its figures and trades.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from raysignal.engine.core.amounts import ZERO, less, minus, product, total
from raysignal.engine.core.events import Candle, FundingPayment, OrderFill, RiskOutcome, RiskVerdict
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SIZE, TERMS, SignalTerms
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.fill_ledger import BookedFill, FillLedger
from raysignal.engine.portfolio.ledger import Ledger

_MOST_ROWS = 4096  # of prices that wait for the ledger
_BUY, _SELL, _CLOSE = 1, -1, 2


class Holding(Protocol):
    """What risk and execution read of a portfolio.

    Attributes:
        cash, equity: in the quote currency; equity counts open positions at their last prices.
        positions: quantities that are not 0, by symbol; below 0: short.
        prices: the last price of each symbol, and when it was known.
    """

    @property
    def cash(self) -> float: ...

    @property
    def equity(self) -> float: ...

    @property
    def positions(self) -> Mapping[str, float]: ...

    @property
    def expected(self) -> Mapping[str, float]:
        """Where decisions that wait for the next price lead, by symbol."""
        ...

    @property
    def prices(self) -> Mapping[str, tuple[float, int]]: ...


class KernelPortfolio:
    """A portfolio without a venue: `Ledger` executes what risk allows, at the candle's price.

    Candles that nothing can happen at are rows of price alone, handed to the ledger together: it ends on the same
    bytes however they are cut.
    """

    def __init__(self, policy: Policy, symbols: Sequence[str], *, mark_us: Mapping[str, int]) -> None:
        """`mark_us`: of which candles a symbol's price is taken."""
        self.policy = policy
        self.record = FillLedger(policy, tuple(symbols))
        self.ledger = Ledger(policy)
        self.ledger.ensure_symbols(len(symbols))
        self.cash = self.equity = policy.initial_cash
        self.positions: dict[str, float] = {}
        self.prices: dict[str, tuple[float, int]] = {}
        self._code = {symbol: code for code, symbol in enumerate(symbols)}
        self._symbols = tuple(symbols)
        self._mark_us = dict(mark_us)
        self._rows: list[tuple[int, int, float, float, float]] = []  # stamp, code, price, high, low
        self._waiting: dict[str, RiskVerdict] = {}  # what the next price executes, under fill `next`
        self._ordinal = 0

    @property
    def expected(self) -> Mapping[str, float]:
        """See `Holding`; under fill `next` alone."""
        return {symbol: verdict.target for symbol, verdict in self._waiting.items()}

    def on(self, event: Candle | RiskVerdict) -> Sequence[OrderFill]:
        """See `engine.pipeline.path`."""
        if isinstance(event, RiskVerdict):
            return self._execute(event)
        if event.interval_us != self._mark_us[event.symbol]:
            return ()
        symbol, price = event.symbol, event.close
        self.prices[symbol] = price, event.at_us
        self.record.mark(event.at_us, symbol, price, event.high, event.low)
        self._rows.append((event.at_us, self._code[symbol], price, event.high, event.low))
        held = self.positions.get(symbol)
        if (
            symbol in self._waiting
            or (held is not None and self.policy.has_bracket)
            or len(self._rows) >= _MOST_ROWS
        ):
            return self.settle()
        if self.positions:
            self.equity = self._worth()
        return ()

    def settle(self) -> Sequence[OrderFill]:
        """Hand the ledger the prices that wait; the fills that they led to."""
        return self._run(None)

    def _execute(self, verdict: RiskVerdict) -> Sequence[OrderFill]:
        if verdict.outcome is RiskOutcome.REFUSE:
            return ()
        return self._run(verdict)

    def _run(self, verdict: RiskVerdict | None) -> Sequence[OrderFill]:
        rows, self._rows = self._rows, []
        n = len(rows) + (verdict is not None)
        if not n:
            return ()
        stamps, codes, prices, highs, lows = (list(column) for column in zip(*rows, strict=True)) if rows else (
            [], [], [], [], [],
        )  # fmt: skip
        actions, values = np.zeros(n, np.int8), None
        if verdict is not None:
            decision = verdict.decision
            stamps.append(decision.at_us)
            codes.append(self._code[decision.symbol])
            prices.append(decision.price)
            highs.append(np.nan)
            lows.append(np.nan)
            actions[-1] = _CLOSE if verdict.target == 0 else _BUY if verdict.target > 0 else _SELL
            size = self._size(verdict)
            if size != self.policy.weight:
                values = np.full((n, len(TERMS)), np.nan)
                values[-1, SIZE] = size
        done = LedgerRows.empty(n)
        terms = (
            SignalTerms(values, np.array(highs), np.array(lows))
            if self.policy.has_bracket or values is not None
            else None
        )
        self.ledger.run(
            np.array(stamps, np.int64),
            np.array(codes, np.int32),
            actions,
            np.array(prices),
            done,
            terms=terms,
        )
        return self._filled(stamps, codes, done, verdict)

    def _filled(
        self, stamps: Sequence[int], codes: Sequence[int], done: LedgerRows, verdict: RiskVerdict | None
    ) -> Sequence[OrderFill]:
        self.cash, self.equity = float(self.ledger.account[at.CASH]), float(self.ledger.account[at.EQUITY])
        fills = []
        for row in np.flatnonzero(~np.isnan(done.fill_price)).tolist():
            symbol = self._symbols[codes[row]]
            own = verdict is not None and row == len(stamps) - 1 and self.policy.fill == "signal"
            cause = verdict if own else self._waiting.get(symbol)
            fills += [
                self._fill(stamps[row], symbol, fill, None if fill.closed_by else cause)
                for fill in _parts(done, row, self.positions.get(symbol, 0.0))
            ]
        for code in codes:
            self._waiting.pop(self._symbols[code], None)
        if verdict is not None and self.policy.fill == "next":
            self._waiting[verdict.symbol] = verdict
        held = self.ledger.positions[:, at.QUANTITY].tolist()
        self.positions = {
            symbol: quantity for symbol, quantity in zip(self._symbols, held, strict=True) if quantity
        }
        return fills

    def _fill(self, at_us: int, symbol: str, fill: BookedFill, cause: RiskVerdict | None) -> OrderFill:
        """Note of a fill, and say it; `cause`: what it was for, None: a bracket's."""
        self._ordinal += 1
        event = OrderFill(
            at_us=at_us, symbol=symbol, ordinal=self._ordinal,
            client_id="" if cause is None else cause.decision.identity,
            side=1 if fill.quantity > 0 else -1, quantity=repr(abs(fill.quantity)), price=repr(fill.price),
            fee=repr(fill.fee), decided_price=fill.price if cause is None else cause.decision.price,
        )  # fmt: skip
        booked = replace(fill, slippage=slippage(event), order=event.client_id)
        self.record.fill(at_us, symbol, booked)
        return event

    def _size(self, verdict: RiskVerdict) -> float:
        """The share of equity of an opening; less than asked for where risk reduced it."""
        decision = verdict.decision
        if verdict.outcome is not RiskOutcome.REDUCE or verdict.target == 0:
            return decision.size or self.policy.weight
        price = decision.price * (1.0 + decision.side * self.policy.slippage_bps / 10_000.0)
        budget = abs(verdict.target) * price * (1.0 + self.policy.fee_bps / 10_000.0)
        return min(decision.size, budget / self.equity)

    def _worth(self) -> float:
        worth = self.cash
        for symbol, quantity in self.positions.items():
            worth += quantity * self.prices[symbol][0]
        return worth


class VenuePortfolio:
    """A portfolio that follows a venue: its fills, fees and funding. Cash and quantities are exact."""

    expected: Mapping[str, float] = MappingProxyType({})

    def __init__(self, policy: Policy, *, mark_us: Mapping[str, int]) -> None:
        """`policy`: its cash and calendar; `mark_us`: of which candles a symbol's price is taken, by symbol."""
        self.record = FillLedger(policy, tuple(mark_us))
        self.cash = self.equity = policy.initial_cash
        self.positions: dict[str, float] = {}
        self.prices: dict[str, tuple[float, int]] = {}
        self._mark_us = dict(mark_us)
        self._cash = Decimal(repr(policy.initial_cash))
        self._held: dict[str, Decimal] = {}

    def on(self, event: Candle | OrderFill | FundingPayment) -> Sequence[Any]:
        """See `engine.pipeline.path`."""
        symbol = event.symbol
        if isinstance(event, Candle):
            if event.interval_us == self._mark_us[symbol]:
                self.prices[symbol] = event.close, event.at_us
                self.record.mark(event.at_us, symbol, event.close, event.high, event.low)
        elif isinstance(event, FundingPayment):
            self._cash = less(self._cash, Decimal(event.amount))
            self.cash = float(self._cash)
            self.record.pay(symbol, float(event.amount), self.cash)
        else:
            price, quantity = Decimal(event.price), Decimal(event.quantity)
            signed = product(Decimal(event.side), quantity)
            self._cash = total((self._cash, minus(product(signed, price)), minus(Decimal(event.fee))))
            held = total((self._held.get(symbol, ZERO), signed))
            self._held[symbol] = held
            self.cash = float(self._cash)
            self.positions = {name: float(each) for name, each in self._held.items() if each}
            self.prices.setdefault(symbol, (float(price), event.at_us))
            booked = BookedFill(
                float(signed),
                float(price),
                float(event.fee),
                float(held),
                self.cash,
                slippage(event),
                event.client_id,
            )
            self.record.fill(event.at_us, symbol, booked)
        if self.positions:
            self.equity = self.cash + sum(q * self.prices[name][0] for name, q in self.positions.items())
        else:
            self.equity = self.cash
        return ()


def slippage(fill: OrderFill) -> float:
    """What a fill cost against the price that was decided at, in money; below 0: what it brought."""
    return fill.side * (float(fill.price) - fill.decided_price) * float(fill.quantity)


def _parts(done: LedgerRows, row: int, before: float) -> list[BookedFill]:
    """The fills of a row of the kernel: one, or that of a bracket and, at another price, that of an order after it."""
    quantity, price, fee = float(done.fill_quantity[row]), float(done.fill_price[row]), float(done.fee[row])
    after, cash, exit_price = float(done.position[row]), float(done.cash[row]), float(done.exit_price[row])
    closed_by = CloseReason(int(done.closed_by[row]))
    if not closed_by or not after:
        return [BookedFill(quantity, price, fee, after, cash, 0.0, "", closed_by)]
    closing, opening = abs(before) * exit_price, abs(after) * price
    paid = fee * opening / (closing + opening)
    return [
        BookedFill(-before, exit_price, fee - paid, 0.0, cash + after * price + paid, 0.0, "", closed_by),
        BookedFill(after, price, paid, after, cash, 0.0, ""),
    ]
