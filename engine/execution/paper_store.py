"""What the paper exchange keeps in the database: read once when it opens, written in one transaction a command."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select, text, update

from raysignal.engine.core.errors import Fenced, InvalidField
from raysignal.engine.database.database import Database
from raysignal.engine.execution.exchange import Fill, OrderReport
from raysignal.engine.execution.holdings import HeldPosition, Holdings
from raysignal.engine.execution.matching import ConsumedLevel, RestingOrder
from raysignal.engine.execution.order_rows import (
    fill_of,
    fill_values,
    progress_of,
    progress_values,
    row_values,
    ticket_of,
    ticket_values,
)
from raysignal.engine.execution.paper_state import PaperState
from raysignal.engine.execution.tables import (
    OPEN_STATES,
    PAPER_ACCOUNTS,
    PAPER_DEPTH,
    PAPER_FILLS,
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
            row = connection.execute(
                select(PAPER_ACCOUNTS).where(PAPER_ACCOUNTS.c.account == self.account)
            ).mappings().one()  # fmt: skip
            for name, value in (("venue", venue), ("currency", currency)):
                if row[name] != value:
                    raise InvalidField(name, value, f"{row[name]!r}, as paper account {self.account} has it")
            return self._read(connection, row)

    def write(
        self, before: PaperState, after: PaperState, changed: Mapping[str, RestingOrder], fills: list[Fill]
    ) -> None:
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
                rows = [fill_values(self.account, fill) for fill in fills]
                connection.execute(PAPER_FILLS.insert(), rows)
            for symbol in {fill.symbol for fill in fills}:
                held = after.holdings.positions[symbol]
                values = {"symbol": symbol, "quantity": held.quantity, "mark": held.mark}
                self._put(connection, PAPER_POSITIONS, ("account", "symbol"), values)
            if fills:
                self._write_depth(connection, after)

    def report(self, client_id: str) -> OrderReport | None:
        """An order, final or not; None if there is none."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(PAPER_ORDERS).where(
                    PAPER_ORDERS.c.account == self.account, PAPER_ORDERS.c.client_id == client_id
                )
            ).mappings().one_or_none()  # fmt: skip
            if row is None:
                return None
            fills = connection.execute(
                select(PAPER_FILLS)
                .where(PAPER_FILLS.c.account == self.account, PAPER_FILLS.c.client_id == client_id)
                .order_by(PAPER_FILLS.c.ordinal)
            ).mappings()
            return OrderReport(
                ticket_of(row_values(row)),
                progress_of(row_values(row)),
                tuple(fill_of(row_values(fill)) for fill in fills),
            )

    def fills(self, after: int) -> list[Fill]:
        """The account's fills with a larger ordinal."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(PAPER_FILLS)
                .where(PAPER_FILLS.c.account == self.account, PAPER_FILLS.c.ordinal > after)
                .order_by(PAPER_FILLS.c.ordinal)
            ).mappings()
            return [fill_of(row_values(row)) for row in rows]

    def _put(self, connection: Connection, table: Any, keys: tuple[str, ...], values: dict[str, Any]) -> None:
        insert = self._database.insert(table).values(account=self.account, **values)
        new = {name: insert.excluded[name] for name in values if name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=new))

    def _write_depth(self, connection: Connection, after: PaperState) -> None:
        connection.execute(delete(PAPER_DEPTH).where(PAPER_DEPTH.c.account == self.account))
        rows = [
            {
                "account": self.account,
                "symbol": symbol,
                "side": side,
                "price": price,
                "taken": gone.taken,
                "shown": gone.shown,
            }
            for (symbol, side), levels in after.eaten.items()
            for price, gone in levels.items()
        ]
        if rows:
            connection.execute(PAPER_DEPTH.insert(), rows)

    def _read(self, connection: Connection, account: RowMapping) -> PaperState:
        orders = connection.execute(
            select(PAPER_ORDERS).where(PAPER_ORDERS.c.account == self.account, text(OPEN_STATES))
        ).mappings()
        positions = connection.execute(
            select(PAPER_POSITIONS).where(PAPER_POSITIONS.c.account == self.account)
        ).mappings()
        depth = connection.execute(
            select(PAPER_DEPTH).where(PAPER_DEPTH.c.account == self.account)
        ).mappings()
        eaten: dict[tuple[str, int], dict[int, ConsumedLevel]] = {}
        for row in depth:
            side = eaten.setdefault((row["symbol"], row["side"]), {})
            side[row["price"]] = ConsumedLevel(row["taken"], row["shown"])
        return PaperState(
            Holdings(
                account["cash"],
                {row["symbol"]: HeldPosition(row["quantity"], row["mark"]) for row in positions},
            ),
            {row["client_id"]: _order_of(row_values(row)) for row in orders},
            eaten,
            account["clock_us"],
            account["last_order"],
            account["last_fill"],
            account["version"],
        )


def _order_values(order: RestingOrder) -> dict[str, Any]:
    return {
        "client_id": order.ticket.client_id,
        "ordinal": order.ordinal,
        **ticket_values(order.ticket),
        **progress_values(order.progress),
        "arrives_us": order.arrives_us,
        "arrived": order.arrived,
        "cancels_us": order.cancels_us,
        "ahead": order.ahead,
        "held_price": order.held_price,
    }


def _order_of(row: Mapping[str, Any]) -> RestingOrder:
    return RestingOrder(
        row["ordinal"], ticket_of(row), progress_of(row), row["arrives_us"], row["arrived"], row["cancels_us"],
        row["ahead"], row["held_price"],
    )  # fmt: skip
