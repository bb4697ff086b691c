"""The columns of the market's tables, the same in every database.

Amounts are `Exact`: a Decimal comes back with the digits it went in with. Instants are `Int64`: UTC microseconds,
as everywhere inside.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, MetaData, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

METADATA = MetaData()
"""What all tables belong to, whoever defines them."""


class Exact(TypeDecorator[Decimal]):
    """A Decimal as it is: `NUMERIC` in PostgreSQL, text in SQLite, whose own numbers are binary.

    In SQLite it can be compared for equality of the text only; order and arithmetic are Python's business. A float,
    NaN or an infinity is refused (`TypeError`, `ValueError`; SQLAlchemy wraps both in a `StatementError`).
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See `TypeDecorator`."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric(asdecimal=True))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """See `TypeDecorator`."""
        if value is None:
            return None
        if not isinstance(value, Decimal):
            raise TypeError(f"{value!r} is a {type(value).__name__}; expected a Decimal")
        if not value.is_finite():
            raise ValueError(f"{value!r} is not finite; expected a number")
        if dialect.name != "sqlite":
            return value
        return format(value.copy_abs() if value.is_zero() else value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 - the signature
        """See `TypeDecorator`."""
        return None if value is None else Decimal(value)


Int64 = BigInteger().with_variant(Integer(), "sqlite")
"""An instant or a count. SQLite's INTEGER has 64 bits, and only that one can number rows by itself."""
