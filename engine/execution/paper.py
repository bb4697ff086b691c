"""An exchange on paper: real books and trades in, fills out; it never touches the market it is filled from.

    exchange = PaperExchange(PaperStore(database, "main"), "binance", "USDT", Decimal(10_000), [listing])
    exchange.book_changed(book, at_us)     # as the feed goes on; likewise traded, book_lost, time_passed
    report = exchange.submit(ticket)

It is a party of its own, as a real exchange is: its state lies in records that only it reads and writes, one
transaction a command, so whoever was killed can ask it afterwards what became of an order.

*Time* is that of the market's events, as handed in; the wall clock is never read. An order that is submitted at t is
at the exchange at once (ACCEPTED) and meets the first book that is known at or after t + latency: one that the feed
brings, or, if the book stands still, the one that holds when `time_passed` says so. While the book is lost it waits.
A request to cancel takes as long. Where the market's time is put back, what was on its way has arrived.

*Filling* by depth and queue: see `engine.execution.matching`. What a market order does not find expires; all of it,
where no book was known when it came and its value at the first one's best price is not what the venue takes. So does
an order whose instrument has another tick, lot or contract size when the account is opened again, or is not listed
any more.

*Funding* of contracts is settled by `fund`, once an instant, on what is held then.

*Money*: see `engine.execution.holdings`. What open orders could cost is set aside. An order that the account cannot pay
for is rejected; if prices move between, it is filled as far as the money goes, and the rest expires.

An account is run by one exchange at a time: a second one makes the first one's next command raise `Fenced`.
Not simulated: liquidation, orders that are worse than the market by the exchange's own price bands.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

from raysignal.engine.core.amounts import check_not_negative, product
from raysignal.engine.core.errors import (
    ExchangeUnreachable,
    IdentityConflict,
    InvalidField,
    NotFound,
    OrderRejected,
    StoreUnavailable,
)
from raysignal.engine.core.listings import USUAL_COSTS, Costs, Listing
from raysignal.engine.core.market_events import Trade
from raysignal.engine.core.orders import OrderRequest, OrderState
from raysignal.engine.execution.exchange import Balances, Fill, OrderReport, PaidFunding
from raysignal.engine.execution.holdings import Holdings
from raysignal.engine.execution.matching import ASKS, BIDS, Depth, still_eaten
from raysignal.engine.execution.paper_commands import FillRules, PaperCommand
from raysignal.engine.execution.paper_state import PaperRecords, PaperState

PUT_BACK_US = 5_000_000
"""Instants go back by less where messages overtake each other; by more where the clock was wrong and was put right."""


class PaperExchange:
    """One account; see the module. An `engine.execution.exchange.Exchange`. One caller at a time.

    Args:
        store: the records of the account.
        cash: what a new account begins with, in `currency`; one that exists has what it has.
        listings: what can be traded, all at `venue`.
        latency_us: from submission to the book; 0 or more.

    Raises:
        InvalidField: an argument that cannot be, or an account that exists at another venue or in another currency.
        StoreUnavailable: the database does not answer.
    """

    def __init__(
        self,
        store: PaperRecords,
        venue: str,
        currency: str,
        cash: Decimal,
        listings: Sequence[Listing],
        *,
        costs: Costs = USUAL_COSTS,
        latency_us: int = 0,
    ) -> None:
        check_not_negative("cash", cash)
        if latency_us < 0:
            raise InvalidField("latency_us", latency_us, "0 or more")
        for listing in listings:
            if listing.instrument.venue != venue:
                raise InvalidField("listings", listing.instrument.venue, f"instruments of {venue}")
        self._venue, self._currency = venue, currency
        self._rules = FillRules({listing.symbol: listing for listing in listings}, costs, latency_us)
        self._opening = Holdings(cash)
        self._store = store
        self._depths: dict[str, Depth] = {}
        self._kept: PaperState | None = self._open()
        self._clock_us = self._kept.clock_us

    @property
    def venue(self) -> str:
        """See `Exchange`."""
        return self._venue

    @property
    def listed(self) -> tuple[str, ...]:
        """The symbols that can be traded."""
        return tuple(self._rules.listings)

    @property
    def clock_us(self) -> int:
        """The latest instant it was told of; one that is long before it counts as the new time."""
        return self._clock_us

    @property
    def last_fill(self) -> int:
        """The ordinal of the account's last fill; 0 before the first."""
        with self._answering():
            return self._state().last_fill

    def submit(self, ticket: OrderRequest) -> OrderReport:
        """See `Exchange`. Also an order that was rejected is remembered, and rejected again."""
        with self._answering():
            there = self._store.report(ticket.client_id)
            if there is None:
                turn = self._turn()
                error = turn.place(ticket)
                turn.settle_due(ticket.instrument.symbol)
                self._end(turn)
                if error is not None:
                    raise error
                return self._report(ticket.client_id)
        if there.ticket != ticket:
            raise IdentityConflict(ticket.client_id)
        if there.progress.state is OrderState.REJECTED:
            reason = there.progress.reason
            raise OrderRejected(ticket.client_id, reason, f"it was rejected before: {reason}")
        return there

    def cancel(self, client_id: str) -> OrderReport:
        """See `Exchange`."""
        with self._answering():
            order = self._state().orders.get(client_id)
            if order is not None:
                turn = self._turn()
                turn.ask_to_cancel(order)
                turn.settle_due(order.symbol)
                self._end(turn)
            return self._report(client_id)

    def order(self, client_id: str) -> OrderReport | None:
        """See `Exchange`."""
        with self._answering():
            return self._store.report(client_id)

    def open_orders(self) -> Sequence[OrderReport]:
        """See `Exchange`."""
        with self._answering():
            orders = sorted(self._state().orders.values(), key=lambda order: order.ordinal)
            return [self._report(order.ticket.client_id) for order in orders]

    def balances(self) -> Balances:
        """See `Exchange`."""
        with self._answering():
            holdings = self._state().holdings
        positions = {symbol: held.quantity for symbol, held in holdings.positions.items() if held.quantity}
        return Balances(self._currency, holdings.cash, positions)

    def fills(self, after: int = 0) -> Sequence[Fill]:
        """See `Exchange`."""
        with self._answering():
            return self._store.fills(after)

    def fund(self, symbol: str, at_us: int, rate: Decimal, price: Decimal) -> PaidFunding | None:
        """Settle the funding of a position at an instant; None: nothing is held, or it is settled already.

        Args:
            symbol: of a listing.
            at_us: the instant; no earlier one is settled afterwards.
            rate: of the position's value that longs pay shorts.
            price: that the position is valued at.
        """
        with self._answering():
            quantity = self._state().holdings.quantity(symbol)
            if not quantity or any(each.symbol == symbol for each in self._store.funding(at_us)):
                return None
            turn = self._turn()
            value = product(quantity, self._rules.listings[symbol].money(price))
            paid = PaidFunding(symbol, at_us, rate, price, quantity, product(value, rate))
            turn.fund(paid)
            self._end(turn)
            return paid

    def funding(self, from_us: int) -> Sequence[PaidFunding]:
        """What positions paid from an instant on, in time."""
        with self._answering():
            return self._store.funding(from_us)

    def book_changed(self, depth: Depth, at_us: int) -> None:
        """The book of an instrument is this now. It is read again whenever it is needed, until it is lost."""
        symbol = depth.instrument.symbol
        self._depths[symbol] = depth
        self._tell(at_us)
        kept = self._kept
        if kept is not None and not kept.orders and not kept.eaten:
            return  # as nearly always: a feed brings thousands of these a second
        with self._answering():
            self._forget_eaten(symbol, depth)
            if self._concerned(symbol):
                turn = self._turn()
                turn.settle_due(symbol)
                turn.cross(symbol)
                self._end(turn)

    def traded(self, trade: Trade, at_us: int) -> None:
        """Somebody has traded. An order that is still on its way does not meet the book now: what it shows may be
        what the trade has taken.
        """
        self._tell(at_us)
        with self._answering():
            if self._concerned(trade.instrument.symbol):
                turn = self._turn()
                turn.settle_due(trade.instrument.symbol, arrivals=False)
                turn.take_trade(trade)
                self._end(turn)

    def book_lost(self, symbol: str, at_us: int) -> None:
        """The book of an instrument is not in sync: nothing is filled from it until it is."""
        self._depths.pop(symbol, None)
        self._tell(at_us)

    def time_passed(self, at_us: int) -> None:
        """Nothing has happened until now: orders that have arrived meet the books as they stand."""
        self._tell(at_us)
        with self._answering():
            for symbol in {order.symbol for order in self._state().orders.values()}:
                turn = self._turn()
                turn.settle_due(symbol)
                self._end(turn)

    def _tell(self, at_us: int) -> None:
        if at_us > self._clock_us or at_us < self._clock_us - PUT_BACK_US:
            self._clock_us = at_us

    def _state(self) -> PaperState:
        if self._kept is None:
            self._kept = self._open()
        return self._kept

    def _open(self) -> PaperState:
        """What is kept, without orders in an instrument that is written otherwise now."""
        kept = self._store.open(self._venue, self._currency, self._opening)
        turn = PaperCommand(kept, self._rules, {}, kept.clock_us)
        turn.expire_unlisted()
        if not turn.changed:
            return kept
        after = turn.end()
        self._store.write(kept, after, turn.changed, [])
        return after

    def _turn(self) -> PaperCommand:
        return PaperCommand(self._state(), self._rules, self._depths, self._clock_us)

    def _end(self, turn: PaperCommand) -> None:
        """Write what the command did, if it did anything."""
        before, after = self._state(), turn.end()
        if not (turn.changed or turn.funding):
            return
        self._kept = None  # whatever happens now, memory does not know better than the database
        self._store.write(before, after, turn.changed, turn.fills, turn.funding)
        self._kept = after

    def _concerned(self, symbol: str) -> bool:
        return any(order.symbol == symbol for order in self._state().orders.values())

    def _forget_eaten(self, symbol: str, depth: Depth) -> None:
        """Levels that have changed are whole again; the database hears of it with the next fill."""
        kept = self._state()
        changed = {}
        for side in (BIDS, ASKS):
            before = kept.eaten.get((symbol, side))
            if before:
                left = still_eaten(depth, side, before)
                if len(left) < len(before):
                    changed[symbol, side] = left
        if changed:
            eaten = {place: levels for place, levels in {**kept.eaten, **changed}.items() if levels}
            self._kept = replace(kept, eaten=eaten)

    def _report(self, client_id: str) -> OrderReport:
        report = self._store.report(client_id)
        if report is None:
            raise NotFound(f"the exchange does not know order {client_id}", client_id=client_id)
        return report

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """A database that does not answer is an exchange that does not."""
        try:
            yield
        except StoreUnavailable as error:
            raise ExchangeUnreachable(f"the paper exchange does not answer: {error}") from error
