"""Orders, their history, fills and positions of one trading account, in the database.

Every method that writes does so in one transaction that is durable when it returns, and that can be repeated when it
was not confirmed. `order_events` is only ever added to; `orders` holds the last event of each. A change says from
which event it starts: of two traders that would change the same order, one is told that it was too slow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, update

from raysignal.engine.core.amounts import ZERO, less, minus, product, total
from raysignal.engine.core.errors import InvalidField, NotFound, OrderError
from raysignal.engine.core.orders import Order, OrderEvent, OrderStatus, Origin, replay
from raysignal.engine.database.database import Database, rows_of
from raysignal.engine.execution.exchange import Fill
from raysignal.engine.execution.order_rows import from_row, ticket_of, ticket_values, values_of
from raysignal.engine.execution.policy import Instruction, TargetOutcome
from raysignal.engine.execution.tables import (
    ADJUSTMENTS,
    FILLS,
    OPEN_STATES,
    ORDER_EVENTS,
    ORDER_SIGNALS,
    ORDERS,
    POSITIONS,
    TRADED_SIGNALS,
    TRADING_ACCOUNTS,
)


@dataclass(frozen=True, slots=True)
class Account:
    """A trading account as it was opened.

    Attributes:
        opening_cash: what it held before its first order.
        compared_fill: the exchange's fills up to this ordinal are all stored, or accepted as they are.
    """

    venue: str
    currency: str
    opening_cash: Decimal
    compared_fill: int


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of a symbol, as the fills say.

    Attributes:
        quantity: negative for short.
        proceeds: what sales brought less what purchases cost, without fees; exact.
        fees: paid so far.
    """

    quantity: Decimal = ZERO
    proceeds: Decimal = ZERO
    fees: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is added to a position and to the cash, because a person said so; an empty symbol means cash alone."""

    symbol: str
    quantity: Decimal
    cash: Decimal


class OrderStore:
    """The tables of one account."""

    def __init__(self, database: Database, account: str) -> None:
        if not account:
            raise InvalidField("account", account, "a name")
        self.account = account
        self._database = database

    def opened(self) -> Account | None:
        """The account; None before `open`."""
        found = self._database.rows(
            select(TRADING_ACCOUNTS).where(TRADING_ACCOUNTS.c.account == self.account)
        )
        return from_row(Account, found[0]) if found else None

    def open(self, account: Account, at_us: int) -> None:
        """Note a new account; one that is there stays as it is."""
        with self._database.writing() as connection:
            new = self._database.insert(TRADING_ACCOUNTS).values(
                **values_of(account, account=self.account, opened_us=at_us)
            )
            connection.execute(new.on_conflict_do_nothing(index_elements=["account"]))

    def take(self, instruction: Instruction) -> bool:
        """Note a signal that waits to be acted on; False if one of this id is there, which stays as it is, or if
        another account has taken it.
        """
        with self._database.writing() as connection:
            ours = self._database.insert(TRADED_SIGNALS).values(
                signal_id=instruction.signal_id, account=self.account
            )
            connection.execute(ours.on_conflict_do_nothing(index_elements=["signal_id"]))
            owner = connection.execute(
                select(TRADED_SIGNALS.c.account).where(TRADED_SIGNALS.c.signal_id == instruction.signal_id)
            ).scalar_one()
            if owner != self.account:
                return False
            new = self._database.insert(ORDER_SIGNALS).values(**values_of(instruction, account=self.account))
            # Asked for, and not counted: where the database makes a number itself, drivers do not count.
            once = new.on_conflict_do_nothing(index_elements=["account", "signal_id"])
            return connection.execute(once.returning(ORDER_SIGNALS.c.signal_id)).first() is not None

    def waiting(self, identity: str = "") -> list[Instruction]:
        """Signals that wait and whose ids begin with `identity`, in the order in which they were known."""
        rows = (
            select(ORDER_SIGNALS)
            .where(
                ORDER_SIGNALS.c.account == self.account,
                ORDER_SIGNALS.c.outcome.is_(None),
                func.substr(ORDER_SIGNALS.c.signal_id, 1, len(identity)) == identity,
            )
            .order_by(ORDER_SIGNALS.c.known_at_us, ORDER_SIGNALS.c.ordinal)
        )
        return [from_row(Instruction, row) for row in self._database.rows(rows)]

    def latest_decided_us(self, symbol: str) -> int | None:
        """When the latest signal that said where a symbol's position should be was known; None if none was decided."""
        with self._database.reading() as connection:
            found: int | None = connection.execute(
                select(func.max(ORDER_SIGNALS.c.known_at_us)).where(
                    ORDER_SIGNALS.c.account == self.account,
                    ORDER_SIGNALS.c.symbol == symbol,
                    ORDER_SIGNALS.c.outcome.not_in([TargetOutcome.HOLD.value, TargetOutcome.LATE.value]),
                )
            ).scalar_one()
        return found

    def outcomes(self) -> dict[str, TargetOutcome | None]:
        """What every signal led to, by id; None for those that wait."""
        rows = (
            select(ORDER_SIGNALS.c.signal_id, ORDER_SIGNALS.c.outcome)
            .where(ORDER_SIGNALS.c.account == self.account)
            .order_by(ORDER_SIGNALS.c.ordinal)
        )
        return {
            row["signal_id"]: None if row["outcome"] is None else TargetOutcome(row["outcome"])
            for row in self._database.rows(rows)
        }

    def leave(self, signal_id: str, outcome: TargetOutcome, at_us: int) -> bool:
        """A signal leads to no order; False if it was decided before."""
        with self._database.writing() as connection:
            return self._decide(connection, signal_id, at_us, outcome=outcome.value)

    def create(self, order: Order) -> bool:
        """A signal leads to this order, which is stored with it; False, and nothing stored, if it was decided."""
        with self._database.writing() as connection:
            signal, name = order.origin.signal_id, order.client_id
            if not self._decide(
                connection, signal, order.created_us, outcome=TargetOutcome.ORDERED.value, client_id=name
            ):
                return False
            connection.execute(insert(ORDERS).values(**_order_values(order)))
            connection.execute(insert(ORDER_EVENTS).values(client_id=name, **_event_values(order.last)))
            return True

    def save(self, before: Order, after: Order, fills: Iterable[Fill] = ()) -> bool:
        """The next step of an order, with all of its fills so far; those that are new change position and cash.

        False, and nothing stored, if somebody else has stored a step after `before`.

        Raises:
            OrderError: a fill is not what it was when it was stored, or is missing now.
        """
        changed = {"number": after.last.number, "changed_us": after.last.at_us}
        with self._database.writing() as connection:
            moved = connection.execute(
                update(ORDERS)
                .where(ORDERS.c.client_id == before.client_id, ORDERS.c.number == before.last.number)
                .values(**changed, **values_of(after.progress))
            )
            if moved.rowcount != 1:
                return False
            event = _event_values(after.last)
            connection.execute(insert(ORDER_EVENTS).values(client_id=after.client_id, **event))
            known = self._fills(connection, before.client_id)
            told = list(fills)
            if after.progress.filled == before.progress.filled:
                return True
            if told[: len(known)] != known:
                raise OrderError(
                    f"the exchange tells other fills of order {after.client_id} than it told before; nothing is stored"
                )
            for fill in told[len(known) :]:
                connection.execute(insert(FILLS).values(**values_of(fill, account=self.account)))
                self._move(connection, after, fill)
            return True

    def order(self, client_id: str) -> Order | None:
        """An order; None if there is none."""
        found = self._database.rows(
            select(ORDERS).where(ORDERS.c.client_id == client_id, ORDERS.c.account == self.account)
        )
        return _order(found[0]) if found else None

    def orders(self, *, open_only: bool = False) -> list[Order]:
        """Orders, oldest first."""
        rows = select(ORDERS).where(ORDERS.c.account == self.account)
        if open_only:
            rows = rows.where(text(OPEN_STATES))
        ordered = rows.order_by(ORDERS.c.created_us, ORDERS.c.client_id)
        return [_order(row) for row in self._database.rows(ordered)]

    def history(self, client_id: str) -> list[OrderEvent]:
        """Every step of an order, and a check that they lead to it.

        Raises:
            NotFound: there is no such order.
            ImpossibleTransition: the stored steps are not the history of the stored order.
        """
        order = self.order(client_id)
        if order is None:
            raise NotFound(f"account {self.account} has no order {client_id}", client_id=client_id)
        rows = (
            select(ORDER_EVENTS)
            .where(ORDER_EVENTS.c.client_id == client_id, ORDER_EVENTS.c.number <= order.last.number)
            .order_by(ORDER_EVENTS.c.number)
        )
        events = [
            OrderEvent(row["number"], row["at_us"], from_row(OrderStatus, row))
            for row in self._database.rows(rows)
        ]
        if replay(order.ticket, order.origin, events) != order:
            raise OrderError(f"the stored history of order {client_id} does not lead to what is stored of it")
        return events

    def fills(self, after: int = 0) -> list[Fill]:
        """The account's stored fills with a larger ordinal."""
        rows = select(FILLS).where(FILLS.c.account == self.account, FILLS.c.ordinal > after)
        return [from_row(Fill, row) for row in self._database.rows(rows.order_by(FILLS.c.ordinal))]

    def positions(self) -> dict[str, Position]:
        """By the exchange's symbol; also those that were closed."""
        rows = self._database.rows(select(POSITIONS).where(POSITIONS.c.account == self.account))
        return {row["symbol"]: from_row(Position, row) for row in rows}

    def cash(self) -> Decimal:
        """What the account should hold: what it began with, and all that fills and adjustments have moved."""
        with self._database.reading() as connection:
            opening = connection.execute(
                select(TRADING_ACCOUNTS.c.opening_cash).where(TRADING_ACCOUNTS.c.account == self.account)
            ).scalar_one()
            moved = connection.execute(
                select(POSITIONS.c.proceeds, POSITIONS.c.fees).where(POSITIONS.c.account == self.account)
            )
            amounts = [opening, *(less(row.proceeds, row.fees) for row in moved)]
            adjusted = select(ADJUSTMENTS.c.cash).where(ADJUSTMENTS.c.account == self.account)
            return total([*amounts, *connection.execute(adjusted).scalars()])

    def compared(self, fill: int) -> None:
        """The exchange's fills up to this ordinal are explained."""
        with self._database.writing() as connection:
            self._compared(connection, fill)

    def adjust(self, adjustments: Iterable[Adjustment], reason: str, fill: int, at_us: int) -> None:
        """Take over the exchange's figures; all of them, and its fills up to this ordinal, or nothing."""
        with self._database.writing() as connection:
            for change in adjustments:
                values = values_of(change, account=self.account, reason=reason, at_us=at_us)
                connection.execute(insert(ADJUSTMENTS).values(**values))
                if change.symbol:
                    self._add(connection, change.symbol, Position(change.quantity), at_us)
            self._compared(connection, fill)

    def _compared(self, connection: Connection, fill: int) -> None:
        connection.execute(
            update(TRADING_ACCOUNTS)
            .where(TRADING_ACCOUNTS.c.account == self.account, TRADING_ACCOUNTS.c.compared_fill < fill)
            .values(compared_fill=fill)
        )

    def _decide(self, connection: Connection, signal_id: str, at_us: int, **values: str) -> bool:
        decided = connection.execute(
            update(ORDER_SIGNALS)
            .where(
                ORDER_SIGNALS.c.account == self.account,
                ORDER_SIGNALS.c.signal_id == signal_id,
                ORDER_SIGNALS.c.outcome.is_(None),
            )
            .values(decided_us=at_us, **values)
        )
        return decided.rowcount == 1

    def _fills(self, connection: Connection, client_id: str) -> list[Fill]:
        rows = select(FILLS).where(FILLS.c.account == self.account, FILLS.c.client_id == client_id)
        return [from_row(Fill, row) for row in rows_of(connection, rows.order_by(FILLS.c.ordinal))]

    def _move(self, connection: Connection, order: Order, fill: Fill) -> None:
        signed = product(Decimal(int(fill.side)), fill.quantity)
        money = product(signed, fill.price, order.ticket.instrument.contract_size)
        self._add(connection, fill.symbol, Position(signed, minus(money), fill.fee), fill.at_us)

    def _add(self, connection: Connection, symbol: str, change: Position, at_us: int) -> None:
        new = self._database.insert(POSITIONS).values(
            account=self.account, symbol=symbol, quantity=ZERO, proceeds=ZERO, fees=ZERO, changed_us=at_us
        )
        connection.execute(new.on_conflict_do_nothing(index_elements=["account", "symbol"]))
        here = (POSITIONS.c.account == self.account) & (POSITIONS.c.symbol == symbol)
        held = connection.execute(select(POSITIONS).where(here).with_for_update()).mappings().one()
        connection.execute(
            update(POSITIONS).where(here).values(
                quantity=total((held["quantity"], change.quantity)),
                proceeds=total((held["proceeds"], change.proceeds)),
                fees=total((held["fees"], change.fees)),
                changed_us=at_us,
            )
        )  # fmt: skip


def _order(row: Mapping[str, Any]) -> Order:
    last = OrderEvent(row["number"], row["changed_us"], from_row(OrderStatus, row))
    return Order(ticket_of(row), from_row(Origin, row), row["created_us"], last)


def _order_values(order: Order) -> dict[str, Any]:
    return {
        **ticket_values(order.ticket),
        **values_of(order.origin),
        **values_of(order.progress),
        "created_us": order.created_us,
        "number": order.last.number,
        "changed_us": order.last.at_us,
    }


def _event_values(event: OrderEvent) -> dict[str, Any]:
    return {"number": event.number, "at_us": event.at_us, **values_of(event.progress)}
