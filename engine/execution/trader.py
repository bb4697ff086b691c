"""The trader of one account: signals in, orders out, so that each signal leads to one order at most, whatever breaks.

    trader = Trader(OrderStore(database, "main"), exchange, {"BTC": listing}, plan)
    trader.start(now_us)                # compares with the exchange; refuses to trade on what it cannot explain
    trader.take(instruction)            # durable when it returns
    trader.work(now_us)                 # as often as there is something to do, `busy` says whether

*Write, then do.* A signal is stored before it is acted on, an order before it is sent, and that it is sent before it
leaves. So whatever dies where, what was or may have been sent is stored, with the id that it was sent under.

*Fates that are not known.* An order that was sent and not answered is UNKNOWN, and is looked up by its id. If the
exchange has it, that is its fate. If the exchange never saw it, it is sent again under the same id, but not before
`ExecutionPolicy.resend_after_us`. An order that could not be sent within `ExecutionPolicy.good_for_us` and would open
a position is cancelled instead; one that closes a position is never too late.

*One at a time.* While an order of a symbol is open, signals of that symbol wait; of several that wait, the last one
counts. An order that rests is cancelled for them.

Errors of the database or the exchange leave everything as it is stored: `work` again. `UnexplainedDifference` ends
trading until `start` finds none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from raysignal.engine.core.amounts import ZERO, less, product, total
from raysignal.engine.core.errors import (
    ExchangeUnreachable,
    IdentityConflict,
    InvalidField,
    NotFound,
    OrderError,
    OrderRejected,
    UnexplainedDifference,
)
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.orders import Order, OrderState, create
from raysignal.engine.execution.exchange import Exchange, OrderReport, check_report
from raysignal.engine.execution.policy import ExecutionPolicy, Instruction, TargetOutcome, decide
from raysignal.engine.execution.reconciliation import Reconciliation, compare
from raysignal.engine.execution.store import Account, OrderStore, Position

_LOOKS = 3  # at figures that may change while they are read

_NEVER_SEEN = "the exchange never saw it"
_NO_ANSWER = "no answer"
_FORGOTTEN = "the exchange does not know it any more"
_TOO_LATE = "too late to open a position"


@dataclass(frozen=True, slots=True)
class StartReport:
    """What `start` found.

    Attributes:
        changed: orders that had moved on while nobody looked, as they are now.
        accepted: differences that were accepted, because that was asked for.
    """

    changed: tuple[Order, ...]
    accepted: tuple[str, ...]


class Trader:
    """See the module. One caller at a time; another trader of the same account does no harm.

    Args:
        listings: what is traded, by the name that signals give it.
        identity: what the ids of the signals begin with that it acts on, such as `Watch.identity`; others of the
            account wait for another trader.
    """

    def __init__(
        self,
        store: OrderStore,
        exchange: Exchange,
        listings: Mapping[str, Listing],
        plan: ExecutionPolicy,
        *,
        identity: str = "",
    ) -> None:
        for name, listing in listings.items():
            if listing.instrument.venue != exchange.venue:
                raise InvalidField(name, listing.instrument.venue, f"an instrument of {exchange.venue}")
            if plan.side == "long-short" and not listing.shorts:
                raise InvalidField(
                    "side", plan.side, f"long-flat, because {listing.symbol} cannot be sold short"
                )
        self._store = store
        self._exchange = exchange
        self._listings = dict(listings)
        self._plan = plan
        self._identity = identity
        self._ready = False
        self._idle = False

    @property
    def busy(self) -> bool:
        """Whether `work` may have something to do: a signal waits, or an order is open."""
        return not self._idle

    def start(self, now_us: int, *, accept_differences: bool = False) -> StartReport:
        """Compare what is stored with the exchange; trade only from then on. With `accept_differences`, take over
        the exchange's cash and positions, and note by how much they differed; orders that it has forgotten are over.

        Raises:
            UnexplainedDifference: the figures that differ, and what to do.
            ExchangeUnreachable: try again later.
        """
        self._ready = self._idle = False
        account = self._open(now_us)
        changed: dict[str, Order] = {}
        found = None
        for _ in range(_LOOKS):
            for order in self._store.orders(open_only=True):
                if order.state is OrderState.CREATED:
                    continue
                seen = self._look_up(order, now_us, may_be_forgotten=accept_differences)
                seen = seen or self._unknown(order, now_us, _NEVER_SEEN)
                if seen != order:
                    changed[seen.client_id] = seen
            found = self._compare(account)
            if not found.differences:
                break
        assert found is not None
        if not found.differences:
            self._store.compared(found.last_fill)
        elif accept_differences and found.can_be_accepted:
            reason = "; ".join(found.differences)
            self._store.adjust(found.adjustments, reason, found.last_fill, now_us)
        else:
            raise self._unexplained(found)
        self._ready = True
        return StartReport(tuple(changed.values()), found.differences)

    def take(self, instruction: Instruction) -> bool:
        """Store a signal, to be acted on by `work`; False if it is stored already, here or for another account."""
        self._idle = False
        return self._store.take(instruction)

    def work(self, now_us: int) -> list[Order]:
        """Do what there is to do; the orders that were made or have changed.

        Raises:
            OrderError: before `start`.
            UnexplainedDifference: the exchange contradicts what it said before.
            StoreError: try again.
        """
        if not self._ready:
            raise OrderError(
                "the trader has not been started; what is stored may not be what the exchange has"
            )
        changed = []
        try:
            waiting = self._store.waiting(self._identity)
            wanted = {self._exchange_symbol(instruction) for instruction in waiting}
            for order in self._store.orders(open_only=True):
                after = self._pursue(order, now_us, wanted)
                changed += [after] if after != order else []
            if waiting:
                changed += self._act(waiting, now_us)
        except UnexplainedDifference:
            self._ready = False
            raise
        self._idle = not self._store.waiting(self._identity) and not self._store.orders(open_only=True)
        return changed

    def _act(self, waiting: list[Instruction], now_us: int) -> list[Order]:
        """Decide the signals whose symbol has no open order."""
        taken = {order.ticket.instrument.symbol for order in self._store.orders(open_only=True)}
        last = {self._exchange_symbol(instruction): instruction for instruction in waiting}
        made = []
        for instruction in waiting:
            symbol = self._exchange_symbol(instruction)
            if symbol is None:
                self._store.leave(instruction.signal_id, TargetOutcome.NOT_TRADED, now_us)
            elif last[symbol] is not instruction:
                self._store.leave(instruction.signal_id, TargetOutcome.SUPERSEDED, now_us)
            elif symbol not in taken:
                made += self._follow(instruction, now_us)
        return made

    def _follow(self, instruction: Instruction, now_us: int) -> list[Order]:
        latest_us = self._store.latest_decided_us(instruction.symbol)
        if latest_us is not None and instruction.known_at_us < latest_us:
            self._store.leave(instruction.signal_id, TargetOutcome.LATE, now_us)
            return []
        listing = self._listings[instruction.symbol]
        positions = self._store.positions()
        decision = decide(
            instruction,
            account=self._store.account,
            held=positions.get(listing.symbol, Position()).quantity,
            cash=less(self._store.cash(), _cover(positions, listing.symbol)),
            listing=listing,
            plan=self._plan,
            now_us=now_us,
        )
        if isinstance(decision, TargetOutcome):
            self._store.leave(instruction.signal_id, decision, now_us)
            return []
        order = create(*decision, now_us)
        return [self._send(order, now_us)] if self._store.create(order) else []

    def _pursue(self, order: Order, now_us: int, wanted: set[str | None]) -> Order:
        """The next step of an order that is open."""
        if order.state is OrderState.CREATED:
            return self._send(order, now_us)
        try:
            seen = self._look_up(order, now_us)
            if seen is None:
                waited = (
                    order.state is OrderState.UNKNOWN
                    and now_us - order.last.at_us >= self._plan.resend_after_us
                )
                return self._send(order, now_us) if waited else self._unknown(order, now_us, _NEVER_SEEN)
            overdue = now_us - order.created_us >= self._plan.rest_us
            if not seen.state.final and (overdue or order.ticket.instrument.symbol in wanted):
                return self._cancel(seen, now_us)
        except ExchangeUnreachable:
            return self._unknown(order, now_us, _NO_ANSWER)
        return seen

    def _send(self, order: Order, now_us: int) -> Order:
        """Store that it is sent, then send it."""
        if self._too_late(order, now_us):
            return self._turn(order, OrderState.CANCELLED, now_us, _TOO_LATE)
        sent = order.turn(OrderState.SENT, now_us)
        if not self._store.save(order, sent):
            return order
        try:
            report = self._exchange.submit(sent.ticket)
        except OrderRejected as error:
            return self._turn(sent, OrderState.REJECTED, now_us, error.fields["reason"])
        except ExchangeUnreachable:
            return self._turn(sent, OrderState.UNKNOWN, now_us, _NO_ANSWER)
        except IdentityConflict as error:
            raise self._contradicts(sent, "has an order of this id with another content") from error
        return self._learn(sent, report, now_us)

    def _look_up(self, order: Order, now_us: int, *, may_be_forgotten: bool = False) -> Order | None:
        """An order that was sent, with what the exchange says of it; None if it never saw it. One that it had
        accepted must not be forgotten, unless a person has said so: then it counts as cancelled.
        """
        report = self._exchange.order(order.client_id)
        if report is not None:
            return self._learn(order, report, now_us)
        if order.state in {OrderState.SENT, OrderState.UNKNOWN}:
            return None
        if may_be_forgotten:
            return self._turn(order, OrderState.CANCELLED, now_us, _FORGOTTEN)
        raise self._contradicts(order, "does not know it any more")

    def _unknown(self, order: Order, now_us: int, reason: str) -> Order:
        """An order that nothing was learnt of."""
        return (
            self._turn(order, OrderState.UNKNOWN, now_us, reason) if order.state is OrderState.SENT else order
        )

    def _cancel(self, order: Order, now_us: int) -> Order:
        try:
            report = self._exchange.cancel(order.client_id)
        except NotFound as error:
            raise self._contradicts(order, "does not know it any more") from error
        return self._learn(order, report, now_us)

    def _learn(self, order: Order, report: OrderReport, now_us: int) -> Order:
        """Store what a report says, if it is news. One that is older than what is stored says nothing."""
        check_report(report)
        if report.ticket != order.ticket:
            raise self._contradicts(order, f"has it as {report.ticket}")
        told, known = report.progress, order.progress
        if told.filled < known.filled or (told.state, told.filled) == (known.state, known.filled):
            return order
        if told.state is OrderState.ACCEPTED and known.state is OrderState.PARTIALLY_FILLED:
            return order
        return self._save(order, order.advance(told, now_us), report)

    def _turn(self, order: Order, state: OrderState, now_us: int, reason: str) -> Order:
        return self._save(order, order.turn(state, now_us, reason))

    def _save(self, before: Order, after: Order, report: OrderReport | None = None) -> Order:
        """The order as it is stored then: where another trader was faster, as that one has stored it."""
        if self._store.save(before, after, () if report is None else report.fills):
            return after
        return self._store.order(before.client_id) or before

    def _too_late(self, order: Order, now_us: int) -> bool:
        """Whether an order that was not sent in its time would open a position now; to close one, it is never late."""
        if now_us - order.created_us <= self._plan.good_for_us:
            return False
        held = self._store.positions().get(order.ticket.instrument.symbol, Position()).quantity
        return held * order.ticket.side >= 0

    def _exchange_symbol(self, instruction: Instruction) -> str | None:
        listing = self._listings.get(instruction.symbol)
        return None if listing is None else listing.symbol

    def _open(self, now_us: int) -> Account:
        """The stored account; a new one begins with the cash that the exchange says."""
        account = self._store.opened()
        if account is None:
            balances = self._exchange.balances()
            new = Account(self._exchange.venue, balances.currency, balances.cash, 0)
            self._store.open(new, now_us)
            account = self._store.opened() or new
        if account.venue != self._exchange.venue:
            raise InvalidField(
                "venue", self._exchange.venue, f"{account.venue!r}, as account {self._store.account} has it"
            )
        return account

    def _compare(self, account: Account) -> Reconciliation:
        balances = self._exchange.balances()
        if balances.currency != account.currency:
            raise InvalidField("currency", balances.currency, f"{account.currency!r}, as it was")
        open_orders = self._exchange.open_orders()
        stored = [self._store.order(report.ticket.client_id) for report in open_orders]
        return compare(
            orders={order.client_id: order for order in stored if order is not None},
            positions=self._store.positions(),
            cash=self._store.cash(),
            balances=balances,
            open_orders=open_orders,
            fills=self._exchange.fills(account.compared_fill),
            stored_fills=self._store.fills(account.compared_fill),
        )

    def _unexplained(self, found: Reconciliation) -> UnexplainedDifference:
        figures = "; ".join(found.differences)
        remedy = "start with accept_differences to take over the exchange's figures"
        if not found.can_be_accepted:
            remedy = "cancel the orders that are not stored here at the exchange"
        return UnexplainedDifference(
            f"account {self._store.account} and {self._exchange.venue} disagree, and no stored order explains it: "
            f"{figures}. Nothing is traded. Put it right at the exchange, or {remedy}, and start again",
            account=self._store.account, differences=list(found.differences),
        )  # fmt: skip

    def _contradicts(self, order: Order, what: str) -> UnexplainedDifference:
        return UnexplainedDifference(
            f"order {order.client_id} ({order.ticket}) is stored as {order.state.name}, but {self._exchange.venue} "
            f"{what}. Nothing is traded. Look at the order at the exchange, then start again, with accept_differences "
            "to go on from the exchange's figures",
            account=self._store.account, client_id=order.client_id,
        )  # fmt: skip


def _cover(positions: Mapping[str, Position], symbol: str) -> Decimal:
    """What short positions in other symbols lock up, at the prices they were sold at."""
    return total(
        product(Decimal(2), max(held.proceeds, ZERO))
        for other, held in positions.items()
        if other != symbol and held.quantity < 0
    )
