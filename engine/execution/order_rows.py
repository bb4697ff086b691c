"""Orders as rows of the database and back: the columns that several tables have in common."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.orders import OrderRequest, OrderState, OrderStatus, OrderType, Side, TimeInForce
from raysignal.engine.execution.exchange import Fill


def ticket_values(ticket: OrderRequest) -> dict[str, Any]:
    """Without the client id, which is a key."""
    instrument = ticket.instrument
    return {
        "venue": instrument.venue,
        "symbol": instrument.symbol,
        "price_decimals": instrument.price_decimals,
        "size_decimals": instrument.size_decimals,
        "contract_size": instrument.contract_size,
        "side": int(ticket.side),
        "kind": ticket.kind.value,
        "quantity": ticket.quantity,
        "limit_price": ticket.limit_price,
        "time_in_force": ticket.time_in_force.value,
    }


def ticket_of(row: Mapping[str, Any]) -> OrderRequest:
    """The ticket of a row."""
    instrument = Instrument(
        row["venue"], row["symbol"], row["price_decimals"], row["size_decimals"], row["contract_size"]
    )
    return OrderRequest(
        row["client_id"],
        instrument,
        Side(row["side"]),
        OrderType(row["kind"]),
        row["quantity"],
        row["limit_price"],
        TimeInForce(row["time_in_force"]),
    )


def progress_values(progress: OrderStatus) -> dict[str, Any]:
    """All of it."""
    return {
        "state": progress.state.value,
        "filled": progress.filled,
        "value": progress.value,
        "fees": progress.fees,
        "reason": progress.reason,
    }


def progress_of(row: Mapping[str, Any]) -> OrderStatus:
    """The progress of a row."""
    return OrderStatus(OrderState(row["state"]), row["filled"], row["value"], row["fees"], row["reason"])


def fill_values(account: str, fill: Fill) -> dict[str, Any]:
    """All of it."""
    return {
        "account": account,
        "ordinal": fill.ordinal,
        "client_id": fill.client_id,
        "symbol": fill.symbol,
        "side": int(fill.side),
        "quantity": fill.quantity,
        "price": fill.price,
        "fee": fill.fee,
        "maker": fill.maker,
        "at_us": fill.at_us,
    }


def fill_of(row: Mapping[str, Any]) -> Fill:
    """The fill of a row."""
    return Fill(
        row["ordinal"], row["client_id"], row["symbol"], Side(row["side"]), row["quantity"], row["price"],
        row["fee"], row["maker"], row["at_us"],
    )  # fmt: skip


def row_values(row: RowMapping) -> Mapping[str, Any]:
    """A row of a result, by the names of its columns."""
    return {str(name): value for name, value in row.items()}
