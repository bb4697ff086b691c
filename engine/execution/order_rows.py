"""Orders as rows of the database and back: columns have the names of fields, enumerations are their values."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from raysignal.engine.core.orders import OrderRequest

T = TypeVar("T")


def values_of(value: Any, **more: Any) -> dict[str, Any]:
    """The columns of a dataclass, and more."""
    values: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(Decimal,))
    return values | more


def from_row(kind: type[T], row: Mapping[str, Any]) -> T:
    """A dataclass from the columns that are called as its fields; others are left alone."""
    return msgspec.convert(row, kind)


def ticket_values(ticket: OrderRequest) -> dict[str, Any]:
    """The columns of a ticket and its instrument."""
    values = values_of(ticket)
    values |= values.pop("instrument")
    del values["inverse"]  # orders are of those that are not
    return values


def ticket_of(row: Mapping[str, Any]) -> OrderRequest:
    """The ticket of a row."""
    return from_row(OrderRequest, {**row, "instrument": row})
