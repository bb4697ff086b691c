"""What the paper exchange keeps in the database: read once when it opens, written in one transaction a command."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, TextClause, delete, select, text, update

from raysignal.engine.core.errors import Fenced, InvalidField
from raysignal.engine.core.orders import OrderStatus
from raysignal.engine.database.database import Database, rows_of
from raysignal.engine.execution.exchange import Fill, OrderReport, PaidFunding
from raysignal.engine.execution.holdings import HeldPosition, Holdings
from raysignal.engine.execution.matching import ConsumedLevel, RestingOrder
from raysignal.engine.execution.order_rows import from_row, ticket_of, ticket_values, values_of
from raysignal.engine.execution.paper_state import PaperState
from raysignal.engine.execution.tables import (
    OPEN_STATES,
    PAPER_ACCOUNTS,
    PAPER_DEPTH,
    PAPER_FILLS,
    PAPER_FUNDING,
    PAPER_ORDERS,
    PAPER_POSITIONS,
)


class PaperStore:
    """The tables of one paper account."""

    def __init__(self, database: Database, account: str) -> None:
        self.account = account
        self._database = database

    def open(self, venue: str, currency: str, holdings: Holdings) -> PaperState:
        """What is kept; an account that is new begins with `holdings`.

        Raises:
            InvalidField: it exists at another venue or in another currency.
        """
        with self._database.writing() as connection:
            new = self._database.insert(PAPER_ACCOUNTS).values(
                account=self.account, venue=venue, currency=currency, cash=holdings.cash,
                clock_us=0, last_order=0, last_fill=0, version=0,
            )  # fmt: skip
            connection.execute(new.on_conflict_do_nothing(index_elements=["account"]))
            [row] = rows_of(
                connection, select(PAPER_ACCOUNTS).where(PAPER_ACCOUNTS.c.account == self.account)
            )
            for name, value in (("venue", venue), ("currency", currency)):
                if row[name] != value:
                    raise InvalidField(name, value, f"{row[name]!r}, as paper account {self.account} has it")
            return self._read(connection, row)

    def write(
        self, before: PaperState, after: PaperState, changed: Mapping[str, RestingOrder], fills: list[Fill],
        funding: PaidFunding | None = None,
    ) -> None:  # fmt: skip
        """One command: all of what it changed, or nothing. `before` is what was kept when it began, `changed` the
        orders that are new or not what they were.

        Raises:
            Fenced: another paper exchange has written to this account.
        """
        with self._database.writing() as connection:
            counted = connection.execute(
                update(PAPER_ACCOUNTS)
                .where(PAPER_ACCOUNTS.c.account == self.account, PAPER_ACCOUNTS.c.version == before.version)
                .values(cash=after.holdings.cash, clock_us=after.clock_us, last_order=after.last_order,
                        last_fill=after.last_fill, version=after.version)
            )  # fmt: skip
            if counted.rowcount != 1:
                raise Fenced(f"paper account {self.account} is run by another exchange, too; this one stops")
            for order in changed.values():
                self._put(connection, PAPER_ORDERS, ("account", "client_id"), _order_values(order))
            if fills:
                rows = [values_of(fill, account=self.account) for fill in fills]
                connection.execute(PAPER_FILLS.insert(), rows)
            for symbol in {fill.symbol for fill in fills}:
                held = after.holdings.positions[symbol]
                self._put(connection, PAPER_POSITIONS, ("account", "symbol"), values_of(held, symbol=symbol))
            if funding is not None:
                connection.execute(PAPER_FUNDING.insert(), [values_of(funding, account=self.account)])
            if fills:
                self._write_depth(connection, after)

    def adjust(self, before: PaperState, holdings: Holdings, last_fill: int) -> None:
        """Let the account hold this instead, after a fill of that ordinal.

        Raises:
            Fenced: a paper exchange has written to this account since `before`.
        """
        with self._database.writing() as connection:
            counted = connection.execute(
                update(PAPER_ACCOUNTS)
                .where(PAPER_ACCOUNTS.c.account == self.account, PAPER_ACCOUNTS.c.version == before.version)
                .values(cash=holdings.cash, last_fill=last_fill, version=before.version + 1)
            )
            if counted.rowcount != 1:
                raise Fenced(f"paper account {self.account} is run by an exchange; end it first")
            connection.execute(delete(PAPER_POSITIONS).where(PAPER_POSITIONS.c.account == self.account))
            for symbol, held in holdings.positions.items():
                self._put(connection, PAPER_POSITIONS, ("account", "symbol"), values_of(held, symbol=symbol))

    def report(self, client_id: str) -> OrderReport | None:
        """An order, final or not; None if there is none."""
        with self._database.reading() as connection:
            found, fills = (
                rows_of(
                    connection,
                    select(table).where(table.c.account == self.account, table.c.client_id == client_id)
                    .order_by(table.c.ordinal),
                )
                for table in (PAPER_ORDERS, PAPER_FILLS)
            )  # fmt: skip
        if not found:
            return None
        told = tuple(from_row(Fill, fill) for fill in fills)
        return OrderReport(ticket_of(found[0]), from_row(OrderStatus, found[0]), told)

    def fills(self, after: int) -> list[Fill]:
        """The account's fills with a larger ordinal."""
        rows = select(PAPER_FILLS).where(PAPER_FILLS.c.account == self.account, PAPER_FILLS.c.ordinal > after)
        return [from_row(Fill, row) for row in self._database.rows(rows.order_by(PAPER_FILLS.c.ordinal))]

    def funding(self, from_us: int) -> list[PaidFunding]:
        """What positions paid from an instant on, in time."""
        rows = select(PAPER_FUNDING).where(
            PAPER_FUNDING.c.account == self.account, PAPER_FUNDING.c.at_us >= from_us
        )
        ordered = rows.order_by(PAPER_FUNDING.c.at_us, PAPER_FUNDING.c.symbol)
        return [from_row(PaidFunding, row) for row in self._database.rows(ordered)]

    def _put(self, connection: Connection, table: Any, keys: tuple[str, ...], values: dict[str, Any]) -> None:
        insert = self._database.insert(table).values(account=self.account, **values)
        new = {name: insert.excluded[name] for name in values if name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=new))

    def _write_depth(self, connection: Connection, after: PaperState) -> None:
        connection.execute(delete(PAPER_DEPTH).where(PAPER_DEPTH.c.account == self.account))
        rows = [
            values_of(gone, account=self.account, symbol=symbol, side=side, price=price)
            for (symbol, side), levels in after.eaten.items()
            for price, gone in levels.items()
        ]
        if rows:
            connection.execute(PAPER_DEPTH.insert(), rows)

    def _read(self, connection: Connection, account: Mapping[str, Any]) -> PaperState:
        def rows(table: Table, *more: TextClause) -> list[dict[str, Any]]:
            return rows_of(connection, select(table).where(table.c.account == self.account, *more))

        eaten: dict[tuple[str, int], dict[int, ConsumedLevel]] = {}
        for row in rows(PAPER_DEPTH):
            side = eaten.setdefault((row["symbol"], row["side"]), {})
            side[row["price"]] = from_row(ConsumedLevel, row)
        return PaperState(
            Holdings(
                account["cash"],
                {row["symbol"]: from_row(HeldPosition, row) for row in rows(PAPER_POSITIONS)},
            ),
            {row["client_id"]: _order_of(row) for row in rows(PAPER_ORDERS, text(OPEN_STATES))},
            eaten,
            account["clock_us"],
            account["last_order"],
            account["last_fill"],
            account["version"],
        )


def _order_values(order: RestingOrder) -> dict[str, Any]:
    values = values_of(order) | ticket_values(order.ticket) | values_of(order.progress)
    return {name: value for name, value in values.items() if name not in {"ticket", "progress"}}


def _order_of(row: Mapping[str, Any]) -> RestingOrder:
    return from_row(RestingOrder, {**row, "ticket": {**row, "instrument": row}, "progress": row})
